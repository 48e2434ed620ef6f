/* The library that unpacks archives could decompress, too; but what a layer is called is the digest
 * of what comes between the two. */
#include "store/unzip.h"
#include "base/types.h"
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { PIECE = 128 * 1024 };
enum { PLAIN, GZIP, ZSTD };
enum { WINDOW = 27 }; /* of zstd: 128 MiB, the most that its tools take unasked */
struct unzip {
	int fd;
	off_t at;
	bool over;    /* the file has been read */
	unsigned how; /* PLAIN, GZIP, ZSTD */
	bool between; /* no frame has been begun that is not ended */
	z_stream z;
	ZSTD_DStream *d;
	ZSTD_inBuffer in;
	EVP_MD_CTX *hash;
	uint8_t from[PIECE], to[PIECE];
};
static const char *const formats[] = {"tar", "tar+gzip", "tar+zstd"};

const char *unzip_format(int fd)
{
	static const uint8_t gzip[] = {0x1f, 0x8b}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd};
	uint8_t b[4] = {0};
	ssize_t n = pread(fd, b, sizeof(b), 0);
	if (n < 0) return NULL;
	if (!memcmp(b, gzip, sizeof(gzip))) return formats[GZIP];
	return formats[memcmp(b, zstd, sizeof(zstd)) ? PLAIN : ZSTD];
}

int unzip_open(struct unzip **out, int fd, const char *format, struct err *e)
{
	enum { GZIP_ONLY = 16 };
	unsigned how = 0;
	while (how < COUNT(formats) && strcmp(format, formats[how]) != 0) how++;
	if (how == COUNT(formats))
		return fail(e, -EINVAL, "'%.60s': compressed in a way that is not known", format);
	struct unzip *u = calloc(1, sizeof(*u));
	must(u);
	u->fd = fd;
	u->how = how;
	u->between = true;
	u->hash = EVP_MD_CTX_new();
	must(u->hash && EVP_DigestInit_ex(u->hash, EVP_sha256(), NULL));
	if (how == GZIP) must(inflateInit2(&u->z, MAX_WBITS + GZIP_ONLY) == Z_OK);
	if (how == ZSTD) {
		u->d = ZSTD_createDStream();
		must(u->d &&
		     !ZSTD_isError(ZSTD_DCtx_setParameter(u->d, ZSTD_d_windowLogMax, WINDOW)));
	}
	*out = u;
	return 0;
}
void unzip_close(struct unzip *u)
{
	if (!u) return;
	if (u->how == GZIP) (void)inflateEnd(&u->z);
	ZSTD_freeDStream(u->d);
	EVP_MD_CTX_free(u->hash);
	free(u);
}

/* 0: all has been read. */
static ssize_t fetch(struct unzip *u, struct err *e)
{
	ssize_t n;
	do n = pread(u->fd, u->from, PIECE, u->at);
	while (n < 0 && errno == EINTR);
	if (n < 0) return fail(e, -errno, "it cannot be read: %s", strerror(errno));
	u->at += n;
	u->over = n == 0;
	return n;
}
/* One step each, which may give nothing. */
static ssize_t gunzip(struct unzip *u, struct err *e)
{
	z_stream *z = &u->z;
	if (u->between && z->avail_in && inflateReset(z) != Z_OK) return -ENOMEM;
	z->next_out = u->to;
	z->avail_out = PIECE;
	int r = inflate(z, Z_NO_FLUSH);
	if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
		return fail(e, -EPROTO, "its gzip is damaged: %s", z->msg ? z->msg : "cut short");
	u->between = r == Z_STREAM_END;
	return PIECE - (ssize_t)z->avail_out;
}
static ssize_t unzstd(struct unzip *u, struct err *e)
{
	ZSTD_outBuffer out = {u->to, PIECE, 0};
	size_t r = ZSTD_decompressStream(u->d, &out, &u->in);
	if (ZSTD_isError(r))
		return fail(e, -EPROTO, "its zstd is damaged: %s", ZSTD_getErrorName(r));
	u->between = r == 0;
	return (ssize_t)out.pos;
}
static bool has_input(const struct unzip *u)
{
	return u->how == GZIP ? u->z.avail_in : u->in.pos < u->in.size;
}
static ssize_t step(struct unzip *u, struct err *e)
{
	if (!has_input(u) && !u->over) {
		ssize_t n = fetch(u, e);
		if (n < 0) return n;
		u->z.next_in = u->from;
		u->z.avail_in = (unsigned)n;
		u->in = (ZSTD_inBuffer){u->from, (size_t)n, 0};
	}
	if (!has_input(u) && u->over && u->between) return 0;
	return u->how == GZIP ? gunzip(u, e) : unzstd(u, e);
}
ssize_t unzip_read(struct unzip *u, const void **piece, struct err *e)
{
	ssize_t n;
	if (u->how == PLAIN) {
		n = fetch(u, e);
		*piece = u->from;
	} else {
		bool end = false;
		do {
			bool had = has_input(u) || !u->over;
			n = step(u, e);
			end = !n && !had;
		} while (!n && !end);
		if (!n && !u->between) return fail(e, -EPROTO, "it is cut short");
		*piece = u->to;
	}
	if (n > 0) must(EVP_DigestUpdate(u->hash, *piece, (size_t)n));
	return n;
}
void unzip_digest(struct unzip *u, char digest[BLOB_DIGEST])
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	must(EVP_DigestFinal_ex(u->hash, sum, NULL));
	blob_hex(sum, digest);
}
