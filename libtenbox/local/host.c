/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libtenbox/local/host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "libtenbox/local/sources.h"
#include "libtenbox/wire/wire-error.h"

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

#define KVM_API_VERSION_EXPECTED 12
#define KIB_PER_MIB              1024

/* The value of @key in /proc/meminfo, in KiB; 0 when it is not there. */
static gint64 read_meminfo(const char *text, const char *key)
{
    const char *line = text;
    gsize length = strlen(key);

    while (line != NULL && *line != '\0') {
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            return g_ascii_strtoll(line + length + 1, NULL, 10);
        line = strchr(line, '\n');
        if (line != NULL)
            line++;
    }
    return 0;
}

gboolean tbx_host_read_boot_id(char *ret_id, gsize size)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents(BOOT_ID_FILE, &text, NULL, NULL))
        return FALSE;
    g_strlcpy(ret_id, g_strchomp(text), size);
    return TRUE;
}

void tbx_host_read_clock(TbxHostClock *ret_clock)
{
    struct timespec uptime;

    *ret_clock = (TbxHostClock){.time = g_get_real_time() / G_USEC_PER_SEC};
    if (clock_gettime(CLOCK_BOOTTIME, &uptime) == 0)
        ret_clock->uptime = uptime.tv_sec;
    (void)tbx_host_read_boot_id(ret_clock->boot_id, sizeof(ret_clock->boot_id));
}

gint64 tbx_host_get_memory_mb(void)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL))
        return MAX(1, (gint64)sysconf(_SC_PHYS_PAGES) / ((1 << 20) / sysconf(_SC_PAGESIZE)));
    return MAX(1, read_meminfo(text, "MemTotal") / KIB_PER_MIB);
}

gint64 tbx_host_get_available_memory_mb(void)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL))
        return tbx_host_get_memory_mb();
    return (read_meminfo(text, "MemAvailable") + read_meminfo(text, "SwapFree")) / KIB_PER_MIB;
}

gboolean tbx_host_check_memory_size(gint64 memory_mb, GError **error)
{
    gint64 host = tbx_host_get_memory_mb();

    if (memory_mb <= host)
        return TRUE;
    tbx_error_set(error, "insufficient-memory", "memory_mb",
                  "memory_mb is %" G_GINT64_FORMAT ", this host has %" G_GINT64_FORMAT " MiB",
                  memory_mb, host);
    return FALSE;
}

gboolean tbx_host_check_memory_available(gint64 memory_mb, GError **error)
{
    gint64 available = tbx_host_get_available_memory_mb();
    GError *refused;

    if (!tbx_host_check_memory_size(memory_mb, error))
        return FALSE;
    if (memory_mb <= available)
        return TRUE;
    refused = tbx_error_new("insufficient-memory", "memory_mb",
                            "The VM needs %" G_GINT64_FORMAT " MiB, %" G_GINT64_FORMAT
                            " MiB are available now",
                            memory_mb, available);
    g_propagate_error(error, tbx_error_with_hint(refused, "Stop another VM or lower memory_mb"));
    return FALSE;
}

static void set_kvm_open_error(GError **error, int error_number)
{
    GError *refused = tbx_error_new("kvm-unavailable", "kvm", "%s cannot be opened: %s",
                                    tbx_host_get_kvm_device(), g_strerror(error_number));

    switch (error_number) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        refused = tbx_error_with_hint(
            refused, "Switch virtualization on in the firmware (VT-x, AMD-V), then: sudo modprobe "
                     "kvm_intel (or kvm_amd); inside a VM, its host must allow nesting");
        break;
    case EACCES:
    case EPERM:
        refused = tbx_error_with_hint(
            refused, "Join the group that owns it and log in again: sudo usermod -aG kvm %s",
            g_get_user_name());
        break;
    default: break;
    }
    g_propagate_error(error, refused);
}

const char *tbx_host_get_kvm_device(void)
{
    const char *named = g_getenv("TENBOX_KVM_DEVICE");

    return named != NULL && *named != '\0' ? named : "/dev/kvm";
}

int tbx_host_open_kvm(GError **error)
{
    TBX_AUTO_FD fd = open(tbx_host_get_kvm_device(), O_RDWR | O_CLOEXEC);
    struct stat status;

    if (fd < 0) {
        set_kvm_open_error(error, errno);
        return -1;
    }
    if (fstat(fd, &status) < 0 || !S_ISCHR(status.st_mode)) {
        tbx_error_set(error, "kvm-unavailable", "kvm", "%s is not a device",
                      tbx_host_get_kvm_device());
        return -1;
    }
    return tbx_fd_take(&fd);
}

gboolean tbx_host_check_kvm_version(int kvm_fd, GError **error)
{
    int version = ioctl(kvm_fd, KVM_GET_API_VERSION, 0);

    if (version == KVM_API_VERSION_EXPECTED)
        return TRUE;
    if (version < 0)
        tbx_error_set(error, "kvm-unavailable", "kvm", "%s does not answer like KVM: %s",
                      tbx_host_get_kvm_device(), g_strerror(errno));
    else
        tbx_error_set(error, "kvm-unavailable", "kvm", "%s speaks API version %d, not %d",
                      tbx_host_get_kvm_device(), version, KVM_API_VERSION_EXPECTED);
    return FALSE;
}

JsonObject *tbx_host_describe(void)
{
    JsonObject *host = json_object_new();
    struct utsname name;
    gboolean is_known = uname(&name) == 0;

    json_object_set_string_member(host, "name", g_get_host_name());
#if defined(__aarch64__)
    json_object_set_string_member(host, "architecture", "aarch64");
#else
    json_object_set_string_member(host, "architecture", "x86_64");
#endif
    json_object_set_string_member(host, "kernel", is_known ? name.release : "");
    json_object_set_int_member(host, "cpu_count", g_get_num_processors());
    json_object_set_int_member(host, "memory_mb", tbx_host_get_memory_mb());
    json_object_set_int_member(host, "page_size", sysconf(_SC_PAGESIZE));
    return host;
}

JsonObject *tbx_host_describe_kvm(void)
{
    JsonObject *kvm = json_object_new();
    g_autoptr(GError) error = NULL;
    TBX_AUTO_FD fd = tbx_host_open_kvm(&error);

    json_object_set_boolean_member(kvm, "available", fd >= 0);
    if (error != NULL)
        json_object_set_string_member(kvm, "detail", error->message);
    else
        json_object_set_null_member(kvm, "detail");
    return kvm;
}
