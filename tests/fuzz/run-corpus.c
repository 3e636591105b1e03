/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Takes libFuzzer's place in builds without it: gives every file of the folders named on the command
 * line to the fuzz target once, in the order of their names. A target that finds fault aborts.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <unistd.h>

#include "hypervisor/base/file.h"
#include "hypervisor/base/hv-base.h"
#include "tests/hypervisor/tap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void run_file(const char *path)
{
    HV_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    HV_AUTO_FREE uint8_t *data = NULL;
    uint64_t size;

    /* A buffer of exactly that size, so that a sanitizer sees each byte beyond it. */
    if (fd < 0 || hv_file_size(fd, &size) < 0 || !(data = malloc(size ? size : 1)) ||
        hv_file_read(fd, 0, data, size) < 0) {
        tap_bail(path);
    }
    printf("# %s\n", path);
    fflush(stdout);
    tap_is(LLVMFuzzerTestOneInput(data, size), 0, "%s", strrchr(path, '/') + 1);
}

static void run_folder(const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, is_visible, alphasort);

    tap_ok(count > 0, "%s has inputs", folder);
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        run_file(path);
        free(entries[i]);
    }
    if (count >= 0) {
        free(entries);
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        run_folder(argv[i]);
    }
    return tap_done();
}
