/* virtio block device (1.2 §5.2). A request goes from its chain to the disk without a copy: the
 * guest's own pages are the i/o vector. Everything a request needs is in a slot, one for each
 * place in the ring, so nothing is allocated while the guest runs. */
#include "base/loop.h"
#include "base/state.h"
#include "blk/blk.h"
#include "blk/dirty.h"
#include "dev/dev.h"
#include "dev/meter.h"
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

enum { /* 5.2.3, 5.2.6 */
       F_SEG_MAX = 2,
       F_RO = 5,
       F_BLK_SIZE = 6,
       F_FLUSH = 9,
       F_CONFIG_WCE = 11,
       F_DISCARD = 13,
       F_WRITE_ZEROES = 14
};
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2, S_LATER = 256, S_NOW = 257 };
enum { SECTOR = 512, ID_LEN = 20, SLOTS = 256, F_UNMAP = 1 };
enum { DISCARD_MAX = 1 << 22, ZEROES_MAX = 1 << 18 }; /* sectors */

struct header { /* 5.2.6 */
	le32 type, reserved;
	le64 sector;
};
struct range { /* 5.2.6, of DISCARD and WRITE_ZEROES */
	le64 sector;
	le32 sectors, flags;
};
struct config { /* 5.2.4 */
	le64 capacity;
	le32 size_max, seg_max;
	uint8_t geometry[4];
	le32 blk_size;
	uint8_t topology[8], writeback, unused0;
	le16 num_queues;
	le32 discard_max, discard_seg, discard_align, zeroes_max, zeroes_seg;
	uint8_t zeroes_may_unmap, unused1[3];
};
enum { CONFIG_LEN = offsetof(struct config, unused1) + 3 };
_Static_assert(CONFIG_LEN == 60 && offsetof(struct config, discard_max) == 36, "5.2.4");

struct slot {
	struct vblk *of;
	struct slot *next; /* free */
	struct vreq q;
	struct blk_req b;
	struct iovec iov[VREQ_IOV];
};

struct vblk {
	struct virtio_dev v;
	struct virtio_ops ops; /* features differ from disk to disk */
	struct blk *disk;
	struct blk_info info;
	struct config config;
	char serial[ID_LEN];
	pthread_cond_t idle; /* inflight became 0 */
	unsigned inflight;   /* requests the disk has */
	bool in_order;	     /* one at a time, and the driver waits */
	bool paused;	     /* nothing more is taken from the ring */
	struct meter meter;
	struct slot *free, slot[SLOTS];
};

/* Give the request back. written: data bytes written, from the first on; the status byte comes
 * behind all data, so it is counted only when all of that was written (2.7.8.2). */
static void finish(struct vblk *d, struct slot *s, uint8_t status, uint32_t written)
{
	struct virtq *vq = &d->v.vq[0];
	uint32_t at = s->q.in_len - 1;
	if (virtio_live(&d->v)) {
		(void)vreq_put(vq, &s->q, at, &status, 1);
		virtq_push(vq, &s->q, written == at ? at + 1 : written);
	}
	s->next = d->free;
	d->free = s;
}

static bool writeback(const struct vblk *d)
{
	return virtio_has(&d->v, F_CONFIG_WCE) ? d->config.writeback : virtio_has(&d->v, F_FLUSH);
}

static unsigned submit(struct vblk *d, struct slot *s)
{
	d->inflight++;
	blk_submit(d->disk, &s->b);
	return S_LATER;
}

static unsigned start_data(struct vblk *d, struct slot *s, uint64_t sector, bool in)
{
	uint32_t off = in ? 0 : sizeof(struct header);
	uint32_t len = in ? s->q.in_len - 1 : s->q.out_len - off;
	if (len % SECTOR || sector > d->info.size / SECTOR) return S_IOERR;
	if (len > d->info.size - sector * SECTOR || (!in && d->info.readonly)) return S_IOERR;
	s->b.op = in ? BLK_READ : BLK_WRITE;
	s->b.off = sector * SECTOR;
	s->b.len = len;
	s->b.niov = vreq_slice(&s->q, in, off, len, s->iov, VREQ_IOV);
	if (s->b.niov < 0) return S_IOERR;
	return in && blk_read_now(d->disk, &s->b) ? S_NOW : submit(d, s);
}

static unsigned start_flush(struct vblk *d, struct slot *s)
{
	s->b.op = BLK_FLUSH;
	s->b.len = 0;
	s->b.niov = 0;
	return submit(d, s);
}

static unsigned start_range(struct vblk *d, struct slot *s, bool discard)
{
	struct range r;
	uint64_t all = d->info.size / SECTOR, max = discard ? DISCARD_MAX : ZEROES_MAX;
	if (!virtio_has(&d->v, discard ? F_DISCARD : F_WRITE_ZEROES)) return S_UNSUPP;
	if (d->info.readonly || s->q.out_len != sizeof(struct header) + sizeof(r)) return S_IOERR;
	(void)vreq_get(&s->q, sizeof(struct header), &r, sizeof(r));
	uint64_t sector = le64_get(r.sector), n = le32_get(r.sectors);
	if (le32_get(r.flags) & ~(discard ? 0u : F_UNMAP)) return S_UNSUPP;
	if (n > max || sector > all || n > all - sector) return S_IOERR;
	s->b.op = discard ? BLK_DISCARD : BLK_ZERO;
	s->b.off = sector * SECTOR;
	s->b.len = n * SECTOR;
	return submit(d, s);
}

static unsigned start(struct vblk *d, struct slot *s)
{
	struct header h;
	if (vreq_get(&s->q, 0, &h, sizeof(h)) != sizeof(h)) return S_IOERR;
	switch (le32_get(h.type)) {
	case T_IN: return start_data(d, s, le64_get(h.sector), true);
	case T_OUT: return start_data(d, s, le64_get(h.sector), false);
	case T_FLUSH: return start_flush(d, s);
	case T_DISCARD: return start_range(d, s, true);
	case T_WRITE_ZEROES: return start_range(d, s, false);
	default: return S_UNSUPP;
	}
}

static bool is_get_id(const struct vreq *q)
{
	struct header h;
	return vreq_get(q, 0, &h, sizeof(h)) == sizeof(h) && le32_get(h.type) == T_GET_ID;
}

static void get_id(struct vblk *d, struct slot *s)
{
	uint32_t room = s->q.in_len - 1, n = room < ID_LEN ? room : ID_LEN;
	finish(d, s, S_OK, vreq_put(&d->v.vq[0], &s->q, 0, d->serial, n));
}

static void complete(struct vblk *d, struct slot *s, int res)
{
	if (s->b.op != BLK_READ && s->b.op != BLK_FLUSH) blk_changed(d->disk, s->b.off, s->b.len);
	if (res == 0 && s->b.op == BLK_WRITE && virtio_live(&d->v) && !writeback(d)) {
		(void)start_flush(d, s);
		return;
	}
	if (s->b.op == BLK_READ) vreq_dirty(&d->v.vq[0], &s->q);
	finish(d, s, res == 0 ? S_OK : S_IOERR,
	       res == 0 && s->b.op == BLK_READ ? (uint32_t)s->b.len : 0);
}

static void begin(struct vblk *d, struct slot *s)
{
	s->b.niov = 0;
	if (is_get_id(&s->q)) {
		get_id(d, s);
		return;
	}
	unsigned status = start(d, s);
	if (status == S_NOW)
		complete(d, s, 0);
	else if (status != S_LATER)
		finish(d, s, (uint8_t)status, 0);
}

static bool may_take(const struct vblk *d) { return !d->paused && !(d->in_order && d->inflight); }

/* What a request costs is known once it is taken; one that has to wait goes back. */
static bool may_begin(struct vblk *d, const struct vreq *q)
{
	if (meter_begin(&d->meter, (uint64_t)q->out_len + q->in_len)) return true;
	virtq_unpop(&d->v.vq[0]);
	return false;
}

/* At most a ringful at a time: what comes after it is found when one of these completes. */
/* True: the next one has to wait. */
static bool drain(struct vblk *d)
{
	struct virtq *vq = &d->v.vq[0];
	for (unsigned n = vq->size; n && d->free && may_take(d); n--) {
		struct slot *s = d->free;
		if (virtq_pop(vq, &s->q) != 1) return false;
		if (!s->q.in_len) {
			virtio_broken(&d->v, "a disk request without room for its status");
			return false;
		}
		if (!may_begin(d, &s->q)) return true;
		d->free = s->next;
		begin(d, s);
	}
	return false;
}

static void run(struct vblk *d)
{
	struct virtq *vq = &d->v.vq[0];
	bool later;
	do {
		(void)virtq_want(vq, false);
		later = drain(d);
	} while (virtq_want(vq, true) && !later && d->free && may_take(d));
	virtq_kick(vq);
}

static void blk_notify(struct virtio_dev *v, unsigned queue)
{
	(void)queue;
	struct vblk *d = (struct vblk *)v;
	run(d);
	while (d->in_order && d->inflight) (void)pthread_cond_wait(&d->idle, &v->mutex);
}

static void blk_done(struct blk_req *q, int res)
{
	struct slot *s = container_of(q, struct slot, b);
	struct vblk *d = s->of;
	virtio_lock(&d->v);
	complete(d, s, res);
	d->inflight--;
	run(d);
	if (d->inflight == 0) (void)pthread_cond_broadcast(&d->idle);
	virtio_unlock(&d->v);
}

static void blk_reset(struct virtio_dev *v)
{
	struct vblk *d = (struct vblk *)v;
	while (d->inflight) (void)pthread_cond_wait(&d->idle, &v->mutex);
	d->config.writeback = 1;
}

static void blk_pause(struct virtio_dev *v)
{
	struct vblk *d = (struct vblk *)v;
	d->paused = true;
	while (d->inflight) (void)pthread_cond_wait(&d->idle, &v->mutex);
}

static void blk_resume(struct virtio_dev *v)
{
	struct vblk *d = (struct vblk *)v;
	d->paused = false;
	run(d);
}

static void blk_state(struct virtio_dev *v, struct state *s)
{
	struct vblk *d = (struct vblk *)v;
	uint64_t size = d->info.size;
	bool readonly = d->info.readonly;
	state_bytes(s, "size", &size, sizeof(size));
	state_flag(s, "readonly", &readonly, sizeof(readonly));
	state_bytes(s, "writeback", &d->config.writeback, 1);
	(void)state_need(s, size == d->info.size && readonly == d->info.readonly,
			 "size of the disk");
	d->config.writeback &= 1;
}

static void blk_config_read(struct virtio_dev *v, unsigned off, void *buf, unsigned len)
{
	memcpy(buf, (char *)&((struct vblk *)v)->config + off, len);
}

static void blk_config_write(struct virtio_dev *v, unsigned off, const void *buf, unsigned len)
{
	unsigned at = offsetof(struct config, writeback);
	if (!virtio_has(v, F_CONFIG_WCE) || off > at || off + len <= at) return;
	((struct vblk *)v)->config.writeback = ((const uint8_t *)buf)[at - off] & 1;
}

static void blk_free(struct virtio_dev *v)
{
	struct vblk *d = (struct vblk *)v;
	virtio_lock(v);
	v->live = false;
	blk_reset(v);
	virtio_unlock(v);
	meter_done(&d->meter);
	blk_unref(d->disk);
	(void)pthread_cond_destroy(&d->idle);
	virtio_done(v);
	free(d);
}

static const struct virtio_ops blk_ops = {
	.name = "blk",
	.id = 2,
	.nqueues = 1,
	.queue_max = SLOTS,
	.features = 1ull << F_SEG_MAX | 1ull << F_BLK_SIZE | 1ull << F_FLUSH,
	.config_len = CONFIG_LEN,
	.config_read = blk_config_read,
	.config_write = blk_config_write,
	.notify = blk_notify,
	.reset = blk_reset,
	.pause = blk_pause,
	.resume = blk_resume,
	.state = blk_state,
	.free = blk_free,
};

static void describe(struct vblk *d)
{
	d->ops = blk_ops;
	d->ops.features |= 1ull << (d->info.readonly ? F_RO : F_CONFIG_WCE);
	if (d->info.discard) d->ops.features |= 1ull << F_DISCARD;
	if (!d->info.readonly) d->ops.features |= 1ull << F_WRITE_ZEROES;
	d->config = (struct config){
		.capacity = le64_of(d->info.size / SECTOR),
		.seg_max = le32_of(VREQ_IOV - 2),
		.blk_size = le32_of(d->info.block),
		.writeback = 1,
		.num_queues = le16_of(1),
		.discard_max = le32_of(DISCARD_MAX),
		.discard_seg = le32_of(1),
		.discard_align = le32_of(4096 / SECTOR),
		.zeroes_max = le32_of(ZEROES_MAX),
		.zeroes_seg = le32_of(1),
		.zeroes_may_unmap = 1,
	};
}

static void give(struct vblk *d, struct blk *disk)
{
	d->disk = disk;
	d->info = blk_info(disk);
	describe(d);
}

void virtio_blk_disk(struct virtio_dev *v, struct blk *disk) { give((struct vblk *)v, disk); }

int virtio_blk_new(struct virtio_dev **out, struct gmem *mem, struct blk *disk, const char *serial,
		   struct err *e)
{
	struct vblk *d = calloc(1, sizeof(*d));
	if (!d) {
		blk_unref(disk);
		return fail(e, -ENOMEM, "disk: out of memory");
	}
	describe(d);
	if (disk) give(d, disk);
	memcpy(d->serial, serial, strnlen(serial, ID_LEN));
	(void)pthread_cond_init(&d->idle, NULL);
	for (unsigned i = SLOTS; i-- > 0;) {
		d->slot[i].of = d;
		d->slot[i].b.done = blk_done;
		d->slot[i].b.iov = d->slot[i].iov;
		d->slot[i].next = d->free;
		d->free = &d->slot[i];
	}
	virtio_init(&d->v, &d->ops, mem);
	*out = &d->v;
	return 0;
}

void virtio_blk_in_order(struct virtio_dev *v) { ((struct vblk *)v)->in_order = true; }

static void on_timer(void *ctx)
{
	struct vblk *d = ctx;
	virtio_lock(&d->v);
	if (virtio_live(&d->v)) run(d);
	virtio_unlock(&d->v);
}

int virtio_blk_limit(struct virtio_dev *v, struct loop *l, uint64_t bytes, uint64_t ops,
		     struct err *e)
{
	struct vblk *d = (struct vblk *)v;
	int r = bytes || ops ? meter_timer(&d->meter, l, on_timer, d, e) : 0;
	if (r < 0) return r;
	virtio_lock(v);
	meter_limits(&d->meter, bytes, ops);
	if (virtio_live(v)) run(d);
	virtio_unlock(v);
	return 0;
}
