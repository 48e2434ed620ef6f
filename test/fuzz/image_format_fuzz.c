/* Files of every disk format: no bytes may break what reads, checks, writes or lists them. The
 * first byte says which format, unless FUZZ_FORMAT does, the second what is done. VHDX has its
 * parts so far apart that they are put in place from pieces of the input; checksums are not looked
 * at in fuzz targets. */
#include "base/types.h"
#include "blk/qcow2.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BUF = 64 * 1024, MOST = 1 << 20 };
static uint8_t buf[BUF];

static void pieces(int fd, const uint8_t *p, size_t n)
{
	static const struct {
		uint64_t at;
		size_t len;
		const char *magic;
	} part[] = {{0, 8, "vhdxfile"},
		    {64 << 10, 128, "head"},
		    {192 << 10, 256, "regi"},
		    {1 << 20, 512, "metadata"},
		    {(1 << 20) + (64 << 10), 64, ""},
		    {2 << 20, 512, ""}};
	for (size_t i = 0; i < COUNT(part); i++) {
		size_t k = n < part[i].len ? n : part[i].len;
		(void)!pwrite(fd, p, k, (off_t)part[i].at);
		(void)!pwrite(fd, part[i].magic, strlen(part[i].magic), (off_t)part[i].at);
		p += k;
		n -= k;
	}
	(void)!ftruncate(fd, 4 << 20);
}

static void ask(struct blk *b, enum blk_op op, uint64_t off, uint64_t len)
{
	struct blk_info in = b->info;
	if (off >= in.size) off = in.size - in.block;
	if (len > in.size - off) len = in.size - off;
	struct iovec v = {buf, len};
	struct blk_req q = {.op = op, .off = off & ~511ull, .len = len, .iov = &v, .niov = 1};
	if (op == BLK_DISCARD || op == BLK_ZERO) q.niov = 0;
	if (!in.readonly || op == BLK_READ) (void)b->ops->run(b, &q);
}

/* At the beginning, at the end, and in the middle. */
static void use(struct blk *b, uint8_t how)
{
	static const enum blk_op kinds[] = {BLK_READ, BLK_WRITE, BLK_ZERO, BLK_DISCARD};
	struct extent x;
	for (unsigned i = 0; i < 12; i++) {
		uint64_t off = i % 3 == 0 ? 0 : i % 3 == 1 ? b->info.size - 512 : b->info.size / 2;
		ask(b, kinds[(i + how) % 4], off + (how & 7) * 4096, i & 1 ? 512 : BUF);
		(void)b->ops->map(b, 0, b->info.size, &x);
	}
	if (!b->info.readonly) ask(b, BLK_FLUSH, 0, 0);
}

static void snapshot(void *ctx, const struct blk_snapshot *s)
{
	must(ctx == buf && strlen(s->id) < sizeof(s->id) && strlen(s->name) < sizeof(s->name));
}

static void try(const char *path, const char *format, uint8_t how)
{
	struct blk_opts o = {.format = format, .flags = BLK_UNDER};
	struct blk_report rep;
	struct blk_about about;
	struct err e;
	struct blk *b;
	if (how & 64) o.flags |= BLK_RDONLY;
	if (how & 128) o.flags |= BLK_REPAIR;
	(void)blk_about(path, format, &about, &e);
	(void)blk_snapshots(path, snapshot, buf, &e);
	if (blk_open_with(&b, path, &o, &e) < 0) return;
	if (how & 32) (void)blk_check(b, how & 64 ? BLK_FIX_NONE : BLK_FIX_ALL, &rep, &e);
	use(b, how);
	(void)blk_check(b, BLK_FIX_NONE, &rep, &e);
	blk_unref(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const formats[] = {"qcow2", "qcow2", "vmdk", "vdi", "vhd", "vhdx"};
	char path[64];
	if (n < 2 || n > MOST) return 0;
	int fd = memfd_create("image", MFD_CLOEXEC);
	must(fd >= 0);
	const char *format = getenv("FUZZ_FORMAT");
	if (!format) format = formats[p[0] % COUNT(formats)];
	if (!strcmp(format, "vhdx"))
		pieces(fd, p + 2, n - 2);
	else
		(void)!pwrite(fd, p + 2, n - 2, 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	uint8_t how = p[1];
	if (!strcmp(format, "vhd") || !strcmp(format, "vhdx")) how |= 64;
	try(path, format, how);
	(void)blk_probe(path, NULL);
	(void)close(fd);
	return 0;
}
