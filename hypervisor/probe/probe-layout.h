/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the payloads and the C around them must agree on: step numbers and guest addresses. Read by
 * the assembler too, hence macros only and no suffixes on numbers.
 */
#pragma once

/*
 * A report is one of these, written as 32 bits: "this step has been done". A payload reports the
 * steps of its architecture in growing order and ends with HV_PROBE_STEP_DONE.
 */
#define HV_PROBE_STEP_NONE       0 /* nothing reported yet */
#define HV_PROBE_STEP_RESET      1 /* code runs in the state that a reset leaves */
#define HV_PROBE_STEP_MODE       2 /* x86: long mode; aarch64: EL1 with MMU and caches */
#define HV_PROBE_STEP_VECTOR     3 /* x86: SSE2; aarch64: Advanced SIMD */
#define HV_PROBE_STEP_ATOMIC     4 /* x86: lock cmpxchg16b; aarch64: ldaxp and stlxp */
#define HV_PROBE_STEP_PAGE_TABLE 5 /* a changed entry has its effect */
#define HV_PROBE_STEP_TIMER      6 /* a timer interrupt came */
#define HV_PROBE_STEP_DONE       7 /* the end */

/* Instead of a step: an instruction gave a wrong result, or the processor took an exception. */
#define HV_PROBE_REPORT_WRONG 0x100
#define HV_PROBE_REPORT_FAULT 0x101

/* One memory slot: a multiple of any page size that a host may have. */
#define HV_PROBE_MEMORY_SIZE 0x10000

/* The two frames that the page-table step swaps hold these. */
#define HV_PROBE_MARK_FIRST  0x5eed0001
#define HV_PROBE_MARK_SECOND 0x5eed0002

#if defined(__x86_64__)

#define HV_PROBE_MEMORY_BASE 0
#define HV_PROBE_PORT        0xf4

#define HV_PROBE_CODE         0x1000
#define HV_PROBE_PML4         0x2000
#define HV_PROBE_PDPT         0x3000
#define HV_PROBE_PD_LOW       0x4000 /* of the first GiB */
#define HV_PROBE_PD_HIGH      0x5000 /* of the fourth GiB, where the local APIC is */
#define HV_PROBE_PT           0x6000 /* of the first 2 MiB */
#define HV_PROBE_DATA         0x7000
#define HV_PROBE_STACK        0x8000 /* grows down into the page of HV_PROBE_DATA */
#define HV_PROBE_FRAME_FIRST  0x8000
#define HV_PROBE_FRAME_SECOND 0x9000
#define HV_PROBE_WINDOW       0xa000 /* virtual; mapped to one frame, then to the other */

#elif defined(__aarch64__)

#define HV_PROBE_MEMORY_BASE 0x40000000
#define HV_PROBE_ADDRESS     0x09000000 /* no memory: a store comes out as KVM_EXIT_MMIO */

#define HV_PROBE_GIC_DISTRIBUTOR   0x08000000
#define HV_PROBE_GIC_CPU_INTERFACE 0x08010000 /* GICv2 */
#define HV_PROBE_GIC_REDISTRIBUTOR 0x080a0000 /* GICv3 */

#define HV_PROBE_CODE         0x40000000
#define HV_PROBE_L1           0x40001000
#define HV_PROBE_L2           0x40002000
#define HV_PROBE_L3           0x40003000 /* of the first 2 MiB of memory */
#define HV_PROBE_DATA         0x40004000
#define HV_PROBE_FRAME_FIRST  0x40005000
#define HV_PROBE_FRAME_SECOND 0x40006000
#define HV_PROBE_WINDOW       0x40007000 /* virtual; mapped to one frame, then to the other */

#endif

/* The code has one page. */
#define HV_PROBE_CODE_SIZE 0x1000
