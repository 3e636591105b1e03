/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the probe's vCPU runs: from the reset state to a timer interrupt in long mode, a report after
 * each step. The code is copied to HV_PROBE_CODE and is linked nowhere near it, so addresses are
 * made by AT(). It begins in real mode with all segments at 0; page tables are in memory already.
 */
#include "hypervisor/probe/probe-layout.h"

#define AT(label) (HV_PROBE_CODE + (label - hv_probe_payload))

#define CR0_PE (1 << 0)
#define CR0_MP (1 << 1)
#define CR0_EM (1 << 2)
#define CR0_TS (1 << 3)
#define CR0_NE (1 << 5)
#define CR0_WP (1 << 16)
#define CR0_NW (1 << 29)
#define CR0_CD (1 << 30)
#define CR0_PG (1 << 31)

#define CR4_PAE        (1 << 5)
#define CR4_OSFXSR     (1 << 9)
#define CR4_OSXMMEXCPT (1 << 10)

#define MSR_EFER 0xc0000080
#define EFER_LME (1 << 8)

#define CODE_SELECTOR 0x08
#define DATA_SELECTOR 0x10

/*
 * Local APIC, in its memory-mapped form. A 32-bit displacement is sign-extended, so these go through
 * a register.
 */
#define APIC                    0xfee00000
#define APIC_EOI                (APIC + 0x0b0)
#define APIC_SPURIOUS           (APIC + 0x0f0)
#define APIC_TIMER              (APIC + 0x320)
#define APIC_TIMER_INITIAL      (APIC + 0x380)
#define APIC_TIMER_DIVIDE       (APIC + 0x3e0)
#define APIC_ENABLE             0x100
#define APIC_DIVIDE_BY_1        0x0b
#define TIMER_TICKS             1000000 /* 1 ms: KVM's timer counts at 1 GHz */

#define EXCEPTION_COUNT 32
#define TIMER_VECTOR    EXCEPTION_COUNT
#define SPURIOUS_VECTOR 0xff

/* In HV_PROBE_DATA. */
#define PAIR  (HV_PROBE_DATA + 0x00) /* 16 bytes, aligned */
#define TICKS (HV_PROBE_DATA + 0x10)

.macro report value
    movl    $\value, %eax
    outl    %eax, $HV_PROBE_PORT
.endm

    .section .rodata.hv_probe_payload, "a", @progbits
    .balign 16
    .globl  hv_probe_payload
    .hidden hv_probe_payload
hv_probe_payload:
    .code16
    report  HV_PROBE_STEP_RESET

    lgdtl   AT(gdt_register)
    movl    %cr4, %eax
    orl     $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
    movl    %eax, %cr4
    movl    $HV_PROBE_PML4, %eax
    movl    %eax, %cr3
    movl    $MSR_EFER, %ecx
    rdmsr
    orl     $EFER_LME, %eax
    wrmsr
    movl    %cr0, %eax
    andl    $~(CR0_EM | CR0_TS | CR0_NW | CR0_CD), %eax
    orl     $(CR0_PE | CR0_MP | CR0_NE | CR0_WP | CR0_PG), %eax
    movl    %eax, %cr0
    ljmpl   $CODE_SELECTOR, $AT(long_mode)

    .code64
long_mode:
    movl    $DATA_SELECTOR, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    movl    $HV_PROBE_STACK, %esp
    lidt    AT(idt_register)
    /* Registers of 64 bits exist in long mode only. */
    movabsq $0x123456789abcdef0, %r8
    movq    %r8, %r9
    shrq    $32, %r9
    cmpl    $0x12345678, %r9d
    jne     wrong
    report  HV_PROBE_STEP_MODE

    /* SSE2: four sums at once, stored by an aligned move. */
    movl    $0x01020304, %eax
    movd    %eax, %xmm0
    pshufd  $0, %xmm0, %xmm0
    paddd   %xmm0, %xmm0
    movdqa  %xmm0, PAIR
    movabsq $0x0204060802040608, %r8
    cmpq    %r8, PAIR
    jne     wrong
    cmpq    %r8, PAIR + 8
    jne     wrong
    report  HV_PROBE_STEP_VECTOR

    /* lock cmpxchg16b that matches: memory gets rcx:rbx. */
    movq    %r8, %rax
    movq    %r8, %rdx
    movl    $0x5555, %ebx
    movl    $0xaaaa, %ecx
    lock cmpxchg16b PAIR
    jne     wrong
    cmpq    %rbx, PAIR
    jne     wrong
    cmpq    %rcx, PAIR + 8
    jne     wrong
    /* And one that does not, as rax is of before: rdx:rax gets memory, memory stays. */
    movl    $0x7777, %ebx
    lock cmpxchg16b PAIR
    je      wrong
    cmpq    $0x5555, %rax
    jne     wrong
    cmpq    $0xaaaa, %rdx
    jne     wrong
    cmpq    $0x5555, PAIR
    jne     wrong
    report  HV_PROBE_STEP_ATOMIC

    /* The window shows the first frame, then, by a changed entry, the second one. */
    cmpl    $HV_PROBE_MARK_FIRST, HV_PROBE_WINDOW
    jne     wrong
    movl    $HV_PROBE_FRAME_SECOND, %eax
    xorl    $HV_PROBE_FRAME_FIRST, %eax
    xorl    %eax, HV_PROBE_PT + (HV_PROBE_WINDOW >> 12) * 8
    invlpg  HV_PROBE_WINDOW
    cmpl    $HV_PROBE_MARK_SECOND, HV_PROBE_WINDOW
    jne     wrong
    report  HV_PROBE_STEP_PAGE_TABLE

    /* One shot of the local APIC's timer, awaited by hlt. */
    movl    $APIC_SPURIOUS, %esi
    movl    $(APIC_ENABLE | SPURIOUS_VECTOR), (%rsi)
    movl    $APIC_TIMER_DIVIDE, %esi
    movl    $APIC_DIVIDE_BY_1, (%rsi)
    movl    $APIC_TIMER, %esi
    movl    $TIMER_VECTOR, (%rsi)
    movl    $APIC_TIMER_INITIAL, %esi
    movl    $TIMER_TICKS, (%rsi)
await_timer:
    sti                 /* takes effect after the next instruction: no interrupt falls in between */
    hlt
    cli
    cmpl    $0, TICKS
    je      await_timer
    report  HV_PROBE_STEP_TIMER
    report  HV_PROBE_STEP_DONE

wrong:
    report  HV_PROBE_REPORT_WRONG
fault:
    report  HV_PROBE_REPORT_FAULT
    jmp     fault       /* nobody runs a vCPU on after that */

timer_interrupt:
    pushq   %rsi
    incl    TICKS
    movl    $APIC_EOI, %esi
    movl    $0, (%rsi)
    popq    %rsi
    iretq

    /* Accessed bits are set already: the processor need not write into its tables. */
    .balign 16
gdt:
    .quad   0
    .quad   0x00af9b000000ffff  /* CODE_SELECTOR: 64 bits, present, ring 0 */
    .quad   0x00cf93000000ffff  /* DATA_SELECTOR */
gdt_end:
gdt_register:
    .word   gdt_end - gdt - 1
    .long   AT(gdt)

.macro gate handler
    .word   AT(\handler), CODE_SELECTOR, 0x8e00, 0 /* interrupt gate, present, ring 0 */
    .quad   0
.endm

    .balign 16
idt:
    .rept   EXCEPTION_COUNT
    gate    fault
    .endr
    gate    timer_interrupt
idt_end:
idt_register:
    .word   idt_end - idt - 1
    .quad   AT(idt)

    .globl  hv_probe_payload_end
    .hidden hv_probe_payload_end
hv_probe_payload_end:

    .section .note.GNU-stack, "", @progbits
