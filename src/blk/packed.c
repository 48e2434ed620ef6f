/* Compressed units: zlib and zstd behind one small face. Bytes in are hostile; what comes out is
 * bounded by the unit, and so is the work. */
#include "blk/packed.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

/* qcow2's deflate streams use a window of 4 KiB (-12); anything smaller than 32 KiB is read so. */
enum { RAW_WINDOW = -15, RAW_WINDOW_OUT = -12, ZLIB_WINDOW = 15, LEVEL = 6, ZSTD_LEVEL = 3 };

void packed_init(struct packed *p, enum packing how, uint32_t unit)
{
	*p = (struct packed){.how = how, .unit = unit, .at = PACKED_NONE};
	(void)pthread_mutex_init(&p->mutex, NULL);
}

void packed_done(struct packed *p)
{
	if (p->unit) (void)pthread_mutex_destroy(&p->mutex);
	free(p->in);
	free(p->out);
	*p = (struct packed){0};
}

void packed_forget(struct packed *p)
{
	(void)pthread_mutex_lock(&p->mutex);
	p->at = PACKED_NONE;
	(void)pthread_mutex_unlock(&p->mutex);
}

static int inflate_all(int window, const uint8_t *in, size_t len, uint8_t *out, size_t room,
		       size_t *made)
{
	z_stream z = {.next_in = (Bytef *)in, .avail_in = (uInt)len};
	z.next_out = out;
	z.avail_out = (uInt)room;
	if (inflateInit2(&z, window) != Z_OK) return -ENOMEM;
	int r = inflate(&z, Z_FINISH);
	*made = room - z.avail_out;
	(void)inflateEnd(&z);
	return r == Z_STREAM_END || (r == Z_BUF_ERROR && !z.avail_out) ? 0 : -EIO;
}

/* The end of the packed bytes is known to 512 only, so the frame's own end is what counts. */
static int zstd_all(const uint8_t *in, size_t len, uint8_t *out, size_t room, size_t *made)
{
	ZSTD_inBuffer from = {in, len, 0};
	ZSTD_outBuffer to = {out, room, 0};
	ZSTD_DCtx *d = ZSTD_createDCtx();
	if (!d) return -ENOMEM;
	size_t left = 1;
	while (left && to.pos < room) {
		size_t had = from.pos + to.pos;
		left = ZSTD_decompressStream(d, &to, &from);
		if (ZSTD_isError(left) || (left && from.pos + to.pos == had)) break;
	}
	(void)ZSTD_freeDCtx(d);
	*made = to.pos;
	return left && to.pos < room ? -EIO : 0;
}

static int unpack(struct packed *p, size_t len, size_t *made)
{
	if (p->how == PACKING_ZSTD) return zstd_all(p->in, len, p->out, p->unit, made);
	return inflate_all(p->how == PACKING_ZLIB ? ZLIB_WINDOW : RAW_WINDOW, p->in, len, p->out,
			   p->unit, made);
}

static int room_make(struct packed *p)
{
	p->in_room = 2 * p->unit + 1024;
	if (!p->in) p->in = malloc(p->in_room);
	if (!p->out) p->out = malloc(p->unit);
	return p->in && p->out ? 0 : -ENOMEM;
}

static int unit_load(struct packed *p, int fd, const struct extent *x, bool ragged)
{
	size_t made = 0;
	if (p->at == x->at) return 0;
	int r = room_make(p);
	if (r < 0) return r;
	p->at = PACKED_NONE;
	if (x->packed_len > p->in_room) return -EIO;
	r = file_get(fd, p->in, x->packed_len, x->at);
	if (!r) r = unpack(p, x->packed_len, &made);
	if (!r && made < p->unit && !ragged) r = -EIO;
	if (r < 0) return r;
	memset(p->out + made, 0, p->unit - made);
	p->at = x->at;
	return 0;
}

int packed_read(struct packed *p, int fd, const struct extent *x, bool ragged,
		const struct blk_req *q)
{
	size_t at = x->skip;
	if (q->len > p->unit || at > p->unit - q->len) return -EIO;
	(void)pthread_mutex_lock(&p->mutex);
	int r = unit_load(p, fd, x, ragged);
	for (int i = 0; !r && i < q->niov; at += q->iov[i++].iov_len)
		memcpy(q->iov[i].iov_base, p->out + at, q->iov[i].iov_len);
	(void)pthread_mutex_unlock(&p->mutex);
	return r;
}

uint32_t packed_make(enum packing how, const void *unit, uint32_t len, void *to, uint32_t room)
{
	if (how == PACKING_ZSTD) {
		size_t n = ZSTD_compress(to, room, unit, len, ZSTD_LEVEL);
		return ZSTD_isError(n) ? 0 : (uint32_t)n;
	}
	z_stream z = {.next_in = (Bytef *)unit, .avail_in = len};
	z.next_out = to;
	z.avail_out = room;
	int window = how == PACKING_ZLIB ? ZLIB_WINDOW : RAW_WINDOW_OUT;
	if (deflateInit2(&z, LEVEL, Z_DEFLATED, window, 9, Z_DEFAULT_STRATEGY) != Z_OK) return 0;
	int r = deflate(&z, Z_FINISH);
	(void)deflateEnd(&z);
	return r == Z_STREAM_END ? room - z.avail_out : 0;
}
