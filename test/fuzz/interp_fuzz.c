/* Any instructions, in any mode, over any page tables: the hart stays within its memory and goes
 * on. The input is a list of actions; code runs until its first taken branch, so always ends. */
#include "engine/rig.h"

struct action {
	uint8_t kind, reg;
	uint16_t csr;
	uint32_t word;
	uint64_t val;
};

/* Values that matter: addresses near things, in all sizes. */
static uint64_t value(const struct action *a)
{
	switch (a->word & 7) {
	case 0: return RIG_RAM + (a->val & 0xffff);
	case 1: return RIG_STOP + (a->val & 0x1fff) - 0x800;
	case 2: return (RIG_RAM >> 12 << 10) + (a->val & 0xfffff); /* an entry of a page table */
	case 3: return 8ull << 60 | RIG_RAM >> 12 | (a->val & 0xf00000000000003);
	case 4: return RIG_RAM + RIG_SIZE - (a->val & 0xf);
	default: return a->val;
	}
}

static void go(struct rv64_cpu *c)
{
	atomic_fetch_or(&c->poll, POLL_ONCE);
	(void)rv64_interrupt(c);
	const struct slot *ip = rv64_code_enter(c);
	c->stop = STOP_TRAP;
	fp_enter(&c->fp);
	if (ip) rv64_go(c, ip);
	fp_leave(&c->fp);
	if (c->stop == STOP_TRAP) rv64_trap(c, c->cause, c->tval);
	atomic_store(&c->poll, 0);
}

static void act(struct rig *r, const struct action *a)
{
	struct rv64_cpu *c = r->c;
	switch (a->kind % 8) {
	case 0: (void)rv64_cpu_set(c, a->reg % 192u, value(a)); break;
	case 1: (void)rv64_cpu_set(c, REG_RV_CSR + (a->csr & 0xfff), value(a)); break;
	case 2: rig_put64(r, RIG_RAM + (a->csr & 0xfff8), value(a)); break;
	case 3: rv64_irq(c, a->reg, a->val & 1); break;
	case 4: rv64_fence(c, c, (struct fence){a->reg % 3u, a->reg, value(a), a->csr}); break;
	case 5: go(c); break;
	default:
		if (rv64_exec_one(c, a->word)) rv64_trap(c, c->cause, c->tval);
		atomic_store(&c->poll, 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct action a;
	struct rig *r = rig_new(size & 1);
	for (; size >= sizeof(a); data += sizeof(a), size -= sizeof(a)) {
		memcpy(&a, data, sizeof(a));
		act(r, &a);
		must(r->c->x[0] == 0 && r->c->priv <= PRIV_M && r->c->priv != 2);
	}
	rig_free(r);
	return 0;
}
