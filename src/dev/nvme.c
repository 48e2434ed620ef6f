/* NVMe controller: registers, queues, interrupts. A command is copied out of its queue, has a slot
 * while it is at work, and has been promised its entry in the completion queue before it is begun:
 * so no answer ever has to wait. A reset is over when the disk has nothing left. */
#include "dev/nvme.h"
#include "base/state.h"
#include "base/types.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { /* 3.1 */
       REG_CAP = 0x00,
       REG_VS = 0x08,
       REG_INTMS = 0x0c,
       REG_INTMC = 0x10,
       REG_CC = 0x14,
       REG_CSTS = 0x1c,
       REG_AQA = 0x24,
       REG_ASQ = 0x28,
       REG_ACQ = 0x30,
       DOORBELLS = 0x1000,
       BAR_LEN = 0x4000,
       BAR_REGS = 0,
       BAR_MSIX = 4
};
enum {
	CC_EN = 1,
	CC_SHN = 3 << 14,
	CC_REJECTED = 0x7 << 4 | 0xf << 7 | 0x7 << 11, /* CSS, MPS, AMS: 0 is all there is */
	CSTS_RDY = 1,
	CSTS_CFS = 2,
	CSTS_SHST_NOW = 1 << 2,
	CSTS_SHST_DONE = 2 << 2,
	CSTS_SHST = 3 << 2,
};
/* What of a register can be. */
#define CC_KEPT	  0x00fffff1u
#define AQA_KEPT  0x0fff0fffu
#define CSTS_KEPT ((uint32_t)CSTS_RDY | CSTS_CFS | CSTS_SHST_DONE)
/* 3.1.1: MQES, CQR, TO 10 s, CSS the NVM command set; doorbells 4 bytes apart, pages of 4 KiB. */
#define CAP ((uint64_t)(NVME_ENTRIES - 1) | 1ull << 16 | 20ull << 24 | 1ull << 37)
enum { VERSION = 0x00010400, SQE = 64, CQE = 16, EVENT_ERROR_LOG = 1 << 16 };
enum { EVENT_BAD_DOORBELL = 0, EVENT_BAD_DOORBELL_VALUE = 1 << 8 };

/* ---- interrupts */

static bool wants_interrupt(const struct nvme *n, const struct nvme_cq *c)
{
	return c->size && c->interrupts && c->head != c->tail &&
	       !(n->masked >> (c->vector & 31) & 1);
}
/* The pin is up while there is something in a queue: 7.5.1. */
static void pin_follow(struct nvme *n)
{
	bool up = false;
	for (unsigned i = 0; i < NVME_QUEUES; i++) up |= wants_interrupt(n, &n->cq[i]);
	pci_intx(&n->f, up);
}

/* ---- completions */

static void fatal(struct nvme *n) { n->csts |= CSTS_CFS; }

static uint32_t room(const struct nvme_cq *c)
{
	uint32_t used = (c->tail + c->size - c->head) % c->size;
	return c->size - 1 - used;
}
static void post(struct nvme *n, unsigned sq, uint16_t cid, unsigned status, uint32_t result)
{
	struct nvme_cq *c = &n->cq[n->sq[sq].cq];
	uint8_t e[CQE];
	store_le(e, result, 4);
	store_le(e + 4, 0, 4);
	store_le(e + 8, n->sq[sq].head, 2);
	store_le(e + 10, sq, 2);
	store_le(e + 12, cid, 2);
	store_le(e + 14, (unsigned)c->phase | status << 1, 2);
	/* The phase comes last, with all that stands before it. */
	bool good = gmem_write(n->mem, c->at + c->tail * (uint64_t)CQE, e, CQE - 4);
	uint32_t *last =
		good ? gmem_ptr(n->mem, c->at + c->tail * (uint64_t)CQE + 12, 4, true) : NULL;
	if (!last) {
		fatal(n);
		return;
	}
	__atomic_store_n(last, (uint32_t)load_le(e + 12, 4), __ATOMIC_RELEASE);
	gmem_dirty(n->mem, c->at + c->tail * (uint64_t)CQE, CQE);
	if (++c->tail == c->size) {
		c->tail = 0;
		c->phase = !c->phase;
	}
	if (!c->interrupts) return;
	if (pci_msix_on(&n->f))
		pci_msix_send(&n->f, c->vector);
	else
		pin_follow(n);
}
static bool is_alive(const struct nvme *n)
{
	return n->csts & CSTS_RDY && !(n->csts & CSTS_CFS) && !n->resetting;
}
static void finish(struct nvme *n, struct nvme_slot *s, unsigned status, uint32_t result)
{
	struct nvme_sq *q = &n->sq[s->sq];
	if (q->size) n->cq[q->cq].promised--;
	if (is_alive(n) && q->size) post(n, s->sq, le16_get(s->cmd.cid), status, result);
	q->inflight--;
	s->next = n->free;
	n->free = s;
	nvme_sq_gone(n, s->sq);
}
void nvme_sq_gone(struct nvme *n, unsigned q)
{
	struct nvme_sq *s = &n->sq[q];
	if (!s->deleting || s->inflight) return;
	uint16_t cid = s->deleted_by;
	*s = (struct nvme_sq){0};
	n->cq[0].promised--;
	if (is_alive(n)) post(n, 0, cid, NVME_OK, 0);
}

/* ---- events: 5.2 */

static void event_tell(struct nvme *n)
{
	struct nvme_cq *c = &n->cq[0];
	if (!n->event || n->event_told || !n->events || !is_alive(n)) return;
	if (room(c) <= c->promised) return;
	uint16_t cid = n->event_cid[--n->events];
	uint32_t what = n->event;
	n->event = 0;
	n->event_told = true;
	post(n, 0, cid, NVME_OK, what);
}
void nvme_event_wanted(struct nvme *n, uint16_t cid)
{
	n->event_cid[n->events++] = cid;
	event_tell(n);
}
static void event(struct nvme *n, uint32_t what)
{
	if (!n->event) n->event = EVENT_ERROR_LOG | what;
	event_tell(n);
}

/* ---- commands */

enum { ADMIN_EVENT = 0x0c };

static bool may_begin(const struct nvme *n, const struct nvme_sq *q)
{
	const struct nvme_cq *c = &n->cq[q->cq];
	return is_alive(n) && q->size && !q->deleting && q->head != q->tail && n->free &&
	       room(c) > c->promised && !n->paused && !(n->in_order && n->inflight);
}
static void begin(struct nvme *n, unsigned sq)
{
	struct nvme_sq *q = &n->sq[sq];
	struct nvme_slot *s = n->free;
	uint32_t result = 0;
	if (!gmem_read(n->mem, q->at + q->head * (uint64_t)SQE, &s->cmd, SQE)) {
		fatal(n);
		return;
	}
	if (++q->head == q->size) q->head = 0;
	n->free = s->next;
	s->sq = (uint16_t)sq;
	s->flushing = false;
	s->range = s->nranges = 0;
	q->inflight++;
	n->cq[q->cq].promised++;
	bool fused = s->cmd.flags & 3, sgl = s->cmd.flags >> 6;
	unsigned status = fused || sgl ? (unsigned)NVME_INVALID_FIELD
			  : sq	       ? nvme_io(n, s)
				       : nvme_admin(n, s, &result);
	if (status != NVME_LATER) {
		finish(n, s, status, result);
	} else if (!sq) { /* its answer comes from elsewhere, if ever */
		if (s->cmd.opcode == ADMIN_EVENT) n->cq[0].promised--;
		q->inflight--;
		s->next = n->free;
		n->free = s;
		if (s->cmd.opcode == ADMIN_EVENT)
			nvme_event_wanted(n, le16_get(s->cmd.cid));
		else
			nvme_sq_gone(n, le32_get(s->cmd.cdw10) & 0xffff);
	}
}
static void run(struct nvme *n)
{
	for (unsigned q = 0; q < NVME_QUEUES; q++)
		for (unsigned k = 0; k < NVME_ENTRIES && may_begin(n, &n->sq[q]); k++) {
			if (q && !meter_begin(&n->meter, 1)) break; /* not the administrator's */
			begin(n, q);
		}
	event_tell(n);
}

/* ---- being on and off */

static void forget_queues(struct nvme *n)
{
	memset(n->sq, 0, sizeof(n->sq));
	memset(n->cq, 0, sizeof(n->cq));
	n->events = 0;
	n->event = 0;
	n->event_told = false;
	pci_intx(&n->f, 0);
}
/* 7.3.2; figure 78, note 1: AQA, ASQ, ACQ stay. */
static void reset_over(struct nvme *n)
{
	n->resetting = false;
	n->csts = 0;
	n->masked = 0;
	forget_queues(n);
	nvme_features_reset(n);
}
static void enable(struct nvme *n)
{
	uint32_t sq = (n->aqa & 0xfff) + 1, cq = (n->aqa >> 16 & 0xfff) + 1;
	if (n->cc & CC_REJECTED || sq < 2 || cq < 2) {
		fatal(n);
		return;
	}
	forget_queues(n);
	n->sq[0] = (struct nvme_sq){.at = n->asq, .size = sq};
	n->cq[0] = (struct nvme_cq){.at = n->acq, .size = cq, .phase = true, .interrupts = true};
	n->csts |= CSTS_RDY;
}
static void reset_end(struct nvme *n)
{
	if (!n->resetting || n->inflight) return;
	reset_over(n);
	if (n->cc & CC_EN) enable(n);
}
static void wait_idle(struct nvme *n)
{
	while (n->inflight) (void)pthread_cond_wait(&n->idle, &n->regs.mutex);
}
static void shut(struct nvme *n)
{
	if (n->csts & CSTS_SHST) n->csts = (n->csts & ~(uint32_t)CSTS_SHST) | CSTS_SHST_DONE;
}
/* 7.6.2: what has been written lasts when SHST says so. */
static void shut_down_on(struct nvme *n)
{
	if (!n->ending || n->inflight) return;
	n->ending = false;
	if (n->info.readonly) {
		shut(n);
		return;
	}
	n->inflight++;
	blk_submit(n->disk, &n->last);
}
static void shut_down(struct nvme *n)
{
	n->csts = (n->csts & ~(uint32_t)CSTS_SHST) | CSTS_SHST_NOW;
	n->ending = true;
	shut_down_on(n);
	if (n->in_order) wait_idle(n);
}
static void write_cc(struct nvme *n, uint32_t val)
{
	uint32_t was = n->cc;
	n->cc = val & CC_KEPT;
	if (!(was & CC_EN) && val & CC_EN && !n->resetting) enable(n);
	if (was & CC_EN && !(val & CC_EN)) {
		n->resetting = true;
		reset_end(n);
	}
	if (val & CC_SHN && !(was & CC_SHN)) shut_down(n);
	if (!(val & CC_SHN)) {
		n->csts &= ~(uint32_t)CSTS_SHST;
		n->ending = false;
	}
}

/* ---- doorbells: 3.1.24 */

static void ring_sq(struct nvme *n, unsigned q, uint32_t val)
{
	if (val >= n->sq[q].size) {
		event(n, EVENT_BAD_DOORBELL_VALUE);
		return;
	}
	n->sq[q].tail = val;
}
static void ring_cq(struct nvme *n, unsigned q, uint32_t val)
{
	struct nvme_cq *c = &n->cq[q];
	uint32_t used = (c->tail + c->size - c->head) % c->size;
	if (val >= c->size || (val + c->size - c->head) % c->size > used) {
		event(n, EVENT_BAD_DOORBELL_VALUE);
		return;
	}
	c->head = val;
	pin_follow(n);
}
static void ring(struct nvme *n, uint64_t off, uint32_t val)
{
	uint64_t k = (off - DOORBELLS) / 4, q = k / 2;
	bool cq = k & 1;
	if (!is_alive(n)) return;
	if (q >= NVME_QUEUES || !(cq ? n->cq[q].size : n->sq[q].size)) {
		event(n, EVENT_BAD_DOORBELL);
		return;
	}
	if (cq)
		ring_cq(n, (unsigned)q, val & 0xffff);
	else
		ring_sq(n, (unsigned)q, val & 0xffff);
	run(n);
	if (n->in_order) wait_idle(n); /* blk_done() begins the next */
}

/* ---- registers */

static uint32_t read_dword(const struct nvme *n, uint64_t off)
{
	switch (off) {
	case REG_CAP: return (uint32_t)CAP;
	case REG_CAP + 4: return (uint32_t)(CAP >> 32);
	case REG_VS: return VERSION;
	case REG_INTMS:
	case REG_INTMC: return n->masked;
	case REG_CC: return n->cc;
	case REG_CSTS: return n->csts;
	case REG_AQA: return n->aqa;
	case REG_ASQ: return (uint32_t)n->asq;
	case REG_ASQ + 4: return (uint32_t)(n->asq >> 32);
	case REG_ACQ: return (uint32_t)n->acq;
	case REG_ACQ + 4: return (uint32_t)(n->acq >> 32);
	default: return 0;
	}
}
static uint64_t nvme_read(struct device *d, uint64_t off, unsigned len)
{
	struct nvme *n = container_of(d, struct nvme, regs);
	uint64_t at = off & ~3ull, v = read_dword(n, at);
	if (off + len > at + 4) v |= (uint64_t)read_dword(n, at + 4) << 32;
	return v >> 8 * (off & 3);
}
static void write_half(uint64_t *reg, uint64_t off, uint32_t val)
{
	unsigned by = off & 4 ? 32 : 0;
	*reg = (*reg & ~(0xffffffffull << by)) | (uint64_t)val << by;
	*reg &= ~(uint64_t)(NVME_PAGE - 1);
}
static void write_dword(struct nvme *n, uint64_t off, uint32_t val)
{
	switch (off) {
	case REG_INTMS:
	case REG_INTMC:
		n->masked = off == REG_INTMS ? n->masked | val : n->masked & ~val;
		pin_follow(n);
		return;
	case REG_CC: write_cc(n, val); return;
	case REG_AQA:
		if (!(n->cc & CC_EN)) n->aqa = val & AQA_KEPT;
		return;
	case REG_ASQ:
	case REG_ASQ + 4:
		if (!(n->cc & CC_EN)) write_half(&n->asq, off, val);
		return;
	case REG_ACQ:
	case REG_ACQ + 4:
		if (!(n->cc & CC_EN)) write_half(&n->acq, off, val);
		return;
	default:
		if (off >= DOORBELLS) ring(n, off, val);
	}
}
/* 3.1: by 4 or 8 bytes, aligned; what else comes does nothing. */
static void nvme_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct nvme *n = container_of(d, struct nvme, regs);
	if (len < 4 || off & 3) return;
	write_dword(n, off, (uint32_t)val);
	if (len == 8) write_dword(n, off + 4, (uint32_t)(val >> 32));
}
static const struct device_ops regs_ops = {.name = "nvme", .read = nvme_read, .write = nvme_write};

/* ---- the disk's thread */

static void blk_done(struct blk_req *b, int res)
{
	struct nvme_slot *s = container_of(b, struct nvme_slot, b);
	struct nvme *n = s->of;
	device_lock(&n->regs);
	n->inflight--;
	unsigned status = nvme_io_done(n, s, res);
	if (status != NVME_LATER) finish(n, s, status, 0);
	reset_end(n);
	run(n);
	shut_down_on(n);
	if (!n->inflight) (void)pthread_cond_broadcast(&n->idle);
	device_unlock(&n->regs);
}

static void last_done(struct blk_req *b, int res)
{
	struct nvme *n = container_of(b, struct nvme, last);
	(void)res;
	device_lock(&n->regs);
	n->inflight--;
	shut(n);
	reset_end(n);
	run(n);
	if (!n->inflight) (void)pthread_cond_broadcast(&n->idle);
	device_unlock(&n->regs);
}

/* ---- PCI */

static void power_on(struct nvme *n)
{
	reset_over(n);
	n->cc = n->aqa = 0;
	n->asq = n->acq = 0;
}
static void func_reset(struct pci_func *f)
{
	struct nvme *n = (struct nvme *)f;
	device_lock(&n->regs);
	n->resetting = true;
	n->ending = false;
	wait_idle(n);
	power_on(n);
	device_unlock(&n->regs);
}
static void func_free(struct pci_func *f)
{
	struct nvme *n = (struct nvme *)f;
	device_lock(&n->regs);
	n->resetting = true;
	n->ending = false;
	wait_idle(n);
	device_unlock(&n->regs);
	meter_done(&n->meter);
	blk_unref(n->disk);
	pci_func_done(f);
	(void)pthread_cond_destroy(&n->idle);
	device_done(&n->regs);
	free(n);
}

/* ---- saved and loaded: paused, so that no command is at work and no queue about to go */

static bool sq_is_possible(const struct nvme *n, unsigned i)
{
	const struct nvme_sq *q = &n->sq[i];
	if (!q->size) return !q->head && !q->tail && !q->cq;
	return q->size >= 2 && q->size <= (i ? (uint32_t)NVME_ENTRIES : 4096u) &&
	       q->head < q->size && q->tail < q->size && q->cq < NVME_QUEUES && !q->cq == !i &&
	       n->cq[q->cq].size && !(q->at & (NVME_PAGE - 1));
}
static bool cq_is_possible(const struct nvme *n, unsigned i)
{
	const struct nvme_cq *c = &n->cq[i];
	if (!c->size) return !c->head && !c->tail && !c->vector;
	return c->size >= 2 && c->size <= (i ? (uint32_t)NVME_ENTRIES : 4096u) &&
	       c->head < c->size && c->tail < c->size && c->vector < NVME_QUEUES &&
	       !(c->at & (NVME_PAGE - 1));
}
static bool is_possible(const struct nvme *n)
{
	bool ready = n->csts & CSTS_RDY, good = true;
	for (unsigned i = 0; i < NVME_QUEUES; i++)
		good = good && sq_is_possible(n, i) && cq_is_possible(n, i) &&
		       (ready || (!n->sq[i].size && !n->cq[i].size));
	return good && ready == (n->sq[0].size != 0) && ready == (n->cq[0].size != 0) &&
	       (!ready || n->cc & CC_EN) && !(n->cc & ~CC_KEPT) && !(n->csts & ~CSTS_KEPT) &&
	       !(n->aqa & ~AQA_KEPT) && !((n->asq | n->acq) & (NVME_PAGE - 1)) &&
	       n->events <= NVME_EVENTS && nvme_features_are_possible(n);
}
static void queues_state(struct nvme *n, struct state *s)
{
	for (unsigned i = 0; i < NVME_QUEUES; i++) {
		struct nvme_cq *c = &n->cq[i];
		struct nvme_sq *q = &n->sq[i];
		STATE(s, c, at);
		STATE(s, c, size);
		STATE(s, c, head);
		STATE(s, c, tail);
		STATE(s, c, phase);
		STATE(s, c, interrupts);
		STATE(s, c, vector);
		STATE(s, q, at);
		STATE(s, q, size);
		STATE(s, q, head);
		STATE(s, q, tail);
		STATE(s, q, cq);
	}
}
static void registers_state(struct nvme *n, struct state *s)
{
	STATE(s, n, cc);
	STATE(s, n, csts);
	STATE(s, n, aqa);
	STATE(s, n, masked);
	STATE(s, n, asq);
	STATE(s, n, acq);
	STATE(s, n, feature);
	STATE(s, n, event_cid);
	STATE(s, n, events);
	STATE(s, n, event);
	STATE(s, n, event_told);
}
static void disk_state(struct nvme *n, struct state *s)
{
	uint64_t size = n->info.size;
	uint32_t block = n->info.block;
	bool readonly = n->info.readonly;
	state_bytes(s, "size", &size, sizeof(size));
	state_bytes(s, "block", &block, sizeof(block));
	state_flag(s, "readonly", &readonly, sizeof(readonly));
	(void)state_need(
		s, size == n->info.size && block == n->info.block && readonly == n->info.readonly,
		"size of the disk");
}
static void func_state(struct pci_func *f, struct state *s)
{
	struct nvme *n = (struct nvme *)f;
	device_lock(&n->regs);
	if (s->loading) power_on(n);
	disk_state(n, s);
	registers_state(n, s);
	queues_state(n, s);
	if (!state_need(s, is_possible(n), "queues")) power_on(n);
	device_unlock(&n->regs);
}
static void func_pause(struct pci_func *f)
{
	struct nvme *n = (struct nvme *)f;
	device_lock(&n->regs);
	n->paused = true;
	wait_idle(n);
	device_unlock(&n->regs);
}
static void func_resume(struct pci_func *f)
{
	struct nvme *n = (struct nvme *)f;
	device_lock(&n->regs);
	n->paused = false;
	run(n);
	device_unlock(&n->regs);
}
static const struct pci_func_ops func_ops = {.name = "nvme",
					     .reset = func_reset,
					     .free = func_free,
					     .pause = func_pause,
					     .resume = func_resume,
					     .state = func_state};

static void slots_init(struct nvme *n)
{
	for (unsigned i = NVME_SLOTS; i-- > 0;) {
		n->slot[i].of = n;
		n->slot[i].b.done = blk_done;
		n->slot[i].b.iov = n->slot[i].iov;
		n->slot[i].next = n->free;
		n->free = &n->slot[i];
	}
}
static void meter_again(void *ctx)
{
	struct nvme *n = ctx;
	device_lock(&n->regs);
	run(n);
	device_unlock(&n->regs);
}
int nvme_limit(struct nvme *n, struct loop *l, uint64_t bytes, uint64_t ops, struct err *e)
{
	int r = bytes || ops ? meter_timer(&n->meter, l, meter_again, n, e) : 0;
	if (r < 0) return r;
	device_lock(&n->regs);
	meter_limits(&n->meter, bytes, ops);
	run(n);
	device_unlock(&n->regs);
	return 0;
}
void nvme_disk(struct nvme *n, struct blk *disk)
{
	n->disk = disk;
	n->info = blk_info(disk);
	n->shift = (unsigned)__builtin_ctz(n->info.block);
	n->blocks = n->info.size >> n->shift;
}
int nvme_new(struct nvme **out, struct pci_host *h, struct gmem *mem, struct blk *disk,
	     const char *serial, bool in_order, struct err *e)
{
	struct nvme *n = calloc(1, sizeof(*n));
	if (!n) {
		blk_unref(disk);
		return fail(e, -ENOMEM, "nvme: out of memory");
	}
	n->mem = mem;
	if (disk) nvme_disk(n, disk);
	n->in_order = in_order;
	memset(n->serial, ' ', sizeof(n->serial));
	memcpy(n->serial, serial, strnlen(serial, sizeof(n->serial)));
	must(!pthread_cond_init(&n->idle, NULL));
	slots_init(n);
	n->last = (struct blk_req){.op = BLK_FLUSH, .done = last_done};
	device_init(&n->regs, &regs_ops, "nvme");
	/* The numbers that firmware and kernels know from others' virtual machines. */
	pci_func_init(&n->f, &func_ops, 0x1b36, 0x0010, 0x01080200, 0x1af4, 0x1100);
	pci_add_bar(&n->f, BAR_REGS, &n->regs, BAR_LEN, true);
	if (pci_host_has_msi(h)) pci_add_msix(&n->f, BAR_MSIX, NVME_QUEUES);
	nvme_features_reset(n);
	int r = pci_plug(h, &n->f, -1, e);
	if (r < 0) func_free(&n->f);
	*out = r < 0 ? NULL : n;
	return r;
}
