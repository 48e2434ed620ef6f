#include "base/test.h"
#include "engine/debug.h"
#include "engine/rig.h"
#include "engine/rv64_jit.h"

enum { I = 9, SUM = 5, A = 6, B = 7, TIMES = 3000 };
#define DATA (RIG_RAM + 0x100000)

/* A loop that stores and loads back; *store is where it does, *next behind that. */
static struct rig *looper(bool jit, gpa_t *store)
{
	struct rig *r = rig_new(false);
	struct err e = {0};
	if (jit) CHECK(!rv64_jit_new(r->c, 1 << 20, JIT_FAST, true, &e));
	rig_li(r, I, TIMES);
	rig_li(r, A, DATA);
	gpa_t top = r->at;
	rig_op(r, OP_addi, SUM, SUM, 0, 3);
	rig_op(r, OP_sd, 0, A, 0, 512);
	*store = r->at;
	rig_op(r, OP_sd, 0, A, SUM, 0);
	rig_op(r, OP_ld, B, A, 0, 0);
	rig_op(r, OP_addi, I, I, 0, -1);
	rig_op(r, OP_bne, 0, I, 0, (int32_t)(top - r->at));
	rig_stop(r, SUM);
	return r;
}

static void ask(struct rig *r, struct debug *d, const struct vcpu_points *p)
{
	bool recut = !r->c->debug;
	recut |= debug_set(d, p);
	rv64_debug_set(r->c, d, recut);
}

static void step(struct rig *r, gpa_t to)
{
	r->c->stepping = true;
	CHECK(rv64_run(r->c) == VCPU_DEBUG && r->c->stopped.why == STOPPED_BY_STEP);
	CHECK(r->c->pc == to && !r->c->stepping);
}

TEST(rv64_breakpoints_stop_in_front_of_instructions)
{
	static const struct vcpu_points none;
	for (unsigned jit = 0; jit < 2; jit++) {
		static struct debug d;
		gpa_t store;
		struct rig *r = looper(jit, &store);
		struct vcpu_points p = {.nbreaks = 1, .breaks = {store}};
		memset(&d, 0, sizeof(d));
		for (unsigned i = 1; i <= 600; i++) {
			ask(r, &d, &p);
			CHECK(rv64_run(r->c) == VCPU_DEBUG);
			CHECK(r->c->stopped.why == STOPPED_BY_BREAK && r->c->pc == store);
			CHECK(r->c->x[SUM] == 3 * i && rig_get64(r, DATA) == 3 * (i - 1));
			ask(r, &d, &none);
			step(r, store + 4);
			CHECK(rig_get64(r, DATA) == 3 * i);
		}
		p.breaks[0] = store + 4096; /* the same offset elsewhere */
		ask(r, &d, &p);
		CHECK(rv64_run(r->c) == VCPU_KICKED && r->told == 3 * TIMES);
		rv64_debug_set(r->c, NULL, true);
		rig_free(r);
	}
}

TEST(rv64_watchpoints_stop_in_front_of_accesses)
{
	static const struct vcpu_points none;
	for (unsigned how = 0; how < 4; how++) {
		static struct debug d;
		bool writes = how & 1;
		gpa_t store;
		struct rig *r = looper(how & 2, &store);
		gpa_t at = writes ? store : store + 4;
		struct vcpu_points p = {
			.nwatches = 1,
			.watch = {{.at = DATA + 4, .len = 4, .reads = !writes, .writes = writes}}};
		memset(&d, 0, sizeof(d));
		ask(r, &d, &none);
		r->c->poll = 0;
		for (unsigned i = 1; i <= 400; i++) {
			ask(r, &d, &p);
			CHECK(rv64_run(r->c) == VCPU_DEBUG);
			CHECK(r->c->stopped.why == STOPPED_BY_WATCH && r->c->pc == at);
			CHECK(r->c->stopped.watch.at == DATA + 4);
			CHECK(r->c->x[SUM] == 3 * i && r->c->x[B] == 3 * (i - 1));
			ask(r, &d, &none);
			step(r, at + 4);
		}
		CHECK(rv64_run(r->c) == VCPU_KICKED && r->told == 3 * TIMES);
		rv64_debug_set(r->c, NULL, true);
		rig_free(r);
	}
}

/* A step is a trap where there is one, and no interrupt. */
TEST(rv64_steps_go_into_traps)
{
	static struct debug d;
	static const struct vcpu_points none;
	struct rig *r = rig_new(false);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_MTVEC, RIG_RAM + 0x1000);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_MIE, 1 << IRQ_RV_MSI);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_MSTATUS, MSTATUS_MIE);
	rig_op(r, OP_addi, A, 0, 0, 1);
	rig_op(r, OP_ecall, 0, 0, 0, 0);
	memset(&d, 0, sizeof(d));
	ask(r, &d, &none);
	rv64_irq(r->c, IRQ_RV_MSI, true);
	step(r, RIG_RAM + 4);
	step(r, RIG_RAM + 0x1000);
	CHECK(r->c->mepc == RIG_RAM + 4 && r->c->x[A] == 1);
	rv64_debug_set(r->c, NULL, true);
	rig_free(r);
}
