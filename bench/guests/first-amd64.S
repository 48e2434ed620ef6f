# The same for a PC, started by its PVH note in 32-bit mode.
	.code32
	.globl _start
_start:
	mov	$0x3f8, %dx
	mov	$'!', %al
	out	%al, %dx
1:	hlt
	jmp	1b
	.section .note, "a", @note
	.long	4, 4, 18	# XEN_ELFNOTE_PHYS32_ENTRY
	.asciz	"Xen"
	.long	_start
