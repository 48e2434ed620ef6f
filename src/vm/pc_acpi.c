/* The ACPI tables of the x86-64 board, from pc.h. Field by field in the order of ACPI 6.4 §5.2;
 * numbers at the margin are sections and offsets there. */
#include "vm/acpi.h"
#include "vm/pc.h"

enum { FADT_LEN = 276, X2APIC_FROM = 255 /* as an APIC id, 255 is everyone */ };

static void put8(struct acpi *a, unsigned v) { acpi_put(a, (uint8_t)v, 1); }
static void put16(struct acpi *a, unsigned v) { acpi_put(a, (uint16_t)v, 2); }
static void put32(struct acpi *a, uint64_t v) { acpi_put(a, (uint32_t)v, 4); }
static void put64(struct acpi *a, uint64_t v) { acpi_put(a, v, 8); }

/* FADT: §5.2.9 */

enum fadt_flag { /* table 5.10 */
		 WBINVD = 1 << 0,
		 PROC_C1 = 1 << 2,
		 NO_POWER_BUTTON = 1 << 4, /* none of the fixed kind */
		 NO_SLEEP_BUTTON = 1 << 5,
		 NO_FIXED_RTC = 1 << 6, /* its alarm wakes nobody */
		 RESET_REGISTER = 1 << 10,
		 REDUCED = 1 << 20,
};
enum boot_flag { LEGACY = 1, I8042 = 2, NO_VGA = 4, NO_RTC = 32 }; /* table 5.11 */

static void fadt_ports(struct acpi *a, bool pm) /* 46..94 */
{
	put16(a, pm ? PC_GSI_SCI : 0);
	acpi_zero(a, 8); /* no SMI: ACPI is always on */
	put32(a, pm ? PC_PORT_PM1_EVENT : 0);
	put32(a, 0);
	put32(a, pm ? PC_PORT_PM1_CONTROL : 0);
	put32(a, 0);
	put32(a, 0);
	put32(a, pm ? PC_PORT_PM_TIMER : 0);
	acpi_zero(a, 8); /* no general-purpose events */
	put8(a, pm ? 4 : 0);
	put8(a, pm ? 2 : 0);
	put8(a, 0);
	put8(a, pm ? 4 : 0);
	acpi_zero(a, 3);
}

static void fadt_features(struct acpi *a, const struct pc_acpi *c) /* 95..131 */
{
	enum { NEVER = 0xfff, CENTURY = 0x32 };
	unsigned boot = (c->reduced ? 0 : LEGACY) | (c->i8042 ? I8042 : 0) | (c->rtc ? 0 : NO_RTC);
	unsigned power = c->reduced ? REDUCED | NO_POWER_BUTTON : 0;
	put8(a, 0);
	put16(a, NEVER); /* C2, C3: none */
	put16(a, NEVER);
	acpi_zero(a, 8); /* caches, throttling, alarms */
	put8(a, c->rtc ? CENTURY : 0);
	put16(a, boot | (c->pci ? 0 : NO_VGA));
	put8(a, 0);
	put32(a, WBINVD | PROC_C1 | NO_SLEEP_BUTTON | NO_FIXED_RTC | RESET_REGISTER | power);
	acpi_register(a, ACPI_PORT, PC_PORT_RESET, 1);
	put8(a, PC_RESET_VALUE);
	put16(a, 0); /* for ARM */
	put8(a, 0);  /* minor version: 6.0 */
}

static void fadt_block(struct acpi *a, unsigned port, unsigned bytes)
{
	if (port)
		acpi_register(a, ACPI_PORT, port, bytes);
	else
		acpi_zero(a, 12);
}

static void fadt_blocks(struct acpi *a, bool pm) /* 148..275 */
{
	fadt_block(a, pm ? PC_PORT_PM1_EVENT : 0, 4);
	fadt_block(a, 0, 0);
	fadt_block(a, pm ? PC_PORT_PM1_CONTROL : 0, 2);
	fadt_block(a, 0, 0);
	fadt_block(a, 0, 0);
	fadt_block(a, pm ? PC_PORT_PM_TIMER : 0, 4);
	fadt_block(a, 0, 0);
	fadt_block(a, 0, 0);
	fadt_block(a, pm ? 0 : PC_PORT_SLEEP_CONTROL, 1);
	fadt_block(a, pm ? 0 : PC_PORT_SLEEP_STATUS, 1);
	put64(a, 0); /* hypervisor identity */
}

static void add_fadt(struct acpi *a, const struct pc_acpi *c, uint32_t dsdt)
{
	uint32_t facs = c->reduced ? 0 : acpi_facs(a);
	uint32_t start = acpi_begin(a, "FACP", 6);
	if (c->reduced)
		put32(a, 0);
	else
		acpi_pointer(a, facs, 4);
	acpi_pointer(a, dsdt, 4);
	put16(a, 0); /* 44: reserved, no profile */
	fadt_ports(a, !c->reduced);
	fadt_features(a, c);
	put64(a, 0); /* X_FIRMWARE_CTRL: the other one is it */
	acpi_pointer(a, dsdt, 8);
	fadt_blocks(a, !c->reduced);
	must(a->tables.len - start == FADT_LEN);
	acpi_end(a, true);
}

/* MADT: §5.2.12 */

static void madt_cpu(struct acpi *a, unsigned id)
{
	if (id < X2APIC_FROM) {
		put16(a, 8 << 8 | 0); /* type 0, 8 bytes */
		put8(a, id);
		put8(a, id);
		put32(a, 1); /* enabled */
		return;
	}
	put16(a, 16 << 8 | 9);
	put16(a, 0);
	put32(a, id);
	put32(a, 1);
	put32(a, id);
}

enum { CONFORMS = 0, LEVEL_HIGH = 0xd };
static void madt_override(struct acpi *a, unsigned isa, unsigned gsi, unsigned flags)
{
	put16(a, 10 << 8 | 2);
	put8(a, 0);
	put8(a, isa);
	put32(a, gsi);
	put16(a, flags);
}

static void madt_ioapic(struct acpi *a)
{
	put16(a, 12 << 8 | 1);
	put8(a, 0); /* its id */
	put8(a, 0);
	put32(a, PC_IOAPIC);
	put32(a, 0); /* the first GSI */
}

static void madt_nmi(struct acpi *a, unsigned cpus) /* LINT1 of everyone */
{
	enum { LINT1 = 1 };
	put16(a, 6 << 8 | 4);
	put8(a, UINT8_MAX);
	put16(a, CONFORMS);
	put8(a, LINT1);
	if (cpus <= X2APIC_FROM) return;
	put16(a, 12 << 8 | 10);
	put16(a, CONFORMS);
	put32(a, UINT32_MAX);
	put8(a, LINT1);
	put16(a, 0);
	put8(a, 0);
}

static void add_madt(struct acpi *a, const struct pc_acpi *c)
{
	(void)acpi_begin(a, "APIC", 4);
	put32(a, PC_LAPIC);
	put32(a, c->reduced ? 0 : 1); /* there are PICs, too */
	for (unsigned i = 0; i < c->cpus; i++) madt_cpu(a, i);
	madt_ioapic(a);
	if (!c->reduced) {
		madt_override(a, 0, PC_GSI_PIT, CONFORMS);
		madt_override(a, PC_GSI_SCI, PC_GSI_SCI, LEVEL_HIGH);
	}
	madt_nmi(a, c->cpus);
	acpi_end(a, true);
}

/* PCI Firmware 3.3 §4.1.2 */
static void add_mcfg(struct acpi *a)
{
	(void)acpi_begin(a, "MCFG", 1);
	put64(a, 0);
	put64(a, PC_ECAM);
	put16(a, 0);
	put8(a, 0);
	put8(a, 0); /* the last bus */
	put32(a, 0);
	acpi_end(a, true);
}

/* IA-PC HPET 1.0a §3.2.4 */
static void add_hpet(struct acpi *a)
{
	enum { ID = 0x8086a201 }; /* Intel's vendor id, legacy routing, 64 bits, 3 comparators */
	(void)acpi_begin(a, "HPET", 1);
	put32(a, ID);
	acpi_register(a, ACPI_MEMORY, PC_HPET, 8);
	put8(a, 0);
	put16(a, 100); /* the least tick in periodic mode */
	put8(a, 0);
	acpi_end(a, true);
}

void pc_acpi(struct acpi *a, const struct pc_acpi *c)
{
	must(c->cpus && c->cpus <= 4096);
	uint32_t dsdt = acpi_begin(a, "DSDT", 2);
	pc_dsdt(&a->tables, c);
	acpi_end(a, false);
	add_fadt(a, c, dsdt);
	add_madt(a, c);
	if (c->pci) add_mcfg(a);
	if (c->hpet) add_hpet(a);
	acpi_roots(a);
}
