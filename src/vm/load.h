#ifndef VM_LOAD_H
#define VM_LOAD_H
#include "base/err.h"
#include "base/types.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* Boot files into guest memory. Their bytes are hostile: every offset, size and address in them
 * is checked against the file and against the memory it would go to. */
struct gmem;

/* A boot file: opened once, when the guest is built, and read again at every reset. */
struct load_file {
	const char *what, *path; /* "kernel", "vmlinuz": for words */
	int fd;			 /* -1: there is none */
	uint64_t size;
};
int load_open(struct load_file *f, const char *what, const char *path, struct err *e);
void load_close(struct load_file *f); /* zeroed with fd -1 is fine */

/* Where things may go, and where they went. */
struct load_ram {
	struct gmem *mem;
	gpa_t base;
	uint64_t len;
};
struct load_place {
	gpa_t entry, start, end; /* [start, end) is taken, zeroed tails included */
};
/* A RISC-V kernel: Image (with or without EFI stub), ELF64, or gzip of either. An Image goes to
 * its text_offset from the start of memory, or to at when it names none. */
int load_kernel(struct load_place *out, const struct load_ram *ram, gpa_t at,
		const struct load_file *f, struct err *e);
/* Firmware: RISC-V ELF64, or else flat bytes at the start of memory. */
int load_firmware(struct load_place *out, const struct load_ram *ram, const struct load_file *f,
		  struct err *e);
/* As it is, ending at or below top and starting at or above floor, aligned to a page. */
int load_initrd(struct load_place *out, const struct load_ram *ram, gpa_t floor, gpa_t top,
		const struct load_file *f, struct err *e);

/* The same on bytes in memory, for tests. at: as in load_kernel(); flat: bytes of no known
 * format go to at as they are. Errors name no file. */
int load_bytes(struct load_place *out, const struct load_ram *ram, gpa_t at, bool flat,
	       const uint8_t *p, size_t n, struct err *e);
#endif
