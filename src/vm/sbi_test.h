#ifndef VM_SBI_TEST_H
#define VM_SBI_TEST_H
#include "base/chr.h"
#include "base/err.h"
#include "base/loop.h"
#include "guest/guest.h"
#include "hw/gmem.h"
#include "vm/vm.h"
/* A machine without an engine: harts are arrays of registers. For tests of what the board does
 * with a stopped hart. */
struct vcpu {
	uint64_t x[32], csr[4096], pc;
	uint64_t irqs; /* lines raised */
	unsigned resets, kicks;
	enum vcpu_fence fence;
	uint64_t fence_va, fence_len;
	unsigned fences, fence_asid;
};
struct paper {
	struct vcpu cpu[2];
	struct spec spec;
	struct guest guest;
	struct chr console;
	char out[64];
	size_t out_len, out_room;
	struct vm vm;
};
#define PAPER_RAM 0x80000000ull
#define PAPER_LEN (2 * MIB)

static inline int paper_get(struct vcpu *c, unsigned reg, uint64_t *val)
{
	if (reg < 32) *val = c->x[reg];
	if (reg == REG_RV_PC) *val = c->pc;
	if (reg >= REG_RV_CSR) *val = c->csr[reg - REG_RV_CSR];
	return 0;
}
static inline int paper_set(struct vcpu *c, unsigned reg, uint64_t val)
{
	if (reg && reg < 32) c->x[reg] = val;
	if (reg == REG_RV_PC) c->pc = val;
	if (reg >= REG_RV_CSR) c->csr[reg - REG_RV_CSR] = val;
	return 0;
}
static inline void paper_irq(struct vcpu *c, unsigned line, int level)
{
	c->irqs = (c->irqs & ~(1ull << line)) | (uint64_t)level << line;
}
static inline void paper_fence(struct vcpu *c, struct vcpu *from, enum vcpu_fence what, gva_t va,
			       uint64_t len, unsigned asid)
{
	(void)from;
	c->fence = what;
	c->fence_va = va;
	c->fence_len = len;
	c->fence_asid = asid;
	c->fences++;
}
static inline void paper_kick(struct vcpu *c) { c->kicks++; }
static inline void paper_reset(struct vcpu *c) { c->resets++; }
static inline size_t paper_output(void *host, const uint8_t *p, size_t n)
{
	struct paper *m = host;
	if (n > m->out_room - m->out_len) n = m->out_room - m->out_len;
	memcpy(m->out + m->out_len, p, n);
	m->out_len += n;
	return n;
}

static inline void paper_init(struct paper *m)
{
	static const struct engine_ops ops = {.name = "paper",
					      .kick = paper_kick,
					      .irq = paper_irq,
					      .fence = paper_fence,
					      .get = paper_get,
					      .set = paper_set,
					      .reset = paper_reset};
	struct err e;
	*m = (struct paper){.out_room = sizeof(m->out)};
	m->console = (struct chr){.output = paper_output, .host = m};
	m->guest = (struct guest){.spec = &m->spec, .console = &m->console};
	m->vm = (struct vm){.guest = &m->guest, .ops = &ops, .ncpus = 2, .want = VM_RUN};
	must(loop_new(&m->guest.loop, &e) == 0);
	must(!pthread_mutex_init(&m->vm.lock, NULL) && !pthread_cond_init(&m->vm.changed, NULL));
	m->vm.mem = gmem_new();
	must(gmem_add(m->vm.mem, PAPER_RAM, PAPER_LEN, 0, &e) == 0);
	for (unsigned i = 0; i < 2; i++)
		m->vm.hart[i] = (struct hart){.vm = &m->vm, .id = i, .cpu = &m->cpu[i]};
	m->vm.hart[1].state = HART_STOPPED;
}

static inline void paper_done(struct paper *m)
{
	loop_free(m->guest.loop);
	gmem_free(m->vm.mem);
	(void)pthread_mutex_destroy(&m->vm.lock);
	(void)pthread_cond_destroy(&m->vm.changed);
}

/* An ecall of hart 0 with these a0..a5. */
static inline int64_t paper_call(struct paper *m, uint64_t ext, uint64_t fn, const uint64_t a[6])
{
	uint64_t *x = m->cpu[0].x;
	memcpy(&x[10], a, 6 * sizeof(*a));
	x[16] = fn;
	x[17] = ext;
	sbi_call(&m->vm.hart[0]);
	return (int64_t)x[10];
}
#endif
