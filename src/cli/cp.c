/* lodge cp: files between here and a running guest. Tar in the guest is one end of a stream and
 * store/tree.c the other; a thread carries it through a session. Which place is meant when there is
 * a folder, or nothing, is as docker has it. */
#include "base/log.h"
#include "base/own.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "guest/look.h"
#include "store/store.h"
#include "store/tree.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum place { NOTHING, A_FILE, A_FOLDER };
struct copy {
	char guest[64];
	char *inside;	     /* absolute */
	const char *outside; /* as typed */
};
struct carried {
	struct session s;
	struct err why;
	int code;
};

/* ---- names ---- */
static bool ends_in(const char *path, const char *end)
{
	size_t n = strlen(path), m = strlen(end);
	return n >= m && !strcmp(path + n - m, end);
}
/* What is meant are the things in a folder, not itself. */
static bool means_contents(const char *path)
{
	return ends_in(path, "/.") || !strcmp(path, ".") || path[strspn(path, "/")] == 0;
}

/* Its last part, and what is before that: both the caller's. */
static void split(const char *path, char **dir, char **base)
{
	size_t n = strlen(path);
	while (n > 1 && path[n - 1] == '/') n--;
	size_t at = n;
	while (at && path[at - 1] != '/') at--;
	*base = strndup(path + at, n - at);
	*dir = at ? strndup(path, at) : strdup(".");
	must(*dir && *base);
}

/* GUEST:PATH; false: no name of a guest is in front. */
static bool is_inside(const char *word)
{
	const char *colon = strchr(word, ':');
	return colon && colon != word && *word != '.' && *word != '/' &&
	       !memchr(word, '/', (size_t)(colon - word));
}

static int name_guest(struct copy *c, const char *word, struct err *e)
{
	char *given = strndup(word, strcspn(word, ":"));
	struct store *s = NULL;
	const char *path = strchr(word, ':') + 1;
	must(given && asprintf(&c->inside, "%s%s", *path == '/' ? "" : "/", path) > 0);
	int r = store_open(&s, NULL, e);
	if (!r) r = look_find(s, given, c->guest, e);
	store_close(s);
	free(given);
	return r;
}

/* ---- the session ---- */
static void *carry(void *ctx)
{
	struct carried *c = ctx;
	c->code = session_run(&c->s, &c->why);
	if (c->s.in >= 0) (void)close(c->s.in);
	if (c->s.out != STDERR_FILENO) (void)close(c->s.out);
	return NULL;
}

/* What tar could not do it has said itself. */
static int carried(const struct carried *c, int mine, struct err *e)
{
	if (c->code < 0) return *e = c->why, c->code;
	if (c->code == 127) return fail(e, -ENOENT, "guest %s has no tar", c->s.guest);
	if (c->code && c->code != 128 + 13)
		return fail(e, -EIO, "tar in guest %s failed with code %d", c->s.guest, c->code);
	return mine;
}

/* What is at a path inside. */
static int look_inside(const struct copy *c, const char *path, enum place *is, struct err *e)
{
	const char *const argv[] = {
		"sh", "-c", "[ -d \"$1\" ] && exit 12; [ -e \"$1\" ] && exit 11; exit 10",
		"sh", path, NULL};
	struct session s = {.guest = c->guest,
			    .argv = argv,
			    .in = -1,
			    .out = STDERR_FILENO,
			    .err = STDERR_FILENO,
			    .plain = true};
	int code = session_run(&s, e);
	if (code < 0) return code;
	if (code < 10 || code > 12) return fail(e, -EIO, "guest %s has no shell", c->guest);
	*is = code == 12 ? A_FOLDER : code == 11 ? A_FILE : NOTHING;
	return 0;
}

/* ---- to here ---- */
struct target {
	enum place is;
	const char *path;
	bool contents;
};

static enum place look_here(const char *path)
{
	struct stat st;
	if (stat(path, &st)) return NOTHING;
	return S_ISDIR(st.st_mode) ? A_FOLDER : A_FILE;
}

static int fits(void *ctx, bool is_folder, struct err *e)
{
	const struct target *t = ctx;
	if (is_folder && t->is == A_FILE)
		return fail(e, -ENOTDIR, "%s is no folder, but a folder comes", t->path);
	if (!is_folder && t->is == NOTHING && ends_in(t->path, "/"))
		return fail(e, -ENOENT, "%s: there is no such folder", t->path);
	return 0;
}

static int receive(struct copy *c, struct carried *k, struct tree_unpack *u, struct err *e)
{
	int ends[2];
	pthread_t thread;
	if (pipe2(ends, O_CLOEXEC)) return fail(e, -errno, "pipe: %s", strerror(errno));
	k->s = (struct session){.guest = c->guest,
				.argv = k->s.argv,
				.in = -1,
				.out = ends[1],
				.err = STDERR_FILENO,
				.bulk = true,
				.plain = true};
	must(!pthread_create(&thread, NULL, carry, k));
	int r = tree_unpack(ends[0], u, e);
	(void)close(ends[0]);
	must(!pthread_join(thread, NULL));
	if (r == -ENODATA || !r) r = carried(k, r, e);
	if (!r && u->skipped) log_say("%u devices, pipes or sockets were left out", u->skipped);
	return r;
}

static int copy_out(struct copy *c, struct err *e)
{
	auto_mem char *dir = NULL, *base = NULL, *to_dir = NULL, *to = NULL;
	struct target t = {look_here(c->outside), c->outside, means_contents(c->inside)};
	split(c->inside, &dir, &base);
	split(c->outside, &to_dir, &to);
	const char *of = t.contents ? c->inside : dir, *what = t.contents ? "." : base;
	const char *const argv[] = {"tar", "-cf", "-", "-C", of, "--", what, NULL};
	struct carried k = {.s.argv = argv};
	bool into = t.is == A_FOLDER;
	auto_fd int folder = open(into ? c->outside : to_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return fail(e, -errno, "%s: %s", into ? c->outside : to_dir, strerror(errno));
	struct tree_unpack u = {.folder = folder,
				.top = !into	    ? to
				       : t.contents ? ""
						    : base,
				.first = fits,
				.ctx = &t};
	return receive(c, &k, &u, e);
}

/* ---- to there ---- */
static int send_tree(struct copy *c, const char *dir, const char *top, struct err *e)
{
	int ends[2];
	pthread_t thread;
	const char *const argv[] = {"tar", "-xf", "-", "-C", dir, NULL};
	if (pipe2(ends, O_CLOEXEC)) return fail(e, -errno, "pipe: %s", strerror(errno));
	struct carried k = {.s = {.guest = c->guest,
				  .argv = argv,
				  .in = ends[0],
				  .out = STDERR_FILENO,
				  .err = STDERR_FILENO,
				  .bulk = true,
				  .plain = true}};
	must(!pthread_create(&thread, NULL, carry, &k));
	int r = tree_pack(ends[1], c->outside, top, e);
	(void)close(ends[1]);
	must(!pthread_join(thread, NULL));
	return !r || r == -EPIPE ? carried(&k, r, e) : r;
}

static int copy_in(struct copy *c, struct err *e)
{
	auto_mem char *dir = NULL, *base = NULL, *from_dir = NULL, *from = NULL;
	struct stat st;
	enum place there = NOTHING;
	if (lstat(c->outside, &st)) return fail(e, -errno, "%s: %s", c->outside, strerror(errno));
	bool folder = S_ISDIR(st.st_mode), contents = folder && means_contents(c->outside);
	int r = look_inside(c, c->inside, &there, e);
	if (r) return r;
	if (folder && there == A_FILE)
		return fail(e, -ENOTDIR, "%s:%s is no folder, but %s is", c->guest, c->inside,
			    c->outside);
	if (!folder && there == NOTHING && ends_in(c->inside, "/"))
		return fail(e, -ENOENT, "%s:%s: there is no such folder", c->guest, c->inside);
	split(c->inside, &dir, &base);
	split(c->outside, &from_dir, &from);
	if (there == A_FOLDER) return send_tree(c, c->inside, contents ? "." : from, e);
	return send_tree(c, dir, base, e);
}

static int cp_run(const struct call *call, struct err *e)
{
	struct copy c = {.inside = NULL};
	bool out = is_inside(call->args[0]), in = is_inside(call->args[1]);
	if (out == in)
		return fail(e, -EINVAL,
			    out ? "cp: between two guests: copy to here first"
				: "cp: one of the two is in a guest: GUEST:PATH");
	c.outside = call->args[out];
	if (!*c.outside) return fail(e, -EINVAL, "cp: '' is no path");
	int r = name_guest(&c, call->args[!out], e);
	if (!r) r = out ? copy_out(&c, e) : copy_in(&c, e);
	free(c.inside);
	return r;
}

const struct verb verb_cp = {
	.name = "cp",
	.args = "SOURCE DEST",
	.summary = "Copy files between here and a running guest",
	.text = "One of the two is GUEST:PATH. A folder is copied with all in it. If DEST is a "
		"folder\n"
		"SOURCE is copied into it, and if SOURCE ends in '/.' only what is in it; if DEST "
		"is not\n"
		"there it is made. Links stay links; files are then the user's here, and root's "
		"there.\n"
		"What comes from a guest never gets out of DEST. The guest needs tar.",
	.examples = "lodge cp web:/etc/motd .\n"
		    "lodge cp ./site/. web:/var/www",
	.min_args = 2,
	.max_args = 2,
	.completes = "guest",
	.run = cp_run,
};
