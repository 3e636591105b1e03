/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What to tell a user whose request cannot be met, beside the errno that tells the program. */
#pragma once

/*
 * Why a request cannot be met. Both strings are static. @field is the name of the vm.json key at
 * fault ("kernel", "initrd", "cmdline", "memory_mb", "cpu_count") or "kvm" for the host; @text is a
 * sentence fragment that may follow "field: ".
 */
struct hv_reason {
    const char *field;
    const char *text;
};

/* Sets *@reason, which may be NULL, and returns @error. */
static inline int hv_reason_set(struct hv_reason *reason, int error, const char *field,
                                const char *text)
{
    if (reason) {
        reason->field = field;
        reason->text = text;
    }
    return error;
}
