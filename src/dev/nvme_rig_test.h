#ifndef DEV_NVME_RIG_TEST_H
#define DEV_NVME_RIG_TEST_H
#include "dev/disk_rig_test.h"
#include "dev/nvme.h"
#include "hw/pci_rig_test.h"
#include <stdlib.h>
/* A controller on a bus, memory beside it, and a disk: for tests and for the fuzzer. */
enum {
	NRIG_RAM = 1 << 20,
	NRIG_BAR = RIG_MEM32,
	NRIG_MSIX = RIG_MEM32 + 0x10000,
	NRIG_BLOCKS = DISK_RIG_BLOCKS,
	NRIG_ASQ = 0x1000,
	NRIG_ACQ = 0x2000,
	NRIG_SQ = 0x3000,
	NRIG_CQ = 0x4000,
	NRIG_LIST = 0x5000,
	NRIG_DATA = 0x10000,
	NRIG_N = 8, /* entries of its queues */
};
struct nrig {
	struct pci_rig pci;
	struct gmem *mem;
	struct disk_rig disk;
	struct nvme *n;
	uint32_t sq_tail[2], cq_head[2];
	bool phase[2];
	uint16_t cid;
};

static inline void nrig_run(struct nrig *r) { disk_rig_run(&r->disk); }
static inline uint64_t nrig_reg(struct nrig *r, unsigned off, unsigned len)
{
	return bus_read(r->pci.bus, (uint64_t)NRIG_BAR + off, len);
}
static inline void nrig_set(struct nrig *r, unsigned off, uint64_t val, unsigned len)
{
	bus_write(r->pci.bus, (uint64_t)NRIG_BAR + off, val, len);
}
static inline void nrig_map(struct nrig *r)
{
	pci_set(&r->pci, 1, 0x10, NRIG_BAR, 4);
	pci_set(&r->pci, 1, 0x20, NRIG_MSIX, 4);
	pci_set(&r->pci, 1, 4, 6, 2);
}
static inline struct nrig *nrig_new(bool ro, bool msi)
{
	struct nrig *r = calloc(1, sizeof(*r));
	must(r);
	pci_rig_init(&r->pci, msi);
	r->mem = gmem_new();
	must(!gmem_add(r->mem, 0, NRIG_RAM, 0, NULL));
	disk_rig_init(&r->disk, ro);
	must(!nvme_new(&r->n, r->pci.h, r->mem, ro ? &r->disk.b : NULL, "serial", false, NULL));
	if (!ro) nvme_disk(r->n, &r->disk.b);
	nrig_map(r);
	return r;
}
static inline void nrig_free(struct nrig *r)
{
	nrig_run(r);
	pci_rig_done(&r->pci);
	CHECK(r->disk.closed == 1);
	gmem_free(r->mem);
	free(r);
}
static inline void nrig_enable(struct nrig *r)
{
	nrig_set(r, 0x24, (NRIG_N - 1) << 16 | (NRIG_N - 1), 4);
	nrig_set(r, 0x28, NRIG_ASQ, 8);
	nrig_set(r, 0x30, NRIG_ACQ, 8);
	nrig_set(r, 0x14, 4 << 20 | 6 << 16 | 1, 4);
	r->sq_tail[0] = r->cq_head[0] = r->sq_tail[1] = r->cq_head[1] = 0;
	r->phase[0] = r->phase[1] = true;
}
static inline uint8_t *nrig_at(struct nrig *r, gpa_t at)
{
	uint8_t *p = gmem_ptr(r->mem, at, 1, true);
	must(p);
	return p;
}
/* Put a command into queue 0 or 1. */
static inline void nrig_put(struct nrig *r, unsigned q, struct nvme_cmd c)
{
	c.cid = le16_of(++r->cid);
	memcpy(nrig_at(r, (q ? NRIG_SQ : NRIG_ASQ) + 64 * r->sq_tail[q]), &c, 64);
	r->sq_tail[q] = (r->sq_tail[q] + 1) % NRIG_N;
}
static inline void nrig_ring(struct nrig *r, unsigned q)
{
	nrig_set(r, 0x1000 + 8 * q, r->sq_tail[q], 4);
}
/* The next answer: its status without DNR, -1: none. */
static inline int nrig_answer(struct nrig *r, unsigned q, uint32_t *result)
{
	const uint8_t *p = nrig_at(r, (q ? NRIG_CQ : NRIG_ACQ) + 16 * r->cq_head[q]);
	unsigned s = (unsigned)load_le(p + 14, 2);
	if ((s & 1) != r->phase[q]) return -1;
	if (result) *result = (uint32_t)load_le(p, 4);
	if (++r->cq_head[q] == NRIG_N) r->cq_head[q] = 0, r->phase[q] = !r->phase[q];
	nrig_set(r, 0x1004 + 8 * q, r->cq_head[q], 4);
	return (int)(s >> 1 & 0x3fff);
}
static inline int nrig_do(struct nrig *r, unsigned q, struct nvme_cmd c, uint32_t *result)
{
	nrig_put(r, q, c);
	nrig_ring(r, q);
	nrig_run(r);
	return nrig_answer(r, q, result);
}
static inline struct nvme_cmd nrig_cmd(unsigned op, uint32_t nsid, gpa_t at, uint32_t d10,
				       uint32_t d11, uint32_t d12)
{
	return (struct nvme_cmd){.opcode = (uint8_t)op,
				 .nsid = le32_of(nsid),
				 .prp = {le64_of(at)},
				 .cdw10 = le32_of(d10),
				 .cdw11 = le32_of(d11),
				 .cdw12 = le32_of(d12)};
}
static inline int nrig_admin(struct nrig *r, unsigned op, gpa_t at, uint32_t d10, uint32_t d11)
{
	return nrig_do(r, 0, nrig_cmd(op, 0, at, d10, d11, 0), NULL);
}
/* Queues 1, of as many entries. */
static inline void nrig_queues(struct nrig *r)
{
	CHECK(nrig_admin(r, 5, NRIG_CQ, (NRIG_N - 1) << 16 | 1, 3) == 0);
	CHECK(nrig_admin(r, 1, NRIG_SQ, (NRIG_N - 1) << 16 | 1, 1 << 16 | 1) == 0);
}
#endif
