/* Any accesses to an AHCI controller's registers, with any bytes as lists, tables and commands, a
 * disk and a CD that answer when they will, and state kept and loaded in the middle. Input: steps.
 */
#include "base/buf.h"
#include "base/state.h"
#include "dev/ahci_rig_test.h"

enum { STEPS = 512 };
struct step {
	uint8_t what, q;
	uint16_t off;
	uint32_t val;
} __attribute__((packed));

/* As a test's. */
void test_add(struct test *t) { (void)t; }
void test_fail(const char *expr, const char *file, int line)
{
	(void)expr, (void)file, (void)line;
	__builtin_trap();
}

static void some(struct arig *r, unsigned n, unsigned which)
{
	struct disk_rig *k = &r->disk[n];
	if (!k->nheld) return;
	which %= k->nheld;
	const struct blk_req *q = k->held[which];
	must(q->off <= sizeof(k->at) && q->len <= sizeof(k->at) - q->off && !(q->len & 511));
	k->fails = which == 7 ? -5 : 0;
	disk_rig_do(k, which);
	k->fails = 0;
}
static void command(struct arig *r, const struct step *s)
{
	static const uint8_t ops[] = {0x60, 0x61, 0x25, 0x35, 0xc8, 0xca, 0x06, 0x2f, 0xec, 0xef,
				      0x24, 0x34, 0xea, 0x3d, 0xc6, 0x42, 0x27, 0xe5, 0x90, 0x08};
	unsigned n = s->q & 1, op = ops[s->off % sizeof(ops)];
	struct arig_cmd c = {.op = n ? 0xa0 : (uint8_t)op,
			     .queued = !n && (op & 0xfe) == 0x60,
			     .packet = n,
			     .feature = s->q >> 1 & 1,
			     .lba = s->val & 0x1fff,
			     .count = s->val >> 13 & 0x1f,
			     .at = ARIG_DATA + (s->val >> 18 & 0xfff),
			     .len = s->val >> 12 & 0x3fff};
	for (unsigned i = 0; i < 4; i++) c.cdb[i] = (uint8_t)(s->val >> 8 * i);
	c.cdb[4] = c.cdb[8] = (uint8_t)s->off;
	if (s->q & 4) arig_entry(r, ARIG_TABLE, s->off & 7, s->val, 1 + (s->val & 0xffff));
	if (s->q & 4) c.entries = s->off & 15;
	arig_issue(r, n, s->off >> 8 & 31, &c);
}
static void keep(struct arig *r, const struct step *s)
{
	auto_buf struct buf b = {0};
	struct state to = {.b = &b}, from = {.b = &b, .loading = true};
	arig_run(r);
	pci_host_pause(r->pci.h);
	pci_host_state(r->pci.h, &to);
	must(!state_end(&to, NULL));
	if (s->q & 1) b.at[s->val % b.len] ^= (char)(s->off | 1);
	pci_host_state(r->pci.h, &from);
	int bad = state_end(&from, NULL);
	must(!bad || s->q & 1);
	pci_host_resume(r->pci.h);
	if (bad) {
		arig_run(r);
		pci_host_reset(r->pci.h);
	}
}
static void step(struct arig *r, const struct step *s)
{
	static const uint8_t lens[] = {1, 2, 4, 8};
	unsigned len = lens[s->q & 3];
	switch (s->what & 7) {
	case 0: bus_write(r->pci.bus, ARIG_BAR + (s->off & 0xff8u), s->val, len); return;
	case 1: (void)bus_read(r->pci.bus, ARIG_BAR + (s->off & 0xfffu), len); return;
	case 2: arig_set(r, s->q & 1, s->off & 0x3c, s->val); return;
	case 3: store_le(arig_at(r, s->off * 8ull), s->val, 8); return;
	case 4: some(r, s->q & 1, s->off); return;
	case 5: command(r, s); return;
	case 6:
		if (s->q & 8)
			keep(r, s);
		else
			arig_start(r, s->q & 1);
		return;
	default:
		if (s->q & 1)
			arig_run(r);
		else
			pci_set(&r->pci, 1, s->off & 0xff, s->val, 4);
		return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct arig *rigs[2];
	struct arig *r = rigs[n & 1];
	if (!r) r = rigs[n & 1] = arig_new(n & 1);
	arig_run(r);
	pci_host_reset(r->pci.h);
	arig_map(r);
	arig_start(r, 0);
	arig_start(r, 1);
	for (unsigned i = 0; i < STEPS && n >= sizeof(struct step); i++) {
		struct step s;
		memcpy(&s, p, sizeof(s));
		p += sizeof(s);
		n -= sizeof(s);
		step(r, &s);
	}
	return 0;
}
