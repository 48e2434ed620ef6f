#ifndef DEV_AHCI_RIG_TEST_H
#define DEV_AHCI_RIG_TEST_H
#include "dev/ahci.h"
#include "dev/disk_rig_test.h"
#include "hw/pci_rig_test.h"
#include <stdlib.h>
/* A controller on a bus with a disk on port 0 and a CD on port 1, memory beside it, and a driver's
 * first steps: for tests and for the fuzzer. */
enum {
	ARIG_RAM = 1 << 20,
	ARIG_BAR = RIG_MEM32,
	ARIG_PORTS = 2,
	ARIG_LIST = 0x1000, /* of port 0; of port 1 the same 0x8000 further on, and so on */
	ARIG_FIS = 0x1400,
	ARIG_TABLE = 0x2000, /* of slot 0; 0x200 further on that of slot 1 */
	ARIG_PORT = 0x8000,
	ARIG_DATA = 0x20000,
	ARIG_ENTRIES = 20, /* of a table */
};
enum { /* registers of a port */
       PX_CLB = 0x00,
       PX_FB = 0x08,
       PX_IS = 0x10,
       PX_IE = 0x14,
       PX_CMD = 0x18,
       PX_TFD = 0x20,
       PX_SIG = 0x24,
       PX_SSTS = 0x28,
       PX_SCTL = 0x2c,
       PX_SERR = 0x30,
       PX_SACT = 0x34,
       PX_CI = 0x38
};
enum {
	GHC = 4,
	HBA_IS = 8,
	CMD_START = 0x11,
	CMD_RECEIVE = 0x10,
	RX_PIO_AT = 0x20,
	RX_SDB_AT = 0x58
};
struct arig {
	struct pci_rig pci;
	struct gmem *mem;
	struct disk_rig disk[ARIG_PORTS];
	struct ahci *a;
};
struct arig_cmd {
	uint8_t op, feature, device;
	uint64_t lba;
	uint16_t count;
	bool queued, write, packet;
	uint8_t cdb[12];
	gpa_t at; /* of its data, len bytes, in one entry if entries is 0 */
	uint32_t len;
	unsigned entries;
};

static inline void arig_run(struct arig *r)
{
	for (unsigned i = 0; i < ARIG_PORTS; i++) disk_rig_run(&r->disk[i]);
}
static inline uint32_t arig_hba(struct arig *r, unsigned off)
{
	return (uint32_t)bus_read(r->pci.bus, (uint64_t)ARIG_BAR + off, 4);
}
static inline void arig_hba_set(struct arig *r, unsigned off, uint32_t v)
{
	bus_write(r->pci.bus, (uint64_t)ARIG_BAR + off, v, 4);
}
static inline uint32_t arig_reg(struct arig *r, unsigned n, unsigned off)
{
	return arig_hba(r, 0x100 + 0x80 * n + off);
}
static inline void arig_set(struct arig *r, unsigned n, unsigned off, uint32_t v)
{
	arig_hba_set(r, 0x100 + 0x80 * n + off, v);
}
static inline uint8_t *arig_at(struct arig *r, gpa_t at)
{
	uint8_t *p = gmem_ptr(r->mem, at, 1, true);
	must(p);
	return p;
}
static inline void arig_map(struct arig *r)
{
	pci_set(&r->pci, 1, 0x24, ARIG_BAR, 4);
	pci_set(&r->pci, 1, 4, 6, 2);
}
static inline struct arig *arig_new(bool ro)
{
	struct arig *r = calloc(1, sizeof(*r));
	must(r);
	pci_rig_init(&r->pci, false);
	r->mem = gmem_new();
	must(!gmem_add(r->mem, 0, ARIG_RAM, 0, NULL));
	must(!ahci_new(&r->a, r->pci.h, r->mem, false, NULL));
	for (unsigned i = 0; i < ARIG_PORTS; i++) {
		disk_rig_init(&r->disk[i], ro || i);
		must(ahci_add(r->a, ro ? &r->disk[i].b : NULL, i, "serial", NULL) == (int)i);
		if (!ro) ahci_disk(r->a, i, &r->disk[i].b);
	}
	arig_map(r);
	return r;
}
static inline void arig_free(struct arig *r)
{
	arig_run(r);
	pci_rig_done(&r->pci);
	for (unsigned i = 0; i < ARIG_PORTS; i++) CHECK(r->disk[i].closed == 1);
	gmem_free(r->mem);
	free(r);
}
static inline void arig_start(struct arig *r, unsigned n)
{
	gpa_t base = ARIG_PORT * (gpa_t)n;
	arig_set(r, n, PX_CLB, (uint32_t)(ARIG_LIST + base));
	arig_set(r, n, PX_FB, (uint32_t)(ARIG_FIS + base));
	arig_set(r, n, PX_CMD, CMD_RECEIVE);
	arig_set(r, n, PX_SERR, ~0u);
	arig_set(r, n, PX_IS, ~0u);
	arig_set(r, n, PX_IE, ~0u);
	arig_set(r, n, PX_CMD, CMD_START);
	arig_hba_set(r, HBA_IS, ~0u);
	arig_hba_set(r, GHC, 2);
}
static inline struct arig *arig_started(bool ro)
{
	struct arig *r = arig_new(ro);
	for (unsigned i = 0; i < ARIG_PORTS; i++) arig_start(r, i);
	return r;
}
static inline void arig_entry(struct arig *r, gpa_t table, unsigned k, gpa_t at, uint32_t len)
{
	uint8_t *p = arig_at(r, table + 0x80 + 16 * k);
	store_le(p, at, 8);
	store_le(p + 8, 0, 4);
	store_le(p + 12, len - 1, 4);
}
/* Lay a command out in a slot; not yet to be done. */
static inline void arig_put(struct arig *r, unsigned n, unsigned slot, const struct arig_cmd *c)
{
	gpa_t base = ARIG_PORT * (gpa_t)n, table = ARIG_TABLE + base + 0x200 * (gpa_t)slot;
	uint8_t *h = arig_at(r, ARIG_LIST + base + 32 * slot), *f = arig_at(r, table);
	unsigned k = c->entries ? c->entries : c->len ? 1 : 0;
	memset(h, 0, 32);
	store_le(h, 5 | (c->packet ? 1 << 5 : 0) | (c->write ? 1 << 6 : 0), 2);
	store_le(h + 2, k, 2);
	store_le(h + 8, table, 8);
	memset(f, 0, 0x80);
	f[0] = 0x27;
	f[1] = 0x80;
	f[2] = c->op;
	f[3] = c->feature;
	store_le(f + 4, c->lba & 0xffffff, 4);
	f[7] = c->device | 0x40;
	store_le(f + 8, c->lba >> 24, 2);
	f[10] = (uint8_t)(c->lba >> 40);
	store_le(f + 12, c->count, 2);
	if (c->queued) {
		f[3] = (uint8_t)c->count;
		f[11] = (uint8_t)(c->count >> 8);
		store_le(f + 12, slot << 3, 2);
	}
	memcpy(f + 0x40, c->cdb, sizeof(c->cdb));
	if (c->len && !c->entries) arig_entry(r, table, 0, c->at, c->len);
}
static inline void arig_issue(struct arig *r, unsigned n, unsigned slot, const struct arig_cmd *c)
{
	arig_put(r, n, slot, c);
	if (c->queued) arig_set(r, n, PX_SACT, 1u << slot);
	arig_set(r, n, PX_CI, 1u << slot);
}
/* In slot 0, to its end: the error register; 0: none; -1: there was no end; -2: not by a FIS. What
 * has failed is got over as a driver would. */
static inline int arig_do(struct arig *r, unsigned n, const struct arig_cmd *c)
{
	arig_issue(r, n, 0, c);
	arig_run(r);
	uint32_t is = arig_reg(r, n, PX_IS), tfd = arig_reg(r, n, PX_TFD);
	uint32_t left = arig_reg(r, n, PX_CI) | arig_reg(r, n, PX_SACT);
	arig_set(r, n, PX_IS, is);
	arig_hba_set(r, HBA_IS, 1u << n);
	if (is & 0x78000000) {
		arig_set(r, n, PX_CMD, CMD_RECEIVE);
		arig_set(r, n, PX_CMD, CMD_START);
		return is & 0x40000000 ? (int)(tfd >> 8) : -2;
	}
	return left ? -1 : 0;
}
static inline uint32_t arig_moved(struct arig *r, unsigned n)
{
	return (uint32_t)load_le(arig_at(r, ARIG_LIST + ARIG_PORT * n + 4), 4);
}
/* A packet whose answer comes to ARIG_DATA: what arig_do() says. */
static inline int arig_packet(struct arig *r, const uint8_t cdb[12], uint32_t room)
{
	struct arig_cmd c = {
		.op = 0xa0, .feature = 1, .packet = true, .at = ARIG_DATA, .len = room};
	memcpy(c.cdb, cdb, sizeof(c.cdb));
	return arig_do(r, 1, &c);
}
#endif
