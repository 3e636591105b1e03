/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The language between a controller (libtenbox's local driver, hence tenboxd) and one tenbox-runtime.
 *
 * It exists as one header that both ends include, because both are C on the same machine: messages are
 * plain structs in native byte order, one per datagram of a SOCK_SEQPACKET Unix socket, so framing,
 * descriptor passing and message bounds are the kernel's work.
 *
 * Theory of operation. The parent opens everything and spawns `tenbox-runtime` with an empty
 * environment and one end of a socketpair as descriptor 3. The first datagram on it is RT_LAUNCH with
 * all descriptors attached. The runtime answers RT_HELLO (the machine exists) followed by RT_STATE, or
 * RT_REFUSED (it ends afterwards). From then on that socket is its first control connection. Later
 * controllers connect to the listening socket that came with the launch and send RT_HELLO themselves;
 * the runtime checks that the peer has its own uid (SO_PEERCRED), closes the connection it had - the
 * newest wins - and answers RT_HELLO with the console ring attached, then RT_STATE.
 *
 * Console output does not travel in messages: the runtime writes it into the ring (struct
 * rt_console_ring), a sealed memfd that both ends map, and announces it by RT_CONSOLE_OUTPUT, of which
 * at most one is unread at any time (RT_CONSOLE_SEEN asks for the next). A slow or dead controller
 * therefore costs nothing and blocks nothing; a reader that falls behind by more than the ring loses
 * the oldest bytes and can tell how many. Console input is bounded by credit.
 *
 * Each request of the controller carries a serial number that is not 0 and gets exactly one RT_REPLY
 * with the same number, in order. A reply says that the request was accepted, not that it has had its
 * effect; effects arrive as RT_STATE. Messages from the runtime that nobody asked for carry serial 0.
 *
 * Both ends treat the other as hostile: a datagram is checked (length against its type, numbers
 * against their ranges, text for control characters) before a field is used. A malformed datagram
 * closes the connection; it never ends the VM.
 *
 * Versions. RT_PROTOCOL_VERSION grows when a message is added or gets meaning; messages and enum
 * values are append-only. A controller states the range it speaks; the runtime answers with the
 * highest version that both know, or RT_REFUSED. A daemon must be able to drive runtimes one version
 * older, since VMs outlive its upgrade.
 */
#pragma once

#include <stdint.h>

#define RT_PROTOCOL_VERSION     1u
#define RT_PROTOCOL_VERSION_MIN 1u

/* The descriptor of the launch and first control socket in a new runtime. */
#define RT_LAUNCH_DESCRIPTOR 3

/* No datagram is larger, header and text included. */
#define RT_MESSAGE_MAX          8192u
/* The largest command line, without the NUL. */
#define RT_COMMAND_LINE_MAX     2047u
/* The largest text of a reply, refusal or exit. */
#define RT_TEXT_MAX             512u
/* The most console input that may be on its way: a controller starts with this credit. */
#define RT_CONSOLE_INPUT_CREDIT 4096u

enum rt_message_type {
    /* controller → runtime, once, on descriptor RT_LAUNCH_DESCRIPTOR */
    RT_LAUNCH = 1,
    /* both directions; see above */
    RT_HELLO = 2,

    /* runtime → controller */
    RT_REFUSED = 16,        /* struct rt_refused: no launch, or no common version */
    RT_REPLY = 17,          /* struct rt_reply */
    RT_STATE = 18,          /* struct rt_state: on every change, and after RT_HELLO */
    RT_CONSOLE_OUTPUT = 19, /* struct rt_console_output */
    RT_CONSOLE_CREDIT = 20, /* struct rt_console_credit */
    RT_RESET_DONE = 21,     /* struct rt_reset_done: the guest rebooted, or was reset */
    RT_STATISTICS = 22,     /* struct rt_statistics: the answer to RT_GET_STATISTICS, and before the
                               last RT_STATE */

    /* controller → runtime, header only unless said otherwise */
    RT_POWER_BUTTON = 32,
    RT_POWER_OFF = 33,
    RT_RESET = 34,
    RT_PAUSE = 35,
    RT_RESUME = 36,
    RT_CONSOLE_INPUT = 37, /* header, then 1 to RT_CONSOLE_INPUT_CREDIT bytes; serial 0, no reply */
    RT_CONSOLE_SEEN = 38,  /* serial 0, no reply */
    RT_GET_STATISTICS = 39,
    RT_START = 40, /* lets the guest run; the launch leaves the machine built and waiting */
    RT_CONSOLE_BREAK =
        41, /* a break of the serial line; -EBUSY: the guest has not read the last one */
};

/* Every datagram begins with this. */
struct rt_header {
    uint16_t type;   /* enum rt_message_type */
    uint16_t flags;  /* 0 */
    uint32_t length; /* of the whole datagram */
    uint32_t serial; /* of the request, or 0 */
    uint32_t reserved;
};

/* What a descriptor of the launch message is for. Each kind at most once. */
enum rt_descriptor_kind {
    RT_DESCRIPTOR_KVM = 1,          /* /dev/kvm, read-write */
    RT_DESCRIPTOR_KERNEL = 2,       /* read-only regular file */
    RT_DESCRIPTOR_INITRD = 3,       /* read-only regular file; optional */
    RT_DESCRIPTOR_CONSOLE_RING = 4, /* memfd of sizeof(struct rt_console_ring), sealed */
    RT_DESCRIPTOR_CONTROL = 5,      /* listening SOCK_SEQPACKET socket for later controllers */
    RT_DESCRIPTOR_LOG = 6,          /* write-only, O_APPEND: the runtime's log file */
};
#define RT_DESCRIPTORS_MAX 16u

#define RT_LAUNCH_MAGIC 0x7862746eu

/* The descriptors, in the order of @descriptor_kinds, are attached by SCM_RIGHTS. The command line
 * follows the struct: @command_line_length bytes, no NUL among or after them. */
struct rt_launch {
    struct rt_header header;
    uint32_t magic;
    uint32_t version_min; /* what the controller speaks */
    uint32_t version_max;
    uint32_t vcpu_count;
    uint64_t memory_size; /* bytes */
    uint32_t descriptor_count;
    uint32_t command_line_length;
    uint8_t descriptor_kinds[RT_DESCRIPTORS_MAX]; /* enum rt_descriptor_kind; 0 behind the count */
    char vm_id[40];                               /* UUID, NUL-padded: for the log only */
    uint32_t mode;                                /* enum rt_launch_mode */
    uint32_t reserved;
};

enum rt_launch_mode {
    RT_MODE_MACHINE = 0,
    /* Runs the hypervisor probe instead of a machine (tenbox system doctor): only the KVM descriptor
     * is attached, memory and vCPUs are 0. The answer is RT_REFUSED with an errno, field and text, or
     * RT_HELLO with state RT_STATE_STOPPED when the probe passed; the runtime ends afterwards. */
    RT_MODE_PROBE = 1,
};

struct rt_hello {
    struct rt_header header;
    uint32_t version_min; /* from a runtime: min = max = the version that will be spoken */
    uint32_t version_max;
    uint32_t pid;
    uint32_t reserved;
    /* From a runtime, only as the answer to a controller's RT_HELLO: the console ring is attached. */
};

/* Why there is no machine. @field names the vm.json key at fault ("kernel", "memory_mb", …) or "kvm",
 * "launch", "version"; @text continues the sentence. Both are NUL-terminated printable ASCII. */
struct rt_refused {
    struct rt_header header;
    int32_t code; /* negative errno */
    char field[28];
    char text[RT_TEXT_MAX];
};

struct rt_reply {
    struct rt_header header;
    int32_t code; /* 0 or a negative errno: -EBUSY, -EALREADY, -EPROTO (unknown request) … */
    uint32_t reserved;
};

/* Append only. A subset of the states of a VM: what the process itself can be in. */
enum rt_state_value {
    RT_STATE_CREATED = 1, /* built, waiting for RT_START */
    RT_STATE_RUNNING = 2,
    RT_STATE_PAUSING = 3,
    RT_STATE_PAUSED = 4,
    RT_STATE_STOPPED = 5, /* the last message: the process ends */
};

struct rt_state {
    struct rt_header header;
    uint32_t state;       /* enum rt_state_value */
    uint32_t exit_reason; /* enum hv_machine_exit of hypervisor/machine/machine.h, when STOPPED */
    uint64_t exit_detail; /* errno, KVM suberror or exit number, by exit_reason */
    char exit_name[32];   /* "guest-power-off", "triple-fault", … NUL-terminated; "" otherwise */
};

struct rt_console_output {
    struct rt_header header;
    uint64_t position; /* bytes ever written: the ring's counter at the time of sending */
};

struct rt_console_credit {
    struct rt_header header;
    uint32_t bytes; /* that the controller may send in addition to what it may already */
    uint32_t reserved;
};

struct rt_reset_done {
    struct rt_header header;
    uint32_t source;      /* 0: the guest asked, 1: the host did */
    uint32_t reset_count; /* since the process began */
};

struct rt_statistics_row {
    char name[24]; /* NUL-terminated */
    uint64_t count;
};
#define RT_STATISTICS_ROWS_MAX 64u

struct rt_statistics {
    struct rt_header header; /* .length covers the used rows only */
    uint64_t uptime_ns;      /* since RT_START, pauses included */
    uint64_t memory_bytes;   /* of guest RAM */
    uint32_t vcpu_count;
    uint32_t row_count;
    struct rt_statistics_row rows[RT_STATISTICS_ROWS_MAX]; /* exits to user space by device */
};

/*
 * The console ring: a memfd of exactly this size with F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, made
 * by the parent and mapped by both. Byte number n since the beginning of time lies at
 * data[n % RT_CONSOLE_RING_SIZE]. The writer stores data first and then @position with release order;
 * a reader loads @position with acquire order, copies, loads it again, and discards what the writer may
 * have overtaken meanwhile. A reader trusts nothing in it: @position is an index to be reduced, the
 * data are bytes.
 */
#define RT_CONSOLE_RING_SIZE 262144u

struct rt_console_ring {
    uint64_t position; /* bytes ever written */
    uint8_t reserved[4088];
    uint8_t data[RT_CONSOLE_RING_SIZE];
};

_Static_assert(sizeof(struct rt_header) == 16, "layout of the control protocol");
_Static_assert(sizeof(struct rt_launch) == 112, "layout of the control protocol");
_Static_assert(sizeof(struct rt_hello) == 32, "layout of the control protocol");
_Static_assert(sizeof(struct rt_refused) == 48 + RT_TEXT_MAX, "layout of the control protocol");
_Static_assert(sizeof(struct rt_reply) == 24, "layout of the control protocol");
_Static_assert(sizeof(struct rt_state) == 64, "layout of the control protocol");
_Static_assert(sizeof(struct rt_console_output) == 24, "layout of the control protocol");
_Static_assert(sizeof(struct rt_console_credit) == 24, "layout of the control protocol");
_Static_assert(sizeof(struct rt_reset_done) == 24, "layout of the control protocol");
_Static_assert(sizeof(struct rt_statistics) == 40 + RT_STATISTICS_ROWS_MAX * 32,
               "layout of the control protocol");
_Static_assert(sizeof(struct rt_statistics) <= RT_MESSAGE_MAX, "layout of the control protocol");
_Static_assert(sizeof(struct rt_launch) + RT_COMMAND_LINE_MAX <= RT_MESSAGE_MAX,
               "layout of the control protocol");
_Static_assert(sizeof(struct rt_console_ring) % 4096 == 0, "layout of the control protocol");
