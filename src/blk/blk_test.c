#include "base/test.h"
#include "base/types.h"
#include "blk/aio.h"
#include "blk/blk.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[64];

static void file_make(size_t size)
{
	(void)strcpy(path, "/tmp/lodge-blk-XXXXXX");
	int fd = mkstemp(path);
	CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	(void)close(fd);
}

static int refused(const char *at, unsigned flags, const char *words)
{
	struct err e = {0};
	struct blk *b = NULL;
	int r = blk_open(&b, at, "raw", flags, &e);
	CHECK(r < 0 && strstr(e.msg, words) && strstr(e.msg, at));
	blk_unref(b);
	return r;
}

TEST(blk_refuses_what_is_no_disk)
{
	struct err e = {0};
	struct blk *b;
	CHECK(refused("/nonexistent/disk", 0, "no such file") == -ENOENT);
	CHECK(refused("/tmp", 0, "is a directory") == -EISDIR);
	CHECK(refused("/dev/null", 0, "neither a regular file nor") == -EINVAL);
	file_make(0);
	CHECK(refused(path, 0, "is empty") == -EINVAL);
	CHECK(blk_open(&b, path, "qcow9", 0, &e) == -EINVAL && strstr(e.msg, "qcow9 is unknown"));
	(void)unlink(path);
	CHECK(mkfifo(path, 0600) == 0);
	CHECK(refused(path, BLK_RDONLY, "neither a regular file nor") == -EINVAL);
	(void)unlink(path);
}

TEST(blk_pads_a_ragged_end)
{
	uint64_t in, out;
	struct err e = {0};
	struct blk *b = NULL;
	char buf[1024];
	struct stat st;
	file_make(700);
	CHECK(blk_open(&b, path, "raw", 0, &e) == 0);
	CHECK(blk_info(b).size == 1024 && blk_info(b).block == 512 && !blk_info(b).readonly);
	memset(buf, 'x', sizeof(buf));
	CHECK(blk_rw(b, BLK_READ, buf, 1024, 0) == 0);
	for (size_t i = 0; i < sizeof(buf); i++) CHECK(buf[i] == 0);
	CHECK(blk_rw(b, BLK_WRITE, buf, 512, 512) == 0 && blk_rw(b, BLK_WRITE, buf, 512, 1024) < 0);
	blk_moved(b, &in, &out);
	CHECK(in == 1024 && out == 512); /* what was refused is not in it */
	CHECK(stat(path, &st) == 0 && st.st_size == 1024);
	blk_unref(b);
	(void)unlink(path);
}

TEST(blk_checks_every_request)
{
	struct blk *b = NULL;
	char buf[1024] = {0};
	file_make(4096);
	CHECK(blk_open(&b, path, "raw", 0, NULL) == 0);
	CHECK(blk_rw(b, BLK_READ, buf, 512, 4096) == -EINVAL);
	CHECK(blk_rw(b, BLK_READ, buf, 1024, 3584) == -EINVAL);
	CHECK(blk_rw(b, BLK_READ, buf, 512, UINT64_MAX - 511) == -EINVAL);
	CHECK(blk_rw(b, BLK_READ, buf, 511, 0) == -EINVAL);
	CHECK(blk_rw(b, BLK_READ, buf, 512, 1) == -EINVAL);
	CHECK(blk_rw(b, BLK_ZERO, NULL, UINT64_MAX - 511, 512) == -EINVAL);
	CHECK(blk_rw(b, (enum blk_op)99, buf, 512, 0) == -EINVAL);
	CHECK(blk_rw(b, BLK_READ, buf, 0, 4096) == 0);
	CHECK(blk_rw(b, BLK_DISCARD, NULL, 0, 0) == 0 && blk_rw(b, BLK_ZERO, NULL, 0, 0) == 0);
	blk_unref(b);
	CHECK(blk_open(&b, path, "raw", BLK_RDONLY, NULL) == 0);
	CHECK(blk_info(b).readonly && !blk_info(b).discard);
	CHECK(blk_rw(b, BLK_WRITE, buf, 512, 0) == -EROFS);
	CHECK(blk_rw(b, BLK_DISCARD, NULL, 512, 0) == -EROFS);
	CHECK(blk_rw(b, BLK_ZERO, NULL, 512, 0) == -EROFS);
	CHECK(blk_rw(b, BLK_FLUSH, NULL, 0, 0) == 0);
	blk_unref(b);
	(void)unlink(path);
}

static int opens(struct blk **out, unsigned flags)
{
	struct err e;
	return blk_open(out, path, "raw", flags, &e);
}

/* Those that share a disk do so with each other only. */
TEST(blk_shares_with_those_that_say_so)
{
	struct blk *a = NULL, *b = NULL, *c = NULL;
	char x = 0, text[512] = "x";
	file_make(4096);
	CHECK(!opens(&a, BLK_SHARED) && !opens(&b, BLK_SHARED));
	CHECK(opens(&c, 0) == -EBUSY && opens(&c, BLK_RDONLY) == -EBUSY);
	CHECK(!blk_rw(a, BLK_WRITE, text, 512, 0));
	text[0] = 0;
	CHECK(!blk_rw(b, BLK_READ, text, 512, 0));
	x = text[0];
	blk_unref(a);
	CHECK(x == 'x' && opens(&c, 0) == -EBUSY);
	blk_unref(b);
	CHECK(!opens(&c, BLK_RDONLY) && !opens(&a, BLK_RDONLY) && opens(&b, BLK_SHARED) == -EBUSY);
	blk_unref(a);
	blk_unref(c);
	CHECK(!opens(&c, 0) && opens(&b, BLK_SHARED) == -EBUSY);
	blk_unref(c);
	CHECK(blk_open(&c, path, "qcow2", BLK_SHARED, NULL) < 0);
	(void)unlink(path);
}

TEST(blk_locks_out_others)
{
	struct blk *a = NULL, *b = NULL;
	file_make(4096);
	CHECK(blk_open(&a, path, "raw", BLK_RDONLY, NULL) == 0);
	CHECK(blk_open(&b, path, "raw", BLK_RDONLY, NULL) == 0);
	CHECK(refused(path, 0, "is in use") == -EBUSY);
	blk_unref(a);
	blk_unref(b);
	CHECK(blk_open(&a, path, "raw", 0, NULL) == 0);
	CHECK(refused(path, BLK_RDONLY, "is in use already, by this very guest") == -EBUSY);
	char words[64];
	(void)snprintf(words, sizeof(words), "is in use by another guest (pid %d)", getpid());
	pid_t pid = fork();
	if (pid == 0) {
		struct err e = {0};
		_exit(blk_open(&b, path, "raw", 0, &e) == -EBUSY && strstr(e.msg, words) ? 0 : 1);
	}
	int status = -1;
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	blk_unref(a);
	CHECK(blk_open(&a, path, "raw", 0, NULL) == 0);
	blk_unref(a);
	(void)unlink(path);
}

static uint64_t dice(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	return *s ^= *s << 17;
}

enum { MODEL = 256 * 1024, STEPS = 1500 };

static void model_step(struct blk *b, uint8_t *model, uint8_t *buf, uint64_t *seed)
{
	uint64_t off = dice(seed) % (MODEL / 512) * 512;
	uint64_t len = dice(seed) % 64 * 512;
	if (len > MODEL - off) len = MODEL - off;
	switch (dice(seed) % 6) {
	case 0:
	case 1:
		CHECK(blk_rw(b, BLK_READ, buf, len, off) == 0);
		CHECK(!memcmp(buf, model + off, len));
		break;
	case 2:
	case 3:
		memset(buf, (int)dice(seed), len);
		CHECK(blk_rw(b, BLK_WRITE, buf, len, off) == 0);
		memcpy(model + off, buf, len);
		break;
	case 4:
		CHECK(blk_rw(b, BLK_ZERO, NULL, len, off) == 0);
		memset(model + off, 0, len);
		break;
	default:
		CHECK(blk_rw(b, BLK_DISCARD, NULL, len, off) == 0);
		CHECK(blk_rw(b, BLK_READ, model + off, len, off) == 0);
	}
}

static void model_run(unsigned flags, uint64_t seed)
{
	struct blk *b = NULL;
	uint8_t *model = calloc(1, MODEL), *buf = calloc(1, MODEL);
	file_make(MODEL);
	CHECK(blk_open(&b, path, "raw", flags, NULL) == 0);
	for (int i = 0; i < STEPS; i++) model_step(b, model, buf, &seed);
	CHECK(blk_rw(b, BLK_FLUSH, NULL, 0, 0) == 0);
	blk_unref(b);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && read(fd, buf, MODEL) == MODEL && !memcmp(buf, model, MODEL));
	(void)close(fd);
	(void)unlink(path);
	free(model);
	free(buf);
}
TEST(blk_agrees_with_a_model) { model_run(0, 42); }
TEST(blk_agrees_with_a_model_by_threads) { model_run(BLK_THREADS, 43); }

enum { MANY = 1000 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_done = PTHREAD_COND_INITIALIZER;
static int left, wrong;

static void count_done(struct blk_req *q, int res)
{
	(void)q;
	(void)pthread_mutex_lock(&mutex);
	if (res) wrong++;
	if (--left == 0) (void)pthread_cond_signal(&all_done);
	(void)pthread_mutex_unlock(&mutex);
}

/* Far more than a ring holds, submitted while holding a lock that done() takes. */
static void many_run(unsigned flags)
{
	static struct blk_req q[MANY];
	static struct iovec v[MANY][3];
	static uint8_t data[MANY][512], back[MANY][512];
	struct blk *b = NULL;
	file_make(sizeof(data));
	CHECK(blk_open(&b, path, "raw", flags, NULL) == 0);
	for (int pass = 0; pass < 2; pass++) {
		(void)pthread_mutex_lock(&mutex);
		left = MANY;
		wrong = 0;
		for (size_t i = 0; i < MANY; i++) {
			uint8_t *at = pass ? back[i] : data[i];
			if (!pass) memset(at, (int)(i % 251) + 1, 512);
			v[i][0] = (struct iovec){at, 1};
			v[i][1] = (struct iovec){at + 1, 0};
			v[i][2] = (struct iovec){at + 1, 511};
			q[i] = (struct blk_req){.op = pass ? BLK_READ : BLK_WRITE};
			q[i].off = i * 512;
			q[i].len = 512;
			q[i].iov = v[i];
			q[i].niov = 3;
			q[i].done = count_done;
			blk_submit(b, &q[i]);
		}
		while (left) (void)pthread_cond_wait(&all_done, &mutex);
		(void)pthread_mutex_unlock(&mutex);
		CHECK(wrong == 0);
	}
	CHECK(!memcmp(data, back, sizeof(data)));
	blk_unref(b);
	(void)unlink(path);
}
TEST(blk_takes_more_than_the_ring_holds) { many_run(0); }
TEST(blk_takes_many_by_threads) { many_run(BLK_THREADS); }

TEST(blk_last_unref_waits)
{
	static struct blk_req q[64];
	static uint8_t zero[512];
	struct iovec v = {zero, 512};
	struct blk *b = NULL;
	file_make(65536);
	CHECK(blk_open(&b, path, "raw", 0, NULL) == 0 && blk_ref(b) == b);
	left = 64;
	for (size_t i = 0; i < 64; i++) {
		q[i] = (struct blk_req){.op = BLK_WRITE, .off = i * 512, .len = 512, .iov = &v};
		q[i].niov = 1;
		q[i].done = count_done;
		blk_submit(b, &q[i]);
	}
	blk_unref(b);
	CHECK(blk_rw(b, BLK_READ, zero, 512, 0) == 0);
	blk_unref(b);
	CHECK(left == 0);
	(void)unlink(path);
}

static int last_res;
static void keep_res(struct blk_req *q, int res)
{
	(void)q;
	last_res = res;
}

static int aio_once(int fd, bool threads, enum blk_op op)
{
	static uint8_t data[512];
	struct iovec v = {data, 512};
	struct blk_req q = {.op = op, .len = 512, .iov = &v, .niov = 1, .done = keep_res};
	struct aio *a = NULL;
	CHECK(aio_new(&a, fd, threads, NULL) == 0);
	last_res = 1;
	aio_submit(a, &q);
	aio_free(a);
	return last_res;
}

TEST(aio_reports_the_kernels_errors)
{
	file_make(4096);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	for (int threads = 0; threads < 2; threads++) {
		CHECK(aio_once(fd, threads, BLK_READ) == 0);
		CHECK(aio_once(fd, threads, BLK_WRITE) == -EBADF);
		CHECK(aio_once(fd, threads, BLK_DISCARD) == -EBADF);
		CHECK(aio_once(fd, threads, BLK_ZERO) == -EBADF);
	}
	(void)close(fd);
	(void)unlink(path);
}

enum { SEGMENTS = 200, SEGMENT = 37 };

/* More segments than fit one call, some empty, begun at every odd place. */
TEST(aio_finishes_what_the_kernel_cut_short)
{
	static uint8_t data[SEGMENTS * SEGMENT], back[SEGMENTS * SEGMENT], want[sizeof(data)];
	static struct iovec v[2 * SEGMENTS];
	struct blk_req q = {.op = BLK_WRITE, .len = sizeof(data), .iov = v, .niov = 2 * SEGMENTS};
	for (size_t i = 0; i < sizeof(data); i++) data[i] = (uint8_t)(i * 7 + 1);
	for (size_t i = 0; i < SEGMENTS; i++)
		v[2 * i] = (struct iovec){data + i * SEGMENT, SEGMENT};
	for (size_t from = 0; from <= sizeof(data); from += from < 80 ? 1 : 1009) {
		file_make(1024);
		int fd = open(path, O_RDWR | O_CLOEXEC);
		q.op = BLK_WRITE;
		CHECK(file_run(fd, &q, from) == 0);
		memcpy(want, data, sizeof(data));
		memset(want, 0, from);
		q.op = BLK_READ;
		CHECK(file_run(fd, &q, 0) == 0 && !memcmp(data, want, sizeof(data)));
		CHECK(pread(fd, back, sizeof(back), 0) >= 0);
		CHECK(from == sizeof(data) || !memcmp(back, want, sizeof(want)));
		for (size_t i = 0; i < sizeof(data); i++) data[i] = (uint8_t)(i * 7 + 1);
		(void)close(fd);
		(void)unlink(path);
	}
}

TEST(aio_zeroes_by_writing)
{
	enum { ALL = 200 * 1024, OFF = 1024, LEN = 150 * 1024 };
	static uint8_t data[ALL], back[ALL];
	struct blk_req q = {.op = BLK_ZERO, .off = OFF, .len = LEN};
	file_make(ALL);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	memset(data, 7, ALL);
	CHECK(pwrite(fd, data, ALL, 0) == ALL && file_write_zeroes(fd, &q) == 0);
	memset(data + OFF, 0, LEN);
	CHECK(pread(fd, back, ALL, 0) == ALL && !memcmp(data, back, ALL));
	(void)close(fd);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC); /* has no holes at all */
	CHECK(file_run(fd, &q, 0) == 0);
	q.op = BLK_DISCARD;
	CHECK(file_run(fd, &q, 0) == 0);
	(void)close(fd);
	(void)unlink(path);
}

TEST(aio_prefers_the_ring_where_there_is_one)
{
	struct aio *a = NULL, *b = NULL;
	file_make(512);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	bool have = aio_uring.start(&b, fd, NULL) == 0;
	CHECK(aio_new(&a, fd, false, NULL) == 0 && (a->ops == &aio_uring) == have);
	aio_free(a);
	CHECK(aio_new(&a, fd, true, NULL) == 0 && a->ops == &aio_pool);
	aio_free(a);
	if (have) aio_free(b);
	(void)close(fd);
	(void)unlink(path);
}
