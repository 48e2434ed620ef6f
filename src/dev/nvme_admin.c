/* Of the NVMe controller: what it tells of itself, its features and logs, and queues that come and
 * go. */
#include "base/types.h"
#include "dev/nvme.h"
#include <stdio.h>
#include <string.h>

enum { /* 5 */
       ADMIN_DELETE_SQ = 0x00,
       ADMIN_CREATE_SQ = 0x01,
       ADMIN_LOG = 0x02,
       ADMIN_DELETE_CQ = 0x04,
       ADMIN_CREATE_CQ = 0x05,
       ADMIN_IDENTIFY = 0x06,
       ADMIN_ABORT = 0x08,
       ADMIN_SET = 0x09,
       ADMIN_GET = 0x0a,
       ADMIN_EVENT = 0x0c
};
static uint32_t low(le32 v) { return le32_get(v) & 0xffff; }
static uint32_t high(le32 v) { return le32_get(v) >> 16; }

/* ---- queues: 5.3 to 5.6 */

static bool is_io_queue(uint32_t q) { return q && q < NVME_QUEUES; }

static unsigned queue_place(const struct nvme_cmd *c, bool taken)
{
	enum { CONTIGUOUS = 1 };
	uint32_t size = high(c->cdw10);
	if (!is_io_queue(low(c->cdw10)) || taken) return NVME_BAD_QUEUE;
	if (!size || size >= NVME_ENTRIES) return NVME_BAD_SIZE;
	if (!(le32_get(c->cdw11) & CONTIGUOUS)) return NVME_INVALID_FIELD;
	return le64_get(c->prp[0]) & (NVME_PAGE - 1) ? NVME_BAD_PRP : NVME_OK;
}
static unsigned create_cq(struct nvme *n, const struct nvme_cmd *c)
{
	enum { INTERRUPTS = 2, CQES = 4, PINS = 1 };
	uint32_t q = low(c->cdw10), vector = high(c->cdw11);
	unsigned status = queue_place(c, is_io_queue(q) && n->cq[q].size);
	if (status) return status;
	if (vector >= (pci_msix_on(&n->f) ? pci_msix_vectors(&n->f) : PINS)) return NVME_BAD_VECTOR;
	if ((n->cc >> 20 & 15) != CQES) return NVME_BAD_SIZE;
	n->cq[q] = (struct nvme_cq){.at = le64_get(c->prp[0]),
				    .size = high(c->cdw10) + 1,
				    .phase = true,
				    .interrupts = le32_get(c->cdw11) & INTERRUPTS,
				    .vector = (uint16_t)vector};
	return NVME_OK;
}
static unsigned create_sq(struct nvme *n, const struct nvme_cmd *c)
{
	enum { SQES = 6 };
	uint32_t q = low(c->cdw10), cq = high(c->cdw11);
	unsigned status = queue_place(c, is_io_queue(q) && n->sq[q].size);
	if (status) return status;
	if (!is_io_queue(cq) || !n->cq[cq].size) return NVME_NO_CQ;
	if ((n->cc >> 16 & 15) != SQES) return NVME_BAD_SIZE;
	n->sq[q] = (struct nvme_sq){
		.at = le64_get(c->prp[0]), .size = high(c->cdw10) + 1, .cq = (uint16_t)cq};
	return NVME_OK;
}
static unsigned delete_cq(struct nvme *n, const struct nvme_cmd *c)
{
	uint32_t q = low(c->cdw10);
	if (!is_io_queue(q) || !n->cq[q].size) return NVME_BAD_QUEUE;
	for (unsigned i = 1; i < NVME_QUEUES; i++)
		if (n->sq[i].size && n->sq[i].cq == q) return NVME_BAD_DELETION;
	n->cq[q] = (struct nvme_cq){0};
	return NVME_OK;
}
static unsigned delete_sq(struct nvme *n, const struct nvme_cmd *c)
{
	uint32_t q = low(c->cdw10);
	if (!is_io_queue(q) || !n->sq[q].size || n->sq[q].deleting) return NVME_BAD_QUEUE;
	n->sq[q].deleting = true;
	n->sq[q].deleted_by = le16_get(c->cid);
	return NVME_LATER;
}

/* ---- identify: 5.15 */

static void text(uint8_t *to, size_t n, const char *s)
{
	memset(to, ' ', n);
	memcpy(to, s, strnlen(s, n));
}
static void controller(const struct nvme *n, uint8_t *p)
{
	enum { DSM = 1 << 2, ZEROES = 1 << 3 };
	store_le(p + 0, 0x1b36, 2); /* VID, SSVID */
	store_le(p + 2, 0x1af4, 2);
	memcpy(p + 4, n->serial, sizeof(n->serial));
	text(p + 24, 40, "Lodge NVMe disk");
	text(p + 64, 8, "1");
	p[77] = NVME_MDTS;
	store_le(p + 80, 0x00010400, 4); /* VER */
	p[111] = 1;			 /* CNTRLTYPE: I/O */
	p[258] = 3;			 /* ACL */
	p[259] = NVME_EVENTS - 1;	 /* AERL */
	p[260] = 1 << 1 | 1;		 /* FRMW: one slot, read only */
	store_le(p + 266, 343, 2);	 /* WCTEMP, CCTEMP, in K */
	store_le(p + 268, 373, 2);
	p[512] = 0x66; /* SQES, CQES */
	p[513] = 0x44;
	store_le(p + 516, 1, 4); /* NN */
	store_le(p + 520, DSM | ZEROES, 2);
	p[525] = 1 | 3 << 1; /* VWC: there is a cache; a flush may be of all namespaces */
	(void)snprintf((char *)p + 768, 256, "nqn.2026-01.lodge:%.20s", n->serial);
	for (char *s = (char *)p + 768; *s; s++)
		if (*s == ' ') *s = 0; /* of the serial number */
	store_le(p + 2048, 2500, 2);   /* power state 0: 25 W */
}
static void namespace(const struct nvme *n, uint8_t *p)
{
	store_le(p + 0, n->blocks, 8); /* NSZE, NCAP, NUSE */
	store_le(p + 8, n->blocks, 8);
	store_le(p + 16, n->blocks, 8);
	p[24] = n->info.discard; /* NSFEAT: thin */
	p[99] = n->info.readonly;
	store_le(p + 128, n->shift << 16, 4); /* LBAF0 */
}
/* Of type NGUID: 16 bytes that tell disks of one guest apart. */
static void identifiers(const struct nvme *n, uint8_t *p)
{
	enum { NGUID = 2 };
	p[0] = NGUID;
	p[1] = 16;
	memcpy(p + 4, "Lodge", 5);
	for (unsigned i = 0; i < sizeof(n->serial); i++)
		p[9 + i % 11] = (uint8_t)(p[9 + i % 11] * 31 + (uint8_t)n->serial[i]);
}
static unsigned identify(struct nvme *n, struct nvme_slot *s)
{
	enum { CNS_NAMESPACE, CNS_CONTROLLER, CNS_ACTIVE, CNS_IDENTIFIERS };
	uint8_t page[NVME_PAGE] = {0};
	uint32_t nsid = le32_get(s->cmd.nsid), cns = le32_get(s->cmd.cdw10) & 0xff;
	bool named = cns == CNS_NAMESPACE || cns == CNS_IDENTIFIERS;
	if (named && nsid != 1) return NVME_INVALID_NAMESPACE;
	switch (cns) {
	case CNS_NAMESPACE:
		namespace
		(n, page);
		break;
	case CNS_CONTROLLER: controller(n, page); break;
	case CNS_ACTIVE:
		if (nsid >= 0xfffffffe) return NVME_INVALID_NAMESPACE;
		page[0] = !nsid;
		break;
	case CNS_IDENTIFIERS: identifiers(n, page); break;
	default: return NVME_INVALID_FIELD;
	}
	return nvme_give(n, s, page, sizeof(page));
}

/* ---- logs: 5.14 */

static unsigned log_page(struct nvme *n, struct nvme_slot *s)
{
	enum { LOG_ERRORS = 1, LOG_HEALTH, LOG_FIRMWARE, RETAIN = 1 << 15 };
	uint8_t page[NVME_PAGE] = {0};
	uint32_t id = le32_get(s->cmd.cdw10) & 0xff;
	uint64_t dwords = (high(s->cmd.cdw10) | (uint64_t)low(s->cmd.cdw11) << 16) + 1;
	if (!id || id > LOG_FIRMWARE) return NVME_BAD_LOG;
	if (dwords > NVME_PAGE / 4) return NVME_INVALID_FIELD;
	if (id == LOG_HEALTH) {
		store_le(page + 1, 300, 2); /* temperature, in K */
		page[3] = 100;		    /* spare; its threshold */
		page[4] = 10;
	}
	if (id == LOG_FIRMWARE) {
		page[0] = 1;
		text(page + 8, 8, "1");
	}
	if (id == LOG_ERRORS && !(le32_get(s->cmd.cdw10) & RETAIN)) n->event_told = false;
	return nvme_give(n, s, page, (uint32_t)dwords * 4);
}

/* ---- features: 5.21 */

enum {
	FEATURE_ARBITRATION = 1,
	FEATURE_POWER,
	FEATURE_TEMPERATURE = 4,
	FEATURE_ERRORS,
	FEATURE_CACHE,
	FEATURE_QUEUES,
	FEATURE_COALESCING,
	FEATURE_VECTOR,
	FEATURE_ATOMICITY,
	FEATURE_EVENTS
};
static const uint32_t defaults[NVME_FEATURES] = {
	[FEATURE_TEMPERATURE] = 343,
	[FEATURE_CACHE] = 1,
	[FEATURE_QUEUES] = (NVME_QUEUES - 2) | (NVME_QUEUES - 2) << 16,
};
/* What of it may be set. */
static const uint32_t settable[NVME_FEATURES] = {
	[FEATURE_ARBITRATION] = 7, [FEATURE_TEMPERATURE] = 0x3fffff, [FEATURE_ERRORS] = 0xffff,
	[FEATURE_CACHE] = 1,	   [FEATURE_COALESCING] = 0xffff,    [FEATURE_VECTOR] = 0x1ffff,
	[FEATURE_ATOMICITY] = 1,   [FEATURE_EVENTS] = 0x7fff,
};
void nvme_features_reset(struct nvme *n) { memcpy(n->feature, defaults, sizeof(defaults)); }

bool nvme_features_are_possible(const struct nvme *n)
{
	enum { MOST = NVME_QUEUES - 2 }; /* counted from 0 */
	for (unsigned i = 0; i < NVME_FEATURES; i++)
		if (i != FEATURE_QUEUES && n->feature[i] & ~settable[i]) return false;
	return (n->feature[FEATURE_QUEUES] & 0xffff) <= MOST &&
	       n->feature[FEATURE_QUEUES] >> 16 <= MOST;
}

static bool is_feature(uint32_t id) { return id && id < NVME_FEATURES && id != 3; /* LBA ranges */ }
/* 5.21.1.7: as many as are asked for, up to as many as there are; before there are any. */
static unsigned set_queues(struct nvme *n, uint32_t val, uint32_t *result)
{
	enum { MOST = NVME_QUEUES - 2 }; /* counted from 0 */
	uint32_t sq = val & 0xffff, cq = val >> 16;
	for (unsigned q = 1; q < NVME_QUEUES; q++)
		if (n->sq[q].size || n->cq[q].size) return NVME_SEQUENCE_ERROR;
	if (sq == 0xffff || cq == 0xffff) return NVME_INVALID_FIELD;
	*result = (sq < MOST ? sq : MOST) | (cq < MOST ? cq : MOST) << 16;
	n->feature[FEATURE_QUEUES] = *result;
	return NVME_OK;
}
static unsigned set_feature(struct nvme *n, const struct nvme_cmd *c, uint32_t *result)
{
	uint32_t id = le32_get(c->cdw10) & 0xff, val = le32_get(c->cdw11);
	if (le32_get(c->cdw10) >> 31) return NVME_NOT_SAVEABLE;
	if (!is_feature(id)) return NVME_INVALID_FIELD;
	if (id == FEATURE_QUEUES) return set_queues(n, val, result);
	n->feature[id] = val & settable[id];
	return NVME_OK;
}
static unsigned get_feature(struct nvme *n, const struct nvme_cmd *c, uint32_t *result)
{
	enum { SEL_NOW, SEL_DEFAULT, SEL_SAVED, SEL_WHAT, CHANGEABLE = 4 };
	uint32_t id = le32_get(c->cdw10) & 0xff, sel = le32_get(c->cdw10) >> 8 & 7;
	if (!is_feature(id) || sel > SEL_WHAT) return NVME_INVALID_FIELD;
	bool can = settable[id] || id == FEATURE_QUEUES;
	*result = sel == SEL_NOW    ? n->feature[id]
		  : sel == SEL_WHAT ? (can ? (uint32_t)CHANGEABLE : 0)
				    : defaults[id];
	return NVME_OK;
}

unsigned nvme_admin(struct nvme *n, struct nvme_slot *s, uint32_t *result)
{
	const struct nvme_cmd *c = &s->cmd;
	switch (c->opcode) {
	case ADMIN_DELETE_SQ: return delete_sq(n, c);
	case ADMIN_CREATE_SQ: return create_sq(n, c);
	case ADMIN_LOG: return log_page(n, s);
	case ADMIN_DELETE_CQ: return delete_cq(n, c);
	case ADMIN_CREATE_CQ: return create_cq(n, c);
	case ADMIN_IDENTIFY: return identify(n, s);
	case ADMIN_ABORT: *result = 1; return NVME_OK; /* it was not: nothing waits long here */
	case ADMIN_SET: return set_feature(n, c, result);
	case ADMIN_GET: return get_feature(n, c, result);
	case ADMIN_EVENT: return n->events < NVME_EVENTS ? NVME_LATER : NVME_TOO_MANY_EVENTS;
	default: return NVME_INVALID_OPCODE;
	}
}
