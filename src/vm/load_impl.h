#ifndef VM_LOAD_IMPL_H
#define VM_LOAD_IMPL_H
#include "vm/load.h"
#include <string.h>
/* Between the loaders (load.c, load_pc.c) and nobody else: bytes of files that may be anything. */
struct span {
	const uint8_t *p;
	size_t n;
};
enum { LOAD_KERNEL_ALIGN = 0x200000 };

static inline bool has(struct span s, size_t off, const void *magic, size_t n)
{
	return s.n >= n && off <= s.n - n && !memcmp(s.p + off, magic, n);
}

/* len bytes at off as a number; 0 where the file has none. */
static inline uint64_t field(struct span s, size_t off, unsigned len)
{
	return s.n >= len && off <= s.n - len ? load_le(s.p + off, len) : 0;
}

/* What another CPU's kernel is made for, NULL: not known to be another's. */
const char *load_foreign(struct span s, enum arch arch);
/* Say what it is instead. kinds: what it could have been, "neither a RISC-V Image nor ..." */
int load_unknown(struct span s, enum arch arch, const char *kinds, struct err *e);
int load_too_big(const struct load_ram *ram, uint64_t need, struct err *e);
/* s, and zeroes up to room bytes, to at. */
int load_put(const struct load_ram *ram, gpa_t at, struct span s, uint64_t room, struct err *e);

/* Little-endian; ELF32 as 32-bit kernels for PVH are. */
struct elf {
	struct span s;
	bool narrow; /* ELF32 */
	uint64_t entry, phoff, phnum, phsize;
};
struct segment {
	uint64_t type, off, vaddr, paddr, filesz, memsz;
};
int elf_open(struct elf *f, struct span s, struct err *e); /* all headers are in the file */
struct segment elf_segment(const struct elf *f, uint64_t i);
int segment_check(const struct elf *f, const struct segment *g, struct err *e);
/* Linked outside memory, as vmlinux is for riscv, it moves to at; at UINT64_MAX: it may not. */
int load_elf(struct load_place *out, const struct load_ram *ram, gpa_t at, struct span s,
	     struct err *e);

/* Unpack gzip to at most max bytes; *out is malloc'ed. */
int load_gunzip(uint8_t **out, size_t *len, size_t max, struct span s, struct err *e);
/* All of a file, malloc'ed; errors name it. */
int load_read(uint8_t **out, const struct load_file *f, struct err *e);
#endif
