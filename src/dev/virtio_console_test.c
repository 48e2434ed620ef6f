/* The virtio console, and the entropy device. */
#include "base/chr.h"
#include "base/test.h"
#include "dev/dev.h"
#include "hw/virtio_driver_test.h"

enum { RX, TX };
static struct sitter {
	size_t room, n;
	unsigned hungry;
	uint8_t got[4096];
} host;
static size_t take(void *h, const uint8_t *p, size_t n)
{
	struct sitter *s = h;
	if (n > s->room) n = s->room;
	for (size_t i = 0; i < n; i++) s->got[(s->n + i) % sizeof(s->got)] = p[i];
	s->n += n;
	s->room -= n;
	return n;
}
static void want_more(void *h) { ((struct sitter *)h)->hungry++; }

static struct chr chr;
static struct vdrv d;
static gpa_t buf;
static uint16_t head;
static uint32_t len;

static void start(size_t room)
{
	struct virtio_dev *v = NULL;
	host = (struct sitter){.room = room};
	chr = (struct chr){.output = take, .hungry = want_more, .host = &host};
	vdrv_init(&d);
	CHECK(virtio_console_new(&v, d.mem, &chr, NULL) == 0 && vdrv_start(&d, v, 0, 0));
	buf = vdrv_alloc(&d, 2 << 20);
}
static void stop(void)
{
	vdrv_done(&d);
	CHECK(!chr.input && !chr.drained);
}
static uint8_t *at(gpa_t a) { return vdrv_at(&d, a, 1); }
static size_t keys(const char *s) { return chr.input(chr.dev, (const uint8_t *)s, strlen(s)); }
static void offer(unsigned q, gpa_t a, uint32_t n)
{
	(void)vdrv_add(&d, q, (struct vdrv_buf[]){{a, n, q == RX}}, 1);
	vdrv_notify(&d, q);
}
static bool gone(unsigned q) { return vdrv_used(&d, q, &head, &len); }

TEST(vcon_prints)
{
	start(100);
	memcpy(at(buf), "hello, world", 12);
	struct vdrv_buf b[] = {{buf, 5, 0}, {buf + 5, 7, 0}};
	(void)vdrv_add(&d, TX, b, 2);
	vdrv_notify(&d, TX);
	CHECK(host.n == 12 && !memcmp(host.got, "hello, world", 12) && gone(TX) && len == 0);
	stop();
}

TEST(vcon_prints_long_chains_and_many)
{
	start(4096);
	for (unsigned i = 0; i < 3000; i++) at(buf)[i] = (uint8_t)(i % 251);
	struct vdrv_buf b[] = {{buf, 1500, 0}, {buf + 1500, 1500, 0}};
	(void)vdrv_add(&d, TX, b, 2);
	(void)vdrv_add(&d, TX, b, 1);
	vdrv_notify(&d, TX);
	CHECK(host.n == 4096 && !memcmp(host.got, at(buf), 3000) && gone(TX) && !gone(TX));
	CHECK(!memcmp(host.got + 3000, at(buf), 1096));
	host.room = 4096;
	chr.drained(chr.dev);
	CHECK(host.n == 4500 && !memcmp(host.got, at(buf) + 1096, 404) && gone(TX));
	CHECK(d.queue_irqs[TX] == 2 && d.q[TX].used[0] == 0);
	stop();
}

TEST(vcon_waits_for_the_sitter)
{
	start(4);
	memcpy(at(buf), "abcdefghij", 10);
	offer(TX, buf, 10);
	offer(TX, buf + 8, 2);
	CHECK(host.n == 4 && !gone(TX));
	chr.drained(chr.dev);
	CHECK(host.n == 4 && !gone(TX));
	host.room = 3;
	chr.drained(chr.dev);
	CHECK(host.n == 7 && !gone(TX));
	host.room = 100;
	chr.drained(chr.dev);
	CHECK(host.n == 12 && !memcmp(host.got, "abcdefghijij", 12) && gone(TX) && gone(TX));
	stop();
}

TEST(vcon_reset_drops_a_half_written_chain)
{
	start(1);
	memcpy(at(buf), "xyz", 3);
	offer(TX, buf, 3);
	CHECK(host.n == 1);
	vdrv_reset(&d);
	host.room = 100;
	chr.drained(chr.dev);
	CHECK(host.n == 1 && vdrv_start(&d, d.v, 0, 0));
	offer(TX, buf + 2, 1);
	CHECK(host.n == 2 && host.got[1] == 'z' && gone(TX));
	stop();
}

TEST(vcon_long_chains_end)
{
	start(SIZE_MAX);
	struct vdrv_buf b[40];
	for (unsigned i = 0; i < 40; i++) b[i] = (struct vdrv_buf){buf, 1 << 20, 0};
	(void)vdrv_add(&d, TX, b, 40);
	vdrv_notify(&d, TX);
	CHECK(gone(TX) && host.n == 1 << 20);
	stop();
}

TEST(vcon_takes_keys_as_there_are_buffers)
{
	start(0);
	CHECK(keys("early") == 0 && host.hungry == 0);
	offer(RX, buf, 3);
	offer(RX, buf + 16, 8);
	CHECK(host.hungry == 1 && keys("keystroke!!!") == 11);
	CHECK(gone(RX) && len == 3 && gone(RX) && len == 8 && d.queue_irqs[RX] == 1);
	CHECK(!memcmp(at(buf), "key", 3) && !memcmp(at(buf + 16), "stroke!!", 8));
	offer(RX, buf, 100);
	CHECK(host.hungry == 2 && keys("!") == 1 && gone(RX) && len == 1 && *at(buf) == '!');
	CHECK(keys("") == 0);
	offer(RX, buf, 1);
	CHECK(host.hungry == 2); /* nothing was refused since */
	uint8_t c[12];
	virtio_config_get(d.v, 0, c, 12);
	CHECK(load_le(c + 4, 4) == 1);
	stop();
}

TEST(vcon_readable_buffers_take_no_keys)
{
	start(0);
	for (int i = 0; i < 64; i++) (void)vdrv_add(&d, RX, (struct vdrv_buf[]){{buf, 8, 0}}, 1);
	vdrv_notify(&d, RX);
	CHECK(keys("x") == 0 && *at(buf) == 0);
	stop();
}

TEST(vcon_emergency_write_needs_no_setup)
{
	start(10);
	vdrv_reset(&d);
	virtio_lock(d.v);
	virtio_config_set(d.v, 8, "A\0\0", 4);
	virtio_config_set(d.v, 8, "B", 1);
	virtio_config_set(d.v, 7, "C", 1);
	virtio_config_set(d.v, 12, "D", 1);
	virtio_unlock(d.v);
	CHECK(host.n == 2 && host.got[0] == 'A' && host.got[1] == 'B');
	stop();
}

TEST(vrng_fills_some_of_each_buffer)
{
	struct virtio_dev *v = NULL;
	vdrv_init(&d);
	CHECK(virtio_rng_new(&v, d.mem, NULL) == 0 && vdrv_start(&d, v, 0, 0));
	buf = vdrv_alloc(&d, 2 << 20);
	offer(RX, buf, 64);
	CHECK(gone(RX) && len == 64);
	static const uint8_t zeroes[64];
	CHECK(memcmp(at(buf), zeroes, 64) && !memcmp(at(buf + 64), zeroes, 64));
	struct vdrv_buf huge[] = {{buf, 1 << 20, 1}, {buf, 1 << 20, 1}, {buf, 1 << 20, 1}};
	(void)vdrv_add(&d, RX, huge, 3);
	vdrv_notify(&d, RX);
	CHECK(gone(RX) && len > 0 && len <= 4096);
	(void)vdrv_add(&d, RX, (struct vdrv_buf[]){{buf, 8, 0}}, 1);
	vdrv_notify(&d, RX);
	CHECK(gone(RX) && len == 0 && virtio_live(d.v));
	stop();
}
