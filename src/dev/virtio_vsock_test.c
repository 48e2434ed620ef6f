/* The socket device under a driver that keeps the rules, and then under one that does not. */
#include "base/buf.h"
#include "base/loop.h"
#include "base/loop_rig_test.h"
#include "base/state.h"
#include "base/test.h"
#include "dev/dev.h"
#include "hw/virtio_driver_test.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RX, TX, HEADER = 44, RING = 256 * 1024, CONNS = 64 };
enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };
struct packet { /* 5.10.6 */
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

static struct vdrv d;
static struct loop *l;
static gpa_t buf, rx_at;
static int peer; /* of what the guest dialed last; -1 */
static unsigned dialed;
static uint32_t room = 1 << 20;

static int dial(void *ctx, uint32_t from, uint32_t to)
{
	int ends[2];
	(void)ctx;
	(void)from;
	dialed++;
	if (to == 99) return -ECONNREFUSED;
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends));
	if (peer >= 0) (void)close(peer);
	peer = ends[0];
	return ends[1];
}

static void turn(void) { loop_rig_turn(l, 4); }

static void start(void)
{
	struct virtio_dev *v = NULL;
	peer = -1;
	dialed = 0;
	vdrv_init(&d);
	must(!loop_new(&l, NULL));
	CHECK(!virtio_vsock_new(&v, d.mem, l, &(struct vsock_host){dial, NULL}, NULL));
	CHECK(vdrv_start(&d, v, 0, 0));
	buf = vdrv_alloc(&d, 1 << 20);
	rx_at = vdrv_alloc(&d, 4 << 20);
}
static void stop(void)
{
	vdrv_done(&d);
	loop_free(l);
	if (peer >= 0) (void)close(peer);
}

/* Buffers for n packets of up to len bytes. */
static void offer(unsigned n, uint32_t len)
{
	for (unsigned i = 0; i < n; i++)
		(void)vdrv_add(&d, RX, (struct vdrv_buf[]){{rx_at + i * 65536ull, len, 1}}, 1);
	vdrv_notify(&d, RX);
}

static void say_as(uint64_t src, uint64_t dst, uint16_t op, uint32_t from, uint32_t to,
		   uint32_t flags, const void *p, uint32_t n, uint32_t claimed)
{
	struct packet h = {.src_cid = src,
			   .dst_cid = dst,
			   .src_port = from,
			   .dst_port = to,
			   .len = claimed,
			   .type = 1,
			   .op = op,
			   .flags = flags,
			   .buf_alloc = room};
	uint16_t head;
	uint32_t len;
	memcpy(vdrv_at(&d, buf, HEADER), &h, HEADER);
	if (n) memcpy(vdrv_at(&d, buf + HEADER, n), p, n);
	(void)vdrv_add(&d, TX, (struct vdrv_buf[]){{buf, HEADER + n, 0}}, 1);
	vdrv_notify(&d, TX);
	turn();
	CHECK(vdrv_used(&d, TX, &head, &len) && len == 0);
}
static void say(uint16_t op, uint32_t from, uint32_t to, const void *p, uint32_t n)
{
	say_as(3, 2, op, from, to, 0, p, n, n);
}

/* The next packet for the guest; its data is behind it. */
static const struct packet *next(void)
{
	static uint8_t copy[65536];
	uint16_t head;
	uint32_t len;
	if (!vdrv_used(&d, RX, &head, &len)) return NULL;
	must(len <= sizeof(copy));
	memcpy(copy, vdrv_at(&d, d.q[RX].desc[head].addr, len), len);
	const struct packet *h = (const void *)copy;
	CHECK(len == HEADER + h->len && h->type == 1 && h->src_cid == 2 && h->dst_cid == 3);
	return h;
}
static bool hears(uint16_t op)
{
	const struct packet *h = next();
	return h && h->op == op;
}

static void open_one(void)
{
	offer(16, 4096);
	say(REQUEST, 1025, 7, NULL, 0);
	const struct packet *h = next();
	CHECK(h && h->op == RESPONSE && h->src_port == 7 && h->dst_port == 1025);
	CHECK(h->buf_alloc == RING && h->fwd_cnt == 0 && peer >= 0);
}

TEST(vsock_tells_its_address)
{
	start();
	uint64_t cid = 0;
	virtio_config_get(d.v, 0, &cid, 8);
	CHECK(cid == 3);
	stop();
}

TEST(vsock_carries_both_ways)
{
	char got[16] = "";
	start();
	open_one();
	say(RW, 1025, 7, "hello", 5);
	CHECK(recv(peer, got, sizeof(got), 0) == 5 && !memcmp(got, "hello", 5));
	CHECK(send(peer, "world!", 6, 0) == 6);
	turn();
	const struct packet *h = next();
	CHECK(h && h->op == RW && h->len == 6 && h->fwd_cnt == 5 && !memcmp(h + 1, "world!", 6));
	say(CREDIT_REQUEST, 1025, 7, NULL, 0);
	CHECK(hears(CREDIT_UPDATE) && !next());
	stop();
}

TEST(vsock_refuses_where_nobody_listens)
{
	start();
	offer(8, 4096);
	say(REQUEST, 1025, 99, NULL, 0);
	CHECK(hears(RST));
	say(RW, 1, 2, "x", 1);
	CHECK(hears(RST));
	say(RST, 1, 2, NULL, 0);
	say_as(3, 4, REQUEST, 1, 2, 0, NULL, 0, 0); /* to another guest, */
	say_as(4, 2, REQUEST, 1, 2, 0, NULL, 0, 0); /* as another guest */
	CHECK(!next() && dialed == 1);
	stop();
}

TEST(vsock_passes_on_ends)
{
	char c;
	start();
	open_one();
	say(RW, 1025, 7, "x", 1);
	say_as(3, 2, SHUTDOWN, 1025, 7, 2, NULL, 0, 0); /* it sends no more */
	CHECK(recv(peer, &c, 1, 0) == 1 && recv(peer, &c, 1, 0) == 0);
	CHECK(send(peer, "y", 1, 0) == 1 && !shutdown(peer, SHUT_WR));
	turn();
	CHECK(hears(RW));
	turn();
	const struct packet *h = next();
	CHECK(h && h->op == SHUTDOWN && h->flags);
	say_as(3, 2, SHUTDOWN, 1025, 7, 3, NULL, 0, 0);
	CHECK(hears(RST) && !next());
	say(RW, 1025, 7, "x", 1);
	CHECK(hears(RST));
	stop();
}

TEST(vsock_resets_when_the_host_is_gone)
{
	start();
	open_one();
	(void)close(peer);
	peer = -1;
	turn();
	const struct packet *h = next();
	CHECK(h && h->op == SHUTDOWN && h->flags == 3);
	say(RW, 1025, 7, "x", 1);
	CHECK(hears(RST) && !next());
	stop();
}

TEST(vsock_keeps_to_the_guests_credit)
{
	char some[5000];
	memset(some, 'a', sizeof(some));
	start();
	room = 1000;
	open_one();
	CHECK(send(peer, some, sizeof(some), 0) == sizeof(some));
	turn();
	const struct packet *h = next();
	CHECK(h && h->op == RW && h->len == 1000 && !next());
	room = 1500; /* none taken, but more room */
	say(CREDIT_UPDATE, 1025, 7, NULL, 0);
	h = next();
	CHECK(h && h->len == 500 && !next());
	room = 0; /* less than is under way */
	say(CREDIT_UPDATE, 1025, 7, NULL, 0);
	CHECK(!next());
	room = 1 << 20;
	stop();
}

/* A host that does not read: the ring fills, and who goes on then has no right to. */
TEST(vsock_gives_no_more_credit_than_it_has)
{
	static char some[60000];
	start();
	open_one();
	int small = 4096;
	(void)setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	const struct packet *h = NULL;
	unsigned n = 0;
	for (; n < 40 && !h; n++) {
		say(RW, 1025, 7, some, sizeof(some));
		h = next();
		if (h && h->op != RST) h = NULL;
	}
	CHECK(h && n * sizeof(some) > RING);
	stop();
}

TEST(vsock_lies_about_lengths_end_a_connection)
{
	start();
	open_one();
	say_as(3, 2, RW, 1025, 7, 0, "abc", 3, 4);
	CHECK(hears(RST));
	say(REQUEST, 1026, 7, NULL, 0);
	CHECK(hears(RESPONSE));
	say(99, 1026, 7, NULL, 0);
	CHECK(hears(RST));
	say(REQUEST, 1027, 7, NULL, 0);
	CHECK(hears(RESPONSE));
	say(REQUEST, 1027, 7, NULL, 0);
	CHECK(hears(RST) && !next());
	stop();
}

TEST(vsock_connects_to_the_guest)
{
	int ends[2];
	char got[8];
	start();
	offer(16, 4096);
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends));
	CHECK(!virtio_vsock_connect(d.v, ends[1], 1001, NULL));
	CHECK(send(ends[0], "early", 5, 0) == 5);
	turn();
	const struct packet *h = next();
	CHECK(h && h->op == REQUEST && h->dst_port == 1001 && !next());
	uint32_t port = h->src_port;
	say(RESPONSE, 1001, port, NULL, 0);
	h = next();
	CHECK(h && h->op == RW && h->len == 5);
	say(RST, 1001, port, NULL, 0);
	CHECK(recv(ends[0], got, sizeof(got), 0) == 0);
	(void)close(ends[0]);
	stop();
}

TEST(vsock_stands_while_paused_and_tells_of_a_move)
{
	uint16_t head;
	uint32_t len;
	struct buf b = {0};
	struct state out = {.b = &b}, in = {.b = &b, .loading = true};
	start();
	open_one();
	virtio_lock(d.v);
	d.v->ops->pause(d.v);
	virtio_unlock(d.v);
	CHECK(send(peer, "data", 4, 0) == 4);
	turn();
	CHECK(!next());
	virtio_state(d.v, &out);
	virtio_lock(d.v);
	d.v->ops->resume(d.v);
	virtio_unlock(d.v);
	turn();
	CHECK(hears(RW));
	virtio_state(d.v, &in);
	CHECK(state_end(&in, NULL) == 0 && virtio_live(d.v));
	(void)vdrv_add(&d, 2, (struct vdrv_buf[]){{buf, 8, 1}}, 1);
	vdrv_notify(&d, 2);
	turn();
	CHECK(vdrv_used(&d, 2, &head, &len) && len == 4);
	CHECK(recv(peer, &head, 1, 0) == 0);
	buf_done(&b);
	stop();
}

TEST(vsock_has_connections_for_the_host_left)
{
	start();
	offer(100, 4096);
	unsigned accepted = 0;
	for (uint32_t i = 0; i < CONNS + 10; i++) {
		say(REQUEST, 2000 + i, 7, NULL, 0);
		accepted += hears(RESPONSE);
	}
	CHECK(accepted > 0 && accepted < CONNS);
	int ends[2];
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends));
	CHECK(!virtio_vsock_connect(d.v, ends[1], 1001, NULL));
	(void)close(ends[0]);
	stop();
}

/* Refusals that the guest does not take: what it sends stays in its ring. */
TEST(vsock_waits_when_refusals_pile_up)
{
	uint16_t head;
	uint32_t len;
	start();
	struct packet h = {.src_cid = 3, .dst_cid = 2, .src_port = 5, .type = 1, .op = RW};
	memcpy(vdrv_at(&d, buf, HEADER), &h, HEADER);
	for (unsigned i = 0; i < 100; i++)
		(void)vdrv_add(&d, TX, (struct vdrv_buf[]){{buf, HEADER, 0}}, 1);
	vdrv_notify(&d, TX);
	turn();
	unsigned took = 0, told = 0;
	while (vdrv_used(&d, TX, &head, &len)) took++;
	CHECK(took == 64);
	offer(128, 4096);
	turn();
	while (vdrv_used(&d, TX, &head, &len)) took++;
	while (hears(RST)) told++;
	CHECK(took == 100 && told == 100);
	stop();
}

TEST(vsock_reset_ends_all)
{
	char c;
	start();
	open_one();
	int was = dup(peer);
	vdrv_reset(&d);
	turn();
	CHECK(recv(was, &c, 1, 0) == 0);
	(void)close(was);
	int ends[2];
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends));
	CHECK(virtio_vsock_connect(d.v, ends[1], 1, NULL) == -EAGAIN);
	(void)close(ends[0]);
	(void)close(ends[1]);
	CHECK(vdrv_start(&d, d.v, 0, 0));
	open_one();
	stop();
}

TEST(vsock_buffers_too_small_for_a_header_harm_nobody)
{
	uint16_t head;
	uint32_t len;
	start();
	offer(2, 16);
	offer(1, HEADER);
	offer(1, 4096);
	say(REQUEST, 1025, 7, NULL, 0);
	for (int i = 0; i < 3; i++) CHECK(vdrv_used(&d, RX, &head, &len) && len == 0);
	CHECK(hears(RESPONSE));
	offer(3, 16);
	CHECK(send(peer, "data", 4, 0) == 4);
	turn();
	for (int i = 0; i < 3; i++) CHECK(vdrv_used(&d, RX, &head, &len) && len == 0);
	CHECK(!next());
	offer(2, HEADER + 3);
	turn();
	CHECK(hears(RW) && hears(RW));
	stop();
}

/* Addresses that are nobody's, or mean something elsewhere (5.10.4), and kinds of socket there are
 * none of: not dialed, not answered; nor is a storm of resets. */
TEST(attack_vsock_reserved_addresses_and_storms)
{
	static const uint64_t cids[] = {0, 1, 2, 4, 0xffffffff, 0x100000003, UINT64_MAX};
	static const uint64_t hosts[] = {0, 1, 3, 4, 0xffffffff, 0x100000002, UINT64_MAX};
	start();
	offer(64, 4096);
	for (unsigned i = 0; i < COUNT(cids); i++) {
		say_as(cids[i], 2, REQUEST, 1025, 7, 0, NULL, 0, 0);
		say_as(3, hosts[i], REQUEST, 1025, 7, 0, NULL, 0, 0);
		say_as(cids[i], hosts[i], RW, 1025, 7, 0, "x", 1, 1);
	}
	for (unsigned i = 0; i < 1000; i++) say(RST, i, 7, NULL, 0);
	CHECK(!next() && !dialed && d.v->live);
	open_one();
	say_as(4, 2, RST, 1025, 7, 0, NULL, 0, 0); /* another guest's, as if */
	say(RW, 1025, 7, "y", 1);
	char c = 0;
	CHECK(recv(peer, &c, 1, 0) == 1 && c == 'y');
	stop();
}

/* Credit that comes and goes, and numbers that run backwards: no more than it says there is room.
 */
TEST(attack_vsock_lies_about_credit)
{
	static char some[60000];
	static const uint32_t rooms[] = {0, 1, UINT32_MAX, 1u << 31, 100, 0};
	start();
	open_one();
	offer(100, 65536);
	CHECK(send(peer, some, sizeof(some), 0) > 0);
	for (unsigned i = 0; i < COUNT(rooms); i++) {
		room = rooms[i];
		say(CREDIT_UPDATE, 1025, 7, NULL, 0);
		turn();
	}
	room = 1 << 20;
	unsigned got = 0;
	for (const struct packet *h; (h = next()); got += h->len) CHECK(h->op == RW);
	CHECK(got > 0 && d.v->live);
	stop();
}
