#include "base/test.h"
#include "engine/x86_check.h"
#include "engine/x86_check_impl.h"
#include "engine/x86_code.h"
#include "engine/x86_jit.h"
#include "engine/x86_rig.h"

enum { CODE = 0x10000, DATA = 0x20000, STACK = 0x30000, MARK = 0x12345678 };

static struct x86_rig *rig_with(enum x86_jit_mode mode)
{
	struct x86_rig *r = x86_rig_new();
	x86_rig_flat(r, X86_64, 0);
	x86_rig_map(r, 0, 0, 0x83, 1);
	x86_rig_map(r, 0x200000, 0x200000, 0x83, 1);
	x86_rig_paging(r);
	r->m.code_pages = (1ull << 32) >> X86_PAGE_SHIFT;
	r->m.code = calloc(r->m.code_pages, 1);
	must(r->m.code && !x86_jit_new(r->v, 4 << 20, mode, NULL));
	r->at = CODE;
	return r;
}
static void done(struct x86_rig *r)
{
	_Atomic uint8_t *code = r->m.code;
	x86_rig_free(r);
	free((void *)code);
}
static enum vcpu_exit run(struct x86_rig *r)
{
	enum vcpu_exit x;
	struct x86_vcpu *v = r->v;
	v->cpu.rip = CODE;
	v->cpu.r[RSP] = STACK;
	v->cpu.r[RBX] = DATA;
	r->stops = 0;
	while ((x = x86_vcpu_run(v)) == VCPU_KICKED && !r->stops) {
	}
	return x;
}
/* Plant a bug: the bytes in translated code become others. */
static bool plant(struct x86_rig *r, const uint8_t *is, const uint8_t *be, size_t n)
{
	struct x86_jit *j = r->v->jit;
	bool found = false;
	for (size_t at = j->floor; at + n <= j->used; at++)
		if (!memcmp(j->rw + at, is, n)) {
			memcpy(j->rw + at, be, n);
			found = true;
		}
	return found;
}
static uint64_t counted(const struct x86_rig *r, enum x86_stat what) { return r->v->stats[what]; }

/* mov eax, MARK; mov [rbx], MARK; push rax; add rcx, rax; xor edx, edx; cmp eax, MARK; jne; */
static void program(struct x86_rig *r)
{
	X86_RIG_CODE(r, 0xb8, 0x78, 0x56, 0x34, 0x12);
	X86_RIG_CODE(r, 0xc7, 0x03, 0x78, 0x56, 0x34, 0x12);
	X86_RIG_CODE(r, 0x50, 0x48, 0x01, 0xc1, 0x31, 0xd2);
	X86_RIG_CODE(r, 0x3d, 0x78, 0x56, 0x34, 0x12, 0x75, 0x00);
	X86_RIG_CODE(r, X86_RIG_HALT);
}

TEST(x86_check_finds_nothing_where_all_is_well)
{
	struct x86_rig *r = rig_with(X86_JIT_CHECK);
	program(r);
	CHECK(run(r) == VCPU_KICKED && run(r) == VCPU_KICKED);
	CHECK(counted(r, X86_STAT_CHECKED) >= 14 && !counted(r, X86_STAT_AGAIN));
	CHECK(x86_rig_get(r, DATA, 4) == MARK && r->v->cpu.r[RCX] == 2ul * MARK);
	done(r);
}

static const char *broken_by(const uint8_t *is, const uint8_t *be, size_t n, struct x86_rig **out)
{
	struct x86_rig *r = *out = rig_with(X86_JIT_CHECK);
	program(r);
	CHECK(run(r) == VCPU_KICKED);
	CHECK(plant(r, is, be, n));
	return run(r) == VCPU_BROKEN ? r->v->broken : "";
}
TEST(x86_check_finds_a_wrong_register)
{
	struct x86_rig *r;
	const uint8_t is[] = {0xb8, 0x78, 0x56}, be[] = {0xb8, 0x79, 0x56};
	const char *words = broken_by(is, be, sizeof(is), &r);
	CHECK(strstr(words, "at 0x10000") && strstr(words, "rax 0x12345679, not 0x12345678"));
	CHECK(counted(r, X86_STAT_AGAIN) == 3);
	CHECK(r->v->cpu.rip == CODE && r->v->cpu.r[RCX] == MARK); /* as it was before */
	done(r);
}
TEST(x86_check_finds_a_wrong_store)
{
	struct x86_rig *r;
	const uint8_t is[] = {0x78, 0x56, 0x34, 0x12}, be[] = {0x78, 0x56, 0x34, 0x13};
	r = rig_with(X86_JIT_CHECK);
	X86_RIG_CODE(r, 0xc7, 0x03, 0x78, 0x56, 0x34, 0x12, X86_RIG_HALT);
	CHECK(run(r) == VCPU_KICKED && plant(r, is, be, 4) && run(r) == VCPU_BROKEN);
	CHECK(r->v->broken && strstr(r->v->broken, "store 0 0x13345678, not 0x12345678"));
	CHECK(x86_rig_get(r, DATA, 4) == MARK);
	done(r);
}
TEST(x86_check_finds_a_wrong_branch)
{
	struct x86_rig *r;
	const uint8_t is[] = {0x3d, 0x78, 0x56}, be[] = {0x3d, 0x77, 0x56};
	const char *words = broken_by(is, be, sizeof(is), &r);
	CHECK(!strcmp(words, "")); /* both ways lead to the same place: flags nobody read again */
	done(r);
	r = rig_with(X86_JIT_CHECK);
	X86_RIG_CODE(r, 0x3d, 0x78, 0x56, 0x34, 0x12, 0x74, 0x02); /* cmp; je */
	X86_RIG_CODE(r, X86_RIG_HALT, 0x90, 0x90, X86_RIG_HALT);
	CHECK(run(r) == VCPU_KICKED && plant(r, is, be, sizeof(is)));
	r->v->cpu.r[RAX] = MARK;
	CHECK(run(r) == VCPU_BROKEN && strstr(r->v->broken, " rip "));
	done(r);
}
/* A flag that was taken for dead is read by what is interpreted. */
TEST(x86_check_finds_flags_that_are_missed)
{
	struct x86_rig *r = rig_with(X86_JIT_CHECK);
	const uint8_t is[] = {0x3d, 0x78, 0x56}, be[] = {0x3d, 0x77, 0x56};
	X86_RIG_CODE(r, 0xb8, 0x78, 0x56, 0x34, 0x12); /* mov eax, MARK */
	X86_RIG_CODE(r, 0x3d, 0x78, 0x56, 0x34, 0x12); /* cmp eax, MARK */
	X86_RIG_CODE(r, 0x0f, 0xa2);		       /* cpuid: interpreted, reads none */
	X86_RIG_CODE(r, 0x74, 0x00, X86_RIG_HALT);     /* je */
	CHECK(run(r) == VCPU_KICKED && plant(r, is, be, sizeof(is)));
	CHECK(run(r) == VCPU_BROKEN && strstr(r->v->broken, "flags that are read"));
	done(r);
}
/* A loop that never comes out is compared in pieces. */
TEST(x86_check_takes_long_loops_in_pieces)
{
	struct x86_rig *r = rig_with(X86_JIT_CHECK);
	X86_RIG_CODE(r, 0xb9, 0x10, 0x27, 0x00, 0x00); /* mov ecx, 10000 */
	X86_RIG_CODE(r, 0x48, 0x89, 0x0b, 0xff, 0xc9); /* 1: mov [rbx], rcx; dec ecx */
	X86_RIG_CODE(r, 0x75, 0xf9, X86_RIG_HALT);     /* jne 1b */
	CHECK(run(r) == VCPU_KICKED);
	CHECK(counted(r, X86_STAT_CHECKED) == 30001 && r->v->n == 30002);
	CHECK(x86_rig_get(r, DATA, 8) == 1);
	done(r);
}
/* Where instructions are counted, translated code stops soon after it was told to. */
TEST(x86_jit_counts_and_stops)
{
	struct x86_rig *r = rig_with(X86_JIT_COUNT);
	X86_RIG_CODE(r, 0x48, 0xff, 0xc0, 0xeb, 0xfb); /* 1: inc rax; jmp 1b */
	r->v->cpu.rip = CODE;
	x86_jit_until(r->v, 100000);
	x86_jit_run(r->v);
	CHECK(r->v->n >= 100000 && r->v->n < 100000 + X86_JIT_LATE);
	CHECK(r->v->cpu.r[RAX] == r->v->n / 2 + r->v->n % 2);
	done(r);
}
/* Code that knows its own address is at another one, too, where it was before: it is not that
 * code which the branch there finds. */
TEST(x86_jit_code_at_two_addresses_is_not_mixed_up)
{
	enum { SUB = 0x50000 };
	const uint64_t high = 0x40000000;
	struct x86_rig *r = rig_with(X86_JIT_FAST);
	r->m.env.cpus = 1;
	x86_rig_map(r, high, 0, 0x83, 1);
	X86_RIG_CODE(r, 0xff, 0xe2); /* jmp rdx */
	r->at = SUB;
	X86_RIG_CODE(r, 0xe8, 0, 0, 0, 0, 0x58, X86_RIG_HALT); /* call over nothing; pop rax */
	r->v->cpu.r[RDX] = SUB;
	CHECK(run(r) == VCPU_KICKED && r->v->cpu.r[RAX] == SUB + 5);
	for (unsigned k = 0; k < 2; k++) {
		r->v->cpu.r[RDX] = high + SUB;
		CHECK(run(r) == VCPU_KICKED && r->v->cpu.r[RAX] == high + SUB + 5);
		x86_jit_flush(r->v, true);
	}
	done(r);
}
