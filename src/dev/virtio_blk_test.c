#include "base/loop.h"
#include "base/test.h"
#include "blk/impl.h"
#include "dev/dev.h"
#include "dev/disk_rig_test.h"
#include "hw/virtio_driver_test.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* A disk in memory that carries out what it was given only when told to. */
enum { SECTORS = 64, SECTOR = 512, HELD = 300 };
enum { SEG_MAX = 2, RO = 5, FLUSH = 9, WCE = 11, DISCARD = 13, ZEROES = 14 };
enum { IN = 0, OUT = 1, T_FLUSH = 4, GET_ID = 8, T_DISCARD = 11, T_ZEROES = 13 };
enum { OK, IOERR, UNSUPP, UNTOUCHED = 0xee };
struct disk {
	struct blk b;
	uint8_t at[SECTORS * SECTOR];
	struct blk_req *held[HELD];
	unsigned nheld, closed;
	int fails; /* what every request ends with */
	bool now;
	enum blk_op log[HELD];
	unsigned nlog;
};
static struct disk disk;

static void disk_submit(struct blk *b, struct blk_req *q)
{
	struct disk *k = (struct disk *)b;
	must(k->nheld < HELD);
	CHECK(q->op == BLK_READ || q->op == BLK_WRITE || q->niov == 0);
	k->held[k->nheld++] = q;
	k->log[k->nlog++ % HELD] = q->op;
}
static void disk_close(struct blk *b) { ((struct disk *)b)->closed++; }
static bool disk_read_now(struct blk *b, const struct blk_req *q)
{
	struct disk *k = (struct disk *)b;
	struct blk_req copy = *q;
	if (k->now) disk_rig_carry_out(k->at, &copy);
	return k->now;
}
static const struct blk_ops disk_ops = {
	.name = "test", .submit = disk_submit, .read_now = disk_read_now, .close = disk_close};

static void disk_run(void)
{
	while (disk.nheld) {
		struct blk_req *q = disk.held[--disk.nheld];
		if (!q->res && !disk.fails) disk_rig_carry_out(disk.at, q);
		q->done(q, q->res ? q->res : disk.fails);
	}
}

static struct vdrv d;
static gpa_t hdr, data, status;
static uint32_t used;

static bool start_with(uint64_t features, bool ro)
{
	struct virtio_dev *v = NULL;
	memset(&disk, 0, sizeof(disk));
	disk.b.ops = &disk_ops;
	disk.b.refs = 1;
	disk.b.info = (struct blk_info){sizeof(disk.at), SECTOR, ro, !ro};
	for (size_t i = 0; i < sizeof(disk.at); i++) disk.at[i] = (uint8_t)(i / SECTOR + 1);
	vdrv_init(&d);
	CHECK(!virtio_blk_new(&v, d.mem, ro ? &disk.b : NULL, "serial-number-of-20-bytes", NULL));
	if (!ro) virtio_blk_disk(v, &disk.b);
	bool ok = vdrv_start(&d, v, features, 0);
	hdr = vdrv_alloc(&d, 64);
	data = vdrv_alloc(&d, 65536);
	status = vdrv_alloc(&d, 1);
	return ok;
}
static void start(void) { CHECK(start_with(1ull << FLUSH | 1ull << DISCARD | 1ull << ZEROES, 0)); }
static void stop(void)
{
	vdrv_done(&d);
	CHECK(disk.closed == 1);
}

static void header(uint32_t type, uint64_t sector)
{
	uint8_t *h = vdrv_at(&d, hdr, 16);
	store_le(h, type, 4);
	store_le(h + 4, 0, 4);
	store_le(h + 8, sector, 8);
	*(uint8_t *)vdrv_at(&d, status, 1) = UNTOUCHED;
}

/* Send one chain and see it done; its status byte, -1 when it was not given back. */
static int send(const struct vdrv_buf *b, unsigned n)
{
	uint16_t head, got;
	head = vdrv_add(&d, 0, b, n);
	vdrv_notify(&d, 0);
	disk_run();
	used = 0;
	if (!vdrv_used(&d, 0, &got, &used)) return -1;
	CHECK(got == head);
	return *(uint8_t *)vdrv_at(&d, status, 1);
}
static int request(uint32_t type, uint64_t sector, uint32_t len)
{
	header(type, sector);
	bool in = type == IN || type == GET_ID;
	struct vdrv_buf b[] = {{hdr, 16, 0}, {data, len, in}, {status, 1, 1}};
	return send(b, 3);
}
static uint8_t *at(gpa_t a) { return vdrv_at(&d, a, 1); }

TEST(vblk_reads_and_writes)
{
	start();
	CHECK(request(IN, 5, 1024) == OK && used == 1025);
	CHECK(at(data)[0] == 6 && at(data)[511] == 6 && at(data)[512] == 7);
	memset(at(data), 0xab, 1024);
	CHECK(request(OUT, SECTORS - 2, 1024) == OK && used == 1);
	CHECK(disk.at[sizeof(disk.at) - 1] == 0xab && disk.at[sizeof(disk.at) - 1025] != 0xab);
	CHECK(request(T_FLUSH, 0, 0) == OK && disk.log[2] == BLK_FLUSH);
	CHECK(d.queue_irqs[0] == 3 && d.q[0].used[0] == 0);
	stop();
}

TEST(vblk_marks_what_it_read_into)
{
	uint64_t bits = 0;
	start();
	gpa_t page = data & ~4095ull;
	gmem_track(d.mem, true);
	CHECK(request(OUT, 0, 4096) == OK && !gmem_dirty_take(d.mem, page + 4096, 4096, &bits));
	CHECK(request(IN, 0, 8192) == OK && gmem_dirty_take(d.mem, page + 4096, 4096, &bits));
	stop();
}

TEST(vblk_reads_at_once_what_the_disk_has_at_hand)
{
	uint64_t bits = 0;
	start();
	disk.now = true;
	gmem_track(d.mem, true);
	CHECK(request(IN, 5, 1024) == OK && used == 1025 && at(data)[0] == 6 && at(data)[512] == 7);
	CHECK(gmem_dirty_take(d.mem, data & ~4095ull, 4096, &bits) && !disk.nlog);
	CHECK(request(OUT, 5, 1024) == OK && disk.nlog == 1);
	CHECK(request(IN, SECTORS, 512) == IOERR && d.queue_irqs[0] == 3);
	stop();
}

TEST(vblk_framing_means_nothing)
{
	start();
	header(IN, 9);
	struct vdrv_buf split[] = {{hdr, 3, 0},	   {hdr + 3, 12, 0},	 {hdr + 15, 1, 0},
				   {data, 100, 1}, {data + 100, 411, 1}, {data + 511, 1, 1},
				   {status, 1, 1}};
	CHECK(send(split, 7) == OK && at(data)[0] == 10 && at(data)[511] == 10);
	header(OUT, 9);
	gpa_t one = vdrv_alloc(&d, 16 + SECTOR);
	memcpy(at(one), at(hdr), 16);
	memset(at(one) + 16, 0x77, SECTOR);
	struct vdrv_buf joined[] = {{one, 16 + SECTOR, 0}, {status, 1, 1}};
	CHECK(send(joined, 2) == OK && disk.at[9 * SECTOR] == 0x77 && disk.at[10 * SECTOR] == 11);
	header(IN, 9);
	at(data)[SECTOR] = UNTOUCHED;
	struct vdrv_buf tail[] = {{hdr, 16, 0}, {data, SECTOR + 1, 1}};
	(void)send(tail, 2);
	CHECK(at(data)[0] == 0x77 && at(data)[SECTOR] == OK && used == SECTOR + 1);
	stop();
}

TEST(vblk_stays_inside_the_disk)
{
	start();
	static const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {{SECTORS, SECTOR},
		   {SECTORS - 1, 1024},
		   {UINT64_MAX, SECTOR},
		   {UINT64_MAX / SECTOR, SECTOR},
		   {1ull << 55, SECTOR},
		   {0, 511},
		   {0, 513},
		   {0, 1},
		   {SECTORS + 1, 0}};
	for (size_t i = 0; i < COUNT(bad); i++) {
		CHECK(request(IN, bad[i].sector, bad[i].len) == IOERR && used == !bad[i].len);
		CHECK(request(OUT, bad[i].sector, bad[i].len) == IOERR);
	}
	CHECK(disk.nlog == 0);
	CHECK(request(IN, SECTORS, 0) == OK);
	stop();
}

TEST(vblk_readonly_means_it)
{
	CHECK(start_with(1ull << RO, true));
	CHECK(request(OUT, 0, SECTOR) == IOERR && request(T_ZEROES, 0, 16) == UNSUPP);
	CHECK(request(IN, 0, SECTOR) == OK && disk.nlog == 1);
	stop();
	CHECK(!start_with(1ull << DISCARD, true));
	stop();
}

TEST(vblk_unknown_is_unsupported)
{
	start();
	static const uint32_t types[] = {2, 3, 5, 7, 9, 10, 12, 14, 0x7fffffff, 0xffffffff};
	for (size_t i = 0; i < COUNT(types); i++)
		CHECK(request(types[i], 0, SECTOR) == UNSUPP && used == 1);
	stop();
	CHECK(start_with(1ull << FLUSH, false)); /* not negotiated */
	CHECK(request(T_DISCARD, 0, 16) == UNSUPP && request(T_ZEROES, 0, 16) == UNSUPP);
	CHECK(disk.nlog == 0);
	stop();
}

static int range(uint32_t type, uint64_t sector, uint32_t n, uint32_t flags, uint32_t len)
{
	store_le(at(data), sector, 8);
	store_le(at(data) + 8, n, 4);
	store_le(at(data) + 12, flags, 4);
	return request(type, 0, len);
}

TEST(vblk_discards_and_zeroes)
{
	start();
	CHECK(range(T_ZEROES, 3, 2, 0, 16) == OK && disk.log[0] == BLK_ZERO);
	CHECK(disk.at[3 * SECTOR - 1] == 3 && disk.at[3 * SECTOR] == 0);
	CHECK(disk.at[5 * SECTOR - 1] == 0 && disk.at[5 * SECTOR] == 6);
	CHECK(range(T_ZEROES, 0, 1, 1, 16) == OK);
	CHECK(range(T_DISCARD, 8, 1, 0, 16) == OK && disk.at[8 * SECTOR] == 0xdd);
	unsigned before = disk.nlog;
	CHECK(range(T_DISCARD, 8, 1, 1, 16) == UNSUPP && range(T_ZEROES, 8, 1, 2, 16) == UNSUPP);
	CHECK(range(T_ZEROES, SECTORS, 1, 0, 16) == IOERR);
	CHECK(range(T_ZEROES, SECTORS - 1, 2, 0, 16) == IOERR);
	CHECK(range(T_ZEROES, UINT64_MAX, 2, 0, 16) == IOERR);
	CHECK(range(T_DISCARD, 0, UINT32_MAX, 0, 16) == IOERR);
	CHECK(range(T_DISCARD, 0, 1, 0, 15) == IOERR && range(T_DISCARD, 0, 1, 0, 32) == IOERR);
	CHECK(range(T_DISCARD, 0, 1, 0, 0) == IOERR && disk.nlog == before);
	stop();
}

TEST(vblk_tells_its_serial_number)
{
	start();
	memset(at(data), UNTOUCHED, 64);
	CHECK(request(GET_ID, 0, 20) == OK && used == 21);
	CHECK(!memcmp(at(data), "serial-number-of-20-", 20) && at(data)[20] == UNTOUCHED);
	memset(at(data), UNTOUCHED, 64);
	CHECK(request(GET_ID, 0, 5) == OK && used == 6);
	CHECK(!memcmp(at(data), "seria", 5) && at(data)[5] == UNTOUCHED);
	CHECK(request(GET_ID, 0, 64) == OK && used == 20 && at(data)[20] == UNTOUCHED);
	CHECK(request(GET_ID, 0, 0) == OK && used == 1);
	stop();
}

TEST(vblk_needs_a_header)
{
	start();
	header(IN, 0);
	struct vdrv_buf b[] = {{hdr, 15, 0}, {data, SECTOR, 1}, {status, 1, 1}};
	CHECK(send(b, 3) == IOERR && used == 0);
	struct vdrv_buf none[] = {{data, SECTOR, 1}, {status, 1, 1}};
	header(IN, 0);
	CHECK(send(none, 2) == IOERR && disk.nlog == 0);
	stop();
}

TEST(vblk_without_room_for_status_is_broken)
{
	start();
	header(OUT, 0);
	struct vdrv_buf b[] = {{hdr, 16, 0}, {data, SECTOR, 0}, {status, 1, 0}};
	CHECK(send(b, 3) == -1 && d.v->status & VIRTIO_NEEDS_RESET && disk.nlog == 0);
	CHECK(d.config_irqs == 1 && *at(status) == UNTOUCHED);
	CHECK(request(IN, 0, SECTOR) == -1);
	CHECK(vdrv_start(&d, d.v, 0, 0) && request(IN, 0, SECTOR) == OK);
	stop();
}

TEST(vblk_passes_errors_on)
{
	start();
	disk.fails = -EIO;
	CHECK(request(IN, 0, SECTOR) == IOERR && used == 0);
	CHECK(request(OUT, 0, SECTOR) == IOERR && used == 1);
	CHECK(request(T_FLUSH, 0, 0) == IOERR);
	disk.fails = 0;
	CHECK(request(IN, 0, SECTOR) == OK);
	stop();
}

static void config_byte(unsigned off, uint8_t v)
{
	virtio_lock(d.v);
	virtio_config_set(d.v, off, &v, 1);
	virtio_unlock(d.v);
}

TEST(vblk_writes_through_unless_told_otherwise)
{
	CHECK(start_with(0, false)); /* a driver that cannot flush (5.2.6.2) */
	CHECK(request(OUT, 0, SECTOR) == OK && disk.nlog == 2 && disk.log[1] == BLK_FLUSH);
	stop();
	CHECK(start_with(1ull << FLUSH, false));
	CHECK(request(OUT, 0, SECTOR) == OK && disk.nlog == 1);
	config_byte(32, 0); /* CONFIG_WCE was not negotiated */
	CHECK(request(OUT, 0, SECTOR) == OK && disk.nlog == 2);
	stop();
	CHECK(start_with(1ull << FLUSH | 1ull << WCE, false));
	CHECK(request(OUT, 0, SECTOR) == OK && disk.nlog == 1);
	virtio_config_set(d.v, 24, (uint8_t[8]){0}, 8);
	virtio_config_set(d.v, 33, (uint8_t[2]){0}, 2);
	CHECK(request(OUT, 0, SECTOR) == OK && disk.nlog == 2);
	disk.nlog = 1;
	config_byte(32, 0);
	CHECK(request(OUT, 0, SECTOR) == OK && disk.nlog == 3 && disk.log[2] == BLK_FLUSH);
	stop();
}

TEST(vblk_takes_a_full_ring)
{
	start();
	gpa_t h = vdrv_alloc(&d, 16 * 256), s = vdrv_alloc(&d, 128);
	for (unsigned i = 0; i < 85; i++) {
		store_le(at(h + 16 * i), IN, 4);
		store_le(at(h + 16 * i + 8), i % SECTORS, 8);
		struct vdrv_buf b[] = {
			{h + 16 * i, 16, 0}, {data + 512 * i, 512, 1}, {s + i, 1, 1}};
		(void)vdrv_add(&d, 0, b, 3);
	}
	memset(at(s), UNTOUCHED, 85);
	vdrv_notify(&d, 0);
	CHECK(disk.nheld == 85);
	disk_run();
	uint16_t head;
	unsigned n = 0;
	while (vdrv_used(&d, 0, &head, &used)) n++;
	CHECK(n == 85);
	for (unsigned i = 0; i < 85; i++)
		CHECK(*at(s + i) == OK && *at(data + 512 * i) == i % SECTORS + 1);
	stop();
}

static void *reset_run(void *done)
{
	vdrv_reset(&d);
	__atomic_store_n((bool *)done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static bool is_live(void)
{
	virtio_lock(d.v);
	bool live = virtio_live(d.v);
	virtio_unlock(d.v);
	return live;
}

/* Reset with a read under way: it must wait for the read, and nothing is given back. */
TEST(vblk_reset_waits_for_what_is_in_flight)
{
	pthread_t t;
	bool done = false;
	start();
	header(IN, 0);
	struct vdrv_buf b[] = {{hdr, 16, 0}, {data, SECTOR, 1}, {status, 1, 1}};
	(void)vdrv_add(&d, 0, b, 3);
	vdrv_notify(&d, 0);
	CHECK(disk.nheld == 1);
	CHECK(pthread_create(&t, NULL, reset_run, &done) == 0);
	while (is_live()) (void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	CHECK(!__atomic_load_n(&done, __ATOMIC_SEQ_CST));
	disk_run();
	CHECK(pthread_join(t, NULL) == 0 && done);
	uint16_t head;
	CHECK(!vdrv_used(&d, 0, &head, &used) && *at(status) == UNTOUCHED);
	CHECK(vdrv_start(&d, d.v, 0, 0) && request(IN, 0, SECTOR) == OK);
	stop();
}

TEST(vblk_config_describes_the_disk)
{
	uint8_t c[64];
	start();
	virtio_lock(d.v);
	virtio_config_get(d.v, 0, c, sizeof(c));
	virtio_unlock(d.v);
	CHECK(load_le(c, 8) == SECTORS && load_le(c + 12, 4) == 128 && load_le(c + 20, 4) == 512);
	CHECK(c[32] == 1 && load_le(c + 36, 4) && load_le(c + 40, 4) == 1);
	CHECK(load_le(c + 48, 4) && load_le(c + 52, 4) == 1 && load_le(c + 60, 4) == 0);
	CHECK(d.v->ops->features >> SEG_MAX & 1 && !(d.v->ops->features >> RO & 1));
	stop();
}

/* The whole way, down to a file. */
TEST(vblk_on_a_real_disk)
{
	struct virtio_dev *v = NULL;
	struct blk *b = NULL;
	char path[] = "/tmp/lodge-vblk-XXXXXX";
	uint16_t head;
	int fd = mkstemp(path);
	CHECK(fd >= 0 && ftruncate(fd, 1 << 20) == 0 && blk_open(&b, path, "raw", 0, NULL) == 0);
	vdrv_init(&d);
	CHECK(virtio_blk_new(&v, d.mem, b, "x", NULL) == 0 && vdrv_start(&d, v, 1ull << FLUSH, 0));
	hdr = vdrv_alloc(&d, 16);
	data = vdrv_alloc(&d, SECTOR);
	status = vdrv_alloc(&d, 1);
	memset(at(data), 0x5a, SECTOR);
	for (uint32_t pass = 0; pass < 2; pass++) {
		header(pass ? IN : OUT, 1000);
		struct vdrv_buf q[] = {{hdr, 16, 0}, {data, SECTOR, pass}, {status, 1, 1}};
		(void)vdrv_add(&d, 0, q, 3);
		vdrv_notify(&d, 0);
		CHECK(vdrv_wait(&d, 0, &head, &used) && *at(status) == OK);
		CHECK(at(data)[511] == 0x5a);
		if (!pass) memset(at(data), 0, SECTOR);
	}
	vdrv_done(&d);
	(void)close(fd);
	(void)unlink(path);
}

static int waits(uint64_t sector)
{
	header(IN, sector);
	struct vdrv_buf b[] = {{hdr, 16, 0}, {data, SECTOR, 1}, {status, 1, 1}};
	return send(b, 3);
}

/* What is more than it may waits in the ring, and goes once it may. */
TEST(vblk_keeps_to_its_limits)
{
	struct loop *l;
	start();
	CHECK(!loop_new(&l, NULL) && !virtio_blk_limit(d.v, l, 0, 1, NULL));
	CHECK(waits(0) == OK && waits(1) == -1 && waits(2) == -1 && disk.nlog == 1);
	virtio_pause(d.v);
	virtio_resume(d.v);
	CHECK(disk.nlog == 1);
	CHECK(!virtio_blk_limit(d.v, l, 0, 0, NULL) && disk.nlog == 3);
	disk_run();
	uint16_t head;
	CHECK(vdrv_used(&d, 0, &head, &used) && vdrv_used(&d, 0, &head, &used));
	CHECK(!virtio_blk_limit(d.v, l, 4096, 0, NULL)); /* 256 KiB at once, whatever the rate */
	unsigned n = 0;
	while (n < 600 && waits(0) == OK) n++;
	CHECK(n > 400 && n < 540);
	stop();
	loop_free(l);
}
