/* Two harts: interrupts to each other, atomics under contention, fences across. */
#include "rt.h"

enum { ROUNDS = 20000 };
static volatile u64 counter, lock_word, plain, ready, got;
static volatile u32 code[2] __attribute__((aligned(8)));

static void add_many(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		__sync_fetch_and_add(&counter, 1);
		while (__sync_lock_test_and_set(&lock_word, 1)) {
		}
		plain++;
		__sync_lock_release(&lock_word);
	}
	__sync_fetch_and_add(&ready, 1);
}

static void lr_sc_many(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		u64 old, fail;
		do
			asm volatile("lr.d.aq %0, (%2)\naddi %0, %0, 1\nsc.d.rl %1, %0, (%2)"
				     : "=&r"(old), "=&r"(fail)
				     : "r"(&counter)
				     : "memory");
		while (fail);
	}
	__sync_fetch_and_add(&ready, 1);
}

static void both(const char *name, void (*fn)(void))
{
	counter = ready = plain = 0;
	second_run(fn);
	fn();
	while (ready != 2) {
	}
	check_eq(name, counter, 2 * ROUNDS);
}

static void answer(u64 cause)
{
	got = cause;
	MSIP(hart()) = 0;
	while (csr_read(mip) & 8) {
	}
}
static void await_ipi(void)
{
	mtrap[1].hook = answer;
	csr_write(mie, 8);
	csr_set(mstatus, MSTATUS_MIE);
	ready = 1;
	while (!got) asm volatile("wfi");
	csr_clear(mstatus, MSTATUS_MIE);
	ready = 2;
}

static void run_code(void)
{
	ready = 1;
	while (ready != 2) {
	}
	asm volatile("fence.i");
	got = ((u64(*)(void))code)();
	ready = 3;
}

int main(u64 id, u64 tree)
{
	(void)id, (void)tree;
	both("amoadd and a spin lock", add_many);
	check_eq("under the lock", plain, 2 * ROUNDS);
	both("lr/sc", lr_sc_many);
	got = ready = 0;
	second_run(await_ipi);
	while (!ready) {
	}
	check_eq("hart 1 waits", got, 0);
	MSIP(1) = 1;
	while (ready != 2) {
	}
	check_eq("hart 1 was interrupted", got, IRQ | 3);
	check_eq("hart 0 was not", mtrap[0].count, 0);
	got = ready = 0;
	code[0] = 0x00100513;
	code[1] = 0x00008067;
	asm volatile("fence.i");
	((u64(*)(void))code)();
	second_run(run_code);
	while (!ready) {
	}
	code[0] = 0x02a00513; /* li a0, 42 */
	__sync_synchronize();
	ready = 2;
	while (ready != 3) {
	}
	check_eq("code written by hart 0, run by hart 1", got, 42);
	return 0;
}
