#include "base/file.h"
#include "base/own.h"
#include "base/test.h"
#include "zone/files.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static struct {
	char path[32];
	int from, to;
} f;

static void begin(void)
{
	(void)snprintf(f.path, sizeof(f.path), "/tmp/files_test.XXXXXX");
	CHECK(mkdtemp(f.path));
	auto_fd int top = open(f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(!mkdirat(top, "from", 0750) && !mkdirat(top, "to", 0700));
	f.from = openat(top, "from", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	f.to = openat(top, "to", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void end(void)
{
	(void)close(f.from);
	(void)close(f.to);
	CHECK(!dir_remove(f.path, NULL));
}

static void put(const char *name, const char *text)
{
	auto_fd int fd = openat(f.from, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static const struct files_ids same;

/* Nothing is followed, and what nobody would ever write to is not waited for. */
TEST(attack_files_copied)
{
	struct stat a, b;
	struct err e = {0};
	char text[16] = "";
	begin();
	put("one", "one");
	CHECK(!mkdirat(f.from, "in", 0700) && !fchmodat(f.from, "in", 01777, 0));
	CHECK(!linkat(f.from, "one", f.from, "in/two", 0));
	CHECK(!symlinkat("/etc", f.from, "etc") && !symlinkat("loop", f.from, "loop"));
	CHECK(!mkfifoat(f.from, "fifo", 0600));
	CHECK(!files_copy(f.from, f.to, &same, &e));
	CHECK(!fstatat(f.to, "one", &a, 0) && !fstatat(f.to, "in/two", &b, 0));
	CHECK(a.st_ino == b.st_ino && a.st_nlink == 2 && (a.st_mode & 07777) == 0640);
	CHECK(!fstatat(f.to, "etc", &a, AT_SYMLINK_NOFOLLOW) && S_ISLNK(a.st_mode));
	CHECK(!fstatat(f.to, "fifo", &a, AT_SYMLINK_NOFOLLOW) && S_ISFIFO(a.st_mode));
	CHECK(!fstatat(f.to, "in", &a, 0) && (a.st_mode & 07777) == 01777);
	CHECK(!fstat(f.to, &a) && (a.st_mode & 07777) == 0750);
	auto_fd int fd = openat(f.to, "in/two", O_RDONLY | O_CLOEXEC);
	CHECK(read(fd, text, sizeof(text)) == 3 && !strcmp(text, "one"));
	CHECK(files_copy(f.from, f.to, &same, &e) == -EEXIST); /* it is not empty */
	end();
}

TEST(attack_files_too_deep)
{
	struct err e = {0};
	int at;
	begin();
	at = dup(f.from);
	for (int i = 0; i < FILES_DEPTH + 1; i++) {
		CHECK(!mkdirat(at, "d", 0700));
		int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		(void)close(at);
		at = next;
	}
	(void)close(at);
	CHECK(files_copy(f.from, f.to, &same, &e) == -ELOOP);
	end();
}

TEST(files_ids_are_moved_within_a_range)
{
	const struct files_ids ids = {1000, 5000, 10};
	CHECK(files_id(&ids, 1000) == 5000 && files_id(&ids, 1009) == 5009);
	CHECK(files_id(&ids, 1010) == 1010 && files_id(&ids, 999) == 999 && files_id(&ids, 0) == 0);
	CHECK(files_id(&same, 0) == 0 && files_id(&same, 7) == 7);
}

TEST(files_links_are_found_again)
{
	struct files_links *l = files_links_new();
	char path[16];
	for (unsigned i = 0; i < 2000; i++) {
		struct stat st = {.st_ino = i * 4096ull};
		(void)snprintf(path, sizeof(path), "%u", i);
		CHECK(!files_link(l, &st, path));
	}
	for (unsigned i = 0; i < 2000; i++) {
		struct stat st = {.st_ino = i * 4096ull};
		(void)snprintf(path, sizeof(path), "%u", i);
		const char *was = files_link(l, &st, "other");
		CHECK(was && !strcmp(was, path));
	}
	files_links_free(l);
}
