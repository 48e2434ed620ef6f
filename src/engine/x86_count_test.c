#include "base/test.h"
#include "engine/x86_jit.h"
#include "engine/x86_rig.h"

enum { CODE = 0x10000, DUE = 50001, TICKS = 8 };
struct ticks {
	struct x86_rig *r;
	uint64_t at[TICKS], rax[TICKS];
	unsigned n;
};

/* Called for, or more often: due every DUE, and the third one ends it all. */
static uint64_t tick(void *ctx, bool pause)
{
	struct ticks *t = ctx;
	struct x86_vcpu *v = t->r->v;
	uint64_t now = v->n + v->slept;
	(void)pause;
	if (now >= (t->n + 1) * (uint64_t)DUE && t->n < TICKS) {
		t->rax[t->n] = v->cpu.r[0];
		t->at[t->n++] = now;
	}
	if (t->n == 3) x86_poke(v, X86_POLL_KICK);
	return (t->n + 1) * (uint64_t)DUE;
}

/* A CPU whose time is instructions, at code of n bytes. */
static struct x86_rig *counted(uint64_t (*on_tick)(void *, bool), void *ctx, bool jit,
			       const uint8_t *code, size_t n)
{
	struct x86_rig *r = x86_rig_new();
	x86_vcpu_free(r->v);
	r->m.n = 0;
	r->m.env.cpus = 1;
	r->m.env.counted = &r->clock;
	r->m.env.tick = on_tick;
	r->m.env.tick_ctx = ctx ? ctx : r;
	x86_machine_init(&r->m);
	r->v = x86_vcpu_new(&r->m, 0);
	x86_rig_flat(r, X86_64, 0);
	x86_rig_map(r, 0, 0, 0x83, 1);
	x86_rig_paging(r);
	r->m.code_pages = (1ull << 32) >> X86_PAGE_SHIFT;
	r->m.code = calloc(r->m.code_pages, 1);
	must(r->m.code);
	if (jit) must(!x86_jit_new(r->v, 4 << 20, X86_JIT_COUNT, NULL));
	r->at = CODE;
	x86_rig_bytes(r, code, n);
	r->v->cpu.rip = CODE;
	return r;
}
static void done(struct x86_rig *r)
{
	_Atomic uint8_t *marks = r->m.code;
	x86_rig_free(r);
	free((void *)marks);
}

static void run(struct ticks *t, bool jit, const uint8_t *code, size_t n)
{
	t->r = counted(tick, t, jit, code, n);
	CHECK(x86_vcpu_run(t->r->v) == VCPU_KICKED);
	done(t->r);
}

static void same_with_both(const uint8_t *code, size_t n)
{
	struct ticks a = {0}, b = {0};
	run(&a, false, code, n);
	run(&b, true, code, n);
	CHECK(a.n == 3 && b.n == 3);
	for (unsigned i = 0; i < 3; i++) {
		CHECK(a.at[i] == (i + 1) * (uint64_t)DUE && b.at[i] == a.at[i]);
		CHECK(a.rax[i] == b.rax[i] && a.rax[i]);
	}
}

TEST(x86_count_timers_come_to_the_instruction)
{
	const uint8_t loop[] = {0x48, 0xff, 0xc0, 0x90, 0xeb, 0xfa}; /* 1: inc rax; nop; jmp 1b */
	same_with_both(loop, sizeof(loop));
}
/* Time is read in a block, and by what is interpreted in its middle. */
TEST(x86_count_time_is_exact_wherever_it_is_read)
{
	const uint8_t loop[] = {0x90, 0x0f, 0x31, 0x90, 0x90, 0x0f, 0x31, /* nop; rdtsc; .. */
				0x75, 0x01, 0x90, 0xeb, 0xf4};		  /* jne; jmp 1b */
	same_with_both(loop, sizeof(loop));
}
TEST(x86_count_sleep_goes_to_the_next_timer)
{
	const uint8_t loop[] = {0x48, 0xff, 0xc0, 0xf4, 0xeb, 0xfa}; /* 1: inc rax; hlt; jmp 1b */
	struct ticks a = {0};
	run(&a, true, loop, sizeof(loop));
	CHECK(a.n == 3 && a.at[0] == DUE && a.at[2] == 3ul * DUE && a.rax[2] == 1);
}

/* Asleep in translated code a kick ends the run, or whoever sent it waits for ever. */
static unsigned sleeps;
static uint64_t kick_asleep(void *ctx, bool pause)
{
	struct x86_vcpu *v = ((struct x86_rig *)ctx)->v;
	(void)pause;
	sleeps += v->activity == X86_HALTED;
	if (v->activity == X86_HALTED) x86_poke(v, X86_POLL_KICK);
	return UINT64_MAX;
}
TEST(x86_count_kick_in_sleep_ends_the_run)
{
	const uint8_t code[] = {0x48, 0xff, 0xc0, 0xf4}; /* inc rax; hlt */
	struct x86_rig *r = counted(kick_asleep, NULL, true, code, sizeof(code));
	for (sleeps = 0; sleeps < 3;) {
		unsigned before = sleeps;
		CHECK(x86_vcpu_run(r->v) == VCPU_KICKED && sleeps == before + 1);
	}
	CHECK(r->v->n == 2 && r->v->activity == X86_HALTED);
	done(r);
}
