#include "base/buf.h"
#include "base/state.h"
#include "base/test.h"
#include "dev/dev.h"
#include "hw/virtio_driver_test.h"
#include "net/frame.h"
#include "net/port.h"

/* The other end of the cable. */
enum { RX, TX, HDR = 12, FRAME = 60, F_MAC = 5 };
static struct peer {
	struct port port;
	unsigned frames, refused, readies;
	int room; /* frames it takes */
	size_t len;
	uint8_t last[70000];
	bool hasty;  /* says that it has room from inside a refusal */
	bool echoes; /* sends each frame back, from inside deliver() */
} peer;

static bool peer_deliver(struct port *p, const struct iovec *iov, int n)
{
	struct peer *e = (struct peer *)p;
	if (e->room-- <= 0) {
		e->refused++;
		if (e->hasty) {
			e->room = 1;
			port_ready(p);
		}
		return false;
	}
	e->len = 0;
	for (int i = 0; i < n; e->len += iov[i++].iov_len)
		memcpy(e->last + e->len, iov[i].iov_base, iov[i].iov_len);
	e->frames++;
	if (e->echoes) (void)port_send(p, iov, n);
	return true;
}
static void peer_ready(struct port *p) { ((struct peer *)p)->readies++; }
static void peer_free(struct port *p) { (void)p; }
static const struct port_ops peer_ops = {"peer", peer_deliver, peer_ready, peer_free, NULL, NULL};

static struct vdrv d;
static gpa_t buf;

static void start(int room)
{
	static const uint8_t mac[6] = {2, 1, 2, 3, 4, 5};
	struct virtio_dev *v = NULL;
	struct port *nic = NULL;
	memset(&peer, 0, sizeof(peer));
	peer.port.ops = &peer_ops;
	peer.room = room;
	vdrv_init(&d);
	CHECK(virtio_net_new(&v, d.mem, mac, &nic, NULL) == 0 && !memcmp(nic->mac, mac, 6));
	port_wire(nic, &peer.port);
	CHECK(vdrv_start(&d, v, 1ull << F_MAC, 0));
	buf = vdrv_alloc(&d, 1 << 20);
}
static void stop(void) { vdrv_done(&d); }
static uint8_t *at(gpa_t a) { return vdrv_at(&d, a, 1); }

static void transmit(uint32_t len, uint8_t mark)
{
	memset(at(buf), 0, HDR);
	memset(at(buf + HDR), mark, len);
	(void)vdrv_add(&d, TX, (struct vdrv_buf[]){{buf, HDR + len, 0}}, 1);
	vdrv_notify(&d, TX);
}
static bool deliver(size_t len, uint8_t mark)
{
	static uint8_t f[70000];
	memset(f, mark, sizeof(f));
	size_t cut = len / 3;
	return port_send(&peer.port, (struct iovec[]){{f, cut}, {f, 0}, {f, len - cut}}, 3);
}
static unsigned reap(unsigned q)
{
	uint16_t head;
	uint32_t len;
	unsigned n = 0;
	while (vdrv_used(&d, q, &head, &len)) n++;
	return n;
}

TEST(vnet_sends)
{
	start(100);
	transmit(FRAME, 0xa1);
	CHECK(peer.frames == 1 && peer.len == FRAME && peer.last[FRAME - 1] == 0xa1);
	struct vdrv_buf split[] = {{buf, 5, 0}, {buf + 5, 8, 0}, {buf + 13, 100, 0}};
	(void)vdrv_add(&d, TX, split, 3);
	vdrv_notify(&d, TX);
	CHECK(peer.frames == 2 && peer.len == 101 && reap(TX) == 2 && d.queue_irqs[TX] == 2);
	stop();
}

TEST(vnet_does_not_send_what_is_no_frame)
{
	start(100);
	(void)vdrv_add(&d, TX, (struct vdrv_buf[]){{buf, 11, 0}}, 1); /* header cut short */
	(void)vdrv_add(&d, TX, (struct vdrv_buf[]){{buf, 12, 0}}, 1);
	(void)vdrv_add(&d, TX, (struct vdrv_buf[]){{buf, 100, 1}}, 1); /* nothing to read */
	vdrv_notify(&d, TX);
	transmit(13, 1);
	transmit(65537, 1);
	CHECK(peer.frames == 0 && reap(TX) == 5);
	transmit(65536, 7);
	transmit(14, 8);
	CHECK(peer.frames == 2 && peer.len == 14 && virtio_live(d.v));
	stop();
}

TEST(vnet_ignores_offload_fields_it_did_not_offer)
{
	start(100);
	memset(at(buf), 0xff, HDR);
	memset(at(buf + HDR), 3, FRAME);
	(void)vdrv_add(&d, TX, (struct vdrv_buf[]){{buf, HDR + FRAME, 0}}, 1);
	vdrv_notify(&d, TX);
	CHECK(peer.frames == 1 && peer.len == FRAME && peer.last[0] == 3);
	stop();
}

TEST(vnet_holds_a_frame_until_the_peer_has_room)
{
	start(1);
	transmit(FRAME, 1);
	transmit(FRAME, 2);
	transmit(FRAME, 3);
	CHECK(peer.frames == 1 && peer.refused == 2 && peer.last[0] == 1);
	CHECK(reap(TX) == 2); /* one went, one is held, the third waits in the ring */
	peer.room = 1;
	port_ready(&peer.port);
	CHECK(peer.frames == 2);
	peer.room = 10;
	port_ready(&peer.port);
	CHECK(peer.frames == 3 && peer.last[0] == 3 && reap(TX) == 1);
	port_ready(&peer.port);
	CHECK(peer.frames == 3);
	stop();
}

TEST(vnet_hears_a_peer_that_is_ready_at_once)
{
	start(0);
	peer.hasty = true;
	for (uint8_t i = 1; i < 20; i++) transmit(FRAME, i);
	CHECK(peer.frames == 19 && peer.refused == 19 && peer.last[0] == 19 && reap(TX) == 19);
	stop();
}

TEST(vnet_reset_forgets_the_held_frame)
{
	start(0);
	transmit(FRAME, 1);
	CHECK(peer.refused == 1);
	vdrv_reset(&d);
	peer.room = 10;
	port_ready(&peer.port);
	CHECK(peer.frames == 0 && vdrv_start(&d, d.v, 0, 0));
	transmit(FRAME, 2);
	CHECK(peer.frames == 1 && peer.last[0] == 2);
	stop();
}

TEST(vnet_receives)
{
	uint16_t head;
	uint32_t len;
	start(0);
	memset(at(buf), 0xee, 4096);
	struct vdrv_buf split[] = {{buf, 7, 1}, {buf + 7, 6, 1}, {buf + 13, 2000, 1}};
	(void)vdrv_add(&d, RX, split, 3);
	vdrv_notify(&d, RX);
	CHECK(peer.readies == 1);
	CHECK(deliver(1514, 0x42));
	CHECK(vdrv_used(&d, RX, &head, &len) && len == HDR + 1514 && d.queue_irqs[RX] == 1);
	static const uint8_t want[HDR] = {[10] = 1}; /* num_buffers */
	CHECK(!memcmp(at(buf), want, HDR));
	CHECK(at(buf)[HDR] == 0x42 && at(buf)[HDR + 1513] == 0x42 && at(buf)[HDR + 1514] == 0xee);
	stop();
}

TEST(vnet_without_buffers_says_so_once_it_has)
{
	start(0);
	CHECK(!deliver(FRAME, 1) && !deliver(FRAME, 2));
	CHECK(peer.readies == 0);
	(void)vdrv_add(&d, RX, (struct vdrv_buf[]){{buf, 2000, 1}}, 1);
	vdrv_notify(&d, RX);
	CHECK(peer.readies == 1 && deliver(FRAME, 3) && !deliver(FRAME, 4));
	CHECK(reap(RX) == 1 && at(buf)[HDR] == 3);
	vdrv_notify(&d, RX);
	vdrv_notify(&d, RX);
	CHECK(peer.readies == 2); /* said once each time */
	vdrv_reset(&d);
	CHECK(vdrv_start(&d, d.v, 0, 0));
	vdrv_notify(&d, RX);
	CHECK(peer.readies == 3);
	d.v->vq[RX].enabled = false;
	CHECK(deliver(FRAME, 5)); /* no queue: nobody there */
	stop();
}

TEST(vnet_does_not_spoil_small_buffers)
{
	start(0);
	for (gpa_t i = 0; i < 16; i++)
		(void)vdrv_add(&d, RX, (struct vdrv_buf[]){{buf + i, 1, 1}}, 1);
	(void)vdrv_add(&d, RX, (struct vdrv_buf[]){{buf + 64, HDR + FRAME, 1}}, 1);
	vdrv_notify(&d, RX);
	for (int i = 0; i < 1000; i++) CHECK(deliver(FRAME, 1)); /* lost, at once */
	CHECK(reap(RX) == 0 && virtio_live(d.v) && at(buf)[0] == 0);
	stop();
}

TEST(vnet_drops_what_is_no_frame)
{
	start(0);
	(void)vdrv_add(&d, RX, (struct vdrv_buf[]){{buf, 1 << 20, 1}}, 1);
	vdrv_notify(&d, RX);
	CHECK(deliver(13, 1) && deliver(65537, 1) && deliver(0, 1) && reap(RX) == 0);
	(void)vdrv_add(&d, RX, (struct vdrv_buf[]){{buf, 1 << 20, 1}}, 1);
	CHECK(deliver(65536, 1) && deliver(14, 1) && reap(RX) == 2);
	vdrv_reset(&d);
	CHECK(deliver(FRAME, 1)); /* nobody there: taken and lost */
	stop();
}

/* A peer that answers from inside: the device may not hold its lock while it sends. */
TEST(vnet_calls_its_peer_without_a_lock)
{
	start(100);
	peer.echoes = true;
	(void)vdrv_add(&d, RX, (struct vdrv_buf[]){{buf + 4096, 2000, 1}}, 1);
	vdrv_notify(&d, RX);
	transmit(FRAME, 9);
	CHECK(peer.frames == 1 && reap(RX) == 1 && at(buf + 4096)[HDR] == 9);
	stop();
}

TEST(vnet_drains_a_full_ring)
{
	start(10000);
	memset(at(buf), 1, HDR + FRAME);
	for (int i = 0; i < 256; i++)
		(void)vdrv_add(&d, TX, (struct vdrv_buf[]){{buf, HDR + FRAME, 0}}, 1);
	vdrv_notify(&d, TX);
	CHECK(peer.frames == 256 && reap(TX) == 256 && d.queue_irqs[TX] == 1);
	CHECK(d.q[TX].used[0] == 0); /* and asks for the next notification */
	stop();
}

/* ---- unfinished frames */
enum { F_CSUM, F_GUEST_CSUM, F_GUEST_TSO4 = 7, F_HOST_TSO4 = 11, F_MRG_RXBUF = 15 };
#define BIT(n) (1ull << (n))
static struct offload given;

static bool peer_large(struct port *p, const struct offload *o, const uint8_t *f, size_t len)
{
	given = *o;
	return peer_deliver(p, &(struct iovec){(void *)f, len}, 1);
}

static void start_with(uint64_t features, bool large)
{
	static const struct port_ops ops = {"peer",    peer_deliver, peer_ready,
					    peer_free, peer_large,   NULL};
	start(100);
	if (large) peer.port.ops = &ops;
	vdrv_reset(&d);
	CHECK(vdrv_start(&d, d.v, BIT(F_MAC) | features, 0));
	given = (struct offload){0};
}

/* A TCP segment behind a header that says that of it. */
static void tcp(uint8_t *f, size_t len)
{
	memset(f, 0x11, len);
	be16_put(f + 12, 0x0800);
	f[14] = 0x45;
	be16_put(f + 16, (unsigned)len - 14);
	be16_put(f + 20, 0);
	f[23] = 6;
	f[46] = 0x50;
	f[47] = 0x10;
}
static void transmit_tcp(size_t len, uint8_t flags, uint8_t gso, uint16_t size, uint16_t from)
{
	uint8_t *h = vdrv_at(&d, buf, HDR + len);
	memset(h, 0, HDR);
	h[0] = flags;
	h[1] = gso;
	store_le(h + 4, size, 2);
	store_le(h + 6, from, 2);
	store_le(h + 8, 16, 2);
	tcp(h + HDR, len);
	(void)vdrv_add(&d, TX, (struct vdrv_buf[]){{buf, (uint32_t)(HDR + len), 0}}, 1);
	vdrv_notify(&d, TX);
	CHECK(reap(TX) == 1);
}

TEST(vnet_sends_large_frames_as_they_are)
{
	start_with(BIT(F_CSUM) | BIT(F_HOST_TSO4), true);
	transmit_tcp(30000, 1, 1, 1400, 34);
	CHECK(peer.frames == 1 && peer.len == 30000);
	CHECK(given.kind == OFFLOAD_TCP4 && given.l4 == 34 && given.size == 1400);
	transmit_tcp(1000, 1, 0, 0, 34);
	CHECK(peer.frames == 2 && given.kind == OFFLOAD_CSUM);
	transmit_tcp(1000, 0, 0, 0, 0);
	CHECK(peer.frames == 3 && given.kind == OFFLOAD_NONE);
	stop();
}

TEST(vnet_cuts_for_a_peer_that_takes_no_large_ones)
{
	start_with(BIT(F_CSUM) | BIT(F_HOST_TSO4), false);
	transmit_tcp(54 + 2500, 1, 1, 1000, 34);
	CHECK(peer.frames == 3 && peer.len == 54 + 500 && be16_at(peer.last + 16) == 40 + 500);
	stop();
}

TEST(vnet_sends_no_frame_of_which_a_lie_is_told)
{
	start_with(BIT(F_CSUM) | BIT(F_HOST_TSO4), true);
	transmit_tcp(3000, 0, 1, 1000, 34); /* cut without a sum */
	transmit_tcp(3000, 1, 4, 1000, 34); /* IPv6, which was not agreed on */
	transmit_tcp(3000, 1, 0x81, 1000, 34);
	transmit_tcp(3000, 1, 1, 10, 34);
	transmit_tcp(3000, 1, 1, 1000, 40);
	transmit_tcp(3000, 1, 1, 1500, 34);
	transmit_tcp(1000, 1, 0, 0, 999); /* the sum behind the end */
	transmit_tcp(1000, 1, 0, 0, 65535);
	CHECK(peer.frames == 0 && virtio_live(d.v));
	transmit_tcp(1000, 1, 0, 0, 900); /* a sum of whatever it is, made here */
	CHECK(peer.frames == 1 && given.kind == OFFLOAD_NONE);
	CHECK(be16_at(peer.last + 916) != 0x1111);
	stop();
}

static bool give(struct offload o, size_t len)
{
	static uint8_t f[65536];
	tcp(f, len);
	CHECK(offload_check(&o, f, len));
	return port_send_large(&peer.port, &o, f, len);
}
static void offer(unsigned n, uint32_t len)
{
	for (unsigned i = 0; i < n; i++)
		(void)vdrv_add(&d, RX, (struct vdrv_buf[]){{buf + i * len, len, 1}}, 1);
	vdrv_notify(&d, RX);
}

TEST(vnet_receives_large_frames_in_many_buffers)
{
	uint16_t head;
	uint32_t len;
	start_with(BIT(F_GUEST_CSUM) | BIT(F_GUEST_TSO4) | BIT(F_MRG_RXBUF), true);
	offer(3, 1500);
	uint16_t shown = (uint16_t)load_le(&d.q[RX].used[2], 2);
	CHECK(!give((struct offload){OFFLOAD_TCP4, 34, 1400}, 5000)); /* four are needed */
	CHECK(load_le(&d.q[RX].used[2], 2) == shown);
	unsigned readies = peer.readies;
	offer(1, 1500);
	CHECK(peer.readies == readies + 1);
	vdrv_reset(&d);
	CHECK(vdrv_start(&d, d.v, BIT(F_GUEST_CSUM) | BIT(F_GUEST_TSO4) | BIT(F_MRG_RXBUF), 0));
	offer(8, 1500);
	CHECK(give((struct offload){OFFLOAD_TCP4, 34, 1400}, 5000));
	for (unsigned i = 0; i < 4; i++)
		CHECK(vdrv_used(&d, RX, &head, &len) && len == (i < 3 ? 1500u : 5012 - 4500));
	CHECK(!vdrv_used(&d, RX, &head, &len) && d.queue_irqs[RX] == 1);
	static const uint8_t want[HDR] = {1, 1, 54, 0, 0x78, 5, 34, 0, 16, 0, 4};
	CHECK(!memcmp(at(buf), want, HDR) && at(buf)[4500 + 511] == 0x11);
	CHECK(deliver(60, 7) && vdrv_used(&d, RX, &head, &len) && len == 72);
	stop();
}

TEST(vnet_finishes_for_a_driver_that_does_not)
{
	uint16_t head;
	uint32_t len;
	start_with(0, true);
	offer(2, 1600);
	CHECK(give((struct offload){OFFLOAD_CSUM, 34, 0}, 1000));
	CHECK(vdrv_used(&d, RX, &head, &len) && len == 1012 && at(buf)[0] == 0);
	CHECK(at(buf)[HDR + 50] != 0x11 || at(buf)[HDR + 51] != 0x11);
	CHECK(!give((struct offload){OFFLOAD_TCP4, 34, 1000}, 54 + 2500)); /* of three one fits */
	CHECK(reap(RX) == 0);
	offer(2, 1600);
	CHECK(peer.readies > 1 && give((struct offload){OFFLOAD_TCP4, 34, 1000}, 54 + 2500));
	for (unsigned i = 0; i < 3; i++)
		CHECK(vdrv_used(&d, RX, &head, &len) && len == (i < 2 ? 1066u : 566));
	stop();
}

TEST(vnet_drops_what_no_ring_could_hold)
{
	start_with(BIT(F_GUEST_CSUM) | BIT(F_GUEST_TSO4) | BIT(F_MRG_RXBUF), true);
	offer(100, 20);
	CHECK(give((struct offload){OFFLOAD_TCP4, 34, 1000}, 30000) && reap(RX) == 0);
	CHECK(deliver(60, 7) && reap(RX) == 4 && virtio_live(d.v));
	stop();
}

TEST(vnet_says_which_sums_are_right)
{
	start_with(BIT(F_GUEST_CSUM), true);
	offer(2, 1600);
	CHECK(give((struct offload){.kind = OFFLOAD_VALID}, 1000) && at(buf)[0] == 2);
	CHECK(give((struct offload){0}, 1000) && at(buf + 1600)[0] == 0);
	stop();
}

TEST(vnet_config_is_mac_and_link)
{
	uint8_t c[8];
	start(0);
	virtio_lock(d.v);
	virtio_config_get(d.v, 0, c, 8);
	virtio_unlock(d.v);
	CHECK(!memcmp(c, "\x02\x01\x02\x03\x04\x05\x01\x00", 8));
	stop();
}

static unsigned link_status(void)
{
	uint8_t b[8];
	virtio_config_get(d.v, 0, b, 8);
	return b[6] | b[7] << 8;
}

/* Its peer died: its driver is told. Restored elsewhere it looks again. */
TEST(vnet_loses_its_link_with_its_peer)
{
	struct buf b = {0};
	struct state s = {.b = &b};
	start(100);
	CHECK(link_status() == 1 && !d.config_irqs);
	port_down(&peer.port);
	CHECK(link_status() == 0 && d.config_irqs == 1);
	virtio_state(d.v, &s);
	s.loading = true;
	virtio_pause(d.v);
	virtio_state(d.v, &s);
	CHECK(state_ok(&s) && d.config_irqs == 1);
	virtio_resume(d.v);
	CHECK(d.config_irqs == 2);
	buf_done(&b);
	stop();
}
