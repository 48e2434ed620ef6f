/* A RISC-V hart under a debugger. A breakpoint is a slot of its own kind, which no unit has in it;
 * a page with a watchpoint is in no TLB and no window. What is met ends as a trap would, but for
 * the trap. */
#include "engine/debug.h"
#include "engine/rv64_cpu.h"
#include "engine/rv64_window.h"

void rv64_debug_set(struct rv64_cpu *c, const struct debug *d, bool recut)
{
	c->debug = d;
	if (recut) rv64_code_drop(c);
	if (c->watching || debug_watching(d)) rv64_tlb_flush(c);
	c->watching = debug_watching(d);
}

bool rv64_debug_here(struct rv64_cpu *c)
{
	if (!debug_breaks(c->debug, c->pc)) return false;
	c->stopped = (struct vcpu_stop){.why = STOPPED_BY_BREAK};
	c->stop = STOP_DEBUG;
	return true;
}

enum rv64_stop rv64_debug_met(struct rv64_cpu *c, const struct vcpu_watch *w)
{
	c->stopped = (struct vcpu_stop){.why = STOPPED_BY_WATCH, .watch = *w};
	return rv64_raise(c, CAUSE_WATCHED, w->at);
}

void rv64_debug_one(struct rv64_cpu *c)
{
	bool stepped = c->trace.steps, traced = stepped && rv64_trace_begin(c);
	atomic_fetch_or(&c->poll, POLL_ONCE); /* so that no jump goes on */
	const struct slot *ip = stepped ? rv64_code_single(c) : rv64_code_step(c);
	c->stop = STOP_TRAP;
	c->solo = false;
	if (ip) rv64_go(c, ip);
	atomic_fetch_and(&c->poll, ~(uint32_t)POLL_ONCE);
	if (traced) rv64_trace_end(c);
}

bool rv64_debug_ends(struct rv64_cpu *c)
{
	bool met = c->stop == STOP_DEBUG, done = c->stepping && c->stop != STOP_WATCH;
	if (done && !met) c->stopped = (struct vcpu_stop){.why = STOPPED_BY_STEP};
	if (done) c->stepping = false;
	return done || met;
}

bool rv64_debug_peek(struct rv64_cpu *c, gva_t va, gpa_t *out)
{
	struct rv64_page pg;
	if (!rv64_look(c, va, &pg)) return false;
	*out = pg.at | (va & ~PAGE_MASK);
	return true;
}
