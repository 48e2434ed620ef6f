/* Of the NVMe controller: what commands do with the disk, and where in the guest's memory. The
 * guest's own pages are the i/o vector, so nothing is copied. */
#include "base/types.h"
#include "blk/dirty.h"
#include "dev/nvme.h"
#include <string.h>

enum { /* 6 */
       IO_FLUSH = 0x00,
       IO_WRITE = 0x01,
       IO_READ = 0x02,
       IO_WRITE_ZEROES = 0x08,
       IO_DSM = 0x09
};
enum { FUA = 1 << 30, DSM_DEALLOCATE = 1 << 2, FEATURE_CACHE = 6 };
#define ALL_NAMESPACES 0xffffffffu

/* ---- PRPs: 4.3 */

struct walk {
	struct nvme *n;
	struct nvme_slot *s;
	uint32_t left;
	int niov;
	bool write;
};
static unsigned piece(struct walk *w, gpa_t at)
{
	uint32_t off = at & (NVME_PAGE - 1), len = NVME_PAGE - off;
	if (len > w->left) len = w->left;
	if (at & 3) return NVME_BAD_PRP;
	void *p = gmem_ptr(w->n->mem, at, len, w->write);
	if (!p) return NVME_TRANSFER_ERROR;
	must(w->niov < NVME_IOV);
	w->s->at[w->niov] = at;
	w->s->iov[w->niov++] = (struct iovec){p, len};
	w->left -= len;
	return NVME_OK;
}
/* A list runs to the end of its page, whose last entry leads to the next one if there is more. */
static unsigned list(struct walk *w, gpa_t at)
{
	if (at & 7) return NVME_BAD_PRP;
	while (w->left) {
		uint8_t raw[8];
		bool last = (at & (NVME_PAGE - 1)) == NVME_PAGE - 8;
		if (!gmem_read(w->n->mem, at, raw, 8)) return NVME_TRANSFER_ERROR;
		gpa_t to = load_le(raw, 8);
		if (to & (NVME_PAGE - 1)) return NVME_BAD_PRP;
		if (last && w->left > NVME_PAGE) {
			at = to; /* 512 entries until it may lead on again */
			continue;
		}
		unsigned status = piece(w, to);
		if (status) return status;
		at += 8;
	}
	return NVME_OK;
}
int nvme_prps(struct nvme *n, struct nvme_slot *s, uint32_t len, bool write)
{
	struct walk w = {.n = n, .s = s, .left = len, .write = write};
	gpa_t second = le64_get(s->cmd.prp[1]);
	must(len <= NVME_MOST);
	unsigned status = piece(&w, le64_get(s->cmd.prp[0]));
	if (!status && w.left > NVME_PAGE)
		status = list(&w, second);
	else if (!status && w.left)
		status = second & (NVME_PAGE - 1) ? (unsigned)NVME_BAD_PRP : piece(&w, second);
	return status ? -(int)status : w.niov;
}
unsigned nvme_give(struct nvme *n, struct nvme_slot *s, const void *from, uint32_t len)
{
	int k = nvme_prps(n, s, len, true);
	const uint8_t *p = from;
	if (k < 0) return (unsigned)-k;
	for (int i = 0; i < k; p += s->iov[i++].iov_len)
		(void)gmem_write(n->mem, s->at[i], p, s->iov[i].iov_len);
	return NVME_OK;
}
unsigned nvme_take(struct nvme *n, struct nvme_slot *s, void *to, uint32_t len)
{
	int k = nvme_prps(n, s, len, false);
	uint8_t *p = to;
	if (k < 0) return (unsigned)-k;
	for (int i = 0; i < k; p += s->iov[i++].iov_len)
		memcpy(p, s->iov[i].iov_base, s->iov[i].iov_len);
	return NVME_OK;
}

/* ---- commands */

static unsigned submit(struct nvme *n, struct nvme_slot *s)
{
	n->inflight++;
	if (s->b.op == BLK_READ || s->b.op == BLK_WRITE) meter_moved(&n->meter, s->b.len);
	blk_submit(n->disk, &s->b);
	return NVME_LATER;
}
static unsigned flush(struct nvme *n, struct nvme_slot *s)
{
	s->b.op = BLK_FLUSH;
	s->b.off = s->b.len = 0;
	s->b.niov = 0;
	return submit(n, s);
}
static unsigned place(const struct nvme *n, struct nvme_slot *s, uint64_t lba, uint64_t blocks)
{
	if (lba > n->blocks || blocks > n->blocks - lba) return NVME_OUT_OF_RANGE;
	s->b.off = lba << n->shift;
	s->b.len = blocks << n->shift;
	s->b.niov = 0;
	return NVME_OK;
}
static uint64_t first_lba(const struct nvme_cmd *c)
{
	return le32_get(c->cdw10) | (uint64_t)le32_get(c->cdw11) << 32;
}
static unsigned data(struct nvme *n, struct nvme_slot *s, bool write)
{
	uint64_t blocks = (le32_get(s->cmd.cdw12) & 0xffff) + 1;
	unsigned status = place(n, s, first_lba(&s->cmd), blocks);
	if (status) return status;
	if (write && n->info.readonly) return NVME_READ_ONLY;
	if (s->b.len > NVME_MOST) return NVME_INVALID_FIELD;
	s->b.niov = nvme_prps(n, s, (uint32_t)s->b.len, !write);
	if (s->b.niov < 0) return (unsigned)-s->b.niov;
	s->b.op = write ? BLK_WRITE : BLK_READ;
	return !write && blk_read_now(n->disk, &s->b) ? nvme_io_done(n, s, 0) : submit(n, s);
}
static unsigned zeroes(struct nvme *n, struct nvme_slot *s)
{
	uint64_t blocks = (le32_get(s->cmd.cdw12) & 0xffff) + 1;
	unsigned status = place(n, s, first_lba(&s->cmd), blocks);
	if (status) return status;
	if (n->info.readonly) return NVME_READ_ONLY;
	s->b.op = BLK_ZERO;
	return submit(n, s);
}
/* One range after the other; those of no length are none. */
static unsigned next_range(struct nvme *n, struct nvme_slot *s)
{
	while (s->range < s->nranges) {
		const struct nvme_range *r = &s->ranges[s->range++];
		uint32_t blocks = le32_get(r->blocks);
		unsigned status = place(n, s, le64_get(r->lba), blocks);
		if (status) return status;
		if (!blocks) continue;
		s->b.op = BLK_DISCARD;
		return submit(n, s);
	}
	return NVME_OK;
}
/* Only advice: what is not deallocated need not be heard. */
static unsigned manage(struct nvme *n, struct nvme_slot *s)
{
	unsigned k = (le32_get(s->cmd.cdw10) & 0xff) + 1;
	unsigned status = nvme_take(n, s, s->ranges, (uint32_t)(k * sizeof(s->ranges[0])));
	if (status) return status;
	if (!(le32_get(s->cmd.cdw11) & DSM_DEALLOCATE)) return NVME_OK;
	if (n->info.readonly) return NVME_READ_ONLY;
	s->nranges = n->info.discard ? k : 0;
	return next_range(n, s);
}
unsigned nvme_io(struct nvme *n, struct nvme_slot *s)
{
	uint32_t nsid = le32_get(s->cmd.nsid);
	bool all = nsid == ALL_NAMESPACES && s->cmd.opcode == IO_FLUSH;
	if (nsid != 1 && !all) return NVME_INVALID_NAMESPACE;
	switch (s->cmd.opcode) {
	case IO_FLUSH: return n->info.readonly ? NVME_OK : flush(n, s);
	case IO_WRITE: return data(n, s, true);
	case IO_READ: return data(n, s, false);
	case IO_WRITE_ZEROES: return zeroes(n, s);
	case IO_DSM: return manage(n, s);
	default: return NVME_INVALID_OPCODE;
	}
}

/* ---- what the disk is done with */

static bool must_last(const struct nvme *n, const struct nvme_slot *s)
{
	bool writes = s->b.op == BLK_WRITE || s->b.op == BLK_ZERO;
	return writes && (le32_get(s->cmd.cdw12) & FUA || !(n->feature[FEATURE_CACHE] & 1));
}
static unsigned error_of(const struct nvme_slot *s)
{
	enum { WRITE_FAULT = 0x280, READ_ERROR = 0x281 }; /* figure 130: media errors */
	if (s->b.op == BLK_READ) return READ_ERROR;
	return s->b.op == BLK_WRITE ? WRITE_FAULT : NVME_INTERNAL_ERROR;
}
unsigned nvme_io_done(struct nvme *n, struct nvme_slot *s, int res)
{
	if (s->b.op == BLK_READ)
		for (int i = 0; i < s->b.niov; i++) gmem_dirty(n->mem, s->at[i], s->iov[i].iov_len);
	if (s->b.op != BLK_READ && s->b.op != BLK_FLUSH) blk_changed(n->disk, s->b.off, s->b.len);
	if (res) return error_of(s);
	if (must_last(n, s)) return flush(n, s);
	return next_range(n, s);
}
