#ifndef HW_VIRTIO_DRIVER_TEST_H
#define HW_VIRTIO_DRIVER_TEST_H
#include "base/err.h"
#include "base/log.h"
#include "hw/gmem.h"
#include "hw/virtio.h"
#include <stdatomic.h>
#include <time.h>
/* For tests of devices: a well-behaved driver in guest memory, straight on a virtio_dev with no
 * transport between. Use:
 *	struct vdrv d;
 *	vdrv_init(&d);                          memory: d.mem, 16 MiB at VDRV_RAM
 *	virtio_x_new(&v, d.mem, ...);
 *	vdrv_start(&d, v, features, 0);         handshake, rings for all queues, DRIVER_OK
 *	gpa_t a = vdrv_alloc(&d, 512);
 *	uint16_t head = vdrv_add(&d, 0, (struct vdrv_buf[]){{a, 16, 0}, {a + 16, 1, 1}}, 2);
 *	vdrv_notify(&d, 0);
 *	CHECK(vdrv_wait(&d, 0, &got, &len) && got == head && len == 1);
 *	vdrv_done(&d);                          resets and frees the device, frees memory */
enum { VDRV_RAM = 0x40000000, VDRV_LEN = 16 << 20 };
struct vdrv_buf {
	gpa_t at;
	uint32_t len;
	bool in; /* the device writes it */
};
struct vdrv_desc { /* 2.7.5 */
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
struct vdrv_queue {
	uint16_t size, next_desc, avail_idx, used_seen;
	struct vdrv_desc *desc; /* the rings, for tests that spoil them */
	uint16_t *avail;	/* flags, idx, ring[size], used_event */
	uint16_t *used;		/* flags, idx, {u32 id, len}[size], avail_event */
};
struct vdrv {
	struct gmem *mem;
	struct virtio_dev *v;
	gpa_t next;
	struct vdrv_queue q[VIRTIO_QUEUES];
	atomic_uint queue_irqs[VIRTIO_QUEUES], config_irqs;
};

static inline void vdrv_queue_irq(void *d, unsigned q) { ((struct vdrv *)d)->queue_irqs[q]++; }
static inline void vdrv_config_irq(void *d) { ((struct vdrv *)d)->config_irqs++; }

static inline void vdrv_init(struct vdrv *d)
{
	log_level_set(LOG_ERROR); /* devices warn of what tests do to them */
	memset(d, 0, sizeof(*d));
	d->mem = gmem_new();
	d->next = VDRV_RAM;
	must(gmem_add(d->mem, VDRV_RAM, VDRV_LEN, 0, NULL) == 0);
}

static inline void *vdrv_at(struct vdrv *d, gpa_t at, size_t len)
{
	void *p = gmem_ptr(d->mem, at, len, true);
	must(p);
	return p;
}

static inline gpa_t vdrv_alloc(struct vdrv *d, uint64_t len) /* zeroed, never given back */
{
	gpa_t at = d->next;
	memset(vdrv_at(d, at, len), 0, len);
	d->next = (at + len + 63) & ~63ull;
	return at;
}

/* Make the rings of a queue; where they are is in at: descriptors, driver, device. */
static inline void vdrv_rings(struct vdrv *d, unsigned i, uint16_t size, gpa_t at[3])
{
	at[0] = vdrv_alloc(d, 16ull * size);
	at[1] = vdrv_alloc(d, 6 + 2ull * size);
	at[2] = vdrv_alloc(d, 6 + 8ull * size);
	d->q[i] = (struct vdrv_queue){.size = size,
				      .desc = vdrv_at(d, at[0], 1),
				      .avail = vdrv_at(d, at[1], 1),
				      .used = vdrv_at(d, at[2], 1)};
}

static inline void vdrv_queue_start(struct vdrv *d, unsigned i, uint16_t size)
{
	struct virtq *vq = &d->v->vq[i];
	gpa_t at[3];
	vdrv_rings(d, i, size, at);
	vq->size = size;
	vq->desc = at[0];
	vq->avail = at[1];
	vq->used = at[2];
	virtio_enable_queue(d->v, i);
}

/* As far as FEATURES_OK; false when the device refused. */
static inline bool vdrv_handshake(struct vdrv *d, struct virtio_dev *v, uint64_t features)
{
	features |= 1ull << VIRTIO_F_VERSION_1;
	d->v = v;
	v->wires = (struct virtio_wires){vdrv_queue_irq, vdrv_config_irq, d};
	virtio_lock(v);
	virtio_set_status(v, 0);
	virtio_set_status(v, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	virtio_want_features(v, 0, (uint32_t)features);
	virtio_want_features(v, 1, (uint32_t)(features >> 32));
	virtio_set_status(v, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
	virtio_unlock(v);
	return v->status & VIRTIO_FEATURES_OK;
}

/* features: device bits and INDIRECT, EVENT_IDX as wanted; VERSION_1 is added. size 0: largest. */
static inline bool vdrv_start(struct vdrv *d, struct virtio_dev *v, uint64_t features,
			      uint16_t size)
{
	if (!vdrv_handshake(d, v, features)) return false;
	virtio_lock(v);
	for (unsigned i = 0; i < v->ops->nqueues; i++)
		vdrv_queue_start(d, i, size ? size : v->ops->queue_max);
	virtio_set_status(v, (uint8_t)(v->status | VIRTIO_DRIVER_OK));
	virtio_unlock(v);
	return v->live;
}

static inline void vdrv_offer(struct vdrv *d, unsigned queue, uint16_t head)
{
	struct vdrv_queue *q = &d->q[queue];
	q->avail[2 + q->avail_idx % q->size] = head;
	__atomic_store_n(&q->avail[1], ++q->avail_idx, __ATOMIC_SEQ_CST);
}

/* Make one chain available (no notification); its head. The caller keeps descriptors enough. */
static inline uint16_t vdrv_add(struct vdrv *d, unsigned queue, const struct vdrv_buf *b,
				unsigned n)
{
	struct vdrv_queue *q = &d->q[queue];
	uint16_t head = q->next_desc;
	for (unsigned i = 0; i < n; i++) {
		struct vdrv_desc *t = &q->desc[q->next_desc];
		q->next_desc = (uint16_t)((q->next_desc + 1) % q->size);
		*t = (struct vdrv_desc){b[i].at, b[i].len, (uint16_t)((i + 1 < n) | b[i].in << 1),
					q->next_desc};
	}
	vdrv_offer(d, queue, head);
	return head;
}

static inline void vdrv_notify(struct vdrv *d, unsigned queue)
{
	virtio_lock(d->v);
	virtio_notify(d->v, queue);
	virtio_unlock(d->v);
}

/* The next used chain, if there is one. */
static inline bool vdrv_used(struct vdrv *d, unsigned queue, uint16_t *head, uint32_t *len)
{
	struct vdrv_queue *q = &d->q[queue];
	if (__atomic_load_n(&q->used[1], __ATOMIC_SEQ_CST) == q->used_seen) return false;
	const uint16_t *e = &q->used[2 + 4 * (q->used_seen++ % q->size)];
	*head = e[0];
	*len = (uint32_t)load_le(&e[2], 4);
	return true;
}

/* As above, for devices that complete on another thread; gives up after some ten seconds. */
static inline bool vdrv_wait(struct vdrv *d, unsigned queue, uint16_t *head, uint32_t *len)
{
	for (int i = 0; i < 100000; i++) {
		if (vdrv_used(d, queue, head, len)) return true;
		(void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	}
	return false;
}

static inline void vdrv_reset(struct vdrv *d)
{
	virtio_lock(d->v);
	virtio_set_status(d->v, 0);
	virtio_unlock(d->v);
}

static inline void vdrv_done(struct vdrv *d)
{
	if (d->v) {
		vdrv_reset(d);
		d->v->ops->free(d->v);
	}
	gmem_free(d->mem);
}
#endif
