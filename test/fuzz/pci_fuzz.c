/* Any accesses to ECAM and to wherever BARs end up, from a function with messages and one
 * without. BARs must answer inside the board's windows only, and a line must be low when nobody
 * pulls it. Input: steps. */
#include "hw/pci_rig_test.h"
#include <stdlib.h>

struct step {
	uint8_t what, slot;
	uint16_t off;
	uint32_t val;
} __attribute__((packed));
struct toy {
	struct pci_func f;
	struct device low, high;
	bool pulls;
};

static uint64_t toy_read(struct device *d, uint64_t off, unsigned len)
{
	must(off + len <= (d->id[0] == 'l' ? 0x1000 : 0x4000));
	return off;
}
static void toy_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	(void)val;
	(void)toy_read(d, off, len);
}
static void toy_free(struct pci_func *f)
{
	device_done(&((struct toy *)f)->low);
	device_done(&((struct toy *)f)->high);
	pci_func_done(f);
	free(f);
}
static const struct device_ops dev_ops = {.name = "toy", .read = toy_read, .write = toy_write};
static const struct pci_func_ops toy_ops = {.name = "toy", .free = toy_free};

static struct toy *toy_add(struct pci_rig *r, bool msix)
{
	struct toy *t = calloc(1, sizeof(*t));
	must(t);
	device_init(&t->low, &dev_ops, "low");
	device_init(&t->high, &dev_ops, "high");
	pci_func_init(&t->f, &toy_ops, 0x1234, 0x5678, 0xff000001, 0, 0);
	pci_add_bar(&t->f, 0, &t->low, 0x1000, false);
	pci_add_bar(&t->f, 4, &t->high, 0x4000, true);
	if (msix) pci_add_msix(&t->f, 1, 3);
	must(!pci_plug(r->h, &t->f, -1, NULL));
	return t;
}

static void check(struct toy *t)
{
	for (unsigned n = 0; n < PCI_BARS; n++) {
		uint64_t at = t->f.bar[n].mapped, end = at + t->f.bar[n].len;
		if (at == UINT64_MAX) continue;
		must(t->f.config[4] & 2 && at % t->f.bar[n].len == 0);
		must((at >= RIG_MEM32 && end <= RIG_MEM32 + RIG_MEM32_LEN) ||
		     (at >= RIG_MEM64 && end <= RIG_MEM64 + RIG_MEM64_LEN));
	}
}

static uint64_t spread(uint32_t val) { return val | (uint64_t)val << 32; }

/* Addresses of BARs by name, so that they meet. */
static const uint32_t places[] = {RIG_MEM32,
				  RIG_MEM32 + 0x1000,
				  RIG_MEM32 + 0x4000,
				  0xffffffff,
				  RIG_MEM32 + RIG_MEM32_LEN - 0x1000,
				  0,
				  4,
				  RIG_ECAM};

static void step(struct pci_rig *r, struct toy *t[2], const struct step *s)
{
	unsigned len = 1u << (s->what >> 3) % 4, slot = s->slot % 4;
	struct toy *on = t[s->slot & 1];
	switch (s->what % 8) {
	case 0: pci_set(r, slot, s->off % 0x1000, spread(s->val), len); break;
	case 1: (void)pci_cfg(r, slot, s->off, len); break;
	case 2: pci_set(r, slot, 0x10 + s->off % 6 * 4, places[s->val % 8], 4); break;
	case 3: pci_set(r, slot, 4, s->val, 2); break;
	case 4: bus_write(r->bus, RIG_MEM32 + s->off, spread(s->val), len); break;
	case 5: (void)bus_read(r->bus, RIG_MEM64 - 8 + s->off, len); break;
	case 6: pci_intx(&on->f, on->pulls = s->val & 1); break;
	case 7: s->val % 64 ? pci_msix_send(&on->f, s->off % 5) : pci_host_reset(r->h); break;
	}
	if (s->what % 8 == 7 && s->val % 64 == 0) t[0]->pulls = t[1]->pulls = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pci_rig r;
	struct step s;
	pci_rig_init(&r, true);
	struct toy *t[2] = {toy_add(&r, true), toy_add(&r, false)};
	for (; size >= sizeof(s) && size < 4096; data += sizeof(s), size -= sizeof(s)) {
		memcpy(&s, data, sizeof(s));
		step(&r, t, &s);
		for (unsigned i = 0; i < 2; i++) {
			check(t[i]);
			must(!r.line[i + 1] || t[i]->pulls);
			must(!(r.line[i + 1] && t[i]->f.config[5] & 4));
		}
	}
	pci_rig_done(&r);
	return 0;
}
