/* Local APICs saved and loaded, and the same as the page of registers that SDM 3, table 11-1 has:
 * how those who have local APICs of their own (KVM) take and give theirs. */
#include "dev/lapic.h"
#include <string.h>

static void timer_state(struct lapic *a, struct state *s)
{
	STATE(s, a, count);
	STATE(s, a, divide);
	STATE(s, a, started);
	STATE(s, a, fired);
	STATE(s, a, deadline);
	wake_state(&a->wake, s);
	bool late = lapic_timer_mode(a) == TIMER_DEADLINE || a->deadline;
	if (state_need(s, lapic_timer_mode(a) <= TIMER_DEADLINE && (!late || a->of->env.tsc_ns),
		       "timer"))
		return;
	a->lvt[0] = LVT_MASKED;
	a->deadline = 0;
}

static void lapic_state(struct lapic *a, struct state *s)
{
	STATE(s, a, base);
	STATE(s, a, irr);
	STATE(s, a, isr);
	STATE(s, a, tmr);
	STATE(s, a, tpr);
	STATE(s, a, ldr);
	STATE(s, a, dfr);
	STATE(s, a, svr);
	STATE(s, a, esr);
	STATE(s, a, errors);
	STATE(s, a, icr);
	STATE(s, a, icr_high);
	STATE(s, a, lvt);
	state_flag(s, "lint0", &a->lint[0], sizeof(bool));
	state_flag(s, "lint1", &a->lint[1], sizeof(bool));
	a->tpr &= 0xff;
	timer_state(a, s);
	if (!s->loading) return;
	a->intr = -1; /* neither up nor down: say it again */
	lapic_update(a);
}

void lapics_state(struct lapics *s, struct state *to)
{
	unsigned n = s->n;
	state_bytes(to, "cpus", &n, sizeof(n));
	(void)state_need(to, n == s->n, "number of local APICs");
	for (unsigned i = 0; i < s->n; i++) {
		(void)pthread_mutex_lock(&s->cpu[i].lock);
		lapic_state(&s->cpu[i], to);
		(void)pthread_mutex_unlock(&s->cpu[i].lock);
	}
}

/* ---- as a page */
static void words_get(const uint32_t *map, unsigned first, uint32_t reg[LAPIC_REGS])
{
	memcpy(reg + first, map, 8 * sizeof(*map));
}

static void words_put(uint32_t *map, unsigned first, const uint32_t reg[LAPIC_REGS])
{
	memcpy(map, reg + first, 8 * sizeof(*map));
}

void lapic_save(struct lapics *s, unsigned cpu, struct lapic_page *to)
{
	struct lapic *a = &s->cpu[cpu];
	(void)pthread_mutex_lock(&a->lock);
	*to = (struct lapic_page){.base = a->base, .deadline = a->deadline};
	for (unsigned r = 0; r < LAPIC_REGS; r++) to->reg[r] = lapic_register(a, r);
	words_get(a->isr, ISR, to->reg);
	words_get(a->tmr, TMR, to->reg);
	words_get(a->irr, IRR, to->reg);
	(void)pthread_mutex_unlock(&a->lock);
}

static void lvts_put(struct lapic *a, const uint32_t reg[LAPIC_REGS])
{
	for (unsigned i = 0; i < LVTS; i++) a->lvt[i] = reg[LVT_TIMER + i] & 0x7f7ff;
	if (lapic_timer_mode(a) > TIMER_DEADLINE) a->lvt[0] = LVT_MASKED;
}

/* When it must have been started for this much to be left now. */
static void timer_put(struct lapic *a, const struct lapic_page *from)
{
	uint32_t left = from->reg[TIMER_NOW];
	a->count = from->reg[TIMER_COUNT];
	a->divide = from->reg[TIMER_DIVIDE] & 11;
	a->fired = 0;
	if (left > a->count) left = a->count;
	a->started = lapic_now(a) - (a->count - left) * lapic_tick_ns(a);
	a->deadline = lapic_timer_mode(a) == TIMER_DEADLINE ? from->deadline : 0;
	lapic_timer_arm(a);
}

void lapic_load(struct lapics *s, unsigned cpu, const struct lapic_page *from)
{
	struct lapic *a = &s->cpu[cpu];
	const uint32_t *reg = from->reg;
	(void)pthread_mutex_lock(&a->lock);
	a->base = from->base;
	words_put(a->isr, ISR, reg);
	words_put(a->tmr, TMR, reg);
	words_put(a->irr, IRR, reg);
	a->tpr = reg[TPR] & 0xff;
	a->ldr = from->base & BASE_X2 ? 0 : reg[LDR];
	a->dfr = from->base & BASE_X2 ? UINT32_MAX : reg[DFR];
	a->svr = reg[SVR] & SVR_MASK;
	a->esr = reg[ESR];
	a->errors = 0;
	a->icr = reg[ICR] & ICR_MASK;
	a->icr_high = reg[ICR_HIGH];
	lvts_put(a, reg);
	timer_put(a, from);
	lapic_update(a);
	(void)pthread_mutex_unlock(&a->lock);
}
