/* The DSDT of the x86-64 board: what pc.h lists, as a guest's ACPI interpreter wants to hear it.
 * One function a device, in the order in which iasl prints them. */
#include "vm/aml.h"
#include "vm/pc.h"
#include <stdio.h>

enum { PRESENT = 0xf, PINS = 4, SLOTS = 32, PIC_MODE = 0, S5_ITEMS = 4, POWER_PRESSED = 0x80 };

static void begin_device(struct aml *a, const char *name, const char *id, unsigned uid)
{
	aml_device(a, name);
	aml_name(a, "_HID");
	strlen(id) == 7 ? aml_id(a, id) : aml_text(a, id);
	aml_name(a, "_UID");
	aml_int(a, uid);
}

static void begin_resources(struct aml *a)
{
	aml_name(a, "_CRS");
	aml_resources(a);
}

/* A device on ports and at most one interrupt of the ISA bus; irq 0: none. */
static void add_isa(struct aml *a, const char *name, const char *id, uint16_t port, uint8_t len,
		    unsigned irq)
{
	begin_device(a, name, id, 1);
	aml_name(a, "_STA");
	aml_int(a, PRESENT);
	begin_resources(a);
	aml_res_io(a, port, len);
	if (irq) aml_res_irq(a, irq);
	aml_end(a);
	aml_end(a);
}

static void add_keyboard(struct aml *a)
{
	begin_device(a, "KBD", "PNP0303", 1);
	begin_resources(a);
	aml_res_io(a, PC_PORT_I8042, 1);
	aml_res_io(a, PC_PORT_I8042 + 4, 1);
	aml_res_irq(a, PC_GSI_KEYBOARD);
	aml_end(a);
	aml_end(a);
	begin_device(a, "MOU", "PNP0F13", 1);
	begin_resources(a);
	aml_res_irq(a, PC_GSI_MOUSE);
	aml_end(a);
	aml_end(a);
}

static void add_hpet(struct aml *a)
{
	begin_device(a, "HPET", "PNP0103", 0);
	begin_resources(a);
	aml_res_memory(a, (uint32_t)PC_HPET, 0x400);
	aml_end(a);
	aml_end(a);
}

static void add_small(struct aml *a, const struct pc_acpi *c)
{
	enum { FW_CFG_PORTS = 12 };
	add_isa(a, "COM1", "PNP0501", PC_PORT_UART, 8, PC_GSI_UART);
	if (c->rtc) add_isa(a, "RTC", "PNP0B00", PC_PORT_RTC, 2, PC_GSI_RTC);
	if (c->i8042) add_keyboard(a);
	if (c->hpet) add_hpet(a);
	if (c->fw_cfg) add_isa(a, "FWCF", "QEMU0002", PC_PORT_FW_CFG, FW_CFG_PORTS, 0);
}

static void add_virtios(struct aml *a, const struct pc_acpi *c)
{
	char name[8];
	must(c->virtios <= PC_VIRTIOS);
	for (unsigned i = 0; i < c->virtios; i++) {
		(void)snprintf(name, sizeof(name), "VR%02X", i & 0xff);
		begin_device(a, name, "LNRO0005", i);
		aml_name(a, "_CCA"); /* coherent */
		aml_int(a, 1);
		begin_resources(a);
		aml_res_memory(a, (uint32_t)(PC_VIRTIO + i * PC_VIRTIO_LEN), PC_VIRTIO_LEN);
		aml_res_gsi(a, PC_GSI_VIRTIO + i, false);
		aml_end(a);
		aml_end(a);
	}
}

/* Processors: ACPI 6.4 §8.4. _UID is what the MADT says. */
static void add_cpus(struct aml *a, const struct pc_acpi *c)
{
	char name[8];
	for (unsigned i = 0; i < c->cpus; i++) {
		(void)snprintf(name, sizeof(name), "C%03X", i & 0xfff);
		begin_device(a, name, "ACPI0007", i);
		aml_end(a);
	}
}

/* PCI */

static void add_windows(struct aml *a, const struct pc_acpi *c)
{
	begin_resources(a);
	aml_res_buses(a, 0, 0);
	aml_res_io(a, PC_PORT_PCI, 8);
	aml_res_ports(a, 0, PC_PORT_PCI - 1);
	aml_res_ports(a, PC_PORT_PCI + 8, UINT16_MAX);
	aml_res_window32(a, PC_VGA, PC_VGA + PC_VGA_LEN - 1);
	aml_res_window32(a, PC_MMIO32, PC_MMIO32_END - 1);
	aml_res_window64(a, c->map->window64, c->map->window64 + PC_WINDOW64 - 1);
	aml_end(a);
}

/* §6.2.13: address, pin, no link device, GSI. Slots take turns with the four wires. */
static void add_routes(struct aml *a, const char *name, bool pic)
{
	aml_name(a, name);
	aml_package(a, SLOTS * PINS);
	for (unsigned i = 0; i < SLOTS * PINS; i++) {
		unsigned slot = i / PINS, pin = i % PINS, wire = (slot + pin) % PINS;
		aml_package(a, 4);
		aml_int(a, slot << 16 | 0xffff);
		aml_int(a, pin);
		aml_int(a, 0);
		aml_int(a, pic ? pc_pic_irq(wire) : PC_GSI_PCI + wire);
		aml_end(a);
	}
	aml_end(a);
}

static void add_routing(struct aml *a, const struct pc_acpi *c)
{
	add_routes(a, "PRTA", false);
	if (!c->reduced) add_routes(a, "PRTP", true);
	aml_method(a, "_PRT", 0, false);
	if (!c->reduced) {
		aml_if(a);
		aml_op(a, AML_EQUAL);
		aml_path(a, "\\PICM");
		aml_int(a, PIC_MODE);
		aml_op(a, AML_RETURN);
		aml_path(a, "PRTP");
		aml_end(a);
	}
	aml_op(a, AML_RETURN);
	aml_path(a, "PRTA");
	aml_end(a);
}

static void create_dword(struct aml *a, unsigned off, const char *name)
{
	aml_op(a, AML_CREATE_DWORD);
	aml_arg(a, 3);
	aml_int(a, off);
	aml_path(a, name);
}

/* §6.2.11 and PCI Firmware 3.3 §4.5: all that a root bus without root ports can have is the
 * guest's own. Arguments: UUID, revision, count, the words. */
static void add_osc(struct aml *a)
{
	enum { MASK = 0x1f, UNKNOWN_UUID = 4 };
	static const uint8_t uuid[16] = {0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
					 0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};
	aml_method(a, "_OSC", 4, true);
	create_dword(a, 0, "CDW1");
	aml_if(a);
	aml_op(a, AML_EQUAL);
	aml_arg(a, 0);
	aml_bytes(a, uuid, sizeof(uuid));
	create_dword(a, 8, "CDW3");
	aml_op(a, AML_AND);
	aml_path(a, "CDW3");
	aml_int(a, MASK);
	aml_path(a, "CDW3");
	aml_op(a, AML_RETURN);
	aml_arg(a, 3);
	aml_end(a);
	aml_op(a, AML_OR);
	aml_path(a, "CDW1");
	aml_int(a, UNKNOWN_UUID);
	aml_path(a, "CDW1");
	aml_op(a, AML_RETURN);
	aml_arg(a, 3);
	aml_end(a);
}

static void add_pci(struct aml *a, const struct pc_acpi *c)
{
	begin_device(a, "PCI0", "PNP0A08", 0);
	aml_name(a, "_CID");
	aml_id(a, "PNP0A03");
	aml_name(a, "_SEG");
	aml_int(a, 0);
	aml_name(a, "_BBN");
	aml_int(a, 0);
	aml_name(a, "_CCA");
	aml_int(a, 1);
	add_windows(a, c);
	add_osc(a);
	add_routing(a, c);
	aml_end(a);
	begin_device(a, "ECAM", "PNP0C02", 0); /* so that nobody else takes it */
	begin_resources(a);
	aml_res_memory(a, (uint32_t)PC_ECAM, (uint32_t)PC_ECAM_RESERVED);
	aml_end(a);
	aml_end(a);
}

/* Power. The button is a fixed one (FADT), or this: §5.6.9, an event device that asks a port. */
static void add_button(struct aml *a)
{
	begin_device(a, "PWRB", "PNP0C0C", 0);
	aml_end(a);
	begin_device(a, "GED", "ACPI0013", 0);
	begin_resources(a);
	aml_res_gsi(a, PC_GSI_SCI, true);
	aml_end(a);
	aml_port_field(a, "EREG", "EVTS", PC_PORT_EVENTS);
	aml_method(a, "_EVT", 1, true);
	aml_if(a);
	aml_op(a, AML_AND);
	aml_path(a, "EVTS");
	aml_int(a, 1);
	aml_nowhere(a);
	aml_op(a, AML_NOTIFY);
	aml_path(a, "\\_SB.PWRB");
	aml_int(a, POWER_PRESSED);
	aml_end(a);
	aml_end(a);
	aml_end(a);
}

/* Virtual Machine Generation ID: where it is, and who says that it has changed. Names are those
 * that Windows and Linux look for. */
static void add_generation(struct aml *a)
{
	enum { CHANGED = 0x80 };
	begin_device(a, "VGEN", "LODG0001", 0);
	aml_name(a, "_CID");
	aml_text(a, "VM_Gen_Counter");
	aml_name(a, "_DDN");
	aml_text(a, "VM_Gen_Counter");
	begin_resources(a);
	aml_res_memory(a, (uint32_t)PC_GENERATION, (uint32_t)PC_CHIP_LEN);
	aml_end(a);
	aml_name(a, "ADDR");
	aml_package(a, 2);
	aml_int(a, PC_GENERATION);
	aml_int(a, 0);
	aml_end(a);
	aml_end(a);
	begin_device(a, "GEV", "ACPI0013", 1);
	begin_resources(a);
	aml_res_gsi(a, PC_GSI_GENERATION, true);
	aml_end(a);
	aml_method(a, "_EVT", 1, true);
	aml_op(a, AML_NOTIFY);
	aml_path(a, "\\_SB.VGEN");
	aml_int(a, CHANGED);
	aml_end(a);
	aml_end(a);
}

static void add_s5(struct aml *a, const struct pc_acpi *c)
{
	aml_name(a, "\\_S5");
	aml_package(a, S5_ITEMS);
	aml_int(a, c->reduced ? PC_S5_REDUCED : PC_S5_PM1);
	for (unsigned i = 1; i < S5_ITEMS; i++) aml_int(a, 0);
	aml_end(a);
}

/* The guest says which interrupt controllers it uses: §5.8.1. */
static void add_pic(struct aml *a)
{
	aml_name(a, "\\PICM");
	aml_int(a, PIC_MODE);
	aml_method(a, "\\_PIC", 1, false);
	aml_op(a, AML_STORE);
	aml_arg(a, 0);
	aml_path(a, "\\PICM");
	aml_end(a);
}

void pc_dsdt(struct buf *b, const struct pc_acpi *c)
{
	struct aml a = {.b = b};
	if (!c->reduced) add_pic(&a);
	add_s5(&a, c);
	aml_scope(&a, "\\_SB");
	add_cpus(&a, c);
	add_small(&a, c);
	add_virtios(&a, c);
	if (c->pci) add_pci(&a, c);
	if (c->reduced) add_button(&a);
	if (c->generation) add_generation(&a);
	aml_end(&a);
	must(!a.depth);
}
