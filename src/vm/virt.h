#ifndef VM_VIRT_H
#define VM_VIRT_H
#include "base/err.h"
#include "base/types.h"
#include <stdbool.h>
#include <stddef.h>
/* The board for riscv64: the addresses, interrupts and compatible strings of the field's common
 * RISC-V `virt` machine, so that existing firmware and kernels find what they expect. Its
 * operations are board_virt (board.h). */
enum {
	VIRT_HZ = 10000000,
	VIRT_UART_HZ = 3686400,
	VIRT_IRQS = 96,
	VIRT_IRQ_UART = 10,
	VIRT_IRQ_RTC = 11,
	VIRT_IRQ_GENERATION = 12,
	VIRT_IRQ_PCI = 32, /* ..35: INTA to INTD */
};
#define VIRT_ROM	0x1000ull
#define VIRT_ROM_LEN	0xf000ull
#define VIRT_FINISHER	0x100000ull
#define VIRT_RTC	0x101000ull
#define VIRT_GENERATION 0x102000ull
#define VIRT_CLINT	0x2000000ull
#define VIRT_PLIC	0xc000000ull
#define VIRT_UART	0x10000000ull
#define VIRT_ECAM	0x30000000ull
#define VIRT_MMIO32	0x40000000ull /* 1 GiB of 32-bit PCI memory */
#define VIRT_RAM	0x80000000ull
#define VIRT_KERNEL	(VIRT_RAM + 0x200000)
#define VIRT_WINDOW64	(16 * GIB) /* of 64-bit PCI memory, at a multiple of itself above RAM */
#define VIRT_UART_LEN	0x100ull
#define VIRT_PAGE_LEN	0x1000ull
#define VIRT_CLINT_LEN	0x10000ull
#define VIRT_PLIC_LEN	0x600000ull
#define VIRT_ECAM_LEN	0x100000ull /* one bus */

/* The device tree (virt_dt.c). *blob is malloc'ed. */
struct virt_tree {
	unsigned cpus, page_table;
	uint64_t memory, window64, menvcfg;
	bool sbi;
	const char *append;	  /* NULL: none */
	gpa_t initrd, initrd_end; /* equal: none */
	uint8_t seed[64];
};
int virt_tree(void **blob, size_t *len, const struct virt_tree *t, struct err *e);
#endif
