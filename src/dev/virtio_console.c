/* virtio console (1.2 §5.3), one port. Neither direction buffers: keys stay with the sitter until
 * the guest has a buffer for them, output stays in the guest's chain until the sitter takes it. */
#include "base/chr.h"
#include "base/state.h"
#include "dev/dev.h"
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

enum { F_EMERG_WRITE = 2, RX = 0, TX = 1, QUEUE = 64 };
enum { CHUNK = 1024, CHAIN_MAX = 1 << 20 }; /* of a longer chain the rest is not printed */

struct config { /* 5.3.4 */
	le16 cols, rows;
	le32 max_ports, emerg_wr;
};

struct vcon {
	struct virtio_dev v;
	struct chr *chr;
	struct vreq rx, tx;
	bool busy;    /* tx is a chain half written out, from at on */
	bool starved; /* the sitter was told that there is no room */
	uint32_t at;
	uint32_t kept; /* where the next chain begins: it was given back half written out */
	bool paused;
};

static size_t put(struct vcon *c, const uint8_t *p, size_t n) { return chr_output(c->chr, p, n); }

static bool tx_write(struct vcon *c)
{
	uint8_t chunk[CHUNK];
	uint32_t end = c->tx.out_len < CHAIN_MAX ? c->tx.out_len : CHAIN_MAX;
	while (c->at < end) {
		uint32_t n = end - c->at < CHUNK ? end - c->at : CHUNK;
		n = vreq_get(&c->tx, c->at, chunk, n);
		size_t took = put(c, chunk, n);
		c->at += (uint32_t)took;
		if (took < n) return false;
	}
	return true;
}

static bool tx_next(struct vcon *c)
{
	if (c->paused || (!c->busy && virtq_pop(&c->v.vq[TX], &c->tx) != 1)) return false;
	if (!c->busy) c->at = c->kept;
	c->kept = 0;
	c->busy = !tx_write(c);
	if (c->busy) return false;
	virtq_push(&c->v.vq[TX], &c->tx, 0);
	return true;
}

static void tx_run(struct vcon *c)
{
	struct virtq *vq = &c->v.vq[TX];
	do {
		(void)virtq_want(vq, false);
		while (tx_next(c)) continue;
	} while (!c->busy && virtq_want(vq, true) && !c->paused);
	virtq_kick(vq);
}

static bool rx_pop(struct vcon *c)
{
	struct virtq *vq = &c->v.vq[RX];
	int r = c->paused ? 0 : virtq_pop(vq, &c->rx);
	if (c->paused) return false;
	if (r == 0 && virtq_want(vq, true)) r = virtq_pop(vq, &c->rx);
	return r == 1;
}

static size_t rx_put(struct vcon *c, const uint8_t *p, size_t n)
{
	struct virtq *vq = &c->v.vq[RX];
	size_t took = 0;
	for (unsigned budget = QUEUE; took < n && budget; budget--) {
		if (!rx_pop(c)) break;
		uint32_t want = n - took < UINT32_MAX ? (uint32_t)(n - took) : UINT32_MAX;
		uint32_t put_n = vreq_put(vq, &c->rx, 0, p + took, want);
		virtq_push(vq, &c->rx, put_n);
		took += put_n;
	}
	c->starved = took < n;
	virtq_kick(vq);
	return took;
}

static size_t con_input(void *dev, const uint8_t *p, size_t n)
{
	struct vcon *c = dev;
	virtio_lock(&c->v);
	size_t took = rx_put(c, p, n);
	virtio_unlock(&c->v);
	return took;
}

static void con_drained(void *dev)
{
	struct vcon *c = dev;
	virtio_lock(&c->v);
	if (virtio_live(&c->v)) tx_run(c);
	virtio_unlock(&c->v);
}

static void feed(struct vcon *c)
{
	if (c->starved && c->chr->hungry) c->chr->hungry(c->chr->host);
	c->starved = false;
}

static void con_activate(struct virtio_dev *v) { feed((struct vcon *)v); }

static void con_notify(struct virtio_dev *v, unsigned queue)
{
	struct vcon *c = (struct vcon *)v;
	if (queue == TX) {
		if (!c->busy) tx_run(c);
		return;
	}
	(void)virtq_want(&v->vq[RX], false);
	feed(c);
}

static void con_reset(struct virtio_dev *v)
{
	((struct vcon *)v)->busy = false;
	((struct vcon *)v)->kept = 0;
}

static void con_pause(struct virtio_dev *v)
{
	struct vcon *c = (struct vcon *)v;
	c->paused = true;
	if (!c->busy) return;
	virtq_unpop(&v->vq[TX]);
	c->busy = false;
	c->kept = c->at;
}

static void con_resume(struct virtio_dev *v)
{
	struct vcon *c = (struct vcon *)v;
	c->paused = false;
	if (virtio_live(v)) tx_run(c);
	feed(c);
}

static void con_state(struct virtio_dev *v, struct state *s)
{
	struct vcon *c = (struct vcon *)v;
	STATE(s, c, kept);
	STATE(s, c, starved);
}

static void con_config_read(struct virtio_dev *v, unsigned off, void *buf, unsigned len)
{
	struct config f = {.max_ports = le32_of(1)};
	(void)v;
	memcpy(buf, (char *)&f + off, len);
}

/* Works before any set-up: that is what it is for (5.3.4). */
static void con_config_write(struct virtio_dev *v, unsigned off, const void *buf, unsigned len)
{
	(void)len;
	if (off == offsetof(struct config, emerg_wr)) (void)put((struct vcon *)v, buf, 1);
}

static void con_free(struct virtio_dev *v)
{
	struct vcon *c = (struct vcon *)v;
	c->chr->input = NULL;
	c->chr->drained = NULL;
	virtio_done(v);
	free(c);
}

static const struct virtio_ops con_ops = {
	.name = "console",
	.id = 3,
	.nqueues = 2,
	.queue_max = QUEUE,
	.features = 1ull << F_EMERG_WRITE,
	.config_len = sizeof(struct config),
	.config_read = con_config_read,
	.config_write = con_config_write,
	.activate = con_activate,
	.notify = con_notify,
	.reset = con_reset,
	.pause = con_pause,
	.resume = con_resume,
	.state = con_state,
	.free = con_free,
};

int virtio_console_new(struct virtio_dev **out, struct gmem *mem, struct chr *chr, struct err *e)
{
	struct vcon *c = calloc(1, sizeof(*c));
	if (!c) return fail(e, -ENOMEM, "console: out of memory");
	virtio_init(&c->v, &con_ops, mem);
	c->chr = chr;
	chr->dev = c;
	chr->input = con_input;
	chr->drained = con_drained;
	*out = &c->v;
	return 0;
}
