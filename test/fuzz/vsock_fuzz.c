/* The socket device under a driver that sends any packets, with any claims of length and credit,
 * and takes what it is sent or does not, while programs of the host come, speak, and go. Input:
 * steps, of which one builds the header of a packet. */
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "dev/dev.h"
#include "hw/virtio_driver_test.h"
#include <stdint.h>
#include <sys/socket.h>

enum { RX, TX, HEADER = 44, STEPS = 256, PEERS = 8, BUFFERS = 32, QUEUE = 128, LEN = 8192 };
static struct vdrv d;
static struct loop *l;
static gpa_t tx_at, rx_at;
static int peer[PEERS];
static unsigned turns;

static int pair(int *mine)
{
	int ends[2];
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends));
	drop_fd(mine);
	*mine = ends[0];
	return ends[1];
}

static int dial(void *ctx, uint32_t from, uint32_t to)
{
	(void)ctx;
	return from & 64 ? -1 : pair(&peer[to % PEERS]);
}

static void stop_loop(void *ctx) { loop_stop(ctx, 0); }
static void turn(void)
{
	loop_post(l, stop_loop, l);
	(void)loop_run(l);
}

/* A packet whose header is nearly right: one field is anything. */
static void packet(const uint8_t *p)
{
	uint8_t h[HEADER] = {3, [8] = 2, [28] = 1, [37] = 4};
	uint16_t head;
	uint32_t len;
	store_le(h + 16, 1 + p[0] % 8u, 4);
	store_le(h + 20, (p[0] & 128 ? 1u << 30 : 0) + p[1] % 8u, 4);
	store_le(h + 24, p[2] * 16u, 4);
	store_le(h + 30, p[3] % 9u, 2);
	store_le(h + 32, p[4], 4);
	if (p[5] & 1) store_le(h + p[6] % (HEADER - 3u), load_le(p + 7, 4), 4);
	memcpy(vdrv_at(&d, tx_at, HEADER), h, HEADER);
	uint32_t n = p[5] & 2 ? p[2] * 16u : p[6] * 16u;
	while (vdrv_used(&d, TX, &head, &len)) continue;
	(void)vdrv_add(&d, TX,
		       (struct vdrv_buf[]){{tx_at, p[5] & 4 ? HEADER : 20, 0},
					   {tx_at + (p[5] & 4 ? HEADER : 20), n + 24, 0}},
		       2);
	if (!(p[5] & 8)) vdrv_notify(&d, TX);
}

static void offer(const uint8_t *p)
{
	uint16_t head;
	uint32_t len;
	while (vdrv_used(&d, RX, &head, &len)) must(len <= LEN);
	for (unsigned i = 0; i < p[0] % BUFFERS; i++)
		(void)vdrv_add(&d, RX, (struct vdrv_buf[]){{rx_at + i * LEN, p[1] * 32u, 1}}, 1);
	vdrv_notify(&d, RX);
}

static void host(const uint8_t *p)
{
	static uint8_t some[16384];
	int *fd = &peer[p[0] % PEERS];
	switch (p[1] % 6) {
	case 0: (void)send(*fd, some, p[2] * 64u, MSG_DONTWAIT | MSG_NOSIGNAL); break;
	case 1: (void)recv(*fd, some, p[2] * 64u, MSG_DONTWAIT); break;
	case 2: (void)shutdown(*fd, p[2] % 3); break;
	case 3:
		drop_fd(fd);
		*fd = -1;
		break;
	default: {
		int theirs = pair(fd);
		if (virtio_vsock_connect(d.v, theirs, 1 + p[2] % 8u, NULL)) (void)close(theirs);
	}
	}
}

static void step(const uint8_t *p)
{
	switch (p[0] % 8) {
	case 0:
	case 1:
	case 2: packet(p + 1); break;
	case 3: offer(p + 1); break;
	case 4:
	case 5: host(p + 1); break;
	case 6: turn(); break;
	default:
		if (p[1] % 16 == 1) {
			virtio_pause(d.v);
			turn();
			virtio_resume(d.v);
		}
		if (p[1] % 16 == 0) {
			vdrv_reset(&d);
			if (p[2] & 1) turn();
			(void)vdrv_start(&d, d.v, 0, QUEUE);
		}
	}
	if (++turns % 2) turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	enum { STEP = 12 };
	struct virtio_dev *v;
	vdrv_init(&d);
	for (unsigned i = 0; i < PEERS; i++) peer[i] = -1;
	must(!loop_new(&l, NULL));
	must(!virtio_vsock_new(&v, d.mem, l, &(struct vsock_host){dial, NULL}, NULL));
	must(vdrv_start(&d, v, 0, QUEUE));
	tx_at = vdrv_alloc(&d, 64 * 1024);
	rx_at = vdrv_alloc(&d, BUFFERS * LEN);
	for (unsigned i = 0; i < STEPS && n >= STEP && d.next < VDRV_RAM + VDRV_LEN / 2;
	     i++, p += STEP, n -= STEP)
		step(p);
	turn();
	vdrv_done(&d);
	loop_free(l);
	for (unsigned i = 0; i < PEERS; i++) drop_fd(&peer[i]);
	return 0;
}
