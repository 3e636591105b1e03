/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ARM's PL031 real-time clock: the host's wall clock in seconds, for the guest to read at boot.
 *
 * Read-only: a guest cannot set the host's clock, so its writes to the load register are dropped.
 * No alarm, hence no interrupt and no state that needs a lock.
 */
#pragma once

#include <stdint.h>

struct hv_bus;
struct hv_pl031;

#define HV_PL031_SIZE 0x1000u

/*
 * A device on no bus. @now: seconds since 1970 (NULL: the host's clock); runs on vCPU threads. A
 * parameter so that tests have a clock of their own. -ENOMEM.
 */
int hv_pl031_create(uint64_t (*now)(void *opaque), void *opaque, struct hv_pl031 **ret_clock);
/* Accepts NULL. */
void hv_pl031_destroy(struct hv_pl031 *clock);

/* Registers HV_PL031_SIZE bytes at @address; counts "rtc". */
int hv_pl031_attach(struct hv_pl031 *clock, struct hv_bus *bus, uint64_t address);
