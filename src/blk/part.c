/* What every format that is more than raw does the same way: a request is cut into parts that lie
 * in one place each, and a part is read from the file, from the image behind, or is zero. */
#include "base/types.h"
#include "blk/impl.h"
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

struct blk_req req_part(const struct blk_req *q, uint64_t from, uint64_t len, uint64_t at,
			struct iovec v[PART_SEGS])
{
	struct blk_req p = {.op = q->op, .off = at, .iov = v};
	for (int i = 0; i < q->niov && p.niov < PART_SEGS && p.len < len; i++) {
		size_t n = q->iov[i].iov_len;
		if (from >= n) {
			from -= n;
			continue;
		}
		n -= from;
		if (n > len - p.len) n = len - p.len;
		v[p.niov++] = (struct iovec){(char *)q->iov[i].iov_base + from, n};
		p.len += n;
		from = 0;
	}
	return p;
}

void req_zero(const struct blk_req *q)
{
	for (int i = 0; i < q->niov; i++) memset(q->iov[i].iov_base, 0, q->iov[i].iov_len);
}

int backing_read(struct blk *b, const struct blk_req *q)
{
	struct blk *in = b->backing;
	uint64_t have = in && q->off < in->info.size ? in->info.size - q->off : 0;
	struct iovec v[PART_SEGS];
	if (have >= q->len) return in->ops->run(in, q);
	req_zero(q);
	struct blk_req p = req_part(q, 0, have, q->off, v);
	return p.len ? in->ops->run(in, &p) : 0;
}

int image_read(struct blk *b, const struct blk_req *q,
	       int (*map)(struct blk *b, uint64_t off, uint64_t len, struct extent *x),
	       int (*unpack)(struct blk *b, const struct extent *x, const struct blk_req *q))
{
	struct iovec v[PART_SEGS];
	for (uint64_t at = 0; at < q->len;) {
		struct extent x = {0};
		int r = map(b, q->off + at, q->len - at, &x);
		if (r < 0) return r;
		struct blk_req p = req_part(q, at, x.len, q->off + at, v);
		if (!p.len) return -EINVAL;
		at += p.len;
		switch (x.kind) {
		case EXTENT_NONE: r = backing_read(b, &p); break;
		case EXTENT_ZERO: req_zero(&p); break;
		case EXTENT_DATA:
			p.off = x.at;
			r = file_run(b->fd, &p, 0);
			break;
		case EXTENT_PACKED: r = unpack ? unpack(b, &x, &p) : -EIO; break;
		}
		if (r < 0) return r;
	}
	return 0;
}

static bool backing_read_now(struct blk *b, const struct blk_req *q)
{
	struct blk *in = b->backing;
	if (!in) {
		req_zero(q);
		return true;
	}
	bool inside = q->off < in->info.size && q->len <= in->info.size - q->off;
	return inside && in->ops->read_now && in->ops->read_now(in, q);
}

bool image_read_now(struct blk *b, const struct blk_req *q,
		    int (*map)(struct blk *b, uint64_t off, uint64_t len, struct extent *x))
{
	struct iovec v[PART_SEGS];
	bool ok = true;
	for (uint64_t at = 0; ok && at < q->len;) {
		struct extent x = {0};
		if (map(b, q->off + at, q->len - at, &x) < 0) return false;
		struct blk_req p = req_part(q, at, x.len, q->off + at, v);
		if (!p.len) return false;
		at += p.len;
		switch (x.kind) {
		case EXTENT_NONE: ok = backing_read_now(b, &p); break;
		case EXTENT_ZERO: req_zero(&p); break;
		case EXTENT_DATA:
			p.off = x.at;
			ok = file_read_now(b->fd, &p);
			break;
		case EXTENT_PACKED: return false;
		}
	}
	return ok;
}

int file_get(int fd, void *to, size_t len, uint64_t at)
{
	size_t have = 0;
	if (at > INT64_MAX - len) return -EIO;
	while (have < len) {
		ssize_t n = pread(fd, (char *)to + have, len - have, (off_t)(at + have));
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return -errno;
		if (n == 0) break;
		have += (size_t)n;
	}
	memset((char *)to + have, 0, len - have);
	return have || !len ? 0 : -EIO;
}

bool file_holds(int fd, uint64_t at, uint64_t len)
{
	uint64_t size;
	return file_size(fd, &size) == 0 && at <= size && len <= size - at;
}

int file_put(int fd, const void *from, size_t len, uint64_t at)
{
	size_t done = 0;
	if (at > INT64_MAX - len) return -EFBIG;
	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)from + done, len - done, (off_t)(at + done));
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) return n ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

int file_sync(int fd) { return fdatasync(fd) < 0 ? -errno : 0; }

int file_size(int fd, uint64_t *size)
{
	struct stat st;
	if (fstat(fd, &st) < 0) return -errno;
	*size = (uint64_t)st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, size) < 0) return -errno;
	return 0;
}

int wrong_format(struct err *e, const char *format)
{
	return fail(e, -EINVAL, "is no %s image: its first bytes are others", format);
}
