/* What a kernel that was loaded without firmware finds below 1 MiB, and in the first CPU's
 * registers: the least that its boot protocol asks for. */
#include "hw/gmem.h"
#include "vm/load_pc.h"
#include <errno.h>

/* Where; all of it is the kernel's to overwrite once it has read it. */
enum {
	AT_GDT = 0x1000,
	AT_PARAMS = 0x2000, /* boot_params, or hvm_start_info and what it points to */
	AT_SETUP_DATA = 0x3000,
	AT_TABLES = 0x4000, /* 6 pages */
	AT_STACK = 0xc000,  /* ends here */
	AT_CMDLINE = 0x20000,
	CMDLINE_ROOM = 0x10000,
};

/* Segments. GDT entries as boot.rst wants them: __BOOT_CS 0x10, __BOOT_DS 0x18. */
enum { SEL_CODE = 0x10, SEL_DATA = 0x18, SEL_TSS = 0x20, GDT_ENTRIES = 6 };
enum { CODE64 = 0xa09b, CODE32 = 0xc09b, DATA = 0xc093, TSS_BUSY = 0x8b, TSS_LIMIT = 0x67 };

static uint64_t descriptor(struct pc_segment g) /* Intel SDM volume 3, §3.4.5 */
{
	uint64_t limit = g.access & 0x8000 ? g.limit >> 12 : g.limit;
	return (limit & 0xffff) | (limit >> 16 & 15) << 48 | (uint64_t)(g.access & 0xff) << 40 |
	       (uint64_t)(g.access >> 12) << 52 | (g.base & 0xffffff) << 16 |
	       (g.base >> 24 & 0xff) << 56;
}

static bool put_segments(struct pc_start *s, struct gmem *mem, bool wide)
{
	uint64_t gdt[GDT_ENTRIES] = {0};
	s->cs = (struct pc_segment){SEL_CODE, wide ? CODE64 : CODE32, UINT32_MAX, 0};
	s->data = (struct pc_segment){SEL_DATA, DATA, UINT32_MAX, 0};
	s->tr = (struct pc_segment){SEL_TSS, TSS_BUSY, TSS_LIMIT, 0};
	gdt[SEL_CODE / 8] = descriptor(s->cs);
	gdt[SEL_DATA / 8] = descriptor(s->data);
	gdt[SEL_TSS / 8] = descriptor(s->tr);
	s->gdt = AT_GDT;
	s->gdt_limit = sizeof(gdt) - 1;
	return gmem_write(mem, AT_GDT, gdt, sizeof(gdt));
}

/* The first 4 GiB where they are, by pages of 2 MiB. */
static bool put_tables(struct gmem *mem)
{
	enum { PRESENT = 3 /* and writable */, LARGE = 0x80, ENTRIES = 512, GIBS = 4 };
	uint64_t page[ENTRIES] = {AT_TABLES + PC_PAGE + PRESENT};
	bool ok = gmem_write(mem, AT_TABLES, page, sizeof(page));
	for (unsigned i = 0; i < GIBS; i++) page[i] = AT_TABLES + (2ull + i) * PC_PAGE + PRESENT;
	ok = ok && gmem_write(mem, AT_TABLES + PC_PAGE, page, sizeof(page));
	for (uint64_t g = 0; g < GIBS; g++) {
		for (uint64_t i = 0; i < ENTRIES; i++)
			page[i] = (g * ENTRIES + i) * (2 * MIB) | LARGE | PRESENT;
		ok = ok && gmem_write(mem, AT_TABLES + (2 + g) * PC_PAGE, page, sizeof(page));
	}
	return ok;
}

static int put_cmdline(const struct pc_kernel *k, const struct pc_boot *b, struct err *e)
{
	const char *line = b->append ? b->append : "";
	size_t n = strlen(line), most = CMDLINE_ROOM - 1;
	if (k->cmdline_max && k->cmdline_max < most) most = k->cmdline_max;
	if (n > most)
		return fail(e, -E2BIG, "append: %zu bytes, and this kernel takes %zu", n, most);
	if (!gmem_write(b->mem, AT_CMDLINE, line, n + 1)) return fail(e, -EFAULT, "no memory");
	return 0;
}

/* Linux: boot.rst and arch/x86/include/uapi/asm/bootparam.h, by offset in boot_params */

enum {
	ACPI_RSDP = 0x070,
	E820_COUNT = 0x1e8,
	HDR = 0x1f1,
	LOADER = 0x210,
	INITRD = 0x218,
	INITRD_LEN = 0x21c,
	CMDLINE = 0x228,
	SETUP_DATA = 0x250,
	E820 = 0x2d0,
};
enum { OTHER_LOADER = 0xff, SETUP_RNG_SEED = 9 };

static bool put_seed(const struct pc_boot *b)
{
	uint8_t d[16 + sizeof(b->seed)] = {0}; /* next, type, length */
	store_le(d + 8, SETUP_RNG_SEED, 4);
	store_le(d + 12, sizeof(b->seed), 4);
	memcpy(d + 16, b->seed, sizeof(b->seed));
	return gmem_write(b->mem, AT_SETUP_DATA, d, sizeof(d));
}

static bool put_params(const struct pc_kernel *k, const struct pc_boot *b)
{
	uint8_t p[PC_PAGE] = {0};
	struct pc_range range[PC_RANGES];
	unsigned n = pc_ranges(b->map, range);
	memcpy(p + HDR, k->header, k->header_len);
	p[LOADER] = OTHER_LOADER;
	store_le(p + INITRD, b->initrd_end != b->initrd ? b->initrd : 0, 4);
	store_le(p + INITRD_LEN, b->initrd_end - b->initrd, 4);
	store_le(p + CMDLINE, AT_CMDLINE, 4);
	store_le(p + SETUP_DATA, AT_SETUP_DATA, 8);
	store_le(p + ACPI_RSDP, b->rsdp, 8);
	p[E820_COUNT] = (uint8_t)n;
	memcpy(p + E820, range, n * sizeof(range[0]));
	return gmem_write(b->mem, AT_PARAMS, p, sizeof(p)) && put_seed(b);
}

static bool start_linux(struct pc_start *s, const struct pc_kernel *k, const struct pc_boot *b)
{
	enum { CR0 = 0x80000011 /* PG, ET, PE */, PAE = 0x20, LONG = 0x500 /* LMA, LME */ };
	s->rsi = AT_PARAMS;
	s->cr0 = CR0;
	s->cr3 = AT_TABLES;
	s->cr4 = PAE;
	s->efer = LONG;
	return put_segments(s, b->mem, true) && put_tables(b->mem) && put_params(k, b);
}

/* PVH: Xen's xen/include/public/arch-x86/hvm/start_info.h, version 1 */

enum { START_LEN = 56, MODULE_AT = AT_PARAMS + 64, MODULE_LEN = 32, RANGES_AT = AT_PARAMS + 128 };

static bool put_ranges(const struct pc_boot *b, unsigned *n)
{
	struct pc_range range[PC_RANGES];
	uint8_t to[PC_RANGES][24] = {0}; /* address, length, type as in E820, reserved */
	*n = pc_ranges(b->map, range);
	for (unsigned i = 0; i < *n; i++) memcpy(to[i], &range[i], sizeof(range[i]));
	return gmem_write(b->mem, RANGES_AT, to, sizeof(to));
}

static bool put_start_info(const struct pc_boot *b)
{
	enum { START_MAGIC = 0x336ec578 };
	uint8_t p[START_LEN] = {0}, module[MODULE_LEN] = {0};
	bool initrd = b->initrd_end != b->initrd;
	unsigned ranges;
	bool ok = put_ranges(b, &ranges);
	store_le(module, b->initrd, 8);
	store_le(module + 8, b->initrd_end - b->initrd, 8);
	store_le(p, START_MAGIC, 4);
	store_le(p + 4, 1, 4);
	store_le(p + 12, initrd, 4);
	store_le(p + 16, initrd ? MODULE_AT : 0, 8);
	store_le(p + 24, AT_CMDLINE, 8);
	store_le(p + 32, b->rsdp, 8);
	store_le(p + 40, RANGES_AT, 8);
	store_le(p + 48, ranges, 4);
	return ok && gmem_write(b->mem, MODULE_AT, module, sizeof(module)) &&
	       gmem_write(b->mem, AT_PARAMS, p, sizeof(p));
}

static bool start_pvh(struct pc_start *s, const struct pc_boot *b)
{
	s->rbx = AT_PARAMS;
	s->cr0 = 0x11; /* ET, PE */
	return put_segments(s, b->mem, false) && put_start_info(b);
}

int pc_boot(struct pc_start *out, const struct pc_kernel *k, const struct pc_boot *b, struct err *e)
{
	must(b->initrd <= b->initrd_end && b->initrd_end <= PC_LOW_MAX);
	*out = (struct pc_start){.rip = k->at.entry, .rsp = AT_STACK, .rflags = 2};
	int r = put_cmdline(k, b, e);
	if (r < 0) return r;
	bool ok = k->protocol == PC_LINUX64 ? start_linux(out, k, b) : start_pvh(out, b);
	return ok ? 0 : fail(e, -EFAULT, "no memory below 1 MiB to boot with");
}
