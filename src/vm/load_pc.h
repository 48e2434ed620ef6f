#ifndef VM_LOAD_PC_H
#define VM_LOAD_PC_H
#include "vm/load.h"
#include "vm/pc.h"
/* Kernels for the x86-64 board, booted without firmware: Linux bzImages by the 64-bit boot protocol
 * (Linux Documentation/arch/x86/boot.rst, 2.12 or later), and ELF64 kernels with a PVH entry (Xen
 * docs/misc/pvh.pandoc), gzip of either. Their bytes are hostile, as in load.h.
 *
 * A board calls, at every reset: load_pc_kernel(); load_initrd() between at.end and initrd_top;
 * acpi_place() and smbios_place(); pc_boot(), which writes the rest below 1 MiB and says what
 * the first CPU begins with. The others wait for INIT and SIPI as ever. */
enum pc_protocol { PC_LINUX64, PC_PVH };
struct pc_kernel {
	enum pc_protocol protocol;
	struct load_place at;
	gpa_t initrd_top;     /* an initrd ends here at the latest */
	uint32_t cmdline_max; /* bytes, without the NUL */
	unsigned header_len;  /* of Linux' setup header, from 0x1f1 on */
	uint8_t header[0x290 - 0x1f1];
};
/* ram: the memory from 0 on, as one region at least from 1 MiB on. */
int load_pc_kernel(struct pc_kernel *out, const struct load_ram *ram, const struct load_file *f,
		   struct err *e);
/* The same on bytes in memory. Errors name no file. */
int load_pc_bytes(struct pc_kernel *out, const struct load_ram *ram, const uint8_t *p, size_t n,
		  struct err *e);

struct pc_segment {
	uint16_t selector;
	uint16_t access; /* Intel SDM 3, 25.4.1: type 0-3, S 4, DPL 5-6, P 7, L 13, D/B 14, G 15 */
	uint32_t limit;	 /* in bytes */
	uint64_t base;
};
/* What the first CPU begins with; what is not here is as after reset, interrupts are off. */
struct pc_start {
	uint64_t rip, rsp, rbx, rsi, rflags;
	uint64_t cr0, cr3, cr4, efer;
	struct pc_segment cs, data /* ds, es, fs, gs, ss */, tr;
	gpa_t gdt;
	uint16_t gdt_limit;
};
struct pc_boot {
	struct gmem *mem;
	const struct pc_map *map;
	const char *append;	  /* NULL: none */
	gpa_t initrd, initrd_end; /* equal: none */
	gpa_t rsdp;		  /* 0: none */
	uint8_t seed[32];	  /* random: for the kernel's first numbers */
};
int pc_boot(struct pc_start *out, const struct pc_kernel *k, const struct pc_boot *b,
	    struct err *e);
#endif
