#ifndef DEV_PC_H
#define DEV_PC_H
#include "dev/dev.h"
#include "hw/pci.h"
/* The chips of a PC. Ports and addresses are the board's: where a chip has registers in several
 * places, the comment gives the offset of each part (bus_map_part). Wires are levels, asserted = 1;
 * an edge is a wire that rises. What goes by time takes the computer's clock and a loop; where the
 * clock counts instructions the loop may be NULL, and the board calls x_tick() when it has come to
 * x_next() (ns of the clock; UINT64_MAX: never). */

/* Two 8259A in cascade. 0: master (0x20, 2 ports), 2: slave (0xa0, 2), 4: ELCR (0x4d0, 2). */
int pic_new(struct device **out, struct irq intr, struct err *e);
struct irq pic_line(struct device *pic, unsigned irq); /* 0..15; 2 is the cascade: not wired */
unsigned
pic_ack(struct device *pic); /* the INTA cycle: a vector, spurious if need be; any thread */

/* 8254 and port B. 0: counters and control (0x40, 4 ports), 4: port B (0x61, 1). irq: OUT of
 * counter 0. */
int pit_new(struct device **out, struct irq irq, const struct vclock *clock, struct loop *l,
	    struct err *e);
void pit_tick(struct device *d);
uint64_t pit_next(struct device *d);

/* MC146818A with 128 bytes. 0: index (0x70), 1: data (0x71). UTC. Goes by the host's wall clock,
 * or by `clock` where that counts. Reset keeps the bytes: the battery is always good. */
int cmos_new(struct device **out, struct irq irq, const struct vclock *clock, struct loop *l,
	     struct err *e);
void cmos_put(struct device *d, unsigned reg, uint8_t v); /* 14..127; also what firmware reads */
uint8_t cmos_get(struct device *d, unsigned reg);
/* Bytes of RAM from 0 to the hole, and from 4 GiB on, as firmware has looked them up since the AT
 * (0x15..0x18, 0x30, 0x31, 0x34, 0x35) and as SeaBIOS does (0x5b..0x5d); and the checksum. */
void cmos_memory(struct device *d, uint64_t below4g, uint64_t above4g);
void cmos_tick(struct device *d);
uint64_t cmos_next(struct device *d);

/* I/O APIC, version 0x20: 24 pins, 0x1000 bytes at 0xfec00000. What it has to say is a message
 * as a PCI function would send it; send says whether anybody took it, any thread, under the
 * I/O APIC's lock. */
struct ioapic_to {
	bool (*send)(void *ctx, uint64_t addr, uint32_t data);
	void *ctx;
	/* Told of what a pin will send as a level, where EOIs are reported only to those who ask
	 * for them; 0, 0: it is no level any more. May be NULL. */
	void (*route)(void *ctx, unsigned pin, uint64_t addr, uint32_t data);
};
enum { IOAPIC_PINS = 24 };
int ioapic_new(struct device **out, const struct ioapic_to *to, struct err *e);
struct irq ioapic_line(struct device *d, unsigned pin);
/* A CPU is done with this vector, which came as a level. Any thread. */
void ioapic_eoi(struct device *d, unsigned vector);

/* Local APICs of all CPUs, and the wires between them. A CPU's APIC ID is its number. */
struct lapics;
enum lapic_signal { LAPIC_NMI, LAPIC_SMI, LAPIC_INIT, LAPIC_SIPI };
struct lapic_env {
	/* line = CPU: a level, high while the CPU should call lapic_ack() once its IF allows. */
	struct irq intr;
	/* INIT: the CPU resets and waits for SIPI, whose vector is the page it starts at. Its APIC
	 * has been reset already. Any thread; no lock of ours held but that of the sender. */
	void (*signal)(void *ctx, unsigned cpu, enum lapic_signal what, unsigned vector);
	void *ctx;
	/* When (ns of the clock) the time stamp counter of cpu comes to tsc; NULL: no
	 * TSC-deadline mode. */
	uint64_t (*tsc_ns)(void *ctx, unsigned cpu, uint64_t tsc);
	const struct vclock *clock;
	struct loop *loop;
};
enum { LAPIC_HZ = 1000000000 }; /* what the divider divides; CPUID says so to the guest */
int lapics_new(struct lapics **out, unsigned cpus, const struct lapic_env *env, struct err *e);
/* Before any CPU runs: whom ExtINT is acknowledged to, whom EOIs are told. Either may be NULL. */
void lapics_wire(struct lapics *s, struct device *pic, struct device *ioapic);
void lapics_free(struct lapics *s);
void lapics_reset(struct lapics *s);
void lapics_resume(struct lapics *s); /* as device_ops.resume */
void lapics_state(struct lapics *s, struct state *to);
/* One of them as registers by offset / 16 (SDM 3, table 11-1), with what is left of the timer's
 * count; base and deadline: MSRs 0x1b and 0x6e0. */
enum { LAPIC_REGS = 64 };
struct lapic_page {
	uint32_t reg[LAPIC_REGS];
	uint64_t base, deadline;
};
void lapic_save(struct lapics *s, unsigned cpu, struct lapic_page *to);
void lapic_load(struct lapics *s, unsigned cpu, const struct lapic_page *from);
/* PIC's INTR is everyone's LINT0 (pin 0), NMI LINT1 (pin 1). */
struct irq lapics_lint(struct lapics *s, unsigned pin);
/* A message to 0xfeexxxxx, from a PCI function or an I/O APIC. Any thread. True: taken. */
bool lapics_send(void *lapics, uint64_t addr, uint32_t data);
void lapics_msi(void *lapics, uint64_t addr, uint32_t data); /* fits struct pci_msi */
void lapics_tick(struct lapics *s);
uint64_t lapics_next(struct lapics *s);
/* The rest: by the CPU's own thread. The page of 4 KiB where its APIC base says: lock it as a
 * bus would. Answers only in xAPIC mode. */
struct device *lapic_page(struct lapics *s, unsigned cpu);
int lapic_ack(struct lapics *s, unsigned cpu); /* the vector to take, or -1: none any more */
/* MSRs 0x800..0x8ff, and 0x6e0. False: #GP. */
bool lapic_msr_read(struct lapics *s, unsigned cpu, unsigned msr, uint64_t *v);
bool lapic_msr_write(struct lapics *s, unsigned cpu, unsigned msr, uint64_t v);
/* MSR 0x1b. Reset: enabled, at 0xfee00000, CPU 0 is BSP. False: #GP. */
uint64_t lapic_base(struct lapics *s, unsigned cpu);
bool lapic_base_set(struct lapics *s, unsigned cpu, uint64_t v);
unsigned lapic_cr8(struct lapics *s, unsigned cpu); /* TPR bits 7..4 */
void lapic_cr8_set(struct lapics *s, unsigned cpu, unsigned v);
/* What firmware does for those who come without: LINT0 of CPU 0 is ExtINT, its LINT1 NMI. */
void lapics_virtual_wire(struct lapics *s);

/* Keyboard controller. 0: data (0x60), 1: command and status (0x64), 2: port A (0x92).
 * irq: keyboard. reset: the CPU is to be reset. a20: the gate, changed or reset to open. */
struct i8042_to {
	struct irq irq;
	void (*reset)(void *ctx);
	void (*a20)(void *ctx, bool open);
	void *ctx;
};
int i8042_new(struct device **out, const struct i8042_to *to, struct err *e);
/* A key, as a keyboard sends it in scan code set 2. All of it or nothing: false if there is no
 * room or the guest does not scan. Any thread. */
bool i8042_key(struct device *d, const uint8_t *code, size_t n);

/* ACPI fixed hardware, always in ACPI mode (FADT: SMI_CMD 0). 0: PM1_STS, 2: PM1_EN, 4: PM1_CNT,
 * 8: PM_TMR, 24 bits; 12 ports. sci: a level. off: the guest asked for S5 (SLP_TYP 0). */
enum { ACPI_PM_TIMER = 8, ACPI_PM_PORTS = 12, ACPI_PM_S5 = 0 };
int acpi_pm_new(struct device **out, struct irq sci, void (*off)(void *ctx), void *ctx,
		const struct vclock *clock, struct loop *l, struct err *e);
bool acpi_pm_hears(struct device *d);  /* any thread: the guest wants to know of the button */
bool acpi_pm_button(struct device *d); /* any thread; false: the guest does not listen */
void acpi_pm_tick(struct device *d);
uint64_t acpi_pm_next(struct device *d);

/* Ports 0xcf8..0xcff: PCI configuration mechanism 1 into ecam (NULL: no PCI), and in its second
 * byte the reset control register 0xcf9. */
int conf1_new(struct device **out, struct device *ecam, void (*reset)(void *ctx), void *ctx,
	      struct err *e);

/* Have the host bridge and a function in slot 31 look as firmware for PCs of the q35 kind expects.
 */
int q35_new(struct pci_host *h, struct err *e);

/* A port that takes bytes: POST codes, a firmware's debug output. answer: what reading gives, -1:
 * what was written last (0 at first). put may be NULL. */
enum { SINK_DEBUGCON = 0xe9 };
int sink_new(struct device **out, const char *id, int answer, void (*put)(void *ctx, uint8_t v),
	     void *ctx, struct err *e);
uint8_t sink_last(struct device *d);
#endif
