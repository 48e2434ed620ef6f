#include "base/test.h"
#include "hw/gmem.h"
#include "vm/load.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

enum { TEXT = 0x200000 };
#define RAM 0x80000000ull
#define LEN (32 * MIB)
#define AT  (RAM + TEXT)

struct bench {
	struct load_ram ram;
	struct load_place at;
	struct err e;
};

static struct bench bench(void)
{
	struct bench b = {.ram = {gmem_new(), RAM, LEN}};
	CHECK(gmem_add(b.ram.mem, RAM, LEN, 0, &b.e) == 0);
	return b;
}

/* Load and compare the sentence; words NULL: it must work. */
static bool loads(struct bench *b, bool flat, const void *p, size_t n, const char *words)
{
	b->e = (struct err){0};
	int r = load_bytes(&b->at, &b->ram, AT, flat, p, n, &b->e);
	bool good = words ? r < 0 && r == b->e.code && !strcmp(b->e.msg, words) : r == 0;
	if (!good) (void)printf("got %d: %s\n", r, b->e.msg);
	return good;
}

static bool refuses(struct bench *b, const void *p, size_t n)
{
	b->e = (struct err){0};
	return load_bytes(&b->at, &b->ram, AT, false, p, n, &b->e) < 0 && b->e.msg[0];
}

struct image {
	uint32_t code[2];
	uint64_t text, size, flags;
	uint32_t version, reserved1;
	uint64_t reserved2, magic;
	uint32_t magic2, pe;
	char body[64];
};

static struct image image(void)
{
	struct image m = {.code = {0x00005a4d}, .text = TEXT, .size = 4096, .magic2 = 0x05435352};
	memcpy(&m.magic, "RISCV\0\0\0", 8);
	memcpy(m.body, "body", 5);
	return m;
}

TEST(load_image_goes_to_its_offset)
{
	struct bench b = bench();
	struct image m = image();
	char body[5];
	m.text = 2 * TEXT;
	CHECK(loads(&b, false, &m, sizeof(m), NULL));
	CHECK(b.at.entry == RAM + 2 * TEXT && b.at.end == b.at.start + 4096);
	CHECK(gmem_read(b.ram.mem, b.at.start + 64, body, 5) && !strcmp(body, "body"));
	m.text = 0;
	CHECK(loads(&b, false, &m, sizeof(m), NULL) && b.at.entry == AT);
	gmem_free(b.ram.mem);
}

TEST(load_image_with_hostile_header)
{
	struct bench b = bench();
	struct image m = image();
	CHECK(loads(&b, false, &m, 63, "cut short: its Image header is not all there"));
	m.size = UINT64_MAX;
	CHECK(loads(&b, false, &m, sizeof(m), "its Image header has an absurd size"));
	m.size = 64 * MIB;
	CHECK(loads(&b, false, &m, sizeof(m), "needs 66 MiB, the guest has 32 MiB of memory"));
	m.size = UINT64_MAX / 2;
	CHECK(refuses(&b, &m, sizeof(m)));
	m = image();
	m.text = 4096;
	CHECK(loads(&b, false, &m, sizeof(m),
		    "its Image header wants an impossible load offset, 0x1000"));
	m.text = LEN;
	CHECK(loads(&b, false, &m, sizeof(m),
		    "wants to be loaded at 0x82000000, where there is no memory"));
	m.text = ~(uint64_t)(TEXT - 1);
	CHECK(refuses(&b, &m, sizeof(m)));
	m = image();
	m.flags = 1;
	CHECK(loads(&b, false, &m, sizeof(m), "made for big-endian RISC-V"));
	gmem_free(b.ram.mem);
}

TEST(load_image_cut_short_of_its_sections)
{
	struct bench b = bench();
	uint8_t file[1024] = {0};
	struct image m = image();
	uint32_t length = 512, start = 512, sections = 1;
	m.pe = 0x40;			     /* the body */
	memcpy(m.body, "PE\0\0\x64\x50", 6); /* as Linux is built */
	memcpy(m.body + 6, &sections, 2);
	memcpy(file, &m, sizeof(m));
	memcpy(file + 0x40 + 24 + 16, &length, 4);
	memcpy(file + 0x40 + 24 + 20, &start, 4);
	CHECK(loads(&b, false, file, 1024, NULL));
	CHECK(loads(&b, false, file, 1023,
		    "cut short: an EFI section runs over the end of the file"));
	CHECK(refuses(&b, file, 0x40 + 24 + 39));
	gmem_free(b.ram.mem);
}

struct elf_file {
	Elf64_Ehdr h;
	Elf64_Phdr p[2];
	char body[16];
};

static struct elf_file elf(void)
{
	struct elf_file f = {
		.h = {.e_machine = EM_RISCV,
		      .e_type = ET_EXEC,
		      .e_entry = RAM + 4,
		      .e_phoff = sizeof(Elf64_Ehdr),
		      .e_phnum = 2,
		      .e_phentsize = sizeof(Elf64_Phdr)},
		.p = {{.p_type = PT_LOAD,
		       .p_offset = offsetof(struct elf_file, body),
		       .p_vaddr = RAM,
		       .p_paddr = RAM,
		       .p_filesz = 16,
		       .p_memsz = 64}},
		.body = "segment",
	};
	memcpy(f.h.e_ident, ELFMAG, SELFMAG);
	f.h.e_ident[EI_CLASS] = ELFCLASS64;
	f.h.e_ident[EI_DATA] = ELFDATA2LSB;
	return f;
}

TEST(load_elf_segments_and_zeroes)
{
	struct bench b = bench();
	struct elf_file f = elf();
	char got[64], want[64] = "segment";
	memset(got, 'x', sizeof(got));
	CHECK(gmem_write(b.ram.mem, RAM, got, sizeof(got)));
	CHECK(loads(&b, false, &f, sizeof(f), NULL));
	CHECK(b.at.entry == RAM + 4 && b.at.start == RAM && b.at.end == RAM + 64);
	CHECK(gmem_read(b.ram.mem, RAM, got, 64) && !memcmp(got, want, 64));
	gmem_free(b.ram.mem);
}

TEST(load_elf_with_virtual_entry_and_low_addresses)
{
	struct bench b = bench();
	struct elf_file f = elf();
	f.p[0].p_vaddr = 0xffffffff80000000;
	f.p[0].p_paddr = 0x1000;
	f.h.e_entry = 0xffffffff80000008;
	CHECK(loads(&b, false, &f, sizeof(f), NULL));
	CHECK(b.at.start == AT + 0x1000 && b.at.entry == AT + 0x1008);
	gmem_free(b.ram.mem);
}

TEST(load_elf_with_hostile_headers)
{
	struct bench b = bench();
	struct elf_file f = elf();
	CHECK(loads(&b, false, &f, 63, "cut short in the ELF header"));
	CHECK(loads(&b, false, &f, 100, "cut short in the ELF program headers"));
	CHECK(loads(&b, false, &f, sizeof(f) - 1,
		    "cut short: an ELF segment runs over the end of the file"));
	f.h.e_phnum = 65535;
	CHECK(loads(&b, false, &f, sizeof(f), "cut short in the ELF program headers"));
	f.h.e_phnum = 0;
	CHECK(loads(&b, false, &f, sizeof(f), "an ELF file with nothing to load"));
	f = elf();
	f.h.e_phoff = UINT64_MAX - 8;
	CHECK(loads(&b, false, &f, sizeof(f), "cut short in the ELF program headers"));
	f = elf();
	f.h.e_phentsize = 8;
	CHECK(loads(&b, false, &f, sizeof(f), "a damaged ELF file: program headers of 8 bytes"));
	f = elf();
	f.p[0].p_memsz = 8;
	CHECK(loads(&b, false, &f, sizeof(f),
		    "a damaged ELF file: a segment smaller than its contents"));
	f.p[0].p_memsz = 64;
	f.p[0].p_paddr = UINT64_MAX - 8;
	CHECK(loads(&b, false, &f, sizeof(f),
		    "a damaged ELF file: a segment beyond all addresses"));
	f = elf();
	f.p[0].p_memsz = 1ull << 62;
	CHECK(refuses(&b, &f, sizeof(f)));
	f = elf();
	f.h.e_entry = RAM + 64;
	CHECK(loads(&b, false, &f, sizeof(f),
		    "a damaged ELF file: it starts outside what it loads"));
	f = elf();
	f.p[0].p_offset = UINT64_MAX;
	CHECK(refuses(&b, &f, sizeof(f)));
	gmem_free(b.ram.mem);
}

TEST(load_elf_total_is_bounded) /* 65,535 headers of all memory each would take hours */
{
	struct bench b = bench();
	struct elf_file f = elf();
	f.p[0].p_memsz = f.p[1].p_memsz = 20 * MIB;
	f.p[1].p_type = PT_LOAD;
	f.p[1].p_paddr = RAM;
	CHECK(loads(&b, false, &f, sizeof(f), "needs 20 MiB, the guest has 32 MiB of memory"));
	gmem_free(b.ram.mem);
}

TEST(load_names_what_is_wrong)
{
	struct bench b = bench();
	struct elf_file f = elf();
	uint8_t x86[0x400] = {0}, arm[64] = {0}, pe[256] = "MZ";
	f.h.e_machine = EM_X86_64;
	CHECK(loads(&b, false, &f, sizeof(f), "made for x86-64, this guest is riscv64"));
	f.h.e_machine = EM_RISCV;
	f.h.e_ident[EI_CLASS] = ELFCLASS32;
	CHECK(loads(&b, true, &f, sizeof(f), "made for riscv32, this guest is riscv64"));
	memcpy(x86 + 0x202, "HdrS", 4);
	CHECK(loads(&b, false, x86, sizeof(x86), "made for x86, this guest is riscv64"));
	memcpy(arm + 56, "ARM\x64", 4);
	CHECK(loads(&b, true, arm, sizeof(arm), "made for arm64, this guest is riscv64"));
	pe[0x3c] = 0x80;
	memcpy(pe + 0x80, "PE\0\0\x64\x86", 6);
	CHECK(loads(&b, false, pe, sizeof(pe), "made for x86-64, this guest is riscv64"));
	CHECK(loads(&b, false, "", 0, "the file is empty"));
	CHECK(loads(&b, true, "", 0, "the file is empty"));
	CHECK(loads(&b, false, "#!/bin/sh", 9, "neither a RISC-V Image nor an ELF file"));
	CHECK(loads(&b, false, "\xfd\x37zXZ", 5, "packed with xz; unpack it first"));
	gmem_free(b.ram.mem);
}

TEST(load_flat_firmware)
{
	struct bench b = bench();
	uint32_t code[4] = {0x13, 0x13, 0x13, 0x13};
	CHECK(loads(&b, true, code, sizeof(code), NULL));
	CHECK(b.at.entry == AT && b.at.end == AT + 16);
	gmem_free(b.ram.mem);
}

static size_t gzipped(uint8_t *out, size_t room, const void *p, size_t n)
{
	z_stream z = {0};
	CHECK(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	z.next_in = (uint8_t *)(uintptr_t)p;
	z.avail_in = (unsigned)n;
	z.next_out = out;
	z.avail_out = (unsigned)room;
	CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
	(void)deflateEnd(&z);
	return room - z.avail_out;
}

TEST(load_gzip_of_image)
{
	struct bench b = bench();
	struct image m = image();
	uint8_t z[512];
	size_t n = gzipped(z, sizeof(z), &m, sizeof(m));
	CHECK(loads(&b, false, z, n, NULL) && b.at.entry == AT);
	for (size_t cut = 2; cut < n; cut++)
		CHECK(loads(&b, false, z, cut, "cut short: its gzip data ends too early"));
	z[n / 2] ^= 0xff;
	CHECK(refuses(&b, z, n));
	uint8_t twice[600];
	n = gzipped(z, sizeof(z), &m, sizeof(m));
	n = gzipped(twice, sizeof(twice), z, n);
	CHECK(loads(&b, false, twice, n, "packed twice"));
	gmem_free(b.ram.mem);
}

TEST(load_gzip_bomb)
{
	struct bench b = bench();
	size_t n = LEN + 2 * MIB;
	uint8_t *zeros = calloc(1, n), *z = malloc(MIB);
	size_t len = gzipped(z, MIB, zeros, n);
	CHECK(loads(&b, false, z, len, "unpacks to more than 32 MiB"));
	free(zeros);
	free(z);
	gmem_free(b.ram.mem);
}

static struct load_file file_of(const char *name, uint64_t size)
{
	struct load_file f = {"initrd", name, memfd_create(name, MFD_CLOEXEC), size};
	CHECK(f.fd >= 0 && ftruncate(f.fd, (off_t)size) == 0 && pwrite(f.fd, "cpio", 4, 0) == 4);
	return f;
}

TEST(load_initrd_at_the_top)
{
	struct bench b = bench();
	struct load_file f = file_of("i", 5000);
	char got[4];
	CHECK(load_initrd(&b.at, &b.ram, AT, RAM + LEN, &f, &b.e) == 0);
	CHECK(b.at.start == RAM + LEN - 8192 && b.at.end == b.at.start + 5000);
	CHECK(gmem_read(b.ram.mem, b.at.start, got, 4) && !memcmp(got, "cpio", 4));
	f.size = 6000; /* it shrank since it was opened */
	CHECK(load_initrd(&b.at, &b.ram, AT, RAM + LEN, &f, &b.e) == -EIO);
	CHECK(!strcmp(b.e.msg, "initrd i: it became shorter while being read"));
	load_close(&f);
	gmem_free(b.ram.mem);
}

TEST(load_initrd_larger_than_memory)
{
	struct bench b = bench();
	struct load_file f = file_of("big", 33 * MIB);
	CHECK(load_initrd(&b.at, &b.ram, AT, RAM + LEN, &f, &b.e) == -ENOSPC);
	CHECK(!strcmp(b.e.msg, "initrd big: its 33 MiB do not fit into 32 MiB of memory"));
	f.size = UINT64_MAX;
	CHECK(load_initrd(&b.at, &b.ram, AT, RAM + LEN, &f, &b.e) == -ENOSPC);
	f.size = 30 * MIB + 1;
	CHECK(load_initrd(&b.at, &b.ram, AT, RAM + LEN, &f, &b.e) == -ENOSPC);
	load_close(&f);
	gmem_free(b.ram.mem);
}

TEST(load_opens_files_only)
{
	struct load_file f = {.fd = -1};
	struct err e = {0};
	CHECK(load_open(&f, "kernel", "/nonexistent", &e) == -ENOENT);
	CHECK(!strcmp(e.msg, "kernel /nonexistent: No such file or directory"));
	CHECK(load_open(&f, "kernel", "/", &e) == -EINVAL);
	CHECK(!strcmp(e.msg, "kernel /: not a file"));
	CHECK(load_open(&f, "kernel", "/dev/zero", &e) == -EINVAL);
	load_close(&f);
}
