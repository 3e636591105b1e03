/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ARM's PL061 GPIO controller: eight pins, of which the machine pulls some; it carries the power
 * button to the guest's gpio-keys driver.
 *
 * A press is held until the guest has looked at the pin, and let go by that look. So there is no
 * time in it: a guest that is slow, or that loads its driver later, still sees the press; a driver
 * that debounces (reads the pin some milliseconds after the edge) sees it too, and the release
 * follows as an edge of its own. Presses while one is held are the same press.
 *
 * The interrupt is an edge, raised whenever an enabled pin's interrupt becomes pending and, for
 * pins that the guest made level-sensitive, when one is still pending after it was acknowledged.
 */
#pragma once

#include <stdint.h>

struct hv_bus;
struct hv_pl061;

#define HV_PL061_SIZE      0x1000u
#define HV_PL061_PIN_COUNT 8u

struct hv_pl061_config {
    /* Raises the controller's interrupt, an edge; any thread, no lock held. */
    void (*raise_interrupt)(void *opaque);
    void *interrupt_opaque;
};

/* A device in power-on state, on no bus. -ENOMEM. */
int hv_pl061_create(const struct hv_pl061_config *config, struct hv_pl061 **ret_gpio);
/* Accepts NULL. */
void hv_pl061_destroy(struct hv_pl061 *gpio);

/* Registers HV_PL061_SIZE bytes at @address; counts "gpio". */
int hv_pl061_attach(struct hv_pl061 *gpio, struct hv_bus *bus, uint64_t address);
/* Back to power-on state, nothing pressed; vCPUs are parked. */
void hv_pl061_reset(struct hv_pl061 *gpio);
/* Any thread. @pin below HV_PL061_PIN_COUNT goes high until the guest has read it. */
void hv_pl061_press(struct hv_pl061 *gpio, unsigned int pin);
