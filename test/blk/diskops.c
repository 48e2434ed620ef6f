/* A disk image under random load, for test/blk/run.sh.
 *   diskops load IMAGE FORMAT SEED STEPS MODEL   many requests at once, compared with a model in
 *                                                memory, which is left in the file MODEL
 *   diskops crash IMAGE FORMAT SEED STATE        until killed, which it does itself after a while
 *   diskops verify IMAGE FORMAT STATE            what was flushed is there, what was not is old or
 * new STATE is what the killed process had been told, in a file that outlives it. */
#include "base/types.h"
#include "blk/blk.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

enum { SECTOR = 512, BATCH = 24, LONGEST = 300 /* sectors */ };

static uint64_t seed;
static uint64_t dice(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

static _Noreturn void stop(const char *what, uint64_t at)
{
	(void)fprintf(stderr, "diskops: %s at %#llx\n", what, (unsigned long long)at);
	exit(1);
}

static struct blk *disk_open(const char *path, const char *format)
{
	struct err e = {0};
	struct blk *b;
	if (blk_open(&b, path, format, BLK_BACKING, &e) < 0) {
		(void)fprintf(stderr, "diskops: %s\n", e.msg);
		exit(1);
	}
	return b;
}

struct op {
	struct blk_req q;
	struct iovec v[3];
	uint8_t *buf;
};
static struct op ops[BATCH];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t none_left = PTHREAD_COND_INITIALIZER;
static unsigned left;

static void op_done(struct blk_req *q, int res)
{
	(void)pthread_mutex_lock(&mutex);
	q->res = res;
	if (!--left) (void)pthread_cond_signal(&none_left);
	(void)pthread_mutex_unlock(&mutex);
}

static bool overlaps(unsigned n, uint64_t off, uint64_t len)
{
	for (unsigned i = 0; i < n; i++)
		if (off < ops[i].q.off + ops[i].q.len && ops[i].q.off < off + len) return true;
	return false;
}

static void op_choose(struct op *o, unsigned n, uint64_t size)
{
	static const enum blk_op kinds[] = {BLK_READ,  BLK_READ,  BLK_WRITE, BLK_WRITE,
					    BLK_WRITE, BLK_WRITE, BLK_ZERO,  BLK_DISCARD};
	uint64_t off, len, near = dice(size / SECTOR);
	do {
		/* Close together, so that they meet in one cluster. */
		off = (near + dice(400)) % (size / SECTOR) * SECTOR;
		len = (dice(4) ? 1 + dice(20) : 1 + dice(LONGEST)) * SECTOR;
		if (len > size - off) len = size - off;
	} while (overlaps(n, off, len));
	o->q = (struct blk_req){.op = kinds[dice(COUNT(kinds))], .off = off, .len = len};
	uint64_t a = dice(len), b = a + dice(len - a);
	o->v[0] = (struct iovec){o->buf, a};
	o->v[1] = (struct iovec){o->buf + a, b - a};
	o->v[2] = (struct iovec){o->buf + b, len - b};
	if (dice(40) == 0) o->q = (struct blk_req){.op = BLK_FLUSH};
	bool data = o->q.op == BLK_READ || o->q.op == BLK_WRITE;
	o->q.iov = data ? o->v : NULL;
	o->q.niov = data ? 3 : 0;
	o->q.done = op_done;
}

/* Some of what is read at once is so beside what changes the same clusters. */
static void batch_run(struct blk *b, unsigned n)
{
	left = n;
	for (unsigned i = 0; i < n; i++)
		if (dice(2) && blk_read_now(b, &ops[i].q))
			op_done(&ops[i].q, 0);
		else
			blk_submit(b, &ops[i].q);
	(void)pthread_mutex_lock(&mutex);
	while (left) (void)pthread_cond_wait(&none_left, &mutex);
	(void)pthread_mutex_unlock(&mutex);
	for (unsigned i = 0; i < n; i++)
		if (ops[i].q.res) stop(strerror(-ops[i].q.res), ops[i].q.off);
}

/* --- load ------------------------------------------------------------------------------------ */

static void model_apply(struct blk *b, uint8_t *model, const struct op *o)
{
	uint8_t *at = model + o->q.off;
	switch (o->q.op) {
	case BLK_READ:
		if (memcmp(at, o->buf, o->q.len) != 0) stop("read differs", o->q.off);
		return;
	case BLK_WRITE: memcpy(at, o->buf, o->q.len); return;
	case BLK_ZERO: memset(at, 0, o->q.len); return;
	case BLK_FLUSH: return;
	default: /* a discard leaves what it likes, but that stays */
		if (blk_rw(b, BLK_READ, at, o->q.len, o->q.off)) stop("read failed", o->q.off);
	}
}

static void load_step(struct blk *b, uint8_t *model)
{
	unsigned n = 1 + (unsigned)dice(BATCH);
	for (unsigned i = 0; i < n; i++) {
		op_choose(&ops[i], i, blk_info(b).size);
		if (ops[i].q.op == BLK_WRITE)
			memset(ops[i].buf, dice(5) ? (int)(1 + dice(255)) : 0, ops[i].q.len);
	}
	batch_run(b, n);
	for (unsigned i = 0; i < n; i++) model_apply(b, model, &ops[i]);
	if (dice(10) == 0 && blk_rw(b, BLK_FLUSH, NULL, 0, 0)) stop("flush failed", 0);
}

static int load(const char *path, const char *format, unsigned steps, const char *to)
{
	struct blk *b = disk_open(path, format);
	uint64_t size = blk_info(b).size;
	uint8_t *model = malloc(size);
	if (!model || blk_rw(b, BLK_READ, model, size, 0)) stop("cannot be read", 0);
	for (unsigned i = 0; i < steps; i++) {
		load_step(b, model);
		if (dice(steps / 4 + 1)) continue;
		blk_unref(b);
		b = disk_open(path, format);
	}
	blk_unref(b);
	int fd = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, model, size) != (ssize_t)size) stop("model not written", 0);
	return 0;
}

/* --- crash ----------------------------------------------------------------------------------- */

/* Of each sector: the oldest and the newest writing that may be found there, numbered from 1, and
 * the newest that made it zero. */
struct sector {
	uint32_t low, high, zero;
};
struct state {
	uint32_t last; /* number given out */
	struct sector s[];
};

static struct state *state_map(const char *path, uint64_t sectors)
{
	size_t n = sizeof(struct state) + sectors * sizeof(struct sector);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || ftruncate(fd, (off_t)n) < 0) stop("no state", 0);
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) stop("no state", 0);
	return p;
}

static void stamp(uint8_t *p, uint64_t sector, uint32_t number)
{
	for (unsigned i = 0; i < SECTOR; i += 16) {
		store_le(p + i, sector + 1, 8);
		store_le(p + i + 8, number, 4);
		store_le(p + i + 12, i, 4);
	}
}

static void crash_choose(struct op *o, unsigned n, uint64_t size, struct state *st)
{
	op_choose(o, n, size);
	uint32_t number = ++st->last;
	for (uint64_t k = 0; k < o->q.len / SECTOR; k++) {
		struct sector *s = &st->s[o->q.off / SECTOR + k];
		if (o->q.op == BLK_WRITE) stamp(o->buf + k * SECTOR, o->q.off / SECTOR + k, number);
		if (o->q.op == BLK_WRITE || o->q.op == BLK_ZERO) s->high = number;
		if (o->q.op == BLK_ZERO || o->q.op == BLK_DISCARD) s->zero = number;
	}
}

/* What has been done and then flushed is the oldest that may be there. */
static void flushed(struct state *st, uint64_t sectors)
{
	for (uint64_t i = 0; i < sectors; i++) {
		struct sector *s = &st->s[i];
		s->low = s->high;
	}
}

static int crash(const char *path, const char *format, const char *at)
{
	struct blk *b = disk_open(path, format);
	uint64_t size = blk_info(b).size;
	struct state *st = state_map(at, size / SECTOR);
	struct itimerval soon = {.it_value.tv_usec = (suseconds_t)(1000 + dice(60000))};
	(void)signal(SIGALRM, SIG_DFL);
	if (fork() == 0) { /* the killer: at any instruction, while it is at work */
		pid_t victim = getppid();
		(void)close_range(3, ~0u, 0); /* or it would have the image's lock for longer */
		(void)usleep((useconds_t)soon.it_value.tv_usec);
		(void)kill(victim, SIGKILL);
		_exit(0);
	}
	for (;;) {
		unsigned n = 1 + (unsigned)dice(BATCH);
		for (unsigned i = 0; i < n; i++) crash_choose(&ops[i], i, size, st);
		batch_run(b, n);
		if (dice(4)) continue;
		if (blk_rw(b, BLK_FLUSH, NULL, 0, 0)) stop("flush failed", 0);
		flushed(st, size / SECTOR);
	}
}

static bool found_ok(struct sector *s, const uint8_t *p, uint64_t i)
{
	static const uint8_t zero[SECTOR];
	uint8_t want[SECTOR];
	uint32_t number = (uint32_t)load_le(p + 8, 4);
	if (!memcmp(p, zero, SECTOR)) {
		bool may = !s->low || s->zero >= s->low;
		*s = (struct sector){0, 0, 0};
		return may;
	}
	stamp(want, i, number);
	if (memcmp(p, want, SECTOR) != 0) return false;
	bool may = number >= s->low && number <= s->high;
	*s = (struct sector){number, number, 0};
	return may;
}

static int verify(const char *path, const char *format, const char *at)
{
	struct blk *b = disk_open(path, format);
	uint64_t size = blk_info(b).size;
	struct state *st = state_map(at, size / SECTOR);
	uint8_t *all = malloc(size);
	if (!all || blk_rw(b, BLK_READ, all, size, 0)) stop("cannot be read", 0);
	for (uint64_t i = 0; i < size / SECTOR; i++)
		if (!found_ok(&st->s[i], all + i * SECTOR, i)) stop("lost", i * SECTOR);
	blk_unref(b);
	free(all);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 5) return 2;
	for (unsigned i = 0; i < BATCH; i++) ops[i].buf = malloc(LONGEST * SECTOR);
	seed = strtoull(argv[4], NULL, 10) * 0x9e3779b97f4a7c15 + 1;
	if (!strcmp(argv[1], "load") && argc == 7)
		return load(argv[2], argv[3], (unsigned)atoi(argv[5]), argv[6]);
	if (!strcmp(argv[1], "crash") && argc == 6) return crash(argv[2], argv[3], argv[5]);
	if (!strcmp(argv[1], "verify")) return verify(argv[2], argv[3], argv[4]);
	return 2;
}
