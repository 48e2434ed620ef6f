/* lodge media: the disc of a running guest's CD drive. Its monitor opens no files any more, so the
 * file goes there opened, and locked as a disk that is read. */
#include "base/buf.h"
#include "base/own.h"
#include "base/pass.h"
#include "blk/lock.h"
#include "cli/cli.h"
#include "cli/kept.h"
#include "guest/control.h"
#include "guest/discs.h"
#include "guest/look.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct media_opts {
	unsigned drive;
	bool force;
};
static const struct opt media_table[] = {
	{"drive", 0, OPT_NUMBER, offsetof(struct media_opts, drive), "N",
	 "Which of its CD drives, in the order of its command line (1).", NULL},
	{"force", 'f', OPT_FLAG, offsetof(struct media_opts, force), NULL,
	 "Even if the guest has locked the tray.", NULL},
	{0},
};
static const struct media_opts media_defaults = {.drive = 1};

static int not_running(int r, const char *name, struct err *e)
{
	if (r != -ENOENT) return r;
	return fail(e, r, "guest %s does not run: its discs are those it is started with", name);
}

/* {} or {"error": WORDS}, when it has been done. */
static int result(int fd, const char *name, struct err *e)
{
	char text[1024];
	ssize_t n;
	do n = read(fd, text, sizeof(text) - 1);
	while (n < 0 && errno == EINTR);
	text[n > 0 ? n : 0] = 0;
	return kept_result(name, text, -EIO, "it ended meanwhile", e);
}

/* Its folder, and nobody else changes discs while that lock is held; -1 each: it is not kept. */
static int hold(struct store *s, const char *name, int *folder, int *lock, struct err *e)
{
	*lock = -1;
	if (store_guest_look(s, name, folder, NULL)) {
		*folder = -1;
		return 0;
	}
	*lock = discs_lock(*folder, e);
	return *lock < 0 ? *lock : 0;
}

/* A snapshot has to find the file again, from wherever it is restored. */
static int note(int folder, unsigned drive, const char *path, struct err *e)
{
	auto_mem char *whole = realpath(path, NULL);
	if (folder < 0) return 0;
	return discs_note(folder, drive, whole ? whole : path, e);
}

static int insert(const char *name, const char *words, const char *path, struct err *e)
{
	char request[64];
	int stream = -1;
	auto_fd int disc = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (disc < 0) return fail(e, -errno, "%s: %s", path, strerror(errno));
	int r = lock_take(disc, LOCK_READS, e);
	if (r) return fail_in(e, "%s", path);
	(void)snprintf(request, sizeof(request), "insert %s", words);
	r = control_stream(name, request, &stream, NULL, e);
	if (r) return not_running(r, name, e);
	auto_fd int fd = stream;
	if (!pass_send(fd, "", 1, disc)) return fail(e, -EPIPE, "guest %s: it has ended", name);
	return result(fd, name, e);
}

static int eject(const char *name, const char *words, struct err *e)
{
	char request[64];
	(void)snprintf(request, sizeof(request), "eject %s", words);
	return not_running(control_call(name, request, NULL, NULL, e), name, e);
}

static int words_check(const struct call *c, struct err *e)
{
	bool in = !strcmp(c->args[1], "insert");
	if (!in && strcmp(c->args[1], "eject") != 0)
		return fail(e, -EINVAL, "media: '%s': insert FILE, or eject", c->args[1]);
	if (in == (c->nargs == 3)) return 0;
	return fail(e, -EINVAL, in ? "media: insert which file?" : "media: eject takes no file");
}

static int change(const struct call *c, struct store *s, const char *name, struct err *e)
{
	const struct media_opts *o = c->opts;
	char words[32];
	auto_fd int folder = -1, lock = -1;
	(void)snprintf(words, sizeof(words), "%u%s", o->drive, o->force ? " force" : "");
	if (c->nargs != 3) return eject(name, words, e);
	int r = hold(s, name, &folder, &lock, e);
	if (!r) r = insert(name, words, c->args[2], e);
	return r ? r : note(folder, o->drive, c->args[2], e);
}

static int media_run(const struct call *c, struct err *e)
{
	struct store *s = NULL;
	char name[64];
	int r = words_check(c, e);
	if (!r) r = store_open(&s, NULL, e);
	if (!r) r = look_find(s, c->args[0], name, e);
	if (!r) r = change(c, s, name, e);
	if (!r) printf("%s\n", name);
	store_close(s);
	return r;
}

const struct verb verb_media = {
	.name = "media",
	.args = "GUEST insert FILE | eject",
	.summary = "Change the disc in a running guest's CD drive",
	.text = "FILE is an image of a CD or DVD (.iso). The guest hears of it as of a real "
		"drive's. "
		"A tray\n"
		"that it has locked, as Linux does with a mounted disc, stays closed, and it is "
		"asked "
		"to\n"
		"let go. At its next start it has the discs again that it is started with. "
		"Snapshots\n"
		"know which disc was in, by the file's name: it has to be there when one is "
		"restored.\n"
		"A guest that moves takes its discs along.",
	.examples = "lodge media web insert drivers.iso\n"
		    "lodge media web eject --drive 2",
	.opts = media_table,
	.defaults = &media_defaults,
	.size = sizeof(media_defaults),
	.min_args = 2,
	.max_args = 3,
	.completes = "guest",
	.run = media_run,
};
