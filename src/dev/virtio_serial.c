/* virtio console device with several ports (1.2 §5.3), of which this has one: a stream between a
 * program of the guest, which finds the port by its name, and a socket of the host, which is asked
 * for when the guest opens the port. All work is done on the loop's thread, where the socket is
 * watched. Nothing is buffered: what the socket has no room for stays in the guest's chain, what
 * the guest has no buffer for in the socket. */
#include "base/loop.h"
#include "base/own.h"
#include "base/state.h"
#include "dev/dev.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* syscalls loop: recvfrom sendto */

enum { RX, TX, CTL_RX, CTL_TX, QUEUES, QUEUE = 64 }; /* 5.3.2 */
enum { F_MULTIPORT = 1, PORT = 0 };
enum { DEVICE_READY, PORT_ADD, PORT_READY = 3, PORT_OPEN = 6, PORT_NAME }; /* 5.3.6.2 */
enum { CHUNK = 4096, NAME = 64, BUDGET = 64 /* chains at a time */ };

struct config { /* 5.3.4 */
	le16 cols, rows;
	le32 max_ports, emerg_wr;
};
struct control { /* 5.3.6.2 */
	le32 id;
	le16 event, value;
	char name[NAME]; /* of PORT_NAME, without an end */
};
enum { CONTROL = 8 };

struct vserial {
	struct virtio_dev v;
	struct loop *loop;
	struct serial_host host;
	char name[NAME];
	struct vreq rx, tx, ctl;
	int fd; /* -1: the host has nobody there */
	struct watch *watch;
	bool posted, dropped, paused, starved;
	bool opened;  /* by the guest */
	bool ask;     /* the host, for a socket */
	bool busy;    /* tx is a chain half passed on, from at on */
	uint8_t owed; /* bit EVENT: to be sent */
	uint32_t at;
	uint32_t kept; /* where the next chain begins: it was given back half passed on */
	uint8_t chunk[CHUNK];
};

static struct vserial *serial_of(struct virtio_dev *v)
{
	return container_of(v, struct vserial, v);
}

/* ---- the host's side ---- */
static void unplug(struct vserial *s)
{
	watch_free(s->watch);
	s->watch = NULL;
	drop_fd(&s->fd);
	s->fd = -1;
}

static void serial_run(void *ctx);

static void ready(void *ctx, uint32_t what)
{
	(void)what;
	serial_run(ctx);
}

static void plug(struct vserial *s)
{
	s->ask = false;
	s->fd = s->host.open(s->host.ctx);
	if (s->fd >= 0 && loop_watch(s->loop, &s->watch, s->fd, 0, ready, s, NULL)) unplug(s);
}

/* ---- from the guest ---- */
/* False: the socket has no room for all of it. Without one it goes nowhere. */
static bool pass(struct vserial *s)
{
	while (s->at < s->tx.out_len) {
		uint32_t n = vreq_get(&s->tx, s->at, s->chunk, CHUNK);
		ssize_t took = s->fd < 0 ? (ssize_t)n
					 : send(s->fd, s->chunk, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (took < 0 && errno == EINTR) continue;
		if (took < 0 && errno == EAGAIN) return false;
		if (took < 0) unplug(s);
		if (took > 0) s->at += (uint32_t)took;
	}
	return true;
}

static bool tx_next(struct vserial *s)
{
	if (!s->busy) {
		if (virtq_pop(&s->v.vq[TX], &s->tx) != 1) return false;
		s->at = s->kept;
		s->kept = 0;
		if (s->fd < 0 && s->opened) plug(s); /* it was hung up on, and speaks again */
	}
	s->busy = !pass(s);
	if (s->busy) return false;
	virtq_push(&s->v.vq[TX], &s->tx, 0);
	return true;
}

/* True: it stopped before there were none. */
static bool tx_run(struct vserial *s)
{
	struct virtq *vq = &s->v.vq[TX];
	unsigned n = 0;
	do {
		(void)virtq_want(vq, false);
		while (n < BUDGET && tx_next(s)) n++;
	} while (n < BUDGET && !s->busy && virtq_want(vq, true));
	virtq_kick(vq);
	return n == BUDGET;
}

static void owe(struct vserial *s, unsigned event) { s->owed |= (uint8_t)(1u << event); }

static void open_or_close(struct vserial *s, bool open)
{
	if (open == s->opened) return;
	s->opened = s->ask = open;
	if (!open) unplug(s);
}

static void take_control(struct vserial *s)
{
	struct control c;
	if (vreq_get(&s->ctl, 0, &c, CONTROL) < CONTROL) return;
	unsigned event = le16_get(c.event);
	bool value = le16_get(c.value);
	if (event == DEVICE_READY && value) owe(s, PORT_ADD);
	if (le32_get(c.id) != PORT) return;
	if (event == PORT_READY && value) {
		owe(s, PORT_NAME);
		owe(s, PORT_OPEN);
	}
	if (event == PORT_OPEN) open_or_close(s, value);
}

static bool control_run(struct vserial *s)
{
	struct virtq *vq = &s->v.vq[CTL_TX];
	unsigned n = 0;
	do {
		(void)virtq_want(vq, false);
		while (n < BUDGET && virtq_pop(vq, &s->ctl) == 1) {
			take_control(s);
			virtq_push(vq, &s->ctl, 0);
			n++;
		}
	} while (n < BUDGET && virtq_want(vq, true));
	virtq_kick(vq);
	return n == BUDGET;
}

/* ---- to the guest ---- */
static bool rx_pop(struct virtq *vq, struct vreq *q)
{
	int r = virtq_pop(vq, q);
	if (r == 0 && virtq_want(vq, true)) r = virtq_pop(vq, q);
	return r == 1;
}

/* In the order in which they make sense. */
static void owed_run(struct vserial *s)
{
	static const uint8_t order[] = {PORT_ADD, PORT_NAME, PORT_OPEN};
	struct virtq *vq = &s->v.vq[CTL_RX];
	for (unsigned i = 0; i < COUNT(order); i++) {
		struct control c = {le32_of(PORT), le16_of(order[i]), le16_of(1), ""};
		bool named = order[i] == PORT_NAME;
		if (!(s->owed >> order[i] & 1)) continue;
		if (!rx_pop(vq, &s->ctl)) break;
		size_t n = named ? strlen(s->name) : 0;
		memcpy(c.name, s->name, n);
		virtq_push(vq, &s->ctl, vreq_put(vq, &s->ctl, 0, &c, (uint32_t)(CONTROL + n)));
		s->owed &= (uint8_t) ~(1u << order[i]);
	}
	virtq_kick(vq);
}

/* False: there is nothing more, or no buffer. */
static bool rx_next(struct vserial *s)
{
	struct virtq *vq = &s->v.vq[RX];
	s->starved = !rx_pop(vq, &s->rx);
	if (s->starved) return false;
	uint32_t room = s->rx.in_len < CHUNK ? s->rx.in_len : CHUNK;
	ssize_t n = room ? recv(s->fd, s->chunk, room, MSG_DONTWAIT) : 0;
	if (n > 0 || !room) {
		virtq_push(vq, &s->rx, n ? vreq_put(vq, &s->rx, 0, s->chunk, (uint32_t)n) : 0);
		return true;
	}
	int why = n ? errno : 0;
	virtq_unpop(vq);
	if (why != EAGAIN && why != EINTR) unplug(s);
	return false;
}

static bool rx_run(struct vserial *s)
{
	unsigned n = 0;
	while (n < BUDGET && s->opened && s->fd >= 0 && rx_next(s)) n++;
	virtq_kick(&s->v.vq[RX]);
	return n == BUDGET;
}

/* ---- the loop's thread ---- */
static void post(struct vserial *s)
{
	if (s->posted) return;
	s->posted = true;
	loop_post(s->loop, serial_run, s);
}

static void drop(struct vserial *s)
{
	unplug(s);
	s->dropped = false;
}

static void serial_run(void *ctx)
{
	struct vserial *s = ctx;
	virtio_lock(&s->v);
	s->posted = false;
	if (s->dropped) drop(s);
	if (virtio_live(&s->v) && !s->paused) {
		bool again = tx_run(s);
		again |= control_run(s);
		if (s->ask) plug(s);
		owed_run(s);
		again |= rx_run(s);
		if (again) post(s);
	}
	bool reads = s->opened && !s->starved && !s->paused;
	if (s->watch) watch_set(s->watch, (reads ? EPOLLIN : 0) | (s->busy ? EPOLLOUT : 0));
	virtio_unlock(&s->v);
}

/* ---- the device ---- */
static void serial_notify(struct virtio_dev *v, unsigned queue)
{
	(void)virtq_want(&v->vq[queue], false);
	post(serial_of(v));
}

static void serial_reset(struct virtio_dev *v)
{
	struct vserial *s = serial_of(v);
	s->dropped = true;
	s->opened = s->ask = s->busy = s->starved = false;
	s->owed = 0;
	s->kept = 0;
	post(s);
}

static void serial_pause(struct virtio_dev *v)
{
	struct vserial *s = serial_of(v);
	s->paused = true;
	if (!s->busy) return;
	virtq_unpop(&v->vq[TX]);
	s->busy = false;
	s->kept = s->at;
}

static void serial_resume(struct virtio_dev *v)
{
	serial_of(v)->paused = false;
	post(serial_of(v));
}

/* Who was at the socket is with the guest that was saved; another one is asked for. */
static void serial_state(struct virtio_dev *v, struct state *s)
{
	struct vserial *k = serial_of(v);
	STATE(s, k, opened);
	STATE(s, k, owed);
	STATE(s, k, kept);
	k->owed &= 1u << PORT_ADD | 1u << PORT_NAME | 1u << PORT_OPEN;
	if (s->loading) {
		k->dropped = true;
		k->ask = k->opened;
	}
}

static void serial_config_read(struct virtio_dev *v, unsigned off, void *buf, unsigned len)
{
	struct config f = {.max_ports = le32_of(1)};
	(void)v;
	memcpy(buf, (char *)&f + off, len);
}

static bool serial_accepts(struct virtio_dev *v, uint64_t acked)
{
	(void)v;
	return acked >> F_MULTIPORT & 1; /* else it would be taken for a console */
}

static void serial_free(struct virtio_dev *v)
{
	struct vserial *s = serial_of(v);
	unplug(s);
	virtio_done(v);
	free(s);
}

static const struct virtio_ops serial_ops = {
	.name = "serial",
	.id = 3,
	.nqueues = QUEUES,
	.queue_max = QUEUE,
	.features = 1ull << F_MULTIPORT,
	.config_len = sizeof(struct config),
	.config_read = serial_config_read,
	.accepts = serial_accepts,
	.notify = serial_notify,
	.reset = serial_reset,
	.pause = serial_pause,
	.resume = serial_resume,
	.state = serial_state,
	.free = serial_free,
};

int virtio_serial_new(struct virtio_dev **out, struct gmem *mem, struct loop *l, const char *name,
		      const struct serial_host *host, struct err *e)
{
	struct vserial *s = calloc(1, sizeof(*s));
	if (!s) return fail(e, -ENOMEM, "serial port: out of memory");
	must(strlen(name) < NAME);
	memcpy(s->name, name, strlen(name));
	s->loop = l;
	s->host = *host;
	s->fd = -1;
	virtio_init(&s->v, &serial_ops, mem);
	*out = &s->v;
	return 0;
}
