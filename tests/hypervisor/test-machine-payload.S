/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guests of test-machine.c. machine_payload is code for a 32-bit processor without paging, as a PVH
 * entry finds it, loaded and entered at 1 MiB; the first letter of the command line says what to do.
 * machine_payload_64 is the 64-bit entry of a bzImage, wherever that is loaded. No SSE and few
 * instructions: a KVM in software runs them too.
 */
#define SERIAL_PORT        0x3f8
#define SERIAL_LINE_STATUS 0x3fd
#define SLEEP_PORT         0x600
#define SLEEP_OFF          0x34 /* sleep enable, type 5 */
#define RESET_PORT         0x602
#define NOTIFY_PORT        0x700
#define NOTIFY_ADDRESS     0xc0001000
#define IO_APIC            0xfec00000
#define LOCAL_APIC         0xfee00000
#define ECAM               0xf0000000
#define EMPTY_WINDOW       0xc0002000
#define CONFIG_ADDRESS     0xcf8
#define CONFIG_DATA        0xcfc
#define BRIDGE_ID          0x00081b36
#define START_INFO_MAGIC   0x336ec578
#define HEADER_MAGIC       0x53726448   /* "HdrS" */
#define CPIO_MAGIC         0x37303730   /* "0707" */
#define RSDP_MAGIC         0x2052545020445352   /* "RSD PTR " */
#define BUTTON_PIN         5
#define BUTTON_VECTOR      0x30
#define LOAD_ADDRESS       0x100000
#define STACK_TOP          0x9000
#define IDT_ADDRESS        0xa000

#define ADDRESS(label) (LOAD_ADDRESS + (label) - machine_payload)

        .section .rodata
        .code32
        .globl  machine_payload, machine_payload_end
        .hidden machine_payload, machine_payload_end
machine_payload:
        movl    $STACK_TOP, %esp
        movl    24(%ebx), %esi          /* hvm_start_info.cmdline_paddr */
        movb    (%esi), %al
        cmpb    $'o', %al
        je      power_off
        cmpb    $'r', %al
        je      reset
        cmpb    $'t', %al
        je      triple_fault
        cmpb    $'s', %al
        je      spin
        cmpb    $'e', %al
        je      echo
        cmpb    $'n', %al
        je      notify
        cmpb    $'b', %al
        je      button
        cmpb    $'w', %al
        je      words
        cmpb    $'m', %al
        je      memory
        cmpb    $'c', %al
        je      configuration
        cmpb    $'i', %al
        je      start_info
        hlt

/* o: prints "off", goes off. */
power_off:
        movb    $'o', %al
        call    print
        movb    $'f', %al
        call    print
        call    print
off:
        movw    $SLEEP_PORT, %dx
        movb    $SLEEP_OFF, %al
        outb    %al, %dx
        /* Nobody may get here: the vCPU parks with the request. */
        movb    $'X', %al
        call    print
        jmp     off

/* r: prints the byte that RAM holds at 2 MiB, changes it, resets. RAM is new each time. */
reset:
        movb    0x200000, %al
        addb    $'0', %al
        call    print
        incb    0x200000
        movw    $RESET_PORT, %dx
        movb    $1, %al
        outb    %al, %dx
        movb    $'X', %al
        call    print
        jmp     off

/* t: a fault without a table of handlers. */
triple_fault:
        pushl   $0
        pushl   $0
        lidt    (%esp)
        int3

/* s: prints "s", then never leaves the guest by itself. */
spin:
        movb    $'s', %al
        call    print
1:      jmp     1b

/* e: sends back what it receives; "q" ends it. */
echo:
        movb    $'>', %al
        call    print
1:      movw    $SERIAL_LINE_STATUS, %dx
        inb     %dx, %al
        testb   $1, %al
        jz      1b
        movw    $SERIAL_PORT, %dx
        inb     %dx, %al
        cmpb    $'q', %al
        je      off
        call    print
        jmp     1b

/* n: three writes that the kernel takes, one that it does not, to a port and to memory. */
notify:
        movw    $NOTIFY_PORT, %dx
        movl    $7, %eax
        outl    %eax, %dx
        outl    %eax, %dx
        movl    $8, %eax
        outl    %eax, %dx
        movl    $1, NOTIFY_ADDRESS
        jmp     off

/* m: prints "m" when the host bridge is where memory accesses find it and empty windows read as ones. */
memory:
        cmpl    $BRIDGE_ID, ECAM
        jne     failed
        cmpw    $BRIDGE_ID >> 16, ECAM + 2
        jne     failed
        movb    ECAM + 1, %al
        cmpb    $(BRIDGE_ID >> 8) & 0xff, %al
        jne     failed
        movl    $0, EMPTY_WINDOW
        cmpl    $-1, EMPTY_WINDOW
        jne     failed
        movb    $'m', %al
        call    print
        jmp     off

/* c: prints "c" when a scan of four slots by the ports finds the host bridge alone. */
configuration:
        movl    $0x80000000, %ebx
1:      movl    %ebx, %eax
        movw    $CONFIG_ADDRESS, %dx
        outl    %eax, %dx
        movw    $CONFIG_DATA, %dx
        inl     %dx, %eax
        cmpl    $0x80000000, %ebx
        jne     2f
        cmpl    $BRIDGE_ID, %eax
        jne     failed
        jmp     3f
2:      cmpl    $-1, %eax
        jne     failed
3:      addl    $0x800, %ebx
        cmpl    $0x80002000, %ebx
        jne     1b
        movw    $CONFIG_ADDRESS, %dx
        movl    $0x80000008, %eax
        outl    %eax, %dx
        inl     %dx, %eax               /* what was kept back is done by now */
        cmpl    $0x80000008, %eax
        jne     failed
        movb    $'c', %al
        call    print
        jmp     off

/* i: prints "i" when hvm_start_info leads to a memory map and to an RSDP, and segments can be loaded. */
start_info:
        cmpl    $START_INFO_MAGIC, (%ebx)
        jne     failed
        cmpl    $1, 4(%ebx)
        jne     failed
        movl    32(%ebx), %esi
        cmpl    $RSDP_MAGIC & 0xffffffff, (%esi)
        jne     failed
        cmpl    $RSDP_MAGIC >> 32, 4(%esi)
        jne     failed
        movl    40(%ebx), %esi
        cmpl    $4, 48(%ebx)
        jne     failed
        cmpl    $1, 16(%esi)            /* RAM from 0 on */
        jne     failed
        movl    $0x18, %eax
        movl    %eax, %ds
        movl    %eax, %ss
        ljmpl   $0x10, $ADDRESS(reloaded)
reloaded:
        movb    $'i', %al
        call    print
        jmp     off

failed:
        movb    $'!', %al
        call    print
        jmp     off

/* w: a string of four bytes to the serial port in one instruction. */
words:
        movl    $ADDRESS(text), %esi
        movl    $4, %ecx
        movw    $SERIAL_PORT, %dx
        cld
        rep outsb
        jmp     off
text:   .ascii  "text"

/* b: prints "b" when ready, waits for the power button, prints "p", goes off. */
button:
        movl    $IDT_ADDRESS + BUTTON_VECTOR * 8, %edi
        movl    $ADDRESS(pressed), %eax
        movw    %ax, (%edi)
        movw    $0x10, 2(%edi)          /* the code segment of the entry */
        movw    $0x8e00, 4(%edi)        /* present, 32-bit interrupt gate */
        shrl    $16, %eax
        movw    %ax, 6(%edi)
        pushl   $IDT_ADDRESS
        pushw   $0x7ff
        lidt    (%esp)
        movl    $0x1ff, LOCAL_APIC + 0xf0               /* enabled, spurious vector 0xff */
        movl    $0x10 + 2 * BUTTON_PIN + 1, IO_APIC     /* upper half: APIC id 0 */
        movl    $0, IO_APIC + 0x10
        movl    $0x10 + 2 * BUTTON_PIN, IO_APIC         /* edge, active high, fixed */
        movl    $BUTTON_VECTOR, IO_APIC + 0x10
        movb    $'b', %al
        call    print
        sti
1:      hlt
        jmp     1b
pressed:
        movl    $0, LOCAL_APIC + 0xb0
        movb    $'p', %al
        call    print
        jmp     off

print:
        movw    $SERIAL_PORT, %dx
        outb    %al, %dx
        ret
machine_payload_end:

/* Prints "k" when everything is where boot_params, in rsi, says; a letter of its own for what is not. */
        .code64
        .globl  machine_payload_64, machine_payload_64_end
        .hidden machine_payload_64, machine_payload_64_end
machine_payload_64:
        movl    $STACK_TOP, %esp
        movb    $'l', %cl               /* long mode? There "inc rax", else "dec eax; inc eax". */
        xorl    %eax, %eax
        .byte   0x48, 0xff, 0xc0
        cmpl    $1, %eax
        jne     2f
        movb    $'h', %cl               /* the header */
        cmpl    $HEADER_MAGIC, 0x202(%rsi)
        jne     2f
        movb    $'a', %cl               /* ACPI tables */
        movq    0x70(%rsi), %rdi
        movabsq $RSDP_MAGIC, %rax
        cmpq    %rax, (%rdi)
        jne     2f
        movb    $'d', %cl               /* RAM disk */
        movl    0x218(%rsi), %edi
        cmpl    $CPIO_MAGIC, (%rdi)
        jne     2f
        cmpl    $512, 0x21c(%rsi)
        jne     2f
        movb    $'e', %cl               /* memory map */
        cmpb    $4, 0x1e8(%rsi)
        jne     2f
        movb    $'r', %cl               /* seed for random numbers */
        movq    0x250(%rsi), %rdi
        cmpl    $9, 8(%rdi)
        jne     2f
        movb    $'s', %cl               /* segments of the GDT */
        movl    $0x18, %eax
        movl    %eax, %ds
        movl    %eax, %ss
        pushq   $0x10
        leaq    1f(%rip), %rax
        pushq   %rax
        lretq
1:      movl    0x228(%rsi), %edi       /* the command line: what to print, "k" */
        movb    (%rdi), %cl
2:      movb    %cl, %al
        movw    $SERIAL_PORT, %dx
        outb    %al, %dx
        movw    $SLEEP_PORT, %dx
        movb    $SLEEP_OFF, %al
        outb    %al, %dx
        hlt
machine_payload_64_end:
        .section .note.GNU-stack, "", @progbits
