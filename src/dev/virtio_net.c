/* virtio network device (1.2 §5.1), without offloads. Frames from the cable go straight into the
 * guest's buffers. Frames from the guest are copied out first, one at a time, so that the peer
 * is called with no lock held and no guest memory in hand; a frame the peer has no room for is
 * kept, and the transmit queue waits with it. */
#include "base/state.h"
#include "dev/dev.h"
#include "net/port.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum { F_MAC = 5, F_STATUS = 16, LINK_UP = 1 }; /* 5.1.3, 5.1.4 */
enum { RX, TX };				/* 5.1.2 */
enum { FRAME_MIN = 14, FRAME_MAX = 65536, QUEUE = 256 };

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
	struct vreq rx, tx;
	bool starved; /* the peer was told that there is no receive buffer */
	bool sending; /* a thread is in tx_run() */
	bool again;   /* and shall look once more before it leaves */
	bool held;    /* frame[] waits for the peer */
	bool paused;  /* nothing is taken, from the peer or from the ring */
	uint32_t len;
	uint8_t frame[FRAME_MAX]; /* whoever is sending has it */
};

static struct vnet *vnet_of(struct virtio_dev *v) { return container_of(v, struct vnet, v); }

/* 1: a frame is in frame[]; 0: there is none */
static bool tx_fetch(struct vnet *n)
{
	struct virtq *vq = &n->v.vq[TX];
	const uint32_t skip = sizeof(struct header);
	if (n->paused) return false;
	if (n->held) return true;
	if (virtq_pop(vq, &n->tx) != 1) return false;
	uint32_t len = n->tx.out_len > skip ? n->tx.out_len - skip : 0;
	n->held = len >= FRAME_MIN && len <= FRAME_MAX;
	if (n->held) n->len = vreq_get(&n->tx, skip, n->frame, len);
	virtq_push(vq, &n->tx, 0);
	return true;
}

/* Drops the lock meanwhile; false when the peer has no room. */
static bool tx_send(struct vnet *n)
{
	struct iovec iov = {n->frame, n->len};
	if (!n->held) return true;
	virtio_unlock(&n->v);
	bool took = port_send(&n->port, &iov, 1);
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

static int rx_pop(struct vnet *n)
{
	struct virtq *vq = &n->v.vq[RX];
	int r = virtq_pop(vq, &n->rx);
	if (r == 0 && virtq_want(vq, true)) r = virtq_pop(vq, &n->rx);
	return r;
}

static bool rx_put(struct vnet *n, const struct iovec *iov, int niov, size_t len)
{
	struct virtq *vq = &n->v.vq[RX];
	struct header h = {.num_buffers = le16_of(1)};
	uint32_t at = sizeof(h);
	int r = n->paused ? 0 : rx_pop(n);
	if (r <= 0) {
		n->starved = r == 0;
		return r < 0;
	}
	if (n->rx.in_len < at + len) { /* no buffer will ever hold it */
		virtq_unpop(vq);
		return true;
	}
	(void)vreq_put(vq, &n->rx, 0, &h, sizeof(h));
	for (int i = 0; i < niov; i++)
		at += vreq_put(vq, &n->rx, at, iov[i].iov_base, (uint32_t)iov[i].iov_len);
	virtq_push(vq, &n->rx, at);
	virtq_kick(vq);
	return true;
}

/* Nobody listens before the driver is there: such frames are taken and lost. */
static bool net_deliver(struct port *p, const struct iovec *iov, int niov)
{
	struct vnet *n = (struct vnet *)p;
	size_t len = 0;
	for (int i = 0; i < niov; i++) len += iov[i].iov_len;
	if (len < FRAME_MIN || len > FRAME_MAX) return true;
	virtio_lock(&n->v);
	bool took = !virtio_live(&n->v) || !n->v.vq[RX].enabled || rx_put(n, iov, niov, len);
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
	uint32_t len = n->held ? n->len : 0;
	state_bytes(s, "mac", n->port.mac, sizeof(n->port.mac));
	STATE(s, n, starved);
	state_bytes(s, "held", &len, sizeof(len));
	if (!state_need(s, len <= FRAME_MAX && (!len || len >= FRAME_MIN), "frame")) len = 0;
	state_bytes(s, "frame", n->frame, len);
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
	.features = 1ull << F_MAC | 1ull << F_STATUS,
	.config_len = sizeof(struct config),
	.config_read = net_config_read,
	.notify = net_notify,
	.reset = net_reset,
	.pause = net_pause,
	.resume = net_resume,
	.state = net_state,
	.free = net_free,
};
static const struct port_ops port_ops = {"nic", net_deliver, net_ready, port_kept};

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
