/* Layers, honest ones and those made to get out of their folder. Many need the rights of root. */
#include "base/file.h"
#include "base/own.h"
#include "base/test.h"
#include "base/types.h"
#include "store/tree.h"
#include "store/unzip.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <zlib.h>

static char top[64];
static int outside, folder, file;
static struct archive *a;

static void start(void)
{
	(void)snprintf(top, sizeof(top), "/tmp/lodge-layer.XXXXXX");
	must(mkdtemp(top));
	outside = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(!mkdirat(outside, "in", 0755));
	folder = openat(outside, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	file = memfd_create("layer", MFD_CLOEXEC);
	a = archive_write_new();
	must(archive_write_set_format_pax_restricted(a) == ARCHIVE_OK);
	must(archive_write_open_fd(a, file) == ARCHIVE_OK);
}
static void stop(void)
{
	(void)close(folder);
	(void)close(outside);
	(void)close(file);
	CHECK(dir_remove(top, NULL) == 0);
}
static struct archive_entry *entry(const char *name, mode_t type, mode_t mode)
{
	struct archive_entry *en = archive_entry_new();
	archive_entry_set_pathname(en, name);
	archive_entry_set_filetype(en, type);
	archive_entry_set_perm(en, mode);
	archive_entry_set_size(en, 0);
	return en;
}
static void put(struct archive_entry *en)
{
	must(archive_write_header(a, en) == ARCHIVE_OK);
	archive_entry_free(en);
}
static void add(const char *name, mode_t type) { put(entry(name, type, 0755)); }
static void add_file(const char *name, mode_t mode, const char *text)
{
	struct archive_entry *en = entry(name, S_IFREG, mode);
	archive_entry_set_size(en, (la_int64_t)strlen(text));
	archive_entry_set_mtime(en, 1000, 0);
	put(en);
	must(archive_write_data(a, text, strlen(text)) >= 0);
}
static void add_link(const char *name, const char *to, bool hard)
{
	struct archive_entry *en = entry(name, hard ? S_IFREG : S_IFLNK, 0777);
	if (hard)
		archive_entry_set_hardlink(en, to);
	else
		archive_entry_set_symlink(en, to);
	put(en);
}
static int unpack_as(const char *format, char digest[BLOB_DIGEST])
{
	struct unzip *u;
	unsigned skipped;
	if (a) must(archive_write_free(a) == ARCHIVE_OK);
	a = NULL;
	must(unzip_open(&u, file, format, NULL) == 0);
	int r = tree_unpack_layer(u, folder, &skipped, NULL);
	if (!r) unzip_digest(u, digest);
	unzip_close(u);
	return r;
}
static int unpack(void)
{
	char digest[BLOB_DIGEST];
	return unpack_as("tar", digest);
}
static bool is(const char *path, const char *text)
{
	char b[64] = {0};
	auto_fd int fd = openat(outside, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return fd >= 0 && read(fd, b, sizeof(b) - 1) >= 0 && !strcmp(b, text);
}
static mode_t mode_of(const char *path)
{
	struct stat st;
	return fstatat(outside, path, &st, AT_SYMLINK_NOFOLLOW) ? 0 : st.st_mode;
}
static bool is_gone(const char *path)
{
	struct stat st;
	return !fstatat(outside, path, &st, AT_SYMLINK_NOFOLLOW) && S_ISCHR(st.st_mode) &&
	       !st.st_rdev;
}
static bool is_opaque(const char *path)
{
	char full[128], v[2];
	(void)snprintf(full, sizeof(full), "%s/%s", top, path);
	return lgetxattr(full, "trusted.overlay.opaque", v, 2) == 1 ||
	       lgetxattr(full, "user.overlay.opaque", v, 2) == 1;
}

TEST(layer_brings_files)
{
	struct stat st;
	start();
	add("./", S_IFDIR);
	add_file("./usr/bin/su", 04755, "su"); /* folders need not be told */
	add_link("bin", "usr/bin", false);
	add_file("bin/ls", 0755, "ls");
	add_link("usr/bin/dir", "usr/bin/ls", true);
	add("run/fifo", S_IFIFO);
	struct archive_entry *en = entry("owned", S_IFREG, 0640);
	archive_entry_set_uid(en, 1234);
	archive_entry_xattr_add_entry(en, "user.note", "x", 1);
	archive_entry_xattr_add_entry(en, "trusted.overlay.redirect", "/etc", 4);
	archive_entry_xattr_add_entry(en, "user.overlay.metacopy", "", 0);
	put(en);
	CHECK(unpack() == 0);
	CHECK(is("in/usr/bin/su", "su") && mode_of("in/usr/bin/su") == (S_IFREG | 04755));
	CHECK(is("in/usr/bin/ls", "ls") && is("in/usr/bin/dir", "ls"));
	CHECK(S_ISLNK(mode_of("in/bin")) && S_ISFIFO(mode_of("in/run/fifo")));
	CHECK(!fstatat(outside, "in/usr/bin/su", &st, 0) && st.st_mtime == 1000);
	CHECK(!fstatat(outside, "in/owned", &st, 0) && (geteuid() || st.st_uid == 1234));
	auto_fd int fd = openat(outside, "in/owned", O_RDONLY | O_CLOEXEC);
	char v[8];
	CHECK(fgetxattr(fd, "trusted.overlay.redirect", v, 8) < 0);
	CHECK(fgetxattr(fd, "user.overlay.metacopy", v, 8) < 0);
	stop();
}
TEST(layer_takes_away)
{
	start();
	add("gone/.wh.file", S_IFREG);
	add("empty/.wh..wh..opq", S_IFREG);
	add("both/.wh.one", S_IFREG);
	add("both/one", S_IFDIR);
	add_file("both/one/file", 0644, "new"); /* what was there is hidden, what is new is not */
	add("later/two", S_IFDIR);
	add("later/.wh.two", S_IFREG);
	add(".wh..wh.plnk", S_IFDIR);
	CHECK(unpack() == 0);
	CHECK(is_gone("in/gone/file") && is_opaque("in/empty"));
	CHECK(is("in/both/one/file", "new") && is_opaque("in/both/one"));
	CHECK(S_ISDIR(mode_of("in/later/two")) && is_opaque("in/later/two"));
	CHECK(!mode_of("in/empty/.wh..wh..opq") && !mode_of("in/.wh..wh.plnk"));
	stop();
}
/* Each is refused, or what it makes is inside. */
TEST(attack_layer_stays_inside)
{
	static const char *const names[] = {"../out", "a/../../out", "in/../../../out"};
	for (unsigned k = 0; k < COUNT(names); k++) {
		start();
		add_file(names[k], 0644, "x");
		CHECK(unpack() == -EPROTO && !mode_of("out"));
		stop();
	}
	start();
	add_link("up", "..", false);
	add_link("root", "/", false);
	add_link("self", "/proc/self/root", false);
	add_file("up/a", 0644, "a");
	add_file("root/b", 0644, "b");
	add_file("/c", 0644, "c");
	CHECK(unpack() == 0);
	CHECK(!mode_of("a") && is("in/a", "a") && is("in/b", "b") && is("in/c", "c"));
	stop();
	start();
	add_link("secret", "../../etc/shadow", true);
	CHECK(unpack() == -EPROTO);
	stop();
	start();
	add_link("etc", "/etc", false);
	add_link("secret", "etc/shadow", true);
	CHECK(unpack() < 0 && !mode_of("in/secret"));
	stop();
	start();
	add("a/.wh...", S_IFREG); /* of the folder above */
	CHECK(unpack() == -EPROTO);
	stop();
	start();
	add("dev/gone", S_IFCHR); /* 0:0 */
	CHECK(unpack() == -EPROTO && !mode_of("in/dev/gone"));
	stop();
}
TEST(layer_compressed)
{
	char plain[BLOB_DIGEST], digest[BLOB_DIGEST], path[96];
	static char big[300000], raw[400000];
	memset(big, 'x', sizeof(big) - 1);
	start();
	add_file("big", 0644, big);
	CHECK(unpack_as("tar", plain) == 0 && !strcmp(unzip_format(file), "tar"));
	ssize_t n = pread(file, raw, sizeof(raw), 0);
	(void)snprintf(path, sizeof(path), "%s/z", top);
	gzFile z = gzopen(path, "wb");
	must(z && gzwrite(z, raw, (unsigned)n / 2) > 0);
	must(gzclose(z) == Z_OK); /* two members make one file */
	z = gzopen(path, "ab");
	must(z && gzwrite(z, raw + n / 2, (unsigned)(n - n / 2)) > 0 && gzclose(z) == Z_OK);
	(void)close(file);
	file = open(path, O_RDWR | O_CLOEXEC);
	CHECK(!strcmp(unzip_format(file), "tar+gzip"));
	CHECK(unpack_as("tar+gzip", digest) == 0 && !strcmp(digest, plain));
	struct stat st;
	CHECK(!fstat(file, &st));
	for (off_t at = 0; at < st.st_size; at += 7) { /* cut anywhere it is told */
		CHECK(!ftruncate(file, at));
		CHECK(unpack_as("tar+gzip", digest) != 0 || strcmp(digest, plain) != 0);
		if (at > 200) break;
	}
	stop();
}
