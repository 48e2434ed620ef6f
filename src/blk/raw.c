/* The raw format: the disk is the file, byte for byte. */
#include "base/types.h"
#include "blk/impl.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512 };

/* A hole beyond the end changes nothing, and tells whether holes are possible at all. */
static bool can_discard(int fd, uint64_t size)
{
	struct stat st;
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	bool device = fstat(fd, &st) == 0 && S_ISBLK(st.st_mode);
	return device || fallocate(fd, mode, (off_t)size, 4096) == 0;
}

static bool raw_read_now(struct blk *b, const struct blk_req *q) { return file_read_now(b->fd, q); }

static int raw_run(struct blk *b, const struct blk_req *q) { return file_run(b->fd, q, 0); }

/* What no file system says is taken as data. */
static int raw_map(struct blk *b, uint64_t off, uint64_t len, struct extent *x)
{
	off_t data = lseek(b->fd, (off_t)off, SEEK_DATA);
	*x = (struct extent){EXTENT_DATA, len, off, 0, 0};
	if (data < 0 && errno == ENXIO) x->kind = EXTENT_ZERO;
	if (data < 0) return 0;
	if ((uint64_t)data > off) {
		x->kind = EXTENT_ZERO;
		if ((uint64_t)data - off < len) x->len = (uint64_t)data - off;
		return 0;
	}
	off_t hole = lseek(b->fd, data, SEEK_HOLE);
	if (hole > data && (uint64_t)hole - off < len) x->len = (uint64_t)hole - off;
	return 0;
}

static void raw_close(struct blk *b) { free(b); }

static int raw_open(struct blk **out, const struct blk_file *f, struct err *e)
{
	uint64_t size;
	bool ro = f->opts->flags & BLK_RDONLY;
	int r = file_size(f->fd, &size);
	if (r < 0) return fail(e, r, "its size cannot be told (%s)", strerror(-r));
	if (!size) return fail(e, -EINVAL, "is empty: a disk needs at least one byte");
	if (size > INT64_MAX - SECTOR) return fail(e, -EFBIG, "is too large");
	struct blk *b = calloc(1, sizeof(*b));
	if (!b) return fail(e, -ENOMEM, "out of memory");
	b->info.size = (size + SECTOR - 1) & ~(uint64_t)(SECTOR - 1);
	b->info.block = SECTOR;
	b->info.readonly = ro;
	b->info.discard = !ro && can_discard(f->fd, size);
	*out = b;
	return 0;
}

static int raw_create(int fd, const struct blk_make *m, struct err *e)
{
	if (m->backing) return fail(e, -EINVAL, "a raw image cannot lie over another");
	if (ftruncate(fd, (off_t)m->size) < 0) return fail(e, -errno, "%s", strerror(errno));
	return 0;
}

static int raw_resize(struct blk *b, uint64_t size, struct err *e)
{
	struct stat st;
	if (fstat(b->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return fail(e, -ENOTSUP, "is no file: its size is the device's own");
	if (ftruncate(b->fd, (off_t)size) < 0) return fail(e, -errno, "%s", strerror(errno));
	return 0;
}

const struct blk_ops blk_raw = {
	.name = "raw",
	.writes = true,
	.direct = true,
	.open = raw_open,
	.run = raw_run,
	.map = raw_map,
	.read_now = raw_read_now,
	.close = raw_close,
	.create = raw_create,
	.resize = raw_resize,
};
