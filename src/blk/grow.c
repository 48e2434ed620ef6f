/* Writing to images that grow at their end. No place is ever used for something else, so there is
 * no order to keep but one: data before the table that names it. */
#include "blk/grow.h"
#include "base/own.h"
#include <errno.h>
#include <string.h>

enum { AHEAD = 64 << 20, UNIT_ALIGN = 512 };

void grow_init(struct grow *g, uint64_t file_size)
{
	pthread_rwlockattr_t fair;
	*g = (struct grow){.end = file_size, .room = file_size};
	(void)pthread_rwlockattr_init(&fair);
	(void)pthread_rwlockattr_setkind_np(&fair, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	(void)pthread_rwlock_init(&g->lock, &fair);
	(void)pthread_rwlockattr_destroy(&fair);
}

void grow_done(struct grow *g, int fd)
{
	if (g->room > g->end && ftruncate(fd, (off_t)g->end) == 0) (void)file_sync(fd);
	(void)pthread_rwlock_destroy(&g->lock);
}

int grow_reach(struct grow *g, int fd, uint64_t end)
{
	if (end > g->room) {
		if (end > INT64_MAX - AHEAD) return -EFBIG;
		if (ftruncate(fd, (off_t)(end + AHEAD)) < 0 || fsync(fd) < 0) return -errno;
		g->room = end + AHEAD;
	}
	if (end > g->end) g->end = end;
	return 0;
}

int grow_take(struct grow *g, int fd, uint64_t bytes, uint64_t align, uint64_t *at)
{
	*at = (g->end + align - 1) / align * align;
	return grow_reach(g, fd, *at + bytes);
}

static int read_alone(struct blk *b, const struct grow_ops *o, void *to, uint64_t off, uint64_t len)
{
	struct iovec v = {to, len};
	struct blk_req q = {.op = BLK_READ, .off = off, .len = len, .iov = &v, .niov = 1};
	return len ? image_read(b, &q, o->map, o->unpack) : 0;
}

static void part_copy(uint8_t *to, const struct blk_req *p)
{
	for (int i = 0; i < p->niov; to += p->iov[i++].iov_len)
		memcpy(to, p->iov[i].iov_base, p->iov[i].iov_len);
}

/* The unit of which p is a part, as it was but for that part. */
static int unit_add(struct blk *b, struct grow *g, const struct grow_ops *o,
		    const struct blk_req *p)
{
	uint64_t in = p->off % b->unit, begin = p->off - in, at;
	auto_mem uint8_t *unit = malloc(b->unit);
	int r = unit ? 0 : -ENOMEM;
	if (!r && o->prepare) r = o->prepare(b, p->off);
	if (!r) r = read_alone(b, o, unit, begin, in);
	if (!r) r = read_alone(b, o, unit + in + p->len, p->off + p->len, b->unit - in - p->len);
	if (!r) part_copy(unit + in, p);
	if (!r) r = o->place ? o->place(b, &at) : grow_take(g, b->fd, b->unit, UNIT_ALIGN, &at);
	if (!r) r = file_put(b->fd, unit, b->unit, at);
	return r ? r : o->enter(b, begin, at);
}

static int part_add(struct blk *b, struct grow *g, const struct grow_ops *o, struct blk_req *p)
{
	struct extent x = {0};
	(void)pthread_rwlock_wrlock(&g->lock);
	int r = o->map(b, p->off, p->len, &x);
	if (!r && x.kind == EXTENT_DATA && x.len >= p->len) {
		p->off = x.at; /* somebody else was here first */
		r = file_run(b->fd, p, 0);
	} else if (!r)
		r = unit_add(b, g, o, p);
	(void)pthread_rwlock_unlock(&g->lock);
	return r;
}

/* Up to the end of a unit. *n: how much was written. */
static int write_part(struct blk *b, struct grow *g, const struct grow_ops *o,
		      const struct blk_req *q, uint64_t from, uint64_t *n)
{
	struct iovec v[PART_SEGS];
	struct extent x = {0};
	uint64_t off = q->off + from, left = b->unit - off % b->unit;
	struct blk_req p = req_part(q, from, left, off, v);
	*n = p.len;
	(void)pthread_rwlock_rdlock(&g->lock);
	int r = o->map(b, off, p.len, &x);
	bool there = !r && x.kind == EXTENT_DATA && x.len >= p.len;
	if (there) {
		p.off = x.at;
		r = file_run(b->fd, &p, 0);
	}
	(void)pthread_rwlock_unlock(&g->lock);
	return r || there ? r : part_add(b, g, o, &p);
}

static int grow_write(struct blk *b, struct grow *g, const struct grow_ops *o,
		      const struct blk_req *q)
{
	int r = 0;
	for (uint64_t at = 0, n; !r && at < q->len; at += n) r = write_part(b, g, o, q, at, &n);
	return r;
}

/* Only where there is something. */
static int grow_zero(struct blk *b, struct grow *g, const struct grow_ops *o,
		     const struct blk_req *q)
{
	static const char zeroes[64 * 1024];
	int r = 0;
	for (uint64_t at = 0, n; !r && at < q->len; at += n) {
		struct extent x = {.len = q->len - at};
		(void)pthread_rwlock_rdlock(&g->lock);
		r = o->map(b, q->off + at, q->len - at, &x);
		(void)pthread_rwlock_unlock(&g->lock);
		n = x.len;
		bool zero = x.kind == EXTENT_ZERO || (x.kind == EXTENT_NONE && !b->backing);
		if (r || zero) continue;
		if (n > sizeof(zeroes)) n = sizeof(zeroes);
		struct iovec v = {(void *)zeroes, n};
		struct blk_req w = {.op = BLK_WRITE, .off = q->off + at, .len = n, .iov = &v};
		w.niov = 1;
		r = grow_write(b, g, o, &w);
	}
	return r;
}

int grow_run(struct blk *b, struct grow *g, const struct grow_ops *o, const struct blk_req *q)
{
	int r;
	switch (q->op) {
	case BLK_READ:
		(void)pthread_rwlock_rdlock(&g->lock);
		r = image_read(b, q, o->map, o->unpack);
		(void)pthread_rwlock_unlock(&g->lock);
		return r;
	case BLK_WRITE: return grow_write(b, g, o, q);
	case BLK_ZERO: return grow_zero(b, g, o, q);
	case BLK_DISCARD: return 0;
	case BLK_FLUSH: return b->info.readonly ? 0 : file_sync(b->fd);
	}
	return -EINVAL;
}
