/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The launch message, from its first byte to a checked spec. The input is the datagram; the number of
 * descriptors that came with it is its first byte again, so that the fuzzer can match both.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/machine/machine.h"
#include "tenbox-runtime/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything that build code relies on once a spec was accepted. */
static void check_accepted(const struct rt_spec *spec)
{
    if (spec->version < RT_PROTOCOL_VERSION_MIN || spec->version > RT_PROTOCOL_VERSION)
        abort();
    if (strnlen(spec->command_line, sizeof(spec->command_line)) > RT_COMMAND_LINE_MAX)
        abort();
    if (strnlen(spec->vm_id, sizeof(spec->vm_id)) == sizeof(spec->vm_id))
        abort();
    if (spec->kvm_fd < 0)
        abort();
    if (spec->mode == RT_MODE_MACHINE &&
        (spec->vcpu_count < 1 || spec->vcpu_count > HV_MACHINE_MAX_VCPUS ||
         spec->memory_size < RT_MEMORY_MIN || spec->memory_size > RT_MEMORY_MAX ||
         spec->kernel_fd < 0 || spec->console_ring_fd < 0 || spec->control_fd < 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int descriptors[RT_DESCRIPTORS_MAX];
    struct rt_fault fault = {0};
    struct rt_spec spec;
    size_t count;

    if (size < 1)
        return 0;
    count = data[0] % (RT_DESCRIPTORS_MAX + 1);
    data++;
    size--;
    for (size_t i = 0; i < RT_DESCRIPTORS_MAX; i++)
        descriptors[i] = 1000 + (int)i;
    rt_spec_init(&spec);
    if (rt_spec_parse(data, size, descriptors, count, &spec, &fault) == 0) {
        check_accepted(&spec);
        for (size_t i = 0; i < count; i++) {
            if (descriptors[i] != -1)
                abort();
        }
    } else if (fault.field == NULL || fault.text == NULL || fault.code >= 0) {
        abort();
    }
    return 0;
}
