/* virtio entropy device (1.2 §5.4): the host's random numbers, some at a time. The device may
 * fill less than it is given (5.4.6.2), so a buffer of any size costs the same. */
#include "base/state.h"
#include "dev/dev.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

enum { QUEUE = 16, CHUNK = 256 }; /* getrandom() is never short of 256 bytes */

struct vrng {
	struct virtio_dev v;
	struct vreq q;
	uint64_t repeat; /* state of a generator; 0: the host's numbers */
};

/* splitmix64 (Steele, Lea, Flood 2014) */
static ssize_t numbers(struct vrng *r, uint8_t *to, size_t n)
{
	if (!r->repeat) return getrandom(to, n, 0);
	for (size_t i = 0; i < n; i += 8) {
		uint64_t v = r->repeat += 0x9e3779b97f4a7c15;
		v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9;
		v = (v ^ v >> 27) * 0x94d049bb133111eb;
		store_le(&to[i], v ^ v >> 31, 8);
	}
	return (ssize_t)n;
}

static bool fill(struct vrng *r)
{
	uint8_t chunk[CHUNK];
	if (virtq_pop(&r->v.vq[0], &r->q) != 1) return false;
	ssize_t n = numbers(r, chunk, sizeof(chunk));
	uint32_t got = n < 0 ? 0 : (uint32_t)n;
	virtq_push(&r->v.vq[0], &r->q, vreq_put(&r->v.vq[0], &r->q, 0, chunk, got));
	return true;
}

static void rng_notify(struct virtio_dev *v, unsigned queue)
{
	(void)queue;
	do {
		(void)virtq_want(&v->vq[0], false);
		while (fill((struct vrng *)v)) continue;
	} while (virtq_want(&v->vq[0], true));
	virtq_kick(&v->vq[0]);
}

static void rng_state(struct virtio_dev *v, struct state *s)
{
	struct vrng *r = (struct vrng *)v;
	bool repeats = r->repeat;
	STATE(s, r, repeat);
	if (!state_need(s, !r->repeat == !repeats, "repeat")) r->repeat = repeats;
}

static void rng_free(struct virtio_dev *v)
{
	virtio_done(v);
	free(v);
}

static const struct virtio_ops rng_ops = {
	.name = "rng",
	.id = 4,
	.nqueues = 1,
	.queue_max = QUEUE,
	.notify = rng_notify,
	.state = rng_state,
	.free = rng_free,
};

int virtio_rng_new(struct virtio_dev **out, struct gmem *mem, struct err *e)
{
	struct vrng *r = calloc(1, sizeof(*r));
	if (!r) return fail(e, -ENOMEM, "rng: out of memory");
	virtio_init(&r->v, &rng_ops, mem);
	*out = &r->v;
	return 0;
}

void virtio_rng_repeat(struct virtio_dev *v, uint64_t seed) { ((struct vrng *)v)->repeat = seed; }
