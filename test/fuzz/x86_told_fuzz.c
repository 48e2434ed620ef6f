/* A table of CPUID leaves as a snapshot may bring it, right, altered or anything, and events that
 * were cut short: software takes or refuses them, and what it says of itself afterwards is no more
 * than what it can do. Input: events, then changes to its own table, or leaves. */
#include "engine/x86_rig.h"

struct change {
	uint8_t which, reg;
	uint32_t bits;
} __attribute__((packed));

static unsigned table(struct x86_rig *r, struct x86_leaf *at, const uint8_t *p, size_t n)
{
	unsigned leaves = x86_told(r->v, at);
	for (; n >= sizeof(struct change); p += sizeof(struct change), n -= sizeof(struct change)) {
		struct change c;
		memcpy(&c, p, sizeof(c));
		struct x86_leaf *l = &at[c.which % leaves];
		if (c.reg % 8 < 4) l->out[c.reg % 4] ^= c.bits;
		if (c.reg % 8 == 4) l->leaf ^= c.bits;
		if (c.reg % 8 == 5) l->index = c.bits;
		if (c.reg % 8 == 6 && leaves > 1) leaves--;
	}
	return leaves;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	enum { HEAD = 24, STEPS = 4 };
	struct x86_leaf own[X86_LEAVES], told[X86_LEAVES];
	char names[64];
	struct err e;
	if (n < HEAD) return 0;
	struct x86_rig *r = x86_rig_new();
	uint32_t out[4];
	unsigned mine = x86_told(r->v, own);
	unsigned leaves = table(r, told, p + HEAD, n - HEAD);
	if (!x86_be(&r->m, told, leaves, &e))
		must(!x86_leaves_lack(told, leaves, own, mine, names, sizeof(names)));
	for (unsigned i = 0; i < leaves; i++) x86_cpuid(r->v, told[i].leaf, told[i].index, out);
	for (unsigned i = 0; i < 3; i++)
		(void)x86_vcpu_set(r->v, REG_X86_EVENT_EXCEPTION + i, load_le(p + 8 * i, 8));
	for (unsigned i = 0; i < STEPS && x86_events(r->v); i++) x86_step(r->v);
	x86_poke(r->v, X86_POLL_KICK);
	(void)x86_vcpu_run(r->v);
	free(r->m.told);
	x86_rig_free(r);
	return 0;
}
