/* --volume, with docker's habits: what has a slash or is a dot is a folder, anything else a volume
 * that is made when it is used first. A folder that is not there is an error, as a mistyped one
 * would become a new, empty folder otherwise. */
#include "cli/shares.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "guest/spec.h"
#include "store/store.h"
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PLACE_MAX = 200, WORDS_MAX = 1000 };

static bool is_folder(const char *from)
{
	return strchr(from, '/') || !strcmp(from, ".") || !strcmp(from, "..");
}

/* "ro,z": what means nothing here is taken for habit. */
static int options_parse(const char *text, bool *ro, struct err *e)
{
	static const char *const ignored[] = {"rw",	   "z",		 "Z",	  "cached",
					      "delegated", "consistent", "rbind", "rprivate"};
	char copy[64];
	if ((size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy)) copy[0] = 0;
	char *save, *word = strtok_r(copy, ",", &save);
	if (!word) return fail(e, -EINVAL, "--volume: '%s': there are ro and rw", text);
	for (; word; word = strtok_r(NULL, ",", &save)) {
		bool known = !strcmp(word, "ro");
		*ro |= known;
		for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
			known |= !strcmp(word, ignored[i]);
		if (!known) return fail(e, -EINVAL, "--volume: '%s': there are ro and rw", word);
	}
	return 0;
}

static int check_place(const char *to, struct err *e)
{
	if (to[0] != '/' || !to[strspn(to, "/")])
		return fail(e, -EINVAL,
			    "--volume: '%s': the place in the guest begins with / and is not all "
			    "of it",
			    to);
	if (strlen(to) > PLACE_MAX)
		return fail(e, -ENAMETOOLONG, "--volume: '%s': longer than %d bytes", to,
			    PLACE_MAX);
	char padded[PLACE_MAX + 2];
	(void)snprintf(padded, sizeof(padded), "%s/", to);
	if (strstr(padded, "/../"))
		return fail(e, -EINVAL, "--volume: '%s': '..' has no place in it", to);
	return 0;
}

/* Kernels take a command line apart at blanks and quotes: printf's %b puts it together again. */
void shares_encode(char *to, const char *from)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@,=";
	for (; *from; from++)
		to += sprintf(to, strchr(plain, *from) ? "%c" : "\\0%03o", (unsigned char)*from);
	*to = 0;
}

static int folder_find(struct share_words *w, const char *from, bool files, struct err *e)
{
	struct stat st;
	w->path = realpath(from, NULL);
	if (!w->path && errno == ENOENT)
		return fail(e, -ENOENT,
			    "--volume: %s: there is no such folder; make it first, or name a "
			    "volume, without '/'",
			    from);
	if (!w->path || stat(w->path, &st))
		return fail(e, -errno, "--volume: %s: %s", from, strerror(errno));
	if (!S_ISDIR(st.st_mode) && !files)
		return fail(e, -ENOTDIR, "--volume: %s: only folders can be shared, not files",
			    from);
	return 0;
}

static int source_find(struct share_words *w, struct store *store, const char *from, bool files,
		       struct err *e)
{
	if (is_folder(from)) return folder_find(w, from, files, e);
	return store_volume_use(store, from, &w->path, &w->lock, e);
}

static int add_one(struct shares *s, struct store *store, const char *asked, bool files, bool *ro,
		   struct err *e)
{
	struct share_words *w = &s->share[s->n];
	auto_mem char *copy = strdup(asked);
	must(copy);
	w->lock = -1;
	char *to = strchr(copy, ':'), *how;
	if (!to || to == copy)
		return fail(e, -EINVAL, "--volume: '%s' is not FOLDER:PLACE or NAME:PLACE", asked);
	*to++ = 0;
	if ((how = strchr(to, ':'))) *how++ = 0;
	int r = how ? options_parse(how, ro, e) : 0;
	if (!r) r = check_place(to, e);
	if (r) return r;
	shares_encode(w->to, to);
	must((w->place = strdup(to)));
	for (unsigned i = 0; i < s->n; i++)
		if (!strcmp(s->share[i].to, w->to))
			return fail(e, -EINVAL, "--volume: two for the same place %s", to);
	(void)snprintf(w->tag, sizeof(w->tag), "share%u", s->n++);
	return source_find(w, store, copy, files, e);
}

static int add_words(struct shares *s, struct spec *spec, struct err *e)
{
	size_t room = (spec->append ? strlen(spec->append) : 0) + WORDS_MAX + 1, len = 0;
	s->append = malloc(room);
	must(s->append);
	len = (size_t)snprintf(s->append, room, "%s", spec->append ? spec->append : "");
	for (unsigned i = 0; i < s->n && len < room; i++) {
		const char *before = len ? " " : "";
		size_t n = (size_t)snprintf(s->append + len, room - len, "%slodge.mount=%s:%s%s",
					    before, s->share[i].tag, s->share[i].to,
					    spec->share[i].readonly ? ":ro" : "");
		bool known =
			n < room - len && strstr(s->append, s->append + len) != s->append + len;
		if (known)
			s->append[len] = 0; /* it has come from another host with it */
		else
			len += n;
	}
	if (len >= room)
		return fail(e, -E2BIG, "--volume: the places in the guest are too long together");
	spec->append = s->append;
	return 0;
}

/* Of a container with a kernel of its own, behind the volumes. */
static void add_root(struct spec *s)
{
	const struct spec_words *w = &s->zone.layers;
	must(s->nshares < SPEC_SHARES && w->n);
	s->share[s->nshares++] = (struct spec_share){.path = w->at[w->n - 1],
						     .tag = "root",
						     .to = "/",
						     .readonly = !s->zone.rootfs,
						     .lock = -1,
						     .layers = w};
}

int shares_add(struct shares *s, struct store *store, struct spec *spec, struct err *e)
{
	int r = 0;
	for (unsigned i = 0; !r && i < spec->nvolumes; i++) {
		struct spec_share *to = &spec->share[i];
		r = add_one(s, store, spec->volume[i], spec_is_zone(spec), &to->readonly, e);
		to->path = s->share[i].path;
		to->tag = s->share[i].tag;
		to->to = s->share[i].place;
		to->lock = s->share[i].lock;
	}
	if (r) return r;
	spec->nshares = s->n;
	r = spec->kernel && s->n ? add_words(s, spec, e) : 0;
	if (spec->zone.own_kernel) add_root(spec);
	return r;
}

/* The machine by its boot, each folder by device and number. */
static void add_places(const struct shares *s, struct buf *to)
{
	auto_buf struct buf boot = {0};
	struct stat st;
	(void)file_read(&boot, "/proc/sys/kernel/random/boot_id", 64, NULL);
	buf_add(to, boot.at, boot.len);
	for (unsigned i = 0; i < s->n; i++)
		if (stat(s->share[i].path, &st))
			buf_fmt(to, " nowhere");
		else
			buf_fmt(to, " %llx:%llx", (unsigned long long)st.st_dev,
				(unsigned long long)st.st_ino);
}

void shares_digest(const struct shares *s, const struct spec *spec, bool any,
		   char to[SHARES_DIGEST])
{
	auto_buf struct buf b = {0};
	uint8_t sum[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	if (!any) add_places(s, &b);
	for (unsigned i = 0; i < spec->nvolumes; i++) {
		buf_add(&b, "", 1);
		buf_add(&b, spec->volume[i], strlen(spec->volume[i]));
	}
	must(EVP_Digest(b.at, b.len, sum, &n, EVP_sha256(), NULL) && n == (SHARES_DIGEST - 1) / 2);
	for (unsigned i = 0; i < n; i++) (void)snprintf(to + (size_t)2 * i, 3, "%02x", sum[i]);
}

void shares_done(struct shares *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		free(s->share[i].path);
		free(s->share[i].place);
		drop_fd(&s->share[i].lock);
	}
	free(s->append);
	*s = (struct shares){0};
}
