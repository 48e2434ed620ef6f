/* Images whose tables lead anywhere: each entry that there is, by turns, to each place that harms.
 * Whatever is then asked of the image ends, the header stays what it was, and the file takes no
 * more of the disk than what was written. */
#include "base/test.h"
#include "base/types.h"
#include "blk/be.h"
#include "blk/qcow2.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE = 1 << 20, MOST = 4 << 20, STABLE = H_INCOMPATIBLE };
static char dir[64], path[96];
static uint8_t buf[SIZE];

struct places {
	uint64_t l1, l2, reftable, refblock, data, end;
	uint32_t cluster;
};

static struct blk *opened(unsigned flags)
{
	struct blk *b = NULL;
	return blk_open(&b, path, "qcow2", flags, NULL) ? NULL : b;
}

static uint64_t word(uint64_t at)
{
	uint8_t b[8] = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(pread(fd, b, 8, (off_t)at) == 8 && !close(fd));
	return be64_at(b);
}

static void word_set(uint64_t at, uint64_t v)
{
	uint8_t b[8];
	int fd = open(path, O_RDWR | O_CLOEXEC);
	be64_put(b, v);
	CHECK(pwrite(fd, b, 8, (off_t)at) == 8 && !close(fd));
}

static void make(uint32_t cluster, bool zstd)
{
	struct blk_make m = {.format = "qcow2", .size = SIZE, .cluster = cluster, .zstd = zstd};
	(void)unlink(path);
	CHECK(!blk_create(path, &m, NULL));
	struct blk *b = opened(0);
	memset(buf, 7, SIZE);
	CHECK(b && !blk_rw(b, BLK_WRITE, buf, 3 * cluster, 0));
	CHECK(!blk_rw(b, BLK_WRITE, buf, 512, SIZE - 512) && !blk_rw(b, BLK_FLUSH, NULL, 0, 0));
	blk_unref(b);
}

static struct places find(uint32_t cluster)
{
	struct stat st;
	struct places p = {.cluster = cluster, .l1 = word(H_L1), .reftable = word(H_REFTABLE)};
	p.l2 = word(p.l1) & ENTRY_OFFSET;
	p.data = word(p.l2) & ENTRY_OFFSET;
	p.refblock = word(p.reftable);
	CHECK(!stat(path, &st));
	p.end = ((uint64_t)st.st_size + cluster - 1) / cluster * cluster;
	return p;
}

static void use(void)
{
	struct blk_report rep;
	struct blk *b = opened(0);
	if (b) {
		(void)blk_rw(b, BLK_READ, buf, SIZE, 0);
		(void)blk_rw(b, BLK_WRITE, buf, SIZE / 4, 512);
		(void)blk_rw(b, BLK_ZERO, NULL, SIZE / 4, SIZE / 4);
		(void)blk_rw(b, BLK_DISCARD, NULL, SIZE / 4, SIZE / 2);
		(void)blk_rw(b, BLK_FLUSH, NULL, 0, 0);
		(void)blk_rw(b, BLK_READ, buf, SIZE, 0);
		blk_unref(b);
	}
	b = opened(BLK_RDONLY);
	if (b) {
		(void)blk_rw(b, BLK_READ, buf, SIZE, 0);
		(void)blk_check(b, BLK_FIX_NONE, &rep, NULL);
		blk_unref(b);
	}
	if (!(b = opened(BLK_REPAIR))) return;
	(void)blk_check(b, BLK_FIX_ALL, &rep, NULL);
	(void)blk_rw(b, BLK_WRITE, buf, 512, 0);
	blk_unref(b);
}

static void header_get(uint8_t to[STABLE])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(pread(fd, to, STABLE, 0) == STABLE && !close(fd));
}

static void attack(uint64_t at, uint64_t v, uint32_t cluster, bool zstd)
{
	uint8_t before[STABLE], after[STABLE];
	struct stat st;
	make(cluster, zstd);
	word_set(at, v);
	header_get(before);
	use();
	header_get(after);
	CHECK(!memcmp(before, after, H_L1)); /* a table may be moved by a repair, and that is all */
	CHECK(!stat(path, &st) && st.st_blocks * 512 <= MOST);
}

static void all_places(uint32_t cluster, bool zstd)
{
	make(cluster, zstd);
	const struct places p = find(cluster);
	const uint64_t where[] = {p.l1, p.l2, p.l2 + 8, p.reftable, p.reftable + 8};
	const uint64_t to[] = {
		0, p.l1,       p.l2,	     p.reftable,   p.refblock, p.data, p.end, p.data + 512,
		1, 1ull << 40, ENTRY_OFFSET, ENTRY_UNUSED, UINT64_MAX};
	const uint64_t flags[] = {0, ENTRY_COPIED, ENTRY_PACKED, ENTRY_PACKED | 0x3full << 54,
				  ENTRY_PACKED | ENTRY_COPIED};
	for (size_t i = 0; i < COUNT(where); i++)
		for (size_t k = 0; k < COUNT(to); k++)
			for (size_t n = 0; n < COUNT(flags); n++)
				if (i < 3 || n < 2)
					attack(where[i], to[k] | flags[n], cluster, zstd);
	for (size_t k = 0; k < COUNT(to); k++) attack(p.refblock, to[k], cluster, zstd);
}

TEST(attack_qcow2_tables_that_lead_anywhere)
{
	int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	CHECK(dup2(null, STDERR_FILENO) ==
	      STDERR_FILENO); /* it is said of each that it is damaged */
	(void)strcpy(dir, "/tmp/lodge-qcow2-XXXXXX");
	CHECK(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/image", dir);
	all_places(65536, false);
	all_places(512, true);
	CHECK(!unlink(path) && !rmdir(dir));
	CHECK(dup2(saved, STDERR_FILENO) == STDERR_FILENO && !close(saved) && !close(null));
}

/* VMDK: grains and tables at the header, the descriptor, the directories. */
static void vmdk_attack(uint64_t where, uint32_t to, uint64_t fixed)
{
	struct blk_make m = {.format = "vmdk", .size = SIZE};
	struct blk *b = NULL;
	uint8_t *before = malloc(fixed), *after = malloc(fixed), entry[4];
	(void)unlink(path);
	CHECK(!blk_create(path, &m, NULL) && !blk_open(&b, path, "vmdk", 0, NULL));
	memset(buf, 7, 512);
	CHECK(!blk_rw(b, BLK_WRITE, buf, 512, 0));
	blk_unref(b);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	store_le(entry, to, 4);
	CHECK(pwrite(fd, entry, 4, (off_t)where) == 4);
	CHECK(pread(fd, before, fixed, 0) == (ssize_t)fixed);
	CHECK(!blk_open(&b, path, "vmdk", 0, NULL));
	memset(buf, 0x5a, SIZE);
	CHECK(blk_rw(b, BLK_WRITE, buf, 512, 0) == -EIO);
	(void)blk_rw(b, BLK_WRITE, buf, SIZE, 0);
	blk_unref(b);
	CHECK(pread(fd, after, fixed, 0) == (ssize_t)fixed && !memcmp(before, after, fixed));
	CHECK(!close(fd));
	free(before);
	free(after);
}

static uint64_t number(uint64_t at, unsigned len)
{
	uint8_t b[8] = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(pread(fd, b, len, (off_t)at) == (ssize_t)len && !close(fd));
	return load_le(b, len);
}

TEST(attack_vmdk_grains_over_its_tables)
{
	struct blk_make m = {.format = "vmdk", .size = SIZE};
	(void)strcpy(dir, "/tmp/lodge-vmdk-XXXXXX");
	CHECK(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/image", dir);
	CHECK(!blk_create(path, &m, NULL));
	uint64_t directory = number(56, 8), descriptor = number(28, 8), table;
	table = number(directory * 512, 4);
	vmdk_attack(table * 512, (uint32_t)descriptor, 20 * 512);
	vmdk_attack(table * 512, (uint32_t)directory, 20 * 512);
	vmdk_attack(directory * 512, (uint32_t)descriptor, 20 * 512);
	CHECK(!unlink(path) && !rmdir(dir));
}
