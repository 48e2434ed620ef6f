#ifndef HW_PCI_RIG_TEST_H
#define HW_PCI_RIG_TEST_H
#include "hw/bus.h"
#include "hw/pci.h"
#include <string.h>
/* A board of nothing but a PCI host bridge, for tests: ECAM, two windows, wires that count. */
enum { RIG_ECAM = 0x30000000, RIG_MEM32 = 0x40000000, RIG_MEM32_LEN = 0x1000000 };
#define RIG_MEM64     0x400000000ull
#define RIG_MEM64_LEN 0x100000000ull
struct pci_rig {
	struct bus *bus;
	struct pci_host *h;
	int line[4];
	unsigned edges, sent; /* changes of any line; messages */
	uint64_t addr;	      /* of the last message */
	uint32_t data;
};
static inline void pci_rig_irq(void *ctl, unsigned line, int level)
{
	struct pci_rig *r = ctl;
	r->edges++;
	r->line[line] = level;
}
static inline void pci_rig_msi(void *ctx, uint64_t addr, uint32_t data)
{
	struct pci_rig *r = ctx;
	r->sent++;
	r->addr = addr;
	r->data = data;
}
static inline void pci_rig_init(struct pci_rig *r, bool msi)
{
	struct pci_windows w = {RIG_MEM32, RIG_MEM32_LEN, RIG_MEM64, RIG_MEM64_LEN};
	struct pci_msi m = {pci_rig_msi, r};
	struct irq q[4];
	memset(r, 0, sizeof(*r));
	for (unsigned i = 0; i < 4; i++) q[i] = (struct irq){pci_rig_irq, r, i};
	r->bus = bus_new("t");
	must(!pci_host_new(&r->h, r->bus, &w, q, msi ? &m : NULL, NULL));
	must(!bus_map(r->bus, RIG_ECAM, MIB, pci_host_ecam(r->h), NULL));
}
static inline void pci_rig_done(struct pci_rig *r)
{
	pci_host_free(r->h);
	bus_free(r->bus);
}
static inline uint64_t pci_cfg(struct pci_rig *r, unsigned slot, unsigned off, unsigned len)
{
	return bus_read(r->bus, RIG_ECAM + (slot << 15) + off, len);
}
static inline void pci_set(struct pci_rig *r, unsigned slot, unsigned off, uint64_t v, unsigned len)
{
	bus_write(r->bus, RIG_ECAM + (slot << 15) + off, v, len);
}
/* The n-th (from 0) capability with this id; 0 when there is none. */
static inline unsigned pci_find_cap(struct pci_rig *r, unsigned slot, uint8_t id, unsigned n)
{
	unsigned at = (unsigned)pci_cfg(r, slot, 0x34, 1);
	for (int guard = 0; at && guard < 64; guard++) {
		if (pci_cfg(r, slot, at, 1) == id && n-- == 0) return at;
		at = (unsigned)pci_cfg(r, slot, at + 1, 1);
	}
	return 0;
}
#endif
