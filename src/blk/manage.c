/* What the owner of images does with them while no guest has them: make, look at, check, resize,
 * compare, convert. */
#include "base/own.h"
#include "base/types.h"
#include "blk/impl.h"
#include "blk/qcow2.h"
#include "blk/vmdk.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CHUNK = 1 << 20, PROBE = 4096, SECTOR = 512 };

static const struct blk_ops *const probed[] = {&blk_qcow2, &blk_vmdk, &blk_vdi, &blk_vhdx,
					       &blk_vhd};

const char *blk_probe(const char *path, struct err *e)
{
	uint8_t head[PROBE] = {0};
	uint64_t size;
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		(void)fail(e, -errno, "%s: %s", path, strerror(errno));
		return NULL;
	}
	ssize_t n = pread(fd, head, sizeof(head), 0);
	if (n < 0 || file_size(fd, &size) < 0) {
		(void)fail(e, -errno, "%s: %s", path, strerror(errno));
		return NULL;
	}
	for (size_t i = 0; i < COUNT(probed); i++)
		if (probed[i]->probe(fd, head, (size_t)n, size)) return probed[i]->name;
	return "raw";
}

static int backing_size(const char *path, const struct blk_make *m, uint64_t *size, struct err *e)
{
	struct blk_about a;
	char at[4096];
	const char *slash = strrchr(path, '/');
	int dir = slash && m->backing[0] != '/' ? (int)(slash - path + 1) : 0;
	if ((size_t)snprintf(at, sizeof(at), "%.*s%s", dir, path, m->backing) >= sizeof(at))
		return fail(e, -ENAMETOOLONG, "the name of what it lies over is too long");
	int r = blk_about(at, m->backing_format, &a, e);
	*size = a.size;
	return r;
}

static int sync_folder(const char *path)
{
	char dir[4096];
	const char *slash = strrchr(path, '/');
	(void)snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path + 1) : 1,
		       slash ? path : ".");
	auto_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static int make_check(const char *path, struct blk_make *m, struct err *e)
{
	if (!m->name) m->name = base_name(path);
	if (m->backing && !m->size) {
		int r = backing_size(path, m, &m->size, e);
		if (r < 0) return r;
	}
	if (!m->size) return fail(e, -EINVAL, "a disk needs a size");
	if (m->size > INT64_MAX - CHUNK) return fail(e, -EFBIG, "is too large");
	m->size = (m->size + SECTOR - 1) / SECTOR * SECTOR;
	return 0;
}

static int file_make(const char *path, const struct blk_ops *ops, const struct blk_make *m,
		     struct err *e)
{
	auto_fd int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0) return fail(e, -errno, "%s", strerror(errno));
	int r = ops->create(fd, m, e);
	if (!r && fsync(fd) < 0) r = fail(e, -errno, "%s", strerror(errno));
	if (r < 0)
		(void)unlink(path);
	else
		(void)sync_folder(path);
	return r;
}

int blk_create(const char *path, const struct blk_make *m, struct err *e)
{
	struct blk_make made = *m;
	const struct blk_ops *ops = format_need(m->format, e);
	int r = ops ? 0 : -EINVAL;
	if (!r && !ops->create) r = fail(e, -ENOTSUP, "%s images can only be read", ops->name);
	if (!r) r = make_check(path, &made, e);
	if (!r) r = file_make(path, ops, &made, e);
	return r < 0 ? fail_in(e, "disk %s", path) : 0;
}

static int alone_open(struct blk **out, const char *path, const char *format, unsigned flags,
		      struct err *e)
{
	if (!format) format = blk_probe(path, e);
	if (!format) return e ? e->code : -EIO;
	struct blk_opts o = {.format = format, .flags = flags | BLK_ALONE};
	return blk_open_with(out, path, &o, e);
}

int blk_about(const char *path, const char *format, struct blk_about *to, struct err *e)
{
	struct blk *b;
	struct stat st;
	*to = (struct blk_about){0};
	int r = alone_open(&b, path, format, BLK_RDONLY, e);
	if (r < 0) return r;
	(void)snprintf(to->format, sizeof(to->format), "%s", b->ops->name);
	to->size = b->info.size;
	if (fstat(b->fd, &st) == 0) to->used = (uint64_t)st.st_blocks * 512;
	if (b->ops->about) b->ops->about(b, to);
	blk_unref(b);
	return 0;
}

struct snapshot_fn {
	void (*fn)(void *ctx, const struct blk_snapshot *s);
	void *ctx;
};

static int snapshot_tell(void *ctx, const struct qcow2_snapshot *s)
{
	struct snapshot_fn *f = ctx;
	f->fn(f->ctx, &s->is);
	return 0;
}

int blk_snapshots(const char *path, void (*fn)(void *ctx, const struct blk_snapshot *s), void *ctx,
		  struct err *e)
{
	struct snapshot_fn f = {fn, ctx};
	struct blk *b;
	int r = alone_open(&b, path, "qcow2", BLK_RDONLY, e);
	if (r < 0) return r;
	r = qcow2_snapshot_each(qcow2_of(b), snapshot_tell, &f, NULL, e);
	blk_unref(b);
	return r < 0 ? fail_in(e, "disk %s", path) : 0;
}

int blk_check(struct blk *b, enum blk_fix fix, struct blk_report *r, struct err *e)
{
	*r = (struct blk_report){0};
	if (!b->ops->check)
		return fail(e, -ENOTSUP, "%s images have nothing to check", b->ops->name);
	return b->ops->check(b, fix, r, e);
}

int blk_check_file(const char *path, const char *format, enum blk_fix fix, struct blk_report *rep,
		   struct err *e)
{
	struct blk *b;
	int r = alone_open(&b, path, format, fix == BLK_FIX_NONE ? BLK_RDONLY : BLK_REPAIR, e);
	if (r < 0) return r;
	r = blk_check(b, fix, rep, e);
	blk_unref(b);
	return r < 0 ? fail_in(e, "disk %s", path) : 0;
}

/* A later growth has to show zeroes where the disk went on. */
static int tail_zero(struct blk *b, uint64_t size)
{
	uint64_t unit = b->unit ? b->unit : 1, end = (size + unit - 1) / unit * unit;
	if (end > b->info.size) end = b->info.size;
	return end > size ? blk_rw(b, BLK_ZERO, NULL, end - size, size) : 0;
}

int blk_resize(struct blk *b, uint64_t size, struct err *e)
{
	size = (size + SECTOR - 1) / SECTOR * SECTOR;
	if (!b->ops->resize)
		return fail(e, -ENOTSUP, "%s images keep their size; convert it to another format",
			    b->ops->name);
	if (!size || size > INT64_MAX - CHUNK) return fail(e, -EINVAL, "not a size for a disk");
	int r = blk_rw(b, BLK_FLUSH, NULL, 0, 0);
	if (!r && size < b->info.size) r = tail_zero(b, size);
	if (r < 0) return fail(e, r, "cannot be written (%s)", strerror(-r));
	r = b->ops->resize(b, size, e);
	if (!r) b->info.size = size;
	return r;
}

/* Whether bytes of the disk are known to be zero; *len: for how many that is so. */
static int known_zero(struct blk *b, uint64_t off, uint64_t *len, bool *zero)
{
	struct extent x;
	int r = b->ops->map(b, off, *len, &x);
	if (r < 0) return r;
	*len = x.len;
	*zero = x.kind == EXTENT_ZERO;
	if (x.kind != EXTENT_NONE) return 0;
	*zero = !b->backing || off >= b->backing->info.size;
	if (*zero) return 0;
	if (*len > b->backing->info.size - off) *len = b->backing->info.size - off;
	return known_zero(b->backing, off, len, zero);
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && !memcmp(p, p + 1, n - 1));
}

struct copy {
	const struct blk_convert *how;
	struct blk *from, *to;
	uint8_t *buf; /* CHUNK or a unit, the larger */
	uint64_t chunk;
};

/* n bytes of buf that belong at off: whole units, or zero and left out. */
static int put_units(struct copy *c, uint64_t off, uint64_t n, struct err *e)
{
	uint64_t unit = c->how->pack && c->to->ops->pack ? c->to->unit : 64 * 1024;
	int r = 0;
	for (uint64_t at = 0, len; !r && at < n; at += len) {
		len = n - at < unit ? n - at : unit;
		if (all_zero(c->buf + at, len)) continue;
		if (c->how->pack && c->to->ops->pack && len == unit)
			r = c->to->ops->pack(c->to, off + at, c->buf + at, e);
		else
			r = blk_rw(c->to, BLK_WRITE, c->buf + at, len, off + at);
	}
	return r;
}

static int copy_all(struct copy *c, struct err *e)
{
	uint64_t size = c->from->info.size;
	int r = 0;
	for (uint64_t off = 0, len; !r && off < size; off += len) {
		bool zero = false;
		len = size - off;
		r = known_zero(c->from, off, &len, &zero);
		uint64_t step = c->chunk - off % c->chunk;
		if (!zero && len > step) len = step;
		/* Packed units are whole ones, whatever they are made from. */
		if (c->how->pack) {
			zero = zero && len >= step;
			len = zero ? len - len % c->chunk : step;
			if (len > size - off) len = size - off;
		}
		if (c->how->progress) c->how->progress(c->how->ctx, off, size);
		if (r || zero) continue;
		r = blk_rw(c->from, BLK_READ, c->buf, len, off);
		if (r < 0) return fail(e, r, "%s: cannot be read (%s)", c->how->from, strerror(-r));
		r = put_units(c, off, len, e);
	}
	if (!r) r = blk_rw(c->to, BLK_FLUSH, NULL, 0, 0);
	if (c->how->progress) c->how->progress(c->how->ctx, size, size);
	return r < 0 ? fail(e, r, "cannot be written (%s)", strerror(-r)) : 0;
}

static int fill(struct copy *c, const char *path, const struct blk_make *m, struct err *e)
{
	int r = blk_create(path, m, e);
	if (r < 0) return r;
	r = blk_open(&c->to, path, m->format, 0, e);
	if (r < 0) return r;
	c->chunk = c->to->unit > CHUNK ? c->to->unit : CHUNK;
	c->buf = malloc(c->chunk);
	r = c->buf ? copy_all(c, e) : fail(e, -ENOMEM, "out of memory");
	blk_unref(c->to);
	free(c->buf);
	return r;
}

static int stream_out(struct copy *c, const char *path, const char *name, struct err *e)
{
	auto_fd int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0) return fail(e, -errno, "%s: %s", path, strerror(errno));
	return vmdk_stream(c->from, fd, name, c->how->progress, c->how->ctx, e);
}

static int replace(const char *temp, const char *path, struct err *e)
{
	auto_fd int fd = open(temp, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0 || rename(temp, path) < 0)
		return fail(e, -errno, "%s: %s", path, strerror(errno));
	(void)sync_folder(path);
	return 0;
}

static int convert_check(const struct blk_convert *c, const struct blk_ops *ops, struct err *e)
{
	struct stat st;
	if (!ops->create) return fail(e, -ENOTSUP, "%s images can only be read", ops->name);
	if (c->pack && !ops->pack)
		return fail(e, -EINVAL, "%s images cannot be compressed here", ops->name);
	if (c->stream && ops != &blk_vmdk)
		return fail(e, -EINVAL, "only vmdk images can be a stream");
	if (stat(c->to, &st) == 0 && !S_ISREG(st.st_mode))
		return fail(e, -EINVAL, "%s: is there and no file", c->to);
	return 0;
}

static int source_open(struct blk **out, const struct blk_convert *c, struct err *e)
{
	const char *format = c->from_format ? c->from_format : blk_probe(c->from, e);
	if (!format) return e ? e->code : -EIO;
	struct blk_opts o = {.format = format, .flags = BLK_RDONLY | c->flags};
	o.snapshot = c->snapshot;
	return blk_open_with(out, c->from, &o, e);
}

int blk_convert(const struct blk_convert *how, struct err *e)
{
	struct copy c = {.how = how};
	struct blk_make m = how->make;
	char temp[4096];
	const struct blk_ops *ops = format_need(m.format, e);
	int r = ops ? convert_check(how, ops, e) : -EINVAL;
	if ((size_t)snprintf(temp, sizeof(temp), "%s.part%d", how->to, getpid()) >= sizeof(temp))
		r = fail(e, -ENAMETOOLONG, "%s: the name is too long", how->to);
	if (!r) r = source_open(&c.from, how, e);
	if (r < 0) return r;
	if (!m.size) m.size = c.from->info.size;
	m.name = base_name(how->to);
	r = how->stream ? stream_out(&c, temp, m.name, e) : fill(&c, temp, &m, e);
	if (!r) r = replace(temp, how->to, e);
	if (r < 0) (void)unlink(temp);
	blk_unref(c.from);
	return r;
}

static int rest_zero(struct blk *b, uint8_t *buf, uint64_t off, uint64_t *differs)
{
	for (uint64_t n; off < b->info.size; off += n) {
		n = b->info.size - off < CHUNK ? b->info.size - off : CHUNK;
		int r = blk_rw(b, BLK_READ, buf, n, off);
		if (r < 0) return r;
		if (!all_zero(buf, n)) {
			*differs = off;
			return 1;
		}
	}
	return 0;
}

int blk_same(struct blk *a, struct blk *b, uint64_t *differs, struct err *e)
{
	uint64_t size = a->info.size < b->info.size ? a->info.size : b->info.size;
	auto_mem uint8_t *p = malloc(CHUNK), *q = malloc(CHUNK);
	int r = p && q ? 0 : -ENOMEM;
	for (uint64_t off = 0, n; !r && off < size; off += n) {
		n = size - off < CHUNK ? size - off : CHUNK;
		r = blk_rw(a, BLK_READ, p, n, off);
		if (!r) r = blk_rw(b, BLK_READ, q, n, off);
		if (r || !memcmp(p, q, n)) continue;
		*differs = off;
		return 1;
	}
	if (!r) r = rest_zero(a->info.size > size ? a : b, p, size, differs);
	return r < 0 ? fail(e, r, "cannot be read (%s)", strerror(-r)) : r;
}
