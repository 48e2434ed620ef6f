/* The port device under a driver that keeps the rules, and then under one that does not. */
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

enum { RX, TX, CTL_RX, CTL_TX };
enum { DEVICE_READY, PORT_ADD, PORT_READY = 3, PORT_OPEN = 6, PORT_NAME };
enum { MULTIPORT = 2 };
static struct vdrv d;
static struct loop *l;
static gpa_t buf, rx_at;
static int peer; /* of the socket that was asked for last; -1 */
static unsigned asked;
static bool nobody;

static int open_port(void *ctx)
{
	int ends[2];
	(void)ctx;
	asked++;
	if (nobody) return -ECONNREFUSED;
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
	asked = 0;
	nobody = false;
	vdrv_init(&d);
	must(!loop_new(&l, NULL));
	CHECK(!virtio_serial_new(&v, d.mem, l, "a.port.0", &(struct serial_host){open_port, NULL},
				 NULL));
	CHECK(vdrv_start(&d, v, MULTIPORT, 0));
	buf = vdrv_alloc(&d, 1 << 20);
	rx_at = vdrv_alloc(&d, 1 << 20);
}
static void stop(void)
{
	vdrv_done(&d);
	loop_free(l);
	if (peer >= 0) (void)close(peer);
}

static void offer(unsigned q, unsigned n, uint32_t len)
{
	for (unsigned i = 0; i < n; i++)
		(void)vdrv_add(&d, q, (struct vdrv_buf[]){{rx_at + i * 8192ull, len, 1}}, 1);
	vdrv_notify(&d, q);
	turn();
}

static bool say(unsigned q, const void *p, uint32_t n)
{
	uint16_t head;
	uint32_t len;
	memcpy(vdrv_at(&d, buf, n), p, n);
	(void)vdrv_add(&d, q, (struct vdrv_buf[]){{buf, n, 0}}, 1);
	vdrv_notify(&d, q);
	turn();
	return vdrv_used(&d, q, &head, &len) && len == 0;
}

static bool control(uint32_t id, uint16_t event, uint16_t value)
{
	const struct {
		uint32_t id;
		uint16_t event, value;
	} c = {id, event, value};
	return say(CTL_TX, &c, sizeof(c));
}

/* The next message to the guest is this one; name may be NULL. */
static bool told(uint16_t event, const char *name)
{
	uint16_t head;
	uint32_t len;
	if (!vdrv_used(&d, CTL_RX, &head, &len) || len < 8) return false;
	const uint8_t *p = vdrv_at(&d, d.q[CTL_RX].desc[head].addr, len);
	size_t n = name ? strlen(name) : 0;
	return !load_le(p, 4) && load_le(p + 4, 2) == event && load_le(p + 6, 2) == 1 &&
	       len == 8 + n && (!n || !memcmp(p + 8, name, n));
}

static void open_it(void)
{
	offer(CTL_RX, 8, 256);
	CHECK(control(0xffffffff, DEVICE_READY, 1) && told(PORT_ADD, NULL));
	CHECK(control(0, PORT_READY, 1) && told(PORT_NAME, "a.port.0") && told(PORT_OPEN, NULL));
	CHECK(!asked && control(0, PORT_OPEN, 1) && asked == 1 && peer >= 0);
}

static bool hears(const char *text)
{
	uint16_t head;
	uint32_t len;
	return vdrv_used(&d, RX, &head, &len) && len == strlen(text) &&
	       !memcmp(vdrv_at(&d, d.q[RX].desc[head].addr, len), text, len);
}

static ssize_t got(void *to, size_t n) { return recv(peer, to, n, MSG_DONTWAIT); }

TEST(serial_is_no_console)
{
	uint32_t ports;
	start();
	virtio_config_get(d.v, 4, &ports, 4);
	CHECK(ports == 1);
	CHECK(!vdrv_handshake(&d, d.v, 0) && vdrv_handshake(&d, d.v, MULTIPORT));
	stop();
}

TEST(serial_carries_both_ways)
{
	char text[16] = "";
	start();
	open_it();
	CHECK(say(TX, "hello", 5) && got(text, 16) == 5 && !memcmp(text, "hello", 5));
	CHECK(send(peer, "wo", 2, 0) == 2);
	turn();
	CHECK(!hears("wo")); /* there is no buffer */
	offer(RX, 2, 4096);
	CHECK(hears("wo") && send(peer, "rld", 3, 0) == 3);
	turn();
	CHECK(hears("rld"));
	stop();
}

TEST(serial_ends_when_the_guest_closes_it)
{
	char c;
	start();
	open_it();
	CHECK(control(0, PORT_OPEN, 1) && asked == 1);
	CHECK(say(TX, "x", 1) && control(0, PORT_OPEN, 0));
	CHECK(got(&c, 1) == 1 && got(&c, 1) == 0);
	CHECK(say(TX, "lost", 4) && asked == 1);
	CHECK(control(0, PORT_OPEN, 1) && asked == 2 && say(TX, "y", 1) && got(&c, 1) == 1);
	CHECK(c == 'y');
	stop();
}

/* Who hung up is asked for again when the guest has something to say, and not before. */
TEST(serial_asks_for_the_host_again)
{
	char c;
	start();
	open_it();
	offer(RX, 4, 64);
	(void)close(peer);
	peer = -1;
	turn();
	turn();
	CHECK(asked == 1 && say(TX, "a", 1) && asked == 2 && got(&c, 1) == 1 && c == 'a');
	nobody = true;
	(void)close(peer);
	peer = -1;
	turn();
	CHECK(say(TX, "b", 1) && asked == 3);
	stop();
}

TEST(serial_waits_for_a_full_host)
{
	static uint8_t some[1 << 16];
	uint16_t head;
	uint32_t len;
	size_t in = 0, out = 0;
	start();
	open_it();
	for (unsigned i = 0; i < 32; i++, in += sizeof(some))
		(void)vdrv_add(&d, TX, (struct vdrv_buf[]){{buf, sizeof(some), 0}}, 1);
	vdrv_notify(&d, TX);
	turn();
	unsigned n = 0;
	while (vdrv_used(&d, TX, &head, &len)) n++;
	CHECK(n < 32);
	for (ssize_t r; (r = got(some, sizeof(some))) > 0; turn()) out += (size_t)r;
	CHECK(out == in);
	stop();
}

/* A chain that was half passed on when it was saved is not said twice. */
TEST(serial_comes_back)
{
	static uint8_t some[1 << 16];
	auto_buf struct buf b = {0};
	struct state out = {.b = &b}, in = {.b = &b, .loading = true};
	size_t first = 0, then = 0;
	start();
	open_it();
	for (unsigned i = 0; i < 8; i++)
		(void)vdrv_add(&d, TX, (struct vdrv_buf[]){{buf, sizeof(some), 0}}, 1);
	vdrv_notify(&d, TX);
	turn();
	virtio_lock(d.v);
	d.v->ops->pause(d.v);
	virtio_unlock(d.v);
	virtio_state(d.v, &out);
	for (ssize_t r; (r = got(some, sizeof(some))) > 0;) first += (size_t)r;
	virtio_state(d.v, &in);
	CHECK(state_end(&in, NULL) == 0 && virtio_live(d.v));
	CHECK(asked == 1);
	virtio_lock(d.v);
	d.v->ops->resume(d.v);
	virtio_unlock(d.v);
	turn();
	CHECK(asked == 2);
	for (ssize_t r; (r = got(some, sizeof(some))) > 0; turn()) then += (size_t)r;
	CHECK(first + then == 8 * sizeof(some));
	stop();
}

TEST(serial_does_not_mind_nonsense)
{
	start();
	CHECK(say(CTL_TX, "\1\2\3", 3) && control(7, PORT_OPEN, 1) && control(0, 99, 1));
	CHECK(control(1, PORT_READY, 1) && !asked);
	CHECK(control(0, PORT_OPEN, 1) && asked == 1 && control(0, PORT_READY, 0));
	offer(CTL_RX, 4, 4); /* too small for anything */
	CHECK(control(0, PORT_READY, 1) && control(0xffffffff, DEVICE_READY, 0));
	offer(RX, 2, 0);
	CHECK(send(peer, "x", 1, 0) == 1);
	turn();
	vdrv_reset(&d);
	turn();
	CHECK(got(&(char){0}, 1) < 0 && errno == ECONNRESET); /* it had not taken all */
	stop();
}
