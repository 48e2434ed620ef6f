#include "base/buf.h"
#include "base/test.h"
#include "dev/dev.h"
#include "guest/guest.h"
#include "hw/gmem.h"
#include "vm/acpi.h"
#include "vm/board.h"
#include "vm/pc.h"
#include "vm/smbios.h"

/* n bytes of an item, by the ports, as firmware reads them */
static void read_item(struct device *d, unsigned key, void *to, size_t n)
{
	d->ops->write(d, 0, key, 2);
	for (uint8_t *p = to; n--; p++) *p = (uint8_t)d->ops->read(d, 1, 1);
}

static uint64_t number(struct device *d, unsigned key, unsigned len)
{
	uint8_t v[8] = {0};
	read_item(d, key, v, len);
	return load_le(v, len);
}

/* A file by its name; its length, or 0. */
static size_t read_file(struct device *d, const char *name, struct buf *to)
{
	uint8_t head[4], e[64];
	read_item(d, FW_CFG_FILE_DIR, head, 4);
	for (unsigned i = __builtin_bswap32((uint32_t)load_le(head, 4)); i--;) {
		for (unsigned j = 0; j < sizeof(e); j++) e[j] = (uint8_t)d->ops->read(d, 1, 1);
		if (strcmp((char *)e + 8, name)) continue;
		size_t n = __builtin_bswap32((uint32_t)load_le(e, 4));
		read_item(d, (unsigned)e[4] << 8 | e[5], buf_room(to, n), n);
		return n;
	}
	return 0;
}

TEST(pc_firmware_finds_its_files)
{
	enum { SECTS = 2, SETUP = (SECTS + 1) * 512, LEN = 3000 };
	static uint8_t kernel[LEN] = {[0x1f1] = SECTS, [SETUP] = 0x42}, initrd[100] = {7};
	struct pc_map map = pc_map(3 * GIB);
	struct pc_acpi c = {.map = &map, .cpus = 2, .pci = true, .fw_cfg = true};
	struct smbios s = {.cpus = 2, .low = map.low, .high = map.high, .uuid = {1, 2, 3}};
	struct pc_firmware f = {&c, &s, true, kernel, LEN, initrd, sizeof(initrd), "quiet"};
	struct gmem *mem = gmem_new();
	struct device *d;
	struct acpi a = {0};
	struct buf b = {0};
	char line[6];
	CHECK(fw_cfg_new(&d, mem, NULL) == 0);
	pc_firmware(d, &f);
	pc_acpi(&a, &c);
	CHECK(read_file(d, "etc/acpi/tables", &b) == a.tables.len);
	CHECK(!memcmp(b.at, a.tables.at, b.len));
	b.len = 0;
	CHECK(read_file(d, "etc/acpi/rsdp", &b) == 36 && !memcmp(b.at, "RSD PTR ", 8));
	b.len = 0;
	CHECK(read_file(d, "etc/table-loader", &b) && b.len % 128 == 0 && b.at[0] == 1);
	b.len = 0;
	CHECK(read_file(d, "etc/e820", &b) == 40 && load_le(b.at + 8, 8) == 2 * GIB);
	CHECK(load_le(b.at + 20, 8) == 4 * GIB && load_le(b.at + 28, 8) == GIB);
	b.len = 0;
	CHECK(read_file(d, "etc/smbios/smbios-anchor", &b) == 24 && !memcmp(b.at, "_SM3_", 5));
	size_t tables = load_le(b.at + 12, 4);
	b.len = 0;
	CHECK(read_file(d, "etc/smbios/smbios-tables", &b) == tables && tables);
	CHECK(!read_file(d, "etc/none", &b));
	CHECK(number(d, FW_CFG_MEMORY, 8) == 3 * GIB && number(d, FW_CFG_CPUS, 2) == 2);
	CHECK(number(d, FW_CFG_SETUP_SIZE, 4) == SETUP);
	CHECK(number(d, FW_CFG_KERNEL_SIZE, 4) == LEN - SETUP);
	CHECK(number(d, FW_CFG_KERNEL_DATA, 1) == 0x42 && number(d, FW_CFG_SETUP_DATA, 1) == 0);
	CHECK(number(d, FW_CFG_INITRD_SIZE, 4) == 100 && number(d, FW_CFG_INITRD_DATA, 1) == 7);
	CHECK(number(d, FW_CFG_INITRD_ADDRESS, 4) == 2 * GIB - 4096);
	CHECK(number(d, FW_CFG_CMDLINE_SIZE, 4) == 6);
	read_item(d, FW_CFG_CMDLINE_DATA, line, 6);
	CHECK(!strcmp(line, "quiet"));
	buf_done(&b);
	acpi_done(&a);
	device_free(d);
	gmem_free(mem);
}

TEST(pc_firmware_with_a_kernel_of_any_length)
{
	static const uint8_t kernel[1024] = {[0x1f1] = 255};
	for (size_t n = 0; n <= sizeof(kernel); n += 31) {
		struct pc_map map = pc_map(64 * MIB);
		struct pc_acpi c = {.map = &map, .cpus = 1};
		struct smbios s = {.cpus = 1, .low = map.low};
		struct pc_firmware f = {
			.acpi = &c, .smbios = &s, .kernel = kernel, .kernel_len = n};
		struct device *d;
		CHECK(fw_cfg_new(&d, NULL, NULL) == 0);
		pc_firmware(d, &f);
		CHECK(number(d, FW_CFG_SETUP_SIZE, 4) + number(d, FW_CFG_KERNEL_SIZE, 4) == n);
		device_free(d);
	}
}

static bool boots_in_order(const struct spec *s, const char *want)
{
	const struct board_drive at[] = {{2, 0}, {10, 0}, {3, 0}, {10, 1}};
	struct gmem *mem = gmem_new();
	auto_buf struct buf got = {0};
	struct device *d;
	CHECK(fw_cfg_new(&d, mem, NULL) == 0);
	pc_boot_order(d, s, at);
	size_t n = read_file(d, "bootorder", &got);
	device_free(d);
	gmem_free(mem);
	return want ? n == strlen(want) + 1 && !strcmp(got.at, want) : !n;
}

TEST(pc_firmware_is_told_what_to_boot)
{
	struct spec s = {.disk = {{.bus = BUS_VIRTIO},
				  {.bus = BUS_CDROM},
				  {.bus = BUS_NVME},
				  {.bus = BUS_SATA}},
			 .ndisks = 4};
	CHECK(boots_in_order(&s, "/pci@i0cf8/scsi@2/disk@0,0\n"
				 "/pci@i0cf8/pci8086,5845@3/namespace@1,0\n"
				 "/pci@i0cf8/pci8086,2922@a/drive@1/disk@0\n"
				 "/pci@i0cf8/pci8086,2922@a/drive@0/disk@0"));
	s.ndisks = 2;
	s.boot_cdrom = true;
	CHECK(boots_in_order(&s, "/pci@i0cf8/pci8086,2922@a/drive@0/disk@0\n"
				 "/pci@i0cf8/scsi@2/disk@0,0"));
	s.ndisks = 0;
	CHECK(boots_in_order(&s, NULL));
}
