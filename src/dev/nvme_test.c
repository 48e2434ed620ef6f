#include "base/buf.h"
#include "base/state.h"
#include "blk/dirty.h"
#include "dev/nvme_rig_test.h"
#include <errno.h>

enum { FLUSH, WRITE, READ, ZEROES = 8, DSM = 9 };
enum { CSTS = 0x1c, RDY = 1, CFS = 2 };

static struct nrig *started(void)
{
	struct nrig *r = nrig_new(false, true);
	nrig_enable(r);
	nrig_queues(r);
	return r;
}
static int io(struct nrig *r, unsigned op, gpa_t at, gpa_t second, uint64_t lba, unsigned blocks)
{
	struct nvme_cmd c = nrig_cmd(op, 1, at, (uint32_t)lba, (uint32_t)(lba >> 32), blocks - 1);
	c.prp[1] = le64_of(second);
	return nrig_do(r, 1, c, NULL);
}

TEST(nvme_tells_what_it_is)
{
	struct nrig *r = nrig_new(false, true);
	CHECK(nrig_reg(r, 8, 4) == 0x10400 && (nrig_reg(r, 0, 8) & 0xffff) == NVME_ENTRIES - 1);
	CHECK(pci_cfg(&r->pci, 1, 8, 4) >> 8 == 0x010802 && !(nrig_reg(r, CSTS, 4) & RDY));
	nrig_enable(r);
	CHECK(nrig_reg(r, CSTS, 4) == RDY);
	CHECK(nrig_do(r, 0, nrig_cmd(6, 0, NRIG_DATA, 1, 0, 0), NULL) == 0);
	CHECK(!memcmp(nrig_at(r, NRIG_DATA + 4), "serial  ", 8));
	CHECK(nrig_at(r, NRIG_DATA)[516] == 1);
	CHECK(nrig_do(r, 0, nrig_cmd(6, 1, NRIG_DATA, 0, 0, 0), NULL) == 0);
	CHECK(load_le(nrig_at(r, NRIG_DATA), 8) == NRIG_BLOCKS);
	CHECK(load_le(nrig_at(r, NRIG_DATA + 128), 4) == 9 << 16);
	CHECK(nrig_do(r, 0, nrig_cmd(6, 2, NRIG_DATA, 0, 0, 0), NULL) == 0x0b);
	CHECK(nrig_do(r, 0, nrig_cmd(6, 0, NRIG_DATA, 2, 0, 0), NULL) == 0);
	CHECK(load_le(nrig_at(r, NRIG_DATA), 8) == 1);
	CHECK(nrig_do(r, 0, nrig_cmd(6, 1, NRIG_DATA, 77, 0, 0), NULL) == 2);
	CHECK(nrig_admin(r, 0x77, 0, 0, 0) == 1);
	nrig_free(r);
}

TEST(nvme_reads_and_writes)
{
	struct nrig *r = started();
	CHECK(io(r, READ, NRIG_DATA + 512, 0, 5, 2) == 0);
	CHECK(nrig_at(r, NRIG_DATA)[512] == 6 && nrig_at(r, NRIG_DATA)[512 + 1023] == 7);
	memset(nrig_at(r, NRIG_DATA), 0xab, 8192);
	CHECK(io(r, WRITE, NRIG_DATA + 2048, NRIG_DATA + 8192, 8, 12) == 0);
	CHECK(r->disk.at[8 * 512] == 0xab && r->disk.at[12 * 512 - 1] == 0xab);
	CHECK(r->disk.at[12 * 512] == 0 && r->disk.n[BLK_FLUSH] == 0);
	CHECK(io(r, FLUSH, 0, 0, 0, 1) == 0 && r->disk.n[BLK_FLUSH] == 1);
	CHECK(io(r, ZEROES, 0, 0, 100, 50) == 0 && !r->disk.at[100 * 512] && r->disk.at[150 * 512]);
	CHECK(io(r, 0x42, 0, 0, 0, 1) == 1);
	nrig_free(r);
}

/* 128 pages by a list that begins near its page's end, so that it goes on in another. */
TEST(nvme_follows_lists_over_pages)
{
	struct nrig *r = started();
	gpa_t list = NRIG_LIST + 4096 - 16, next = NRIG_LIST + 8192;
	for (unsigned i = 0; i < 127; i++) {
		gpa_t at = i ? next + 8 * (i - 1) : list, page = NRIG_DATA + 4096 * (i + 1);
		store_le(nrig_at(r, at), page, 8);
	}
	store_le(nrig_at(r, list + 8), next, 8);
	CHECK(io(r, READ, NRIG_DATA, list, 0, 1024) == 0);
	CHECK(!memcmp(nrig_at(r, NRIG_DATA), r->disk.at, NVME_MOST));
	CHECK(io(r, READ, NRIG_DATA, list, 0, 1025) == 2); /* more than MDTS */
	nrig_free(r);
}

TEST(nvme_refuses_bad_addresses)
{
	struct nrig *r = started();
	CHECK(io(r, READ, NRIG_DATA + 2, 0, 0, 1) == 0x13);
	CHECK(io(r, READ, NRIG_DATA, NRIG_DATA + 8, 0, 16) == 0x13); /* PRP2 in the page's middle */
	CHECK(io(r, READ, NRIG_RAM, 0, 0, 1) == 4);
	CHECK(io(r, READ, ~3ull, 0, 0, 1) == 4 && io(r, READ, NRIG_DATA, ~0xfffull, 0, 16) == 4);
	CHECK(io(r, READ, NRIG_DATA, NRIG_LIST + 4, 0, 64) == 0x13);
	CHECK(io(r, READ, NRIG_DATA, ~0xfffull, 0, 64) == 4);
	/* A list that leads to itself. */
	for (unsigned i = 0; i < 512; i++) store_le(nrig_at(r, NRIG_LIST + 8 * i), NRIG_LIST, 8);
	CHECK(io(r, WRITE, NRIG_DATA, NRIG_LIST + 0xff8, 0, 1024) == 0);
	CHECK(io(r, READ, NRIG_DATA, 0, NRIG_BLOCKS, 1) == 0x80);
	CHECK(io(r, READ, NRIG_DATA, 0, NRIG_BLOCKS - 1, 2) == 0x80);
	CHECK(io(r, READ, NRIG_DATA, 0, ~0ull, 1) == 0x80);
	CHECK(r->disk.n[BLK_READ] == 0 && nrig_reg(r, CSTS, 4) == RDY);
	struct nvme_cmd c = nrig_cmd(READ, 2, NRIG_DATA, 0, 0, 0);
	CHECK(nrig_do(r, 1, c, NULL) == 0x0b);
	c = nrig_cmd(READ, 1, NRIG_DATA, 0, 0, 0);
	c.flags = 0x40; /* SGL */
	CHECK(nrig_do(r, 1, c, NULL) == 2);
	nrig_free(r);
}

TEST(nvme_discards_range_by_range)
{
	struct nrig *r = started();
	for (unsigned i = 0; i < 3; i++) {
		uint8_t *p = nrig_at(r, NRIG_DATA + 16 * i);
		store_le(p + 4, i == 1 ? 0 : 4, 4);
		store_le(p + 8, 10 + 10 * i, 8);
	}
	struct nvme_cmd c = nrig_cmd(DSM, 1, NRIG_DATA, 2, 4, 0);
	CHECK(nrig_do(r, 1, c, NULL) == 0 && r->disk.n[BLK_DISCARD] == 2);
	CHECK(r->disk.at[10 * 512] == 0xdd && r->disk.at[30 * 512] == 0xdd);
	CHECK(r->disk.at[20 * 512] == 21);
	store_le(nrig_at(r, NRIG_DATA + 24), NRIG_BLOCKS, 8);
	store_le(nrig_at(r, NRIG_DATA + 20), 1, 4);
	CHECK(nrig_do(r, 1, c, NULL) == 0x80);
	nrig_free(r);
}

TEST(nvme_makes_writes_last)
{
	struct nrig *r = started();
	struct nvme_cmd c = nrig_cmd(WRITE, 1, NRIG_DATA, 0, 0, 1u << 30);
	CHECK(nrig_do(r, 1, c, NULL) == 0 && r->disk.n[BLK_FLUSH] == 1); /* FUA */
	CHECK(nrig_admin(r, 9, 0, 6, 0) == 0);				 /* no cache */
	CHECK(io(r, WRITE, NRIG_DATA, 0, 0, 1) == 0 && r->disk.n[BLK_FLUSH] == 2);
	r->disk.fails = -EIO;
	CHECK(io(r, READ, NRIG_DATA, 0, 0, 1) == 0x281 &&
	      io(r, WRITE, NRIG_DATA, 0, 0, 1) == 0x280);
	nrig_free(r);
}

TEST(nvme_read_only)
{
	struct nrig *r = nrig_new(true, true);
	nrig_enable(r);
	nrig_queues(r);
	CHECK(io(r, WRITE, NRIG_DATA, 0, 0, 1) == 0x182 && io(r, ZEROES, 0, 0, 0, 1) == 0x182);
	CHECK(io(r, FLUSH, 0, 0, 0, 1) == 0 && io(r, READ, NRIG_DATA, 0, 0, 1) == 0);
	CHECK(!r->disk.n[BLK_WRITE] && !r->disk.n[BLK_ZERO] && !r->disk.n[BLK_FLUSH]);
	CHECK(nrig_do(r, 0, nrig_cmd(6, 1, NRIG_DATA, 0, 0, 0), NULL) == 0);
	CHECK(nrig_at(r, NRIG_DATA)[99] == 1);
	nrig_free(r);
}

TEST(nvme_queues_come_and_go)
{
	struct nrig *r = nrig_new(false, true);
	nrig_enable(r);
	CHECK(nrig_admin(r, 1, NRIG_SQ, 7 << 16 | 1, 1 << 16 | 1) == 0x100); /* no such CQ */
	CHECK(nrig_admin(r, 5, NRIG_CQ, 7 << 16 | 0, 3) == 0x101);
	CHECK(nrig_admin(r, 5, NRIG_CQ, 7 << 16 | NVME_QUEUES, 3) == 0x101);
	CHECK(nrig_admin(r, 5, NRIG_CQ, 0 << 16 | 1, 3) == 0x102);
	CHECK(nrig_admin(r, 5, NRIG_CQ, 0xffffu << 16 | 1, 3) == 0x102);
	CHECK(nrig_admin(r, 5, NRIG_CQ, 7 << 16 | 1, 2) == 2); /* not contiguous */
	CHECK(nrig_admin(r, 5, NRIG_CQ, 7 << 16 | 1, 1 << 16 | 3) == 0x108);
	CHECK(nrig_admin(r, 5, NRIG_CQ + 8, 7 << 16 | 1, 3) == 0x13);
	nrig_queues(r);
	CHECK(nrig_admin(r, 5, NRIG_CQ, 7 << 16 | 1, 3) == 0x101);
	CHECK(nrig_admin(r, 4, 0, 1, 0) == 0x10c); /* it has a queue */
	CHECK(nrig_admin(r, 9, 0, 7, 3 << 16 | 3) == 0x0c);
	nrig_put(r, 1, nrig_cmd(READ, 1, NRIG_DATA, 0, 0, 0)); /* one that is at work */
	nrig_ring(r, 1);
	nrig_put(r, 0, nrig_cmd(0, 0, 0, 1, 0, 0));
	nrig_ring(r, 0);
	CHECK(nrig_answer(r, 0, NULL) == -1 && r->disk.nheld == 1);
	nrig_run(r);
	CHECK(nrig_answer(r, 1, NULL) == 0 && nrig_answer(r, 0, NULL) == 0);
	CHECK(nrig_admin(r, 0, 0, 1, 0) == 0x101 && nrig_admin(r, 4, 0, 1, 0) == 0);
	CHECK(nrig_admin(r, 4, 0, 1, 0) == 0x101);
	uint32_t got = 0;
	CHECK(nrig_do(r, 0, nrig_cmd(9, 0, 0, 7, 99 << 16 | 2, 0), &got) == 0 &&
	      got == (7 << 16 | 2));
	nrig_free(r);
}

TEST(nvme_features_and_logs)
{
	struct nrig *r = nrig_new(false, true);
	uint32_t got;
	nrig_enable(r);
	CHECK(nrig_do(r, 0, nrig_cmd(9, 0, 0, 0xb, 0x100, 0), NULL) == 0);
	CHECK(nrig_do(r, 0, nrig_cmd(0xa, 0, 0, 0xb, 0, 0), &got) == 0 && got == 0x100);
	CHECK(nrig_do(r, 0, nrig_cmd(0xa, 0, 0, 0x10b, 0, 0), &got) == 0 && got == 0);
	CHECK(nrig_do(r, 0, nrig_cmd(0xa, 0, 0, 0x30b, 0, 0), &got) == 0 && got == 4);
	CHECK(nrig_admin(r, 0xa, 0, 0, 0) == 2 && nrig_admin(r, 0xa, 0, 0xc1, 0) == 2);
	CHECK(nrig_admin(r, 9, 0, 1u << 31 | 6, 0) == 0x10d);
	CHECK(nrig_admin(r, 2, NRIG_DATA, 127u << 16 | 2, 0) == 0);
	CHECK(load_le(nrig_at(r, NRIG_DATA + 1), 2) == 300);
	CHECK(nrig_admin(r, 2, NRIG_DATA, 127u << 16 | 99, 0) == 0x109);
	CHECK(nrig_admin(r, 2, NRIG_DATA, 0xffffu << 16 | 2, 0xffff) == 2);
	CHECK(nrig_do(r, 0, nrig_cmd(8, 0, 0, 1, 0, 0), &got) == 0 && got == 1); /* abort: not */
	nrig_free(r);
}

TEST(nvme_interrupts_by_message_and_by_pin)
{
	struct nrig *r = started();
	unsigned cap = pci_find_cap(&r->pci, 1, 0x11, 0);
	CHECK(r->pci.line[1] == 0); /* all that came has been taken */
	nrig_put(r, 1, nrig_cmd(FLUSH, 1, 0, 0, 0, 0));
	nrig_ring(r, 1);
	nrig_run(r);
	CHECK(r->pci.line[1] == 1);
	nrig_set(r, 0x0c, 1, 4); /* masked */
	CHECK(r->pci.line[1] == 0);
	nrig_set(r, 0x10, 1, 4);
	CHECK(r->pci.line[1] == 1 && nrig_answer(r, 1, NULL) == 0 && r->pci.line[1] == 0);
	pci_set(&r->pci, 1, cap + 2, 0x8000, 2);
	bus_write(r->pci.bus, NRIG_MSIX, 0xfee00000, 4);
	bus_write(r->pci.bus, NRIG_MSIX + 8, 0x41, 4);
	bus_write(r->pci.bus, NRIG_MSIX + 12, 0, 4);
	CHECK(io(r, FLUSH, 0, 0, 0, 1) == 0);
	CHECK(r->pci.sent == 1 && r->pci.data == 0x41 && r->pci.line[1] == 0);
	nrig_free(r);
}

/* No answer without room for it: more commands than entries, and nobody takes any. */
TEST(nvme_waits_for_room)
{
	struct nrig *r = started();
	for (unsigned k = 0; k < 2; k++) {
		for (unsigned i = 0; i < 5; i++) nrig_put(r, 1, nrig_cmd(FLUSH, 1, 0, 0, 0, 0));
		nrig_ring(r, 1);
		nrig_run(r);
	}
	CHECK(r->disk.n[BLK_FLUSH] == 7);
	for (unsigned i = 0; i < 7; i++) CHECK(nrig_answer(r, 1, NULL) == 0);
	nrig_run(r);
	CHECK(r->disk.n[BLK_FLUSH] == 10 && nrig_answer(r, 1, NULL) == 0);
	nrig_free(r);
}

TEST(nvme_tells_of_wrong_doorbells)
{
	struct nrig *r = started();
	uint32_t got;
	for (unsigned i = 0; i < 4; i++) nrig_put(r, 0, nrig_cmd(0xc, 0, 0, 0, 0, 0));
	nrig_ring(r, 0);
	CHECK(nrig_answer(r, 0, NULL) == -1);
	CHECK(nrig_admin(r, 0xc, 0, 0, 0) == 0x105);
	nrig_set(r, 0x1000 + 8 * 1, NRIG_N, 4);
	CHECK(nrig_answer(r, 0, &got) == 0 && got == 0x10100);
	nrig_set(r, 0x1000 + 8 * 3, 1, 4); /* no such queue: told when the log was read */
	nrig_set(r, 0x1000 + 8 * 300, 1, 4);
	CHECK(nrig_answer(r, 0, NULL) == -1);
	CHECK(nrig_admin(r, 2, NRIG_DATA, 15u << 16 | 1, 0) == 0);
	CHECK(nrig_answer(r, 0, &got) == 0 && got == 0x10000);
	nrig_set(r, 0x1004 + 8 * 1, 5, 4); /* entries that were never there */
	CHECK(io(r, FLUSH, 0, 0, 0, 1) == 0);
	nrig_free(r);
}

TEST(nvme_is_reset_while_at_work)
{
	struct nrig *r = started();
	nrig_put(r, 1, nrig_cmd(READ, 1, NRIG_DATA, 0, 0, 0));
	nrig_ring(r, 1);
	nrig_set(r, 0x14, 4 << 20 | 6 << 16, 4);
	CHECK(nrig_reg(r, CSTS, 4) == RDY && r->disk.nheld == 1); /* not before it is done */
	nrig_run(r);
	CHECK(nrig_reg(r, CSTS, 4) == 0 && nrig_reg(r, 0x28, 8) == NRIG_ASQ);
	memset(nrig_at(r, NRIG_ASQ), 0, 0x4000);
	nrig_enable(r);
	nrig_queues(r);
	CHECK(io(r, READ, NRIG_DATA, 0, 3, 1) == 0 && nrig_at(r, NRIG_DATA)[0] == 4);
	pci_host_reset(r->pci.h);
	pci_set(&r->pci, 1, 0x10, NRIG_BAR, 4);
	pci_set(&r->pci, 1, 4, 6, 2);
	CHECK(nrig_reg(r, CSTS, 4) == 0 && nrig_reg(r, 0x28, 8) == 0 && nrig_reg(r, 0x14, 4) == 0);
	nrig_free(r);
}

TEST(nvme_is_shut_down_when_all_lasts)
{
	struct nrig *r = started();
	nrig_put(r, 1, nrig_cmd(WRITE, 1, NRIG_DATA, 0, 0, 0));
	nrig_ring(r, 1);
	nrig_set(r, 0x14, 4 << 20 | 6 << 16 | 1 << 14 | 1, 4);
	CHECK((nrig_reg(r, CSTS, 4) >> 2 & 3) == 1 && r->disk.n[BLK_FLUSH] == 0);
	nrig_run(r);
	CHECK((nrig_reg(r, CSTS, 4) >> 2 & 3) == 2 && r->disk.n[BLK_FLUSH] == 1);
	nrig_set(r, 0x14, 0, 4);
	CHECK(nrig_reg(r, CSTS, 4) == 0);
	nrig_free(r);
}

TEST(nvme_gives_up_where_its_queues_are_nowhere)
{
	struct nrig *r = nrig_new(false, true);
	nrig_set(r, 0x24, 7 << 16 | 7, 4);
	nrig_set(r, 0x28, 0xfffffffff000, 8);
	nrig_set(r, 0x30, NRIG_ACQ, 8);
	nrig_set(r, 0x14, 1, 4);
	nrig_set(r, 0x1000, 1, 4);
	CHECK(nrig_reg(r, CSTS, 4) == (RDY | CFS));
	nrig_set(r, 0x14, 0, 4);
	CHECK(nrig_reg(r, CSTS, 4) == 0);
	nrig_set(r, 0x28, NRIG_ASQ, 8);
	nrig_set(r, 0x30, 0xfffffffff000, 8);
	nrig_set(r, 0x14, 1, 4);
	nrig_set(r, 0x1000, 1, 4);
	CHECK(nrig_reg(r, CSTS, 4) == (RDY | CFS));
	nrig_set(r, 0x14, 0, 4);
	nrig_set(r, 0x14, 1 << 7 | 1, 4); /* pages of 8 KiB */
	CHECK(nrig_reg(r, CSTS, 4) == CFS);
	nrig_set(r, 0x14, 0, 4);
	nrig_set(r, 0x24, 0, 4); /* queues of one */
	nrig_set(r, 0x14, 1, 4);
	CHECK(nrig_reg(r, CSTS, 4) == CFS);
	nrig_free(r);
}

/* ---- saved and loaded */
static void save(struct nrig *r, struct buf *to)
{
	struct state out = {.b = to};
	to->len = 0;
	pci_host_pause(r->pci.h);
	pci_host_state(r->pci.h, &out);
	CHECK(!state_end(&out, NULL));
}
static int load(struct nrig *r, struct buf *from, struct err *e)
{
	struct state in = {.b = from, .loading = true};
	from->pos = 0;
	pci_host_pause(r->pci.h);
	pci_host_state(r->pci.h, &in);
	return state_end(&in, e);
}

static uint64_t seed = 88172645463325252u;
static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}
/* Commands that work, and values that need not. */
static void stir(struct nrig *r)
{
	for (unsigned k = 0; k < 60; k++) {
		unsigned q = any() & 1;
		struct nvme_cmd c = nrig_cmd((unsigned)any() % 16, any() & 7 ? 1 : 0, NRIG_DATA,
					     (uint32_t)any() & 0x70007, any() & 3, any() & 7);
		switch (any() % 8) {
		case 0: nrig_set(r, 0x1000 + (unsigned)(any() % 20) * 4, any() % 9, 4); break;
		case 1: nrig_set(r, any() & 1 ? 0x0c : 0x10, any(), 4); break;
		case 2: nrig_set(r, 0x24 + (unsigned)(any() % 4) * 4, any(), 4); break;
		case 3: (void)nrig_answer(r, q, NULL); break;
		default:
			nrig_put(r, q, c);
			nrig_ring(r, q);
			nrig_run(r);
		}
	}
	if (!(any() & 7)) nrig_set(r, 0x14, any(), 4);
	nrig_run(r);
}

TEST(nvme_state_comes_back_the_same)
{
	for (unsigned k = 0; k < 40; k++) {
		struct nrig *a = nrig_new(k & 1, k & 2), *b = nrig_new(k & 1, k & 2);
		auto_buf struct buf one = {0}, two = {0};
		struct err e = {0};
		if (k & 4) nrig_enable(a);
		if (k & 8) nrig_queues(a);
		nrig_enable(b);
		stir(a);
		stir(b);
		save(a, &one);
		if (load(b, &one, &e)) test_fail(e.msg, "nvme", (int)k);
		save(b, &two);
		CHECK(one.len == two.len && !memcmp(one.at, two.at, one.len));
		pci_host_resume(a->pci.h);
		pci_host_resume(b->pci.h);
		nrig_free(a);
		nrig_free(b);
	}
}

/* What was in a queue and not begun is done by whoever goes on. */
TEST(nvme_goes_on_in_a_twin)
{
	struct nrig *a = nrig_new(false, true), *b = nrig_new(false, true);
	auto_buf struct buf s = {0};
	nrig_enable(a);
	nrig_queues(a);
	pci_host_pause(a->pci.h);
	nrig_put(a, 1, nrig_cmd(READ, 1, NRIG_DATA, 5, 0, 0));
	nrig_ring(a, 1);
	CHECK(!a->disk.nheld);
	save(a, &s);
	memcpy(nrig_at(b, 0), nrig_at(a, 0), NRIG_RAM);
	CHECK(!load(b, &s, NULL) && !b->disk.nheld);
	memcpy(b->sq_tail, a->sq_tail, sizeof(a->sq_tail));
	memcpy(b->cq_head, a->cq_head, sizeof(a->cq_head));
	memcpy(b->phase, a->phase, sizeof(a->phase));
	b->cid = a->cid;
	pci_host_resume(b->pci.h);
	nrig_run(b);
	CHECK(nrig_answer(b, 1, NULL) == 0 && nrig_at(b, NRIG_DATA)[0] == 6);
	CHECK(io(b, READ, NRIG_DATA, 0, 3, 1) == 0 && nrig_at(b, NRIG_DATA)[0] == 4);
	nrig_free(b);
	pci_host_resume(a->pci.h);
	nrig_free(a);
}

TEST(nvme_state_cut_or_made_up)
{
	struct nrig *a = nrig_new(false, true), *b = nrig_new(false, true),
		    *other = nrig_new(true, true);
	auto_buf struct buf s = {0};
	nrig_enable(a);
	nrig_queues(a);
	save(a, &s);
	size_t whole = s.len;
	CHECK(load(other, &s, NULL) < 0); /* read-only */
	for (s.len = 0; s.len < whole; s.len += 1 + s.len / 40) CHECK(load(b, &s, NULL) < 0);
	CHECK(nrig_reg(b, CSTS, 4) == 0);
	s.len = whole;
	for (unsigned k = 0; k < 2000; k++) {
		char *at = &s.at[any() % whole], was = *at;
		*at ^= (char)(any() | 1);
		(void)load(b, &s, NULL);
		pci_host_resume(b->pci.h);
		stir(b);
		if (k % 4) *at = was;
	}
	pci_host_resume(a->pci.h);
	pci_host_resume(other->pci.h);
	nrig_free(a);
	nrig_free(b);
	nrig_free(other);
}

TEST(nvme_tells_what_of_its_disk_has_changed)
{
	struct nrig *r = started();
	uint64_t off = 0, len = 0;
	blk_track(&r->disk.b, true);
	CHECK(io(r, READ, NRIG_DATA, 0, 0, 1) == 0 && !blk_changed_count(&r->disk.b));
	CHECK(io(r, WRITE, NRIG_DATA, 0, 256, 1) == 0);
	CHECK(blk_changed_take(&r->disk.b, &off, &len) && off == BLK_PIECE * 2);
	CHECK(!blk_changed_count(&r->disk.b));
	blk_track(&r->disk.b, false);
	nrig_free(r);
}
