/* Windows: what comes into them, what leaves, and that nothing else shows. */
#include "engine/rig.h"
#include "engine/rv64_jit.h"
#include "engine/rv64_window.h"
#include <pthread.h>
#include <unistd.h>

enum { TABLES = 0x100000, CODE = 0x200000, DATA = 0x400000 }; /* offsets in RAM */
#define USER_CODE 0x10000ull
#define TRAPS	  0x20000ull /* S-mode's, and what it stops the hart with */
#define VA	  0x155000000ull
#define TOP	  (1ull << 38)
#define RW	  (PTE_R | PTE_W)
#define AD	  (PTE_A | PTE_D)
/* The program: a loop that adds up what it loads by x10, and stores the sum by x13, x11 times. */
enum { LOAD_AT = 0, STORE_AT = 8, TIMES = 300 };

struct space {
	struct rig *r;
	gpa_t root, next;
};

static uint64_t leaf(gpa_t pa, uint64_t flags) { return pa >> 12 << 10 | flags | PTE_V; }

/* Returns the entry's address. */
static gpa_t map(struct space *s, gva_t va, unsigned level, uint64_t pte)
{
	gpa_t table = s->root;
	for (unsigned l = 2;; l--) {
		gpa_t at = table + (va >> (12 + 9 * l) & 511) * 8;
		if (l == level) {
			rig_put64(s->r, at, pte);
			return at;
		}
		if (!rig_get64(s->r, at)) {
			rig_put64(s->r, at, s->next >> 12 << 10 | PTE_V);
			s->next += PAGE_SIZE;
		}
		table = rig_get64(s->r, at) >> 10 << 12;
	}
}
static gpa_t user(struct space *s, gva_t va, gpa_t off, uint64_t flags)
{
	return map(s, va, 0, leaf(RIG_RAM + off, flags | PTE_U));
}

static void code_make(struct rig *r)
{
	r->at = RIG_RAM + CODE;
	rig_op(r, OP_ld, 5, 10, 0, 0);
	rig_op(r, OP_add, 12, 12, 5, 0);
	rig_op(r, OP_sd, 0, 13, 12, 0);
	rig_op(r, OP_add, 10, 10, 14, 0);
	rig_op(r, OP_add, 13, 13, 15, 0);
	rig_op(r, OP_addi, 11, 11, 0, -1);
	rig_op(r, OP_bne, 0, 11, 0, -24);
	rig_op(r, OP_ecall, 0, 0, 0, 0);
	r->at = RIG_RAM + CODE + PAGE_SIZE;
	rig_stop(r, 0);
}

static struct space space_with(enum jit_mode mode, bool early)
{
	struct err e = {0};
	struct space s = {.r = rig_new(true), .root = RIG_RAM + TABLES};
	s.next = s.root + PAGE_SIZE;
	CHECK(!rv64_jit_new(s.r->c, 1 << 20, mode, true, &e));
	rv64_windows_new(s.r->c, early);
	code_make(s.r);
	user(&s, USER_CODE, CODE, PTE_R | PTE_X | AD);
	map(&s, TRAPS, 0, leaf(RIG_RAM + CODE + PAGE_SIZE, PTE_R | PTE_X | AD));
	map(&s, RIG_STOP, 0, leaf(RIG_STOP, RW | AD));
	CHECK(!rv64_cpu_set(s.r->c, REG_RV_CSR + CSR_SATP, 8ull << 60 | s.root >> 12));
	CHECK(!rv64_cpu_set(s.r->c, REG_RV_CSR + CSR_STVEC, TRAPS));
	return s;
}

static struct space space_new(enum jit_mode mode) { return space_with(mode, true); }

/* Run the loop; the cause that ended it. */
static uint64_t run(struct space *s, gva_t load, gva_t store, uint64_t times)
{
	struct rv64_cpu *c = s->r->c;
	CHECK(!rv64_cpu_set(c, REG_RV_PRIV, PRIV_U));
	c->x[10] = load, c->x[13] = store, c->x[11] = times, c->x[12] = 0;
	rig_run(s->r, USER_CODE);
	CHECK(!rv64_jit_wrong(c->jit, NULL));
	return c->scause;
}
static const struct window_stats *stats(const struct space *s)
{
	return rv64_window_stats(s->r->c);
}
static void stride(struct space *s, uint64_t load, uint64_t store)
{
	s->r->c->x[14] = load;
	s->r->c->x[15] = store;
}
static void sfence(struct space *s, gva_t va, unsigned asid)
{
	struct rv64_insn i = {.rs1 = va ? 6 : 0, .rs2 = asid ? 7 : 0};
	CHECK(!rv64_cpu_set(s->r->c, REG_RV_PRIV, PRIV_S));
	s->r->c->x[6] = va, s->r->c->x[7] = asid;
	CHECK(!rv64_exec_one(s->r->c, rv64_encode(OP_sfence_vma, &i)));
}
static bool trapped(const struct space *s, uint64_t cause, gva_t va, unsigned at)
{
	const struct rv64_cpu *c = s->r->c;
	return c->scause == cause && c->stval == va && c->sepc == USER_CODE + at;
}

/* Both pages there, the loop translated, the window in use. */
static struct space warm(enum jit_mode mode)
{
	struct space s = space_new(mode);
	user(&s, VA, DATA, RW | AD);
	user(&s, VA + PAGE_SIZE, DATA + PAGE_SIZE, RW | AD);
	rig_put64(s.r, RIG_RAM + DATA, 3);
	CHECK(run(&s, VA, VA + PAGE_SIZE, TIMES) == CAUSE_ECALL_U);
	CHECK(s.r->c->x[12] == 3 * TIMES);
	CHECK(rig_get64(s.r, RIG_RAM + DATA + PAGE_SIZE) == 3 * TIMES);
	CHECK(stats(&s)->given == 1 && stats(&s)->pages >= 2 && !stats(&s)->refused);
	return s;
}

TEST(window_pages_come_when_used_and_are_marked_so)
{
	struct space s = space_new(JIT_FAST);
	gpa_t load = user(&s, VA, DATA, RW), store = user(&s, VA + PAGE_SIZE, DATA + 0x5000, RW);
	gpa_t idle = user(&s, VA + 2 * PAGE_SIZE, DATA + 0x6000, RW);
	gpa_t read = user(&s, VA - PAGE_SIZE, DATA + 0x7000, RW | PTE_A);
	CHECK(run(&s, VA, VA + PAGE_SIZE, TIMES) == CAUSE_ECALL_U);
	CHECK((rig_get64(s.r, load) & AD) == PTE_A && (rig_get64(s.r, store) & AD) == AD);
	CHECK(!(rig_get64(s.r, idle) & AD) && (rig_get64(s.r, read) & AD) == PTE_A);
	CHECK(stats(&s)->faults && stats(&s)->pages);
	uint64_t faults = stats(&s)->faults;
	CHECK(run(&s, VA, VA + PAGE_SIZE, TIMES) == CAUSE_ECALL_U && stats(&s)->faults == faults);
	/* Now the page that was only read. */
	CHECK(run(&s, VA, VA + 8, TIMES) == CAUSE_ECALL_U && stats(&s)->faults == faults + 1);
	CHECK((rig_get64(s.r, load) & AD) == AD && (rig_get64(s.r, read) & AD) == PTE_A);
	rig_free(s.r);
}

static void *poke(void *cpu)
{
	for (unsigned k = 0; k < 40; k++) {
		(void)usleep(500);
		rv64_poke(cpu, POLL_TIMER);
	}
	return NULL;
}
/* Units that interrupts find at work are made once more, and then left in peace. */
TEST(loops_that_work_are_unrolled)
{
	pthread_t thread;
	struct space s = space_with(JIT_FAST, false);
	user(&s, VA, DATA, RW | AD);
	rig_put64(s.r, RIG_RAM + DATA, 3);
	CHECK(run(&s, VA, VA + 8, TIMES) == CAUSE_ECALL_U);
	uint64_t units = s.r->c->counts[COUNT_UNIT];
	CHECK(!pthread_create(&thread, NULL, poke, s.r->c));
	for (unsigned k = 0; k < 50; k++)
		CHECK(run(&s, VA, VA + 8, 2000000) == CAUSE_ECALL_U && s.r->c->x[12] == 6000000);
	CHECK(!pthread_join(thread, NULL));
	CHECK(units && s.r->c->counts[COUNT_UNIT] > units);
	CHECK(s.r->c->counts[COUNT_UNIT] <= 2 * units);
	rig_free(s.r);
}

TEST(window_pages_leave_with_a_fence)
{
	for (unsigned how = 0; how < 4; how++) {
		struct space s = warm(how & 1 ? JIT_CHECK : JIT_FAST);
		user(&s, VA, DATA + 0x9000, RW | AD);
		rig_put64(s.r, RIG_RAM + DATA + 0x9000, 5);
		/* Until then the old one may be used, and is. */
		CHECK(run(&s, VA, VA + PAGE_SIZE, 9) == CAUSE_ECALL_U && s.r->c->x[12] == 27);
		if (how == 3)
			rv64_fence(s.r->c, NULL, (struct fence){FENCE_OF_PAGES, 0, VA, 4096});
		else
			sfence(&s, how ? 0 : VA, 0);
		if (how == 3) atomic_store(&s.r->c->poll, POLL_FENCE);
		CHECK(run(&s, VA, VA + PAGE_SIZE, 9) == CAUSE_ECALL_U && s.r->c->x[12] == 45);
		CHECK(stats(&s)->drops + stats(&s)->page_drops);
		rig_free(s.r);
	}
}

TEST(window_faults_are_precise_in_the_middle_of_a_unit)
{
	struct space s = warm(JIT_FAST);
	user(&s, VA + PAGE_SIZE, DATA + PAGE_SIZE, PTE_R | AD);
	sfence(&s, VA + PAGE_SIZE, 0);
	CHECK(run(&s, VA, VA + PAGE_SIZE + 16, 9) == CAUSE_STORE_PAGE);
	CHECK(trapped(&s, CAUSE_STORE_PAGE, VA + PAGE_SIZE + 16, STORE_AT));
	CHECK(s.r->c->x[5] == 3 && s.r->c->x[12] == 3 && s.r->c->x[11] == 9);
	CHECK(s.r->c->x[10] == VA && s.r->c->x[13] == VA + PAGE_SIZE + 16);
	/* Some way into the loop, where registers are ahead of memory. */
	user(&s, VA + PAGE_SIZE, DATA + PAGE_SIZE, RW | AD);
	sfence(&s, VA + PAGE_SIZE, 0);
	stride(&s, 0, 8);
	CHECK(run(&s, VA, VA + PAGE_SIZE + 0x800, TIMES) == CAUSE_STORE_PAGE);
	CHECK(trapped(&s, CAUSE_STORE_PAGE, VA + 2 * PAGE_SIZE, STORE_AT));
	CHECK(s.r->c->x[12] == 3 * 257 && s.r->c->x[11] == TIMES - 256);
	CHECK(stats(&s)->refused);
	rig_free(s.r);
}

TEST(window_ends_are_guarded)
{
	static const gva_t bad[] = {
		TOP,	    TOP - 4, TOP + 8,	~0ull - 7,	    1ull << 63,
		1ull << 46, 0,	     ~0ull - 3, 0xffffffff00000000, 0xffffffc000000000};
	struct space s = warm(JIT_FAST);
	user(&s, TOP - PAGE_SIZE, DATA + PAGE_SIZE, RW | AD);
	CHECK(run(&s, VA, TOP - 8, 9) == CAUSE_ECALL_U);
	for (unsigned i = 0; i < COUNT(bad); i++) {
		gva_t at = bad[i] == TOP - 4 ? TOP : bad[i]; /* its first byte is there */
		(void)run(&s, bad[i], VA + PAGE_SIZE, 9);
		CHECK(trapped(&s, CAUSE_LOAD_PAGE, at, LOAD_AT));
		(void)run(&s, VA, bad[i], 9);
		CHECK(trapped(&s, CAUSE_STORE_PAGE, at, STORE_AT));
		CHECK(s.r->c->x[12] == 3);
	}
	rig_free(s.r);
}

/* Displacements reach over the ends. */
TEST(window_displacements_run_over_its_ends)
{
	struct space s = warm(JIT_FAST);
	s.r->at = RIG_RAM + CODE;
	rig_op(s.r, OP_ld, 5, 10, 0, 2040);
	rig_op(s.r, OP_add, 12, 12, 5, 0);
	rig_op(s.r, OP_sd, 0, 13, 12, -2048);
	sfence(&s, 0, 0);
	rv64_code_fence(s.r->c);
	CHECK(run(&s, VA, VA + PAGE_SIZE + 2048, TIMES) == CAUSE_ECALL_U);
	(void)run(&s, TOP - 8, VA + PAGE_SIZE + 2048, 9);
	CHECK(trapped(&s, CAUSE_LOAD_PAGE, TOP + 2032, LOAD_AT));
	(void)run(&s, VA, 8, 9);
	CHECK(trapped(&s, CAUSE_STORE_PAGE, 8 - 2048ull, STORE_AT));
	rig_free(s.r);
}

TEST(window_accesses_may_cross_pages)
{
	struct space s = warm(JIT_FAST);
	gva_t last = VA + 2 * PAGE_SIZE - 4;
	rig_put64(s.r, RIG_RAM + DATA + 2 * PAGE_SIZE - 8, 0x1111111122222222);
	(void)run(&s, last, VA + PAGE_SIZE, 9);
	CHECK(trapped(&s, CAUSE_LOAD_PAGE, VA + 2 * PAGE_SIZE, LOAD_AT));
	(void)run(&s, VA, last, 9);
	CHECK(trapped(&s, CAUSE_STORE_PAGE, VA + 2 * PAGE_SIZE, STORE_AT));
	CHECK(rig_get64(s.r, RIG_RAM + DATA + 2 * PAGE_SIZE - 8) == 0x1111111122222222);
	gpa_t pte = user(&s, VA + 2 * PAGE_SIZE, DATA + 0x8000, RW | PTE_A);
	CHECK(run(&s, last, VA + PAGE_SIZE, 9) == CAUSE_ECALL_U);
	CHECK((rig_get64(s.r, pte) & AD) == PTE_A);
	CHECK(run(&s, VA, last, 9) == CAUSE_ECALL_U && rig_get64(s.r, pte) & PTE_D);
	CHECK(rig_get64(s.r, RIG_RAM + DATA + 2 * PAGE_SIZE - 8) == (27ull << 32 | 0x22222222));
	rig_free(s.r);
}

TEST(window_has_no_devices)
{
	struct space s = warm(JIT_FAST);
	map(&s, VA + PAGE_SIZE * 4, 0, leaf(RIG_STOP, PTE_R | AD | PTE_U));
	s.r->loads = 0;
	CHECK(run(&s, VA + PAGE_SIZE * 4, VA, 50) == CAUSE_ECALL_U);
	CHECK(s.r->loads == 50 && s.r->c->x[12] == 50 * 0x1122334455667788ull);
	rig_free(s.r);
}

TEST(window_large_pages_leave_whole)
{
	struct space s = warm(JIT_FAST);
	gva_t big = 0x2000000000;
	map(&s, big, 1, leaf(RIG_RAM + 0x800000, RW | AD | PTE_U));
	stride(&s, 0, PAGE_SIZE);
	CHECK(run(&s, VA, big, TIMES) == CAUSE_ECALL_U);
	CHECK(rig_get64(s.r, RIG_RAM + 0x800000 + 299 * PAGE_SIZE) == 3 * TIMES);
	map(&s, big, 1, 0);
	sfence(&s, big + 17 * PAGE_SIZE, 0);
	(void)run(&s, VA, big + 299 * PAGE_SIZE, 9);
	CHECK(trapped(&s, CAUSE_STORE_PAGE, big + 299 * PAGE_SIZE, STORE_AT));
	/* Its mark outlives a shortage of mappings. */
	map(&s, big, 1, leaf(RIG_RAM + 0x800000, RW | AD | PTE_U));
	CHECK(run(&s, VA, big, 9) == CAUSE_ECALL_U);
	rv64_window_budget(s.r->c, 2);
	CHECK(run(&s, big + 0x2000, big, 9) == CAUSE_ECALL_U);
	sfence(&s, 0, 0);
	CHECK(run(&s, big + 0x2000, big, 9) == CAUSE_ECALL_U);
	map(&s, big, 1, 0);
	sfence(&s, big + 17 * PAGE_SIZE, 0);
	(void)run(&s, big + 0x3000, big, 9);
	CHECK(trapped(&s, CAUSE_LOAD_PAGE, big + 0x3000, LOAD_AT));
	rig_free(s.r);
}

TEST(window_makes_do_with_few_mappings)
{
	struct space s = warm(JIT_FAST);
	for (unsigned i = 0; i < 400; i++)
		user(&s, VA + 2 * i * 0x1000, DATA + i * 0x1000, RW | AD);
	rv64_window_budget(s.r->c, 40);
	stride(&s, 2 * PAGE_SIZE, 2 * PAGE_SIZE);
	for (unsigned k = 0; k < 3; k++) {
		CHECK(run(&s, VA, VA, TIMES) == CAUSE_ECALL_U);
		CHECK(rig_get64(s.r, RIG_RAM + DATA + 299 * PAGE_SIZE) == s.r->c->x[12]);
	}
	CHECK(stats(&s)->over_budget > 10);
	rv64_window_budget(s.r->c, 0);
	CHECK(run(&s, VA, VA, TIMES) == CAUSE_ECALL_U);
	rig_free(s.r);
}

TEST(window_stores_are_told_of)
{
	struct space s = warm(JIT_FAST);
	uint64_t bits[1];
	user(&s, VA + 2 * PAGE_SIZE, DATA + 2 * PAGE_SIZE, RW | AD);
	CHECK(run(&s, VA, VA + PAGE_SIZE, TIMES) == CAUSE_ECALL_U);
	gmem_track(s.r->mem, true);
	rv64_fence(s.r->c, s.r->c, (struct fence){FENCE_OF_PAGES, 0, 0, 0});
	CHECK(run(&s, VA, VA + PAGE_SIZE, TIMES) == CAUSE_ECALL_U);
	CHECK(gmem_dirty_take(s.r->mem, RIG_RAM + DATA, 4 * PAGE_SIZE, bits) && bits[0] == 2);
	rv64_fence(s.r->c, s.r->c, (struct fence){FENCE_OF_PAGES, 0, 0, 0});
	CHECK(run(&s, VA, VA + PAGE_SIZE, TIMES) == CAUSE_ECALL_U); /* it stood there, writable */
	CHECK(gmem_dirty_take(s.r->mem, RIG_RAM + DATA, 4 * PAGE_SIZE, bits) && bits[0] == 2);
	rv64_fence(s.r->c, s.r->c, (struct fence){FENCE_OF_PAGES, 0, 0, 0});
	CHECK(run(&s, VA, VA + 2 * PAGE_SIZE, TIMES) == CAUSE_ECALL_U);
	CHECK(gmem_dirty_take(s.r->mem, RIG_RAM + DATA, 4 * PAGE_SIZE, bits) && bits[0] == 4);
	rig_free(s.r);
}

TEST(window_rights_are_physical_too)
{
	struct space s = warm(JIT_FAST);
	s.r->c->pmpcfg[0] = PMP_NAPOT | PMP_R;
	s.r->c->pmpaddr[0] = (RIG_RAM + DATA + PAGE_SIZE) >> 2 | 0x1ff;
	s.r->c->pmpcfg[1] = PMP_NAPOT | PMP_R | PMP_W | PMP_X;
	s.r->c->pmpaddr[1] = (1ull << 54) - 1;
	rv64_pmp_update(s.r->c);
	(void)run(&s, VA, VA + PAGE_SIZE, 9);
	CHECK(trapped(&s, CAUSE_STORE_ACCESS, VA + PAGE_SIZE, STORE_AT));
	CHECK(run(&s, VA + PAGE_SIZE, VA, 9) == CAUSE_ECALL_U);
	rig_free(s.r);
}

/* Code made of user's code, run by others: no window is theirs. */
TEST(window_is_for_user_code_alone)
{
	struct space s = warm(JIT_FAST);
	struct rv64_cpu *c = s.r->c;
	uint64_t faults = stats(&s)->faults;
	map(&s, USER_CODE + 0x8000, 0, leaf(RIG_RAM + CODE, PTE_R | PTE_X | AD));
	map(&s, VA + 0x8000, 0, leaf(RIG_RAM + DATA, RW | AD));
	CHECK(!rv64_cpu_set(c, REG_RV_PRIV, PRIV_S));
	c->x[10] = VA + 0x8000, c->x[13] = VA + 0x8008, c->x[11] = TIMES, c->x[12] = 0;
	c->pc = USER_CODE + 0x8000;
	CHECK(rv64_run(c) == VCPU_SYSCALL);
	CHECK(c->x[12] == 3 * TIMES && stats(&s)->faults == faults && !c->win_limit);
	c->x[10] = VA;
	c->x[11] = 9;
	CHECK(!rv64_cpu_set(c, REG_RV_PRIV, PRIV_S));
	rig_run(s.r, USER_CODE + 0x8000);
	CHECK(c->scause == CAUSE_LOAD_PAGE && c->stval == VA);
	rig_free(s.r);
}

TEST(window_belongs_to_one_address_space)
{
	struct space s = warm(JIT_FAST);
	uint64_t satp = s.r->c->satp;
	CHECK(!rv64_cpu_set(s.r->c, REG_RV_CSR + CSR_SATP, satp | 1ull << SATP_ASID_SHIFT));
	user(&s, VA, DATA + 0x9000, RW | AD);
	rig_put64(s.r, RIG_RAM + DATA + 0x9000, 5);
	CHECK(run(&s, VA, VA + PAGE_SIZE, 9) == CAUSE_ECALL_U && s.r->c->x[12] == 45);
	CHECK(!rv64_cpu_set(s.r->c, REG_RV_CSR + CSR_SATP, satp));
	CHECK(run(&s, VA, VA + PAGE_SIZE, 9) == CAUSE_ECALL_U && s.r->c->x[12] == 27);
	sfence(&s, 0, 1); /* the other's */
	CHECK(run(&s, VA, VA + PAGE_SIZE, 9) == CAUSE_ECALL_U && s.r->c->x[12] == 27);
	for (uint64_t i = 2; i < 30; i++) { /* more than there are windows */
		CHECK(!rv64_cpu_set(s.r->c, REG_RV_CSR + CSR_SATP, satp | i << SATP_ASID_SHIFT));
		CHECK(run(&s, VA, VA + PAGE_SIZE, 9) == CAUSE_ECALL_U && s.r->c->x[12] == 45);
	}
	CHECK(stats(&s)->given == 30);
	rig_free(s.r);
}
