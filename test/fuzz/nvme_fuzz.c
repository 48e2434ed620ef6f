/* Any accesses to an NVMe controller's registers, with any bytes as queues, lists and commands, and
 * a disk that answers when it will; its state saved, altered and loaded. Input: steps. */
#include "base/buf.h"
#include "base/state.h"
#include "dev/nvme_rig_test.h"

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

static void some(struct nrig *r)
{
	if (!r->disk.nheld) return;
	const struct blk_req *q = r->disk.held[r->disk.nheld - 1];
	must(q->off <= sizeof(r->disk.at) && q->len <= sizeof(r->disk.at) - q->off);
	disk_rig_do(&r->disk, r->disk.nheld - 1);
}
static void command(struct nrig *r, const struct step *s)
{
	struct nvme_cmd c = nrig_cmd(s->off & 0x1f, s->off >> 5 & 1, NRIG_DATA + (s->off & 0xf000),
				     s->val & 0xff00ff, s->val >> 8, s->val & 0xff);
	c.prp[1] = le64_of(s->val & 0x1ffff8);
	nrig_put(r, s->q & 1, c);
	nrig_ring(r, s->q & 1);
}
/* Any byte of it is another one. */
static void reload(struct nrig *r, const struct step *s)
{
	auto_buf struct buf b = {0};
	struct state out = {.b = &b}, in = {.b = &b, .loading = true};
	nrig_run(r);
	pci_host_pause(r->pci.h);
	pci_host_state(r->pci.h, &out);
	if (s->val & 0xff) b.at[s->off % b.len] ^= (char)s->val;
	pci_host_state(r->pci.h, &in);
	(void)state_end(&in, NULL);
	pci_host_resume(r->pci.h);
}
static void step(struct nrig *r, const struct step *s)
{
	static const uint8_t lens[] = {1, 2, 4, 8};
	unsigned len = lens[s->q & 3];
	switch (s->what & 7) {
	case 0: nrig_set(r, s->off & 0x3fff, s->val, len); return;
	case 1:
		if (s->q & 0x80)
			reload(r, s);
		else
			(void)nrig_reg(r, s->off & 0x3fff, len);
		return;
	case 2: nrig_set(r, 0x1000 + s->off % 80, s->val & 0xf, 4); return;
	case 3: store_le(nrig_at(r, s->off * 8ull), s->val, 8); return;
	case 4: some(r); return;
	case 5: command(r, s); return;
	case 6: (void)nrig_answer(r, s->q & 1, NULL); return;
	default:
		if (s->q & 1)
			nrig_run(r);
		else
			pci_set(&r->pci, 1, s->off & 0xff, s->val, 4);
		return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct nrig *rigs[4];
	struct nrig *r = rigs[n & 3];
	if (!r) r = rigs[n & 3] = nrig_new(n & 1, n & 2);
	nrig_run(r);
	pci_host_reset(r->pci.h);
	nrig_map(r);
	nrig_enable(r);
	for (unsigned i = 0; i < STEPS && n >= sizeof(struct step); i++) {
		struct step s;
		memcpy(&s, p, sizeof(s));
		p += sizeof(s);
		n -= sizeof(s);
		step(r, &s);
	}
	return 0;
}
