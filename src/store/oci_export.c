/* One tar file that both families read: a layout of OCI (image-spec 1.1, image-layout.md), and
 * beside it the manifest.json that `docker load` looks for, which names the same files. */
#include "base/buf.h"
#include "base/own.h"
#include "base/text.h"
#include "store/blob.h"
#include "store/oci.h"
#include "store/tar.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/stat.h>

#define OCI "application/vnd.oci.image."
enum { PIECE = 1 << 20 };

/* ---- what the texts say */

static void put(struct json_object *o, const char *key, const char *s)
{
	json_object_object_add(o, key, json_object_new_string(s));
}
static struct json_object *descriptor(const char *type, const char *digest, uint64_t size)
{
	struct json_object *o = json_object_new_object();
	auto_mem char *d = text_format("sha256:%s", digest);
	put(o, "mediaType", type);
	put(o, "digest", d);
	json_object_object_add(o, "size", json_object_new_int64((int64_t)size));
	return o;
}
static struct json_object *manifest(const struct image *im)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	json_object_object_add(o, "schemaVersion", json_object_new_int(2));
	put(o, "mediaType", OCI "manifest.v1+json");
	json_object_object_add(
		o, "config", descriptor(OCI "config.v1+json", im->config.digest, im->config.size));
	for (unsigned k = 0; k < im->nlayers; k++) {
		const struct image_file *f = &im->layer[k];
		auto_mem char *type = text_format(OCI "layer.v1.%s", f->format);
		json_object_array_add(list, descriptor(type, f->digest, f->size));
	}
	json_object_object_add(o, "layers", list);
	return o;
}
static struct json_object *index_of(const struct image *im, const char *digest, uint64_t size)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	struct json_object *one = descriptor(OCI "manifest.v1+json", digest, size);
	struct json_object *platform = json_object_new_object(), *notes = json_object_new_object();
	put(platform, "architecture", im->arch);
	put(platform, "os", "linux");
	put(notes, "org.opencontainers.image.ref.name", im->name);
	json_object_object_add(one, "platform", platform);
	json_object_object_add(one, "annotations", notes);
	json_object_array_add(list, one);
	json_object_object_add(o, "schemaVersion", json_object_new_int(2));
	put(o, "mediaType", OCI "index.v1+json");
	json_object_object_add(o, "manifests", list);
	return o;
}
static void add_path(struct json_object *list, const char *digest)
{
	auto_mem char *path = text_format("blobs/sha256/%s", digest);
	json_object_array_add(list, json_object_new_string(path));
}
static struct json_object *docker_manifest(const struct image *im)
{
	struct json_object *all = json_object_new_array(), *o = json_object_new_object();
	struct json_object *tags = json_object_new_array(), *list = json_object_new_array();
	auto_mem char *config = text_format("blobs/sha256/%s", im->config.digest);
	auto_mem char *tag = text_format("%s:latest", im->name);
	put(o, "Config", config);
	json_object_array_add(tags, json_object_new_string(tag));
	json_object_object_add(o, "RepoTags", tags);
	for (unsigned k = 0; k < im->nlayers; k++) add_path(list, im->layer[k].digest);
	json_object_object_add(o, "Layers", list);
	json_object_array_add(all, o);
	return all;
}

/* ---- the archive */

static int broken(struct archive *a, const char *name, struct err *e)
{
	const char *words = tar.archive_error_string(a);
	return fail(e, -EIO, "%s: %s", name, words ? words : strerror(EIO));
}
static int entry(struct archive *a, const char *name, uint64_t size, struct err *e)
{
	struct archive_entry *en = tar.archive_entry_new();
	must(en);
	tar.archive_entry_set_pathname(en, name);
	tar.archive_entry_set_filetype(en, S_IFREG);
	tar.archive_entry_set_perm(en, 0644);
	tar.archive_entry_set_size(en, (la_int64_t)size);
	int r = tar.archive_write_header(a, en);
	tar.archive_entry_free(en);
	return r == ARCHIVE_OK ? 0 : broken(a, name, e);
}
static int add_text(struct archive *a, const char *name, const char *s, struct err *e)
{
	size_t n = strlen(s);
	int r = entry(a, name, n, e);
	return r ? r : tar.archive_write_data(a, s, n) == (la_ssize_t)n ? 0 : broken(a, name, e);
}
static int add_json(struct archive *a, const char *name, struct json_object *o, struct err *e)
{
	int r = add_text(a, name, json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE),
			 e);
	json_object_put(o);
	return r;
}
static int add_blob(struct archive *a, const struct image_file *f, struct err *e)
{
	auto_mem char *name = text_format("blobs/sha256/%s", f->digest);
	auto_mem char *piece = malloc(PIECE);
	auto_fd int fd = open(f->path, O_RDONLY | O_CLOEXEC);
	must(piece);
	if (fd < 0) return fail(e, -errno, "%s: %s", f->path, strerror(errno));
	int r = entry(a, name, f->size, e);
	for (uint64_t at = 0; !r && at < f->size;) {
		ssize_t n = pread(fd, piece, PIECE, (off_t)at);
		if (n <= 0) return fail(e, -EIO, "%s: it cannot be read", f->path);
		if (tar.archive_write_data(a, piece, (size_t)n) != n) r = broken(a, name, e);
		at += (uint64_t)n;
	}
	return r;
}
static int add_all(struct archive *a, const struct image *im, struct err *e)
{
	char digest[BLOB_DIGEST];
	struct json_object *m = manifest(im);
	const char *s = json_object_to_json_string_ext(m, JSON_C_TO_STRING_NOSLASHESCAPE);
	size_t n = strlen(s);
	blob_digest_of(s, n, digest);
	auto_mem char *name = text_format("blobs/sha256/%s", digest);
	int r = add_text(a, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", e);
	if (!r) r = add_text(a, name, s, e);
	json_object_put(m);
	if (!r) r = add_json(a, "index.json", index_of(im, digest, n), e);
	if (!r) r = add_json(a, "manifest.json", docker_manifest(im), e);
	if (!r) r = add_blob(a, &im->config, e);
	for (unsigned k = 0; !r && k < im->nlayers; k++) {
		bool again = false; /* the same layer twice is one file */
		for (unsigned j = 0; j < k; j++)
			again |= !strcmp(im->layer[j].digest, im->layer[k].digest);
		if (!again) r = add_blob(a, &im->layer[k], e);
	}
	return r;
}
int oci_export(const struct image *im, const char *path, struct err *e)
{
	if (!im->config.path)
		return fail(e, -EINVAL, "image %s: it has no layers: it is a whole computer's",
			    im->name);
	int r = tar_load(e);
	if (r) return r;
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0) return fail(e, -errno, "%s: %s", path, strerror(errno));
	struct archive *a = tar.archive_write_new();
	must(a);
	(void)tar.archive_write_set_format_gnutar(a);
	if (tar.archive_write_open_fd(a, fd) != ARCHIVE_OK) r = broken(a, path, e);
	if (!r) r = add_all(a, im, e);
	if (!r && tar.archive_write_close(a) != ARCHIVE_OK) r = broken(a, path, e);
	(void)tar.archive_write_free(a);
	if (!r && fsync(fd) && errno != EINVAL)
		r = fail(e, -errno, "%s: %s", path, strerror(errno));
	if (r) (void)unlink(path);
	return r;
}
