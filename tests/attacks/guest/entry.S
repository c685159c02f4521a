/* Multiboot 1: QEMU loads the kernel by -kernel and starts it in protected mode without paging. */

#define MAGIC 0x1BADB002
#define FLAGS 0

        .section .multiboot, "a"
        .align 4
        .long MAGIC, FLAGS, -(MAGIC + FLAGS)

        .text
        .globl start
start:
        mov     $stack_top, %esp
        cld
        call    obey
        cli
0:      hlt
        jmp     0b

        .bss
        .align 16
        .skip   16384
stack_top:

        .section .note.GNU-stack, "", @progbits
