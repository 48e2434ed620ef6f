/* Two harts: what the other one writes between LR and SC makes SC fail, even if it leaves behind
 * what was there (A-B-A); what does not touch the word does no harm for ever. */
#include "rt.h"

#ifndef ROUNDS
#define ROUNDS 1000
#endif
enum how { NOTHING, NEARBY, SAME, STORES, BYTES, AMOS, PAIRS, DONE };
static struct {
	volatile u64 word, near[7];
} line __attribute__((aligned(64)));
static volatile u64 go, came, how; /* go: a round's number, came: hart 1 has written in it */

static u64 pair(volatile u64 *at, u64 val)
{
	u64 old, fail;
	do
		asm volatile("lr.d %0, (%2)\nsc.d %1, %3, (%2)"
			     : "=&r"(old), "=&r"(fail)
			     : "r"(at), "r"(val)
			     : "memory");
	while (fail);
	return old;
}

static void interfere(void)
{
	u64 was = line.word;
	switch ((enum how)how) {
	case NOTHING: break;
	case NEARBY: line.near[0]++; break;
	case SAME: line.word = was; break;
	case STORES:
		line.word = ~was;
		line.word = was;
		break;
	case BYTES:
		((volatile u8 *)&line.word)[3] ^= 1;
		((volatile u8 *)&line.word)[3] ^= 1;
		break;
	case AMOS:
		(void)__sync_fetch_and_add(&line.word, 1);
		(void)__sync_fetch_and_add(&line.word, ~0ul);
		break;
	case PAIRS:
		(void)pair(&line.word, ~was);
		(void)pair(&line.word, was);
		break;
	case DONE: break;
	}
}

static void other(void)
{
	for (u64 seen = 0; how != DONE; seen = came) {
		while (go == seen && how != DONE) {
		}
		if (how == DONE) break;
		interfere();
		__sync_synchronize();
		came = seen + 1;
	}
	came = ~0ul;
}

/* 1: SC has stored. */
static u64 around(u64 round)
{
	u64 old, fail, t;
	asm volatile("lr.d %0, (%3)\n"
		     "sd %4, 0(%5)\n"
		     "1: ld %2, 0(%6)\n"
		     "bne %2, %4, 1b\n"
		     "sc.d %1, %0, (%3)"
		     : "=&r"(old), "=&r"(fail), "=&r"(t)
		     : "r"(&line.word), "r"(round), "r"(&go), "r"(&came)
		     : "memory");
	return !fail;
}
static u64 around_w(u64 round)
{
	u64 old, fail, t;
	asm volatile("lr.w %0, (%3)\n"
		     "sd %4, 0(%5)\n"
		     "1: ld %2, 0(%6)\n"
		     "bne %2, %4, 1b\n"
		     "sc.w %1, %0, (%3)"
		     : "=&r"(old), "=&r"(fail), "=&r"(t)
		     : "r"(&line.word), "r"(round), "r"(&go), "r"(&came)
		     : "memory");
	return !fail;
}
/* The same in functions of their own. */
__attribute__((noinline)) static u64 load_reserved(void)
{
	u64 old;
	asm volatile("lr.d %0, (%1)" : "=r"(old) : "r"(&line.word) : "memory");
	return old;
}
__attribute__((noinline)) static u64 store_conditional(u64 val)
{
	u64 fail;
	asm volatile("sc.d %0, %2, (%1)" : "=&r"(fail) : "r"(&line.word), "r"(val) : "memory");
	return !fail;
}
static u64 apart(u64 round)
{
	u64 old = load_reserved();
	go = round;
	while (came != round) {
	}
	return store_conditional(old);
}

static void stored(const char *name, enum how by, u64 (*fn)(u64), int all)
{
	u64 n = 0, first = go;
	how = by;
	for (u64 i = 1; i <= ROUNDS; i++) n += fn(first + i);
	if (all)
		check(name, n > ROUNDS / 2); /* traps and the like may spoil a few */
	else
		check_eq(name, n, 0);
}

/* A stack of nodes, as textbooks have it: pop is right only if SC fails after A-B-A. */
struct node {
	struct node *volatile next;
	volatile u64 owned;
};
enum { NODES = 4 };
static struct node node[NODES] __attribute__((aligned(64)));
static struct node *volatile top;
static volatile u64 twice, ended;

static struct node *pop(void)
{
	struct node *n, *next;
	u64 fail;
	do {
		next = 0;
		asm volatile("lr.d.aq %0, (%3)\n"
			     "li %2, 0\n"
			     "beqz %0, 1f\n"
			     "ld %1, 0(%0)\n"
			     "sc.d.rl %2, %1, (%3)\n"
			     "1:"
			     : "=&r"(n), "+&r"(next), "=&r"(fail)
			     : "r"(&top)
			     : "memory");
	} while (fail);
	return n;
}
static void push(struct node *n)
{
	struct node *next;
	u64 fail;
	do
		asm volatile("lr.d.aq %0, (%2)\n"
			     "sd %0, 0(%3)\n"
			     "sc.d.rl %1, %3, (%2)"
			     : "=&r"(next), "=&r"(fail)
			     : "r"(&top), "r"(n)
			     : "memory");
	while (fail);
}
static struct node *pop_some(void)
{
	struct node *n = pop();
	if (n && __sync_lock_test_and_set(&n->owned, 1)) twice = 1;
	return n;
}
static void push_back(struct node *n)
{
	if (!n) return;
	__sync_lock_release(&n->owned);
	push(n);
}
static void juggle(void)
{
	for (int i = 0; i < 20 * ROUNDS && !twice; i++) {
		struct node *a = pop_some(), *b = pop_some();
		push_back(a);
		push_back(b);
	}
	__sync_fetch_and_add(&ended, 1);
}

static void stack(void)
{
	u64 n = 0;
	for (int i = 0; i < NODES; i++) push(&node[i]);
	second_run(juggle);
	juggle();
	while (ended != 2) {
	}
	check("no node was given to both harts", !twice);
	while (!twice && n <= NODES && pop()) n++;
	check_eq("all nodes are there", n, NODES);
}

/* An old reservation is no good for another word, another size, or a second time. */
static void spent(void)
{
	u64 old = load_reserved();
	check("SC after LR", store_conditional(old));
	check("but once", !store_conditional(old));
	u64 fail;
	(void)load_reserved();
	asm volatile("sc.d %0, zero, (%1)" : "=&r"(fail) : "r"(&line.near[2]) : "memory");
	check("SC elsewhere", fail);
	check("and then where LR was", !store_conditional(old));
}

int main(u64 id, u64 tree)
{
	(void)id, (void)tree;
	line.word = 0x0123456789abcdef;
	second_run(other);
	stored("nothing between", NOTHING, around, 1);
	stored("stores between", STORES, around, 0);
	stored("byte stores between", BYTES, around, 0);
	stored("AMOs between", AMOS, around, 0);
	stored("LR and SC between", PAIRS, around, 0);
	stored("the same once more", SAME, around, 0);
	stored("a store nearby", NEARBY, apart, 1);
	stored("lr.w: nothing between", NOTHING, around_w, 1);
	stored("lr.w: stores between", STORES, around_w, 0);
	stored("lr.w: AMOs between", AMOS, around_w, 0);
	stored("in functions: nothing between", NOTHING, apart, 1);
	stored("in functions: stores between", STORES, apart, 0);
	stored("in functions: AMOs between", AMOS, apart, 0);
	stored("in functions: LR and SC between", PAIRS, apart, 0);
	check_eq("the word", line.word, 0x0123456789abcdef);
	how = DONE;
	while (came != ~0ul) {
	}
	spent();
	stack();
	return 0;
}
