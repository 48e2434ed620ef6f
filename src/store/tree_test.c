/* Trees as a stream, honest ones and those made to get out of their folder. */
#include "base/own.h"
#include "base/test.h"
#include "base/types.h"
#include "store/tree.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

static char top[64];
static int outside, folder;

static void start(void)
{
	(void)snprintf(top, sizeof(top), "/tmp/lodge-tree.XXXXXX");
	must(mkdtemp(top));
	outside = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(!mkdirat(outside, "in", 0755));
	folder = openat(outside, "in", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int secret = openat(outside, "secret", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	must(write(secret, "secret", 6) == 6);
	(void)close(secret);
}
static void stop(void)
{
	char command[96];
	(void)close(folder);
	(void)close(outside);
	(void)snprintf(command, sizeof(command), "rm -rf %s", top);
	CHECK(system(command) == 0);
}

/* A tar in memory, thing by thing. */
static struct archive *a;
static int tar;
static void tar_begin(void)
{
	tar = memfd_create("tar", MFD_CLOEXEC);
	a = archive_write_new();
	must(archive_write_set_format_gnutar(a) == ARCHIVE_OK);
	must(archive_write_open_fd(a, tar) == ARCHIVE_OK);
}
static void add(const char *name, mode_t type, mode_t mode, const char *text)
{
	struct archive_entry *en = archive_entry_new();
	archive_entry_set_pathname(en, name);
	archive_entry_set_filetype(en, type);
	archive_entry_set_perm(en, mode);
	if (type == S_IFLNK) archive_entry_set_symlink(en, text);
	archive_entry_set_size(en, type == S_IFREG ? (la_int64_t)strlen(text) : 0);
	must(archive_write_header(a, en) == ARCHIVE_OK);
	if (type == S_IFREG) must(archive_write_data(a, text, strlen(text)) >= 0);
	archive_entry_free(en);
}
static void add_hard(const char *name, const char *to)
{
	struct archive_entry *en = archive_entry_new();
	archive_entry_set_pathname(en, name);
	archive_entry_set_filetype(en, S_IFREG);
	archive_entry_set_perm(en, 0644);
	archive_entry_set_hardlink(en, to);
	must(archive_write_header(a, en) == ARCHIVE_OK);
	archive_entry_free(en);
}
static int tar_end(const char *as)
{
	struct tree_unpack t = {.folder = folder, .top = as};
	must(archive_write_close(a) == ARCHIVE_OK);
	(void)archive_write_free(a);
	must(lseek(tar, 0, SEEK_SET) == 0);
	int r = tree_unpack(tar, &t, NULL);
	(void)close(tar);
	return r;
}

static bool holds(int at, const char *name, const char *text)
{
	char got[64] = "";
	auto_fd int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return fd >= 0 && read(fd, got, sizeof(got) - 1) >= 0 && !strcmp(got, text);
}
static bool untouched(void)
{
	struct stat st;
	return holds(outside, "secret", "secret") && !fstatat(outside, "secret", &st, 0) &&
	       st.st_nlink == 1 && faccessat(outside, "bad", F_OK, AT_SYMLINK_NOFOLLOW);
}

TEST(tree_makes_what_it_is_told)
{
	struct stat st;
	char to[16] = "";
	start();
	tar_begin();
	add("t", S_IFDIR, 0755, "");
	add("t/a", S_IFREG, 06751, "text");
	add("t/l", S_IFLNK, 0777, "a");
	add_hard("t/h", "t/a");
	CHECK(tar_end("new") == 0);
	CHECK(holds(folder, "new/a", "text") && holds(folder, "new/h", "text"));
	CHECK(readlinkat(folder, "new/l", to, sizeof(to) - 1) == 1 && *to == 'a');
	CHECK(!fstatat(folder, "new/a", &st, 0) && (st.st_mode & 07777) == 0751);
	stop();
}

TEST(tree_replaces_files_not_folders)
{
	start();
	must(!symlinkat("../secret", folder, "l"));
	tar_begin();
	add("t/l", S_IFREG, 0644, "new");
	CHECK(tar_end("") == 0 && holds(folder, "l", "new") && untouched());
	must(!mkdirat(folder, "d", 0755));
	tar_begin();
	add("t/d", S_IFREG, 0644, "new");
	CHECK(tar_end("") == -EISDIR);
	stop();
}

TEST(tree_names_do_not_lead_out)
{
	static const char *const names[] = {"t/../bad", "../bad", "t/x/../../../bad", "t/..", ".."};
	start();
	for (unsigned i = 0; i < COUNT(names); i++) {
		tar_begin();
		add(names[i], S_IFREG, 0644, "bad");
		CHECK(tar_end("t") == -EPROTO && untouched());
	}
	tar_begin();
	add("/tmp/bad", S_IFREG, 0644, "bad");
	CHECK(tar_end("") == 0 && holds(folder, "bad", "bad") && untouched());
	stop();
}

TEST(tree_links_do_not_lead_out)
{
	static const char *const to[] = {"..", "../../..", "/", "/proc/self/cwd", "."};
	start();
	for (unsigned i = 0; i < COUNT(to); i++) {
		tar_begin();
		add("t/l", S_IFLNK, 0777, to[i]);
		add("t/l/bad", S_IFREG, 0644, "bad");
		CHECK(tar_end("") < 0 && untouched());
	}
	tar_begin(); /* nor one that takes the place of what is under way */
	add("t", S_IFLNK, 0777, "..");
	add("t/bad", S_IFREG, 0644, "bad");
	CHECK(tar_end("x") < 0 && untouched());
	tar_begin();
	add("t/l", S_IFLNK, 0777, "../secret");
	add("t/l", S_IFREG, 0644, "bad");
	CHECK(tar_end("") == 0 && untouched());
	stop();
}

TEST(tree_hard_links_do_not_lead_out)
{
	static const char *const to[] = {"../secret", "t/../secret", "t/s", "/etc/passwd",
					 "t/none"};
	start();
	for (unsigned i = 0; i < COUNT(to); i++) {
		tar_begin();
		add("t/s", S_IFLNK, 0777, "../secret");
		add_hard("t/h", to[i]);
		CHECK(tar_end("") < 0 && untouched());
	}
	stop();
}

TEST(tree_makes_no_devices)
{
	start();
	tar_begin();
	add("t", S_IFDIR, 0755, "");
	add("t/null", S_IFCHR, 0666, "");
	add("t/pipe", S_IFIFO, 0666, "");
	CHECK(tar_end("x") == 0 && faccessat(folder, "x/null", F_OK, 0) &&
	      faccessat(folder, "x/pipe", F_OK, 0));
	stop();
}

TEST(tree_tells_when_the_stream_ends_early)
{
	start();
	tar_begin();
	add("t/a", S_IFREG, 0644, "some text");
	(void)archive_write_close(a);
	must(!ftruncate(tar, 515) && !lseek(tar, 0, SEEK_SET));
	struct tree_unpack t = {.folder = folder, .top = "x"};
	CHECK(tree_unpack(tar, &t, NULL) < 0);
	must(!ftruncate(tar, 0) && !lseek(tar, 0, SEEK_SET));
	CHECK(tree_unpack(tar, &t, NULL) == -ENODATA);
	(void)archive_write_free(a);
	(void)close(tar);
	stop();
}

TEST(tree_goes_there_and_back)
{
	char path[96];
	start();
	must(!mkdirat(outside, "from", 0755) && !mkdirat(outside, "from/d", 0700));
	must(!symlinkat("/nowhere", outside, "from/l"));
	int fd = openat(outside, "from/d/f", O_CREAT | O_WRONLY | O_CLOEXEC, 0640);
	must(write(fd, "deep", 4) == 4 && !close(fd));
	tar = memfd_create("tar", MFD_CLOEXEC);
	(void)snprintf(path, sizeof(path), "%s/from", top);
	CHECK(tree_pack(tar, path, "x", NULL) == 0);
	must(!lseek(tar, 0, SEEK_SET));
	struct tree_unpack t = {.folder = folder, .top = "to"};
	CHECK(tree_unpack(tar, &t, NULL) == 0 && t.skipped == 0);
	CHECK(holds(folder, "to/d/f", "deep"));
	struct stat st;
	CHECK(!fstatat(folder, "to/d/f", &st, 0) && (st.st_mode & 07777) == 0640);
	CHECK(!fstatat(folder, "to/l", &st, AT_SYMLINK_NOFOLLOW) && S_ISLNK(st.st_mode));
	(void)close(tar);
	stop();
}
