#ifndef HW_VIRTIO_ECHO_TEST_H
#define HW_VIRTIO_ECHO_TEST_H
#include "hw/virtio_driver_test.h"
#include <stdlib.h>
/* The least device there is, for tests of queues and transports: what a request holds readable
 * comes back in its writable part. Held: requests stay out until echo_release(). */
struct echo {
	struct virtio_dev v;
	uint8_t cfg[12];
	bool hold, refuse;
	struct vreq held;
	unsigned n, resets, activations, config_writes;
	int last; /* of virtq_pop */
};
enum { ECHO_BIT = 3, ECHO_QUEUES = 2, ECHO_SIZE = 64 };

static inline void echo_reply(struct virtq *vq, const struct vreq *q)
{
	static const char zero[256];
	char b[256];
	uint32_t done = 0, n;
	for (; (n = vreq_get(q, done, b, sizeof(b))); done += n)
		if (vreq_put(vq, q, done, b, n) < n) break;
	while (done < q->in_len && (n = vreq_put(vq, q, done, zero, sizeof(zero)))) done += n;
	virtq_push(vq, q, q->in_len);
}

static inline void echo_notify(struct virtio_dev *v, unsigned queue)
{
	struct echo *e = (struct echo *)v;
	struct virtq *vq = &v->vq[queue];
	struct vreq q;
	do {
		(void)virtq_want(vq, false);
		for (; (e->last = virtq_pop(vq, &q)) == 1; e->n++) {
			if (e->hold)
				e->held = q;
			else
				echo_reply(vq, &q);
		}
	} while (virtq_want(vq, true));
	virtq_kick(vq);
}

static inline void echo_release(struct echo *e, unsigned queue)
{
	echo_reply(&e->v.vq[queue], &e->held);
	virtq_kick(&e->v.vq[queue]);
}

static inline bool echo_accepts(struct virtio_dev *v, uint64_t acked)
{
	return !((struct echo *)v)->refuse || !(acked >> ECHO_BIT & 1);
}
static inline void echo_activate(struct virtio_dev *v) { ((struct echo *)v)->activations++; }
static inline void echo_reset(struct virtio_dev *v) { ((struct echo *)v)->resets++; }
static inline void echo_free(struct virtio_dev *v)
{
	virtio_done(v);
	free(v);
}
static inline void echo_get(struct virtio_dev *v, unsigned off, void *buf, unsigned len)
{
	memcpy(buf, ((struct echo *)v)->cfg + off, len);
}
static inline void echo_set(struct virtio_dev *v, unsigned off, const void *buf, unsigned len)
{
	memcpy(((struct echo *)v)->cfg + off, buf, len);
	((struct echo *)v)->config_writes++;
}

static const struct virtio_ops echo_ops = {.name = "echo",
					   .id = 42,
					   .nqueues = ECHO_QUEUES,
					   .queue_max = ECHO_SIZE,
					   .features = 1 << ECHO_BIT,
					   .config_len = 12,
					   .config_read = echo_get,
					   .config_write = echo_set,
					   .accepts = echo_accepts,
					   .activate = echo_activate,
					   .notify = echo_notify,
					   .reset = echo_reset,
					   .free = echo_free};

static inline struct echo *echo_new(struct gmem *mem)
{
	struct echo *e = calloc(1, sizeof(*e));
	must(e);
	virtio_init(&e->v, &echo_ops, mem);
	return e;
}
#endif
