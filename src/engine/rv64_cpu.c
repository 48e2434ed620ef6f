/* A hart as a whole: what it is after power-on, its registers by number, and the loop that runs
 * it: serve what others asked, take what is due, let the handlers go until they stop. */
#include "engine/rv64_cpu.h"
#include "engine/engine.h"
#include "engine/interp.h"
#include "engine/rv64_check.h"
#include "engine/rv64_jit.h"
#include "engine/rv64_reserve.h"
#include "engine/rv64_vector.h"
#include "engine/rv64_window.h"
#include "engine/tracer.h"
#include "hw/clock.h"
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* What an SBI firmware leaves behind: everything delegated, all memory open, Sstc, Svadu and the
 * cache block instructions on. */
static void sbi_setup(struct rv64_cpu *c)
{
	c->medeleg = 0xb3ff;
	c->mideleg = MIP_S;
	c->mcounteren = UINT32_MAX;
	c->menvcfg =
		ENVCFG_STCE | ENVCFG_PBMTE | ENVCFG_ADUE | ENVCFG_CBIE | ENVCFG_CBCFE | ENVCFG_CBZE;
	c->pmpcfg[0] = PMP_NAPOT | PMP_R | PMP_W | PMP_X;
	c->pmpaddr[0] = (1ull << 54) - 1;
	c->priv = PRIV_S;
}

#define ZERO_FROM(c, first, last)                                                                  \
	memset(&(c)->first, 0, offsetof(struct rv64_cpu, last) - offsetof(struct rv64_cpu, first))

void rv64_cpu_reset(struct rv64_cpu *c)
{
	c->slept += c->n;
	c->pause = 0;
	ZERO_FROM(c, x, bias);
	ZERO_FROM(c, f, code);
	c->fs_dirty = c->fp_on = c->remap = c->dozing = false;
	c->v.ill = true;
	c->n_limit = UINT64_MAX;
	rv64_count_look(c);
	c->priv = PRIV_M;
	atomic_store(&c->stimecmp, UINT64_MAX);
	if (c->sbi) sbi_setup(c);
	rv64_code_drop(c);
	rv64_pmp_update(c);
	rv64_timer_arm(c);
}

int rv64_cpu_init(struct rv64_cpu *c)
{
	int rc = rv64_code_init(c);
	if (!rc) rv64_cpu_reset(c);
	return rc;
}

void rv64_cpu_done(struct rv64_cpu *c)
{
	rv64_code_done(c);
	rv64_windows_free(c);
	rv64_jit_free(c->jit);
	c->jit = NULL;
}

enum { HOT = 250 }; /* about where interpreting has cost as much as translating will */

struct rv64_cpu *rv64_cpu_new(const struct engine_env *env, unsigned id)
{
	struct rv64_cpu *c = aligned_alloc(64, (sizeof(*c) + 63) & ~(size_t)63);
	if (!c) return NULL;
	memset(c, 0, sizeof(*c));
	c->mem = env->mem;
	c->mmio = env->mmio;
	c->clock = env->clock;
	c->max_satp = env->max_satp;
	c->sbi = env->sbi;
	c->hot_jumps = env->hot ? (uint8_t)env->hot : HOT;
	c->id = id;
	if (env->counted) rv64_count_new(c, env);
	c->trace.to = tracer_cpu_new(env->tracer, id);
	c->trace.steps = tracer_steps(c->trace.to);
	if (!rv64_cpu_init(c)) return c;
	tracer_cpu_free(c->trace.to);
	free(c);
	return NULL;
}

void rv64_cpu_free(struct rv64_cpu *c)
{
	if (c) rv64_cpu_done(c);
	if (c) tracer_cpu_free(c->trace.to);
	free(c);
}

/* ---- registers by number ---- */
int rv64_cpu_get(struct rv64_cpu *c, unsigned reg, uint64_t *val)
{
	if (reg < REG_RV_X + 32)
		*val = c->x[reg - REG_RV_X];
	else if (reg < REG_RV_F + 32)
		*val = c->f[reg - REG_RV_F];
	else if (reg == REG_RV_PC)
		*val = c->pc;
	else if (reg == REG_RV_PRIV)
		*val = c->priv;
	else if (reg == REG_RV_PENDING)
		*val = c->mip_soft | (atomic_load(&c->mip) & MIP_SSIP);
	else if (reg - REG_RV_V < 64)
		*val = load_le(&c->v.reg[8 * (reg - REG_RV_V)], 8);
	else if (reg < REG_RV_CSR || !rv64_csr_read(c, reg - REG_RV_CSR, PRIV_ANY, val))
		return -ENOENT;
	return 0;
}

static int pending_set(struct rv64_cpu *c, uint64_t val)
{
	c->mip_soft = val & (rv64_stce(c) ? MIP_SEIP : MIP_SEIP | MIP_STIP);
	(void)atomic_fetch_and(&c->mip, ~(uint64_t)MIP_SSIP);
	(void)atomic_fetch_or(&c->mip, val & MIP_SSIP);
	rv64_poke(c, POLL_IRQ);
	return 0;
}

/* No instruction does it, whose own tick would be in the way. */
static int counter_set(struct rv64_cpu *c, unsigned csr, uint64_t val)
{
	bool cycle = csr == CSR_MCYCLE, stopped = c->mcountinhibit & (cycle ? 1 : 4);
	*(cycle ? &c->cycle_off : &c->instret_off) = stopped ? val : val - c->n;
	return 0;
}

static int priv_set(struct rv64_cpu *c, uint64_t val)
{
	if (val != PRIV_U && val != PRIV_S && val != PRIV_M) return -EINVAL;
	c->priv = (uint8_t)val;
	rv64_mode_update(c);
	return 0;
}

int rv64_cpu_set(struct rv64_cpu *c, unsigned reg, uint64_t val)
{
	if (reg == REG_RV_X)
		return 0;
	else if (reg < REG_RV_X + 32)
		c->x[reg - REG_RV_X] = val;
	else if (reg < REG_RV_F + 32)
		c->f[reg - REG_RV_F] = val;
	else if (reg == REG_RV_PC)
		c->pc = val & ~1ull;
	else if (reg == REG_RV_PRIV)
		return priv_set(c, val);
	else if (reg == REG_RV_PENDING)
		return pending_set(c, val);
	else if (reg == REG_RV_CSR + CSR_MCYCLE || reg == REG_RV_CSR + CSR_MINSTRET)
		return counter_set(c, reg - REG_RV_CSR, val);
	else if (reg - REG_RV_V < 64)
		store_le(&c->v.reg[8 * (reg - REG_RV_V)], val, 8);
	else if (reg == REG_RV_CSR + CSR_VTYPE)
		rv64_vtype_set(c, val);
	else if (reg == REG_RV_CSR + CSR_VL)
		c->v.vl = val < c->v.vlmax ? (uint8_t)val : c->v.vlmax;
	else if (reg < REG_RV_CSR || !rv64_csr_write(c, reg - REG_RV_CSR, PRIV_ANY, val))
		return -ENOENT;
	if (reg == REG_RV_CSR + CSR_STIMECMP)
		rv64_poke(c, POLL_TIMER); /* the clock may stand until it runs */
	return 0;
}

/* ---- what other threads do to a hart ---- */
static void futex_wait(_Atomic uint32_t *at, uint32_t seen, uint64_t ns)
{
	struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
	(void)syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, seen, ns == UINT64_MAX ? NULL : &t);
}
static void futex_wake(_Atomic uint32_t *at)
{
	(void)syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

void rv64_poke(struct rv64_cpu *c, enum poll_bit why)
{
	atomic_fetch_or(&c->poll, why);
	if (atomic_load(&c->asleep)) futex_wake(&c->poll);
}

void rv64_irq(struct rv64_cpu *c, unsigned line, bool level)
{
	uint64_t bit = line < 64 ? 1ull << line : 0;
	if (!(bit & MIP_ALL)) return;
	if (!level)
		atomic_fetch_and(&c->mip, ~bit);
	else if (!(atomic_fetch_or(&c->mip, bit) & bit))
		rv64_poke(c, POLL_IRQ);
}

static void box_lock(struct rv64_cpu *c)
{
	while (atomic_exchange_explicit(&c->lock, 1, memory_order_acquire)) (void)sched_yield();
}
static void box_unlock(struct rv64_cpu *c)
{
	atomic_store_explicit(&c->lock, 0, memory_order_release);
}

enum { FENCE_PAGES = 64 }; /* beyond which all is dropped at once */

static void box_add(struct fence_box *b, struct fence f)
{
	bool whole = f.kind == FENCE_OF_PAGES && (!f.len || f.len > FENCE_PAGES * PAGE_SIZE);
	if (f.kind == FENCE_OF_CODE)
		b->code = true;
	else if (whole || b->n == FENCE_RANGES)
		b->all = true;
	else
		b->one[b->n++] = f;
}

static void flush_pages(struct rv64_cpu *c, gva_t va, uint64_t len)
{
	len += va & ~PAGE_MASK;
	for (uint64_t off = 0; off < len; off += PAGE_SIZE) rv64_tlb_flush_page(c, va + off);
}

static void box_serve(struct rv64_cpu *c, const struct fence_box *b)
{
	if (b->code) rv64_code_fence(c);
	if (b->all || b->n) rv64_count(c, COUNT_FENCE_TLB);
	if (b->all) rv64_tlb_flush(c);
	for (unsigned i = 0; !b->all && i < b->n; i++) {
		if (b->one[i].kind == FENCE_OF_SPACE)
			rv64_tlb_flush_asid(c, b->one[i].asid);
		else
			flush_pages(c, b->one[i].va, b->one[i].len);
	}
}

static void fence_serve(struct rv64_cpu *c)
{
	uint32_t asked = atomic_load(&c->fence_asked);
	box_lock(c);
	struct fence_box b = c->box;
	c->box = (struct fence_box){0};
	box_unlock(c);
	box_serve(c, &b);
	atomic_store(&c->fence_done, asked);
	if (atomic_load(&c->fence_waiters)) futex_wake(&c->fence_done);
}

/* No guest code from here on (or again): those who wait for us to serve a fence need not. */
static void set_running(struct rv64_cpu *c, bool on)
{
	atomic_store(&c->running, on);
	if (!on && atomic_load(&c->fence_waiters)) futex_wake(&c->fence_done);
}

void rv64_fence(struct rv64_cpu *c, struct rv64_cpu *from, struct fence f)
{
	if (c == from) {
		struct fence_box b = {0};
		box_add(&b, f);
		box_serve(c, &b);
		return;
	}
	box_lock(c);
	box_add(&c->box, f);
	box_unlock(c);
	uint32_t mine = atomic_fetch_add(&c->fence_asked, 1) + 1, done;
	atomic_fetch_or(&c->poll, POLL_FENCE); /* who sleeps need not wake for it */
	atomic_fetch_add(&c->fence_waiters, 1);
	while ((int32_t)((done = atomic_load(&c->fence_done)) - mine) < 0 &&
	       atomic_load(&c->running))
		futex_wait(&c->fence_done, done, 1000000);
	atomic_fetch_sub(&c->fence_waiters, 1);
}

void rv64_fence_all(struct rv64_cpu *c, struct rv64_cpu *const *hart, unsigned n)
{
	struct fence all = {.kind = FENCE_OF_PAGES};
	set_running(c, false); /* they may be waiting for us */
	for (unsigned i = 0; i < n; i++) rv64_fence(hart[i], c, all);
	set_running(c, true);
}

/* ---- running ---- */
/* How long WFI may sleep when no loop watches stimecmp for us. */
static uint64_t sleep_ns(const struct rv64_cpu *c)
{
	struct timespec t;
	if (c->timer || !rv64_stce(c)) return UINT64_MAX;
	uint64_t at = vclock_deadline(c->clock, atomic_load(&c->stimecmp));
	if (at == UINT64_MAX) return at;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	uint64_t now = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	return at > now ? at - now : 0;
}

void rv64_poll_wait(struct rv64_cpu *c, uint32_t seen, uint64_t ns)
{
	futex_wait(&c->poll, seen, ns);
}

static void wait_irq(struct rv64_cpu *c)
{
	uint32_t p;
	while (!((p = atomic_load(&c->poll)) & ~(uint32_t)POLL_FENCE)) {
		(void)rv64_timer_check(c);
		if (rv64_pending(c) & c->mie) break;
		futex_wait(&c->poll, p, sleep_ns(c));
	}
}

static void sleep_wfi(struct rv64_cpu *c)
{
	rv64_count(c, COUNT_SLEEP);
	atomic_store_explicit(&c->retired, c->n, memory_order_relaxed);
	atomic_store(&c->asleep, 1);
	set_running(c, false);
	c->counted ? rv64_count_sleep(c) : wait_irq(c);
	atomic_store(&c->asleep, 0);
	set_running(c, true);
}

/* True: kicked. */
static bool polled(struct rv64_cpu *c)
{
	if (likely(!atomic_load_explicit(&c->poll, memory_order_acquire))) return false;
	uint32_t p = atomic_exchange(&c->poll, 0);
	if (p & POLL_FENCE) fence_serve(c);
	if (p & POLL_TIMER) rv64_timer_arm(c); /* again, if it came a little early */
	return p & POLL_KICK;
}

static void interpret(struct rv64_cpu *c, const struct slot *ip)
{
	if (ip->fn == rv64_op_unit) ip = rv64_code_alone(c, rv64_code_raw(ip));
	c->solo = false;
	if (unlikely(ip->fn == rv64_op_point))
		rv64_debug_one(c);
	else
		rv64_go(c, ip);
}

static void step(struct rv64_cpu *c)
{
	const struct slot *ip = rv64_code_enter(c);
	c->stop = STOP_TRAP;
	if (ip && unlikely(c->hot)) rv64_jit_hot(c, ip);
	if (ip && ip->fn == rv64_op_unit && !c->solo)
		rv64_jit_run(c, ip);
	else if (ip)
		interpret(c, ip);
}

void rv64_step(struct rv64_cpu *c)
{
	if (unlikely(c->debug != NULL) && rv64_debug_here(c)) return;
	if (unlikely(c->trace.steps))
		rv64_debug_one(c);
	else
		step(c);
	if (c->stop == STOP_TRAP) rv64_trap(c, c->cause, c->tval);
}

static void run_once(struct rv64_cpu *c)
{
	bool turns = rv64_jit_checker(c->jit);
	if (turns) check_take(c);
	if (unlikely(c->dozing)) {
		c->stop = STOP_WFI;
	} else if (unlikely(c->stepping)) {
		if (c->turns) rv64_count_due(c);
		rv64_debug_one(c);
		if (c->stop == STOP_TRAP) rv64_trap(c, c->cause, c->tval);
		if (c->stop == STOP_WFI && !c->turns) c->stop = STOP_NEXT;
	} else if (c->counted) {
		rv64_count_run(c);
	} else {
		(void)rv64_interrupt(c);
		rv64_step(c);
	}
	if (turns) check_give();
	if (c->stop == STOP_WFI) sleep_wfi(c);
	if (unlikely(c->stop == STOP_WATCH)) rv64_reserve_watch(c);
}

enum vcpu_exit rv64_run(struct rv64_cpu *c)
{
	enum vcpu_exit why = VCPU_KICKED;
	set_running(c, true);
	rv64_window_thread(c);
	fp_enter(&c->fp);
	while (!polled(c)) {
		atomic_store_explicit(&c->retired, c->n, memory_order_relaxed);
		run_once(c);
		if (c->stop == STOP_SYSCALL || c->stop == STOP_BROKEN) {
			why = c->stop == STOP_SYSCALL ? VCPU_SYSCALL : VCPU_BROKEN;
			c->stepping = false;
			break;
		}
		if (unlikely(c->debug != NULL) && rv64_debug_ends(c)) {
			why = VCPU_DEBUG;
			break;
		}
	}
	fp_leave(&c->fp);
	rv64_window_thread(NULL);
	atomic_store_explicit(&c->retired, c->n, memory_order_relaxed);
	set_running(c, false);
	if (why == VCPU_SYSCALL) rv64_count(c, COUNT_CALL);
	if (why == VCPU_SYSCALL && c->trace.to) rv64_trace_call(c);
	return why;
}

int rv64_exec_one(struct rv64_cpu *c, uint32_t word)
{
	atomic_fetch_or(&c->poll, POLL_ONCE); /* so that no jump goes on */
	fp_enter(&c->fp);
	rv64_go(c, rv64_code_alone(c, word));
	fp_leave(&c->fp);
	atomic_fetch_and(&c->poll, ~(uint32_t)POLL_ONCE);
	return c->stop == STOP_TRAP ? (int)c->cause + 1 : 0;
}
