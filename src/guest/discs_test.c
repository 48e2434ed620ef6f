#include "base/file.h"
#include "base/own.h"
#include "base/test.h"
#include "guest/discs.h"
#include "guest/guest.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct bench {
	char dir[2][64], iso[80];
	int folder[2];
	struct arena *arena;
	struct err e;
};
static void bench_init(struct bench *b)
{
	*b = (struct bench){.arena = arena_new()};
	for (unsigned i = 0; i < 2; i++) {
		(void)strcpy(b->dir[i], "/tmp/discs-test.XXXXXX");
		CHECK(mkdtemp(b->dir[i]));
		b->folder[i] = open(b->dir[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		CHECK(b->folder[i] >= 0);
	}
	(void)snprintf(b->iso, sizeof(b->iso), "%s/x.iso", b->dir[0]);
	CHECK(!file_replace(b->iso, "disc", 4, 0600, &b->e));
}
static void bench_done(struct bench *b)
{
	for (unsigned i = 0; i < 2; i++) {
		(void)close(b->folder[i]);
		CHECK(!dir_remove(b->dir[i], &b->e));
	}
	arena_free(b->arena);
}
/* Two drives, a disk between them. */
static struct spec drives(void)
{
	return (struct spec){.ndisks = 3,
			     .disk = {{.path = "/a", .format = "raw", .bus = BUS_CDROM},
				      {.path = "/b", .format = "qcow2", .bus = BUS_VIRTIO},
				      {.path = "/c", .format = "vmdk", .bus = BUS_CDROM}}};
}
static int use(struct bench *b, unsigned which, const char *tag, struct spec *s)
{
	*s = drives();
	return discs_use(b->folder[which], tag, s, b->arena, &b->e);
}
static bool is(const struct spec *s, const char *first, const char *second)
{
	return !strcmp(s->disk[0].path, first) && !strcmp(s->disk[1].path, "/b") &&
	       !strcmp(s->disk[1].format, "qcow2") && !strcmp(s->disk[2].path, second);
}

TEST(discs_are_those_of_the_spec_unless_they_were_changed)
{
	struct bench b;
	struct spec s;
	bench_init(&b);
	CHECK(!discs_keep(b.folder[0], "before", &b.e));
	CHECK(!use(&b, 0, "before", &s) && is(&s, "/a", "/c"));
	CHECK(!discs_note(b.folder[0], 2, b.iso, &b.e) && !discs_keep(b.folder[0], "after", &b.e));
	CHECK(!use(&b, 0, "after", &s) && is(&s, "/a", b.iso));
	CHECK(!strcmp(s.disk[2].format, "raw") && s.disk[2].readonly &&
	      s.disk[2].bus == BUS_CDROM && !s.disk[0].readonly);
	CHECK(!use(&b, 0, "before", &s) && is(&s, "/a", "/c"));
	bench_done(&b);
}

TEST(discs_follow_what_becomes_of_the_guest)
{
	struct bench b;
	struct spec s;
	bench_init(&b);
	CHECK(!discs_note(b.folder[0], 1, b.iso, &b.e) && !discs_keep(b.folder[0], "one", &b.e));
	discs_begin(b.folder[0]);
	CHECK(!discs_keep(b.folder[0], "two", &b.e));
	CHECK(!use(&b, 0, "two", &s) && is(&s, "/a", "/c"));
	CHECK(!discs_back(b.folder[0], "one", &b.e) && !discs_keep(b.folder[0], "three", &b.e));
	CHECK(!use(&b, 0, "three", &s) && is(&s, b.iso, "/c"));
	CHECK(!discs_back(b.folder[0], "two", &b.e) && !discs_keep(b.folder[0], "three", &b.e));
	CHECK(!use(&b, 0, "three", &s) && is(&s, "/a", "/c"));
	CHECK(!discs_share(b.folder[0], "one", b.folder[1], &b.e));
	CHECK(!use(&b, 1, "one", &s) && is(&s, b.iso, "/c"));
	discs_forget(b.folder[0], "one");
	CHECK(!use(&b, 0, "one", &s) && is(&s, "/a", "/c"));
	bench_done(&b);
}

TEST(discs_that_are_missing_are_named)
{
	struct bench b;
	struct spec s;
	bench_init(&b);
	CHECK(!discs_note(b.folder[0], 2, "/nonexistent/x.iso", &b.e));
	CHECK(!discs_keep(b.folder[0], "one", &b.e));
	CHECK(use(&b, 0, "one", &s) == -ENOENT && strstr(b.e.msg, "CD drive 2") &&
	      strstr(b.e.msg, "/nonexistent/x.iso"));
	bench_done(&b);
}

TEST(discs_damaged_or_strange_are_none)
{
	static const char *const texts[] = {"",
					    "{",
					    "[]",
					    "7",
					    "{\"1\": 7, \"2\": [\"/x\"]}",
					    "{\"0\": \"/x\", \"3\": \"/x\", \"-1\": \"/x\"}"};
	struct bench b;
	struct spec s;
	char path[96];
	bench_init(&b);
	auto_fd int lock = discs_lock(b.folder[0], &b.e);
	CHECK(lock >= 0);
	(void)snprintf(path, sizeof(path), "%s/discs/bad", b.dir[0]);
	for (unsigned i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		CHECK(!file_replace(path, texts[i], strlen(texts[i]), 0600, &b.e));
		CHECK(!use(&b, 0, "bad", &s) && is(&s, "/a", "/c"));
	}
	bench_done(&b);
}
