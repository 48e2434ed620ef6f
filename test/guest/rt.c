#include "rt.h"

struct trap mtrap[HARTS], strap[HARTS];
u64 back[32];
void (*volatile second_fn[HARTS])(void) __attribute__((section(".data"))) = {0};
static int failures;

int failed(void) { return failures; }

u64 hart(void)
{
	u64 tp;
	asm volatile("mv %0, tp" : "=r"(tp));
	return tp;
}

static void put_char(char c)
{
	while (!(REG8(UART + 5) & 0x20)) {
	}
	REG8(UART) = (u8)c;
}
void put(const char *s)
{
	for (; *s; s++) put_char(*s);
}
void put_hex(u64 v)
{
	put("0x");
	for (int i = 60; i >= 0; i -= 4)
		if (v >> i || !i) put_char("0123456789abcdef"[v >> i & 15]);
}
static void line(const char *word, const char *name)
{
	put(word);
	put(name);
}
void check(const char *name, int good)
{
	line(good ? "PASS " : "FAIL ", name);
	put("\n");
	failures += !good;
}
void check_eq(const char *name, u64 got, u64 want)
{
	line(got == want ? "PASS " : "FAIL ", name);
	if (got != want) {
		put(": got ");
		put_hex(got);
		put(", want ");
		put_hex(want);
		failures++;
	}
	put("\n");
}
void skip(const char *name, const char *why)
{
	line("SKIP ", name);
	line(": ", why);
	put("\n");
}

void finish(void)
{
	put("done\n");
	while (!(REG8(UART + 5) & 0x40)) {
	}
	REG32(FINISHER) = failures ? 1 << 16 | 0x3333 : 0x5555;
	for (;;) asm volatile("wfi");
}

void trap_clear(void)
{
	struct trap *m = &mtrap[hart()], *s = &strap[hart()];
	m->count = m->cause = m->epc = m->tval = m->status = 0;
	s->count = s->cause = s->epc = s->tval = s->status = 0;
}

static int fetch_failed(u64 cause) { return cause == FETCH_ACCESS || cause == FETCH_PAGE; }

static void note(struct trap *t, u64 cause, u64 epc, u64 tval, u64 status)
{
	t->cause = cause;
	t->epc = epc;
	t->tval = tval;
	t->status = status;
	t->count++;
}

void strap_note(u64 *r);
void strap_note(u64 *r)
{
	struct trap *t = &strap[r[4]];
	u64 cause = csr_read(scause);
	note(t, cause, csr_read(sepc), csr_read(stval), csr_read(sstatus));
	if (cause & IRQ) {
		if (t->hook)
			t->hook(cause);
		else
			csr_clear(sie, 1ul << (cause & 63));
	} else {
		csr_write(sepc, fetch_failed(cause) ? r[1] : csr_read(sepc) + 4);
	}
}

#ifndef SMODE
void hart_run(u64 h, void (*fn)(void))
{
	while (second_fn[h]) {
	}
	second_fn[h] = fn;
	__sync_synchronize();
	while (second_fn[h]) {
	}
}
void second_run(void (*fn)(void)) { hart_run(1, fn); }

/* Back to the caller of run_in(), in M-mode, with result a0. */
static void come_back(u64 *r, u64 a0)
{
	static const u8 kept[] = {1, 2, 3, 4, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27};
	for (unsigned i = 0; i < sizeof(kept); i++) r[kept[i]] = back[kept[i]];
	r[10] = a0;
	csr_write(mepc, back[1]);
	csr_set(mstatus, MSTATUS_MPP);
}

void mtrap_note(u64 *r);
void mtrap_note(u64 *r)
{
	u64 cause = csr_read(mcause), status = csr_read(mstatus);
	u64 from = (status & MSTATUS_MPP) >> 11, id = csr_read(mhartid);
	if (from != M && !(cause & IRQ) && cause >= ECALL_U && cause <= ECALL_S && r[17] == BACK) {
		come_back(r, r[10]);
		return;
	}
	note(&mtrap[id], cause, csr_read(mepc), csr_read(mtval), status);
	if (cause & IRQ) {
		if (mtrap[id].hook)
			mtrap[id].hook(cause);
		else
			csr_clear(mie, 1ul << (cause & 63));
	} else if (fetch_failed(cause)) {
		if (from != M)
			come_back(r, ~0ul);
		else
			csr_write(mepc, r[1]);
	} else {
		csr_write(mepc, csr_read(mepc) + 4);
	}
}
#endif

/* The compiler may call these. */
void *memset(void *p, int c, u64 n);
void *memset(void *p, int c, u64 n)
{
	for (volatile u8 *q = p; n--;) *q++ = (u8)c;
	return p;
}
void *memcpy(void *to, const void *from, u64 n);
void *memcpy(void *to, const void *from, u64 n)
{
	volatile u8 *t = to;
	for (const u8 *f = from; n--;) *t++ = *f++;
	return to;
}
