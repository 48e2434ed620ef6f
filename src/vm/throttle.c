/* A cap on CPU time, for hosts that have no control group for it, or not for us. The idea: an
 * account. Time pays in, the process's CPU time is taken out, and while it is overdrawn harts wait.
 * Its other threads go on: what they use is paid by the harts. */
#include "vm/throttle.h"
#include "base/loop.h"
#include "base/usage.h"
#include "guest/guest.h"
#include "vm/vm.h"
#include <errno.h>
#include <stdlib.h>

#define STEP   5000000ull /* ns between two looks */
#define SECOND 1000000000ll
enum { BURST_STEPS = 4 };

struct throttle {
	struct vm *vm;
	struct timer *timer;
	uint64_t cap, at_ns, used_ns;
	int64_t balance;
};

int64_t throttle_balance(int64_t balance, uint64_t cap, uint64_t passed_ns, uint64_t used_ns)
{
	int64_t most = (int64_t)(BURST_STEPS * STEP * cap / 1000);
	if (passed_ns > 10 * SECOND) passed_ns = 10 * SECOND;
	if (used_ns > 100 * SECOND) used_ns = 100 * SECOND;
	balance += (int64_t)(passed_ns * cap / 1000) - (int64_t)used_ns;
	if (balance < -SECOND) return -SECOND;
	return balance < most ? balance : most;
}

static void look(void *ctx)
{
	struct throttle *t = ctx;
	uint64_t now = now_ns(), used = usage_ns();
	t->balance = throttle_balance(t->balance, t->cap, now - t->at_ns, used - t->used_ns);
	t->at_ns = now;
	t->used_ns = used;
	bool held = t->cap && t->balance < 0;
	if (held != t->vm->held) vm_hold(t->vm, held);
	if (t->cap) timer_arm(t->timer, now + STEP);
}

int throttle_new(struct throttle **out, struct vm *vm, struct err *e)
{
	struct throttle *t = calloc(1, sizeof(*t));
	if (!t) return fail(e, -ENOMEM, "cpus: out of memory");
	t->vm = vm;
	int r = loop_timer(vm->guest->loop, &t->timer, look, t, e);
	if (r < 0)
		free(t);
	else
		*out = t;
	return r;
}

void throttle_set(struct throttle *t, uint64_t cap)
{
	t->cap = cap;
	t->balance = 0;
	t->at_ns = now_ns();
	t->used_ns = usage_ns();
	look(t);
}

void throttle_free(struct throttle *t)
{
	if (!t) return;
	timer_free(t->timer);
	free(t);
}
