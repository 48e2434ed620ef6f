/* Four harts at the same words: atomics that are exact, a list without locks, and code that one
 * hart rewrites while the others run it. */
#include "rt.h"

enum { ROUNDS = 20000, NODES = 16 };
#ifndef HARTS_USED
#define HARTS_USED 4
#endif
static volatile u64 counter, counter_lr, ready, big, ored;
static volatile u32 counter_w, half[2];

static void all(void (*fn)(void))
{
	ready = 0;
	for (u64 h = 1; h < HARTS_USED; h++) hart_run(h, fn);
	fn();
	while (ready != HARTS_USED) {
	}
}
static void is_ready(void) { __sync_fetch_and_add(&ready, 1); }

/* ---- counting ---- */
static void count(void)
{
	for (u64 i = 0; i < ROUNDS; i++) {
		u64 old, fail, n = i * HARTS_USED + hart();
		__sync_fetch_and_add(&counter, 3);
		__sync_fetch_and_add(&counter_w, 0x40000001);
		__sync_fetch_and_add(&half[hart() & 1], 1);
		asm volatile("amomaxu.d zero, %0, (%1)" ::"r"(n), "r"(&big) : "memory");
		asm volatile("amoor.d zero, %0, (%1)" ::"r"(1ul << n % 64), "r"(&ored) : "memory");
		do
			asm volatile("lr.d %0, (%2)\naddi %0, %0, 1\nsc.d %1, %0, (%2)"
				     : "=&r"(old), "=&r"(fail)
				     : "r"(&counter_lr)
				     : "memory");
		while (fail);
	}
	is_ready();
}
static void counting(void)
{
	u64 n = HARTS_USED * ROUNDS;
	all(count);
	check_eq("amoadd.d", counter, 3 * n);
	check_eq("amoadd.w", counter_w, (u32)(n * 0x40000001));
	check_eq("neighbours in one doubleword", half[0] + half[1], n);
	check_eq("amomaxu.d", big, n - 1);
	check_eq("amoor.d", ored, ~0ul);
	check_eq("lr and sc", counter_lr, n);
}

/* ---- a stack without locks: nodes are neither lost nor doubled. The head carries a count of its
 * changes, so that a swap that compares values will do. ---- */
static volatile u64 head;
static volatile u32 next[NODES + 1], owned[NODES + 1];
static volatile u64 doubled;

static int swap_head(u64 was, u64 now)
{
	u64 old, fail;
	asm volatile("1: lr.d.aq %0, (%2)\nbne %0, %3, 2f\nsc.d.rl %1, %4, (%2)\nbnez %1, 1b\n2:"
		     : "=&r"(old), "=&r"(fail)
		     : "r"(&head), "r"(was), "r"(now)
		     : "memory");
	return old == was;
}
static u64 pop(void)
{
	for (;;) {
		u64 h = head, n = h & 0xffff;
		if (!n) return 0;
		if (swap_head(h, ((h >> 16) + 1) << 16 | next[n])) return n;
	}
}
static void push(u64 n)
{
	for (;;) {
		u64 h = head;
		next[n] = h & 0xffff;
		__sync_synchronize();
		if (swap_head(h, ((h >> 16) + 1) << 16 | n)) return;
	}
}
static void juggle(void)
{
	for (u64 i = 0; i < ROUNDS; i++) {
		u64 n = pop();
		if (!n) continue;
		if (__sync_fetch_and_add(&owned[n], 1)) doubled++;
		__sync_fetch_and_sub(&owned[n], 1);
		push(n);
	}
	is_ready();
}
static void juggling(void)
{
	for (u64 n = 1; n <= NODES; n++) push(n);
	all(juggle);
	u64 n = 0;
	while (n <= NODES && pop()) n++;
	check_eq("nobody had another's node", doubled, 0);
	check_eq("all nodes are there", n, NODES);
}

/* ---- a reservation that another hart's stores break, though the value is back ---- */
static volatile u64 word, stage;
static void there_and_back(void)
{
	while (stage != 1) {
	}
	word = 6;
	__sync_synchronize();
	word = 5;
	__sync_synchronize();
	stage = 2;
	is_ready();
}
static void aba(void)
{
	u64 old, fail, seen;
	ready = stage = 0;
	word = 5;
	hart_run(1, there_and_back);
	asm volatile("lr.d %0, (%3)\nsd %5, (%4)\n1: ld %2, (%4)\nbeq %2, %5, 1b\nsc.d %1, %6, (%3)"
		     : "=&r"(old), "=&r"(fail), "=&r"(seen)
		     : "r"(&word), "r"(&stage), "r"(1ul), "r"(7ul)
		     : "memory");
	while (!ready) {
	}
	if (fail)
		check("a broken reservation fails", 1);
	else
		skip("a broken reservation fails", "sc compares values here");
}

/* ---- code ---- */
static u32 code[4] __attribute__((aligned(4096)));
static volatile u64 written, told, torn, stale, stop;
static void run_code(void)
{
	u64 (*fn)(void) = (u64(*)(void))code;
	u64 last = 0;
	while (!stop) {
		u64 now = told;
		if (now != last) {
			__sync_synchronize();
			asm volatile("fence.i" ::: "memory");
			last = now;
		}
		for (int i = 0; i < 200; i++) {
			u64 v = fn(), w = written;
			if (v < last) stale++;
			if (v > w) torn++;
		}
	}
	is_ready();
}
static void rewriting(void)
{
	volatile u32 *c = code;
	c[0] = 0x513; /* li a0, 0 */
	c[1] = 0x8067;
	asm volatile("fence.i" ::: "memory");
	stop = ready = written = told = 0;
	for (u64 h = 1; h < HARTS_USED; h++) hart_run(h, run_code);
	for (u32 k = 1; k < 1500; k++) {
		written = k;
		__sync_synchronize();
		c[0] = k << 20 | 0x513;
		__sync_synchronize();
		told = k;
		for (volatile int i = 0; i < 200; i++) {
		}
	}
	stop = 1;
	while (ready != HARTS_USED - 1) {
	}
	check_eq("code is old or new", torn, 0);
	check_eq("and new behind fence.i", stale, 0);
}

int main(u64 id, u64 tree)
{
	(void)id, (void)tree;
	counting();
	juggling();
	aba();
	rewriting();
	return 0;
}
