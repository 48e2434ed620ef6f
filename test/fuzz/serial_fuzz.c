/* The port device under a driver that sends any control messages and bytes, and takes what it is
 * sent or does not, while the host hangs up, is not there, or does not listen. Input: steps. */
#include "base/buf.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/state.h"
#include "dev/dev.h"
#include "hw/virtio_driver_test.h"
#include <stdint.h>
#include <sys/socket.h>

enum { RX, TX, CTL_RX, CTL_TX, MULTIPORT = 2, STEPS = 256, BUFFERS = 16, QUEUE = 64, LEN = 8192 };
static struct vdrv d;
static struct loop *l;
static gpa_t tx_at, rx_at;
static int peer;
static unsigned asked;

static int open_port(void *ctx)
{
	int ends[2];
	(void)ctx;
	if (++asked % 5 == 0) return -1;
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends));
	drop_fd(&peer);
	peer = ends[0];
	return ends[1];
}

static void stop_loop(void *ctx) { loop_stop(ctx, 0); }
static void turn(void)
{
	loop_post(l, stop_loop, l);
	(void)loop_run(l);
}

static void say(unsigned q, const uint8_t *p)
{
	uint16_t head;
	uint32_t len, n = q == TX ? p[0] * 64u : p[0] & 7 ? 8 : p[0] / 8u;
	store_le(vdrv_at(&d, tx_at, 8), p[1] & 15 ? 0 : p[2], 4);
	store_le(vdrv_at(&d, tx_at + 4, 4), p[3] % 9u, 2);
	store_le(vdrv_at(&d, tx_at + 6, 2), p[4] % 2u, 2);
	while (vdrv_used(&d, q, &head, &len)) must(!len);
	(void)vdrv_add(&d, q, (struct vdrv_buf[]){{tx_at, n / 2, 0}, {tx_at + n / 2, n - n / 2, 0}},
		       2);
	if (!(p[5] & 8)) vdrv_notify(&d, q);
}

static void offer(unsigned q, const uint8_t *p)
{
	uint16_t head;
	uint32_t len;
	while (vdrv_used(&d, q, &head, &len)) must(len <= LEN);
	for (unsigned i = 0; i < p[0] % BUFFERS; i++)
		(void)vdrv_add(&d, q, (struct vdrv_buf[]){{rx_at + i * LEN, p[1] * 32u, 1}}, 1);
	vdrv_notify(&d, q);
}

static void host(const uint8_t *p)
{
	static uint8_t some[16384];
	switch (p[0] % 4) {
	case 0: (void)send(peer, some, p[1] * 64u, MSG_DONTWAIT | MSG_NOSIGNAL); break;
	case 1: (void)recv(peer, some, p[1] * 64u, MSG_DONTWAIT); break;
	case 2: (void)shutdown(peer, p[1] % 3); break;
	default: drop_fd(&peer); peer = -1;
	}
}

static void again(const uint8_t *p)
{
	auto_buf struct buf b = {0};
	struct state out = {.b = &b}, in = {.b = &b, .loading = true};
	if (p[0] % 4 == 0) {
		vdrv_reset(&d);
		if (p[1] & 1) turn();
		(void)vdrv_start(&d, d.v, MULTIPORT, QUEUE);
		return;
	}
	virtio_pause(d.v);
	turn();
	if (p[0] % 4 == 1) {
		virtio_state(d.v, &out);
		if (p[1] & 1 && b.len) b.at[p[2] % b.len] = (char)p[3];
		virtio_state(d.v, &in);
		(void)state_end(&in, NULL);
	}
	virtio_resume(d.v);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	enum { STEP = 8 };
	struct virtio_dev *v;
	vdrv_init(&d);
	peer = -1;
	asked = 0;
	must(!loop_new(&l, NULL));
	must(!virtio_serial_new(&v, d.mem, l, "port", &(struct serial_host){open_port, NULL},
				NULL));
	must(vdrv_start(&d, v, MULTIPORT, QUEUE));
	tx_at = vdrv_alloc(&d, 64 * 1024);
	rx_at = vdrv_alloc(&d, BUFFERS * LEN);
	for (unsigned i = 0; i < STEPS && n >= STEP && d.next < VDRV_RAM + VDRV_LEN / 2;
	     i++, p += STEP, n -= STEP) {
		switch (p[0] % 8) {
		case 0:
		case 1: say(CTL_TX, p + 1); break;
		case 2: say(TX, p + 1); break;
		case 3: offer(RX, p + 1); break;
		case 4: offer(CTL_RX, p + 1); break;
		case 5: host(p + 1); break;
		case 6: turn(); break;
		default: again(p + 1);
		}
		if (i % 2) turn();
	}
	turn();
	vdrv_done(&d);
	loop_free(l);
	drop_fd(&peer);
	return 0;
}
