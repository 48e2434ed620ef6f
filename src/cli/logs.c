/* lodge logs: what a kept guest wrote to its console. The log is a file and an older one; followed,
 * it is read on until the guest ends, and into the new file when the old one is put aside. */
#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "cli/cli.h"
#include "cli/plain.h"
#include "guest/console.h"
#include "guest/look.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct logs_opts {
	bool follow, raw, monitor;
	const char *tail;
};
#define AT(member) offsetof(struct logs_opts, member)
static const struct opt logs_table[] = {
	{"follow", 'f', OPT_FLAG, AT(follow), NULL, "Go on as long as the guest runs.", NULL},
	{"monitor", 0, OPT_FLAG, AT(monitor), NULL,
	 "What its monitor had to say since it was started in the background, instead.", NULL},
	{"raw", 0, OPT_FLAG, AT(raw), NULL,
	 "Every byte as it is, to a terminal too: it may do anything to that.", NULL},
	{"tail", 'n', OPT_TEXT, AT(tail), "LINES", "Only the last lines (all).", "all"},
	{0},
};
static const struct logs_opts logs_defaults;

struct logs {
	int dirfd, fd; /* the folder; the file that is read, -1: none */
	const char *file;
	bool raw;
	struct plain plain;
};

static void show(struct logs *l, const void *p, size_t n)
{
	if (l->raw)
		(void)fwrite(p, 1, n, stdout);
	else
		plain_put(&l->plain, p, n, stdout);
}

static int open_in(const struct logs *l, const char *name)
{
	return openat(l->dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

static void read_to(int fd, struct buf *to)
{
	char some[64 * 1024];
	ssize_t n;
	while (fd >= 0 && (n = read(fd, some, sizeof(some))) != 0) {
		if (n < 0 && errno != EINTR) return;
		if (n > 0) buf_add(to, some, (size_t)n);
		if (to->len > 4 * CONSOLE_LOG) return;
	}
}

/* Where the last n lines begin. */
static size_t tail_at(const struct buf *b, unsigned long n)
{
	size_t at = b->len;
	if (at && b->at[at - 1] == '\n') at--;
	if (!n) return b->len;
	while (at) {
		if (b->at[at - 1] == '\n' && !--n) break;
		at--;
	}
	return at;
}

static int tail_parse(unsigned long *to, const char *text, struct err *e)
{
	*to = ~0ul;
	if (!text || !strcmp(text, "all")) return 0;
	if (!*text || strlen(text) > 9 || text[strspn(text, "0123456789")])
		return fail(e, -EINVAL, "--tail: '%s' is neither a number of lines nor all", text);
	*to = strtoul(text, NULL, 10);
	return 0;
}

static void show_past(struct logs *l, unsigned long lines)
{
	auto_buf struct buf b = {0};
	auto_fd int older = strcmp(l->file, "console.log") ? -1 : open_in(l, "console.log.1");
	l->fd = open_in(l, l->file);
	read_to(older, &b);
	read_to(l->fd, &b);
	size_t at = tail_at(&b, lines);
	if (b.len > at) show(l, b.at + at, b.len - at);
}

static void show_more(struct logs *l)
{
	auto_buf struct buf b = {0};
	read_to(l->fd, &b);
	if (b.len) show(l, b.at, b.len);
}

/* Another file has the name: what is left of the old one was there before that. */
static void turn(struct logs *l)
{
	struct stat now, old;
	bool there = !fstatat(l->dirfd, l->file, &now, AT_SYMLINK_NOFOLLOW);
	if (!there || (l->fd >= 0 && !fstat(l->fd, &old) && old.st_ino == now.st_ino)) return;
	show_more(l);
	drop_fd(&l->fd);
	l->fd = open_in(l, l->file);
}

static void follow(struct logs *l, const char *name)
{
	const struct timespec moment = {.tv_nsec = 100000000};
	struct guest_state st;
	do {
		(void)fflush(stdout);
		(void)nanosleep(&moment, NULL);
		look_state(&st, name, l->dirfd);
		show_more(l);
		turn(l);
	} while (life_runs(st.life) && !ferror(stdout));
	show_more(l);
}

static int logs_run(const struct call *c, struct err *e)
{
	const struct logs_opts *o = c->opts;
	char name[64];
	unsigned long lines;
	struct store *s = NULL;
	struct logs l = {.dirfd = -1, .fd = -1, .raw = o->raw || !isatty(STDOUT_FILENO)};
	l.file = o->monitor ? "monitor.log" : "console.log";
	int r = tail_parse(&lines, o->tail, e);
	if (!r) r = store_open(&s, NULL, e);
	if (!r) r = look_find(s, c->args[0], name, e);
	if (!r && !strncmp(name, GUEST_NAMELESS, strlen(GUEST_NAMELESS)))
		r = fail(e, -ENOTSUP, "guest %s has no log: it is not kept", name);
	if (!r) r = store_guest_look(s, name, &l.dirfd, e);
	if (!r) {
		show_past(&l, lines);
		if (o->follow) follow(&l, name);
		plain_end(&l.plain, stdout);
	}
	drop_fd(&l.fd);
	drop_fd(&l.dirfd);
	store_close(s);
	return r;
}

const struct verb verb_logs = {
	.name = "logs",
	.args = "GUEST",
	.summary = "Show what a kept guest wrote to its console",
	.text = "Of all its runs, but no more than the last 1 to 2 MiB. To a terminal, bytes that\n"
		"could do something to it are shown as \\xNN.",
	.examples = "lodge logs --tail 20 -f web",
	.opts = logs_table,
	.defaults = &logs_defaults,
	.size = sizeof(logs_defaults),
	.min_args = 1,
	.max_args = 1,
	.completes = "guest",
	.run = logs_run,
};
