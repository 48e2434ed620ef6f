/* Write the tables of some boards into a folder, a file each, for run.sh to have them judged by
 * programs that know better: NAME/SIGN.dat for iasl, NAME/smbios.bin for dmidecode. */
#include "base/file.h"
#include "vm/acpi.h"
#include "vm/pc.h"
#include "vm/smbios.h"
#include <stdio.h>
#include <stdlib.h>

static const struct board {
	const char *name;
	uint64_t memory;
	struct pc_acpi c;
} boards[] = {
	{"one", 64 * MIB, {.cpus = 1, .pci = true, .rtc = true}},
	{"two",
	 3 * GIB,
	 {.cpus = 2, .pci = true, .rtc = true, .i8042 = true, .fw_cfg = true, .generation = true}},
	{"full",
	 64 * GIB,
	 {.cpus = 255,
	  .pci = true,
	  .rtc = true,
	  .i8042 = true,
	  .hpet = true,
	  .fw_cfg = true,
	  .virtios = PC_VIRTIOS}},
	{"many", 512 * GIB, {.cpus = 300, .pci = true}},
	{"nopci", 128 * MIB, {.cpus = 2, .virtios = PC_VIRTIOS}},
	{"reduced", 128 * MIB, {.cpus = 1, .reduced = true, .virtios = 2}},
	{"reducedpci", 4 * GIB, {.cpus = 300, .reduced = true, .pci = true, .rtc = true}},
};

static void put(const char *dir, const char *name, const void *p, size_t n)
{
	char path[512];
	struct err e;
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	must(file_replace(path, p, n, 0644, &e) == 0);
}

/* As firmware gets them, to be put together by it */
static void put_firmware(const char *dir, const struct acpi *a)
{
	struct buf loader = {0};
	acpi_loader(a, &loader);
	put(dir, "fw.tables", a->tables.at, a->tables.len);
	put(dir, "fw.rsdp", a->rsdp.at, a->rsdp.len);
	put(dir, "fw.loader", loader.at, loader.len);
	buf_done(&loader);
}

/* Each table by its own length, from the one after the other. */
static void put_acpi(const char *dir, const struct pc_acpi *c)
{
	struct acpi a = {0};
	char name[16];
	pc_acpi(&a, c);
	put_firmware(dir, &a);
	acpi_resolve(&a, PC_BIOS + 64);
	for (size_t at = 0; at < a.tables.len;) {
		const char *p = a.tables.at + at;
		size_t len = load_le(p + 4, 4);
		must(len >= 36 && len <= a.tables.len - at);
		(void)snprintf(name, sizeof(name), "%.4s.dat", p);
		put(dir, name, p, len);
		at += (len + 63) / 64 * 64;
	}
	put(dir, "rsdp.bin", a.rsdp.at, a.rsdp.len);
	acpi_done(&a);
}

static void put_smbios(const char *dir, const struct board *b, const struct pc_map *m)
{
	enum { BEHIND = 32 }; /* as dmidecode --dump-bin has it */
	struct buf all = {0}, tables = {0};
	struct smbios s = {b->c.cpus,
			   m->low,
			   m->high,
			   {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb,
			    0xcc, 0xdd, 0xee, 0xff},
			   "web"};
	smbios_tables(&tables, &s);
	smbios_entry(buf_room(&all, BEHIND), BEHIND, tables.len);
	buf_add(&all, tables.at, tables.len);
	put(dir, "smbios.bin", all.at, all.len);
	buf_done(&all);
	buf_done(&tables);
}

int main(int argc, char **argv)
{
	must(argc == 2);
	for (size_t i = 0; i < COUNT(boards); i++) {
		char dir[256];
		struct err e;
		struct pc_map map = pc_map(boards[i].memory);
		struct pc_acpi c = boards[i].c;
		c.map = &map;
		(void)snprintf(dir, sizeof(dir), "%s/%s", argv[1], boards[i].name);
		must(dir_make(dir, &e) == 0);
		put_acpi(dir, &c);
		put_smbios(dir, &boards[i], &map);
		(void)printf("%s %u %llu\n", boards[i].name, c.cpus,
			     (unsigned long long)boards[i].memory / MIB);
	}
	return 0;
}
