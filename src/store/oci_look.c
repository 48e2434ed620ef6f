/* What an image in a folder is made of: image-spec 1.1 (image-layout.md, image-index.md,
 * manifest.md, config.md), or the manifest.json of `docker save`. Files are opened beneath the
 * folder only; each number and name in them is checked here, so that who copies them afterwards
 * need not. */
#include "base/buf.h"
#include "base/own.h"
#include "base/text.h"
#include "base/types.h"
#include "store/blob.h"
#include "store/oci_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { TEXT_MOST = 4 << 20, DEPTH = 32, NESTED = 3 };
#define MANIFEST   "application/vnd.oci.image.manifest.v1+json"
#define INDEX	   "application/vnd.oci.image.index.v1+json"
#define D_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define D_INDEX	   "application/vnd.docker.distribution.manifest.list.v2+json"

void oci_found_done(struct oci_found *f)
{
	free(f->ref);
	free(f->arch);
	free(f->os);
	image_done(&f->im);
}

/* ---- JSON in the folder */

static int open_in(int folder, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	return (int)syscall(SYS_openat2, folder, path, &how, sizeof(how));
}
int oci_look_open(int folder, const char *path, struct err *e)
{
	struct stat st;
	auto_fd int fd = open_in(folder, path);
	if (fd < 0 && errno == EXDEV)
		return fail(e, -EINVAL, "%.120s: it leads out of the image", path);
	if (fd < 0 || fstat(fd, &st)) return fail(e, -errno, "%.120s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode)) return fail(e, -EINVAL, "%.120s: not a file", path);
	return give_fd(&fd);
}
static int text_of(int folder, const char *path, struct buf *to, struct err *e)
{
	struct stat st;
	auto_fd int fd = oci_look_open(folder, path, e);
	if (fd < 0) return fd;
	must(!fstat(fd, &st));
	if (st.st_size > TEXT_MOST) return fail(e, -EFBIG, "%.120s: too long", path);
	char *p = buf_room(to, (size_t)st.st_size);
	ssize_t n = st.st_size ? pread(fd, p, (size_t)st.st_size, 0) : 0;
	return n == st.st_size ? 0 : fail(e, -EIO, "%.120s: it cannot be read", path);
}
static int json_of(int folder, const char *path, struct json_object **out, struct err *e)
{
	auto_buf struct buf b = {0};
	int r = text_of(folder, path, &b, e);
	if (r) return r;
	struct json_tokener *t = json_tokener_new_ex(DEPTH);
	must(t);
	json_tokener_set_flags(t, JSON_TOKENER_VALIDATE_UTF8);
	*out = json_tokener_parse_ex(t, b.at ? b.at : "", (int)b.len);
	json_tokener_free(t);
	return *out ? 0 : fail(e, -EINVAL, "%.120s: not JSON", path);
}
static struct json_object *get(struct json_object *o, const char *key, enum json_type type)
{
	struct json_object *v = NULL;
	bool there = json_object_is_type(o, json_type_object) &&
		     json_object_object_get_ex(o, key, &v) && json_object_is_type(v, type);
	return there ? v : NULL;
}
/* Text without control characters; NULL: none. */
static const char *text(struct json_object *o, const char *key)
{
	const char *s = json_object_get_string(get(o, key, json_type_string));
	for (const char *p = s; p && *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127) return NULL;
	return s;
}
static struct json_object *at(struct json_object *list, size_t k)
{
	return json_object_array_get_idx(list, k);
}
static size_t count(struct json_object *list) { return list ? json_object_array_length(list) : 0; }
static char *copy(const char *s)
{
	char *c = s ? strdup(s) : NULL;
	must(c || !s);
	return c;
}
/* The 64 digits of "sha256:..."; NULL: it is no such digest. */
static const char *hex_of(const char *digest)
{
	bool known = digest && !strncmp(digest, "sha256:", 7) && blob_digest_ok(digest + 7);
	return known ? digest + 7 : NULL;
}

/* ---- a layout */

/* What a descriptor names, in the folder; its contents are what it says. */
static int blob_of(struct oci_found *f, struct json_object *descriptor, struct image_file *to,
		   struct err *e)
{
	struct stat st;
	const char *hex = hex_of(text(descriptor, "digest"));
	int64_t size = json_object_get_int64(get(descriptor, "size", json_type_int));
	if (!hex) return fail(e, -EINVAL, "a digest that is not one of sha256");
	to->path = text_format("blobs/sha256/%s", hex);
	to->digest = copy(hex);
	to->size = (uint64_t)size;
	auto_fd int fd = oci_look_open(f->folder, to->path, e);
	if (fd < 0) return fd;
	if (fstat(fd, &st) || st.st_size != size)
		return fail(e, -EINVAL, "%s: has not the size that the image says", to->path);
	return 0;
}
static int checked_json(struct oci_found *f, struct json_object *descriptor,
			struct json_object **out, struct err *e)
{
	struct image_file at = {0};
	char digest[BLOB_DIGEST], self[64];
	uint64_t size;
	int r = blob_of(f, descriptor, &at, e);
	auto_fd int fd = r ? -1 : open_in(f->folder, at.path);
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (!r) r = blob_digest(self, digest, &size, e);
	if (!r && strcmp(digest, at.digest) != 0)
		r = fail(e, -EINVAL, "%s: its contents are not those", at.path);
	if (!r) r = json_of(f->folder, at.path, out, e);
	free(at.path);
	free(at.digest);
	return r;
}
static bool is_for(struct json_object *platform, const char *arch)
{
	const char *is = text(platform, "architecture"), *os = text(platform, "os");
	return is && os && !strcmp(os, "linux") && !strcmp(is, arch);
}
/* The manifest for one of these CPUs; or the only one there is. */
static struct json_object *choose(struct json_object *list, const char *const *arch)
{
	for (; *arch; arch++)
		for (size_t k = 0; k < count(list); k++)
			if (is_for(get(at(list, k), "platform", json_type_object), *arch))
				return at(list, k);
	return count(list) == 1 ? at(list, 0) : NULL;
}
static int take_layer(struct oci_found *f, struct json_object *descriptor, struct image_file *to,
		      struct err *e)
{
	const char *type = text(descriptor, "mediaType");
	size_t n = type ? strlen(type) : 0;
	if (n < 3) return fail(e, -EINVAL, "a layer without a media type");
	bool gzip = !strcmp(type + n - 3, "zip"), zstd = !strcmp(type + n - 4, "zstd");
	if (!strstr(type, "tar") || strstr(type, "encrypted"))
		return fail(e, -EINVAL, "a layer of a kind that is not known: %.100s", type);
	to->format = copy(zstd ? "tar+zstd" : gzip ? "tar+gzip" : "tar");
	return blob_of(f, descriptor, to, e);
}
static int room_for(struct oci_found *f, size_t n, struct err *e)
{
	if (n > IMAGE_LAYERS) return fail(e, -EFBIG, "more than %d layers", IMAGE_LAYERS);
	f->im.layer = calloc(n + 1, sizeof(*f->im.layer));
	must(f->im.layer);
	f->im.nlayers = (unsigned)n;
	return 0;
}
static int take_manifest(struct oci_found *f, struct json_object *m, struct err *e)
{
	struct json_object *list = get(m, "layers", json_type_array);
	struct json_object *config = get(m, "config", json_type_object);
	if (!list || !config) return fail(e, -EINVAL, "manifest: without config or layers");
	int r = blob_of(f, config, &f->im.config, e);
	if (!r) r = room_for(f, count(list), e);
	for (unsigned k = 0; !r && k < f->im.nlayers; k++)
		r = take_layer(f, at(list, k), &f->im.layer[k], e);
	return r;
}
static int take_index(struct oci_found *f, struct json_object *index, const char *const *arch,
		      unsigned depth, struct err *e)
{
	struct json_object *one = choose(get(index, "manifests", json_type_array), arch), *next;
	if (!one)
		return fail(e, -ENOENT, "it has no image for %s, or several: say which with --arch",
			    arch[0]);
	const char *type = text(one, "mediaType");
	const char *ref = text(get(one, "annotations", json_type_object),
			       "org.opencontainers.image.ref.name");
	if (ref && !f->ref) f->ref = copy(ref);
	int r = checked_json(f, one, &next, e);
	if (r) return r;
	bool nested = type ? !strcmp(type, INDEX) || !strcmp(type, D_INDEX)
			   : get(next, "manifests", json_type_array) != NULL;
	if (nested && depth == NESTED)
		r = fail(e, -EINVAL, "indexes within indexes");
	else
		r = nested ? take_index(f, next, arch, depth + 1, e) : take_manifest(f, next, e);
	json_object_put(next);
	return r;
}
static int look_layout(struct oci_found *f, const char *const *arch, struct err *e)
{
	struct json_object *o;
	int r = json_of(f->folder, "oci-layout", &o, e);
	if (r) return r;
	const char *version = text(o, "imageLayoutVersion");
	if (!version || strncmp(version, "1.", 2) != 0)
		r = fail(e, -EINVAL, "oci-layout: of a version that is not known");
	json_object_put(o);
	if (!r) r = json_of(f->folder, "index.json", &o, e);
	if (r) return r;
	r = take_index(f, o, arch, 0, e);
	json_object_put(o);
	return r;
}

/* ---- a docker-archive */

static int name_of(struct json_object *v, char **to, struct err *e)
{
	const char *s = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
	if (!*s || strlen(s) > 4000) return fail(e, -EINVAL, "manifest.json: a name that is none");
	*to = copy(s);
	return 0;
}
static int look_docker(struct oci_found *f, struct err *e)
{
	struct json_object *all, *one;
	int r = json_of(f->folder, "manifest.json", &all, e);
	if (r) return r;
	one = json_object_is_type(all, json_type_array) && count(all) == 1 ? at(all, 0) : NULL;
	struct json_object *list = get(one, "Layers", json_type_array);
	struct json_object *tags = get(one, "RepoTags", json_type_array);
	if (!list) r = fail(e, -EINVAL, "manifest.json: not one image with layers");
	if (!r) r = name_of(get(one, "Config", json_type_string), &f->im.config.path, e);
	if (!r) r = room_for(f, count(list), e);
	for (unsigned k = 0; !r && k < f->im.nlayers; k++)
		r = name_of(at(list, k), &f->im.layer[k].path, e);
	if (!r && count(tags)) r = name_of(at(tags, 0), &f->ref, e);
	json_object_put(all);
	return r;
}

/* ---- both */

static int take_config(struct oci_found *f, struct err *e)
{
	struct json_object *o;
	int r = json_of(f->folder, f->im.config.path, &o, e);
	if (r) return r;
	struct json_object *ids =
		get(get(o, "rootfs", json_type_object), "diff_ids", json_type_array);
	f->arch = copy(text(o, "architecture"));
	f->os = copy(text(o, "os"));
	if (!f->arch || !f->os) r = fail(e, -EINVAL, "config: for no CPU or system");
	if (!r && strcmp(f->os, "linux") != 0)
		r = fail(e, -EINVAL, "config: for %.40s, not for linux", f->os);
	if (!r && count(ids) != f->im.nlayers)
		r = fail(e, -EINVAL, "config: names %zu layers, there are %u", count(ids),
			 f->im.nlayers);
	for (unsigned k = 0; !r && k < f->im.nlayers; k++) {
		const char *hex = hex_of(json_object_get_string(at(ids, k)));
		f->im.layer[k].diff = copy(hex);
		if (!hex) r = fail(e, -EINVAL, "config: diff_ids: not of sha256");
	}
	json_object_put(o);
	return r;
}
int oci_look(struct oci_found *f, const char *const *arch, struct err *e)
{
	auto_fd int layout = open_in(f->folder, "oci-layout");
	auto_fd int docker = open_in(f->folder, "manifest.json");
	if (layout < 0 && docker < 0)
		return fail(e, -EINVAL,
			    "it is neither a layout of OCI (oci-layout) nor of docker save "
			    "(manifest.json)");
	int r = layout >= 0 ? look_layout(f, arch, e) : look_docker(f, e);
	return r ? r : take_config(f, e);
}
