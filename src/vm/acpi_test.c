#include "base/test.h"
#include "hw/gmem.h"
#include "vm/acpi.h"
#include "vm/aml.h"
#include "vm/pc.h"
#include "vm/smbios.h"
#include <errno.h>

static uint8_t sum(const void *p, size_t n)
{
	uint8_t s = 0;
	for (const uint8_t *q = p; n--; q++) s = (uint8_t)(s + *q);
	return s;
}

static bool is(struct aml *a, const void *want, size_t n)
{
	bool same = a->b->len == n && !memcmp(a->b->at, want, n);
	buf_done(a->b);
	return same && !a->depth;
}
#define IS(a, ...) is((a), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

TEST(aml_numbers_are_as_short_as_can_be) /* ACPI 6.4 §20.2.3 */
{
	struct buf b = {0};
	struct aml a = {.b = &b};
	aml_int(&a, 0);
	aml_int(&a, 1);
	aml_int(&a, 2);
	aml_int(&a, 256);
	aml_int(&a, 65536);
	CHECK(IS(&a, 0, 1, 0x0a, 2, 0x0b, 0, 1, 0x0c, 0, 0, 1, 0));
	aml_int(&a, 1ull << 32);
	CHECK(IS(&a, 0x0e, 0, 0, 0, 0, 1, 0, 0, 0));
	aml_id(&a, "PNP0A08"); /* as the specification prints it: 0x080AD041 */
	CHECK(IS(&a, 0x0c, 0x41, 0xd0, 0x0a, 0x08));
}

TEST(aml_lengths_grow_with_what_they_measure) /* §20.2.4: 6, 12, 20 bits */
{
	static const struct {
		size_t body;
		uint8_t code[3];
		unsigned len;
	} cases[] = {{58, {0x3f}, 1},
		     {59, {0x41, 0x04}, 2},
		     {4089, {0x4f, 0xff}, 2},
		     {4090, {0x81, 0x00, 0x01}, 3}};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct buf b = {0};
		struct aml a = {.b = &b};
		aml_scope(&a, "ABCD"); /* 4 bytes of the body */
		(void)buf_room(&b, cases[i].body);
		aml_end(&a);
		CHECK(b.at[0] == 0x10 && !memcmp(b.at + 1, cases[i].code, cases[i].len));
		CHECK(b.len == 1 + cases[i].len + 4 + cases[i].body);
		CHECK(!memcmp(b.at + 1 + cases[i].len, "ABCD", 4));
		buf_done(&b);
	}
}

TEST(aml_names)
{
	struct buf b = {0};
	struct aml a = {.b = &b};
	aml_path(&a, "\\");
	CHECK(IS(&a, '\\', 0));
	aml_path(&a, "\\_SB.A");
	CHECK(IS(&a, '\\', 0x2e, '_', 'S', 'B', '_', 'A', '_', '_', '_'));
	aml_path(&a, "A.BCDE.F");
	CHECK(IS(&a, 0x2f, 3, 'A', '_', '_', '_', 'B', 'C', 'D', 'E', 'F', '_', '_', '_'));
}

TEST(aml_nests)
{
	struct buf b = {0};
	struct aml a = {.b = &b};
	aml_device(&a, "D");
	aml_name(&a, "_CRS");
	aml_resources(&a);
	aml_res_irq(&a, 4);
	aml_end(&a);
	aml_end(&a);
	CHECK(IS(&a, 0x5b, 0x82, 19, 'D', '_', '_', '_', 8, '_', 'C', 'R', 'S', 0x11, 8, 0x0a, 5,
		 0x22, 0x10, 0, 0x79, 0));
}

/* What firmware does with the loader's steps, from their published form alone. */
struct firmware {
	struct buf file[2]; /* tables, rsdp */
	uint64_t at[2];
	unsigned sums, pointers;
};

static unsigned file_of(const char *name)
{
	CHECK(!strcmp(name, "etc/acpi/tables") || !strcmp(name, "etc/acpi/rsdp"));
	return !strcmp(name, "etc/acpi/rsdp");
}

static void firmware_step(struct firmware *f, const char *p)
{
	unsigned n = file_of(p + 4);
	char *file = f->file[n].at;
	size_t a = load_le(p + 60, 4), b = load_le(p + 64, 4), c = load_le(p + 68, 4);
	switch (load_le(p, 4)) {
	case 1:
		CHECK(a == (n ? 16 : 64) && p[64] == (n ? 2 : 1));
		f->at[n] = n ? 0xf5000 : 0x7ffe0000;
		break;
	case 2:
		a = load_le(p + 116, 4), b = (uint8_t)p[120];
		CHECK(a + b <= f->file[n].len && f->at[n]);
		store_le(file + a, load_le(file + a, (unsigned)b) + f->at[file_of(p + 60)],
			 (unsigned)b);
		f->pointers++;
		break;
	case 3:
		CHECK(a < f->file[n].len && b + c <= f->file[n].len);
		file[a] = (char)(file[a] - (char)sum(file + b, c));
		f->sums++;
		break;
	default: CHECK(!"a known step");
	}
}

/* Follow RSDP and XSDT to all tables; how many there are. */
static unsigned walk(const struct firmware *f)
{
	const char *rsdp = f->file[1].at;
	CHECK(!memcmp(rsdp, "RSD PTR ", 8) && !sum(rsdp, 20) && !sum(rsdp, 36));
	const char *xsdt = f->file[0].at + (load_le(rsdp + 24, 8) - f->at[0]);
	unsigned n = (unsigned)(load_le(xsdt + 4, 4) - 36) / 8;
	CHECK(!memcmp(xsdt, "XSDT", 4) && !sum(xsdt, load_le(xsdt + 4, 4)));
	for (unsigned i = 0; i < n; i++) {
		uint64_t off = load_le(xsdt + 36 + i * 8, 8) - f->at[0];
		CHECK(off < f->file[0].len);
		const char *t = f->file[0].at + off;
		CHECK(!sum(t, load_le(t + 4, 4)));
		if (memcmp(t, "FACP", 4)) continue;
		const char *dsdt = f->file[0].at + (load_le(t + 140, 8) - f->at[0]);
		CHECK(load_le(t + 40, 4) == load_le(t + 140, 8));
		CHECK(!memcmp(dsdt, "DSDT", 4) && !sum(dsdt, load_le(dsdt + 4, 4)));
		CHECK(!memcmp(f->file[0].at + (load_le(t + 36, 4) - f->at[0]), "FACS", 4));
	}
	return n;
}

static const struct pc_acpi board = {.cpus = 2, .pci = true, .hpet = true};

TEST(acpi_loader_makes_what_direct_boot_makes)
{
	struct pc_map map = pc_map(GIB);
	struct pc_acpi c = board;
	struct acpi a = {0};
	struct firmware f = {0};
	struct buf steps = {0};
	c.map = &map;
	pc_acpi(&a, &c);
	buf_add(&f.file[0], a.tables.at, a.tables.len);
	buf_add(&f.file[1], a.rsdp.at, a.rsdp.len);
	acpi_loader(&a, &steps);
	CHECK(steps.len % 128 == 0);
	for (size_t i = 0; i < steps.len; i += 128) firmware_step(&f, steps.at + i);
	CHECK(walk(&f) == 4); /* FACP APIC MCFG HPET */
	CHECK(f.pointers == 3 + 4 + 1 && f.sums == 6 + 2);
	acpi_resolve(&a, f.at[0]);
	CHECK(!memcmp(a.tables.at, f.file[0].at, a.tables.len));
	CHECK(!memcmp(a.rsdp.at, f.file[1].at, a.rsdp.len));
	buf_done(&steps);
	buf_done(&f.file[0]);
	buf_done(&f.file[1]);
	acpi_done(&a);
}

TEST(acpi_place_has_bounds)
{
	struct pc_map map = pc_map(64 * MIB);
	struct pc_acpi c = board;
	struct acpi a = {0}, b = {0};
	struct gmem *mem = gmem_new();
	struct err e = {0};
	struct firmware f = {.at = {PC_BIOS + 64, PC_BIOS}};
	char rsdp[36];
	c.map = &map;
	pc_acpi(&a, &c);
	pc_acpi(&b, &c);
	CHECK(gmem_add(mem, 0, MIB, 0, &e) == 0);
	CHECK(acpi_place(&a, mem, PC_BIOS, a.tables.len + 63, &e) == -ENOSPC);
	CHECK(acpi_place(&a, mem, PC_BIOS, a.tables.len + 64, &e) == 0);
	CHECK(acpi_place(&b, mem, MIB, b.tables.len + 64, &e) == -EFAULT);
	CHECK(gmem_read(mem, PC_BIOS, rsdp, 36));
	buf_add(&f.file[1], rsdp, 36);
	CHECK(gmem_read(mem, PC_BIOS + 64, buf_room(&f.file[0], a.tables.len), a.tables.len));
	CHECK(walk(&f) == 4);
	buf_done(&f.file[0]);
	buf_done(&f.file[1]);
	acpi_done(&a);
	acpi_done(&b);
	gmem_free(mem);
}

TEST(acpi_for_as_many_cpus_as_there_may_be_fits)
{
	struct pc_map map = pc_map(512 * GIB);
	struct pc_acpi c = {.map = &map,
			    .cpus = 300,
			    .pci = true,
			    .rtc = true,
			    .i8042 = true,
			    .hpet = true,
			    .fw_cfg = true,
			    .virtios = PC_VIRTIOS};
	struct acpi a = {0};
	pc_acpi(&a, &c);
	CHECK(a.tables.len + 64 <= PC_SMBIOS - PC_BIOS);
	acpi_done(&a);
}

TEST(pc_memory_and_windows_keep_apart)
{
	static const uint64_t sizes[] = {64 * MIB,	 2 * GIB,  2 * GIB + 2 * MIB, 3 * GIB,
					 14 * GIB + MIB, 16 * GIB, 512 * GIB};
	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct pc_map m = pc_map(sizes[i]);
		struct pc_range r[PC_RANGES];
		uint64_t ram = 0, end = 0;
		unsigned n = pc_ranges(&m, r);
		CHECK(m.low + m.high == sizes[i] && m.low <= PC_ECAM);
		CHECK(m.window64 % PC_WINDOW64 == 0 && m.window64 >= PC_HIGH + m.high);
		for (unsigned j = 0; j < n; j++) {
			CHECK(r[j].at >= end && r[j].len);
			end = r[j].at + r[j].len;
			if (r[j].type == PC_RAM) ram += r[j].len;
		}
		CHECK(end <= m.window64 && n <= PC_RANGES);
		CHECK(ram == sizes[i] - (PC_MIB - PC_EBDA));
		CHECK(pc_ranges_for_firmware(&m, r) == (m.high ? 2 : 1) && r[0].len == m.low);
	}
}

TEST(smbios_at_its_place)
{
	struct smbios s = {.cpus = 2, .low = 2 * GIB, .high = GIB, .name = "web"};
	struct gmem *mem = gmem_new();
	struct err e = {0};
	uint8_t entry[SMBIOS_ENTRY], table[24];
	CHECK(gmem_add(mem, 0, MIB, 0, &e) == 0);
	CHECK(smbios_place(&s, mem, PC_SMBIOS, PC_MIB - PC_SMBIOS, &e) == 0);
	CHECK(gmem_read(mem, PC_SMBIOS, entry, sizeof(entry)));
	CHECK(!memcmp(entry, "_SM3_", 5) && !sum(entry, sizeof(entry)));
	size_t len = load_le(entry + 12, 4);
	CHECK(gmem_read(mem, load_le(entry + 16, 8), table, sizeof(table)));
	CHECK(table[0] == 0 && table[1] == 24 && len > 100);
	CHECK(gmem_read(mem, load_le(entry + 16, 8) + len - 6, table, 6));
	CHECK(table[0] == 127 && table[1] == 4 && !table[4] && !table[5]);
	CHECK(smbios_place(&s, mem, PC_SMBIOS, len + 31, &e) == -ENOSPC);
	CHECK(smbios_place(&s, mem, MIB, len + 32, &e) == -EFAULT);
	gmem_free(mem);
}
