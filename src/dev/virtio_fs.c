/* virtio file system device (1.2 §5.11): it carries FUSE requests between the rings and a shared
 * folder's server, which is another process. What a request says is that one's matter; here only
 * its shape is looked at. When it is paused, requests that wait for a lock come back undone; they
 * are kept by the heads of their chains, and begun again. */
#include "base/buf.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/state.h"
#include "dev/dev.h"
#include "fs/quick.h"
#include "fs/share.h"
#include "hw/gmem.h"
#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <time.h>

enum { QUEUES = 2, QUEUE_MAX = 128, TAG_LEN = 36, AGAIN_NS = 20000000, PARTING_NS = 2000000000 };
enum { WAIT_NS = 200000, VAIN_MOST = 8, VAIN_PAUSE = 256 };
_Static_assert(QUEUES *QUEUE_MAX == SHARE_PLACES, "a place for each request there can be");

struct config { /* 5.11.4 */
	char tag[TAG_LEN];
	le32 queues; /* of requests; queue 0 is the one that must not wait */
};
struct slot {
	struct vreq q;
	struct virtq *vq;
	struct slot *next; /* free */
};
struct vfs {
	struct virtio_dev v;
	struct share *share;
	struct config config;
	pthread_cond_t idle;
	unsigned inflight, vain;
	bool paused, unquiet; /* it could not be waited for */
	struct fuse_quick quick;
	struct slot *again; /* to be submitted when it goes on */
	struct slot *free, slot[SHARE_PLACES];
};

/* As a connection that ended (fuse(4)): everything but forgetting is answered so. */
static uint32_t answer_dead(struct slot *s)
{
	struct fuse_in_header in;
	struct fuse_out_header out = {.len = sizeof(out), .error = -ENOTCONN};
	if (vreq_get(&s->q, 0, &in, sizeof(in)) < sizeof(in) || s->q.in_len < sizeof(out)) return 0;
	out.unique = in.unique;
	return vreq_put(s->vq, &s->q, 0, &out, sizeof(out));
}

static void finish(struct vfs *d, struct slot *s, uint32_t written)
{
	if (virtio_live(&d->v)) {
		if (written == SHARE_DEAD)
			written = answer_dead(s);
		else
			vreq_dirty(s->vq, &s->q);
		virtq_push(s->vq, &s->q, written);
	}
	s->next = d->free;
	d->free = s;
}

static struct fuse_req req_of(const struct slot *s)
{
	return (struct fuse_req){.in = s->q.iov,
				 .out = s->q.iov + s->q.nout,
				 .nin = s->q.nout,
				 .nout = s->q.nin,
				 .in_len = s->q.out_len,
				 .out_len = s->q.in_len};
}

/* Whether to stand and wait for it. Where that was in vain a few times, this machine is busy: the
 * next ones are not waited for. */
static bool is_awaited(struct vfs *d, const struct slot *s)
{
	const struct fuse_req q = req_of(s);
	if (d->inflight || virtq_waiting(s->vq) || !fuse_is_short(&q)) return false;
	if (d->vain < VAIN_MOST) return true;
	if (d->vain++ > VAIN_MOST + VAIN_PAUSE) d->vain = 0;
	return false;
}

static enum share_asked ask(struct vfs *d, struct slot *s, uint32_t *written)
{
	unsigned n = (unsigned)(s - d->slot);
	if (!is_awaited(d, s)) return share_submit(d->share, n) ? SHARE_SENT : SHARE_GONE;
	enum share_asked r = share_ask(d->share, n, WAIT_NS, written);
	d->vain = r == SHARE_SENT ? d->vain + 1 : 0;
	return r;
}

static void submit(struct vfs *d, struct slot *s)
{
	unsigned n = (unsigned)(s - d->slot);
	struct share_place *p = share_place(d->share, n);
	memcpy(p->iov, s->q.iov, (size_t)(s->q.nout + s->q.nin) * sizeof(p->iov[0]));
	p->nread = s->q.nout;
	p->nwrite = s->q.nin;
	p->read_len = s->q.out_len;
	p->write_len = s->q.in_len;
	uint32_t written = SHARE_DEAD;
	enum share_asked r = ask(d, s, &written);
	if (r == SHARE_ANSWERED && written == SHARE_AGAIN)
		r = share_submit(d->share, n) ? SHARE_SENT : SHARE_GONE;
	if (r == SHARE_SENT)
		d->inflight++;
	else
		finish(d, s, r == SHARE_GONE ? SHARE_DEAD : written);
}

/* The server need not know of it. */
static bool answered(struct vfs *d, struct slot *s)
{
	const struct fuse_req q = req_of(s);
	uint32_t n = fuse_quick(&d->quick, &q);
	if (n) finish(d, s, n);
	return n != 0;
}

static void drain(struct vfs *d, struct virtq *vq)
{
	for (unsigned n = vq->size; n && d->free && !d->paused; n--) {
		struct slot *s = d->free;
		if (virtq_pop(vq, &s->q) != 1) return;
		if (s->q.out_len < sizeof(struct fuse_in_header)) {
			virtio_broken(&d->v, "a file request shorter than its header");
			return;
		}
		d->free = s->next;
		s->vq = vq;
		if (!answered(d, s)) submit(d, s);
	}
}

static void run(struct vfs *d, struct virtq *vq)
{
	do {
		(void)virtq_want(vq, false);
		drain(d, vq);
	} while (virtq_want(vq, true) && d->free && !d->paused);
	virtq_kick(vq);
}

static void fs_notify(struct virtio_dev *v, unsigned queue) { run((struct vfs *)v, &v->vq[queue]); }

static void fs_done(void *ctx, unsigned place, uint32_t written)
{
	struct vfs *d = ctx;
	struct slot *s = &d->slot[place];
	struct virtq *vq = s->vq;
	virtio_lock(&d->v);
	d->inflight--;
	if (written != SHARE_AGAIN) {
		finish(d, s, written);
	} else if (!d->paused) {
		submit(d, s);
	} else {
		s->next = d->again;
		d->again = s;
	}
	run(d, vq);
	if (d->inflight == 0) (void)pthread_cond_broadcast(&d->idle);
	virtio_unlock(&d->v);
}

static void again_free(struct vfs *d)
{
	for (struct slot *s; (s = d->again);) {
		d->again = s->next;
		s->next = d->free;
		d->free = s;
	}
}

/* No request may touch memory any more: a server that keeps one too long does not live on. A wait
 * for a lock may begin just after the others were ended, so that is said again. */
static void end_all(struct vfs *d, uint64_t patience_ns)
{
	uint64_t waited = 0;
	share_reset(d->share);
	while (d->inflight) {
		struct timespec t = time_after(AGAIN_NS);
		if (!pthread_cond_timedwait(&d->idle, &d->v.mutex, &t)) continue;
		waited += AGAIN_NS;
		if (waited < patience_ns) {
			share_reset(d->share);
		} else if (waited - patience_ns < AGAIN_NS) {
			log_warn("shared folder %s: its server does not answer, and is ended",
				 share_path(d->share));
			share_end(d->share);
		}
	}
	again_free(d);
	d->quick.locks = false;
}

static void fs_reset(struct virtio_dev *v)
{
	struct vfs *d = (struct vfs *)v;
	end_all(d, share_patience(d->share) * 1000000ull);
}

/* A server that is silent holds nobody up; but what it still does may come at any time, so that
 * what memory and rings are is not known until it goes on. */
static void fs_pause(struct virtio_dev *v)
{
	struct vfs *d = (struct vfs *)v;
	struct err e = {0};
	d->paused = true;
	virtio_unlock(v);
	int late = share_pause(d->share, &e) == -ETIMEDOUT;
	virtio_lock(v);
	struct timespec t = time_after(share_patience(d->share) * 1000000ull);
	while (d->inflight && !late) late = pthread_cond_timedwait(&d->idle, &v->mutex, &t);
	d->unquiet = late;
	if (late)
		log_warn("shared folder %s: its server does not answer; until it does there are "
			 "no snapshots and moves of this guest",
			 share_path(d->share));
}

static void fs_resume(struct virtio_dev *v)
{
	struct vfs *d = (struct vfs *)v;
	virtio_unlock(v);
	(void)share_resume(d->share, NULL);
	virtio_lock(v);
	d->paused = d->unquiet = false;
	for (struct slot *s; (s = d->again);) {
		d->again = s->next;
		submit(d, s);
	}
	for (unsigned i = 0; i < QUEUES; i++) run(d, &v->vq[i]);
}

/* The queue and the head of each that is to be done again. */
static void again_state(struct vfs *d, struct state *s)
{
	uint32_t n = 0, all[SHARE_PLACES] = {0};
	for (struct slot *q = d->again; q; q = q->next)
		all[n++] = (uint32_t)(q->vq - d->v.vq) << 16 | q->q.head;
	state_bytes(s, "waiting", &n, sizeof(n));
	if (!state_need(s, n <= SHARE_PLACES, "waiting")) return;
	state_bytes(s, "requests", all, n * sizeof(all[0]));
	for (uint32_t i = 0; s->loading && state_ok(s) && i < n; i++) {
		struct slot *q = d->free;
		unsigned queue = all[i] >> 16;
		if (!state_need(s, q && queue < QUEUES, "requests")) return;
		q->vq = &d->v.vq[queue];
		if (!state_need(s, virtq_again(q->vq, (uint16_t)all[i], &q->q), "requests")) return;
		d->free = q->next;
		q->next = d->again;
		d->again = q;
		(void)state_need(s, q->q.out_len >= sizeof(struct fuse_in_header), "requests");
	}
}

static void server_state(struct vfs *d, struct state *s)
{
	auto_buf struct buf b = {0};
	uint32_t len;
	if (!s->loading && share_save(d->share, &b, &s->e)) return;
	len = (uint32_t)b.len;
	state_bytes(s, "length", &len, sizeof(len));
	if (!state_need(s, len <= SHARE_STATE_MAX && len <= s->b->len, "length")) return;
	if (s->loading) (void)buf_room(&b, len);
	d->quick.locks |= s->loading; /* whatever it was */
	state_bytes(s, "server", b.at, len);
	if (s->loading && state_ok(s)) (void)share_load(d->share, &b, &s->e);
}

static void fs_state(struct virtio_dev *v, struct state *s)
{
	struct vfs *d = (struct vfs *)v;
	if (d->unquiet && !s->loading) {
		(void)fail(&s->e, -ETIMEDOUT,
			   "shared folder %s: its server does not answer: is what the folder is on "
			   "still there?",
			   share_path(d->share));
		return;
	}
	again_state(d, s);
	if (state_ok(s)) server_state(d, s);
}

static void fs_config_read(struct virtio_dev *v, unsigned off, void *buf, unsigned len)
{
	memcpy(buf, (char *)&((struct vfs *)v)->config + off, len);
}

static void fs_free(struct virtio_dev *v)
{
	struct vfs *d = (struct vfs *)v;
	virtio_lock(v);
	v->live = false;
	uint64_t patience = share_patience(d->share) * 1000000ull;
	end_all(d, patience < PARTING_NS ? patience : PARTING_NS);
	virtio_unlock(v);
	(void)pthread_cond_destroy(&d->idle);
	virtio_done(v);
	free(d);
}

static const struct virtio_ops fs_ops = {
	.name = "fs",
	.id = 26,
	.nqueues = QUEUES,
	.queue_max = QUEUE_MAX,
	.config_len = sizeof(struct config),
	.config_read = fs_config_read,
	.notify = fs_notify,
	.reset = fs_reset,
	.pause = fs_pause,
	.resume = fs_resume,
	.state = fs_state,
	.free = fs_free,
};

int virtio_fs_new(struct virtio_dev **out, struct gmem *mem, struct share *share, const char *tag,
		  struct err *e)
{
	struct vfs *d = calloc(1, sizeof(*d));
	pthread_condattr_t attr;
	if (!d) return fail(e, -ENOMEM, "shared folder: out of memory");
	d->share = share;
	memcpy(d->config.tag, tag, strnlen(tag, TAG_LEN));
	d->config.queues = le32_of(QUEUES - 1);
	must(!pthread_condattr_init(&attr) && !pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	(void)pthread_cond_init(&d->idle, &attr);
	(void)pthread_condattr_destroy(&attr);
	for (unsigned i = SHARE_PLACES; i-- > 0;) {
		d->slot[i].next = d->free;
		d->free = &d->slot[i];
	}
	share_attach(share, fs_done, d);
	virtio_init(&d->v, &fs_ops, mem);
	*out = &d->v;
	return 0;
}
