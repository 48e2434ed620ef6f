/* The raw format: the disk is the file, byte for byte. */
#include "base/types.h"
#include "blk/aio.h"
#include "blk/impl.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512 };

struct raw {
	struct blk b;
	int fd;
	struct aio *aio;
};

static int raw_size(int fd, uint64_t *size, bool *device)
{
	struct stat st;
	if (fstat(fd, &st) < 0) return -errno;
	*device = S_ISBLK(st.st_mode);
	*size = (uint64_t)st.st_size;
	if (*device && ioctl(fd, BLKGETSIZE64, size) < 0) return -errno;
	return 0;
}

/* A hole beyond the end changes nothing, and tells whether holes are possible at all. */
static bool can_discard(int fd, uint64_t size, bool device)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	return device || fallocate(fd, mode, (off_t)size, 4096) == 0;
}

static void raw_submit(struct blk *b, struct blk_req *q) { aio_submit(((struct raw *)b)->aio, q); }

static void raw_close(struct blk *b)
{
	struct raw *w = (struct raw *)b;
	aio_free(w->aio);
	(void)close(w->fd);
	free(w);
}

static int raw_open(struct blk **out, int fd, unsigned flags, struct err *e)
{
	uint64_t size;
	bool device, ro = flags & BLK_RDONLY;
	int r = raw_size(fd, &size, &device);
	if (r < 0) return fail(e, r, "its size cannot be told (%s)", strerror(-r));
	if (!size) return fail(e, -EINVAL, "is empty: a disk needs at least one byte");
	if (size > INT64_MAX - SECTOR) return fail(e, -EFBIG, "is too large");
	struct raw *w = calloc(1, sizeof(*w));
	if (!w) return fail(e, -ENOMEM, "out of memory");
	r = aio_new(&w->aio, fd, flags & BLK_THREADS, e);
	if (r < 0) {
		free(w);
		return r;
	}
	w->fd = fd;
	w->b.info = (struct blk_info){.size = (size + SECTOR - 1) / SECTOR * SECTOR,
				      .block = SECTOR,
				      .readonly = ro,
				      .discard = !ro && can_discard(fd, size, device)};
	*out = &w->b;
	return 0;
}

const struct blk_ops blk_raw = {"raw", raw_open, raw_submit, raw_close};
