#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "base/test.h"
#include "blk/blk.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { SIZE = 1 << 20 };
struct room {
	char dir[32];
	struct store *s;
	struct err e;
};

static void room_done(struct room *r)
{
	store_close(r->s);
	(void)dir_remove(r->dir, NULL);
}

static void guest(struct room *r, const char *name)
{
	int fd;
	CHECK(!store_guest_open(r->s, name, true, &fd, &r->e));
	(void)close(fd);
}

/* What a guest's disk begins with, and once more behind the middle. */
static void disk(struct room *r, const char *name, enum blk_op op, char c, char *got)
{
	auto_mem char *path = NULL;
	static char page[4096];
	struct blk *b;
	bool layered = store_guest_layer(r->s, name, &path);
	if (!layered) CHECK(asprintf(&path, "%s/guests/%s/disk.raw", r->dir, name) > 0);
	CHECK(!blk_open(&b, path, layered ? "qcow2" : "raw", layered ? BLK_BACKING : 0, &r->e));
	memset(page, c, sizeof(page));
	CHECK(blk_info(b).size == SIZE && !blk_rw(b, op, page, sizeof(page), SIZE / 2));
	if (got) *got = page[99];
	blk_unref(b);
}

static void writes(struct room *r, const char *name, char c) { disk(r, name, BLK_WRITE, c, NULL); }

static char holds(struct room *r, const char *name)
{
	char c;
	disk(r, name, BLK_READ, 0, &c);
	return c;
}

static void room(struct room *r)
{
	auto_mem char *raw = NULL;
	*r = (struct room){.dir = "/tmp/lodge-layer.XXXXXX"};
	CHECK(mkdtemp(r->dir) && !store_open(&r->s, r->dir, &r->e));
	for (const char *const *n = (const char *[]){"a", "b", "c", "d", NULL}; *n; n++)
		guest(r, *n);
	CHECK(asprintf(&raw, "%s/guests/a/disk.raw", r->dir) > 0);
	auto_fd int fd = open(raw, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && !ftruncate(fd, SIZE));
}

static void gone(struct room *r, const char *name)
{
	int fd;
	CHECK(!store_guest_open(r->s, name, false, &fd, &r->e));
	CHECK(!store_guest_remove(r->s, name, &fd, &r->e));
}

TEST(layers_share_and_do_not_disturb_each_other)
{
	__attribute__((cleanup(room_done))) struct room r;
	room(&r);
	writes(&r, "a", '1');
	CHECK(!store_guest_layer_share(r.s, "a", "b", &r.e));
	CHECK(holds(&r, "a") == '1' && holds(&r, "b") == '1');
	writes(&r, "a", '2');
	CHECK(!store_guest_layer_share(r.s, "a", "c", &r.e));
	writes(&r, "b", '3');
	CHECK(!store_guest_layer_share(r.s, "b", "d", &r.e));
	writes(&r, "c", '4');
	CHECK(holds(&r, "a") == '2' && holds(&r, "b") == '3' && holds(&r, "c") == '4');
	CHECK(holds(&r, "d") == '3');
	gone(&r, "a");
	gone(&r, "b");
	CHECK(holds(&r, "c") == '4' && holds(&r, "d") == '3');
}

TEST(layers_do_not_pile_up_where_nothing_was_written)
{
	__attribute__((cleanup(room_done))) struct room r;
	auto_mem char *layer = NULL;
	struct blk_about was, is;
	room(&r);
	writes(&r, "a", '1');
	CHECK(!store_guest_layer_share(r.s, "a", "b", &r.e));
	if (!store_guest_layer(r.s, "a", &layer)) return; /* the file system clones */
	CHECK(!blk_about(layer, "qcow2", &was, &r.e));
	CHECK(!store_guest_layer_share(r.s, "a", "c", &r.e));
	CHECK(!blk_about(layer, "qcow2", &is, &r.e) && !strcmp(was.backing, is.backing));
	CHECK(holds(&r, "c") == '1');
}

TEST(layers_over_what_was_saved)
{
	__attribute__((cleanup(room_done))) struct room r;
	auto_mem char *raw = NULL;
	room(&r);
	writes(&r, "a", '1');
	CHECK(asprintf(&raw, "%s/guests/a/disk.raw", r.dir) > 0);
	CHECK(!store_guest_layer_over(r.s, "a", "b", raw, false, &r.e));
	CHECK(holds(&r, "b") == '1');
	writes(&r, "b", '2');
	CHECK(!store_guest_layer_over(r.s, "b", "b", raw, false, &r.e) && holds(&r, "b") == '1');
}
