/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the probe's vCPU runs: from the reset state to a timer interrupt at EL1, a report after each
 * step. The code is copied to HV_PROBE_CODE and is position-independent. It begins with the MMU off,
 * interrupts masked and the version of the GIC (2 or 3) in x0; translation tables are in memory
 * already.
 *
 * x27: address of reports, x28: version of the GIC, w26: timer interrupts seen.
 */
#include "hypervisor/probe/probe-layout.h"

#define CURRENT_EL_1 (1 << 2)

#define CPACR_FPEN (3 << 20)

/* Attribute 0: device nGnRE; attribute 1: normal, write-back. */
#define MAIR 0xff04
/* 39 bits of virtual address in 4 KiB pages, tables in cached memory, nothing in the upper half. */
#define TCR_T0SZ      25
#define TCR_IRGN0_WB  (1 << 8)
#define TCR_ORGN0_WB  (1 << 10)
#define TCR_SH0_INNER (3 << 12)
#define TCR_EPD1      (1 << 23)
#define TCR           (TCR_T0SZ | TCR_IRGN0_WB | TCR_ORGN0_WB | TCR_SH0_INNER | TCR_EPD1)

#define SCTLR_M (1 << 0)
#define SCTLR_C (1 << 2)
#define SCTLR_I (1 << 12)

/* The virtual timer's private interrupt. */
#define TIMER_INTERRUPT 27

/* Of what the controller answers: the number, and the one that stands for none. */
#define INTERRUPT_ID 0x3ff
#define SPURIOUS     1023

#define GICD_CTLR        0x000
#define GICD_ISENABLER0  0x100
#define GICD_CTLR_ENABLE 0x1
#define GICD_CTLR_V3     0x12 /* affinity routing and group 1 */

#define GICC_CTLR 0x00
#define GICC_PMR  0x04
#define GICC_IAR  0x0c
#define GICC_EOIR 0x10

#define GICR_WAKER               0x0014
#define GICR_WAKER_SLEEP         1 /* bit numbers */
#define GICR_WAKER_CHILDREN      2
#define GICR_SGI_BASE            0x10000
#define GICR_IGROUPR0            0x0080
#define GICR_ISENABLER0          0x0100

#define ICC_PMR_EL1     S3_0_C4_C6_0
#define ICC_IAR1_EL1    S3_0_C12_C12_0
#define ICC_EOIR1_EL1   S3_0_C12_C12_1
#define ICC_SRE_EL1     S3_0_C12_C12_5
#define ICC_IGRPEN1_EL1 S3_0_C12_C12_7

#define ALL_PRIORITIES 0xf0

.macro report value
    mov     w9, #\value
    str     w9, [x27]
.endm

.macro load_address register, value
    movz    \register, #((\value) >> 16), lsl #16
    movk    \register, #((\value) & 0xffff)
.endm

    .section .rodata.hv_probe_payload, "a", %progbits
    .balign 2048
    .globl  hv_probe_payload
    .hidden hv_probe_payload
hv_probe_payload:
    mov     x28, x0
    mov     w26, #0
    load_address x27, HV_PROBE_ADDRESS
    adr     x1, vectors
    msr     vbar_el1, x1
    isb
    report  HV_PROBE_STEP_RESET

    mrs     x1, CurrentEL
    cmp     x1, #CURRENT_EL_1
    b.ne    wrong
    mov     x1, #MAIR
    msr     mair_el1, x1
    load_address x1, TCR
    msr     tcr_el1, x1
    load_address x1, HV_PROBE_L1
    msr     ttbr0_el1, x1
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    mrs     x1, sctlr_el1
    orr     x1, x1, #SCTLR_M
    orr     x1, x1, #SCTLR_C
    orr     x1, x1, #SCTLR_I
    msr     sctlr_el1, x1
    isb
    report  HV_PROBE_STEP_MODE

    /* Advanced SIMD: four sums at once, through memory. */
    load_address x20, HV_PROBE_DATA
    mov     x1, #CPACR_FPEN
    msr     cpacr_el1, x1
    isb
    load_address w1, 0x01020304
    dup     v0.4s, w1
    add     v0.4s, v0.4s, v0.4s
    str     q0, [x20]
    ldp     x2, x3, [x20]
    load_address x4, 0x02040608
    orr     x4, x4, x4, lsl #32
    cmp     x2, x4
    b.ne    wrong
    cmp     x3, x4
    b.ne    wrong
    report  HV_PROBE_STEP_VECTOR

    /* An exclusive pair: 16 bytes at once. A store may fail without a cause, so it is repeated. */
    mov     x5, #0x5555
    mov     x6, #0xaaaa
    mov     w8, #1000
1:  ldaxp   x2, x3, [x20]
    stlxp   w7, x5, x6, [x20]
    cbz     w7, 2f
    subs    w8, w8, #1
    b.ne    1b
    b       wrong
2:  cmp     x2, x4
    b.ne    wrong
    cmp     x3, x4
    b.ne    wrong
    ldp     x2, x3, [x20]
    cmp     x2, x5
    b.ne    wrong
    cmp     x3, x6
    b.ne    wrong
    report  HV_PROBE_STEP_ATOMIC

    /* The window shows the first frame, then, by a changed entry, the second one. */
    load_address x1, HV_PROBE_WINDOW
    load_address w2, HV_PROBE_MARK_FIRST
    ldr     w3, [x1]
    cmp     w3, w2
    b.ne    wrong
    load_address x4, (HV_PROBE_L3 + ((HV_PROBE_WINDOW >> 12) & 511) * 8)
    ldr     x5, [x4]
    load_address x6, (HV_PROBE_FRAME_FIRST ^ HV_PROBE_FRAME_SECOND)
    eor     x5, x5, x6
    str     xzr, [x4]           /* the old entry goes before the new one comes */
    dsb     ishst
    lsr     x7, x1, #12
    tlbi    vaae1is, x7
    dsb     ish
    str     x5, [x4]
    dsb     ishst
    isb
    load_address w2, HV_PROBE_MARK_SECOND
    ldr     w3, [x1]
    cmp     w3, w2
    b.ne    wrong
    report  HV_PROBE_STEP_PAGE_TABLE

    /* The interrupt controller. */
    load_address x21, HV_PROBE_GIC_DISTRIBUTOR
    load_address x22, HV_PROBE_GIC_CPU_INTERFACE
    mov     w2, #(1 << TIMER_INTERRUPT)
    cmp     x28, #3
    b.eq    start_gicv3
    mov     w1, #GICD_CTLR_ENABLE
    str     w1, [x21, #GICD_CTLR]
    str     w2, [x21, #GICD_ISENABLER0]
    mov     w1, #ALL_PRIORITIES
    str     w1, [x22, #GICC_PMR]
    mov     w1, #1
    str     w1, [x22, #GICC_CTLR]
    b       start_timer
start_gicv3:
    mov     w1, #GICD_CTLR_V3
    str     w1, [x21, #GICD_CTLR]
    load_address x23, HV_PROBE_GIC_REDISTRIBUTOR
    ldr     w1, [x23, #GICR_WAKER]
    and     w1, w1, #~(1 << GICR_WAKER_SLEEP)
    str     w1, [x23, #GICR_WAKER]
1:  ldr     w1, [x23, #GICR_WAKER]
    tbnz    w1, #GICR_WAKER_CHILDREN, 1b
    add     x23, x23, #GICR_SGI_BASE
    mov     w1, #-1
    str     w1, [x23, #GICR_IGROUPR0]
    str     w2, [x23, #GICR_ISENABLER0]
    mov     x1, #1
    msr     ICC_SRE_EL1, x1
    isb
    mov     x1, #ALL_PRIORITIES
    msr     ICC_PMR_EL1, x1
    mov     x1, #1
    msr     ICC_IGRPEN1_EL1, x1
    isb

    /* The virtual timer, one millisecond from now, awaited by wfi. */
start_timer:
    mrs     x1, cntfrq_el0
    mov     x2, #1000
    udiv    x1, x1, x2
    msr     cntv_tval_el0, x1
    mov     x1, #1
    msr     cntv_ctl_el0, x1
    isb
await_timer:
    wfi                         /* wakes for a pending interrupt, masked or not */
    msr     daifclr, #2         /* which is taken here */
    isb
    msr     daifset, #2
    cbz     w26, await_timer
    report  HV_PROBE_STEP_TIMER
    report  HV_PROBE_STEP_DONE

wrong:
    report  HV_PROBE_REPORT_WRONG
fault:
    report  HV_PROBE_REPORT_FAULT
    b       fault               /* nobody runs a vCPU on after that */

    /*
     * Acknowledged before the timer is silenced: the timer's line is a level, and KVM takes an
     * interrupt back whose line has dropped before it was acknowledged. What was taken back reads
     * as SPURIOUS, which is no mistake of the controller's: then the timer has yet to come.
     *
     * Uses x1 to x3: the code above holds nothing there while interrupts are open.
     */
interrupt:
    cmp     x28, #3
    b.eq    1f
    ldr     w1, [x22, #GICC_IAR]
    b       2f
1:  mrs     x1, ICC_IAR1_EL1
    dsb     sy
2:  and     w2, w1, #INTERRUPT_ID
    cmp     w2, #SPURIOUS
    b.eq    4f
    cmp     w2, #TIMER_INTERRUPT
    b.ne    wrong
    mov     x3, #2              /* masked and off */
    msr     cntv_ctl_el0, x3
    isb
    add     w26, w26, #1
    cmp     x28, #3
    b.eq    3f
    str     w1, [x22, #GICC_EOIR]
    b       4f
3:  msr     ICC_EOIR1_EL1, x1
    isb
4:  eret

.macro vector target
    .balign 128
    b       \target
.endm

    .balign 2048
vectors:
    /* From EL1 with the stack pointer of EL0, with its own, from 64 and from 32 bits of EL0. */
    .rept   4
    vector  fault
    .endr
    vector  fault
    vector  interrupt
    .rept   10
    vector  fault
    .endr

    .globl  hv_probe_payload_end
    .hidden hv_probe_payload_end
hv_probe_payload_end:

    .section .note.GNU-stack, "", %progbits
