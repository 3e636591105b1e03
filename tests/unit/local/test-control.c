/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The controller's end of the control protocol against a runtime that a guest has taken over.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libtenbox/local/control.h"
#include "libtenbox/local/vm-process.h"
#include "tests/unit/local/harness.h"

/* ---- single datagrams --------------------------------------------------------------------- */

/* A well-formed message of each type that a runtime sends; returns its length. */
static gsize make_message(guint type, TbxControlMessage *message)
{
    gsize length;

    memset(message, 0, sizeof(*message));
    switch (type) {
    case RT_HELLO: length = sizeof(message->hello); break;
    case RT_REFUSED:
        length = sizeof(message->refused);
        message->refused.code = -22;
        strcpy(message->refused.field, "kernel");
        strcpy(message->refused.text, "is no kernel");
        break;
    case RT_REPLY:
        length = sizeof(message->reply);
        message->header.serial = 7;
        break;
    case RT_STATE:
        length = sizeof(message->state);
        message->state.state = RT_STATE_RUNNING;
        break;
    case RT_CONSOLE_OUTPUT: length = sizeof(message->output); break;
    case RT_CONSOLE_CREDIT: length = sizeof(message->credit); break;
    case RT_RESET_DONE: length = sizeof(message->reset_done); break;
    case RT_STATISTICS:
        message->statistics.row_count = 2;
        strcpy(message->statistics.rows[0].name, "serial");
        strcpy(message->statistics.rows[1].name, "pci");
        length = G_STRUCT_OFFSET(struct rt_statistics, rows) + 2 * sizeof(struct rt_statistics_row);
        break;
    default: g_assert_not_reached();
    }
    message->header.type = (guint16)type;
    message->header.length = (guint32)length;
    return length;
}

static const guint types[] = {RT_HELLO,          RT_REFUSED,        RT_REPLY,      RT_STATE,
                              RT_CONSOLE_OUTPUT, RT_CONSOLE_CREDIT, RT_RESET_DONE, RT_STATISTICS};

static gboolean accepts(const TbxControlMessage *message, gsize length)
{
    g_autoptr(GError) error = NULL;
    TbxControlMessage parsed;
    gboolean is_accepted;

    memset(&parsed, 0xa5, sizeof(parsed));
    is_accepted = tbx_control_parse(message, length, &parsed, &error);
    g_assert_cmpint(is_accepted, ==, error == NULL);
    if (is_accepted) {
        g_assert_cmpmem(&parsed, length, message, length);
    } else {
        /* Untouched. */
        for (gsize i = 0; i < sizeof(parsed); i++)
            g_assert_cmpuint(((const guint8 *)&parsed)[i], ==, 0xa5);
        assert_error(&error, "protocol-error", NULL);
    }
    return is_accepted;
}

static void test_well_formed(void)
{
    TbxControlMessage message;

    for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
        g_assert_true(accepts(&message, make_message(types[i], &message)));
}

static void test_lengths(void)
{
    TbxControlMessage message;

    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        gsize length = make_message(types[i], &message);

        /* The datagram, its own idea of its length, or both, are wrong. */
        for (gsize wrong = 0; wrong <= sizeof(message); wrong++) {
            if (wrong == length)
                continue;
            message.header.length = (guint32)length;
            g_assert_false(accepts(&message, wrong));
            message.header.length = (guint32)wrong;
            g_assert_false(accepts(&message, wrong));
            g_assert_false(accepts(&message, length));
        }
    }
}

static void test_fields(void)
{
    TbxControlMessage message;
    gsize length;

#define ASSERT_REFUSED(type, change)                                                               \
    do {                                                                                           \
        length = make_message(type, &message);                                                     \
        change;                                                                                    \
        g_assert_false(accepts(&message, length));                                                 \
    } while (0)

    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        ASSERT_REFUSED(types[i], message.header.flags = 1);
        ASSERT_REFUSED(types[i], message.header.reserved = 1);
        ASSERT_REFUSED(types[i], message.header.type = 0);
        ASSERT_REFUSED(types[i], message.header.type = 999);
        ASSERT_REFUSED(types[i], message.header.type = RT_LAUNCH);
        ASSERT_REFUSED(types[i], message.header.type = RT_POWER_OFF);
    }
    ASSERT_REFUSED(RT_REFUSED, message.refused.code = 0);
    ASSERT_REFUSED(RT_REFUSED, message.refused.code = 5);
    ASSERT_REFUSED(RT_REFUSED, memset(message.refused.field, 'x', sizeof(message.refused.field)));
    ASSERT_REFUSED(RT_REFUSED, memset(message.refused.text, 'x', sizeof(message.refused.text)));
    ASSERT_REFUSED(RT_REFUSED, message.refused.text[3] = '\033');
    ASSERT_REFUSED(RT_REFUSED, message.refused.text[3] = '\n');
    ASSERT_REFUSED(RT_REFUSED, message.refused.text[3] = (char)0xff);
    ASSERT_REFUSED(RT_REPLY, message.reply.code = 1);
    ASSERT_REFUSED(RT_REPLY, message.header.serial = 0);
    ASSERT_REFUSED(RT_STATE, message.state.state = 0);
    ASSERT_REFUSED(RT_STATE, message.state.state = 6);
    ASSERT_REFUSED(RT_STATE, memset(message.state.exit_name, 'x', sizeof(message.state.exit_name)));
    ASSERT_REFUSED(RT_STATE, message.state.exit_name[0] = '\t');
    ASSERT_REFUSED(RT_CONSOLE_CREDIT, message.credit.bytes = RT_CONSOLE_INPUT_CREDIT + 1);
    ASSERT_REFUSED(RT_STATISTICS, message.statistics.row_count = 1);
    ASSERT_REFUSED(RT_STATISTICS, message.statistics.row_count = 3);
    ASSERT_REFUSED(RT_STATISTICS, message.statistics.row_count = 0x80000002u);
    ASSERT_REFUSED(RT_STATISTICS, memset(message.statistics.rows[1].name, 'x', 24));
#undef ASSERT_REFUSED
}

/* Any bytes: no crash, and what is accepted obeys the rules. The seed makes it the same every time. */
static void test_mutations(void)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(2);
    guint accepted = 0;

    for (guint i = 0; i < 200000; i++) {
        TbxControlMessage message;
        gsize length = make_message(types[i % G_N_ELEMENTS(types)], &message);
        guint changes = g_rand_int_range(random, 1, 4);

        while (changes-- > 0)
            ((guint8 *)&message)[g_rand_int_range(random, 0, (gint32)length)] =
                (guint8)g_rand_int(random);
        accepted += accepts(&message, length);
    }
    g_assert_cmpuint(accepted, >, 0);
    g_assert_cmpuint(accepted, <, 200000);
}

/* ---- connections -------------------------------------------------------------------------- */

typedef struct {
    TbxControl *control;
    int runtime; /* the other end */
    guint messages;
    guint descriptors; /* that came */
    gboolean is_closed;
    GError *error;
} Link;

static void on_message(const TbxControlMessage *message, int *descriptor, gpointer user_data)
{
    Link *link = user_data;

    link->messages++;
    link->descriptors += *descriptor >= 0;
}

static void on_closed(const GError *error, gpointer user_data)
{
    Link *link = user_data;

    g_assert_false(link->is_closed);
    link->is_closed = TRUE;
    link->error = error != NULL ? g_error_copy(error) : NULL;
}

static const TbxControlHandlers handlers = {.message = on_message, .closed = on_closed};

static void link_init(Link *link)
{
    int pair[2];

    *link = (Link){0};
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
    link->control = tbx_control_new(pair[0], &handlers, link);
    link->runtime = pair[1];
}

static void link_fini(Link *link)
{
    tbx_control_free(link->control);
    if (link->runtime >= 0)
        close(link->runtime);
    g_clear_error(&link->error);
}

static gboolean is_closed(gpointer link)
{
    return ((Link *)link)->is_closed;
}

static void send_bytes(Link *link, const void *data, gsize length, guint descriptor_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(16 * sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(guintptr)data, .iov_len = length};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (descriptor_count > 0) {
        struct cmsghdr *cmsg;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(descriptor_count * sizeof(int));
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(descriptor_count * sizeof(int));
        for (guint i = 0; i < descriptor_count; i++)
            memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &link->runtime, sizeof(int));
    }
    g_assert_cmpint(sendmsg(link->runtime, &msg, MSG_NOSIGNAL), ==, (gssize)length);
}

/* Whatever comes with descriptors, none of them stays open. */
static void test_descriptors(void)
{
    static const guint counts[] = {0, 1, 2, 4, 5, 16};

    /* The main context opens what it needs at its first turn. */
    g_main_context_iteration(NULL, FALSE);
    for (gsize i = 0; i < G_N_ELEMENTS(counts); i++) {
        guint before = count_descriptors();
        TbxControlMessage message;
        gsize length = make_message(RT_STATE, &message);
        Link link;

        link_init(&link);
        send_bytes(&link, &message, length, counts[i]);
        close(link.runtime);
        link.runtime = -1;
        wait_until("the end of the connection", is_closed, &link);
        g_assert_cmpuint(link.messages, ==, counts[i] <= 1 ? 1 : 0);
        g_assert_cmpuint(link.descriptors, ==, counts[i] == 1 ? 1 : 0);
        if (counts[i] <= 1)
            g_assert_no_error(link.error);
        else
            assert_error(&link.error, "protocol-error", NULL);
        link_fini(&link);
        g_assert_cmpuint(count_descriptors(), ==, before);
    }
}

static void test_too_large(void)
{
    g_autofree guint8 *datagram = g_malloc0(RT_MESSAGE_MAX + 1);
    const struct rt_header header = {.type = RT_STATE, .length = RT_MESSAGE_MAX + 1};
    Link link;

    memcpy(datagram, &header, sizeof(header));
    link_init(&link);
    send_bytes(&link, datagram, RT_MESSAGE_MAX + 1, 0);
    wait_until("the end of the connection", is_closed, &link);
    assert_error(&link.error, "protocol-error", NULL);
    link_fini(&link);
}

/* An empty datagram looks like the end of the connection, and is treated as one. */
static void test_empty_datagram(void)
{
    Link link;

    link_init(&link);
    send_bytes(&link, "", 0, 0);
    wait_until("the end of the connection", is_closed, &link);
    link_fini(&link);
}

static gboolean on_beat(gpointer user_data)
{
    ++*(guint *)user_data;
    return G_SOURCE_CONTINUE;
}

/* A flood gets its share of the main loop, not all of it. */
static void test_flood(void)
{
    TbxControlMessage message;
    gsize length = make_message(RT_CONSOLE_OUTPUT, &message);
    guint beats = 0, sent = 0;
    GSource *beat = g_idle_source_new();
    Link link;

    link_init(&link);
    g_source_set_priority(beat, G_PRIORITY_DEFAULT);
    g_source_set_callback(beat, on_beat, &beats, NULL);
    g_source_attach(beat, NULL);
    while (send(link.runtime, &message, length, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        sent++;
    g_assert_cmpuint(sent, >, TBX_CONTROL_TURN);
    while (link.messages < sent)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpuint(beats, >=, sent / TBX_CONTROL_TURN);
    g_source_destroy(beat);
    g_source_unref(beat);
    link_fini(&link);
}

/* A runtime that does not read: what is meant for it waits, within bounds, then the connection goes. */
static void test_does_not_read(void)
{
    const struct rt_header header = {.type = RT_PAUSE, .length = sizeof(header), .serial = 1};
    guint sent = 0;
    Link link;

    link_init(&link);
    while (!link.is_closed && sent < 1000000) {
        tbx_control_send(link.control, &header, sizeof(header));
        sent++;
        g_main_context_iteration(NULL, FALSE);
    }
    g_assert_true(link.is_closed);
    g_assert_cmpuint(sent, >, TBX_CONTROL_QUEUE_MAX);
    assert_error(&link.error, "runtime-failed", NULL);
    link_fini(&link);
}

/* One that reads late gets everything, in order. */
static void test_reads_late(void)
{
    guint serial = 0, received = 0;
    struct rt_header header = {.type = RT_PAUSE, .length = sizeof(header)};
    Link link;
    char buffer[4096];
    int size = 1;

    link_init(&link);
    setsockopt(link.runtime, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    for (guint i = 0; i < 200; i++) {
        header.serial = ++serial;
        tbx_control_send(link.control, &header, sizeof(header));
    }
    while (received < serial) {
        if (recv(link.runtime, buffer, sizeof(buffer), MSG_DONTWAIT) == sizeof(header)) {
            memcpy(&header, buffer, sizeof(header));
            g_assert_cmpuint(header.serial, ==, ++received);
        }
        g_main_context_iteration(NULL, FALSE);
    }
    g_assert_false(link.is_closed);
    link_fini(&link);
}

static void test_signal_names(void)
{
    static const struct {
        int number;
        const char *name;
    } cases[] = {
        {9, "SIGKILL"}, {11, "SIGSEGV"}, {31, "SIGSYS"}, {7, "SIGBUS"}, {999, "signal 999"}};

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name = tbx_signal_get_name(cases[i].number);

        g_assert_cmpstr(name, ==, cases[i].name);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/control/well-formed", test_well_formed);
    g_test_add_func("/control/lengths", test_lengths);
    g_test_add_func("/control/fields", test_fields);
    g_test_add_func("/control/mutations", test_mutations);
    g_test_add_func("/control/descriptors", test_descriptors);
    g_test_add_func("/control/too-large", test_too_large);
    g_test_add_func("/control/empty-datagram", test_empty_datagram);
    g_test_add_func("/control/flood", test_flood);
    g_test_add_func("/control/does-not-read", test_does_not_read);
    g_test_add_func("/control/reads-late", test_reads_late);
    g_test_add_func("/control/signal-names", test_signal_names);
    return g_test_run();
}
