#include "base/test.h"
#include "base/types.h"
#include "blk/blk.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, BLOCKS = 8, SIZE = BLOCKS * BLOCK, TABLE = 512, USED = 388 };
static char path[64];
static uint8_t *buf;

static void make(void)
{
	struct blk_make m = {.format = "vdi", .size = SIZE};
	(void)snprintf(path, sizeof(path), "/tmp/lodge-vdi.XXXXXX");
	int fd = mkstemp(path);
	CHECK(fd >= 0 && !close(fd) && !unlink(path) && !blk_create(path, &m, NULL));
	buf = malloc(BLOCK);
}
static void end(void)
{
	CHECK(!unlink(path));
	free(buf);
}
static struct blk *opened(void)
{
	struct blk *b = NULL;
	struct err e = {0};
	if (blk_open(&b, path, "vdi", 0, &e)) printf("%s\n", e.msg);
	return b;
}
static int put(struct blk *b, unsigned i)
{
	memset(buf, (int)i + 1, BLOCK);
	return blk_rw(b, BLK_WRITE, buf, BLOCK, (uint64_t)i * BLOCK);
}
static bool holds(struct blk *b, unsigned i)
{
	if (blk_rw(b, BLK_READ, buf, BLOCK, (uint64_t)i * BLOCK)) return false;
	for (unsigned k = 0; k < BLOCK; k += 511)
		if (buf[k] != i + 1) return false;
	return true;
}
static uint32_t word(int64_t at)
{
	uint8_t b[4] = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(pread(fd, b, 4, at) == 4 && !close(fd));
	return (uint32_t)load_le(b, 4);
}
static void word_set(int64_t at, uint32_t v)
{
	uint8_t b[4];
	int fd = open(path, O_RDWR | O_CLOEXEC);
	store_le(b, v, 4);
	CHECK(pwrite(fd, b, 4, at) == 4 && !close(fd));
}
static void all_there(void)
{
	struct blk *b = opened();
	CHECK(b != NULL);
	for (unsigned i = 0; b && i < BLOCKS; i++) CHECK(holds(b, i));
	blk_unref(b);
	CHECK(word(USED) == BLOCKS);
}

/* Others may have left gaps: the last number is taken, and seven blocks are to come. */
TEST(vdi_gaps_are_filled)
{
	make();
	struct blk *b = opened();
	CHECK(b && !put(b, 0));
	blk_unref(b);
	CHECK(word(TABLE) == 0);
	word_set(TABLE, BLOCKS - 1);
	word_set(USED, 1);
	CHECK(!truncate(path, 1024 + SIZE));
	b = opened();
	CHECK(b && word(USED) == BLOCKS); /* or others would write over it */
	for (unsigned i = 0; b && i < BLOCKS; i++) CHECK(!put(b, i));
	blk_unref(b);
	all_there();
	end();
}
