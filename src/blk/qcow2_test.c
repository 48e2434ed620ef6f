/* qcow2 without another program: what is made is found again, in small clusters where every table
 * is reached. test/blk/run.sh asks qemu-img. */
#include "base/test.h"
#include "base/types.h"
#include "blk/be.h"
#include "blk/qcow2.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE = 3 << 20, STEPS = 800 };
static char dir[64], top[96], behind[96];

static void folder_make(void)
{
	(void)strcpy(dir, "/tmp/lodge-qcow2-XXXXXX");
	CHECK(mkdtemp(dir) != NULL);
	(void)snprintf(top, sizeof(top), "%s/top", dir);
	(void)snprintf(behind, sizeof(behind), "%s/behind", dir);
}

static void folder_remove(void)
{
	(void)unlink(top);
	(void)unlink(behind);
	CHECK(rmdir(dir) == 0);
}

static struct blk *opened(const char *path, const char *format, unsigned flags)
{
	struct err e = {0};
	struct blk *b = NULL;
	if (blk_open(&b, path, format, flags, &e) < 0) (void)fprintf(stderr, "%s\n", e.msg);
	CHECK(b);
	return b;
}

static uint64_t dice(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	return *s ^= *s << 17;
}

static bool read_now(struct blk *b, void *to, uint64_t len, uint64_t off)
{
	struct iovec v[2] = {{to, len / 2}, {(char *)to + len / 2, len - len / 2}};
	struct blk_req q = {.op = BLK_READ, .off = off, .len = len, .iov = v, .niov = 2};
	return blk_read_now(b, &q);
}

static void model_step(struct blk *b, uint8_t *model, uint8_t *buf, uint64_t *seed)
{
	uint64_t off = dice(seed) % (SIZE / 512) * 512, len = (1 + dice(seed) % 90) * 512;
	if (len > SIZE - off) len = SIZE - off;
	switch (dice(seed) % 6) {
	case 0:
		if (read_now(b, buf, len, off)) CHECK(!memcmp(buf, model + off, len));
		return;
	case 1:
		CHECK(blk_rw(b, BLK_READ, buf, len, off) == 0 && !memcmp(buf, model + off, len));
		return;
	case 2:
	case 3:
		memset(buf, (int)dice(seed), len);
		CHECK(blk_rw(b, BLK_WRITE, buf, len, off) == 0);
		memcpy(model + off, buf, len);
		return;
	case 4:
		CHECK(blk_rw(b, BLK_ZERO, NULL, len, off) == 0);
		memset(model + off, 0, len);
		return;
	default:
		CHECK(blk_rw(b, BLK_DISCARD, NULL, len, off) == 0);
		CHECK(blk_rw(b, BLK_READ, model + off, len, off) == 0);
	}
}

static void same(struct blk *b, const uint8_t *model, uint8_t *buf)
{
	CHECK(blk_rw(b, BLK_READ, buf, SIZE, 0) == 0 && !memcmp(buf, model, SIZE));
}

static void model_run(const char *format, unsigned flags, uint64_t seed)
{
	uint8_t *model = calloc(1, SIZE), *buf = calloc(1, SIZE);
	struct blk_report rep;
	struct blk *b = opened(top, format, flags);
	CHECK(blk_info(b).size == SIZE && blk_rw(b, BLK_READ, model, SIZE, 0) == 0);
	for (int i = 0; i < STEPS; i++) {
		model_step(b, model, buf, &seed);
		if (i % 50 == 0) CHECK(blk_rw(b, BLK_FLUSH, NULL, 0, 0) == 0);
		if (i % 200) continue;
		blk_unref(b);
		b = opened(top, format, flags);
	}
	same(b, model, buf);
	blk_unref(b);
	b = opened(top, format, flags | BLK_RDONLY);
	same(b, model, buf);
	int r = blk_check(b, BLK_FIX_NONE, &rep, NULL);
	CHECK(r == -ENOTSUP || (r == 0 && !rep.corruptions && !rep.leaks));
	blk_unref(b);
	free(model);
	free(buf);
}

/* Where this file system says what it has in memory: behind, in front, and where there is nothing.
 */
TEST(qcow2_reads_at_once_what_is_in_memory)
{
	enum { CLUSTER = 65536 };
	struct blk_make m = {.format = "qcow2", .backing = "behind", .backing_format = "raw"};
	static char at[2 * CLUSTER];
	folder_make();
	const struct blk_make raw = {.format = "raw", .size = SIZE};
	CHECK(!blk_create(behind, &raw, NULL));
	struct blk *b = opened(behind, "raw", 0);
	memset(at, 'a', sizeof(at));
	CHECK(!blk_rw(b, BLK_WRITE, at, sizeof(at), CLUSTER));
	bool can = read_now(b, at, 4096, CLUSTER);
	blk_unref(b);
	m.size = SIZE + CLUSTER;
	CHECK(!blk_create(top, &m, NULL));
	b = opened(top, "qcow2", BLK_BACKING);
	CHECK(read_now(b, at, 4096, CLUSTER) == can); /* without any table */
	memset(at, 'b', CLUSTER);
	CHECK(!blk_rw(b, BLK_WRITE, at, CLUSTER, 2 * CLUSTER));
	memset(at, 0, sizeof(at));
	if (can) {
		CHECK(read_now(b, at, 8192, 2 * CLUSTER - 4096) && at[0] == 'a' && at[4095] == 'a');
		CHECK(at[4096] == 'b' && at[8191] == 'b');
	}
	CHECK(!read_now(b, at, 4096,
			SIZE - 512)); /* the end of what lies behind: not in an instant */
	CHECK(!read_now(b, at, 2 * CLUSTER, 0) && !read_now(b, at, 512, SIZE + CLUSTER));
	blk_unref(b);
	b = opened(top, "qcow2", BLK_BACKING);
	CHECK(!read_now(b, at, 4096, CLUSTER) && !blk_rw(b, BLK_READ, at, 4096, CLUSTER));
	CHECK(read_now(b, at, 4096, CLUSTER) == can && at[0] == 'a'); /* its table is known now */
	blk_unref(b);
	folder_remove();
}

TEST(qcow2_agrees_with_a_model)
{
	static const struct blk_make shapes[] = {{.format = "qcow2", .cluster = 512},
						 {.format = "qcow2", .cluster = 4096, .zstd = true},
						 {.format = "qcow2"},
						 {.format = "qcow2", .cluster = 2 << 20},
						 {.format = "qcow2", .cluster = 1024, .old = true},
						 {.format = "vmdk"},
						 {.format = "vdi"}};
	for (size_t i = 0; i < COUNT(shapes); i++) {
		struct blk_make m = shapes[i];
		struct err e;
		m.size = SIZE;
		folder_make();
		CHECK(blk_create(top, &m, NULL) == 0 && blk_create(top, &m, &e) == -EEXIST);
		model_run(m.format, 0, 77 + i);
		folder_remove();
	}
}

/* A raw image that is neither of the layer's size nor of whole sectors. */
static void behind_make(uint64_t size)
{
	int fd = open(behind, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	for (uint64_t at = 0; at < size; at += 5) CHECK(pwrite(fd, "hello", 5, (off_t)at) == 5);
	CHECK(ftruncate(fd, (off_t)size) == 0 && close(fd) == 0);
}

TEST(qcow2_layer_agrees_with_a_model)
{
	for (int old = 0; old < 2; old++) {
		struct blk_make m = {.format = "qcow2", .size = SIZE, .cluster = 8192, .old = old};
		m.backing = "behind";
		m.backing_format = "raw";
		folder_make();
		behind_make((2 << 20) + 300);
		CHECK(blk_create(top, &m, NULL) == 0);
		model_run("qcow2", BLK_BACKING, 99);
		struct blk *b = opened(behind, "raw", 0);
		char five[512];
		CHECK(blk_rw(b, BLK_READ, five, 512, 512 * 50) == 0 && !memcmp(five, "hello", 5));
		blk_unref(b);
		folder_remove();
	}
}

TEST(qcow2_names_no_file_that_was_not_allowed)
{
	struct blk_make m = {.format = "qcow2", .size = SIZE, .backing = "/etc/shadow"};
	struct err e = {0};
	struct blk *b = NULL;
	m.backing_format = "raw";
	folder_make();
	CHECK(blk_create(top, &m, NULL) == 0);
	CHECK(blk_open(&b, top, "qcow2", BLK_RDONLY, &e) == -EPERM);
	CHECK(strstr(e.msg, "lies over '/etc/shadow'"));
	struct blk_opts o = {.format = "qcow2", .backing = behind, .backing_format = "raw"};
	char buf[512];
	behind_make(4096);
	CHECK(blk_open_with(&b, top, &o, &e) == 0); /* what the owner says counts */
	CHECK(blk_rw(b, BLK_READ, buf, 512, 0) == 0 && !memcmp(buf, "hello", 5));
	blk_unref(b);
	m.backing_format = NULL;
	(void)unlink(top);
	CHECK(blk_create(top, &m, &e) == -EINVAL && access(top, F_OK) < 0);
	folder_remove();
}

static void patch(uint64_t at, const char *bytes, size_t n)
{
	int fd = open(top, O_RDWR | O_CLOEXEC);
	CHECK(pwrite(fd, bytes, n, (off_t)at) == (ssize_t)n && close(fd) == 0);
}

static unsigned feature(void)
{
	uint8_t v[8] = {0};
	int fd = open(top, O_RDONLY | O_CLOEXEC);
	CHECK(pread(fd, v, 8, H_INCOMPATIBLE) == 8 && close(fd) == 0);
	return (unsigned)be64_at(v);
}

/* An L2 entry that leads to the refcount table: the first write finds it, says so in the image, and
 * nothing is written any more; reading goes on. */
TEST(qcow2_marks_what_it_finds_corrupt)
{
	struct blk_make m = {.format = "qcow2", .size = SIZE};
	struct err e = {0};
	struct blk *b = NULL;
	char buf[512] = "x";
	folder_make();
	CHECK(blk_create(top, &m, NULL) == 0);
	b = opened(top, "qcow2", 0);
	CHECK(blk_rw(b, BLK_WRITE, buf, 512, 0) == 0);
	uint64_t l2 = qcow2_of(b)->l1[0] & ENTRY_OFFSET;
	blk_unref(b);
	patch(l2, "\x80\0\0\0\0\0\0\0", 8); /* entry 0: used once, at 0 */
	patch(l2 + 8, "\x80\0\0\0\0\1\0\0", 8);
	b = opened(top, "qcow2", 0);
	CHECK(blk_rw(b, BLK_WRITE, buf, 512, 65536) == -EIO);
	CHECK(feature() & INCOMPATIBLE_CORRUPT);
	CHECK(blk_rw(b, BLK_WRITE, buf, 512, 1 << 20) == -EIO);
	CHECK(blk_rw(b, BLK_READ, buf, 512, 1 << 20) == 0);
	blk_unref(b);
	CHECK(blk_open(&b, top, "qcow2", 0, &e) == -EUCLEAN && strstr(e.msg, "marked corrupt"));
	b = opened(top, "qcow2", BLK_RDONLY);
	blk_unref(b);
	folder_remove();
}

TEST(qcow2_grows_its_refcount_table)
{
	struct blk_make m = {.format = "qcow2", .size = 40 << 20, .cluster = 512};
	struct blk_report rep;
	folder_make();
	CHECK(blk_create(top, &m, NULL) == 0);
	struct blk *b = opened(top, "qcow2", 0);
	uint8_t *p = malloc(1 << 20);
	uint64_t table = qcow2_of(b)->reftable_at;
	for (unsigned i = 0; i < 40; i++) {
		memset(p, (int)i + 1, 1 << 20);
		CHECK(blk_rw(b, BLK_WRITE, p, 1 << 20, (uint64_t)i << 20) == 0);
	}
	CHECK(qcow2_of(b)->reftable_at != table);
	blk_unref(b);
	b = opened(top, "qcow2", BLK_RDONLY);
	CHECK(blk_check(b, BLK_FIX_NONE, &rep, NULL) == 0 && !rep.corruptions && !rep.leaks);
	CHECK(blk_rw(b, BLK_READ, p, 1 << 20, 39 << 20) == 0 && p[0] == 40 && p[12345] == 40);
	blk_unref(b);
	free(p);
	folder_remove();
}

TEST(cache_keeps_what_is_dirty)
{
	struct cache c;
	uint8_t *t, back[512];
	folder_make();
	int fd = open(top, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(ftruncate(fd, 512 * 100) == 0 && cache_init(&c, fd, 512, 0) == 0);
	CHECK(c.slots == CACHE_LEAST);
	CHECK(cache_get(&c, 512, &t) == 0);
	t[7] = 42;
	cache_dirty(&c, t);
	for (uint64_t i = 2; i < 90; i++) CHECK(cache_get(&c, 512 * i, &t) == 0);
	CHECK(cache_get(&c, 512, &t) == 0 && t[7] == 42 && c.dirty == 1);
	CHECK(pread(fd, back, 512, 512) == 512 && back[7] == 0);
	CHECK(cache_write(&c) == 0 && pread(fd, back, 512, 512) == 512 && back[7] == 42);
	for (uint64_t i = 1; i <= CACHE_LEAST; i++) CHECK(cache_make(&c, 512 * i, &t) == 0);
	CHECK(cache_get(&c, 512 * 50, &t) == -ENOMEM && cache_full(&c)); /* never by losing one */
	CHECK(cache_get(&c, 512 * 101, &t) < 0 && cache_get(&c, 0, &t) == -EIO);
	cache_done(&c);
	(void)close(fd);
	folder_remove();
}

/* ---- a disk that is full for a while: files can grow no further */

static void room(uint64_t more)
{
	struct rlimit l;
	struct stat st;
	CHECK(stat(top, &st) == 0 && getrlimit(RLIMIT_FSIZE, &l) == 0);
	l.rlim_cur = more == UINT64_MAX ? l.rlim_max : (uint64_t)st.st_size + more;
	CHECK(setrlimit(RLIMIT_FSIZE, &l) == 0);
}

/* A write that failed has left each sector as it was or as it was to be. */
static void either(struct blk *b, uint8_t *model, const uint8_t *meant, uint64_t len, uint64_t off)
{
	uint8_t *is = malloc(len);
	CHECK(blk_rw(b, BLK_READ, is, len, off) == 0);
	for (uint64_t i = 0; i < len; i += 512) {
		CHECK(!memcmp(is + i, model + off + i, 512) || !memcmp(is + i, meant + i, 512));
		memcpy(model + off + i, is + i, 512);
	}
	free(is);
}

static unsigned full_step(struct blk *b, uint8_t *model, uint8_t *buf, uint64_t *seed)
{
	uint64_t off = dice(seed) % (SIZE / 512) * 512, len = (1 + dice(seed) % 200) * 512;
	bool zero = dice(seed) % 4 == 0;
	if (len > SIZE - off) len = SIZE - off;
	memset(buf, zero ? 0 : (int)dice(seed), len);
	int r = blk_rw(b, zero ? BLK_ZERO : BLK_WRITE, zero ? NULL : buf, len, off);
	if (r < 0)
		either(b, model, buf, len, off);
	else
		memcpy(model + off, buf, len);
	if (dice(seed) % 8 == 0) (void)blk_rw(b, BLK_FLUSH, NULL, 0, 0);
	return r < 0;
}

static void full_run(const char *format, uint64_t seed)
{
	uint8_t *model = calloc(1, SIZE), *buf = calloc(1, SIZE);
	struct blk_report rep;
	unsigned failed = 0;
	struct blk *b = opened(top, format, 0);
	for (unsigned turn = 0; turn < 12; turn++) {
		room(dice(&seed) % 300000);
		for (unsigned i = 0; i < 25; i++) failed += full_step(b, model, buf, &seed);
		room(UINT64_MAX);
		CHECK(blk_rw(b, BLK_FLUSH, NULL, 0, 0) == 0);
		same(b, model, buf);
		if (turn % 3) continue;
		blk_unref(b);
		b = opened(top, format, BLK_RDONLY);
		int r = blk_check(b, BLK_FIX_NONE, &rep, NULL);
		CHECK(r == -ENOTSUP || (r == 0 && !rep.corruptions));
		same(b, model, buf);
		blk_unref(b);
		b = opened(top, format, 0);
	}
	CHECK(failed);
	blk_unref(b);
	free(model);
	free(buf);
}

TEST(attack_images_on_a_full_disk)
{
	static const struct blk_make shapes[] = {{.format = "qcow2", .cluster = 512},
						 {.format = "qcow2", .cluster = 4096},
						 {.format = "qcow2"},
						 {.format = "vmdk"},
						 {.format = "vdi"}};
	void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < COUNT(shapes); i++)
		for (uint64_t seed = 1; seed < 4; seed++) {
			struct blk_make m = shapes[i];
			m.size = SIZE;
			folder_make();
			CHECK(blk_create(top, &m, NULL) == 0);
			full_run(m.format, 1000 * seed + i);
			folder_remove();
		}
	(void)signal(SIGXFSZ, before);
}

static void layer_make(void)
{
	struct blk_make below = {.format = "qcow2", .size = SIZE};
	struct blk_make m = {.format = "qcow2", .backing = "behind", .backing_format = "qcow2"};
	folder_make();
	CHECK(!blk_create(behind, &below, NULL) && !blk_create(top, &m, NULL));
}

static struct blk_held *held(void)
{
	struct err e = {0};
	struct blk_held *h = NULL;
	CHECK(!blk_hold(&h, top, "qcow2", BLK_BACKING, &e));
	return h;
}

/* The second half needs no names: both files may have lost theirs. Until then they are locked. */
TEST(qcow2_opened_in_two_halves)
{
	uint8_t sector[512];
	struct err e = {0};
	struct blk *b = NULL;
	layer_make();
	struct blk_held *h = held();
	CHECK(blk_open(&b, top, "qcow2", BLK_BACKING, &e) == -EBUSY);
	CHECK(blk_open(&b, behind, "qcow2", 0, &e) == -EBUSY);
	CHECK(!unlink(top) && !unlink(behind));
	CHECK(!blk_open_held(&b, h, &e) && blk_info(b).size == SIZE && !blk_info(b).readonly);
	memset(sector, 7, sizeof(sector));
	CHECK(!blk_rw(b, BLK_WRITE, sector, 512, 1 << 20));
	CHECK(!blk_rw(b, BLK_READ, sector, 512, 0) && !sector[0]);
	CHECK(!blk_rw(b, BLK_READ, sector, 512, 1 << 20) && sector[511] == 7);
	blk_unref(b);
	folder_remove();
}

/* What the first half does not look at: everything but the header and a name. */
TEST(qcow2_is_read_in_the_second_half)
{
	enum { L1_AT = 40 };
	const uint8_t nowhere[8] = {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0};
	struct err e = {0};
	struct blk *b = NULL;
	layer_make();
	int fd = open(top, O_RDWR | O_CLOEXEC);
	CHECK(pwrite(fd, nowhere, sizeof(nowhere), L1_AT) == sizeof(nowhere));
	(void)close(fd);
	CHECK(blk_open(&b, top, "qcow2", BLK_BACKING, &e) < 0);
	char words[sizeof(e.msg)];
	(void)strcpy(words, e.msg);
	struct blk_held *h = NULL;
	int r = blk_hold(&h, top, "qcow2", BLK_BACKING, &e);
	if (r == 0) r = blk_open_held(&b, h, &e);
	CHECK(r < 0 && !strcmp(e.msg, words));
	folder_remove();
}

/* A name that was not there before leads nowhere; nor does a longer chain. */
TEST(qcow2_names_nothing_more_in_the_second_half)
{
	enum { NAME_AT = 8, NAME_LEN = 16 };
	uint8_t name[NAME_LEN - NAME_AT + 4];
	struct err e = {0};
	struct blk *b = NULL;
	layer_make();
	int fd = open(top, O_RDWR | O_CLOEXEC);
	const uint8_t none[sizeof(name)] = {0};
	CHECK(pread(fd, name, sizeof(name), NAME_AT) == sizeof(name));
	CHECK(pwrite(fd, none, sizeof(none), NAME_AT) == sizeof(none));
	struct blk_held *h = held();
	CHECK(pwrite(fd, name, sizeof(name), NAME_AT) == sizeof(name));
	(void)close(fd);
	CHECK(blk_open_held(&b, h, &e) == -ESTALE && strstr(e.msg, "has changed"));
	blk_held_free(held());
	folder_remove();
}
