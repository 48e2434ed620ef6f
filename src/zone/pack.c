/* What a zone has written as one more layer of an image (image-spec 1.1, layer.md): what is gone
 * has a name that says so, and a folder that hides what was in it holds a file that does. */
#include "base/own.h"
#include "base/text.h"
#include "store/tar.h"
#include "zone/files.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define GONE   ".wh."
#define OPAQUE ".wh..wh..opq"
enum { PIECE = 256 << 10, CAP_V3 = 24, CAP_V2 = 20, NOTE = 4096 };

struct pack {
	struct archive *to;
	struct archive_entry *en;
	const struct files_ids *ids;
	struct files_links *links;
	char *piece;
};

static int refused(const struct pack *p, const char *path, struct err *e)
{
	const char *words = tar.archive_error_string(p->to);
	return fail(e, -EIO, "/%.150s: %.80s", path, words ? words : strerror(EIO));
}

static void begin(struct pack *p, const char *path, mode_t type)
{
	tar.archive_entry_free(p->en);
	p->en = tar.archive_entry_new();
	must(p->en);
	tar.archive_entry_set_pathname(p->en, path);
	tar.archive_entry_set_filetype(p->en, type);
	tar.archive_entry_set_perm(p->en, 0644);
	tar.archive_entry_set_size(p->en, 0);
}

static int put(struct pack *p, const char *path, struct err *e)
{
	return tar.archive_write_header(p->to, p->en) == ARCHIVE_OK ? 0 : refused(p, path, e);
}

static int mark(struct pack *p, const char *folder, const char *prefix, const char *name,
		struct err *e)
{
	auto_mem char *path = text_format("%s%s%s%s", folder, *folder ? "/" : "", prefix, name);
	begin(p, path, S_IFREG);
	return put(p, path, e);
}

/* ---- what is there */
/* Capabilities for root of a namespace of its own become those for whoever root is. */
static int attr_add(void *ctx, const char *key, const void *value, size_t n)
{
	const struct pack *p = ctx;
	unsigned char v2[CAP_V2];
	if (!strcmp(key, "trusted.overlay.redirect") || !strcmp(key, "trusted.overlay.metacopy"))
		return -ENOTSUP;
	bool cap = !strcmp(key, "security.capability");
	if (!cap && (strncmp(key, "user.", 5) || !strncmp(key, "user.overlay.", 13))) return 0;
	if (cap && n == CAP_V3) {
		memcpy(v2, value, sizeof(v2));
		v2[3] = 2; /* VFS_CAP_REVISION_2, the highest byte of a little-endian word */
		value = v2;
		n = sizeof(v2);
	}
	tar.archive_entry_xattr_add_entry(p->en, key, value, n);
	return 0;
}

static void looks(struct pack *p, const struct files_seen *s)
{
	const struct stat *st = s->st;
	tar.archive_entry_set_perm(p->en, st->st_mode & 07777);
	tar.archive_entry_set_uid(p->en, files_id(p->ids, st->st_uid));
	tar.archive_entry_set_gid(p->en, files_id(p->ids, st->st_gid));
	tar.archive_entry_set_mtime(p->en, st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		tar.archive_entry_set_rdevmajor(p->en, major(st->st_rdev));
		tar.archive_entry_set_rdevminor(p->en, minor(st->st_rdev));
	}
}

static int contents(struct pack *p, const struct files_seen *s, struct err *e)
{
	struct stat now;
	auto_fd int fd = openat(s->at, s->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &now) || now.st_ino != s->st->st_ino)
		return fail(e, -errno, "/%.150s: %s", s->path, strerror(errno));
	for (off_t at = 0; at < s->st->st_size;) {
		ssize_t n = pread(fd, p->piece, PIECE, at);
		if (n <= 0) return fail(e, -EIO, "/%.150s: it cannot be read", s->path);
		if (n > s->st->st_size - at) n = (ssize_t)(s->st->st_size - at);
		if (tar.archive_write_data(p->to, p->piece, (size_t)n) != n)
			return refused(p, s->path, e);
		at += n;
	}
	return 0;
}

static int link_text(struct pack *p, const struct files_seen *s, struct err *e)
{
	char text[NOTE];
	ssize_t n = readlinkat(s->at, s->name, text, sizeof(text) - 1);
	if (n < 0) return fail(e, -errno, "/%.150s: %s", s->path, strerror(errno));
	text[n] = 0;
	tar.archive_entry_set_symlink(p->en, text);
	return 0;
}

static int add(struct pack *p, const struct files_seen *s, struct err *e)
{
	mode_t type = s->st->st_mode & S_IFMT;
	const char *there = NULL, *path = *s->path ? s->path : ".";
	if (type != S_IFDIR && s->st->st_nlink > 1) there = files_link(p->links, s->st, s->path);
	begin(p, path, type);
	looks(p, s);
	if (there) {
		tar.archive_entry_set_hardlink(p->en, there);
		return put(p, path, e);
	}
	int r = files_attr_each(s->at, s->name, p->ids, attr_add, p);
	if (r) return fail(e, r, "/%.150s: its attributes: %s", s->path, strerror(-r));
	if (type == S_IFLNK) r = link_text(p, s, e);
	if (type == S_IFREG) tar.archive_entry_set_size(p->en, s->st->st_size);
	if (!r) r = put(p, path, e);
	return r || type != S_IFREG ? r : contents(p, s, e);
}

static int pack_one(void *ctx, const struct files_seen *s, struct err *e)
{
	struct pack *p = ctx;
	const char *slash = strrchr(s->path, '/');
	if (files_ours(s)) return 0;
	if (S_ISSOCK(s->st->st_mode)) return 0; /* there is nobody behind it */
	if (!strncmp(s->name, GONE, strlen(GONE)))
		return fail(e, -EINVAL, "/%.150s: a name that says in images what is gone",
			    s->path);
	if (s->gone) {
		auto_mem char *folder =
			text_format("%.*s", slash ? (int)(slash - s->path) : 0, s->path);
		return mark(p, folder, GONE, s->name, e);
	}
	int r = add(p, s, e);
	return !r && s->opaque && *s->path ? mark(p, s->path, "", OPAQUE, e) : r;
}

int files_pack(int from, int fd, const struct files_ids *ids, struct err *e)
{
	struct pack p = {.ids = ids};
	int r = tar_load(e);
	if (r) return r;
	p.to = tar.archive_write_new();
	p.links = files_links_new();
	p.piece = malloc(PIECE);
	must(p.to && p.piece);
	(void)tar.archive_write_set_format_pax_restricted(p.to);
	(void)tar.archive_write_set_options(p.to, "hdrcharset=BINARY,xattrheader=SCHILY");
	(void)tar.archive_write_set_bytes_in_last_block(p.to, 512);
	if (tar.archive_write_open_fd(p.to, fd) != ARCHIVE_OK) r = refused(&p, "", e);
	if (!r && from >= 0) r = files_walk(from, pack_one, &p, e);
	if (!r && tar.archive_write_close(p.to) != ARCHIVE_OK) r = refused(&p, "", e);
	(void)tar.archive_write_free(p.to);
	tar.archive_entry_free(p.en);
	files_links_free(p.links);
	free(p.piece);
	return r ? fail_in(e, "packing the zone's files") : 0;
}
