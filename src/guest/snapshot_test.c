#include "base/buf.h"
#include "base/file.h"
#include "base/test.h"
#include "base/types.h"
#include "guest/snapshot.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = SNAPSHOT_PAGE, PAGES = 70, BASE = 0x40000000 };
static char dir[] = "/tmp/lodge-snapshot-XXXXXX", path[64];
static uint8_t memory[PAGES * PAGE];

static bool everything(void *ctx, uint64_t at, uint64_t *from, uint64_t *len)
{
	(void)ctx;
	*from = at;
	*len = BASE + sizeof(memory) - at;
	return true;
}

static void make(void)
{
	const struct snapshot_memory m = {BASE, sizeof(memory), memory, everything, NULL};
	struct snapshot_out *o = NULL;
	auto_buf struct buf b = {0};
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	CHECK(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	memset(memory, 0, sizeof(memory));
	memset(memory + PAGE, 1, PAGE);
	memory[65 * PAGE + 4095] = 7;
	CHECK(!snapshot_create(&o, path, NULL));
	buf_add(&b, "abcde", 5);
	snapshot_put(o, "one", 3, &b);
	CHECK(!snapshot_put_memory(o, &m, NULL));
	snapshot_put(o, "empty", 1, &(struct buf){0});
	CHECK(!snapshot_finish(o, NULL));
}
static void done(void) { CHECK(!dir_remove(dir, NULL)); }

TEST(snapshot_comes_back)
{
	struct snapshot *s = NULL;
	struct buf b;
	uint64_t *present;
	unsigned which;
	uint8_t page[PAGE];
	make();
	CHECK(!snapshot_open(&s, path, true, NULL));
	CHECK(!snapshot_section(s, "one", 3, &b, NULL) && b.len == 5 && !memcmp(b.at, "abcde", 5));
	CHECK(snapshot_section(s, "one", 2, &b, NULL) == -EPROTONOSUPPORT);
	CHECK(!snapshot_section(s, "empty", 1, &b, NULL) && !b.len);
	CHECK(snapshot_section(s, "two", 1, &b, NULL) == -ENOENT);
	CHECK(!strcmp(snapshot_name(s, 0), "one") && !snapshot_name(s, 3));
	CHECK(snapshot_memory_find(s, BASE, PAGE, &which, &present, NULL) == -ENOENT);
	CHECK(!snapshot_memory_find(s, BASE, sizeof(memory), &which, &present, NULL));
	CHECK(present[0] == 2 && present[1] == 2);
	CHECK(!snapshot_page(s, which, 1, page, NULL) && page[9] == 1);
	CHECK(!snapshot_page(s, which, 65, page, NULL) && page[4095] == 7 && !page[0]);
	free(present);
	snapshot_unref(s);
	done();
}

static int open_of(const struct buf *b, bool pages, struct err *e)
{
	struct snapshot *s = NULL;
	CHECK(!file_replace(path, b->at, b->len, 0600, NULL));
	int r = snapshot_open(&s, path, pages, e);
	if (r == 0) snapshot_unref(s);
	return r;
}

TEST(snapshot_altered_at_any_byte_is_refused)
{
	auto_buf struct buf b = {0};
	struct err e;
	make();
	CHECK(!file_read(&b, path, 1 << 20, NULL) && b.len > 3 * PAGE);
	for (size_t i = 0; i < b.len; i += i < PAGE - 8 && i > 80 ? 61 : i > PAGE ? 7 : 1) {
		b.at[i] ^= 0x10;
		CHECK(open_of(&b, true, &e) == -EBADMSG || e.code == -EPROTONOSUPPORT);
		CHECK(strstr(e.msg, "snapshot"));
		b.at[i] ^= 0x10;
	}
	CHECK(!open_of(&b, true, &e));
	b.at[PAGE + 5] ^= 1; /* a page is looked at when it is read */
	CHECK(!open_of(&b, false, &e));
	done();
}

TEST(snapshot_cut_or_longer_is_refused)
{
	auto_buf struct buf b = {0};
	make();
	CHECK(!file_read(&b, path, 1 << 20, NULL));
	size_t whole = b.len;
	for (b.len = 0; b.len < whole; b.len += b.len < 100 || b.len > whole - 400 ? 1 : 97)
		CHECK(open_of(&b, false, NULL) == -EBADMSG);
	b.len = whole;
	buf_add(&b, "", 1);
	CHECK(open_of(&b, false, NULL) == -EBADMSG);
	done();
}

TEST(snapshot_page_altered_later_is_found)
{
	auto_buf struct buf b = {0};
	struct snapshot *s = NULL;
	uint64_t *present;
	unsigned which;
	uint8_t page[PAGE];
	make();
	CHECK(!snapshot_open(&s, path, true, NULL));
	CHECK(!snapshot_memory_find(s, BASE, sizeof(memory), &which, &present, NULL));
	CHECK(!chmod(path, 0600));
	FILE *f = fopen(path, "r+");
	CHECK(f && !fseek(f, PAGE, SEEK_SET) && fputc('x', f) == 'x' && !fclose(f));
	CHECK(snapshot_page(s, which, 1, page, NULL) == -EBADMSG);
	CHECK(!snapshot_page(s, which, 65, page, NULL));
	CHECK(!truncate(path, PAGE));
	CHECK(snapshot_page(s, which, 65, page, NULL) == -EBADMSG);
	free(present);
	snapshot_unref(s);
	done();
}

/* With the time that its mark knows it passes for unaltered until the page is read. */
TEST(snapshot_is_looked_at_again_once_written_to)
{
	struct snapshot *s = NULL;
	struct stat st;
	make();
	CHECK(!stat(path, &st) && !chmod(path, 0600));
	FILE *f = fopen(path, "r+");
	CHECK(f && !fseek(f, PAGE, SEEK_SET) && fputc('x', f) == 'x' && !fclose(f));
	CHECK(snapshot_open(&s, path, true, NULL) == -EBADMSG);
	CHECK(!utimensat(AT_FDCWD, path, (struct timespec[]){st.st_atim, st.st_mtim}, 0));
	CHECK(!snapshot_open(&s, path, true, NULL));
	snapshot_unref(s);
	CHECK(!utimensat(AT_FDCWD, path, NULL, 0));
	CHECK(snapshot_open(&s, path, true, NULL) == -EBADMSG);
	done();
}

TEST(snapshot_given_up_leaves_nothing)
{
	struct snapshot_out *o = NULL;
	struct err e;
	make();
	CHECK(!dir_remove(dir, NULL) && !mkdir(dir, 0700) && !snapshot_create(&o, path, NULL));
	snapshot_abandon(o);
	CHECK(!rmdir(dir));
	CHECK(snapshot_create(&o, "/nowhere/at/all", &e) == -ENOENT);
}
