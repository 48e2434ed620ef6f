#ifndef ENGINE_RIG_H
#define ENGINE_RIG_H
#include "base/test.h"
#include "engine/interp.h"
#include "engine/rv64_cpu.h"
#include "hw/bus.h"
#include "hw/clock.h"
#include "hw/gmem.h"
#include "isa/rv64/rv64.h"
#include <stdlib.h>
/* For tests: a hart with 16 MiB at RIG_RAM, a device whose register stops it, and a way to put
 * programs there, instruction by instruction. */
#define RIG_RAM	 0x80000000ull
#define RIG_STOP 0x00100000ull /* a store here kicks the hart; a load counts */
enum { RIG_SIZE = 16 << 20 };

struct rig {
	struct device stop;
	struct gmem *mem;
	struct bus *bus;
	struct vclock clock;
	struct rv64_cpu *c;
	gpa_t at;      /* where the next instruction goes */
	uint64_t told; /* last value stored to the stop register */
	unsigned loads;
};

static inline uint64_t rig_read(struct device *d, uint64_t off, unsigned len)
{
	struct rig *r = container_of(d, struct rig, stop);
	return r->loads++, (off + 0x1122334455667788) & (len < 8 ? (1ull << 8 * len) - 1 : ~0ull);
}
static inline void rig_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct rig *r = container_of(d, struct rig, stop);
	(void)off, (void)len;
	r->told = val;
	rv64_poke(r->c, POLL_KICK);
}

static inline struct rig *rig_new(bool sbi)
{
	static const struct device_ops ops = {.name = "stop", .read = rig_read, .write = rig_write};
	struct rig *r = calloc(1, sizeof(*r));
	must(r);
	device_init(&r->stop, &ops, "stop");
	r->mem = gmem_new();
	must(!gmem_add(r->mem, RIG_RAM, RIG_SIZE, 0, NULL));
	r->bus = bus_new("mmio");
	must(!bus_map(r->bus, RIG_STOP, 4096, &r->stop, NULL));
	vclock_init(&r->clock, 10000000);
	struct engine_env env = {.arch = ARCH_RV64,
				 .mem = r->mem,
				 .mmio = r->bus,
				 .clock = &r->clock,
				 .sbi = sbi,
				 .hot = 20,
				 .max_satp = 10};
	r->c = rv64_cpu_new(&env, 0);
	must(r->c);
	r->at = r->c->pc = RIG_RAM;
	return r;
}
static inline void rig_free(struct rig *r)
{
	rv64_cpu_free(r->c);
	bus_free(r->bus);
	gmem_free(r->mem);
	device_done(&r->stop);
	free(r);
}

static inline void rig_put64(struct rig *r, gpa_t at, uint64_t v)
{
	must(gmem_write(r->mem, at, &v, 8));
}
static inline uint64_t rig_get64(struct rig *r, gpa_t at)
{
	uint64_t v = 0;
	must(gmem_read(r->mem, at, &v, 8));
	return v;
}
static inline void rig_word(struct rig *r, uint32_t w)
{
	must(gmem_write(r->mem, r->at, &w, 4));
	r->at += 4;
}
static inline void rig_half(struct rig *r, uint16_t w)
{
	must(gmem_write(r->mem, r->at, &w, 2));
	r->at += 2;
}
/* One instruction; which operands count, the op says. */
static inline void rig_op(struct rig *r, enum rv64_op op, unsigned rd, unsigned rs1, unsigned rs2,
			  int32_t imm)
{
	struct rv64_insn i = {
		.imm = imm, .rd = (uint8_t)rd, .rs1 = (uint8_t)rs1, .rs2 = (uint8_t)rs2};
	rig_word(r, rv64_encode(op, &i));
}
/* rd = val, in a few instructions (a literal behind a jump). */
static inline void rig_li(struct rig *r, unsigned rd, uint64_t val)
{
	rig_op(r, OP_auipc, rd, 0, 0, 0);
	rig_op(r, OP_ld, rd, rd, 0, 12);
	rig_op(r, OP_jal, 0, 0, 0, 12);
	rig_word(r, (uint32_t)val);
	rig_word(r, (uint32_t)(val >> 32));
}
/* Stop the hart, telling what is in reg; uses x31. */
static inline void rig_stop(struct rig *r, unsigned reg)
{
	rig_op(r, OP_lui, 31, 0, 0, RIG_STOP);
	rig_op(r, OP_sd, 0, 31, reg, 0);
}
static inline void rig_run(struct rig *r, gpa_t pc)
{
	r->c->pc = pc;
	CHECK(rv64_run(r->c) == VCPU_KICKED);
}
#endif
