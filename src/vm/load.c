/* Kernels and firmware, from files that may be anything. The idea: a file becomes a span of bytes,
 * a span is recognised by its magic, and what cannot be loaded is named for what it is ("made for
 * x86-64"), since that is what the person who typed the wrong path needs to know. */
#include "base/own.h"
#include "hw/gmem.h"
#include "vm/load_impl.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <zlib.h>

enum { KERNEL_ALIGN = LOAD_KERNEL_ALIGN, PAGE = 4096, GZ_FIRST = 1 << 20 };
#define FILE_MAX GIB /* no kernel or firmware is larger, packed or not */

/* What it is instead */

static const char *elf_machine(uint64_t m)
{
	static const struct {
		uint16_t id;
		const char *name;
	} names[] = {{EM_X86_64, "x86-64"},  {EM_386, "32-bit x86"},	{EM_AARCH64, "arm64"},
		     {EM_ARM, "32-bit arm"}, {EM_PPC64, "ppc64"},	{EM_PPC, "ppc"},
		     {EM_S390, "s390x"},     {EM_MIPS, "mips"},		{EM_SPARCV9, "sparc64"},
		     {EM_IA_64, "ia64"},     {EM_LOONGARCH, "loong64"}, {EM_RISCV, "riscv64"}};
	for (size_t i = 0; i < COUNT(names); i++)
		if (names[i].id == m) return names[i].name;
	return "another CPU";
}

static const char *pe_machine(struct span s) /* PE format, "COFF File Header" */
{
	static const struct {
		uint16_t id;
		const char *name;
	} names[] = {{0x8664, "x86-64"},    {0x14c, "32-bit x86"}, {0xaa64, "arm64"},
		     {0x1c2, "32-bit arm"}, {0x6264, "loong64"},   {0x5064, "riscv64"}};
	uint64_t pe = field(s, 0x3c, 4);
	if (!has(s, 0, "MZ", 2) || !has(s, pe, "PE\0\0", 4)) return NULL;
	for (size_t i = 0; i < COUNT(names); i++)
		if (names[i].id == field(s, pe + 4, 2)) return names[i].name;
	return NULL;
}

/* An Image that is also an EFI program says how long its file is (PE format, "Section Table"). */
static bool pe_cut_short(struct span s)
{
	enum { COFF = 24, SECTION = 40 }; /* bytes: signature and file header; a section's header */
	uint64_t pe = field(s, 0x3c, 4), n = field(s, pe + 6, 2), opt = field(s, pe + 20, 2);
	if (!has(s, 0, "MZ", 2) || !pe) return false;
	if (pe + COFF > s.n) return true;
	if (!has(s, pe, "PE\0\0", 4)) return false;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = pe + COFF + opt + i * SECTION;
		if (at + SECTION > s.n) return true;
		if (field(s, at + 20, 4) + field(s, at + 16, 4) > s.n) return true;
	}
	return false;
}

static bool is_elf32_386(struct span s)
{
	return has(s, 0, ELFMAG, SELFMAG) && field(s, EI_CLASS, 1) == ELFCLASS32 &&
	       field(s, EI_DATA, 1) == ELFDATA2LSB && field(s, 18, 2) == EM_386;
}
const char *load_foreign(struct span s, enum arch arch)
{
	bool rv = arch == ARCH_RV64;
	if (has(s, 0, ELFMAG, SELFMAG) && s.n >= 20 && s.p[EI_DATA] == ELFDATA2MSB) {
		uint64_t m = field(s, 18, 2);
		return elf_machine(m >> 8 | (m & 0xff) << 8);
	}
	if (!rv && is_elf32_386(s)) return NULL; /* a PVH kernel begins in 32-bit mode */
	if (has(s, 0, ELFMAG, SELFMAG) && field(s, 18, 2) != (rv ? EM_RISCV : EM_X86_64))
		return elf_machine(field(s, 18, 2));
	if (has(s, 0, ELFMAG, SELFMAG) && field(s, EI_CLASS, 1) == ELFCLASS32)
		return rv ? "riscv32" : "x32";
	if (rv && has(s, 0x202, "HdrS", 4)) return "x86"; /* Linux x86 boot protocol */
	if (!rv && has(s, 48, "RISCV\0\0\0", 8)) return "riscv64";
	if (has(s, 56, "ARM\x64", 4)) return "arm64"; /* Linux arm64 booting.rst */
	const char *pe = pe_machine(s);
	return pe && !strcmp(pe, rv ? "riscv64" : "x86-64") ? NULL : pe;
}

static const char *packing(struct span s)
{
	static const struct {
		const char *magic, *name;
		size_t n;
	} known[] = {{"\xfd\x37zXZ", "xz", 5},
		     {"\x28\xb5\x2f\xfd", "zstd", 4},
		     {"BZh", "bzip2", 3},
		     {"\x5d\0\0", "lzma", 3},
		     {"\x02\x21\x4c\x18", "lz4", 4},
		     {"\x04\x22\x4d\x18", "lz4", 4},
		     {"PK\x03\x04", "zip", 4},
		     {"\x89LZO", "lzo", 4}};
	for (size_t i = 0; i < COUNT(known); i++)
		if (has(s, 0, known[i].magic, known[i].n)) return known[i].name;
	return NULL;
}

int load_unknown(struct span s, enum arch arch, const char *kinds, struct err *e)
{
	const char *name = load_foreign(s, arch);
	if (name)
		return fail(e, -ENOEXEC, "made for %s, this guest is %s", name,
			    arch == ARCH_RV64 ? "riscv64" : "x86-64");
	name = packing(s);
	if (name) return fail(e, -ENOEXEC, "packed with %s; unpack it first", name);
	if (has(s, 0, "\x1f\x8b", 2)) return fail(e, -ENOEXEC, "packed twice");
	if (!s.n) return fail(e, -ENOEXEC, "the file is empty");
	return fail(e, -ENOEXEC, "%s", kinds);
}

static int unknown(struct span s, struct err *e)
{
	return load_unknown(s, ARCH_RV64, "neither a RISC-V Image nor an ELF file", e);
}

/* Into memory */

int load_too_big(const struct load_ram *ram, uint64_t need, struct err *e)
{
	return fail(e, -ENOSPC, "needs %llu MiB, the guest has %llu MiB of memory",
		    (unsigned long long)(need / MIB + (need % MIB != 0)),
		    (unsigned long long)(ram->len / MIB));
}

int load_put(const struct load_ram *ram, gpa_t at, struct span s, uint64_t room, struct err *e)
{
	uint64_t end = ram->base + ram->len;
	if (at < ram->base || at >= end)
		return fail(e, -EINVAL, "wants to be loaded at 0x%llx, where there is no memory",
			    (unsigned long long)at);
	if (room > end - at) return load_too_big(ram, room + (at - ram->base), e);
	if (!room) return 0;
	uint8_t *to = gmem_host(ram->mem, at, room);
	if (!to) return load_too_big(ram, room, e);
	if (s.n) memcpy(to, s.p, s.n);
	memset(to + s.n, 0, room - s.n);
	gmem_dirty(ram->mem, at, room);
	return 0;
}

/* Linux Documentation/riscv/boot-image-header.rst */
static int load_image(struct load_place *out, const struct load_ram *ram, gpa_t at, struct span s,
		      struct err *e)
{
	uint64_t text = field(s, 8, 8), size = field(s, 16, 8), flags = field(s, 24, 8);
	if (s.n < 64) return fail(e, -ENOEXEC, "cut short: its Image header is not all there");
	if (flags & 1) return fail(e, -ENOEXEC, "made for big-endian RISC-V");
	if (pe_cut_short(s))
		return fail(e, -ENOEXEC, "cut short: an EFI section runs over the end of the file");
	if (text % KERNEL_ALIGN || text >= 1ull << 48)
		return fail(e, -ENOEXEC, "its Image header wants an impossible load offset, 0x%llx",
			    (unsigned long long)text);
	if (text) at = ram->base + text;
	if (size > UINT64_MAX / 2) return fail(e, -ENOEXEC, "its Image header has an absurd size");
	if (size < s.n) size = s.n;
	int r = load_put(ram, at, s, s.n, e);
	if (r < 0) return r;
	if (size > ram->base + ram->len - at) return load_too_big(ram, size + (at - ram->base), e);
	*out = (struct load_place){at, at, at + size};
	return 0;
}

struct segment elf_segment(const struct elf *f, uint64_t i)
{
	size_t at = (size_t)(f->phoff + i * f->phsize);
#define PH(type, m) field(f->s, at + offsetof(type, m), sizeof(((type *)0)->m))
#define ALL(t)                                                                                     \
	(struct segment)                                                                           \
	{                                                                                          \
		PH(t, p_type), PH(t, p_offset), PH(t, p_vaddr), PH(t, p_paddr), PH(t, p_filesz),   \
			PH(t, p_memsz)                                                             \
	}
	return f->narrow ? ALL(Elf32_Phdr) : ALL(Elf64_Phdr);
#undef ALL
#undef PH
}

int elf_open(struct elf *f, struct span s, struct err *e)
{
	bool narrow = field(s, EI_CLASS, 1) == ELFCLASS32;
	if (s.n < (narrow ? sizeof(Elf32_Ehdr) : sizeof(Elf64_Ehdr)))
		return fail(e, -ENOEXEC, "cut short in the ELF header");
#define EH(type, m) field(s, offsetof(type, m), sizeof(((type *)0)->m))
#define ALL(t)                                                                                     \
	(struct elf){s, narrow, EH(t, e_entry), EH(t, e_phoff), EH(t, e_phnum), EH(t, e_phentsize)}
	*f = narrow ? ALL(Elf32_Ehdr) : ALL(Elf64_Ehdr);
#undef ALL
#undef EH
	if (!f->phnum) return fail(e, -ENOEXEC, "an ELF file with nothing to load");
	if (f->phsize < (narrow ? sizeof(Elf32_Phdr) : sizeof(Elf64_Phdr)))
		return fail(e, -ENOEXEC, "a damaged ELF file: program headers of %llu bytes",
			    (unsigned long long)f->phsize);
	if (f->phoff > s.n || f->phnum * f->phsize > s.n - f->phoff)
		return fail(e, -ENOEXEC, "cut short in the ELF program headers");
	return 0;
}

int segment_check(const struct elf *f, const struct segment *g, struct err *e)
{
	if (g->off > f->s.n || g->filesz > f->s.n - g->off)
		return fail(e, -ENOEXEC, "cut short: an ELF segment runs over the end of the file");
	if (g->filesz > g->memsz)
		return fail(e, -ENOEXEC, "a damaged ELF file: a segment smaller than its contents");
	if (g->paddr + g->memsz < g->paddr)
		return fail(e, -ENOEXEC, "a damaged ELF file: a segment beyond all addresses");
	return 0;
}

/* What to add to each physical address: an ELF linked outside memory, as vmlinux is, moves to at
 * as a whole. */
static int elf_bias(const struct elf *f, const struct load_ram *ram, gpa_t at, uint64_t *bias,
		    struct err *e)
{
	uint64_t low = UINT64_MAX, all = 0;
	for (uint64_t i = 0; i < f->phnum; i++) {
		struct segment g = elf_segment(f, i);
		if (g.type != PT_LOAD || !g.memsz) continue;
		int r = segment_check(f, &g, e);
		if (r < 0) return r;
		if (g.paddr < low) low = g.paddr;
		if (g.memsz > ram->len - all) return load_too_big(ram, g.memsz, e);
		all += g.memsz;
	}
	if (low == UINT64_MAX) return fail(e, -ENOEXEC, "an ELF file with nothing to load");
	*bias = low < ram->base && at != UINT64_MAX ? at - low / KERNEL_ALIGN * KERNEL_ALIGN : 0;
	return 0;
}

int load_elf(struct load_place *out, const struct load_ram *ram, gpa_t at, struct span s,
	     struct err *e)
{
	struct elf f = {0};
	uint64_t bias = 0;
	int r = elf_open(&f, s, e);
	if (r == 0) r = elf_bias(&f, ram, at, &bias, e);
	*out = (struct load_place){f.entry + bias, UINT64_MAX, 0};
	for (uint64_t i = 0; r == 0 && i < f.phnum; i++) {
		struct segment g = elf_segment(&f, i);
		if (g.type != PT_LOAD || !g.memsz) continue;
		g.paddr += bias;
		r = load_put(ram, g.paddr, (struct span){s.p + g.off, g.filesz}, g.memsz, e);
		if (f.entry - g.vaddr < g.memsz) out->entry = f.entry - g.vaddr + g.paddr;
		if (g.paddr < out->start) out->start = g.paddr;
		if (g.paddr + g.memsz > out->end) out->end = g.paddr + g.memsz;
	}
	if (r == 0 && out->entry - out->start >= out->end - out->start)
		r = fail(e, -ENOEXEC, "a damaged ELF file: it starts outside what it loads");
	return r;
}

/* EFI zboot: a PE program around a packed kernel (Linux drivers/firmware/efi/libstub) */
static int open_zboot(struct span *s, struct err *e)
{
	uint64_t off = field(*s, 8, 4), size = field(*s, 12, 4);
	if (off > s->n || size > s->n - off) return fail(e, -ENOEXEC, "cut short");
	if (!has(*s, 24, "gzip", 5))
		return fail(e, -ENOEXEC,
			    "its EFI wrapping is not packed with gzip; unpack it first");
	*s = (struct span){s->p + off, size};
	return 0;
}

static int load_span(struct load_place *out, const struct load_ram *ram, gpa_t at, bool flat,
		     struct span s, struct err *e)
{
	if (load_foreign(s, ARCH_RV64)) return unknown(s, e);
	if (has(s, 0, ELFMAG, SELFMAG)) return load_elf(out, ram, at, s, e);
	if (!flat && (has(s, 48, "RISCV\0\0\0", 8) || has(s, 56, "RSC\x05", 4)))
		return load_image(out, ram, at, s, e);
	if (!flat || !s.n || packing(s)) return unknown(s, e);
	*out = (struct load_place){at, at, at + s.n};
	return load_put(ram, at, s, s.n, e);
}

/* gzip, bounded: what it unpacks to is anyone's guess */

struct pool {
	uint8_t *p;
	size_t used, room, max;
};

static int pool_grow(struct pool *o, struct err *e)
{
	if (o->used > o->max)
		return fail(e, -ENOSPC, "unpacks to more than %llu MiB",
			    (unsigned long long)(o->max / MIB));
	size_t room = o->room ? o->room * 2 : GZ_FIRST;
	if (room > o->max + 1) room = o->max + 1;
	uint8_t *p = realloc(o->p, room);
	if (!p) return fail(e, -ENOMEM, "unpacking: out of memory");
	o->p = p;
	o->room = room;
	return 0;
}

static int inflate_some(z_stream *z, struct pool *o, struct span *in)
{
	unsigned piece = in->n < GIB ? (unsigned)in->n : (unsigned)GIB;
	unsigned room = (unsigned)(o->room - o->used);
	z->next_in = (uint8_t *)(uintptr_t)in->p;
	z->avail_in = piece;
	z->next_out = o->p + o->used;
	z->avail_out = room;
	int r = inflate(z, Z_NO_FLUSH);
	*in = (struct span){z->next_in, in->n - (piece - z->avail_in)};
	o->used += room - z->avail_out;
	return r;
}

static int inflate_all(z_stream *z, struct pool *o, struct span in, struct err *e)
{
	for (;;) {
		int r = o->used == o->room ? pool_grow(o, e) : 0;
		if (r < 0) return r;
		r = inflate_some(z, o, &in);
		if (r == Z_STREAM_END) return 0;
		if (r == Z_BUF_ERROR || (r == Z_OK && !in.n && o->used < o->room))
			return fail(e, -ENOEXEC, "cut short: its gzip data ends too early");
		if (r != Z_OK) return fail(e, -ENOEXEC, "damaged: its gzip data does not unpack");
	}
}

int load_gunzip(uint8_t **out, size_t *len, size_t max, struct span s, struct err *e)
{
	struct pool o = {.max = max < FILE_MAX ? max : FILE_MAX};
	z_stream z = {0};
	if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
		return fail(e, -ENOMEM, "unpacking: out of memory");
	int r = inflate_all(&z, &o, s, e);
	(void)inflateEnd(&z);
	if (r < 0) free(o.p);
	if (r == 0) *out = o.p, *len = o.used;
	return r;
}

static int load_gzip(struct load_place *out, const struct load_ram *ram, gpa_t at, bool flat,
		     struct span s, struct err *e)
{
	auto_mem uint8_t *p = NULL;
	size_t n = 0;
	int r = load_gunzip(&p, &n, ram->len, s, e);
	return r < 0 ? r : load_span(out, ram, at, flat, (struct span){p, n}, e);
}

int load_bytes(struct load_place *out, const struct load_ram *ram, gpa_t at, bool flat,
	       const uint8_t *p, size_t n, struct err *e)
{
	struct span s = {p, n};
	if (has(s, 0, "MZ\0\0zimg", 8)) {
		int r = open_zboot(&s, e);
		if (r < 0) return r;
	}
	if (has(s, 0, "\x1f\x8b", 2)) return load_gzip(out, ram, at, flat, s, e);
	return load_span(out, ram, at, flat, s, e);
}

/* Files */

int load_open(struct load_file *f, const char *what, const char *path, struct err *e)
{
	struct stat st;
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(e, -errno, "%s %s: %s", what, path, strerror(errno));
	if (!S_ISREG(st.st_mode)) return fail(e, -EINVAL, "%s %s: not a file", what, path);
	*f = (struct load_file){what, path, give_fd(&fd), (uint64_t)st.st_size};
	return 0;
}

void load_close(struct load_file *f)
{
	drop_fd(&f->fd);
	f->fd = -1;
}

static int read_all(const struct load_file *f, uint8_t *to, struct err *e)
{
	for (uint64_t done = 0; done < f->size;) {
		ssize_t n = pread(f->fd, to + done, f->size - done, (off_t)done);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return fail(e, -errno, "%s", strerror(errno));
		if (n == 0) return fail(e, -EIO, "it became shorter while being read");
		done += (uint64_t)n;
	}
	return 0;
}

int load_read(uint8_t **out, const struct load_file *f, struct err *e)
{
	if (f->size > FILE_MAX)
		return fail(e, -EFBIG, "%s %s: larger than %llu MiB", f->what, f->path,
			    (unsigned long long)(FILE_MAX / MIB));
	auto_mem uint8_t *p = malloc(f->size + 1);
	if (!p) return fail(e, -ENOMEM, "%s %s: out of memory", f->what, f->path);
	if (read_all(f, p, e) < 0) return fail_in(e, "%s %s", f->what, f->path);
	*out = p;
	p = NULL;
	return 0;
}

static int load_file(struct load_place *out, const struct load_ram *ram, gpa_t at, bool flat,
		     const struct load_file *f, struct err *e)
{
	auto_mem uint8_t *p = NULL;
	int r = load_read(&p, f, e);
	if (r < 0) return r;
	r = load_bytes(out, ram, at, flat, p, f->size, e);
	return r < 0 ? fail_in(e, "%s %s", f->what, f->path) : 0;
}

int load_kernel(struct load_place *out, const struct load_ram *ram, gpa_t at,
		const struct load_file *f, struct err *e)
{
	return load_file(out, ram, at, false, f, e);
}

int load_firmware(struct load_place *out, const struct load_ram *ram, const struct load_file *f,
		  struct err *e)
{
	return load_file(out, ram, ram->base, true, f, e);
}

int load_initrd(struct load_place *out, const struct load_ram *ram, gpa_t floor, gpa_t top,
		const struct load_file *f, struct err *e)
{
	if (!f->size) return fail(e, -EINVAL, "%s %s: the file is empty", f->what, f->path);
	gpa_t start = (top - f->size) & ~(gpa_t)(PAGE - 1);
	if (f->size > top || start < floor)
		return fail(e, -ENOSPC, "%s %s: its %llu MiB do not fit into %llu MiB of memory",
			    f->what, f->path, (unsigned long long)(f->size / MIB),
			    (unsigned long long)(ram->len / MIB));
	uint8_t *to = gmem_host(ram->mem, start, f->size);
	must(to);
	*out = (struct load_place){start, start, start + f->size};
	int r = read_all(f, to, e);
	gmem_dirty(ram->mem, start, f->size);
	return r < 0 ? fail_in(e, "%s %s", f->what, f->path) : 0;
}
