/* An x86-64 CPU under a debugger. Instructions with a breakpoint end translated blocks and are the
 * interpreter's, which asks before each; a page with a watchpoint is in no TLB and no window, so
 * that its accesses are the interpreter's, too. Flags are kept where nobody but a debugger looks at
 * them. */
#include "engine/debug.h"
#include "engine/x86_jit.h"
#include "engine/x86_vcpu.h"

void x86_debug_set(struct x86_vcpu *v, const struct debug *d, bool recut)
{
	bool watches = debug_watching(d);
	v->debug = d;
	if (recut) x86_jit_drop(v);
	if (watches || v->watching) {
		x86_tlb_flush(v, true);
		x86_jit_flush(v, true);
	}
	v->watching = watches;
}

/* run() ends as if kicked. */
static void stop(struct x86_vcpu *v, struct vcpu_stop why)
{
	v->stopped = why;
	v->debugged = true;
	(void)atomic_fetch_or(&v->poll, X86_POLL_KICK);
}

bool x86_debug_here(struct x86_vcpu *v, uint64_t la)
{
	if (!debug_breaks(v->debug, la)) return false;
	stop(v, (struct vcpu_stop){.why = STOPPED_BY_BREAK});
	return true;
}

void x86_debug_look(struct x86_vcpu *v)
{
	stop(v, (struct vcpu_stop){.why = STOPPED_BY_WATCH, .watch = *v->met});
	v->met = NULL;
}

/* One that waits takes what it waits for instead. */
void x86_debug_step(struct x86_vcpu *v)
{
	bool runs = v->activity == X86_RUNNING;
	if (runs && v->machine->env.turns) {
		x86_count_due(v); /* a recorded run goes on as it went, interrupts and all */
		if (!x86_events(v)) return;
	}
	if (!runs && !x86_events(v)) return;
	if (runs) x86_step(v);
	v->stepping = false;
	if (!v->debugged) v->stopped = (struct vcpu_stop){.why = STOPPED_BY_STEP};
	v->debugged = true;
	(void)atomic_fetch_and(&v->poll,
			       ~(uint32_t)X86_POLL_KICK); /* it ends, who wants it or not */
}
