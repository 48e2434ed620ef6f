/* What the x86-64 board tells SeaBIOS and OVMF by fw_cfg. File names and items are what those two
 * look for. */
#include "base/buf.h"
#include "dev/dev.h"
#include "guest/guest.h"
#include "vm/acpi.h"
#include "vm/board.h"
#include "vm/pc.h"
#include "vm/smbios.h"

static void give(struct device *d, const char *name, const struct buf *b)
{
	fw_cfg_file(d, name, b->at, b->len);
}

static void give_acpi(struct device *d, const struct pc_acpi *c)
{
	struct acpi a = {0};
	auto_buf struct buf loader = {0};
	pc_acpi(&a, c);
	acpi_loader(&a, &loader);
	give(d, ACPI_FILE_TABLES, &a.tables);
	give(d, ACPI_FILE_RSDP, &a.rsdp);
	give(d, ACPI_FILE_LOADER, &loader);
	acpi_done(&a);
}

static void give_smbios(struct device *d, const struct smbios *s)
{
	auto_buf struct buf tables = {0};
	uint8_t entry[SMBIOS_ENTRY];
	smbios_tables(&tables, s);
	smbios_entry(entry, 0, tables.len); /* the firmware fills in the address */
	fw_cfg_file(d, SMBIOS_FILE_ENTRY, entry, sizeof(entry));
	give(d, SMBIOS_FILE_TABLES, &tables);
}

static void give_kernel(struct device *d, const struct pc_firmware *f, const struct pc_map *map)
{
	enum { SETUP_AT = 0x10000, CMDLINE_AT = 0x20000, KERNEL_AT = 0x100000 };
	size_t setup = f->kernel_len > 0x1f1 ? (f->kernel[0x1f1] ? f->kernel[0x1f1] : 4) : 0;
	setup = (setup + 1) * 512; /* Linux' boot.rst: sectors, and the boot sector */
	const char *line = f->append ? f->append : "";
	if (setup > f->kernel_len) setup = f->kernel_len;
	fw_cfg_number(d, FW_CFG_SETUP_ADDRESS, SETUP_AT, 4);
	fw_cfg_number(d, FW_CFG_SETUP_SIZE, setup, 4);
	fw_cfg_lend(d, FW_CFG_SETUP_DATA, f->kernel, setup);
	fw_cfg_number(d, FW_CFG_KERNEL_ADDRESS, KERNEL_AT, 4);
	fw_cfg_number(d, FW_CFG_KERNEL_SIZE, f->kernel_len - setup, 4);
	fw_cfg_lend(d, FW_CFG_KERNEL_DATA, f->kernel + setup, f->kernel_len - setup);
	fw_cfg_number(d, FW_CFG_CMDLINE_ADDRESS, CMDLINE_AT, 4);
	fw_cfg_number(d, FW_CFG_CMDLINE_SIZE, strlen(line) + 1, 4);
	fw_cfg_item(d, FW_CFG_CMDLINE_DATA, line, strlen(line) + 1);
	if (!f->initrd_len) return;
	uint64_t top = map->low < f->initrd_len ? f->initrd_len : map->low;
	fw_cfg_number(d, FW_CFG_INITRD_ADDRESS, (top - f->initrd_len) & ~(PC_PAGE - 1), 4);
	fw_cfg_number(d, FW_CFG_INITRD_SIZE, f->initrd_len, 4);
	fw_cfg_lend(d, FW_CFG_INITRD_DATA, f->initrd, f->initrd_len);
}

/* As Open Firmware would name them, or nearly: QEMU's users of it have agreed on that. */
static void put_path(struct buf *to, const struct spec_disk *d, const struct board_drive *at)
{
	buf_fmt(to, "/pci@i0cf8/");
	if (d->bus == BUS_NVME)
		buf_fmt(to, "pci8086,5845@%x/namespace@1,0\n", at->slot);
	else if (d->bus == BUS_VIRTIO)
		buf_fmt(to, "scsi@%x/disk@0,0\n", at->slot);
	else
		buf_fmt(to, "pci8086,2922@%x/drive@%x/disk@0\n", at->slot, at->port);
}

void pc_boot_order(struct device *d, const struct spec *s, const struct board_drive *at)
{
	auto_buf struct buf text = {0};
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < s->ndisks; i++)
			if ((s->disk[i].bus == BUS_CDROM) == (s->boot_cdrom ^ pass))
				put_path(&text, &s->disk[i], &at[i]);
	if (!text.len) return;
	text.at[text.len - 1] = 0; /* for the last newline */
	give(d, "bootorder", &text);
}

void pc_firmware(struct device *d, const struct pc_firmware *f)
{
	const struct pc_acpi *c = f->acpi;
	struct pc_range range[PC_RANGES];
	unsigned n = pc_ranges_for_firmware(c->map, range);
	fw_cfg_item(d, FW_CFG_UUID, f->smbios->uuid, 16);
	fw_cfg_number(d, FW_CFG_MEMORY, c->map->low + c->map->high, 8);
	fw_cfg_number(d, FW_CFG_NOGRAPHIC, f->nographic, 2);
	fw_cfg_number(d, FW_CFG_CPUS, c->cpus, 2);
	fw_cfg_number(d, FW_CFG_CPUS_MAX, c->cpus, 2);
	fw_cfg_number(d, FW_CFG_BOOT_MENU, 0, 2);
	fw_cfg_number(d, FW_CFG_IRQ0_OVERRIDE, 1, 4);
	fw_cfg_file(d, "etc/e820", range, n * sizeof(range[0]));
	give_acpi(d, c);
	give_smbios(d, f->smbios);
	if (f->kernel) give_kernel(d, f, c->map);
}
