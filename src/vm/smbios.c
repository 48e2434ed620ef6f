/* SMBIOS tables: each a fixed part, whose bytes name strings by number, and the strings behind it.
 * Numbers at the margin are sections of DSP0134 3.0 §7, and offsets there. */
#include "vm/smbios.h"
#include "hw/gmem.h"
#include <errno.h>

enum { BIOS = 0, SYSTEM = 1, CHASSIS = 3, CPU = 4, ARRAY = 16, MODULE = 17, MAPPED = 19 };
enum { BOOT = 32, END = 127, UNKNOWN = 2, OTHER = 1 };
enum { H_BIOS, H_SYSTEM, H_CHASSIS, H_CPU, H_ARRAY, H_MODULE, H_LOW, H_HIGH, H_BOOT, H_END };
enum { NONE = 0xffff };

struct table {
	struct buf *b;
	size_t start;
	unsigned strings;
	struct buf text;
};

static void put(struct table *t, uint64_t v, unsigned len)
{
	store_le(buf_room(t->b, len), v, len);
}

static struct table begin(struct buf *b, unsigned type, unsigned handle)
{
	struct table t = {.b = b, .start = b->len};
	put(&t, type, 1);
	put(&t, 0, 1);
	put(&t, handle, 2);
	return t;
}

/* A string's number; no such: 0. */
static void put_text(struct table *t, const char *s)
{
	if (s && *s) buf_add(&t->text, s, strlen(s) + 1);
	put(t, s && *s ? ++t->strings : 0, 1);
}

static void end(struct table *t, size_t len)
{
	must(t->b->len - t->start == len && len <= UINT8_MAX);
	t->b->at[t->start + 1] = (char)len;
	if (t->strings)
		buf_add(t->b, t->text.at, t->text.len);
	else
		(void)buf_room(t->b, 1);
	(void)buf_room(t->b, 1);
	buf_done(&t->text);
}

static void add_bios(struct buf *b) /* 7.1 */
{
	struct table t = begin(b, BIOS, H_BIOS);
	put_text(&t, "Lodge");
	put_text(&t, "1");
	put(&t, 0xf000, 2); /* where its segment begins */
	put_text(&t, "01/01/2026");
	put(&t, 0, 1);	    /* 64 KiB */
	put(&t, 1 << 3, 8); /* its characteristics are not told */
	put(&t, 1, 1);	    /* ACPI */
	put(&t, 0x14, 1);   /* a virtual machine; contents as expected */
	put(&t, 1, 1);	    /* 1.0 */
	put(&t, 0, 1);
	put(&t, NONE, 2); /* no embedded controller */
	end(&t, 0x18);
}

static void add_system(struct buf *b, const struct smbios *s) /* 7.2 */
{
	const uint8_t *u = s->uuid;
	struct table t = begin(b, SYSTEM, H_SYSTEM);
	put_text(&t, "Lodge");
	put_text(&t, "Virtual Machine");
	put_text(&t, "pc");
	put_text(&t, s->name);
	put(&t, (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3], 4);
	put(&t, (uint64_t)u[4] << 8 | u[5], 2); /* 7.2.1: the first three are little-endian */
	put(&t, (uint64_t)u[6] << 8 | u[7], 2);
	buf_add(b, u + 8, 8);
	put(&t, 6, 1); /* woken by the power switch */
	put_text(&t, NULL);
	put_text(&t, NULL);
	end(&t, 0x1b);
}

static void add_chassis(struct buf *b) /* 7.4 */
{
	enum { SAFE = 3, UNLOCKED = 3 };
	struct table t = begin(b, CHASSIS, H_CHASSIS);
	put_text(&t, "Lodge");
	put(&t, OTHER, 1);
	put(&t, 0, 3); /* no version, serial number, tag */
	put(&t, SAFE, 1);
	put(&t, SAFE, 1);
	put(&t, SAFE, 1);
	put(&t, UNLOCKED, 1);
	put(&t, 0, 4);
	put(&t, 0, 5); /* height, power cords, what is in it, SKU */
	end(&t, 0x16);
}

static void add_cpu(struct buf *b, const struct smbios *s) /* 7.5: one socket has them all */
{
	enum { CENTRAL = 3, ENABLED = 0x41, NO_UPGRADE = 6, HAS_64_BITS = 4, MANY = 255 };
	unsigned few = s->cpus < MANY ? s->cpus : MANY;
	struct table t = begin(b, CPU, H_CPU);
	put_text(&t, "CPU 0");
	put(&t, CENTRAL, 1);
	put(&t, OTHER, 1);
	put_text(&t, "Lodge");
	put(&t, 0, 8); /* CPUID tells */
	put(&t, 0, 8); /* no version; volts and clocks are not known */
	put(&t, ENABLED, 1);
	put(&t, NO_UPGRADE, 1);
	for (unsigned i = 0; i < 3; i++) put(&t, NONE, 2); /* caches: CPUID, too */
	put(&t, 0, 3);
	for (unsigned i = 0; i < 3; i++) put(&t, few, 1); /* cores, those enabled, threads */
	put(&t, HAS_64_BITS, 2);
	put(&t, OTHER, 2);
	for (unsigned i = 0; i < 3; i++) put(&t, s->cpus, 2);
	end(&t, 0x30);
}

static void add_array(struct buf *b, const struct smbios *s) /* 7.17 */
{
	enum { ELSEWHERE = 1, SYSTEM_MEMORY = 3, MULTI_BIT = 6, NO_ERRORS = 0xfffe };
	uint64_t kib = (s->low + s->high) / KIB, wide = 0x80000000;
	struct table t = begin(b, ARRAY, H_ARRAY);
	put(&t, ELSEWHERE, 1);
	put(&t, SYSTEM_MEMORY, 1);
	put(&t, MULTI_BIT, 1);
	put(&t, kib < wide ? kib : wide, 4);
	put(&t, NO_ERRORS, 2);
	put(&t, 1, 2);
	put(&t, kib < wide ? 0 : kib * KIB, 8);
	end(&t, 0x17);
}

static void add_module(struct buf *b, const struct smbios *s) /* 7.18 */
{
	enum { DIMM = 9, RAM = 7, OTHER_DETAIL = 2, WIDE = 0x7fff, NO_ERRORS = 0xfffe };
	uint64_t mib = (s->low + s->high) / MIB;
	struct table t = begin(b, MODULE, H_MODULE);
	put(&t, H_ARRAY, 2);
	put(&t, NO_ERRORS, 2);
	put(&t, NONE, 2); /* widths: not known */
	put(&t, NONE, 2);
	put(&t, mib < WIDE ? mib : WIDE, 2);
	put(&t, DIMM, 1);
	put(&t, 0, 1);
	put_text(&t, "DIMM 0");
	put(&t, 0, 1);
	put(&t, RAM, 1);
	put(&t, OTHER_DETAIL, 2);
	put(&t, 0, 2);
	put_text(&t, "Lodge");
	put(&t, 0, 4); /* serial number, tag, part; ranks */
	put(&t, mib < WIDE ? 0 : mib, 4);
	put(&t, 0, 8); /* clock and volts: not known */
	end(&t, 0x28);
}

static void add_mapped(struct buf *b, unsigned handle, uint64_t at, uint64_t len) /* 7.20 */
{
	struct table t = begin(b, MAPPED, handle);
	must((at + len) / KIB < UINT32_MAX);
	put(&t, at / KIB, 4);
	put(&t, (at + len) / KIB - 1, 4);
	put(&t, H_ARRAY, 2);
	put(&t, 1, 1);
	put(&t, 0, 8);
	put(&t, 0, 8);
	end(&t, 0x1f);
}

void smbios_tables(struct buf *to, const struct smbios *s)
{
	add_bios(to);
	add_system(to, s);
	add_chassis(to);
	add_cpu(to, s);
	add_array(to, s);
	add_module(to, s);
	add_mapped(to, H_LOW, 0, s->low);
	if (s->high) add_mapped(to, H_HIGH, 4 * GIB, s->high);
	struct table boot = begin(to, BOOT, H_BOOT); /* 7.33: no errors */
	put(&boot, 0, 7);
	end(&boot, 0xb);
	struct table last = begin(to, END, H_END);
	end(&last, 4);
}

void smbios_entry(uint8_t to[SMBIOS_ENTRY], gpa_t tables, size_t len) /* 5.2.2 */
{
	uint8_t sum = 0;
	memset(to, 0, SMBIOS_ENTRY);
	memcpy(to, "_SM3_", 5);
	to[6] = SMBIOS_ENTRY;
	to[7] = 3;  /* version 3.0 */
	to[10] = 1; /* of this entry point */
	store_le(to + 12, len, 4);
	store_le(to + 16, tables, 8);
	for (unsigned i = 0; i < SMBIOS_ENTRY; i++) sum = (uint8_t)(sum + to[i]);
	to[5] = (uint8_t)-sum;
}

int smbios_place(const struct smbios *s, struct gmem *mem, gpa_t base, size_t room, struct err *e)
{
	enum { BEHIND = 32 };
	auto_buf struct buf b = {0};
	uint8_t entry[SMBIOS_ENTRY];
	must(base % 16 == 0);
	smbios_tables(&b, s);
	if (b.len + BEHIND > room)
		return fail(e, -ENOSPC, "SMBIOS: %zu bytes of tables, there is room for %zu", b.len,
			    room - BEHIND);
	smbios_entry(entry, base + BEHIND, b.len);
	bool ok = gmem_write(mem, base, entry, sizeof(entry));
	ok = ok && gmem_write(mem, base + BEHIND, b.at, b.len);
	return ok ? 0 : fail(e, -EFAULT, "SMBIOS: no memory at 0x%llx", (unsigned long long)base);
}
