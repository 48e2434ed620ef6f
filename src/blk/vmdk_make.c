/* New VMDK images: monolithicSparse, to be written to, and streamOptimized as other programs import
 * it: front to end, the directory behind the grains and named by a footer. What qemu-img calls
 * streamOptimized has its directory in front, which VMware's own tools do not take. */
#include "base/own.h"
#include "base/types.h"
#include "blk/packed.h"
#include "blk/vmdk.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { DESCRIPTOR_AT = 1, DESCRIPTOR_SECTORS = 20, TABLE_SECTORS = 4, HEADS = 16, TRACK = 63 };
enum { GRAIN_BYTES = VMDK_GRAIN * VMDK_SECTOR, TABLE_BYTES = VMDK_PER_TABLE * 4, ZLIB = 1 };

static uint64_t up(uint64_t n, uint64_t per) { return (n + per - 1) / per; }

/* Spec, "The Descriptor File". */
static int descriptor_put(int fd, uint64_t sectors, bool stream, const char *name)
{
	char text[DESCRIPTOR_SECTORS * VMDK_SECTOR] = "", shown[256];
	uint32_t id;
	size_t n = 0;
	for (; name[n] && n < sizeof(shown) - 1; n++)
		shown[n] = name[n] < ' ' || name[n] == '"' ? '_' : name[n];
	shown[n] = 0;
	if (getrandom(&id, sizeof(id), 0) != sizeof(id)) id = (uint32_t)sectors;
	if (id >= 0xfffffffe) id = 1; /* these mean "none" */
	(void)snprintf(text, sizeof(text),
		       "# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=ffffffff\n"
		       "createType=\"%s\"\n\n# Extent description\n%s %llu SPARSE \"%s\"\n\n"
		       "# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n"
		       "ddb.geometry.cylinders = \"%llu\"\nddb.geometry.heads = \"%d\"\n"
		       "ddb.geometry.sectors = \"%d\"\nddb.adapterType = \"ide\"\n",
		       id, stream ? "streamOptimized" : "monolithicSparse",
		       stream ? "RDONLY" : "RW", (unsigned long long)sectors, shown,
		       (unsigned long long)(sectors / HEADS / TRACK > 16383
						    ? 16383
						    : up(sectors, HEADS * TRACK)),
		       HEADS, TRACK);
	return file_put(fd, text, sizeof(text), DESCRIPTOR_AT * VMDK_SECTOR);
}

static void header_make(uint8_t h[VH_SIZE], uint64_t sectors, uint32_t version, uint32_t flags)
{
	memset(h, 0, VH_SIZE);
	store_le(h, VMDK_MAGIC, 4);
	store_le(h + VH_VERSION, version, 4);
	store_le(h + VH_FLAGS, flags, 4);
	store_le(h + VH_CAPACITY, sectors, 8);
	store_le(h + VH_GRAIN, VMDK_GRAIN, 8);
	store_le(h + VH_DESCRIPTOR, DESCRIPTOR_AT, 8);
	store_le(h + VH_DESCRIPTOR_SIZE, DESCRIPTOR_SECTORS, 8);
	store_le(h + VH_PER_TABLE, VMDK_PER_TABLE, 4);
	memcpy(h + VH_NEWLINES, "\n \r\n", 4);
}

/* A directory whose n tables lie one behind the other, from sector `first` on. */
static int directory_put(int fd, uint64_t at, uint64_t n, uint64_t first)
{
	auto_mem le32 *d = calloc(n, sizeof(*d));
	if (!d) return -ENOMEM;
	for (uint64_t i = 0; i < n; i++) d[i] = le32_of((uint32_t)(first + i * TABLE_SECTORS));
	return file_put(fd, d, n * sizeof(*d), at * VMDK_SECTOR);
}

int vmdk_create(int fd, const struct blk_make *m, struct err *e)
{
	uint8_t h[VH_SIZE];
	uint64_t sectors = m->size / VMDK_SECTOR, n = up(sectors, VMDK_GRAIN * VMDK_PER_TABLE);
	uint64_t dir = up(n * 4, VMDK_SECTOR), spare = DESCRIPTOR_AT + DESCRIPTOR_SECTORS;
	uint64_t spare_tables = spare + dir, main = spare_tables + n * TABLE_SECTORS;
	uint64_t main_tables = main + dir, end = main_tables + n * TABLE_SECTORS;
	uint64_t overhead = up(end, VMDK_GRAIN) * VMDK_GRAIN;
	if (m->backing) return fail(e, -EINVAL, "a vmdk image cannot lie over another here");
	if (sectors + overhead > UINT32_MAX)
		return fail(e, -EFBIG, "vmdk images are smaller than 2 TiB");
	header_make(h, sectors, 1, VMDK_NEWLINES | VMDK_SPARE);
	store_le(h + VH_SPARE_DIRECTORY, spare, 8);
	store_le(h + VH_DIRECTORY, main, 8);
	store_le(h + VH_OVERHEAD, overhead, 8);
	int r = ftruncate(fd, (off_t)(overhead * VMDK_SECTOR)) < 0 ? -errno : 0;
	if (!r) r = directory_put(fd, spare, n, spare_tables);
	if (!r) r = directory_put(fd, main, n, main_tables);
	if (!r) r = descriptor_put(fd, sectors, false, m->name);
	if (!r) r = file_put(fd, h, sizeof(h), 0);
	return r < 0 ? fail(e, r, "%s", strerror(-r)) : 0;
}

struct stream {
	struct blk *from;
	int fd;
	uint64_t at; /* bytes written so far, a multiple of a sector */
	uint64_t ntables;
	le32 *directory;
	le32 table[VMDK_PER_TABLE];
	uint8_t grain[GRAIN_BYTES], out[2 * GRAIN_BYTES];
};

static int stream_put(struct stream *s, const void *p, size_t n)
{
	static const uint8_t zero[VMDK_SECTOR];
	size_t pad = (VMDK_SECTOR - n % VMDK_SECTOR) % VMDK_SECTOR;
	int r = file_put(s->fd, p, n, s->at);
	if (!r && pad) r = file_put(s->fd, zero, pad, s->at + n);
	s->at += n + pad;
	return r;
}

/* Spec, "Markers". */
static int marker_put(struct stream *s, uint64_t sectors, uint32_t type)
{
	uint8_t m[MARKER_SIZE] = {0};
	store_le(m, sectors, 8);
	store_le(m + 12, type, 4);
	return stream_put(s, m, sizeof(m));
}

static int grain_put(struct stream *s, uint64_t off)
{
	uint64_t n =
		s->from->info.size - off < GRAIN_BYTES ? s->from->info.size - off : GRAIN_BYTES;
	memset(s->grain, 0, GRAIN_BYTES);
	int r = blk_rw(s->from, BLK_READ, s->grain, n, off);
	if (r < 0 || (!s->grain[0] && !memcmp(s->grain, s->grain + 1, GRAIN_BYTES - 1))) return r;
	uint32_t len =
		packed_make(PACKING_ZLIB, s->grain, GRAIN_BYTES, s->out + 12, sizeof(s->out) - 12);
	if (!len) return -EIO;
	if (s->at / VMDK_SECTOR > UINT32_MAX) return -EFBIG;
	store_le(s->out, off / VMDK_SECTOR, 8);
	store_le(s->out + 8, len, 4);
	s->table[off / GRAIN_BYTES % VMDK_PER_TABLE] = le32_of((uint32_t)(s->at / VMDK_SECTOR));
	return stream_put(s, s->out, 12 + len);
}

static int table_put(struct stream *s, uint64_t i)
{
	static const le32 none[VMDK_PER_TABLE];
	if (!memcmp(s->table, none, sizeof(none))) return 0;
	int r = marker_put(s, TABLE_SECTORS, MARKER_TABLE);
	s->directory[i] = le32_of((uint32_t)(s->at / VMDK_SECTOR));
	if (!r) r = stream_put(s, s->table, sizeof(s->table));
	memset(s->table, 0, sizeof(s->table));
	return r;
}

static int grains_put(struct stream *s, void (*progress)(void *, uint64_t, uint64_t), void *ctx)
{
	uint64_t size = s->from->info.size, span = (uint64_t)GRAIN_BYTES * VMDK_PER_TABLE;
	int r = 0;
	for (uint64_t off = 0; !r && off < size; off += GRAIN_BYTES) {
		if (off % (1 << 20) == 0 && progress) progress(ctx, off, size);
		r = grain_put(s, off);
		uint64_t next = off + GRAIN_BYTES;
		if (!r && (next % span == 0 || next >= size)) r = table_put(s, off / span);
	}
	return r;
}

static int stream_end(struct stream *s, uint8_t h[VH_SIZE])
{
	uint64_t sectors = up(s->ntables * 4, VMDK_SECTOR);
	int r = marker_put(s, sectors, MARKER_DIRECTORY);
	store_le(h + VH_DIRECTORY, s->at / VMDK_SECTOR, 8);
	if (!r) r = stream_put(s, s->directory, s->ntables * 4);
	if (!r) r = marker_put(s, 1, MARKER_FOOTER);
	if (!r) r = stream_put(s, h, VH_SIZE);
	return r ? r : marker_put(s, 0, MARKER_END);
}

static int stream_run(struct stream *s, const char *name,
		      void (*progress)(void *, uint64_t, uint64_t), void *ctx)
{
	uint8_t h[VH_SIZE];
	uint64_t sectors = s->from->info.size / VMDK_SECTOR;
	header_make(h, sectors, 3, VMDK_NEWLINES | VMDK_PACKED | VMDK_MARKED);
	store_le(h + VH_DIRECTORY, VMDK_AT_END, 8);
	store_le(h + VH_OVERHEAD, VMDK_GRAIN, 8);
	store_le(h + VH_COMPRESSION, ZLIB, 2);
	s->at = GRAIN_BYTES;
	int r = file_put(s->fd, h, sizeof(h), 0);
	if (!r) r = descriptor_put(s->fd, sectors, true, name);
	if (!r) r = grains_put(s, progress, ctx);
	return r ? r : stream_end(s, h);
}

int vmdk_stream(struct blk *from, int fd, const char *name,
		void (*progress)(void *ctx, uint64_t done, uint64_t all), void *ctx, struct err *e)
{
	auto_mem struct stream *s = calloc(1, sizeof(*s));
	uint64_t n = up(from->info.size, (uint64_t)GRAIN_BYTES * VMDK_PER_TABLE);
	auto_mem le32 *directory = calloc(n, sizeof(*directory));
	if (!s || !directory) return fail(e, -ENOMEM, "out of memory");
	s->from = from;
	s->fd = fd;
	s->ntables = n;
	s->directory = directory;
	int r = stream_run(s, name, progress, ctx);
	return r < 0 ? fail(e, r, "%s", strerror(-r)) : 0;
}
