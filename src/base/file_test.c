#include "base/buf.h"
#include "base/file.h"
#include "base/test.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[128];

static void begin(void)
{
	strcpy(dir, "/tmp/lodge-file.XXXXXX");
	must(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/f", dir);
}
static void end(void) { CHECK(!dir_remove(dir, NULL) && !file_exists(dir)); }

static unsigned entries(void)
{
	unsigned n = 0;
	DIR *d = opendir(dir);
	must(d);
	for (struct dirent *f; (f = readdir(d));) n += f->d_name[0] != '.';
	(void)closedir(d);
	return n;
}

TEST(file_replace_and_read_back)
{
	struct buf b = {0};
	struct stat st;
	begin();
	CHECK(!file_replace(path, "first version", 13, 0600, NULL));
	CHECK(!file_replace(path, "second", 6, 0640, NULL));
	CHECK(!file_read(&b, path, 6, NULL) && !strcmp(b.at, "second"));
	CHECK(!stat(path, &st) && (st.st_mode & 0777) == 0640);
	CHECK(entries() == 1);
	buf_done(&b);
	end();
}

TEST(file_read_is_bounded)
{
	struct buf b = {0};
	struct err e = {0};
	begin();
	buf_add(&b, "keep", 4);
	CHECK(!file_replace(path, "seven..", 7, 0600, NULL));
	CHECK(file_read(&b, path, 6, &e) == -EFBIG && strstr(e.msg, path));
	CHECK(b.len == 4 && !strcmp(b.at, "keep"));
	CHECK(file_read(&b, "/dev/zero", 1 << 20, &e) == -EFBIG && b.len == 4);
	CHECK(file_read(&b, "/nonexistent/x", 6, &e) == -ENOENT);
	buf_done(&b);
	end();
}

/* A limit on file sizes stands in for the full disk. */
TEST(file_replace_on_a_full_disk_keeps_the_old)
{
	struct rlimit was, small;
	struct buf b = {0};
	struct err e = {0};
	static char big[100000];
	begin();
	CHECK(!file_replace(path, "old", 3, 0600, NULL));
	must(!getrlimit(RLIMIT_FSIZE, &was));
	small = was;
	small.rlim_cur = 4096;
	void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
	must(!setrlimit(RLIMIT_FSIZE, &small));
	CHECK(file_replace(path, big, sizeof(big), 0600, &e) == -EFBIG);
	must(!setrlimit(RLIMIT_FSIZE, &was));
	(void)signal(SIGXFSZ, before);
	CHECK(!file_read(&b, path, 100, NULL) && !strcmp(b.at, "old"));
	CHECK(entries() == 1 && e.msg[0]);
	buf_done(&b);
	end();
}

TEST(dir_make_and_remove)
{
	char deep[256], link_at[256];
	begin();
	(void)snprintf(deep, sizeof(deep), "%s/a/b/c/", dir);
	CHECK(!dir_make(deep, NULL) && !dir_make(deep, NULL) && file_exists(deep));
	(void)snprintf(link_at, sizeof(link_at), "%s/a/out", dir);
	CHECK(!symlink("/usr", link_at));
	CHECK(!file_replace(path, "", 0, 0600, NULL));
	(void)snprintf(deep, sizeof(deep), "%s/f/x", dir);
	CHECK(dir_make(deep, NULL) == -ENOTDIR);
	CHECK(dir_make(path, NULL) == -ENOTDIR);
	end();
	CHECK(file_exists("/usr/bin"));
	CHECK(!dir_remove("/nonexistent/lodge", NULL));
}
