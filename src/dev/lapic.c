/* Local APICs (Intel SDM volume 3, chapter "Advanced Programmable Interrupt Controller", cited by
 * section of edition 325384): xAPIC registers, x2APIC MSRs, timer, IPIs and messages.
 * Each APIC has a lock of its own, under which nothing is called but the CPU's intr wire and its
 * timer: so an interrupt controller or another CPU may deliver here whatever it holds. Messages,
 * EOIs and signals go out after it was let go. Of a page's device mutex the order is before that
 * of the I/O APIC. Lowest priority means the first CPU that takes it. */
#include "dev/lapic.h"
#include <errno.h>
#include <stdlib.h>

struct message {
	uint32_t dest;
	unsigned vector, mode;
	bool logical, level, everyone;
	bool wide; /* dest has 32 bits: sent by a CPU in x2APIC mode */
};

static void lock(struct lapic *a) { (void)pthread_mutex_lock(&a->lock); }
static void unlock(struct lapic *a) { (void)pthread_mutex_unlock(&a->lock); }
static bool is_on(const struct lapic *a) { return a->base & BASE_ON; }
static bool is_x2(const struct lapic *a) { return a->base & BASE_X2; }
static bool is_soft_on(const struct lapic *a) { return is_on(a) && a->svr & SVR_ON; }
static uint32_t *lvt(struct lapic *a, unsigned reg) { return &a->lvt[reg - LVT_TIMER]; }
uint64_t lapic_now(const struct lapic *a) { return vclock_ns(a->wake.clock); }

/* Vectors in and out (11.8.3, 11.8.4) */

static int highest(const uint32_t *map)
{
	for (int w = 7; w >= 0; w--)
		if (map[w]) return w * 32 + 31 - __builtin_clz(map[w]);
	return -1;
}

static void bit_put(uint32_t *map, unsigned n, bool on)
{
	uint32_t m = 1u << n % 32;
	map[n / 32] = on ? map[n / 32] | m : map[n / 32] & ~m;
}

static uint32_t ppr(const struct lapic *a)
{
	int v = highest(a->isr);
	uint32_t busy = v < 0 ? 0 : (uint32_t)v & 0xf0;
	return (a->tpr & 0xf0) >= busy ? a->tpr : busy;
}

static int deliverable(const struct lapic *a)
{
	int v = highest(a->irr);
	return is_soft_on(a) && v >= 0 && ((uint32_t)v & 0xf0) > (ppr(a) & 0xf0) ? v : -1;
}

/* The PIC's request comes through LINT0 as ExtINT, or on a wire of its own where the APIC is off.
 */
static bool external(struct lapic *a)
{
	uint32_t v = *lvt(a, LVT_LINT0);
	if (!a->lint[0] || !is_on(a)) return a->lint[0];
	return !(v & LVT_MASKED) && (v >> 8 & 7) == EXTINT;
}

void lapic_update(struct lapic *a)
{
	int level = deliverable(a) >= 0 || external(a);
	if (level == a->intr) return;
	a->intr = level;
	struct irq q = a->of->env.intr;
	q.line = a->id;
	irq_set(q, level);
}

static void error(struct lapic *a, uint32_t what);

/* A fixed interrupt arrives. Vectors below 16 are errors; a disabled APIC takes none. */
static bool take(struct lapic *a, unsigned vector, bool level)
{
	if (!is_soft_on(a)) return false;
	if (vector < 16) {
		error(a, ERR_RECEIVE_VECTOR);
		return false;
	}
	bit_put(a->irr, vector, true);
	bit_put(a->tmr, vector, level);
	lapic_update(a);
	return true;
}

/* A bad vector in the error entry itself must not go round (11.5.3). */
static void error(struct lapic *a, uint32_t what)
{
	uint32_t v = *lvt(a, LVT_ERROR);
	bool again = (a->errors & what) == what;
	a->errors |= what;
	if (!again && !(v & LVT_MASKED) && (v & 0xff) >= 16) (void)take(a, v & 0xff, false);
}

int lapic_ack(struct lapics *s, unsigned cpu)
{
	struct lapic *a = &s->cpu[cpu];
	lock(a);
	int v = deliverable(a);
	bool ext = v < 0 && external(a);
	if (v >= 0) {
		bit_put(a->irr, (unsigned)v, false);
		bit_put(a->isr, (unsigned)v, true);
		lapic_update(a);
	}
	unlock(a);
	if (!ext) return v;
	return s->pic ? (int)pic_ack(s->pic) : -1;
}

/* The vector to tell the I/O APIC of once the lock is gone; -1: none. A level on LINT0 comes again
 * while the line is up. */
static int end_of_interrupt(struct lapic *a)
{
	int v = highest(a->isr);
	if (v < 0) return -1;
	bit_put(a->isr, (unsigned)v, false);
	lapic_update(a);
	uint32_t *l = lvt(a, LVT_LINT0);
	if (*l & LVT_REMOTE_IRR && (*l & 0xff) == (uint32_t)v) {
		*l &= ~(uint32_t)LVT_REMOTE_IRR;
		if (a->lint[0] && !(*l & LVT_MASKED) && take(a, *l & 0xff, false))
			*l |= LVT_REMOTE_IRR;
	}
	return a->tmr[v / 32] >> v % 32 & 1 ? v : -1;
}

/* Timer (11.5.4) */

unsigned lapic_timer_mode(struct lapic *a) { return *lvt(a, LVT_TIMER) >> 17 & 3; }

/* ns a tick: 1 GHz divided by 1 to 128 (figure 11-10). */
uint64_t lapic_tick_ns(const struct lapic *a)
{
	unsigned d = (a->divide & 3) | (a->divide >> 1 & 4);
	return 1u << (d + 1) % 8;
}

static uint64_t whole_ns(const struct lapic *a) { return a->count * lapic_tick_ns(a); }

static uint32_t timer_now(struct lapic *a)
{
	uint64_t e = lapic_now(a) - a->started, whole = whole_ns(a);
	if (!a->count || lapic_timer_mode(a) == TIMER_DEADLINE) return 0;
	if (lapic_timer_mode(a) == TIMER_PERIODIC) e %= whole;
	return e >= whole ? 0 : (uint32_t)((whole - e + lapic_tick_ns(a) - 1) / lapic_tick_ns(a));
}

/* When an interrupt is due; UINT64_MAX. While it is masked none is. */
static uint64_t timer_due_ns(struct lapic *a)
{
	uint64_t t = lapic_now(a), whole = whole_ns(a);
	if (*lvt(a, LVT_TIMER) & LVT_MASKED || !is_on(a)) return UINT64_MAX;
	switch (lapic_timer_mode(a)) {
	case TIMER_DEADLINE:
		return a->deadline ? a->of->env.tsc_ns(a->of->env.ctx, a->id, a->deadline)
				   : UINT64_MAX;
	case TIMER_PERIODIC:
		if (!a->count) return UINT64_MAX;
		t = a->started + ((t - a->started) / whole + 1) * whole;
		return t - a->fired < LEAST_NS ? a->fired + LEAST_NS : t;
	default: return a->count && t - a->started < whole ? a->started + whole : UINT64_MAX;
	}
}

static void timer_fire(struct lapic *a)
{
	a->fired = lapic_now(a);
	if (lapic_timer_mode(a) == TIMER_DEADLINE) a->deadline = 0;
	(void)take(a, *lvt(a, LVT_TIMER) & 0xff, false);
}

/* After anything about the timer changed. A deadline that has passed is due at once. */
void lapic_timer_arm(struct lapic *a)
{
	uint64_t at = timer_due_ns(a);
	if (at <= lapic_now(a) && lapic_timer_mode(a) == TIMER_DEADLINE) {
		timer_fire(a);
		at = UINT64_MAX;
	}
	wake_at(&a->wake, at);
}

/* wake.at was right when it was set, and everything that changes it sets it anew. */
static void timer_look(struct lapic *a)
{
	if (a->wake.at > lapic_now(a)) return;
	wake_at(&a->wake, UINT64_MAX);
	timer_fire(a);
	lapic_timer_arm(a);
}

static void timer_due(void *ctx)
{
	struct lapic *a = ctx;
	lock(a);
	timer_look(a);
	unlock(a);
}

static void timer_start(struct lapic *a, uint32_t count)
{
	if (lapic_timer_mode(a) == TIMER_DEADLINE) return;
	a->count = count;
	a->started = lapic_now(a);
	lapic_timer_arm(a);
}

/* A new divisor counts what is left at its own pace. */
static void timer_divide(struct lapic *a, uint32_t v)
{
	uint32_t left = timer_now(a);
	a->divide = v & 11;
	a->started = lapic_now(a) - (a->count - left) * lapic_tick_ns(a);
	lapic_timer_arm(a);
}

/* What has passed while it was masked has passed. */
static void deadline_expire(struct lapic *a)
{
	const struct lapic_env *env = &a->of->env;
	if (a->deadline && env->tsc_ns(env->ctx, a->id, a->deadline) <= lapic_now(a))
		a->deadline = 0;
}

static void timer_lvt(struct lapic *a, uint32_t v)
{
	unsigned was = lapic_timer_mode(a);
	deadline_expire(a);
	if ((v >> 17 & 3) == 3 || ((v >> 17 & 3) == TIMER_DEADLINE && !a->of->env.tsc_ns))
		v &= ~(3u << 17);
	*lvt(a, LVT_TIMER) = v;
	if ((was == TIMER_DEADLINE) != (lapic_timer_mode(a) == TIMER_DEADLINE))
		a->count = 0, a->deadline = 0;
	lapic_timer_arm(a);
}

/* Messages (11.6, 11.11) */

static bool logical_match(const struct lapic *a, uint32_t dest)
{
	if (is_x2(a)) return a->id >> 4 == dest >> 16 && dest >> a->id % 16 & 1;
	uint32_t ldr = a->ldr >> 24;
	if (a->dfr >> 28 == 15) return ldr & dest;
	return ldr >> 4 == dest >> 4 && ldr & dest & 15;
}

/* A CPU that speaks x2APIC can address others by 32 bits; all ones mean everyone in both. */
static bool matches(const struct lapic *a, const struct message *m)
{
	if (!is_on(a)) return false;
	if (m->everyone || m->dest == (m->wide ? DEST_X2_ALL : 0xff)) return true;
	if (!is_x2(a) && m->dest > 0xff) return false;
	return m->logical ? logical_match(a, m->dest) : m->dest == a->id;
}

static void reset(struct lapic *a);

/* One APIC gets it; what is to be signalled to the CPU is said after the lock is gone. */
static bool accept(struct lapic *a, const struct message *m)
{
	static const enum lapic_signal signal[8] = {
		[SMI] = LAPIC_SMI, [NMI] = LAPIC_NMI, [INIT] = LAPIC_INIT, [SIPI] = LAPIC_SIPI};
	const struct lapic_env *env = &a->of->env;
	bool taken = false;
	switch (m->mode) {
	case FIXED:
	case LOWEST:
		lock(a);
		taken = take(a, m->vector, m->level);
		unlock(a);
		return taken;
	case INIT:
		lock(a);
		reset(a);
		unlock(a);
		break;
	case SMI:
	case NMI:
	case SIPI: break;
	default: return false;
	}
	if (env->signal) env->signal(env->ctx, a->id, signal[m->mode], m->vector);
	return true;
}

static bool reaches(struct lapic *a, const struct message *m)
{
	lock(a);
	bool yes = matches(a, m);
	unlock(a);
	return yes;
}

/* But not to CPU number except. */
static bool send(struct lapics *s, const struct message *m, unsigned except)
{
	bool taken = false;
	for (unsigned i = 0; i < s->n; i++) {
		if (i == except || !reaches(&s->cpu[i], m)) continue;
		if (accept(&s->cpu[i], m)) taken = true;
		if (taken && m->mode == LOWEST) break;
	}
	return taken;
}

/* 11.11: address bits 19..12 destination, 2 logical, 3 redirection hint, which with a logical
 * destination is lowest priority; data: vector, mode, trigger. */
bool lapics_send(void *lapics, uint64_t addr, uint32_t data)
{
	struct message m = {.dest = (uint32_t)(addr >> 12 & 0xff),
			    .vector = data & 0xff,
			    .mode = data >> 8 & 7,
			    .logical = addr & 4,
			    .level = data & ICR_LEVEL};
	if (addr >> 20 != BASE_AT >> 20) return false;
	if (m.mode == FIXED && addr & 8 && m.logical) m.mode = LOWEST;
	if (m.mode == SIPI || (m.mode == INIT && m.level && !(data & ICR_ASSERT))) return false;
	return send(lapics, &m, NOBODY);
}

void lapics_msi(void *lapics, uint64_t addr, uint32_t data)
{
	(void)lapics_send(lapics, addr, data);
}

struct ipi {
	bool go;
	unsigned shorthand;
	struct message m;
};

/* Writing the low half sends (11.6.1). INIT level de-assert does nothing on any CPU that has
 * SYSCALL. */
static struct ipi ipi_of(struct lapic *a)
{
	struct ipi p = {.shorthand = a->icr >> 18 & 3,
			.m = {.dest = is_x2(a) ? a->icr_high : a->icr_high >> 24,
			      .vector = a->icr & 0xff,
			      .mode = a->icr >> 8 & 7,
			      .logical = a->icr & ICR_LOGICAL,
			      .wide = is_x2(a)}};
	p.go = p.m.mode != 3 && p.m.mode != EXTINT;
	if (p.m.mode == INIT && a->icr & ICR_LEVEL && !(a->icr & ICR_ASSERT)) p.go = false;
	if (p.shorthand == SELF && p.m.mode != FIXED) p.go = false;
	if (p.go && p.m.mode <= LOWEST && p.m.vector < 16) {
		error(a, ERR_SEND_VECTOR);
		p.go = false;
	}
	return p;
}

static void ipi_send(struct lapic *a, struct ipi *p)
{
	if (!p->go) return;
	p->m.everyone = p->shorthand >= ALL;
	if (p->shorthand == SELF)
		(void)accept(a, &p->m);
	else
		(void)send(a->of, &p->m, p->shorthand == OTHERS ? a->id : NOBODY);
}

/* Pins (11.5.1) */

static void lint_rise(struct lapic *a, unsigned pin, bool *nmi)
{
	uint32_t *v = lvt(a, LVT_LINT0 + pin);
	*nmi = pin && !is_on(a);
	if (!is_on(a) || *v & LVT_MASKED) return;
	if ((*v >> 8 & 7) == NMI) *nmi = true;
	if ((*v >> 8 & 7) != FIXED) return;
	bool level = *v & LVT_LEVEL && pin == 0;
	if (take(a, *v & 0xff, false) && level) *v |= LVT_REMOTE_IRR;
}

static void lint_set(void *ctl, unsigned pin, int level)
{
	struct lapics *s = ctl;
	for (unsigned i = 0; i < s->n; i++) {
		struct lapic *a = &s->cpu[i];
		bool nmi = false;
		lock(a);
		bool rises = level && !a->lint[pin];
		a->lint[pin] = level;
		if (rises) lint_rise(a, pin, &nmi);
		lapic_update(a);
		unlock(a);
		if (nmi && s->env.signal) s->env.signal(s->env.ctx, i, LAPIC_NMI, 0);
	}
}

struct irq lapics_lint(struct lapics *s, unsigned pin)
{
	must(pin < 2);
	return (struct irq){lint_set, s, pin};
}

/* Registers */

static uint32_t ldr(const struct lapic *a)
{
	return is_x2(a) ? (a->id >> 4) << 16 | 1u << a->id % 16 : a->ldr;
}

uint32_t lapic_register(struct lapic *a, unsigned r)
{
	if (r >= LVT_TIMER && r <= LVT_ERROR) return *lvt(a, r);
	if (r >= ISR && r < ISR + 8) return a->isr[r - ISR];
	if (r >= TMR && r < TMR + 8) return a->tmr[r - TMR];
	if (r >= IRR && r < IRR + 8) return a->irr[r - IRR];
	switch (r) {
	case ID: return is_x2(a) ? a->id : a->id << 24;
	case VERSION: return VERSION_IS;
	case TPR: return a->tpr;
	case APR:
	case PPR: return ppr(a);
	case LDR: return ldr(a);
	case DFR: return a->dfr;
	case SVR: return a->svr;
	case ESR: return a->esr;
	case ICR: return a->icr;
	case ICR_HIGH: return a->icr_high;
	case TIMER_COUNT: return a->count;
	case TIMER_NOW: return timer_now(a);
	case TIMER_DIVIDE: return a->divide;
	default: return 0;
	}
}

static uint32_t lvt_writable(unsigned r)
{
	switch (r) {
	case LVT_TIMER: return 0x700ff;
	case LVT_LINT0:
	case LVT_LINT1: return 0x1a7ff;
	case LVT_ERROR: return 0x100ff;
	default: return 0x107ff;
	}
}

static void lvt_write(struct lapic *a, unsigned r, uint32_t v)
{
	v &= lvt_writable(r);
	if (!(a->svr & SVR_ON)) v |= LVT_MASKED;
	if (r == LVT_TIMER) {
		timer_lvt(a, v);
		return;
	}
	*lvt(a, r) = v | (v & LVT_LEVEL ? *lvt(a, r) & LVT_REMOTE_IRR : 0);
	lapic_update(a);
}

/* Software disable masks every entry, and they stay masked (11.4.7.2). */
static void svr_write(struct lapic *a, uint32_t v)
{
	a->svr = v & SVR_MASK & ~(1u << 9); /* no focus processor checking */
	for (unsigned i = 0; !(v & SVR_ON) && i < LVTS; i++) a->lvt[i] |= LVT_MASKED;
	lapic_timer_arm(a);
	lapic_update(a);
}

struct effect { /* what a write does elsewhere, once the lock is gone */
	struct ipi ipi;
	int eoi;
};

static void reg_write(struct lapic *a, unsigned r, uint32_t v, struct effect *out)
{
	if (r >= LVT_TIMER && r <= LVT_ERROR) lvt_write(a, r, v);
	switch (r) {
	case TPR:
		a->tpr = v & 0xff;
		lapic_update(a);
		break;
	case EOI: out->eoi = end_of_interrupt(a); break;
	case LDR: a->ldr = v & 0xff000000; break;
	case DFR: a->dfr = v | 0x0fffffff; break;
	case SVR: svr_write(a, v); break;
	case ESR:
		a->esr = a->errors;
		a->errors = 0;
		break;
	case ICR:
		a->icr = v & ICR_MASK;
		out->ipi = ipi_of(a);
		break;
	case ICR_HIGH: a->icr_high = is_x2(a) ? v : v & 0xff000000; break;
	case TIMER_COUNT: timer_start(a, v); break;
	case TIMER_DIVIDE: timer_divide(a, v); break;
	case SELF_IPI: out->ipi = (struct ipi){true, SELF, {.vector = v & 0xff}}; break;
	default: break;
	}
}

static void carry_out(struct lapic *a, struct effect *f)
{
	if (f->eoi >= 0 && a->of->ioapic) ioapic_eoi(a->of->ioapic, (unsigned)f->eoi);
	ipi_send(a, &f->ipi);
}

/* 11.4.1: 32-bit accesses to multiples of 16; the rest is undefined and does nothing here. */
static uint64_t page_read(struct device *d, uint64_t off, unsigned len)
{
	struct lapic *a = (struct lapic *)d;
	if (len != 4 || off % 16 || off / 16 >= SELF_IPI) return 0;
	lock(a);
	uint32_t v = is_on(a) && !is_x2(a) ? lapic_register(a, (unsigned)off / 16) : 0xffffffff;
	unlock(a);
	return v;
}

static void page_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct lapic *a = (struct lapic *)d;
	struct effect f = {.eoi = -1};
	if (len != 4 || off % 16 || off / 16 >= SELF_IPI) return;
	lock(a);
	if (is_on(a) && !is_x2(a)) reg_write(a, (unsigned)off / 16, (uint32_t)val, &f);
	unlock(a);
	carry_out(a, &f);
}

/* Which bits an MSR of x2APIC may be written with; read-only and missing ones: none at all, told
 * apart by msr_is (table 11-6). */
static uint64_t msr_writable(const struct lapic *a, unsigned r)
{
	if (r >= LVT_TIMER && r <= LVT_ERROR) {
		bool late = r == LVT_TIMER && a->of->env.tsc_ns;
		uint64_t m = lvt_writable(r) | LVT_DS;
		if (r == LVT_LINT0 || r == LVT_LINT1) m |= LVT_REMOTE_IRR;
		return r == LVT_TIMER && !late ? m & ~(1ull << 18) : m;
	}
	switch (r) {
	case TPR:
	case SELF_IPI: return 0xff;
	case SVR: return SVR_MASK & ~(1u << 9);
	case ICR: return 0xffffffff00000000 | ICR_MASK | LVT_DS;
	case TIMER_COUNT: return 0xffffffff;
	case TIMER_DIVIDE: return 11;
	default: return 0; /* EOI and ESR take 0 only */
	}
}

static bool msr_is(unsigned r, bool write)
{
	if (r >= LVT_TIMER && r <= LVT_ERROR) return true;
	if (r >= ISR && r < IRR + 8) return !write;
	switch (r) {
	case ID:
	case VERSION:
	case PPR:
	case LDR:
	case TIMER_NOW: return !write;
	case EOI:
	case SELF_IPI: return write;
	case TPR:
	case SVR:
	case ESR:
	case ICR:
	case TIMER_COUNT:
	case TIMER_DIVIDE: return true;
	default: return false;
	}
}

bool lapic_msr_read(struct lapics *s, unsigned cpu, unsigned msr, uint64_t *v)
{
	struct lapic *a = &s->cpu[cpu];
	unsigned r = msr - MSR_FIRST;
	lock(a);
	bool ok = msr == MSR_DEADLINE ? s->env.tsc_ns != NULL : is_x2(a) && msr_is(r, false);
	if (ok && msr == MSR_DEADLINE && *lvt(a, LVT_TIMER) & LVT_MASKED) deadline_expire(a);
	if (ok) *v = msr == MSR_DEADLINE ? a->deadline : lapic_register(a, r);
	if (ok && msr != MSR_DEADLINE && r == ICR) *v |= (uint64_t)a->icr_high << 32;
	unlock(a);
	return ok;
}

/* Outside deadline mode the MSR reads 0 and ignores what is written (11.5.4.1). */
static bool deadline_write(struct lapic *a, uint64_t v)
{
	if (!a->of->env.tsc_ns) return false;
	if (lapic_timer_mode(a) != TIMER_DEADLINE) return true;
	a->deadline = v;
	lapic_timer_arm(a);
	return true;
}

static bool msr_write(struct lapic *a, unsigned msr, uint64_t v, struct effect *f)
{
	unsigned r = msr - MSR_FIRST;
	if (msr == MSR_DEADLINE) return deadline_write(a, v);
	if (!is_x2(a) || !msr_is(r, true) || v & ~msr_writable(a, r)) return false;
	if (r == ICR) a->icr_high = (uint32_t)(v >> 32);
	reg_write(a, r, (uint32_t)v, f);
	return true;
}

bool lapic_msr_write(struct lapics *s, unsigned cpu, unsigned msr, uint64_t v)
{
	struct lapic *a = &s->cpu[cpu];
	struct effect f = {.eoi = -1};
	lock(a);
	bool ok = msr_write(a, msr, v, &f);
	unlock(a);
	carry_out(a, &f);
	return ok;
}

uint64_t lapic_base(struct lapics *s, unsigned cpu)
{
	struct lapic *a = &s->cpu[cpu];
	lock(a);
	uint64_t v = a->base;
	unlock(a);
	return v;
}

/* Figure 11-27: off, xAPIC, x2APIC, and back only by way of off, which forgets everything. */
static bool base_set(struct lapic *a, uint64_t v)
{
	uint64_t state = v & (BASE_ON | BASE_X2), was = a->base & (BASE_ON | BASE_X2);
	if (v & 0xff || v & 1 << 9 || v >> 52 || state == BASE_X2) return false;
	if (was == 0 && state == (BASE_ON | BASE_X2)) return false;
	if (was == (BASE_ON | BASE_X2) && state == BASE_ON) return false;
	a->base = v;
	if (state == 0 && was) reset(a);
	if (state != was) a->icr_high = 0;
	lapic_update(a);
	return true;
}

bool lapic_base_set(struct lapics *s, unsigned cpu, uint64_t v)
{
	struct lapic *a = &s->cpu[cpu];
	lock(a);
	bool ok = base_set(a, v);
	unlock(a);
	return ok;
}

unsigned lapic_cr8(struct lapics *s, unsigned cpu)
{
	struct lapic *a = &s->cpu[cpu];
	lock(a);
	unsigned v = a->tpr >> 4;
	unlock(a);
	return v;
}

void lapic_cr8_set(struct lapics *s, unsigned cpu, unsigned v)
{
	struct lapic *a = &s->cpu[cpu];
	lock(a);
	a->tpr = (v & 15) << 4;
	lapic_update(a);
	unlock(a);
}

/* Life */

/* After INIT (11.4.7.3): all but the ID, the base, and the pins' levels. */
static void reset(struct lapic *a)
{
	memset(a->irr, 0, sizeof(a->irr));
	memset(a->isr, 0, sizeof(a->isr));
	memset(a->tmr, 0, sizeof(a->tmr));
	a->tpr = a->ldr = a->esr = a->errors = a->icr = a->icr_high = a->count = a->divide = 0;
	a->dfr = 0xffffffff;
	a->svr = 0xff;
	a->deadline = a->started = a->fired = 0;
	for (unsigned i = 0; i < LVTS; i++) a->lvt[i] = LVT_MASKED;
	wake_at(&a->wake, UINT64_MAX);
	lapic_update(a);
}

static void page_reset(struct device *d)
{
	struct lapic *a = (struct lapic *)d;
	lock(a);
	a->base = BASE_AT | BASE_ON | (a->id ? 0 : BASE_BSP);
	reset(a);
	unlock(a);
}

void lapics_reset(struct lapics *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		device_lock(&s->cpu[i].page);
		page_reset(&s->cpu[i].page);
		device_unlock(&s->cpu[i].page);
	}
}

static void page_resume(struct device *d)
{
	struct lapic *a = (struct lapic *)d;
	lock(a);
	wake_again(&a->wake);
	unlock(a);
}

void lapics_resume(struct lapics *s)
{
	for (unsigned i = 0; i < s->n; i++) page_resume(&s->cpu[i].page);
}

static const struct device_ops ops = {.name = "lapic",
				      .read = page_read,
				      .write = page_write,
				      .reset = page_reset,
				      .resume = page_resume};

int lapics_new(struct lapics **out, unsigned cpus, const struct lapic_env *env, struct err *e)
{
	must(cpus && cpus <= CPUS);
	struct lapics *s = calloc(1, sizeof(*s) + cpus * sizeof(s->cpu[0]));
	int r = 0;
	if (!s) return fail(e, -ENOMEM, "lapic: out of memory");
	s->env = *env;
	for (; r == 0 && s->n < cpus; s->n++) {
		struct lapic *a = &s->cpu[s->n];
		device_init(&a->page, &ops, "lapic");
		must(pthread_mutex_init(&a->lock, NULL) == 0);
		a->of = s;
		a->id = s->n;
		r = wake_init(&a->wake, env->clock, env->loop, timer_due, a, e);
	}
	if (r < 0) {
		lapics_free(s);
		return fail_in(e, "lapic");
	}
	lapics_reset(s);
	*out = s;
	return 0;
}

void lapics_wire(struct lapics *s, struct device *pic, struct device *ioapic)
{
	s->pic = pic;
	s->ioapic = ioapic;
}

void lapics_free(struct lapics *s)
{
	for (unsigned i = 0; s && i < s->n; i++) {
		wake_done(&s->cpu[i].wake);
		(void)pthread_mutex_destroy(&s->cpu[i].lock);
		device_done(&s->cpu[i].page);
	}
	free(s);
}

struct device *lapic_page(struct lapics *s, unsigned cpu)
{
	must(cpu < s->n);
	return &s->cpu[cpu].page;
}

void lapics_tick(struct lapics *s)
{
	for (unsigned i = 0; i < s->n; i++) timer_due(&s->cpu[i]);
}

uint64_t lapics_next(struct lapics *s)
{
	uint64_t next = UINT64_MAX;
	for (unsigned i = 0; i < s->n; i++) {
		lock(&s->cpu[i]);
		if (s->cpu[i].wake.at < next) next = s->cpu[i].wake.at;
		unlock(&s->cpu[i]);
	}
	return next;
}

void lapics_virtual_wire(struct lapics *s)
{
	struct lapic *a = &s->cpu[0];
	lock(a);
	a->svr |= SVR_ON;
	*lvt(a, LVT_LINT0) = EXTINT << 8;
	*lvt(a, LVT_LINT1) = NMI << 8;
	lapic_update(a);
	unlock(a);
}
