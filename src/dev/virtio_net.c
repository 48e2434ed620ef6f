/* virtio network device (1.2 §5.1). Frames from the cable go straight into the guest's buffers.
 * Frames from the guest are copied out first, one at a time, so that the peer is called with no
 * lock held and no guest memory in hand; a frame the peer has no room for is kept, and the transmit
 * queue waits with it. What a driver says of an unfinished frame is turned into a struct offload,
 * which is compared with the frame; nothing else of the header goes any further. */
#include "base/state.h"
#include "dev/dev.h"
#include "net/frame.h"
#include "net/port.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum { /* 5.1.3, 5.1.4 */
       F_CSUM = 0,
       F_GUEST_CSUM = 1,
       F_MAC = 5,
       F_GUEST_TSO4 = 7,
       F_GUEST_TSO6 = 8,
       F_HOST_TSO4 = 11,
       F_HOST_TSO6 = 12,
       F_MRG_RXBUF = 15,
       F_STATUS = 16,
       LINK_UP = 1
};
enum { RX, TX };						     /* 5.1.2 */
enum { NEEDS_CSUM = 1, DATA_VALID = 2, GSO_TCP4 = 1, GSO_TCP6 = 4 }; /* 5.1.6 */
enum { FRAME_MIN = 14, FRAME_MAX = OFFLOAD_FRAME, PLAIN_MAX = 65536, QUEUE = 256 };
enum { RX_MOST = 64 }; /* buffers of one frame */
_Static_assert(FRAME_MAX >= PLAIN_MAX, "there is room for either");

struct header { /* 5.1.6 */
	uint8_t flags, gso_type;
	le16 hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
struct config { /* 5.1.4 */
	uint8_t mac[6];
	le16 status;
};
_Static_assert(sizeof(struct header) == 12 && sizeof(struct config) == 8, "5.1");

struct vnet {
	struct port port;
	struct virtio_dev v;
	struct config config;
	struct vreq rx[RX_MOST], tx;
	bool starved; /* the peer was told that there is no receive buffer */
	bool sending; /* a thread is in tx_run() */
	bool again;   /* and shall look once more before it leaves */
	bool held;    /* frame[] waits for the peer */
	bool paused;  /* nothing is taken, from the peer or from the ring */
	bool loaded;  /* the driver shall look at the link when it goes on: the old one may be dead
		       */
	uint32_t len;
	struct offload offload;
	uint8_t frame[FRAME_MAX]; /* whoever is sending has it */
};

static struct vnet *vnet_of(struct virtio_dev *v) { return container_of(v, struct vnet, v); }

static bool has(const struct vnet *n, unsigned feature) { return virtio_has(&n->v, feature); }

/* ---- from the guest */

/* A checksum that is none of those that struct offload knows: made here (5.1.6.2). */
static bool sum_here(struct vnet *n, uint32_t start, uint32_t offset)
{
	if (start + offset + 2 > n->len) return false;
	unsigned v = ~sum_fold(sum_add(0, n->frame + start, n->len - start)) & 0xffffu;
	uint8_t *at = n->frame + start + offset;
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
	n->offload.kind = OFFLOAD_NONE;
	return true;
}

static bool tx_cut(struct vnet *n, const struct header *h)
{
	bool four = h->gso_type == GSO_TCP4 && has(n, F_HOST_TSO4);
	bool six = h->gso_type == GSO_TCP6 && has(n, F_HOST_TSO6);
	n->offload.kind = four ? OFFLOAD_TCP4 : OFFLOAD_TCP6;
	n->offload.size = le16_get(h->gso_size);
	return (four || six) && h->flags & NEEDS_CSUM;
}

/* False: that cannot be so of this frame. */
static bool tx_offload(struct vnet *n, const struct header *h)
{
	struct offload *o = &n->offload;
	uint16_t start = le16_get(h->csum_start), offset = le16_get(h->csum_offset);
	*o = (struct offload){.l4 = start};
	if (!has(n, F_CSUM)) return true;
	if (h->gso_type) return tx_cut(n, h) && offload_check(o, n->frame, n->len);
	if (!(h->flags & NEEDS_CSUM)) return true;
	o->kind = OFFLOAD_CSUM;
	bool known = offload_check(o, n->frame, n->len);
	if (known && offset == offload_sum_at(o, n->frame)) return true;
	return sum_here(n, start, offset);
}

/* 1: a frame is in frame[]; 0: there is none */
static bool tx_fetch(struct vnet *n)
{
	struct virtq *vq = &n->v.vq[TX];
	const uint32_t skip = sizeof(struct header);
	if (n->paused) return false;
	if (n->held) return true;
	if (virtq_pop(vq, &n->tx) != 1) return false;
	uint32_t len = n->tx.out_len > skip ? n->tx.out_len - skip : 0;
	struct header h;
	n->held = len >= FRAME_MIN && len <= FRAME_MAX;
	if (n->held) {
		(void)vreq_get(&n->tx, 0, &h, sizeof(h));
		n->len = vreq_get(&n->tx, skip, n->frame, len);
		n->held = tx_offload(n, &h);
	}
	if (n->held && n->offload.kind == OFFLOAD_NONE) n->held = len <= PLAIN_MAX;
	virtq_push(vq, &n->tx, 0);
	return true;
}

/* Drops the lock meanwhile; false when the peer has no room. */
static bool tx_send(struct vnet *n)
{
	if (!n->held) return true;
	struct offload o = n->offload;
	virtio_unlock(&n->v);
	bool took = port_send_large(&n->port, &o, n->frame, n->len);
	virtio_lock(&n->v);
	if (took) n->held = false;
	return took;
}

/* True when the peer refused a frame. */
static bool tx_drain(struct vnet *n)
{
	while (tx_fetch(n))
		if (!tx_send(n)) return true;
	return false;
}

/* One thread at a time: another one that comes (a notification, a peer with room again) asks it
 * to look once more. */
static void tx_run(struct vnet *n)
{
	struct virtq *vq = &n->v.vq[TX];
	n->again = true;
	if (n->sending || n->paused) return;
	n->sending = true;
	while (n->again && !n->paused) {
		n->again = false;
		(void)virtq_want(vq, false);
		if (!tx_drain(n) && virtq_want(vq, true)) n->again = true;
	}
	n->sending = false;
	virtq_kick(vq);
}

/* ---- to the guest */
static int rx_pop(struct vnet *n, struct vreq *q)
{
	struct virtq *vq = &n->v.vq[RX];
	int r = virtq_pop(vq, q);
	if (r == 0 && virtq_want(vq, true)) r = virtq_pop(vq, q);
	return r;
}

/* Buffers for so many bytes: their number; 0: there are not enough now; -1: none will ever be. */
static int rx_take(struct vnet *n, size_t len)
{
	int ring = n->v.vq[RX].size, all = ring < RX_MOST ? ring : RX_MOST;
	int most = has(n, F_MRG_RXBUF) ? all : 1, i = 0, r = 1;
	size_t room = 0;
	for (; room < len && i < most && (r = rx_pop(n, &n->rx[i])) == 1; i++)
		room += n->rx[i].in_len;
	if (room >= len) return i;
	for (; r >= 0 && i > 0; i--) virtq_unpop(&n->v.vq[RX]);
	return r == 0 ? 0 : -1;
}

struct rx_place {
	unsigned i;
	uint32_t at;
};

static void rx_write(struct vnet *n, struct rx_place *to, const void *from, size_t len)
{
	const char *p = from;
	while (len) {
		struct vreq *q = &n->rx[to->i];
		uint32_t done = vreq_put(&n->v.vq[RX], q, to->at, p, (uint32_t)len);
		p += done;
		len -= done;
		to->at += done;
		if (len) *to = (struct rx_place){to->i + 1, 0};
	}
}

static bool rx_put(struct vnet *n, struct header *h, const struct iovec *iov, int niov, size_t len)
{
	struct virtq *vq = &n->v.vq[RX];
	struct rx_place to = {0};
	int count = n->paused ? 0 : rx_take(n, sizeof(*h) + len);
	if (count <= 0) {
		n->starved = count == 0;
		return count < 0;
	}
	h->num_buffers = le16_of((uint16_t)count);
	rx_write(n, &to, h, sizeof(*h));
	for (int i = 0; i < niov; i++) rx_write(n, &to, iov[i].iov_base, iov[i].iov_len);
	for (unsigned i = 0; i < (unsigned)count; i++)
		virtq_fill(vq, &n->rx[i], i == to.i ? to.at : n->rx[i].in_len);
	virtq_show(vq);
	virtq_kick(vq);
	return true;
}

/* Nobody listens before the driver is there: such frames are taken and lost. */
static bool listens(const struct vnet *n) { return virtio_live(&n->v) && n->v.vq[RX].enabled; }

static bool net_deliver(struct port *p, const struct iovec *iov, int niov)
{
	struct vnet *n = (struct vnet *)p;
	struct header h = {0};
	size_t len = 0;
	for (int i = 0; i < niov; i++) len += iov[i].iov_len;
	if (len < FRAME_MIN || len > PLAIN_MAX) return true;
	virtio_lock(&n->v);
	bool took = !listens(n) || rx_put(n, &h, iov, niov, len);
	virtio_unlock(&n->v);
	return took;
}

/* Whether the driver takes it as it is; then h says so. */
static bool rx_offload(const struct vnet *n, const struct offload *o, const uint8_t *frame,
		       struct header *h)
{
	static const uint8_t feature[] = {[OFFLOAD_CSUM] = F_GUEST_CSUM,
					  [OFFLOAD_TCP4] = F_GUEST_TSO4,
					  [OFFLOAD_TCP6] = F_GUEST_TSO6};
	*h = (struct header){.flags = has(n, F_GUEST_CSUM) ? DATA_VALID : 0};
	if (o->kind == OFFLOAD_VALID) return true;
	*h = (struct header){0};
	if (o->kind == OFFLOAD_NONE) return true;
	if (!has(n, feature[o->kind]) || !has(n, F_GUEST_CSUM)) return false;
	h->flags = NEEDS_CSUM;
	h->csum_start = le16_of(o->l4);
	h->csum_offset = le16_of((uint16_t)offload_sum_at(o, frame));
	if (!offload_is_cut(o)) return true;
	h->gso_type = o->kind == OFFLOAD_TCP4 ? GSO_TCP4 : GSO_TCP6;
	h->gso_size = le16_of(o->size);
	h->hdr_len = le16_of((uint16_t)offload_headers(o, frame));
	return true;
}

/* All of it at once, unless the ring is smaller. */
static bool rx_has(struct vnet *n, unsigned frames)
{
	struct virtq *vq = &n->v.vq[RX];
	unsigned need = frames < vq->size ? frames : vq->size;
	if (virtq_waiting(vq) >= need) return true;
	(void)virtq_want(vq, true);
	return virtq_waiting(vq) >= need;
}

static bool rx_finished(struct vnet *n, const struct offload *o, const uint8_t *frame, size_t len)
{
	uint8_t piece[ETH_MAX];
	unsigned all = offload_frames(o, frame, len), i = 0;
	if (n->paused || !rx_has(n, all)) {
		n->starved = true;
		return false;
	}
	for (; i < all; i++) {
		struct header h = {0};
		size_t k = offload_frame(o, frame, len, i, piece);
		if (!rx_put(n, &h, &(struct iovec){piece, k}, 1, k)) break;
	}
	return i > 0;
}

static bool net_large(struct port *p, const struct offload *o, const uint8_t *frame, size_t len)
{
	struct vnet *n = (struct vnet *)p;
	struct iovec v = {(void *)frame, len};
	struct header h;
	if (len < FRAME_MIN || len > FRAME_MAX) return true;
	virtio_lock(&n->v);
	bool took = true;
	if (listens(n))
		took = rx_offload(n, o, frame, &h) ? rx_put(n, &h, &v, 1, len)
						   : rx_finished(n, o, frame, len);
	virtio_unlock(&n->v);
	return took;
}

static void net_ready(struct port *p)
{
	struct vnet *n = (struct vnet *)p;
	virtio_lock(&n->v);
	if (virtio_live(&n->v)) tx_run(n);
	virtio_unlock(&n->v);
}

/* 5.1.4.2 */
static void net_down(struct port *p)
{
	struct vnet *n = (struct vnet *)p;
	virtio_lock(&n->v);
	n->config.status = le16_of(0);
	virtio_config_changed(&n->v);
	virtio_unlock(&n->v);
}

static void net_notify(struct virtio_dev *v, unsigned queue)
{
	struct vnet *n = vnet_of(v);
	if (queue == TX) {
		tx_run(n);
		return;
	}
	(void)virtq_want(&v->vq[RX], false);
	if (!n->starved) return;
	n->starved = false;
	virtio_unlock(v);
	port_ready(&n->port);
	virtio_lock(v);
}

static void net_reset(struct virtio_dev *v)
{
	struct vnet *n = vnet_of(v);
	n->starved = true;
	memcpy(n->port.mac, n->config.mac, sizeof(n->port.mac));
	if (!n->sending) n->held = false;
}

/* A peer's thread that is sending has let go of the lock, and comes back. */
static void net_pause(struct virtio_dev *v)
{
	const struct timespec moment = {.tv_nsec = 100000};
	struct vnet *n = vnet_of(v);
	n->paused = true;
	while (n->sending) {
		virtio_unlock(v);
		(void)nanosleep(&moment, NULL);
		virtio_lock(v);
	}
}

static void net_resume(struct virtio_dev *v)
{
	struct vnet *n = vnet_of(v);
	n->paused = false;
	if (n->loaded) virtio_config_changed(v);
	n->loaded = false;
	if (!virtio_live(v)) return;
	tx_run(n);
	if (!n->starved) return;
	n->starved = false;
	virtio_unlock(v);
	port_ready(&n->port);
	virtio_lock(v);
}

/* The address that its driver uses; who asks the card again is told its own. */
static void net_state(struct virtio_dev *v, struct state *s)
{
	struct vnet *n = vnet_of(v);
	uint32_t len = n->held && n->offload.kind == OFFLOAD_NONE ? n->len : 0; /* TCP repeats it */
	state_bytes(s, "mac", n->port.mac, sizeof(n->port.mac));
	STATE(s, n, starved);
	state_bytes(s, "held", &len, sizeof(len));
	if (!state_need(s, len <= PLAIN_MAX && (!len || len >= FRAME_MIN), "frame")) len = 0;
	state_bytes(s, "frame", n->frame, len);
	if (!s->loading) return;
	n->loaded = true;
	n->offload.kind = OFFLOAD_NONE;
	n->held = len;
	n->len = len;
}

static void net_config_read(struct virtio_dev *v, unsigned off, void *buf, unsigned len)
{
	memcpy(buf, (char *)&vnet_of(v)->config + off, len);
}

static void net_free(struct virtio_dev *v)
{
	virtio_done(v);
	free(vnet_of(v));
}

static void port_kept(struct port *p) { (void)p; } /* dies with the device */

static const struct virtio_ops net_ops = {
	.name = "net",
	.id = 1,
	.nqueues = 2,
	.queue_max = QUEUE,
	.features = 1 << F_CSUM | 1 << F_GUEST_CSUM | 1 << F_MAC | 1 << F_GUEST_TSO4 |
		    1 << F_GUEST_TSO6 | 1 << F_HOST_TSO4 | 1 << F_HOST_TSO6 | 1 << F_MRG_RXBUF |
		    1 << F_STATUS,
	.config_len = sizeof(struct config),
	.config_read = net_config_read,
	.notify = net_notify,
	.reset = net_reset,
	.pause = net_pause,
	.resume = net_resume,
	.state = net_state,
	.free = net_free,
};
static const struct port_ops port_ops = {"nic",	    net_deliver, net_ready,
					 port_kept, net_large,	 net_down};

int virtio_net_new(struct virtio_dev **out, struct gmem *mem, const uint8_t mac[6],
		   struct port **port, struct err *e)
{
	struct vnet *n = calloc(1, sizeof(*n));
	if (!n) return fail(e, -ENOMEM, "network card: out of memory");
	n->port.ops = &port_ops;
	memcpy(n->port.mac, mac, 6);
	memcpy(n->config.mac, mac, 6);
	n->config.status = le16_of(LINK_UP);
	n->starved = true;
	virtio_init(&n->v, &net_ops, mem);
	*out = &n->v;
	*port = &n->port;
	return 0;
}
