#ifndef VM_PC_H
#define VM_PC_H
#include "base/err.h"
#include "base/types.h"
#include <stdbool.h>
#include <stddef.h>
/* The board for x86-64: its addresses, ports and interrupts, in this one place for the board, the
 * tables that tell the guest of it, and the loaders. It is laid out as the field's common q35
 * machine, because SeaBIOS and OVMF know that one without being told. */
struct buf;

/* Memory. [0, low) is RAM, but for the window of VGA; what is more lies from 4 GiB on. */
#define PC_LOW_MAX	 0x80000000ull
#define PC_EBDA		 0x9fc00ull /* conventional memory ends here */
#define PC_VGA		 0xa0000ull
#define PC_VGA_LEN	 0x20000ull
#define PC_BIOS		 0xe0000ull /* in direct boot: ACPI's tables */
#define PC_SMBIOS	 0xf0000ull /* in direct boot: the entry point, then the tables */
#define PC_MIB		 0x100000ull
#define PC_PAGE		 0x1000ull
#define PC_ECAM		 0xb0000000ull
#define PC_ECAM_LEN	 0x100000ull   /* one bus */
#define PC_ECAM_RESERVED 0x10000000ull /* firmware opens it for 256 buses */
#define PC_MMIO32	 0xc0000000ull /* 32-bit PCI memory, up to */
#define PC_MMIO32_END	 0xfec00000ull /* where SeaBIOS ends it */
#define PC_VIRTIO	 0xfef00000ull /* virtio-mmio transports, where there are any */
#define PC_VIRTIO_LEN	 0x1000ull     /* each */
#define PC_IOAPIC	 0xfec00000ull
#define PC_GENERATION	 0xfec10000ull /* a page with the machine's generation */
#define PC_HPET		 0xfed00000ull
#define PC_LAPIC	 0xfee00000ull
#define PC_CHIP_LEN	 0x1000ull     /* of each of these three */
#define PC_FLASH_ROOM	 0xffc00000ull /* firmware ends at 4 GiB, and may begin here */
#define PC_HIGH		 0x100000000ull
#define PC_WINDOW64	 (16 * GIB) /* of 64-bit PCI memory, at a multiple of itself above RAM */

/* Ports */
enum {
	PC_PORT_PIC = 0x20,
	PC_PORT_PIC2 = 0xa0,
	PC_PORT_PIT = 0x40,
	PC_PORT_I8042 = 0x60, /* data; the command port is 4 further */
	PC_PORT_RTC = 0x70,
	PC_PORT_DEBUG = 0x402, /* where SeaBIOS and OVMF write what they do */
	PC_PORT_UART = 0x3f8,
	PC_PORT_ELCR = 0x4d0,
	PC_PORT_FW_CFG = 0x510,
	PC_PORT_PM = 0x600, /* the power management block, as firmware places an ICH9's */
	PC_PORT_PM1_EVENT = PC_PORT_PM,
	PC_PORT_PM1_CONTROL = PC_PORT_PM + 4,
	PC_PORT_PM_TIMER = PC_PORT_PM + 8,	   /* of 24 bits */
	PC_PORT_SLEEP_CONTROL = PC_PORT_PM + 0x10, /* three of the hardware-reduced form */
	PC_PORT_SLEEP_STATUS = PC_PORT_PM + 0x11,
	PC_PORT_EVENTS = PC_PORT_PM + 0x12, /* read: bit 0 power button; reading clears it */
	PC_PORT_PCI = 0xcf8,		    /* address; data is 4 further */
	PC_PORT_RESET = 0xcf9,
	PC_RESET_VALUE = 0x0e, /* written there: a full reset (ICH9 §13.7.5) */
	/* SLP_TYP of soft-off: OVMF writes 0 to PM1 without asking; the reduced form has its own */
	PC_S5_PM1 = 0,
	PC_S5_REDUCED = 5,
};
/* Interrupts: numbers are global system interrupts, which are the IOAPIC's inputs, and of the
 * first 16 also the PICs' (but the PIT's, which is the PIC's 0). */
enum {
	PC_GSIS = 24,
	PC_GSI_KEYBOARD = 1,
	PC_GSI_PIT = 2,
	PC_GSI_UART = 4,
	PC_GSI_RTC = 8,
	PC_GSI_SCI = 9, /* level, active high; or the events of the hardware-reduced form, edge */
	PC_GSI_MOUSE = 12,
	PC_GSI_PCI = 16,    /* ..19: INTA to INTD of slot 0 */
	PC_GSI_VIRTIO = 20, /* ..23: of virtio-mmio transports, where there are any; or the last: */
	PC_GSI_GENERATION = 23,
	PC_VIRTIOS = PC_GSIS - PC_GSI_VIRTIO,
};
/* While no IOAPIC is in use, INTA to INTD reach the PICs instead. */
static inline unsigned pc_pic_irq(unsigned pin) { return 10 + pin % 2; }

/* What depends on how much memory there is. */
struct pc_map {
	uint64_t low, high; /* bytes of RAM from 0, from PC_HIGH */
	uint64_t window64;  /* where 64-bit PCI memory begins */
};
struct pc_map pc_map(uint64_t memory);

enum pc_range_type { PC_RAM = 1, PC_RESERVED = 2 }; /* as E820 numbers them (ACPI 6.4 §15.2) */
struct pc_range {
	uint64_t at, len;
	uint32_t type;
} __attribute__((packed)); /* as E820, boot_params and etc/e820 have it */
enum { PC_RANGES = 8 };
unsigned pc_ranges(const struct pc_map *m, struct pc_range out[PC_RANGES]);
/* For fw_cfg's etc/e820: what firmware cannot know, RAM as a whole. */
unsigned pc_ranges_for_firmware(const struct pc_map *m, struct pc_range out[PC_RANGES]);

/* ACPI (pc_acpi.c, pc_dsdt.c) */
struct acpi;
struct pc_acpi {
	const struct pc_map *map;
	unsigned cpus;	 /* with APIC ids from 0 on */
	bool pci;	 /* host bridge, ECAM */
	bool reduced;	 /* hardware-reduced: no PM block, PICs, PIT */
	bool i8042, rtc; /* there is one */
	bool hpet, fw_cfg;
	bool generation;  /* with no virtio-mmio transports */
	unsigned virtios; /* virtio-mmio transports, at most PC_VIRTIOS */
};
void pc_acpi(struct acpi *to, const struct pc_acpi *c); /* zeroed; freed by acpi_done() */
void pc_dsdt(struct buf *aml, const struct pc_acpi *c); /* its body, appended */

/* Firmware: everything fw_cfg has for it (pc_firmware.c). Kernel and initrd are lent. */
struct device;
struct smbios;
struct pc_firmware {
	const struct pc_acpi *acpi;
	const struct smbios *smbios;
	bool nographic;	       /* it is to use the serial port */
	const uint8_t *kernel; /* NULL: none; then no initrd either */
	size_t kernel_len;
	const uint8_t *initrd;
	size_t initrd_len; /* 0: none */
	const char *append;
};
void pc_firmware(struct device *fw_cfg, const struct pc_firmware *f);
/* The file "bootorder" for n disks of the spec: as they come, CDs behind the others or before. */
struct board_drive;
struct spec;
void pc_boot_order(struct device *fw_cfg, const struct spec *s, const struct board_drive *at);
#endif
