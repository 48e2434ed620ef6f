/* The interpreter through engine.h, as a board uses it: a loop for timers, two harts, fences. */
#include "base/counters.h"
#include "base/loop.h"
#include "engine/engine.h"
#include "engine/rig.h"
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

static const struct engine_ops *ops = &engine_interp;

struct board {
	struct rig *rig; /* its memory, bus and program; not its hart */
	struct loop *loop;
	struct engine *en;
	struct vcpu *cpu[2];
	pthread_t loop_thread, cpu_thread[2];
};

static void *loop_thread(void *b) { return (void)loop_run(((struct board *)b)->loop), NULL; }

static struct board *board_new(void)
{
	struct board *b = calloc(1, sizeof(*b));
	must(b);
	b->rig = rig_new(true);
	must(!loop_new(&b->loop, NULL));
	struct engine_env env = {.arch = ARCH_RV64,
				 .mem = b->rig->mem,
				 .mmio = b->rig->bus,
				 .loop = b->loop,
				 .clock = &b->rig->clock,
				 .sbi = true,
				 .max_satp = 8};
	must(!ops->open(&b->en, &env, NULL));
	for (unsigned i = 0; i < 2; i++) {
		must(!ops->vcpu(&b->cpu[i], b->en, i, NULL));
		CHECK(!ops->set(b->cpu[i], REG_RV_PC, RIG_RAM));
	}
	CHECK(!pthread_create(&b->loop_thread, NULL, loop_thread, b));
	return b;
}
static void board_free(struct board *b)
{
	loop_stop(b->loop, 0);
	CHECK(!pthread_join(b->loop_thread, NULL));
	ops->close(b->en);
	loop_free(b->loop);
	rig_free(b->rig);
	free(b);
}
static uint64_t reg(struct board *b, unsigned cpu, unsigned n)
{
	uint64_t v = 0;
	CHECK(!ops->get(b->cpu[cpu], n, &v));
	return v;
}

TEST(only_its_own_architecture_is_taken)
{
	struct err e = {0};
	CHECK(ops->probe(ARCH_RV64, &e) == 0);
	CHECK(ops->probe(ARCH_X86_64, &e) == -ENOTSUP && e.msg[0]);
}

TEST(registers_are_read_and_written_by_number)
{
	struct board *b = board_new();
	uint64_t v;
	CHECK(!ops->set(b->cpu[1], REG_RV_X + 5, 55) && reg(b, 1, REG_RV_X + 5) == 55);
	CHECK(!ops->set(b->cpu[1], REG_RV_X, 55) && reg(b, 1, REG_RV_X) == 0);
	CHECK(!ops->set(b->cpu[1], REG_RV_F + 31, 7) && reg(b, 1, REG_RV_F + 31) == 7);
	CHECK(!ops->set(b->cpu[1], REG_RV_PC, 0x1001) && reg(b, 1, REG_RV_PC) == 0x1000);
	CHECK(reg(b, 1, REG_RV_PRIV) == PRIV_S && reg(b, 1, REG_RV_CSR + CSR_MHARTID) == 1);
	CHECK(!ops->set(b->cpu[1], REG_RV_CSR + CSR_FCSR, 0x21)); /* with FS off, too */
	CHECK(reg(b, 1, REG_RV_CSR + CSR_FRM) == 1);
	CHECK(ops->get(b->cpu[1], REG_RV_CSR + 0x7c0, &v) == -ENOENT);
	CHECK(ops->set(b->cpu[1], REG_RV_CSR + CSR_MHARTID, 0) == -ENOENT);
	CHECK(ops->set(b->cpu[1], REG_RV_PRIV, 2) == -EINVAL);
	CHECK(ops->get(b->cpu[1], 70, &v) == -ENOENT);
	ops->reset(b->cpu[1]);
	CHECK(reg(b, 1, REG_RV_X + 5) == 0 && reg(b, 1, REG_RV_CSR + CSR_FCSR) == 0);
	board_free(b);
}

TEST(the_loop_raises_timer_interrupts)
{
	struct board *b = board_new();
	CHECK(!ops->set(b->cpu[0], REG_RV_CSR + CSR_STVEC, RIG_RAM + 0x1000));
	CHECK(!ops->set(b->cpu[0], REG_RV_CSR + CSR_SIE, MIP_STIP));
	CHECK(!ops->set(b->cpu[0], REG_RV_CSR + CSR_SSTATUS, MSTATUS_SIE));
	rig_op(b->rig, OP_csrrs, 5, 0, 0, CSR_TIME);
	rig_op(b->rig, OP_addi, 5, 5, 0, 2000);
	rig_op(b->rig, OP_csrrw, 0, 5, 0, CSR_STIMECMP);
	rig_op(b->rig, OP_addi, 6, 6, 0, 1); /* never sleeps */
	rig_op(b->rig, OP_jal, 0, 0, 0, -4);
	b->rig->at = RIG_RAM + 0x1000;
	rig_op(b->rig, OP_csrrs, 7, 0, 0, CSR_SCAUSE);
	rig_op(b->rig, OP_ecall, 0, 0, 0, 0);
	CHECK(ops->run(b->cpu[0]) == VCPU_SYSCALL);
	CHECK(reg(b, 0, REG_RV_X + 7) == (CAUSE_INTERRUPT | 5));
	CHECK(ops->instret(b->cpu[0]) >= 5);
	board_free(b);
}

struct runner {
	struct board *b;
	unsigned cpu;
	enum vcpu_exit why;
};
static void *run_thread(void *arg)
{
	struct runner *r = arg;
	r->why = ops->run(r->b->cpu[r->cpu]);
	return NULL;
}

/* Both add to one counter, a thousand times each: by amoadd, and by lr and sc. */
TEST(atomics_of_two_harts_do_not_lose_counts)
{
	struct board *b = board_new();
	struct runner run[2];
	struct rig *r = b->rig;
	rig_li(r, 5, RIG_RAM + 0x2000);
	rig_op(r, OP_addi, 6, 0, 0, 1000);
	rig_op(r, OP_addi, 7, 0, 0, 1);
	rig_op(r, OP_amoadd_d, 0, 5, 7, 0);
	rig_op(r, OP_lr_w, 8, 5, 0, 0);
	rig_op(r, OP_addi, 8, 8, 0, 1);
	rig_op(r, OP_sc_w, 9, 5, 8, 0);
	rig_op(r, OP_bne, 0, 9, 0, -12);
	rig_op(r, OP_addi, 6, 6, 0, -1);
	rig_op(r, OP_bne, 0, 6, 0, -24);
	rig_op(r, OP_ecall, 0, 0, 0, 0);
	for (unsigned i = 0; i < 2; i++) {
		run[i] = (struct runner){b, i, VCPU_BROKEN};
		CHECK(!pthread_create(&b->cpu_thread[i], NULL, run_thread, &run[i]));
	}
	for (unsigned i = 0; i < 2; i++) CHECK(!pthread_join(b->cpu_thread[i], NULL));
	CHECK(run[0].why == VCPU_SYSCALL && run[1].why == VCPU_SYSCALL);
	CHECK(rig_get64(r, RIG_RAM + 0x2000) == 4000);
	board_free(b);
}

/* A hart reads a page again and again while another remaps it and fences: after the fence has
 * returned, the old page is never seen again. */
TEST(a_returned_fence_means_no_old_translations)
{
	struct board *b = board_new();
	struct rig *r = b->rig;
	struct runner run = {b, 1, VCPU_BROKEN};
	gpa_t table = RIG_RAM + 0x100000, low = table + 0x1000, page = RIG_RAM + 0x200000;
	uint64_t flags = PTE_V | PTE_R | PTE_W | PTE_X | PTE_A | PTE_D;
	rig_put64(r, table + 2 * 8, RIG_RAM >> 2 | flags); /* the code, as it lies */
	rig_put64(r, table, low >> 2 | PTE_V);
	rig_put64(r, low, (table + 0x2000) >> 2 | PTE_V);
	rig_put64(r, table + 0x2000 + 8, page >> 2 | flags); /* 0x1000 */
	CHECK(!ops->set(b->cpu[1], REG_RV_CSR + CSR_SATP, 8ull << 60 | table >> 12));
	rig_op(r, OP_lui, 5, 0, 0, 0x1000);
	rig_op(r, OP_ld, 6, 5, 0, 0);
	rig_op(r, OP_sd, 0, 5, 6, 8);
	rig_op(r, OP_jal, 0, 0, 0, -8);
	CHECK(!pthread_create(&b->cpu_thread[1], NULL, run_thread, &run));
	while (ops->instret(b->cpu[1]) == 0 && !rig_get64(r, page + 8)) {
		rig_put64(r, page, 1);
		(void)usleep(100);
	}
	for (uint64_t i = 1; i < 200; i++) {
		gpa_t now = page + (i & 1) * 0x1000, old = page + (~i & 1) * 0x1000;
		rig_put64(r, now, i);
		rig_put64(r, table + 0x2000 + 8, now >> 2 | flags);
		ops->fence(b->cpu[1], NULL, FENCE_TLB, 0x1000, i & 2 ? 0x1000 : 0, 0);
		rig_put64(r, old + 8, 0);
		for (int wait = 0; wait < 20000 && rig_get64(r, now + 8) != i; wait++)
			(void)usleep(50);
		CHECK(rig_get64(r, now + 8) == i && rig_get64(r, old + 8) == 0);
	}
	ops->kick(b->cpu[1]);
	CHECK(!pthread_join(b->cpu_thread[1], NULL));
	CHECK(run.why == VCPU_KICKED);
	board_free(b);
}

static uint64_t counted(const struct counters *c, const char *name)
{
	for (unsigned i = 0; i < c->n; i++)
		if (!strcmp(c->at[i].name, name)) return c->at[i].value;
	CHECK(!"counted under that name");
	return 0;
}

/* A loop that is hot soon, loads from two pages and then calls the board. */
static void loop_program(struct rig *r)
{
	rig_li(r, 5, RIG_RAM + 0x2000);
	rig_op(r, OP_addi, 6, 0, 0, 1000);
	rig_op(r, OP_ld, 7, 5, 0, 0);
	rig_op(r, OP_addi, 6, 6, 0, -1);
	rig_op(r, OP_bne, 0, 6, 0, -8);
	rig_op(r, OP_lui, 5, 0, 0, RIG_STOP);
	rig_op(r, OP_ld, 7, 5, 0, 0);
	rig_op(r, OP_ecall, 0, 0, 0, 0);
}

static void counts_of(const struct engine_ops *on, struct counters *c)
{
	const struct engine_ops *before = ops;
	ops = on;
	struct board *b = board_new();
	loop_program(b->rig);
	CHECK(ops->run(b->cpu[0]) == VCPU_SYSCALL);
	for (unsigned i = 0; i < 2; i++) ops->stats(b->cpu[i], c);
	CHECK(counted(c, "board_calls") == 1 && counted(c, "traps") == 0);
	CHECK(counted(c, "tlb_misses") >= 2 && counted(c, "device_accesses") == 1);
	CHECK(counted(c, "pages_decoded") == 1 && counted(c, "fetch_misses") >= 1);
	board_free(b);
	ops = before;
}

TEST(the_interpreter_counts_instructions)
{
	struct counters c = {0};
	counts_of(&engine_interp, &c);
	CHECK(counted(&c, "instructions") == 3 + 1 + 3000 + 3);
	CHECK(c.n == 12);
}

TEST(the_translator_counts_its_units)
{
	struct counters c = {0};
	counts_of(&engine_jit, &c);
	uint64_t units = counted(&c, "units"), entries = counted(&c, "unit_entries");
	CHECK(units >= 1 && entries >= 1 && counted(&c, "instructions") >= 100);
	CHECK(counted(&c, "unit_instructions") >= 3 && counted(&c, "unit_bytes") > 0);
	CHECK(counted(&c, "code_used") >= counted(&c, "unit_bytes"));
	CHECK(counted(&c, "code_room") == 2 * 32 * MIB && counted(&c, "code_flushes") == 0);
	uint64_t exits = 0;
	for (unsigned i = 0; i < c.n; i++)
		if (!strncmp(c.at[i].name, "exits_", 6)) exits += c.at[i].value;
	CHECK(exits == entries);
}
