/* An image goes in when all of it was seen: every digest compared, every layer unpacked. Only then
 * is it named; a layer's folder that a kill then keeps from its place is made again when it is
 * asked for. Folders that are being made are locked, so that nobody sweeps them away. */
#include "base/file.h"
#include "base/own.h"
#include "base/text.h"
#include "base/types.h"
#include "store/blob.h"
#include "store/oci.h"
#include "store/oci_impl.h"
#include "store/tree.h"
#include "store/unzip.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define MAKING ".tmp."

/* ---- folders that are being made */

struct fresh {
	char *path;
	int fd; /* locked */
};
static int fresh_make(struct store *s, struct fresh *f, struct err *e)
{
	auto_mem char *trees = text_format("%s/trees", store_root(s));
	int r = dir_make(trees, e);
	if (r) return r;
	f->fd = -1;
	f->path = text_format("%s/" MAKING "XXXXXX", trees);
	if (!mkdtemp(f->path)) return fail(e, -errno, "%s: %s", trees, strerror(errno));
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->fd < 0 || flock(f->fd, LOCK_EX | LOCK_NB) || fchmod(f->fd, 0755))
		return fail(e, -errno, "%s: %s", f->path, strerror(errno));
	return 0;
}
static void fresh_drop(struct fresh *f)
{
	if (f->path) (void)dir_remove(f->path, NULL);
	free(f->path);
	drop_fd(&f->fd);
	*f = (struct fresh){.fd = -1};
}
/* Somebody else may have been first; what there is, is the same. */
static void fresh_place(struct store *s, struct fresh *f, const char *diff)
{
	auto_mem char *to = text_format("%s/trees/%s", store_root(s), diff);
	if (f->path && !rename(f->path, to)) {
		free(f->path);
		f->path = NULL;
	}
	fresh_drop(f);
}

/* ---- layers */

static int unpack(int fd, const struct image_file *layer, int folder, struct err *e)
{
	struct unzip *u;
	unsigned skipped;
	char digest[BLOB_DIGEST];
	int r = unzip_open(&u, fd, layer->format, e);
	if (r) return r;
	r = tree_unpack_layer(u, folder, &skipped, e);
	if (!r) unzip_digest(u, digest);
	unzip_close(u);
	if (!r && strcmp(digest, layer->diff) != 0)
		r = fail(e, -EINVAL, "its contents are not those that the image names");
	return r;
}
static char *tree_path(struct store *s, const struct image *im, unsigned n)
{
	return text_format("%s/trees/%s", store_root(s), im->layer[n].diff);
}
int oci_tree(struct store *s, const struct image *im, unsigned n, char **path, struct err *e)
{
	struct fresh f = {.fd = -1};
	auto_mem char *to = tree_path(s, im, n);
	if (!file_exists(to)) {
		auto_fd int fd = open(im->layer[n].path, O_RDONLY | O_CLOEXEC);
		int r = fd < 0 ? fail(e, -errno, "layer %u: %s", n, strerror(errno)) : 0;
		if (!r) r = fresh_make(s, &f, e);
		if (!r) r = unpack(fd, &im->layer[n], f.fd, e);
		if (!r) fresh_place(s, &f, im->layer[n].diff);
		fresh_drop(&f);
		if (r) return fail_in(e, "layer %u", n);
	}
	*path = to;
	to = NULL;
	return 0;
}

/* ---- what is imported */

struct import {
	struct store *s;
	struct oci_found found;
	struct fresh archive; /* its files, if it came as one */
	struct fresh tree[IMAGE_LAYERS];
	int file[IMAGE_LAYERS + 1]; /* config, layers */
};

static int open_archive(struct import *m, const char *path, struct err *e)
{
	struct unzip *u;
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return fail(e, -errno, "%s", strerror(errno));
	const char *format = unzip_format(fd);
	if (!format) return fail(e, -errno, "%s", strerror(errno));
	int r = fresh_make(m->s, &m->archive, e);
	if (!r) r = unzip_open(&u, fd, format, e);
	if (r) return r;
	r = tree_unpack_plain(u, m->archive.fd, e);
	unzip_close(u);
	m->found.folder = m->archive.fd;
	return r;
}
static int open_any(struct import *m, const char *path, struct err *e)
{
	struct stat st;
	if (stat(path, &st)) return fail(e, -errno, "%s", strerror(errno));
	if (!S_ISDIR(st.st_mode)) return open_archive(m, path, e);
	m->found.folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return m->found.folder < 0 ? fail(e, -errno, "%s", strerror(errno)) : 0;
}
/* From here on the file is the one that was opened, whatever the folder says later. */
static int hold(struct import *m, unsigned n, struct image_file *f, struct err *e)
{
	char digest[BLOB_DIGEST];
	int fd = oci_look_open(m->found.folder, f->path, e);
	if (fd < 0) return fd;
	m->file[n] = fd;
	auto_mem char *was = f->path;
	f->path = text_format("/proc/self/fd/%d", fd);
	int r = blob_digest(f->path, digest, &f->size, e);
	if (!r && f->digest && strcmp(f->digest, digest) != 0)
		r = fail(e, -EINVAL, "%.120s: its contents are not those", was);
	return r;
}
static int take(struct import *m, struct err *e)
{
	struct image *im = &m->found.im;
	int r = hold(m, 0, &im->config, e);
	for (unsigned k = 0; !r && k < im->nlayers; k++) {
		struct image_file *layer = &im->layer[k];
		r = hold(m, k + 1, layer, e);
		if (!r && !layer->format) {
			const char *format = unzip_format(m->file[k + 1]);
			layer->format = strdup(format ? format : "tar");
			must(layer->format);
		}
		auto_mem char *there = tree_path(m->s, im, k);
		if (!r && file_exists(there)) continue;
		if (!r) r = fresh_make(m->s, &m->tree[k], e);
		if (!r) r = unpack(m->file[k + 1], layer, m->tree[k].fd, e);
		if (r) return fail_in(e, "layer %u", k);
	}
	return r;
}
char *oci_name(const char *ref)
{
	const char *last = ref ? strrchr(ref, '/') : NULL;
	if (!ref) return NULL;
	last = last ? last + 1 : ref;
	size_t n = strcspn(last, ":@");
	const char *tag = last[n] == ':' ? last + n + 1 : "";
	size_t m = strcspn(tag, "@");
	bool plain = !m || (m == 6 && !strncmp(tag, "latest", m));
	return plain ? text_format("%.*s", (int)n, last)
		     : text_format("%.*s-%.*s", (int)n, last, (int)m, tag);
}
static int name_it(struct import *m, const char *name, struct err *e)
{
	struct image *im = &m->found.im;
	im->name = name ? strdup(name) : oci_name(m->found.ref);
	if (!im->name || !store_name_ok(im->name))
		return fail(e, -EINVAL, "%s is no name for an image here: give it one",
			    im->name ? im->name : "it has no name, and that");
	im->arch = strdup(m->found.arch);
	im->kind = strdup("oci");
	must(im->arch && im->kind);
	if (!store_name_ok(im->arch))
		return fail(e, -EINVAL, "config: for a CPU with no such name");
	return 0;
}
static void import_done(struct import *m)
{
	for (unsigned k = 0; k < COUNT(m->tree); k++) fresh_drop(&m->tree[k]);
	for (unsigned k = 0; k < COUNT(m->file); k++) drop_fd(&m->file[k]);
	if (m->found.folder != m->archive.fd) drop_fd(&m->found.folder);
	fresh_drop(&m->archive);
	oci_found_done(&m->found);
	free(m);
}
static const char *host_arch(void)
{
#ifdef __x86_64__
	return "amd64";
#else
	return "riscv64";
#endif
}
int oci_import(struct store *s, const char *path, const char *name, const char *arch,
	       struct image *out, struct err *e)
{
	const char *const wanted[] = {arch ? arch : host_arch(), NULL};
	struct import *m = calloc(1, sizeof(*m));
	must(m);
	m->s = s;
	m->found.folder = m->archive.fd = -1;
	for (unsigned k = 0; k < COUNT(m->tree); k++) m->tree[k].fd = -1;
	for (unsigned k = 0; k < COUNT(m->file); k++) m->file[k] = -1;
	int r = open_any(m, path, e);
	if (!r) r = oci_look(&m->found, wanted, e);
	if (!r && arch && strcmp(arch, m->found.arch) != 0)
		r = fail(e, -ENOENT, "it is for %s, not for %s", m->found.arch, arch);
	if (!r) r = name_it(m, name, e);
	if (!r) r = take(m, e);
	if (!r) r = store_image_add(s, &m->found.im, e);
	for (unsigned k = 0; !r && k < m->found.im.nlayers; k++)
		fresh_place(s, &m->tree[k], m->found.im.layer[k].diff);
	if (!r) r = store_image_find(s, m->found.im.name, m->found.im.arch, out, e);
	import_done(m);
	return r ? fail_in(e, "%s", path) : 0;
}

/* ---- what nobody needs any more */

static bool is_being_made(int trees, const char *name)
{
	auto_fd int fd = openat(trees, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB);
}
int oci_collect(struct store *s, bool (*keep)(void *ctx, const char *diff), void *ctx,
		struct err *e)
{
	auto_mem char *trees = text_format("%s/trees", store_root(s));
	DIR *d = opendir(trees);
	int r = 0;
	if (!d) return 0;
	for (struct dirent *f; !r && (f = readdir(d));) {
		bool making = !strncmp(f->d_name, MAKING, strlen(MAKING));
		if (making ? is_being_made(dirfd(d), f->d_name)
			   : !blob_digest_ok(f->d_name) || keep(ctx, f->d_name))
			continue;
		auto_mem char *path = text_format("%s/%s", trees, f->d_name);
		r = dir_remove(path, e);
	}
	(void)closedir(d);
	return r;
}
