/* The device's side of a split virtqueue. The one idea: guest memory is a hostile peer that may
 * write at any instant, so each descriptor is copied out once, checked and mapped as a whole;
 * after virtq_pop() a request depends on nothing the guest can still change. */
#include "hw/virtq.h"
#include "base/err.h"
#include "base/state.h"
#include "hw/gmem.h"
#include "hw/virtio.h"

enum { /* 2.7.5, 2.7.6, 2.7.8 */
       DESC_NEXT = 1,
       DESC_WRITE = 2,
       DESC_INDIRECT = 4,
       AVAIL_NO_INTERRUPT = 1,
       USED_NO_NOTIFY = 1,
       RING_FLAGS = 0,
       RING_IDX = 2,
       RING_ENTRIES = 4,
       SIZE_LIMIT = 32768
};
struct desc {
	gpa_t addr;
	uint32_t len;
	uint16_t flags, next;
};
_Static_assert(sizeof(struct desc) == 16, "2.7.5");
struct walk {
	struct virtq *vq;
	struct vreq *q;
	const unsigned char *table; /* the ring's own, or an indirect one */
	unsigned entries, steps;
	bool indirect;
	const char *why; /* what the guest did wrong */
};

static uint16_t ring_get(const unsigned char *p)
{
	return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

static void ring_set(struct virtq *vq, gpa_t at, unsigned char *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)p, v, __ATOMIC_RELEASE);
	gmem_dirty(vq->dev->mem, at, 2);
}

static unsigned used_size(const struct virtq *vq) { return 6 + 8u * vq->size; }

static unsigned avail_size(const struct virtq *vq) { return 6 + 2u * vq->size; }

static bool event_idx(const struct virtq *vq) { return virtio_has(vq->dev, VIRTIO_F_EVENT_IDX); }

static bool usable(const struct virtq *vq) { return vq->enabled && virtio_live(vq->dev); }

static bool overlap(gpa_t a, uint64_t alen, gpa_t b, uint64_t blen)
{
	return a < b + blen && b < a + alen;
}

bool virtq_enable(struct virtq *vq)
{
	uint16_t n = vq->size, max = vq->dev->ops->queue_max;
	if (vq->enabled) return true;
	if (!n || n & (n - 1) || n > max || n > SIZE_LIMIT) return false;
	if (vq->desc % 16 || vq->avail % 2 || vq->used % 4) return false;
	vq->desc_at = gmem_ptr(vq->dev->mem, vq->desc, 16ul * n, false);
	vq->avail_at = gmem_ptr(vq->dev->mem, vq->avail, avail_size(vq), false);
	vq->used_at = gmem_ptr(vq->dev->mem, vq->used, used_size(vq), true);
	if (!vq->desc_at || !vq->avail_at || !vq->used_at) return false;
	if (overlap(vq->used, used_size(vq), vq->desc, 16ul * n) ||
	    overlap(vq->used, used_size(vq), vq->avail, avail_size(vq)))
		return false;
	return vq->enabled = true;
}

void virtq_reset(struct virtq *vq)
{
	*vq = (struct virtq){.dev = vq->dev,
			     .index = vq->index,
			     .size = vq->dev->ops->queue_max,
			     .epoch = vq->epoch + 1};
}

void virtq_state(struct virtq *vq, struct state *s)
{
	bool enabled = vq->enabled;
	STATE(s, vq, size);
	STATE(s, vq, desc);
	STATE(s, vq, avail);
	STATE(s, vq, used);
	STATE(s, vq, next_avail);
	STATE(s, vq, next_used);
	STATE(s, vq, kicked_used);
	state_flag(s, "enabled", &enabled, sizeof(enabled));
	if (!s->loading) return;
	vq->enabled = false;
	(void)state_need(s, !enabled || virtq_enable(vq), "queue");
}

static bool wrong(struct walk *w, const char *why)
{
	w->why = why;
	return false;
}

/* One copy of a descriptor. The empty asm keeps the compiler from reading the original again. */
static struct desc desc_copy(const unsigned char *p)
{
	struct desc d;
	memcpy(&d, p, sizeof(d));
	__asm__ volatile("" : "+m"(d) : : "memory");
	return d;
}

static bool segment_add(struct walk *w, const struct desc *d)
{
	struct vreq *q = w->q;
	unsigned n = q->nout + q->nin;
	bool in = d->flags & DESC_WRITE;
	if (!in && q->nin) return wrong(w, "a readable descriptor after a writable one");
	if ((uint64_t)q->out_len + q->in_len + d->len > UINT32_MAX)
		return wrong(w, "a request of 4 GiB or more");
	if (!d->len) return true;
	void *p = gmem_ptr(w->vq->dev->mem, d->addr, d->len, in);
	if (!p) return wrong(w, "a buffer outside memory");
	q->iov[n] = (struct iovec){p, d->len};
	q->gpa[n] = d->addr;
	*(in ? &q->nin : &q->nout) += 1;
	*(in ? &q->in_len : &q->out_len) += d->len;
	return true;
}

static bool indirect_enter(struct walk *w, const struct desc *d)
{
	if (!virtio_has(w->vq->dev, VIRTIO_F_INDIRECT))
		return wrong(w, "an indirect descriptor that was not negotiated");
	if (w->indirect) return wrong(w, "an indirect descriptor in an indirect table");
	if (d->flags & DESC_NEXT) return wrong(w, "an indirect descriptor with a next");
	if (!d->len || d->len % sizeof(*d)) return wrong(w, "an indirect table of no whole length");
	w->table = gmem_ptr(w->vq->dev->mem, d->addr, d->len, false);
	if (!w->table) return wrong(w, "an indirect table outside memory");
	w->entries = d->len / (unsigned)sizeof(*d);
	w->indirect = true;
	return true;
}

/* Every turn copies one descriptor and at most VREQ_IOV + 1 are copied, so any loop ends. */
static bool chain_walk(struct walk *w)
{
	unsigned i = w->q->head;
	for (;;) {
		if (i >= w->entries) return wrong(w, "a descriptor number beyond its table");
		if (++w->steps > VREQ_IOV + 1 || (!w->indirect && w->steps > w->entries))
			return wrong(w, "a chain of too many descriptors");
		struct desc d = desc_copy(w->table + i * sizeof(d));
		if (d.flags & DESC_INDIRECT) {
			if (!indirect_enter(w, &d)) return false;
			i = 0;
			continue;
		}
		if (w->q->nout + w->q->nin == VREQ_IOV)
			return wrong(w, "a chain of too many segments");
		if (!segment_add(w, &d)) return false;
		if (!(d.flags & DESC_NEXT)) return true;
		i = d.next;
	}
}

static int broken(struct virtq *vq, const char *why)
{
	virtio_broken(vq->dev, why);
	return -1;
}

static struct walk walk_from(struct virtq *vq, struct vreq *q, uint16_t head)
{
	q->head = head;
	q->nout = q->nin = 0;
	q->out_len = q->in_len = 0;
	q->epoch = vq->epoch;
	return (struct walk){.vq = vq, .q = q, .table = vq->desc_at, .entries = vq->size};
}

bool virtq_again(struct virtq *vq, uint16_t head, struct vreq *q)
{
	if (!vq->enabled || vq->in_flight >= vq->size) return false;
	struct walk w = walk_from(vq, q, head);
	if (!chain_walk(&w)) return false;
	vq->in_flight++;
	return true;
}

int virtq_pop(struct virtq *vq, struct vreq *q)
{
	if (!usable(vq)) return 0;
	uint16_t ready = (uint16_t)(ring_get(vq->avail_at + RING_IDX) - vq->next_avail);
	if (!ready) return 0;
	if (ready > vq->size) return broken(vq, "the available index ran ahead of the ring");
	if (vq->in_flight >= vq->size) return broken(vq, "more requests than the ring holds");
	unsigned slot = vq->next_avail & (vq->size - 1u);
	struct walk w = walk_from(vq, q, ring_get(vq->avail_at + RING_ENTRIES + 2 * slot));
	if (!chain_walk(&w)) return broken(vq, w.why);
	vq->next_avail++;
	vq->in_flight++;
	return 1;
}

void virtq_unpop(struct virtq *vq)
{
	if (!usable(vq)) return;
	must(vq->in_flight);
	vq->next_avail--;
	vq->in_flight--;
}

void virtq_fill(struct virtq *vq, const struct vreq *q, uint32_t written)
{
	must(written <= q->in_len);
	if (!usable(vq) || q->epoch != vq->epoch) return;
	must(vq->in_flight);
	unsigned off = RING_ENTRIES + 8 * (vq->next_used++ & (vq->size - 1u));
	uint32_t *elem = (uint32_t *)(void *)(vq->used_at + off);
	__atomic_store_n(&elem[0], q->head, __ATOMIC_RELAXED);
	__atomic_store_n(&elem[1], written, __ATOMIC_RELAXED);
	gmem_dirty(vq->dev->mem, vq->used + off, 8);
	vq->in_flight--;
}

void virtq_show(struct virtq *vq)
{
	if (usable(vq)) ring_set(vq, vq->used + RING_IDX, vq->used_at + RING_IDX, vq->next_used);
}

void virtq_push(struct virtq *vq, const struct vreq *q, uint32_t written)
{
	if (q->epoch != vq->epoch) return;
	virtq_fill(vq, q, written);
	virtq_show(vq);
}

void virtq_kick(struct virtq *vq)
{
	if (!usable(vq) || vq->next_used == vq->kicked_used) return;
	uint16_t fresh = (uint16_t)(vq->next_used - vq->kicked_used);
	vq->kicked_used = vq->next_used;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* our index out before their wish in (2.7.7.2) */
	if (event_idx(vq)) {
		uint16_t event = ring_get(vq->avail_at + RING_ENTRIES + 2u * vq->size);
		if ((uint16_t)(vq->next_used - event - 1) >= fresh) return;
	} else if (ring_get(vq->avail_at + RING_FLAGS) & AVAIL_NO_INTERRUPT) {
		return;
	}
	if (vq->dev->wires.queue) vq->dev->wires.queue(vq->dev->wires.transport, vq->index);
}

unsigned virtq_waiting(const struct virtq *vq)
{
	if (!usable(vq)) return 0;
	return (uint16_t)(ring_get(vq->avail_at + RING_IDX) - vq->next_avail);
}

/* With event index the wish is for what comes after all we can see, so that a caller who leaves
 * work behind is notified at the guest's next addition rather than never. */
bool virtq_want(struct virtq *vq, bool on)
{
	unsigned event = RING_ENTRIES + 8u * vq->size;
	if (!usable(vq)) return false;
	if (!event_idx(vq))
		ring_set(vq, vq->used, vq->used_at, on ? 0 : USED_NO_NOTIFY);
	else if (on)
		ring_set(vq, vq->used + event, vq->used_at + event,
			 ring_get(vq->avail_at + RING_IDX));
	if (!on) return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* our wish out before their index in (2.7.10) */
	return ring_get(vq->avail_at + RING_IDX) != vq->next_avail;
}

/* Segments of one part from byte off on, as fn(segment, offset in it, length). */
struct span {
	unsigned i, end;
	uint64_t skip;
	uint32_t left;
};

static struct span span_of(const struct vreq *q, bool in, uint32_t off, uint32_t n)
{
	unsigned first = in ? q->nout : 0, end = in ? (unsigned)(q->nout + q->nin) : q->nout;
	uint32_t have = in ? q->in_len : q->out_len;
	uint32_t left = off >= have ? 0 : n < have - off ? n : have - off;
	struct span s = {.i = first, .end = end, .skip = off, .left = left};
	for (; s.i < s.end && s.skip >= q->iov[s.i].iov_len; s.i++) s.skip -= q->iov[s.i].iov_len;
	return s;
}

static bool span_next(const struct vreq *q, struct span *s, struct iovec *out, gpa_t *at)
{
	if (!s->left || s->i >= s->end) return false;
	size_t n = q->iov[s->i].iov_len - s->skip;
	if (n > s->left) n = s->left;
	*out = (struct iovec){(char *)q->iov[s->i].iov_base + s->skip, n};
	*at = q->gpa[s->i] + s->skip;
	s->left -= (uint32_t)n;
	s->skip = 0;
	s->i++;
	return true;
}

uint32_t vreq_get(const struct vreq *q, uint32_t off, void *to, uint32_t n)
{
	struct span s = span_of(q, false, off, n);
	struct iovec v;
	uint32_t done = 0;
	for (gpa_t at; span_next(q, &s, &v, &at); done += (uint32_t)v.iov_len)
		memcpy((char *)to + done, v.iov_base, v.iov_len);
	return done;
}

uint32_t vreq_put(const struct virtq *vq, const struct vreq *q, uint32_t off, const void *from,
		  uint32_t n)
{
	struct span s = span_of(q, true, off, n);
	struct iovec v;
	uint32_t done = 0;
	for (gpa_t at; span_next(q, &s, &v, &at); done += (uint32_t)v.iov_len) {
		memcpy(v.iov_base, (const char *)from + done, v.iov_len);
		gmem_dirty(vq->dev->mem, at, v.iov_len);
	}
	return done;
}

int vreq_slice(const struct vreq *q, bool in, uint32_t off, uint32_t n, struct iovec *out, int max)
{
	struct span s = span_of(q, in, off, n);
	struct iovec v;
	int count = 0;
	if (s.left != n) return -1;
	for (gpa_t at; span_next(q, &s, &v, &at); out[count++] = v)
		if (count == max) return -1;
	return count;
}

void vreq_dirty(const struct virtq *vq, const struct vreq *q)
{
	for (unsigned i = q->nout; i < (unsigned)(q->nout + q->nin); i++)
		gmem_dirty(vq->dev->mem, q->gpa[i], q->iov[i].iov_len);
}
