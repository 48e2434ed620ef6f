#include "base/test.h"
#include "engine/debug.h"
#include "engine/x86_jit.h"
#include "engine/x86_rig.h"

enum { CODE = 0x10000, DATA = 0x20000, TIMES = 2000 };
static const uint8_t offsets[] = {0, 3, 6, 9, 14, 17, 19, 21};

/* add rax,rcx; mov [rdi],rax; xor rbx,rax; adc qword [rdi+64],5; shl rdx,1; inc bl; dec ecx; jnz */
static struct x86_rig *looper(bool jit)
{
	struct x86_rig *r = x86_rig_new();
	struct err e = {0};
	r->at = CODE;
	X86_RIG_CODE(r, 0x48, 0x01, 0xc8, 0x48, 0x89, 0x07, 0x48, 0x31, 0xc3, 0x48, 0x83, 0x57, 64,
		     5, 0x48, 0xd1, 0xe2, 0xfe, 0xc3, 0xff, 0xc9);
	X86_RIG_CODE(r, 0x75, (uint8_t)-23, X86_RIG_HALT, 0xf4);
	x86_rig_flat(r, X86_64, 0);
	for (uint64_t la = 0; la < X86_RIG_RAM; la += X86_PAGE) x86_rig_map(r, la, la, 3, 0);
	x86_rig_paging(r);
	if (jit) {
		r->m.code_pages = X86_RIG_RAM >> X86_PAGE_SHIFT;
		r->m.code = calloc(r->m.code_pages, 1);
		CHECK(!x86_jit_new(r->v, 4 << 20, X86_JIT_FAST, &e));
	}
	r->v->cpu.rip = CODE;
	r->v->cpu.r[1] = TIMES;
	r->v->cpu.r[2] = 0x123456789abcdef1;
	r->v->cpu.r[7] = DATA;
	return r;
}
static void end(struct x86_rig *r)
{
	_Atomic uint8_t *code = r->m.code;
	x86_debug_set(r->v, NULL, true);
	x86_rig_free(r);
	free((void *)code);
}

static void ask(struct x86_rig *r, struct debug *d, const struct vcpu_points *p)
{
	bool recut = !r->v->debug;
	recut |= debug_set(d, p);
	x86_debug_set(r->v, d, recut);
}
static void step(struct x86_rig *r)
{
	r->v->stepping = true;
	CHECK(x86_vcpu_run(r->v) == VCPU_DEBUG && r->v->stopped.why == STOPPED_BY_STEP);
}

static bool same(const struct x86_vcpu *a, const struct x86_vcpu *b)
{
	return !memcmp(a->cpu.r, b->cpu.r, sizeof(a->cpu.r)) && a->cpu.rip == b->cpu.rip &&
	       a->cpu.flags == b->cpu.flags;
}

/* Wherever translated code stops, all flags are what the interpreter has. */
TEST(x86_breakpoints_find_exact_state)
{
	static const struct vcpu_points none;
	for (unsigned k = 0; k < COUNT(offsets); k++) {
		static struct debug d[2];
		struct x86_rig *r[2] = {looper(false), looper(true)};
		struct vcpu_points p = {.nbreaks = 1, .breaks = {CODE + offsets[k]}};
		memset(d, 0, sizeof(d));
		for (unsigned i = 0; i < 150; i++) {
			for (unsigned j = 0; j < 2; j++) {
				ask(r[j], &d[j], &p);
				CHECK(x86_vcpu_run(r[j]->v) == VCPU_DEBUG);
				CHECK(r[j]->v->stopped.why == STOPPED_BY_BREAK);
				CHECK(r[j]->v->cpu.rip == p.breaks[0]);
			}
			CHECK(same(r[0]->v, r[1]->v));
			for (unsigned j = 0; j < 2; j++) {
				ask(r[j], &d[j], &none);
				step(r[j]);
			}
			CHECK(same(r[0]->v, r[1]->v));
		}
		for (unsigned j = 0; j < 2; j++) CHECK(x86_vcpu_run(r[j]->v) == VCPU_KICKED);
		CHECK(same(r[0]->v, r[1]->v) && r[0]->v->cpu.r[1] == 0);
		CHECK(x86_rig_get(r[0], DATA + 64, 8) == x86_rig_get(r[1], DATA + 64, 8));
		end(r[0]);
		end(r[1]);
	}
}

TEST(x86_watchpoints_stop_behind_accesses)
{
	static const uint16_t behind[] = {6, 14};
	for (unsigned how = 0; how < 4; how++) {
		static struct debug d;
		bool second = how & 1;
		struct x86_rig *r = looper(how & 2);
		uint64_t at = CODE + behind[second];
		struct vcpu_points p = {.nwatches = 1,
					.watch = {{.at = second ? DATA + 64 : DATA,
						   .len = 8,
						   .reads = second,
						   .writes = true}}};
		memset(&d, 0, sizeof(d));
		ask(r, &d, &p);
		for (unsigned i = 1; i <= 300; i++) {
			CHECK(x86_vcpu_run(r->v) == VCPU_DEBUG);
			CHECK(r->v->stopped.why == STOPPED_BY_WATCH && r->v->cpu.rip == at);
			CHECK(r->v->cpu.r[1] == TIMES - i + 1);
		}
		p.nwatches = 0;
		ask(r, &d, &p);
		CHECK(x86_vcpu_run(r->v) == VCPU_KICKED && r->v->cpu.r[1] == 0);
		end(r);
	}
}

/* A repeated instruction is stepped an element at a time; one that halts waits. */
TEST(x86_steps_are_single)
{
	static struct debug d;
	static const struct vcpu_points none;
	struct x86_rig *r = x86_rig_new();
	r->at = CODE;
	X86_RIG_CODE(r, 0xf3, 0xaa, 0x0f, 0x0b); /* rep stosb; ud2 */
	x86_rig_flat(r, X86_32, 0);
	r->v->cpu.rip = CODE;
	r->v->cpu.r[1] = 3;
	r->v->cpu.r[7] = DATA;
	memset(&d, 0, sizeof(d));
	ask(r, &d, &none);
	step(r);
	CHECK(r->v->cpu.r[1] == 2 && r->v->cpu.rip == CODE);
	step(r);
	step(r);
	CHECK(r->v->cpu.r[1] == 0 && r->v->cpu.rip == CODE + 2);
	end(r);
}
