#ifndef ENGINE_X86_RIG_H
#define ENGINE_X86_RIG_H
#include "base/err.h"
#include "base/test.h"
#include "base/types.h"
#include "engine/x86_vcpu.h"
#include "hw/bus.h"
#include "hw/clock.h"
#include "hw/gmem.h"
#include <stdlib.h>
/* For tests: x86 vCPUs with 4 MiB of RAM at 0 and a ROM below 4 GiB, a device in memory, and a port
 * that stops the CPU which writes to it. Page tables, where wanted, are made entry by entry. */
enum {
	X86_RIG_RAM = 4 << 20,
	X86_RIG_TABLES = 0x100000, /* PML4 or what CR3 points to; others follow it */
	X86_RIG_STOP = 0xf4,	   /* a port; 1, 2 or 4 bytes are told */
	X86_RIG_FIFO = 0xf8, /* a port that counts up as it is read, and sums what is written */
};
#define X86_RIG_ROM    0xffff0000u
#define X86_RIG_DEVICE 0xd0000000u /* reads as its offset + 0x55; notes what is written */

struct x86_rig {
	struct device dev, port, fifo;
	struct gmem *mem;
	struct bus *mmio, *pio;
	struct vclock clock;
	struct x86_machine m;
	struct x86_vcpu *v; /* CPU 0 */
	gpa_t at;	    /* where the next code goes */
	uint64_t told, noted, noted_at, sum;
	unsigned reads, fifo_next;
	_Atomic unsigned stops;
};

static inline uint64_t x86_rig_read(struct device *d, uint64_t off, unsigned n)
{
	struct x86_rig *r = container_of(d, struct x86_rig, dev);
	(void)n;
	r->reads++;
	return off + 0x55;
}
static inline void x86_rig_write(struct device *d, uint64_t off, uint64_t val, unsigned n)
{
	struct x86_rig *r = container_of(d, struct x86_rig, dev);
	(void)n;
	r->noted = val;
	r->noted_at = off;
}
static inline void x86_rig_told(struct device *d, uint64_t off, uint64_t val, unsigned n)
{
	struct x86_rig *r = container_of(d, struct x86_rig, port);
	(void)off, (void)n;
	r->told = val;
	atomic_fetch_add(&r->stops, 1);
	for (unsigned i = 0; i < r->m.n; i++)
		if (r->m.vcpu[i]) x86_poke(r->m.vcpu[i], X86_POLL_KICK);
}
static inline uint64_t x86_rig_pull(struct device *d, uint64_t off, unsigned n)
{
	struct x86_rig *r = container_of(d, struct x86_rig, fifo);
	(void)off, (void)n;
	return r->fifo_next++;
}
static inline void x86_rig_push(struct device *d, uint64_t off, uint64_t val, unsigned n)
{
	struct x86_rig *r = container_of(d, struct x86_rig, fifo);
	(void)off, (void)n;
	r->sum += val;
}

static inline struct x86_rig *x86_rig_new(void)
{
	static const struct device_ops dev = {
		.name = "dev", .read = x86_rig_read, .write = x86_rig_write};
	static const struct device_ops port = {.name = "port", .write = x86_rig_told};
	static const struct device_ops fifo = {
		.name = "fifo", .read = x86_rig_pull, .write = x86_rig_push};
	struct x86_rig *r = calloc(1, sizeof(*r));
	must(r);
	device_init(&r->dev, &dev, "dev");
	device_init(&r->port, &port, "port");
	device_init(&r->fifo, &fifo, "fifo");
	r->mem = gmem_new();
	must(!gmem_add(r->mem, 0, X86_RIG_RAM, 0, NULL));
	must(!gmem_add(r->mem, X86_RIG_ROM, 0x10000, GMEM_ROM, NULL));
	r->mmio = bus_new("mmio");
	r->pio = bus_new("pio");
	must(!bus_map(r->mmio, X86_RIG_DEVICE, X86_PAGE, &r->dev, NULL));
	must(!bus_map(r->pio, X86_RIG_STOP, 4, &r->port, NULL));
	must(!bus_map(r->pio, X86_RIG_FIFO, 4, &r->fifo, NULL));
	vclock_init(&r->clock, 1000000000);
	r->m.env = (struct engine_env){.arch = ARCH_X86_64,
				       .mem = r->mem,
				       .mmio = r->mmio,
				       .pio = r->pio,
				       .clock = &r->clock,
				       .cpus = 2};
	x86_machine_init(&r->m);
	r->v = x86_vcpu_new(&r->m, 0);
	must(r->v);
	return r;
}
static inline void x86_rig_free(struct x86_rig *r)
{
	for (unsigned i = 0; i < r->m.n; i++) x86_vcpu_free(r->m.vcpu[i]);
	bus_free(r->mmio);
	bus_free(r->pio);
	gmem_free(r->mem);
	device_done(&r->dev);
	device_done(&r->port);
	device_done(&r->fifo);
	free(r);
}

static inline void x86_rig_put(struct x86_rig *r, gpa_t at, uint64_t val, unsigned n)
{
	must(gmem_write(r->mem, at, &val, n));
}
static inline uint64_t x86_rig_get(struct x86_rig *r, gpa_t at, unsigned n)
{
	uint64_t val = 0;
	must(gmem_read(r->mem, at, &val, n));
	return val;
}
/* Bytes of code at r->at: X86_RIG_CODE(r, 0x90, 0xf4); also where the guest may not write. */
static inline void x86_rig_bytes(struct x86_rig *r, const uint8_t *code, size_t n)
{
	uint8_t *p = gmem_host(r->mem, r->at, n);
	must(p);
	memcpy(p, code, n);
	r->at += n;
}
#define X86_RIG_CODE(r, ...)                                                                       \
	x86_rig_bytes(r, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* Flat segments as a protected or 64-bit mode guest has them, CPL as told, code at r->at. */
static inline void x86_rig_flat(struct x86_rig *r, enum x86_mode mode, unsigned cpl)
{
	struct x86_vcpu *v = r->v;
	uint32_t both = SEG_P | SEG_S | SEG_A | SEG_RW | SEG_G | cpl << 5;
	uint32_t size = mode == X86_64 ? SEG_L : mode == X86_32 ? SEG_DB : 0;
	for (unsigned i = 0; i <= X86_GS; i++)
		v->seg[i] = (struct x86_segreg){
			.limit = UINT32_MAX, .access = both | SEG_DB, .sel = (uint16_t)(16 | cpl)};
	v->seg[X86_CS].access = both | SEG_CODE | size;
	v->seg[X86_CS].sel = (uint16_t)(8 | cpl);
	v->cpl = (uint8_t)cpl;
	v->cr0 = CR0_PE | CR0_ET | CR0_NE;
	v->cpu.flags = 2;
	x86_mode_update(v);
}
/* Tables: four levels, all rights, for la -> pa with these bits in the last entry, which is in the
 * table of that level (0: 4 KiB, 1: 2 MiB, 2: 1 GiB). Answers where that entry is. */
static inline gpa_t x86_rig_map(struct x86_rig *r, uint64_t la, uint64_t pa, uint64_t bits,
				unsigned level)
{
	gpa_t table = X86_RIG_TABLES;
	for (unsigned l = 3; l > level; l--) {
		gpa_t at = table + (la >> (12 + 9 * l) & 511) * 8;
		uint64_t e = x86_rig_get(r, at, 8);
		if (!(e & 1)) {
			/* The next free page is noted where CR3's last entry would be. */
			gpa_t last = X86_RIG_TABLES + 4088;
			uint64_t n = x86_rig_get(r, last, 8) + 2;
			x86_rig_put(r, last, n, 8);
			e = (X86_RIG_TABLES + n / 2 * X86_PAGE) | 7;
			x86_rig_put(r, at, e, 8);
		}
		table = e & ~0xfffull & ~(1ull << 63);
	}
	gpa_t at = table + (la >> (12 + 9 * level) & 511) * 8;
	x86_rig_put(r, at, pa | bits, 8);
	return at;
}
static inline void x86_rig_paging(struct x86_rig *r)
{
	struct x86_vcpu *v = r->v;
	v->cr3 = X86_RIG_TABLES;
	v->cr4 |= CR4_PAE;
	v->efer |= EFER_LME | EFER_LMA | EFER_NXE;
	v->cr0 |= CR0_PG | CR0_WP;
	x86_mode_update(v);
	x86_tlb_flush(v, true);
}
/* Code does this to stop: out STOP, al. */
#define X86_RIG_HALT 0xe6, X86_RIG_STOP
/* Descriptors as Linux has them: CS 8 and SS 16, 0x33 and 0x2b of user code, a TSS at 0x40, whose
 * stack is RSP0. */
enum { X86_RIG_GDT_LIMIT = 0x4f };
static inline void x86_rig_gdt(struct x86_rig *r, gpa_t gdt, gpa_t tss)
{
	enum { RSP0_AT = 4, RSP0 = 0x1f000 };
	const uint64_t entry[] = {0,
				  0x00af9b000000ffff,
				  0x00cf93000000ffff,
				  0,
				  0x00cffb000000ffff,
				  0x00cff3000000ffff,
				  0x00affb000000ffff,
				  0,
				  0x00008b0000000067 | tss << 16,
				  0};
	_Static_assert(sizeof(entry) == X86_RIG_GDT_LIMIT + 1, "all of them");
	for (unsigned k = 0; k < COUNT(entry); k++) x86_rig_put(r, gdt + 8 * k, entry[k], 8);
	x86_rig_put(r, tss + RSP0_AT, RSP0, 8);
}
#endif
