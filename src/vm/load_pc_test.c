#include "base/test.h"
#include "hw/gmem.h"
#include "vm/load_pc.h"
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#define LEN (64 * MIB)

struct bench {
	struct load_ram ram;
	struct pc_kernel k;
	struct pc_map map;
	struct err e;
};

static struct bench bench(void)
{
	struct bench b = {.ram = {gmem_new(), 0, LEN}, .map = pc_map(LEN)};
	CHECK(gmem_add(b.ram.mem, 0, LEN, 0, &b.e) == 0);
	return b;
}

/* Load and compare the sentence; words NULL: it must work. */
static bool loads(struct bench *b, const void *p, size_t n, const char *words)
{
	b->e = (struct err){0};
	int r = load_pc_bytes(&b->k, &b->ram, p, n, &b->e);
	bool good = words ? r < 0 && r == b->e.code && !strcmp(b->e.msg, words) : r == 0;
	if (!good) (void)printf("got %d: %s\n", r, b->e.msg);
	return good;
}

static uint64_t peek(struct bench *b, gpa_t at, unsigned len)
{
	uint8_t v[8] = {0};
	CHECK(gmem_read(b->ram.mem, at, v, len));
	return load_le(v, len);
}

/* bzImage: setup of two sectors, then code */

enum { IMAGE_LEN = 4096, SETUP = 1024, AT = 0x1000000 };
struct image {
	uint8_t b[IMAGE_LEN];
};

static void set(struct image *m, size_t off, uint64_t v, unsigned len)
{
	store_le(m->b + off, v, len);
}

static struct image image(void)
{
	struct image m = {0};
	set(&m, 0x1f1, SETUP / 512 - 1, 1);
	set(&m, 0x1f4, (IMAGE_LEN - SETUP) / 16, 4);
	set(&m, 0x1fe, 0xaa55, 2);
	set(&m, 0x201, 0x6a, 1);
	memcpy(m.b + 0x202, "HdrS", 4);
	set(&m, 0x206, 0x20f, 2);
	set(&m, 0x211, 1, 1);
	set(&m, 0x22c, 0x7fffffff, 4);
	set(&m, 0x236, 0x7f, 2);
	set(&m, 0x238, 2047, 4);
	set(&m, 0x258, AT, 8);
	set(&m, 0x260, 2 * MIB, 4);
	memcpy(m.b + SETUP, "code at 0", 10);
	memcpy(m.b + SETUP + 0x200, "entry", 6);
	memset(m.b + IMAGE_LEN - 2, 0xee, 2);
	return m;
}

TEST(load_pc_bzimage_goes_where_it_wants)
{
	struct bench b = bench();
	struct image m = image();
	char got[10];
	CHECK(loads(&b, &m, sizeof(m), NULL));
	CHECK(b.k.protocol == PC_LINUX64 && b.k.at.start == AT && b.k.at.entry == AT + 0x200);
	CHECK(b.k.at.end == AT + 2 * MIB && b.k.initrd_top == LEN && b.k.cmdline_max == 2047);
	CHECK(gmem_read(b.ram.mem, AT, got, 10) && !strcmp(got, "code at 0"));
	CHECK(gmem_read(b.ram.mem, AT + 0x200, got, 6) && !strcmp(got, "entry"));
	CHECK(peek(&b, AT + IMAGE_LEN - SETUP - 2, 4) == 0xeeee);
	set(&m, 0x22c, 0x1ffffff, 4);
	CHECK(loads(&b, &m, sizeof(m), NULL) && b.k.initrd_top == 0x2000000);
	gmem_free(b.ram.mem);
}

TEST(load_pc_bzimage_with_hostile_header)
{
	struct bench b = bench();
	struct image m = image(), ok = m;
#define WITH(off, v, len, words)                                                                   \
	(m = ok, set(&m, (off), (v), (len)), CHECK(loads(&b, &m, sizeof(m), (words))))
	WITH(0x1fe, 0, 2, "a damaged bzImage: no signature at the end of its first sector");
	WITH(0x206, 0x20b, 2, "too old a kernel: it has boot protocol 2.11, this needs 2.12");
	WITH(0x206, 0x20c, 2, NULL);
	WITH(0x211, 0, 1, "a zImage, which wants to be loaded below 1 MiB");
	WITH(0x236, 0x7e, 2, "a bzImage without a 64-bit entry: made for 32-bit x86?");
	WITH(0x201, 0x61, 1, "a damaged bzImage: its setup header ends too early");
	WITH(0x201, 0x62, 1, NULL);
	CHECK(b.k.header_len == 0x264 - 0x1f1);
	WITH(0x201, 0xff, 1, NULL);
	CHECK(b.k.header_len == sizeof(b.k.header));
	WITH(0x1f1, 255, 1, "cut short: its setup header is not all there");
	WITH(0x1f1, 7, 1, "cut short: its setup header is not all there");
	WITH(0x1f1, 0, 1, "cut short: it should be longer"); /* means 4 */
	WITH(0x1f4, UINT32_MAX, 4, "cut short: it should be longer");
	WITH(0x258, PC_MIB - 4096, 8, "a damaged bzImage: it wants to be at 0xff000");
	WITH(0x258, AT + 1, 8, "a damaged bzImage: it wants to be at 0x1000001");
	WITH(0x258, UINT64_MAX - 4095, 8,
	     "wants to be loaded at 0xfffffffffffff000, where there is no memory");
	WITH(0x258, LEN, 8, "wants to be loaded at 0x4000000, where there is no memory");
	WITH(0x260, UINT32_MAX, 4, "needs 4112 MiB, the guest has 64 MiB of memory");
	WITH(0x260, LEN - AT + 1, 4, "needs 65 MiB, the guest has 64 MiB of memory");
	WITH(0x260, LEN - AT, 4, NULL);
	WITH(0x260, 0, 4, NULL);
	CHECK(b.k.at.end == AT + IMAGE_LEN - SETUP);
	WITH(0x22c, 0, 4, NULL);
	CHECK(b.k.initrd_top == 1);
	for (size_t n = 0x206; n < SETUP + 0x201; n++)
		CHECK(load_pc_bytes(&b.k, &b.ram, ok.b, n, &b.e) < 0 && b.e.msg[0]);
	gmem_free(b.ram.mem);
}

/* PVH */

struct elf_file {
	Elf64_Ehdr h;
	Elf64_Phdr p[2];
	struct {
		uint32_t name, desc, type;
		char owner[4];
		uint32_t entry;
	} note[2];
	char body[16];
};

static struct elf_file elf(void)
{
	struct elf_file f = {
		.h = {.e_machine = EM_X86_64,
		      .e_type = ET_EXEC,
		      .e_entry = AT,
		      .e_phoff = sizeof(Elf64_Ehdr),
		      .e_phnum = 2,
		      .e_phentsize = sizeof(Elf64_Phdr)},
		.p = {{.p_type = PT_LOAD,
		       .p_offset = offsetof(struct elf_file, body),
		       .p_vaddr = 0xffffffff81000000,
		       .p_paddr = AT,
		       .p_filesz = 16,
		       .p_memsz = 64},
		      {.p_type = PT_NOTE,
		       .p_offset = offsetof(struct elf_file, note),
		       .p_filesz = sizeof(((struct elf_file *)0)->note),
		       .p_memsz = 0}},
		.note = {{4, 4, 6, "GNU", 1}, {4, 4, 18, "Xen", AT + 8}},
		.body = "segment",
	};
	memcpy(f.h.e_ident, ELFMAG, SELFMAG);
	f.h.e_ident[EI_CLASS] = ELFCLASS64;
	f.h.e_ident[EI_DATA] = ELFDATA2LSB;
	return f;
}

TEST(load_pc_elf_begins_at_its_pvh_entry)
{
	struct bench b = bench();
	struct elf_file f = elf();
	char got[64];
	CHECK(gmem_write(b.ram.mem, AT, &(uint8_t[64]){[63] = 1}, 64));
	CHECK(loads(&b, &f, sizeof(f), NULL));
	CHECK(b.k.protocol == PC_PVH && b.k.at.entry == AT + 8);
	CHECK(b.k.at.start == AT && b.k.at.end == AT + 64 && b.k.initrd_top == LEN);
	CHECK(gmem_read(b.ram.mem, AT, got, 64) && !strcmp(got, "segment") && !got[63]);
	gmem_free(b.ram.mem);
}

TEST(load_pc_elf32_is_a_pvh_kernel_too)
{
	struct bench b = bench();
	struct {
		Elf32_Ehdr h;
		Elf32_Phdr p[2];
		uint32_t note[5];
		char body[16];
	} f = {.h = {.e_machine = EM_386,
		     .e_type = ET_EXEC,
		     .e_phoff = sizeof(Elf32_Ehdr),
		     .e_phnum = 2,
		     .e_phentsize = sizeof(Elf32_Phdr)},
	       .p = {{.p_type = PT_LOAD, .p_paddr = AT, .p_filesz = 16, .p_memsz = 64},
		     {.p_type = PT_NOTE, .p_filesz = sizeof(f.note)}},
	       .note = {4, 4, 18, 0x6e6558, AT + 8}, /* "Xen" */
	       .body = "segment"};
	char got[64];
	f.p[0].p_offset = offsetof(__typeof__(f), body);
	f.p[1].p_offset = offsetof(__typeof__(f), note);
	memcpy(f.h.e_ident, ELFMAG, SELFMAG);
	f.h.e_ident[EI_CLASS] = ELFCLASS32;
	f.h.e_ident[EI_DATA] = ELFDATA2LSB;
	CHECK(loads(&b, &f, sizeof(f), NULL));
	CHECK(b.k.protocol == PC_PVH && b.k.at.entry == AT + 8);
	CHECK(gmem_read(b.ram.mem, AT, got, 64) && !strcmp(got, "segment"));
	CHECK(loads(&b, &f, sizeof(f.h) - 1, "cut short in the ELF header"));
	f.h.e_phentsize = sizeof(Elf32_Phdr) - 1;
	CHECK(loads(&b, &f, sizeof(f), "a damaged ELF file: program headers of 31 bytes"));
	gmem_free(b.ram.mem);
}

TEST(load_pc_elf_with_hostile_headers)
{
	struct bench b = bench();
	struct elf_file f = elf(), ok = f;
#define ELF(change, words) (f = ok, (change), CHECK(loads(&b, &f, sizeof(f), (words))))
	static const char none[] =
		"an ELF file without a PVH entry; a Linux kernel's bzImage will do";
	ELF(f.note[1].type = 17, none);
	ELF(f.note[1].owner[0] = 'x', none);
	ELF(f.note[1].desc = 0, none);
	ELF(f.note[1].desc = 8, none); /* runs over the end of its segment */
	ELF(f.note[1].desc = UINT32_MAX, none);
	ELF(f.note[0].name = UINT32_MAX, none);
	ELF(f.note[0].desc = 0xfffffffc, none);
	ELF(f.p[1].p_type = 0, none);
	ELF(f.p[1].p_filesz = sizeof(f.note[0]) + 19, none);
	ELF(f.p[1].p_offset = UINT64_MAX,
	    "cut short: an ELF segment runs over the end of the file");
	ELF(f.note[1].entry = AT + 64,
	    "a damaged ELF file: its PVH entry is outside what it loads");
	ELF(f.note[1].entry = AT - 1, "a damaged ELF file: its PVH entry is outside what it loads");
	ELF(f.p[0].p_paddr = PC_MIB - 1, "wants to be loaded at 0xfffff, below 1 MiB");
	ELF(f.p[0].p_paddr = LEN, "wants to be loaded at 0x4000000, where there is no memory");
	ELF(f.p[0].p_memsz = LEN, "needs 80 MiB, the guest has 64 MiB of memory");
	ELF(f.p[0].p_type = PT_NULL, "an ELF file with nothing to load");
	ELF(f.h.e_phnum = 65535, "cut short in the ELF program headers");
	gmem_free(b.ram.mem);
}

TEST(load_pc_notes_are_read_once) /* 65,535 headers of all the file each would take hours */
{
	struct bench b = bench();
	struct elf_file f = elf();
	f.p[0] = f.p[1];
	f.p[0].p_offset = f.p[1].p_offset = 0;
	f.p[0].p_filesz = f.p[1].p_filesz = f.p[0].p_memsz = f.p[1].p_memsz = sizeof(f) - 1;
	CHECK(loads(&b, &f, sizeof(f), "a damaged ELF file: notes overlap"));
	gmem_free(b.ram.mem);
}

TEST(load_pc_names_what_is_wrong)
{
	struct bench b = bench();
	struct elf_file f = elf();
	uint8_t rv[64] = {0}, pe[256] = "MZ";
	f.h.e_machine = EM_RISCV;
	CHECK(loads(&b, &f, sizeof(f), "made for riscv64, this guest is x86-64"));
	f.h.e_machine = EM_386; /* in 64 bits */
	CHECK(loads(&b, &f, sizeof(f), "made for 32-bit x86, this guest is x86-64"));
	memcpy(rv + 48, "RISCV\0\0\0", 8);
	CHECK(loads(&b, rv, sizeof(rv), "made for riscv64, this guest is x86-64"));
	pe[0x3c] = 0x80;
	memcpy(pe + 0x80, "PE\0\0\x64\xaa", 6);
	CHECK(loads(&b, pe, sizeof(pe), "made for arm64, this guest is x86-64"));
	memcpy(pe + 0x80, "PE\0\0\x64\x86", 6);
	CHECK(loads(&b, pe, sizeof(pe), "an EFI program; it needs a firmware to start it"));
	CHECK(loads(&b, "", 0, "the file is empty"));
	CHECK(loads(&b, "#!/bin/sh", 9, "neither a Linux bzImage nor an ELF kernel"));
	CHECK(loads(&b, "\xfd\x37zXZ", 5, "packed with xz; unpack it first"));
	gmem_free(b.ram.mem);
}

TEST(load_pc_gzip)
{
	struct bench b = bench();
	struct image m = image();
	uint8_t z[IMAGE_LEN];
	z_stream s = {.next_in = m.b, .avail_in = sizeof(m), .next_out = z, .avail_out = sizeof(z)};
	CHECK(deflateInit2(&s, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	CHECK(deflate(&s, Z_FINISH) == Z_STREAM_END);
	size_t n = sizeof(z) - s.avail_out;
	(void)deflateEnd(&s);
	CHECK(loads(&b, z, n, NULL) && b.k.at.entry == AT + 0x200);
	CHECK(loads(&b, z, n - 1, "cut short: its gzip data ends too early"));
	gmem_free(b.ram.mem);
}

/* What the first CPU finds */

/* Walk the page tables as a CPU in long mode does (Intel SDM volume 3, §4.5); UINT64_MAX: no. */
static uint64_t walk(struct bench *b, uint64_t cr3, uint64_t va)
{
	uint64_t table = cr3;
	for (unsigned shift = 39; shift >= 21; shift -= 9) {
		uint64_t entry = peek(b, table + (va >> shift & 511) * 8, 8);
		if ((entry & 3) != 3) return UINT64_MAX;
		table = entry & 0xffffffffff000;
		if (shift == 21) return entry & 0x80 ? table + va % (2 * MIB) : UINT64_MAX;
	}
	return UINT64_MAX;
}

/* The descriptor that a segment register came from. */
static bool described(struct bench *b, const struct pc_start *s, struct pc_segment g)
{
	uint64_t d = peek(b, s->gdt + g.selector, 8);
	uint64_t limit = (d & 0xffff) | (d >> 48 & 15) << 16;
	if (d >> 55 & 1) limit = limit << 12 | 0xfff;
	CHECK(g.selector + 7u <= s->gdt_limit);
	return limit == g.limit && (d >> 40 & 0xff) == (g.access & 0xffu) &&
	       (d >> 52 & 15) == (g.access >> 12) && (d >> 16 & 0xffffff) == g.base;
}

TEST(pc_boot_by_the_64_bit_protocol)
{
	struct bench b = bench();
	struct image m = image();
	struct pc_start s;
	struct pc_boot boot = {.mem = b.ram.mem,
			       .map = &b.map,
			       .append = "quiet",
			       .initrd = 0x2000000,
			       .initrd_end = 0x2000123,
			       .rsdp = PC_BIOS,
			       .seed = "seed"};
	char text[6];
	CHECK(loads(&b, &m, sizeof(m), NULL) && pc_boot(&s, &b.k, &boot, &b.e) == 0);
	CHECK(s.rip == AT + 0x200 && s.rflags == 2 && s.cr4 == 0x20 && s.efer == 0x500);
	CHECK(s.cr0 == 0x80000011);
	static const uint64_t at[] = {0, 0x12345678, AT, 0x7fffffff, 0xfee00123, 0xffffffff};
	for (unsigned i = 0; i < COUNT(at); i++) CHECK(walk(&b, s.cr3, at[i]) == at[i]);
	CHECK(walk(&b, s.cr3, 1ull << 32) == UINT64_MAX);
	CHECK(walk(&b, s.cr3, 1ull << 39) == UINT64_MAX);
	CHECK(s.cs.selector == 0x10 && s.data.selector == 0x18 && s.cs.access == 0xa09b);
	CHECK(described(&b, &s, s.cs) && described(&b, &s, s.data) && described(&b, &s, s.tr));
	CHECK(peek(&b, s.gdt, 8) == 0);
	/* boot_params */
	CHECK(peek(&b, s.rsi + 0x202, 4) == 0x53726448 && peek(&b, s.rsi + 0x1ef, 1) == 0);
	CHECK(peek(&b, s.rsi + 0x210, 1) == 0xff && peek(&b, s.rsi + 0x70, 8) == PC_BIOS);
	CHECK(peek(&b, s.rsi + 0x218, 4) == 0x2000000 && peek(&b, s.rsi + 0x21c, 4) == 0x123);
	CHECK(gmem_read(b.ram.mem, peek(&b, s.rsi + 0x228, 4), text, 6) && !strcmp(text, "quiet"));
	uint64_t data = peek(&b, s.rsi + 0x250, 8);
	CHECK(peek(&b, data, 8) == 0 && peek(&b, data + 8, 4) == 9 && peek(&b, data + 12, 4) == 32);
	CHECK(peek(&b, data + 16, 4) == 0x64656573);
	CHECK(peek(&b, s.rsi + 0x1e8, 1) == 5);
	CHECK(peek(&b, s.rsi + 0x2d0 + 8, 8) == PC_EBDA && peek(&b, s.rsi + 0x2d0 + 16, 4) == 1);
	CHECK(peek(&b, s.rsi + 0x2d0 + 60, 8) == PC_MIB);
	CHECK(peek(&b, s.rsi + 0x2d0 + 68, 8) == LEN - PC_MIB);
	gmem_free(b.ram.mem);
}

TEST(pc_boot_by_pvh)
{
	struct bench b = bench();
	struct elf_file f = elf();
	struct pc_start s;
	struct pc_boot boot = {.mem = b.ram.mem,
			       .map = &b.map,
			       .initrd = 0x2000000,
			       .initrd_end = 0x2000123,
			       .rsdp = PC_BIOS};
	CHECK(loads(&b, &f, sizeof(f), NULL) && pc_boot(&s, &b.k, &boot, &b.e) == 0);
	CHECK(s.rip == AT + 8 && s.cr0 == 0x11 && !s.cr4 && !s.efer && s.cs.access == 0xc09b);
	CHECK(described(&b, &s, s.cs) && s.cs.limit == UINT32_MAX);
	CHECK(peek(&b, s.rbx, 4) == 0x336ec578 && peek(&b, s.rbx + 4, 4) == 1);
	CHECK(peek(&b, s.rbx + 12, 4) == 1 && peek(&b, s.rbx + 32, 8) == PC_BIOS);
	uint64_t module = peek(&b, s.rbx + 16, 8), map = peek(&b, s.rbx + 40, 8);
	CHECK(peek(&b, module, 8) == 0x2000000 && peek(&b, module + 8, 8) == 0x123);
	CHECK(peek(&b, peek(&b, s.rbx + 24, 8), 1) == 0); /* no command line */
	CHECK(peek(&b, s.rbx + 48, 4) == 5 && peek(&b, map + 72, 8) == PC_MIB);
	CHECK(peek(&b, map + 80, 8) == LEN - PC_MIB && peek(&b, map + 88, 8) == PC_RAM);
	boot.initrd = boot.initrd_end = 0;
	CHECK(pc_boot(&s, &b.k, &boot, &b.e) == 0 && peek(&b, s.rbx + 12, 4) == 0);
	gmem_free(b.ram.mem);
}

TEST(pc_boot_with_a_long_command_line)
{
	struct bench b = bench();
	struct image m = image();
	struct pc_start s;
	char *line = calloc(1, 70000);
	struct pc_boot boot = {.mem = b.ram.mem, .map = &b.map, .append = line};
	memset(line, 'x', 2047);
	CHECK(loads(&b, &m, sizeof(m), NULL) && pc_boot(&s, &b.k, &boot, &b.e) == 0);
	memset(line, 'x', 2048);
	CHECK(pc_boot(&s, &b.k, &boot, &b.e) == -E2BIG);
	CHECK(!strcmp(b.e.msg, "append: 2048 bytes, and this kernel takes 2047"));
	memset(line, 'x', 69999);
	set(&m, 0x238, UINT32_MAX, 4);
	CHECK(loads(&b, &m, sizeof(m), NULL) && pc_boot(&s, &b.k, &boot, &b.e) == -E2BIG);
	set(&m, 0x238, 0, 4);
	CHECK(loads(&b, &m, sizeof(m), NULL) && pc_boot(&s, &b.k, &boot, &b.e) == -E2BIG);
	free(line);
	gmem_free(b.ram.mem);
}

TEST(load_pc_kernel_names_its_file)
{
	struct bench b = bench();
	struct image m = image();
	struct load_file f = {"kernel", "vmlinuz", memfd_create("k", MFD_CLOEXEC), sizeof(m)};
	CHECK(f.fd >= 0 && pwrite(f.fd, &m, sizeof(m), 0) == sizeof(m));
	CHECK(load_pc_kernel(&b.k, &b.ram, &f, &b.e) == 0 && b.k.at.entry == AT + 0x200);
	f.size = SETUP;
	CHECK(load_pc_kernel(&b.k, &b.ram, &f, &b.e) == -ENOEXEC);
	CHECK(!strcmp(b.e.msg, "kernel vmlinuz: cut short: its setup header is not all there"));
	load_close(&f);
	gmem_free(b.ram.mem);
}
