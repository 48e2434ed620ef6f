#include "base/test.h"
#include "blk/blk.h"
#include "blk/dirty.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct blk *disk(uint64_t size)
{
	char path[] = "/tmp/lodge-dirty.XXXXXX";
	struct blk *b;
	int fd = mkstemp(path);
	CHECK(fd >= 0 && !ftruncate(fd, (off_t)size) && !blk_open(&b, path, "raw", 0, NULL));
	(void)close(fd);
	(void)unlink(path);
	return b;
}

TEST(changed_pieces_are_found_once)
{
	struct blk *b = disk(200 * BLK_PIECE + 512);
	uint64_t at = 0, len;
	blk_changed(b, 0, 512); /* nobody asks */
	blk_track(b, true);
	CHECK(!blk_changed_count(b));
	blk_changed(b, BLK_PIECE - 512, 1024);
	blk_changed(b, 130ull * BLK_PIECE, 1);
	blk_changed(b, 200ull * BLK_PIECE, 1 << 30); /* beyond the end */
	CHECK(blk_changed_count(b) == 4);
	CHECK(blk_changed_take(b, &at, &len) && at == 0 && len == BLK_PIECE);
	at += len;
	CHECK(blk_changed_take(b, &at, &len) && at == BLK_PIECE);
	at += len;
	CHECK(blk_changed_take(b, &at, &len) && at == 130ull * BLK_PIECE);
	at += len;
	CHECK(blk_changed_take(b, &at, &len) && at == 200ull * BLK_PIECE && len == 512);
	at = 0;
	CHECK(!blk_changed_take(b, &at, &len) && !blk_changed_count(b));
	blk_track(b, false);
	blk_changed(b, 0, 512);
	CHECK(!blk_changed_count(b));
	blk_unref(b);
}
