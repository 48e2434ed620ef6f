/* The virtio devices under a driver that puts anything into their rings, at any time, while the
 * back ends do their part: disks complete, frames and keys come, peers and sitters have room or
 * not, and states are loaded that are somewhat others than those saved. Requests that reach the
 * disk must be inside it. Input: device and features, steps whose stores build the rings. */
#include "base/buf.h"
#include "base/chr.h"
#include "base/log.h"
#include "base/state.h"
#include "blk/impl.h"
#include "dev/dev.h"
#include "hw/gmem.h"
#include "net/frame.h"
#include "net/port.h"
#include <errno.h>

enum { BLK, NET, CON, RNG, BALLOON, DEVICES, RAM = 0x8000, QUEUES = 5, SIZE = 8, STEPS = 512 };
enum { RINGS = 0x300, AVAIL = 0x100, USED = 0x200, DISK = 16 * 512, HELD = 300 };
struct step {
	uint8_t what;
	uint16_t at, val;
} __attribute__((packed));

static struct gmem *mem;
static uint8_t *ram;
static struct virtio_dev *dev[DEVICES], *v;
static struct chr chr;
static struct port *nic, peer;
static size_t room;
static struct blk disk;
static struct blk_req *held[HELD];
static unsigned nheld;

static void disk_submit(struct blk *b, struct blk_req *q)
{
	uint64_t sum = 0;
	(void)b;
	must(q->res == 0 && nheld < HELD);
	for (int i = 0; i < q->niov; i++) {
		uint8_t *p = q->iov[i].iov_base;
		must(p >= ram && p < ram + RAM && q->iov[i].iov_len <= (size_t)(ram + RAM - p));
		sum += q->iov[i].iov_len;
	}
	if (q->op == BLK_READ || q->op == BLK_WRITE) must(sum == q->len);
	held[nheld++] = q;
}
static void disk_close(struct blk *b) { (void)b; }
static void disk_run(uint16_t fails)
{
	while (nheld) {
		struct blk_req *q = held[--nheld];
		for (int i = 0; i < q->niov && q->op == BLK_READ; i++)
			memset(q->iov[i].iov_base, 0x55, q->iov[i].iov_len);
		q->done(q, fails & 1 ? -EIO : 0);
	}
}

static bool spend(size_t n)
{
	if (room < n) return false;
	room -= n;
	return true;
}
static bool peer_deliver(struct port *p, const struct iovec *iov, int n)
{
	(void)p;
	for (int i = 0; i < n; i++) must(iov[i].iov_len <= 65536);
	return spend(1);
}
/* Unfinished ones can be finished. */
static bool peer_large(struct port *p, const struct offload *o, const uint8_t *frame, size_t len)
{
	uint8_t piece[ETH_MAX];
	unsigned n = offload_frames(o, frame, len);
	(void)p;
	must(o->kind != OFFLOAD_VALID && len <= OFFLOAD_FRAME && offload_check(o, frame, len));
	for (unsigned i = 0; i < n && o->kind > OFFLOAD_VALID; i++) {
		size_t k = offload_frame(o, frame, len, i, piece);
		must(k <= ETH_MAX && k >= offload_headers(o, frame));
	}
	return spend(1);
}
static void peer_free(struct port *p) { (void)p; }
static size_t take(void *host, const uint8_t *p, size_t n)
{
	(void)host, (void)p;
	return spend(n) ? n : spend(1);
}

static void build(void)
{
	static const struct blk_ops disk_ops = {
		.name = "fuzz", .submit = disk_submit, .close = disk_close};
	static const struct port_ops peer_ops = {"peer",    peer_deliver, NULL,
						 peer_free, peer_large,	  NULL};
	static const uint8_t mac[6] = {2};
	log_level_set(LOG_ERROR);
	mem = gmem_new();
	must(gmem_add(mem, 0, RAM, 0, NULL) == 0);
	ram = gmem_ptr(mem, 0, RAM, true);
	disk.ops = &disk_ops;
	disk.refs = 1;
	disk.info = (struct blk_info){DISK, 512, false, true};
	peer.ops = &peer_ops;
	chr.output = take;
	must(virtio_blk_new(&dev[BLK], mem, &disk, "fuzz", NULL) == 0);
	must(virtio_net_new(&dev[NET], mem, mac, &nic, NULL) == 0);
	must(virtio_console_new(&dev[CON], mem, &chr, NULL) == 0);
	must(virtio_rng_new(&dev[RNG], mem, NULL) == 0);
	must(virtio_balloon_new(&dev[BALLOON], mem, NULL) == 0);
	port_wire(nic, &peer);
}

static void start(uint16_t features)
{
	static const uint8_t status[] = {1, 3, 11, 15};
	disk_run(1);
	virtio_lock(v);
	virtio_set_status(v, 0);
	for (unsigned i = 0; i < COUNT(status); i++) {
		if (status[i] == 11) {
			uint64_t f = virtio_offered(v);
			if (features & 1) f &= ~(1ull << VIRTIO_F_EVENT_IDX);
			virtio_want_features(v, 0, (uint32_t)f & ~(features & 0xfffeu));
			virtio_want_features(v, 1, 1);
		}
		for (unsigned q = 0; status[i] == 15 && q < v->ops->nqueues; q++) {
			v->vq[q].size = SIZE;
			v->vq[q].desc = q * RINGS;
			v->vq[q].avail = q * RINGS + AVAIL;
			v->vq[q].used = q * RINGS + USED;
			virtio_enable_queue(v, q);
		}
		virtio_set_status(v, status[i]);
	}
	virtio_unlock(v);
}

/* A chain of four descriptors that mean something, for the device to find often enough. */
static void offer(uint16_t at, uint16_t val)
{
	static const uint16_t len[] = {16, 32, 1, 512, 1024, 0, 513, 2000};
	unsigned q = at % v->ops->nqueues, i = at / 2 % 4;
	uint8_t *ring = ram + q * RINGS, *d = ring + 16 * i;
	uint16_t idx = (uint16_t)load_le(ring + AVAIL + 2, 2);
	store_le(d, 0x1000 + (val & 1 ? val % 0x6000u : 0), 8);
	store_le(d + 8, len[val >> 1 & 7], 4);
	store_le(d + 12, (val >> 12 & 3) | (uint64_t)((i + 1) % SIZE) << 16, 4);
	store_le(ring + AVAIL + 4 + idx % SIZE * 2u, val >> 10 & 3, 2);
	store_le(ring + AVAIL + 2, idx + 1u, 2);
}

/* A disk request's header at its usual place. */
static void head(uint16_t at, uint16_t val)
{
	store_le(ram + 0x1000, val % 16, 4);
	store_le(ram + 0x1008, at & 0x8000 ? UINT64_MAX - at : at % 32, 8);
	store_le(ram + 0x1018, at, 4);
	store_le(ram + 0x101c, val >> 14, 4);
}

static void config(uint16_t at, uint16_t val)
{
	uint8_t b[8] = {0};
	virtio_lock(v);
	if (val & 1)
		virtio_config_set(v, at, b, val % 9);
	else
		virtio_config_get(v, at % 80, b, val % 9);
	virtio_unlock(v);
}

static void balloon_outside(uint16_t at, uint16_t val)
{
	struct balloon_report r;
	if (at & 1) virtio_balloon_target(v, (uint64_t)val << 12);
	virtio_balloon_look(v, &r);
	if (!(at & 2)) return;
	virtio_pause(v);
	virtio_resume(v);
}

/* Frames of TCP, whole or to be cut, and such as are nothing. */
static void net_outside(uint16_t at, uint16_t val)
{
	static uint8_t f[8192] = {
		[12] = 8, [14] = 0x45, [22] = 64, [23] = 6, [46] = 0x50, [47] = 0x18};
	size_t len = at % sizeof(f);
	struct offload o = {(uint8_t)(val % OFFLOAD_KINDS), 34, (uint16_t)(val % 1500)};
	if (at & 1) {
		port_ready(&peer);
		return;
	}
	be16_put(f + 16, (unsigned)len - 14);
	if (val & 0x100) o.kind = OFFLOAD_TCP4;
	if (offload_check(&o, f, len)) (void)port_send_large(&peer, &o, f, len);
}

static void outside(uint16_t at, uint16_t val)
{
	static const uint8_t bytes[2048];
	room = val;
	if (v == dev[BLK]) disk_run(at);
	if (v == dev[NET]) net_outside(at, val);
	if (v == dev[BALLOON]) balloon_outside(at, val);
	if (v == dev[CON] && at & 1) chr.drained(chr.dev);
	if (v == dev[CON] && !(at & 1)) must(chr.input(chr.dev, bytes, at % 2048u) <= at % 2048u);
}

/* As it was, or with other bits somewhere. */
static void reload(uint16_t at, uint16_t val)
{
	auto_buf struct buf b = {0};
	struct state out = {.b = &b}, in = {.b = &b, .loading = true};
	disk_run(0);
	virtio_pause(v);
	virtio_state(v, &out);
	must(!state_end(&out, NULL));
	b.at[at % b.len] ^= (char)val;
	virtio_state(v, &in);
	must(!state_end(&in, NULL) || (val & 0xff && !v->live));
	virtio_resume(v);
}

static void step(const struct step *s)
{
	switch (s->what % 8) {
	case 0: store_le(ram + s->at % (RAM - 1), s->val, 2); break;
	case 1: store_le(ram + s->at % (QUEUES * RINGS - 1), s->val, 2); break;
	case 2: offer(s->at, s->val); break;
	case 3:
		virtio_lock(v);
		virtio_notify(v, s->at % (QUEUES + 1u));
		virtio_unlock(v);
		break;
	case 4: outside(s->at, s->val); break;
	case 5: config(s->at, s->val); break;
	case 6: head(s->at, s->val); break;
	default:
		if (s->at % 4 == 0) start(s->val);
		if (s->at % 4 == 1) reload(s->at / 4, s->val);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct step s;
	if (!mem) build();
	if (n < 3) return 0;
	v = dev[p[0] % DEVICES];
	memset(ram, 0, RAM);
	room = 16;
	start((uint16_t)load_le(p + 1, 2));
	p += 3;
	n -= 3;
	for (unsigned i = 0; i < STEPS && n >= sizeof(s); i++, p += sizeof(s), n -= sizeof(s)) {
		memcpy(&s, p, sizeof(s));
		step(&s);
	}
	disk_run(0);
	return 0;
}
