/* x86-64 kernels into memory. The boot protocols want the kernel at an address of its own choice,
 * so there is little to decide: whether the file is whole, whether it has a 64-bit or PVH entry,
 * and whether the memory it asks for is there. */
#include "vm/load_pc.h"
#include "base/own.h"
#include "vm/load_impl.h"
#include <elf.h>
#include <errno.h>

/* The setup header, by offset in the file: boot.rst, "The Real-Mode Kernel Header" */
enum {
	HDR = 0x1f1,
	SETUP_SECTS = 0x1f1,
	SYSSIZE = 0x1f4,
	BOOT_FLAG = 0x1fe,
	JUMP = 0x201, /* its operand: where the header ends, from 0x202 on */
	MAGIC = 0x202,
	VERSION = 0x206,
	LOADFLAGS = 0x211,
	INITRD_MAX = 0x22c,
	XLOADFLAGS = 0x236,
	CMDLINE_SIZE = 0x238,
	PREF_ADDRESS = 0x258,
	INIT_SIZE = 0x260,
	HDR_LEAST = 0x264, /* up to here it must reach */
	HDR_MOST = 0x290,
	SECTOR = 512,
	ENTRY_64 = 0x200, /* from where the kernel was loaded */
};
enum { LOADED_HIGH = 1, XLF_KERNEL_64 = 1, LEAST_VERSION = 0x20c };

static int header_check(struct span s, size_t setup, struct err *e)
{
	unsigned version = (unsigned)field(s, VERSION, 2);
	if (s.n < HDR_MOST || s.n <= setup)
		return fail(e, -ENOEXEC, "cut short: its setup header is not all there");
	if (field(s, BOOT_FLAG, 2) != 0xaa55)
		return fail(e, -ENOEXEC,
			    "a damaged bzImage: no signature at the end of its first "
			    "sector");
	if (version < LEAST_VERSION)
		return fail(e, -ENOEXEC,
			    "too old a kernel: it has boot protocol %u.%02u, this "
			    "needs 2.12",
			    version >> 8, version & 0xff);
	if (!(field(s, LOADFLAGS, 1) & LOADED_HIGH))
		return fail(e, -ENOEXEC, "a zImage, which wants to be loaded below 1 MiB");
	if (!(field(s, XLOADFLAGS, 2) & XLF_KERNEL_64))
		return fail(e, -ENOEXEC, "a bzImage without a 64-bit entry: made for 32-bit x86?");
	if (MAGIC + field(s, JUMP, 1) < HDR_LEAST)
		return fail(e, -ENOEXEC, "a damaged bzImage: its setup header ends too early");
	return 0;
}

static void header_take(struct pc_kernel *k, struct span s)
{
	size_t end = MAGIC + (size_t)field(s, JUMP, 1);
	if (end > HDR_MOST) end = HDR_MOST;
	k->header_len = (unsigned)(end - HDR);
	memcpy(k->header, s.p + HDR, k->header_len);
	k->cmdline_max = (uint32_t)field(s, CMDLINE_SIZE, 4);
	k->initrd_top = field(s, INITRD_MAX, 4) + 1;
}

static int load_bzimage(struct pc_kernel *k, const struct load_ram *ram, struct span s,
			struct err *e)
{
	uint64_t sects = field(s, SETUP_SECTS, 1), at = field(s, PREF_ADDRESS, 8);
	uint64_t room = field(s, INIT_SIZE, 4), size = field(s, SYSSIZE, 4) * 16;
	size_t setup = ((size_t)(sects ? sects : 4) + 1) * SECTOR;
	int r = header_check(s, setup, e);
	if (r < 0) return r;
	struct span code = {s.p + setup, s.n - setup};
	if (size >= code.n + 16) return fail(e, -ENOEXEC, "cut short: it should be longer");
	if (code.n <= ENTRY_64) return fail(e, -ENOEXEC, "cut short before its 64-bit entry");
	if (at < PC_MIB || at % PC_PAGE)
		return fail(e, -ENOEXEC, "a damaged bzImage: it wants to be at 0x%llx",
			    (unsigned long long)at);
	if (room < code.n) room = code.n;
	if (at < ram->len && room > ram->len - at) return load_too_big(ram, at + room, e);
	r = load_put(ram, at, code, code.n, e); /* it clears what it needs cleared */
	if (r < 0) return r;
	header_take(k, s);
	k->protocol = PC_LINUX64;
	k->at = (struct load_place){at + ENTRY_64, at, at + room};
	return 0;
}

/* PVH: an ELF note says where the 32-bit entry is */

enum { PHYS32_ENTRY = 18, NOTE_HEADER = 12 };

static bool note_find(struct span s, uint64_t *entry)
{
	for (size_t at = 0; at + NOTE_HEADER <= s.n;) {
		uint64_t name = field(s, at, 4), desc = field(s, at + 4, 4);
		uint64_t body = at + NOTE_HEADER + (name + 3) / 4 * 4;
		bool xen = name == 4 && has(s, at + NOTE_HEADER, "Xen", 4);
		if (xen && field(s, at + 8, 4) == PHYS32_ENTRY && (desc == 4 || desc == 8)) {
			*entry = field(s, body, (unsigned)desc);
			return body + desc <= s.n;
		}
		at = body + (desc + 3) / 4 * 4;
	}
	return false;
}

/* Notes and code are looked at once: 65,535 headers may not each name the whole file. */
static int pvh_entry(struct span s, uint64_t *entry, struct err *e)
{
	struct elf f;
	uint64_t seen = 0;
	bool found = false;
	int r = elf_open(&f, s, e);
	for (uint64_t i = 0; r == 0 && i < f.phnum; i++) {
		struct segment g = elf_segment(&f, i);
		if (g.type != PT_NOTE && (g.type != PT_LOAD || !g.memsz)) continue;
		if (g.type == PT_NOTE) g.memsz = g.filesz; /* it need not be loaded */
		r = segment_check(&f, &g, e);
		if (r < 0) break;
		if (g.type == PT_LOAD && g.paddr < PC_MIB)
			return fail(e, -ENOEXEC, "wants to be loaded at 0x%llx, below 1 MiB",
				    (unsigned long long)g.paddr);
		if (g.type != PT_NOTE || found) continue;
		seen += g.filesz;
		if (seen > s.n) return fail(e, -ENOEXEC, "a damaged ELF file: notes overlap");
		found = note_find((struct span){s.p + g.off, g.filesz}, entry);
	}
	if (r == 0 && !found)
		return fail(e, -ENOEXEC,
			    "an ELF file without a PVH entry; a Linux kernel's bzImage will do");
	return r;
}

static int load_pvh(struct pc_kernel *k, const struct load_ram *ram, struct span s, struct err *e)
{
	enum { CMDLINE_MAX = 2047, INITRD_TOP = 0x7fffffff };
	uint64_t entry = 0;
	int r = pvh_entry(s, &entry, e);
	if (r == 0) r = load_elf(&k->at, ram, UINT64_MAX, s, e);
	if (r < 0) return r;
	if (entry < k->at.start || entry >= k->at.end)
		return fail(e, -ENOEXEC,
			    "a damaged ELF file: its PVH entry is outside what it "
			    "loads");
	k->protocol = PC_PVH;
	k->at.entry = entry;
	k->cmdline_max = CMDLINE_MAX;
	k->initrd_top = INITRD_TOP + 1ull;
	return 0;
}

/* Either */

static int load_span(struct pc_kernel *k, const struct load_ram *ram, struct span s, struct err *e)
{
	static const char kinds[] = "neither a Linux bzImage nor an ELF kernel";
	*k = (struct pc_kernel){0};
	int r;
	if (load_foreign(s, ARCH_X86_64))
		r = load_unknown(s, ARCH_X86_64, kinds, e);
	else if (has(s, 0, ELFMAG, SELFMAG))
		r = load_pvh(k, ram, s, e);
	else if (has(s, MAGIC, "HdrS", 4))
		r = load_bzimage(k, ram, s, e);
	else if (has(s, 0, "MZ", 2))
		r = fail(e, -ENOEXEC, "an EFI program; it needs a firmware to start it");
	else
		r = load_unknown(s, ARCH_X86_64, kinds, e);
	gpa_t end = ram->base + ram->len;
	if (k->initrd_top > end) k->initrd_top = end;
	return r;
}

int load_pc_bytes(struct pc_kernel *k, const struct load_ram *ram, const uint8_t *p, size_t n,
		  struct err *e)
{
	struct span s = {p, n};
	auto_mem uint8_t *unpacked = NULL;
	must(!ram->base && ram->len <= PC_LOW_MAX);
	if (has(s, 0, "\x1f\x8b", 2)) {
		int r = load_gunzip(&unpacked, &s.n, ram->len, s, e);
		if (r < 0) return r;
		s.p = unpacked;
	}
	return load_span(k, ram, s, e);
}

int load_pc_kernel(struct pc_kernel *k, const struct load_ram *ram, const struct load_file *f,
		   struct err *e)
{
	auto_mem uint8_t *p = NULL;
	int r = load_read(&p, f, e);
	if (r < 0) return r;
	r = load_pc_bytes(k, ram, p, f->size, e);
	return r < 0 ? fail_in(e, "%s %s", f->what, f->path) : 0;
}
