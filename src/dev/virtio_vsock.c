/* virtio socket device (1.2 §5.10): streams between programs of the guest and sockets of the host.
 * All work is done on the loop's thread, where the sockets are watched; a notification only asks
 * for it. A connection has one ring, as large as the credit that the guest is given, and a word of
 * packets that it owes the guest; so there is nothing that grows while the guest takes nothing, but
 * refusals of unknown connections, and when too many of these wait, nothing is taken either. */
#include "base/loop.h"
#include "base/own.h"
#include "base/state.h"
#include "dev/dev.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* syscalls loop: recvfrom sendto shutdown */

enum { RX, TX, EVENT, QUEUES, QUEUE = 128 };
enum { HOST = 2, GUEST = 3, STREAM = 1 }; /* 5.10.4, 5.10.6 */
enum {
	OP_REQUEST = 1,
	OP_RESPONSE,
	OP_RST,
	OP_SHUTDOWN,
	OP_RW,
	OP_CREDIT_UPDATE,
	OP_CREDIT_REQUEST
};
enum { NO_RECEIVE = 1, NO_SEND = 2, NEITHER = 3 }; /* flags of OP_SHUTDOWN */
enum { CONNS = 64, FROM_GUEST = 48, STRAYS = 64, RING = 256 * 1024, CHUNK = 64 * 1024 };
enum { BUDGET = 256 }; /* packets at a time */
#define SECOND	1000000000ull
#define LINGER	2000000000ull  /* ns that a guest has to let go of what the host has closed */
#define ANSWER	5000000000ull  /* and to take or refuse a connection */
#define LAST_NS 60000000000ull /* that the host's side has for what a guest sent at last */

struct header { /* 5.10.6 */
	le64 src_cid, dst_cid;
	le32 src_port, dst_port, len;
	le16 type, op;
	le32 flags, buf_alloc, fwd_cnt;
} __attribute__((packed));
_Static_assert(sizeof(struct header) == 44, "5.10.6");

/* GONE: no socket any more, a reset is still owed. LAST: the guest has forgotten it, but not all
 * that it sent has been passed on. */
enum life { FREE, ASKED, OPEN, GONE, LAST };
struct conn {
	struct vsock *of;
	enum life state;
	int fd;
	struct watch *watch;
	uint32_t guest_port, host_port;
	bool from_guest, hung_up;
	bool eof;		    /* the host's side sends nothing more */
	uint8_t guest_shut;	    /* what the guest said that it does no more */
	uint8_t owed;		    /* bit OP: to be sent */
	uint8_t shut;		    /* flags of the OP_SHUTDOWN owed */
	uint32_t room, taken, sent; /* the guest's buf_alloc and fwd_cnt; bytes sent to it */
	uint32_t passed, told;	    /* bytes on to the host's side, and what the guest knows of */
	uint32_t at, n;		    /* in the ring */
	uint64_t deadline;	    /* 0: none */
	uint8_t *ring;
};
struct stray {
	uint32_t guest_port, host_port;
};
struct vsock {
	struct virtio_dev v;
	struct loop *loop;
	struct timer *timer;
	struct vsock_host host;
	bool posted, dropped, starved, paused;
	bool moved; /* the guest is to hear that its connections are gone (5.10.6.7) */
	unsigned nguest, nstray, turn;
	uint32_t next_port;
	struct stray stray[STRAYS];
	struct conn conn[CONNS];
	struct vreq rx, tx;
	uint8_t chunk[CHUNK];
};

static struct vsock *vsock_of(struct virtio_dev *v) { return container_of(v, struct vsock, v); }

static void owe(struct conn *c, unsigned op) { c->owed |= (uint8_t)(1u << op); }
static bool owes(const struct conn *c, unsigned op) { return c->owed >> op & 1; }

/* ---- connections ---- */
static void conn_unplug(struct conn *c)
{
	watch_free(c->watch);
	c->watch = NULL;
	drop_fd(&c->fd);
	c->fd = -1;
	free(c->ring);
	c->ring = NULL;
	c->at = c->n = 0;
}

static void conn_free(struct conn *c)
{
	conn_unplug(c);
	c->of->nguest -= c->from_guest;
	c->state = FREE;
}

/* The guest hears that it is over. */
static void conn_kill(struct conn *c)
{
	conn_unplug(c);
	c->state = GONE;
	c->owed = 0;
	owe(c, OP_RST);
}

static uint32_t credit(const struct conn *c)
{
	uint32_t flying = c->sent - c->taken;
	return flying < c->room ? c->room - flying : 0;
}

static bool readable(const struct conn *c)
{
	return c->state == OPEN && !c->eof && !(c->guest_shut & NO_RECEIVE) && credit(c);
}

static void conn_watch(struct conn *c)
{
	if (!c->watch) return;
	bool in = readable(c) && !c->of->starved && !c->of->paused;
	watch_set(c->watch, (in ? EPOLLIN : 0) | (c->n ? EPOLLOUT : 0));
}

/* Deadlines are looked at once a second while there are any: their order does not matter. */
static void conn_until(struct conn *c, uint64_t ns)
{
	c->deadline = now_ns() + ns;
	timer_arm(c->of->timer, now_ns() + SECOND);
}

/* When the guest sends no more and all of it has been passed on, so hears the other side. */
static void conn_settle(struct conn *c)
{
	if (c->n) return;
	if (c->state == LAST)
		conn_free(c);
	else if (c->guest_shut == NEITHER)
		conn_kill(c);
	else if (c->guest_shut & NO_SEND)
		(void)shutdown(c->fd, SHUT_WR);
}

static void conn_flush(struct conn *c)
{
	while (c->n) {
		uint32_t run = c->n < RING - c->at ? c->n : RING - c->at;
		ssize_t n = send(c->fd, c->ring + c->at, run, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0 && errno == EAGAIN) break;
		if (n < 0) {
			conn_kill(c);
			return;
		}
		c->at = (c->at + (uint32_t)n) % RING;
		c->n -= (uint32_t)n;
		c->passed += (uint32_t)n;
	}
	if (c->passed - c->told >= RING / 4) owe(c, OP_CREDIT_UPDATE);
	conn_settle(c);
}

static void vsock_run(void *ctx);

static void conn_ready(void *ctx, uint32_t ready)
{
	struct conn *c = ctx;
	struct vsock *s = c->of;
	virtio_lock(&s->v);
	if (ready & (EPOLLHUP | EPOLLERR)) c->hung_up = true;
	if (c->n) conn_flush(c);
	virtio_unlock(&s->v);
	vsock_run(s);
}

static struct conn *conn_find(struct vsock *s, uint32_t guest_port, uint32_t host_port)
{
	for (struct conn *c = s->conn; c < s->conn + CONNS; c++)
		if (c->state != FREE && c->state != LAST && c->guest_port == guest_port &&
		    c->host_port == host_port)
			return c;
	return NULL;
}

/* fd is its own, unless this fails. */
static struct conn *conn_new(struct vsock *s, int fd, uint32_t guest_port, uint32_t host_port)
{
	struct conn *c = s->conn;
	while (c < s->conn + CONNS && c->state != FREE) c++;
	if (c == s->conn + CONNS) return NULL;
	*c = (struct conn){.of = s, .fd = -1, .guest_port = guest_port, .host_port = host_port};
	c->ring = malloc(RING);
	if (!c->ring || loop_watch(s->loop, &c->watch, fd, 0, conn_ready, c, NULL)) {
		conn_unplug(c);
		return NULL;
	}
	c->fd = fd;
	return c;
}

/* ---- packets from the guest ---- */
static void refuse(struct vsock *s, const struct header *h)
{
	s->stray[s->nstray++] = (struct stray){le32_get(h->src_port), le32_get(h->dst_port)};
}

static void accept_one(struct vsock *s, const struct header *h)
{
	uint32_t from = le32_get(h->src_port), to = le32_get(h->dst_port);
	int fd = s->nguest < FROM_GUEST && s->host.dial ? s->host.dial(s->host.ctx, from, to) : -1;
	struct conn *c = fd >= 0 ? conn_new(s, fd, from, to) : NULL;
	if (!c) {
		drop_fd(&fd);
		refuse(s, h);
		return;
	}
	c->from_guest = true;
	s->nguest++;
	c->state = OPEN;
	c->room = le32_get(h->buf_alloc);
	c->taken = le32_get(h->fwd_cnt);
	owe(c, OP_RESPONSE);
}

/* More than it was given credit for, or than is there: such a guest is not spoken to. */
static void take_data(struct conn *c, const struct header *h, const struct vreq *q)
{
	uint32_t len = le32_get(h->len), have = q->out_len - (uint32_t)sizeof(*h);
	if (len > have || len > RING - c->n || c->guest_shut & NO_SEND) {
		conn_kill(c);
		return;
	}
	for (uint32_t done = 0; done < len;) {
		uint32_t to = (c->at + c->n) % RING;
		uint32_t run = len - done < RING - to ? len - done : RING - to;
		(void)vreq_get(q, (uint32_t)sizeof(*h) + done, c->ring + to, run);
		done += run;
		c->n += run;
	}
	conn_flush(c);
}

static void take_shutdown(struct conn *c, uint32_t flags)
{
	c->guest_shut |= flags & NEITHER;
	conn_settle(c);
}

static void take_reset(struct conn *c)
{
	if (c->state != OPEN || !c->n || c->guest_shut != NEITHER) {
		conn_free(c);
		return;
	}
	c->state = LAST;
	conn_until(c, LAST_NS);
}

static void take_open(struct conn *c)
{
	c->state = OPEN;
	c->deadline = 0;
}

static void take_known(struct conn *c, const struct header *h, const struct vreq *q)
{
	c->room = le32_get(h->buf_alloc);
	c->taken = le32_get(h->fwd_cnt);
	unsigned op = le16_get(h->op);
	if (op == OP_RST)
		take_reset(c);
	else if (c->state == ASKED && op == OP_RESPONSE)
		take_open(c);
	else if (c->state != OPEN)
		conn_kill(c);
	else if (op == OP_RW)
		take_data(c, h, q);
	else if (op == OP_SHUTDOWN)
		take_shutdown(c, le32_get(h->flags));
	else if (op == OP_CREDIT_REQUEST)
		owe(c, OP_CREDIT_UPDATE);
	else if (op != OP_CREDIT_UPDATE)
		conn_kill(c);
}

static void take_packet(struct vsock *s, const struct vreq *q)
{
	struct header h;
	if (vreq_get(q, 0, &h, sizeof(h)) < sizeof(h)) return;
	if (le64_get(h.src_cid) != GUEST) return; /* there is nobody to tell */
	bool ours = le64_get(h.dst_cid) == HOST && le16_get(h.type) == STREAM;
	struct conn *c = ours ? conn_find(s, le32_get(h.src_port), le32_get(h.dst_port)) : NULL;
	if (c)
		take_known(c, &h, q);
	else if (ours && le16_get(h.op) == OP_REQUEST)
		accept_one(s, &h);
	else if (ours && le16_get(h.op) != OP_RST)
		refuse(s, &h);
}

/* True: it stopped before there were none. */
static bool tx_run(struct vsock *s)
{
	struct virtq *vq = &s->v.vq[TX];
	unsigned n = 0;
	do {
		(void)virtq_want(vq, false);
		while (n < BUDGET && s->nstray < STRAYS && virtq_pop(vq, &s->tx) == 1) {
			take_packet(s, &s->tx);
			virtq_push(vq, &s->tx, 0);
			n++;
		}
	} while (n < BUDGET && s->nstray < STRAYS && virtq_want(vq, true));
	virtq_kick(vq);
	return n == BUDGET || s->nstray == STRAYS;
}

/* ---- packets to the guest ---- */
static bool rx_next(struct vsock *s)
{
	struct virtq *vq = &s->v.vq[RX];
	int r = virtq_pop(vq, &s->rx);
	if (r == 0 && virtq_want(vq, true)) r = virtq_pop(vq, &s->rx);
	s->starved = r != 1;
	return r == 1;
}

/* Buffers that hold no packet go back empty. */
static bool rx_pop(struct vsock *s)
{
	for (unsigned i = 0; i < QUEUE && rx_next(s); i++) {
		if (s->rx.in_len > sizeof(struct header)) return true;
		virtq_push(&s->v.vq[RX], &s->rx, 0);
	}
	return false;
}

static void rx_put(struct vsock *s, struct header *h, const uint8_t *p, uint32_t n)
{
	struct virtq *vq = &s->v.vq[RX];
	h->src_cid = le64_of(HOST);
	h->dst_cid = le64_of(GUEST);
	h->type = le16_of(STREAM);
	h->len = le32_of(n);
	uint32_t put = vreq_put(vq, &s->rx, 0, h, sizeof(*h));
	if (n) put += vreq_put(vq, &s->rx, sizeof(*h), p, n);
	virtq_push(vq, &s->rx, put);
}

static void rx_conn(struct conn *c, unsigned op, uint32_t flags, uint32_t n)
{
	struct header h = {.src_port = le32_of(c->host_port),
			   .dst_port = le32_of(c->guest_port),
			   .op = le16_of((uint16_t)op),
			   .flags = le32_of(flags),
			   .buf_alloc = le32_of(RING),
			   .fwd_cnt = le32_of(c->passed)};
	c->told = c->passed;
	c->owed &= (uint8_t) ~(1u << op | 1u << OP_CREDIT_UPDATE);
	rx_put(c->of, &h, c->of->chunk, n);
}

static bool strays_run(struct vsock *s)
{
	while (s->nstray && rx_pop(s)) {
		struct stray *t = &s->stray[--s->nstray];
		struct header h = {.src_port = le32_of(t->host_port),
				   .dst_port = le32_of(t->guest_port),
				   .op = le16_of(OP_RST)};
		rx_put(s, &h, NULL, 0);
	}
	return !s->nstray;
}

/* In the order in which they make sense; false: the guest has no buffer. */
static bool owed_run(struct conn *c)
{
	static const uint8_t order[] = {OP_RST, OP_REQUEST, OP_RESPONSE, OP_CREDIT_UPDATE,
					OP_SHUTDOWN};
	for (unsigned i = 0; i < COUNT(order); i++) {
		if (!owes(c, order[i])) continue;
		if (!rx_pop(c->of)) return false;
		rx_conn(c, order[i], order[i] == OP_SHUTDOWN ? c->shut : 0, 0);
		if (order[i] == OP_RST) {
			conn_free(c);
			return true;
		}
	}
	return true;
}

static void host_ended(struct conn *c)
{
	c->eof = true;
	c->shut = c->hung_up ? NEITHER : NO_SEND;
	owe(c, OP_SHUTDOWN);
	if (c->hung_up) conn_until(c, LINGER);
}

/* Data for the guest, as its credit and its buffers allow. False: it has no buffer. */
static bool data_run(struct conn *c)
{
	struct vsock *s = c->of;
	for (unsigned i = 0; i < BUDGET / 16 && readable(c); i++) {
		if (!rx_pop(s)) return false;
		uint32_t room = s->rx.in_len - (uint32_t)sizeof(struct header);
		uint32_t want = credit(c) < CHUNK ? credit(c) : CHUNK;
		ssize_t n = recv(c->fd, s->chunk, room < want ? room : want, MSG_DONTWAIT);
		if (n > 0) {
			c->sent += (uint32_t)n;
			rx_conn(c, OP_RW, 0, (uint32_t)n);
			continue;
		}
		virtq_unpop(&s->v.vq[RX]);
		if (n == 0)
			host_ended(c);
		else if (errno != EAGAIN && errno != EINTR)
			conn_kill(c);
		break;
	}
	return true;
}

static bool conn_run(struct conn *c)
{
	if (c->state == FREE || c->state == LAST) return true;
	return owed_run(c) && (c->state != OPEN || data_run(c)) && owed_run(c);
}

/* Another connection comes first each time. */
static void rx_run(struct vsock *s)
{
	bool more = strays_run(s);
	s->turn++;
	for (unsigned i = 0; more && i < CONNS; i++)
		more = conn_run(&s->conn[(s->turn + i) % CONNS]);
	virtq_kick(&s->v.vq[RX]);
}

static void tell_moved(struct vsock *s)
{
	static const le32 transport_reset; /* 0 */
	struct virtq *vq = &s->v.vq[EVENT];
	if (!s->moved) return;
	(void)virtq_want(vq, true);
	if (virtq_pop(vq, &s->rx) != 1) return;
	virtq_push(vq, &s->rx, vreq_put(vq, &s->rx, 0, &transport_reset, sizeof(le32)));
	virtq_kick(vq);
	s->moved = false;
}

/* ---- the loop's thread ---- */
static void drop_all(struct vsock *s)
{
	for (struct conn *c = s->conn; c < s->conn + CONNS; c++)
		if (c->state != FREE) conn_free(c);
	s->nstray = 0;
	s->dropped = false;
}

static void post(struct vsock *s)
{
	if (s->posted) return;
	s->posted = true;
	loop_post(s->loop, vsock_run, s);
}

static void vsock_run(void *ctx)
{
	struct vsock *s = ctx;
	virtio_lock(&s->v);
	s->posted = false;
	if (s->dropped) drop_all(s);
	if (virtio_live(&s->v) && !s->paused) {
		s->starved = false;
		tell_moved(s);
		(void)strays_run(s);
		bool again = tx_run(s);
		rx_run(s);
		if (again && s->nstray < STRAYS) post(s);
	}
	for (struct conn *c = s->conn; c < s->conn + CONNS; c++)
		if (c->state != FREE) conn_watch(c);
	virtio_unlock(&s->v);
}

static void conn_late(struct conn *c)
{
	if (c->state == LAST)
		conn_free(c);
	else
		conn_kill(c);
	c->deadline = 0;
}

static void time_over(void *ctx)
{
	struct vsock *s = ctx;
	uint64_t now = now_ns();
	bool more = false;
	virtio_lock(&s->v);
	for (struct conn *c = s->conn; c < s->conn + CONNS; c++) {
		if (c->state == FREE || !c->deadline) continue;
		if (c->deadline <= now)
			conn_late(c);
		else
			more = true;
	}
	if (more) timer_arm(s->timer, now + SECOND);
	virtio_unlock(&s->v);
	vsock_run(s);
}

int virtio_vsock_connect(struct virtio_dev *v, int fd, uint32_t port, struct err *e)
{
	struct vsock *s = vsock_of(v);
	virtio_lock(v);
	if (s->dropped) drop_all(s);
	int r = virtio_live(v) ? 0 : fail(e, -EAGAIN, "the guest has no driver for sockets yet");
	while (!r && conn_find(s, port, s->next_port))
		s->next_port = s->next_port < UINT32_MAX ? s->next_port + 1 : 1u << 30;
	struct conn *c = r ? NULL : conn_new(s, fd, port, s->next_port++);
	if (!r && !c) r = fail(e, -EMFILE, "%d connections to the guest are open already", CONNS);
	if (c) {
		c->state = ASKED;
		conn_until(c, ANSWER);
		owe(c, OP_REQUEST);
		post(s);
	}
	virtio_unlock(v);
	return r;
}

/* ---- the device ---- */
static void vsock_notify(struct virtio_dev *v, unsigned queue)
{
	(void)virtq_want(&v->vq[queue], false);
	post(vsock_of(v));
}

static void vsock_reset(struct virtio_dev *v)
{
	struct vsock *s = vsock_of(v);
	s->dropped = true;
	s->moved = false;
	post(s);
}

static void vsock_pause(struct virtio_dev *v) { vsock_of(v)->paused = true; }

static void vsock_resume(struct virtio_dev *v)
{
	vsock_of(v)->paused = false;
	post(vsock_of(v));
}

/* Who was connected is with the guest that was saved, not with the one that comes back. */
static void vsock_state(struct virtio_dev *v, struct state *s)
{
	struct vsock *k = vsock_of(v);
	STATE(s, k, moved);
	if (s->loading) k->dropped = k->moved = true;
}

static void vsock_config_read(struct virtio_dev *v, unsigned off, void *buf, unsigned len)
{
	le64 cid = le64_of(GUEST);
	(void)v;
	memcpy(buf, (char *)&cid + off, len);
}

static void vsock_free(struct virtio_dev *v)
{
	struct vsock *s = vsock_of(v);
	drop_all(s);
	timer_free(s->timer);
	virtio_done(v);
	free(s);
}

static const struct virtio_ops vsock_ops = {
	.name = "vsock",
	.id = 19,
	.nqueues = QUEUES,
	.queue_max = QUEUE,
	.features = 1, /* streams: 5.10.3 */
	.config_len = sizeof(le64),
	.config_read = vsock_config_read,
	.notify = vsock_notify,
	.reset = vsock_reset,
	.pause = vsock_pause,
	.resume = vsock_resume,
	.state = vsock_state,
	.free = vsock_free,
};

int virtio_vsock_new(struct virtio_dev **out, struct gmem *mem, struct loop *l,
		     const struct vsock_host *host, struct err *e)
{
	struct vsock *s = calloc(1, sizeof(*s));
	if (!s) return fail(e, -ENOMEM, "sockets: out of memory");
	s->loop = l;
	s->host = *host;
	s->next_port = 1u << 30;
	for (unsigned i = 0; i < CONNS; i++) s->conn[i] = (struct conn){.of = s, .fd = -1};
	int r = loop_timer(l, &s->timer, time_over, s, e);
	if (r) {
		free(s);
		return r;
	}
	virtio_init(&s->v, &vsock_ops, mem);
	*out = &s->v;
	return 0;
}
