#include "base/file.h"
#include "base/test.h"
#include "zone/root.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int begin(char *dir)
{
	(void)strcpy(dir, "/tmp/lodge-root-XXXXXX");
	CHECK(mkdtemp(dir));
	return open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void end(const char *dir, int fd)
{
	struct err e;
	(void)close(fd);
	(void)dir_remove(dir, &e);
}

static bool makes(int root, const char *path, enum root_kind k, const char *there)
{
	struct err e;
	struct stat a, b;
	auto_fd int fd = root_make(root, path, k, &e);
	return fd >= 0 && !fstat(fd, &a) && !fstatat(root, there, &b, AT_SYMLINK_NOFOLLOW) &&
	       a.st_ino == b.st_ino && S_ISDIR(a.st_mode) == (k == ROOT_DIR);
}

TEST(root_paths_are_made_inside)
{
	char dir[64];
	int fd = begin(dir);
	CHECK(makes(fd, "/a//b/./c", ROOT_DIR, "a/b/c"));
	CHECK(makes(fd, "a/file", ROOT_FILE, "a/file"));
	CHECK(makes(fd, "/../../up", ROOT_DIR, "up"));
	CHECK(!symlinkat("/far/away", fd, "absolute"));
	CHECK(makes(fd, "/absolute/x", ROOT_DIR, "far/away/x"));
	CHECK(!symlinkat("../../../../near", fd, "relative"));
	CHECK(makes(fd, "/relative/y", ROOT_FILE, "near/y"));
	CHECK(!symlinkat("absolute/deep", fd, "second"));
	CHECK(makes(fd, "/second", ROOT_DIR, "far/away/deep"));
	end(dir, fd);
}

TEST(root_paths_that_cannot_be_made)
{
	char dir[64];
	struct err e;
	int fd = begin(dir);
	CHECK(!symlinkat("loop", fd, "loop"));
	CHECK(root_make(fd, "/loop/x", ROOT_DIR, &e) < 0);
	CHECK(!symlinkat("b", fd, "a") && !symlinkat("a", fd, "b"));
	CHECK(root_make(fd, "/a", ROOT_DIR, &e) < 0);
	CHECK(makes(fd, "/file", ROOT_FILE, "file"));
	CHECK(root_make(fd, "/file/x", ROOT_DIR, &e) < 0);
	char *far = malloc(6001);
	memset(far, 'x', 6000);
	far[6000] = 0;
	CHECK(root_make(fd, far, ROOT_DIR, &e) == -ENAMETOOLONG);
	free(far);
	CHECK(root_find(fd, "/not/there") == -ENOENT);
	end(dir, fd);
}
