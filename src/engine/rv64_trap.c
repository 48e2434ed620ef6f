/* Traps, interrupts and the way back (privileged architecture 3.1.6 to 3.1.9, 3.3.2, 10.1). */
#include "base/loop.h"
#include "engine/engine.h"
#include "engine/rv64_cpu.h"
#include "engine/rv64_window.h"
#include "hw/clock.h"

uint64_t rv64_pending(const struct rv64_cpu *c)
{
	return atomic_load_explicit(&c->mip, memory_order_acquire) | c->mip_soft;
}

static gva_t vector(uint64_t tvec, uint64_t cause)
{
	gva_t base = tvec & ~3ull;
	return tvec & 1 && cause & CAUSE_INTERRUPT ? base + 4 * (cause & 63) : base;
}

static void trap_s(struct rv64_cpu *c, uint64_t cause, uint64_t tval)
{
	uint64_t s = c->mstatus & ~(MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP);
	if (c->mstatus & MSTATUS_SIE) s |= MSTATUS_SPIE;
	if (c->priv == PRIV_S) s |= MSTATUS_SPP;
	c->mstatus = s;
	c->sepc = c->pc;
	c->scause = cause;
	c->stval = tval;
	c->priv = PRIV_S;
	c->pc = vector(c->stvec, cause);
}

static void trap_m(struct rv64_cpu *c, uint64_t cause, uint64_t tval)
{
	uint64_t s = c->mstatus & ~(MSTATUS_MIE | MSTATUS_MPIE | MSTATUS_MPP);
	if (c->mstatus & MSTATUS_MIE) s |= MSTATUS_MPIE;
	c->mstatus = s | (uint64_t)c->priv << 11;
	c->mepc = c->pc;
	c->mcause = cause;
	c->mtval = tval;
	c->priv = PRIV_M;
	c->pc = vector(c->mtvec, cause);
}

static bool is_timer(uint64_t cause)
{
	return cause == (CAUSE_INTERRUPT | IRQ_RV_STI) || cause == (CAUSE_INTERRUPT | IRQ_RV_MTI);
}

void rv64_trap(struct rv64_cpu *c, uint64_t cause, uint64_t tval)
{
	if (unlikely(cause == CAUSE_WATCHED)) {
		c->stop = STOP_DEBUG;
		return;
	}
	uint64_t deleg = cause & CAUSE_INTERRUPT ? c->mideleg : c->medeleg;
	c->res_len = 0;
	if (c->windows && c->priv == PRIV_U && is_timer(cause)) rv64_window_tick(c);
	rv64_count(c, cause & CAUSE_INTERRUPT ? COUNT_INTERRUPT : COUNT_TRAP);
	unsigned from = c->priv;
	gva_t pc = c->pc;
	if (c->priv != PRIV_M && deleg >> (cause & 63) & 1)
		trap_s(c, cause, tval);
	else
		trap_m(c, cause, tval);
	if (unlikely(c->trace.to != NULL)) rv64_trace_trap(c, cause, tval, from, pc);
	rv64_mode_update(c);
}

/* The interrupts that would be taken now: those for M-mode, else those for S-mode. */
static uint64_t due(const struct rv64_cpu *c)
{
	uint64_t p = rv64_pending(c) & c->mie, m, s;
	if (likely(!p)) return 0;
	m = p & ~c->mideleg;
	s = p & c->mideleg;
	if (m && (c->priv != PRIV_M || c->mstatus & MSTATUS_MIE)) return m;
	if (s && (c->priv == PRIV_U || (c->priv == PRIV_S && c->mstatus & MSTATUS_SIE))) return s;
	return 0;
}

bool rv64_interrupt_due(const struct rv64_cpu *c) { return due(c) != 0; }

bool rv64_interrupt(struct rv64_cpu *c)
{
	static const uint8_t order[] = {11, 3, 7, 9, 1, 5}; /* 3.1.9: external, software, timer */
	uint64_t p = due(c);
	for (unsigned i = 0; p && i < COUNT(order); i++) {
		if (!(p >> order[i] & 1)) continue;
		rv64_trap(c, CAUSE_INTERRUPT | order[i], 0);
		return true;
	}
	return false;
}

bool rv64_timer_check(struct rv64_cpu *c)
{
	if (!rv64_stce(c)) return false;
	bool now = vclock_now(c->clock) >= atomic_load(&c->stimecmp);
	c->mip_soft = now ? c->mip_soft | MIP_STIP : c->mip_soft & ~(uint64_t)MIP_STIP;
	return now;
}

void rv64_timer_arm(struct rv64_cpu *c)
{
	bool raised = rv64_timer_check(c);
	if (c->counted) {
		rv64_count_look(c);
		c->remap = true; /* and leave what runs for it */
	}
	if (!c->timer || c->counted) return;
	uint64_t at = vclock_deadline(c->clock, atomic_load(&c->stimecmp));
	if (raised || !rv64_stce(c) || at == UINT64_MAX)
		timer_disarm(c->timer);
	else
		timer_arm(c->timer, at);
}

/* To a lower mode with what xRET restores. */
static enum rv64_stop go_back(struct rv64_cpu *c, uint64_t mstatus, unsigned priv, gva_t pc)
{
	if (priv != PRIV_M) mstatus &= ~MSTATUS_MPRV;
	c->mstatus = mstatus;
	c->priv = (uint8_t)priv;
	c->pc = pc;
	c->res_len = 0;
	rv64_mode_update(c);
	return STOP_JUMP;
}

enum rv64_stop rv64_mret(struct rv64_cpu *c)
{
	uint64_t s = c->mstatus & ~(MSTATUS_MIE | MSTATUS_MPP);
	if (c->mstatus & MSTATUS_MPIE) s |= MSTATUS_MIE;
	return go_back(c, s | MSTATUS_MPIE, c->mstatus >> 11 & 3, c->mepc);
}

enum rv64_stop rv64_sret(struct rv64_cpu *c)
{
	uint64_t s = c->mstatus & ~(MSTATUS_SIE | MSTATUS_SPP);
	if (c->mstatus & MSTATUS_SPIE) s |= MSTATUS_SIE;
	return go_back(c, s | MSTATUS_SPIE, c->mstatus & MSTATUS_SPP ? PRIV_S : PRIV_U, c->sepc);
}
