/* lodge receive: the other end of lodge move, started there by ssh, and spoken to through its input
 * and output. It makes a folder of what the guest is built of, and then a monitor, which takes the
 * rest. Nothing of it is a guest before the source has given it up. */
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/own.h"
#include "cli/cli.h"
#include "cli/kept.h"
#include "cli/move.h"
#include "guest/arrival.h"
#include "guest/network.h"
#include "guest/tags.h"
#include "store/store.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { HELLO_SECONDS = 60, FILE_SECONDS = 60 };
enum { OWN_PATH = sizeof(SPEC_OWN) + 16 };
#define FILE_MOST (1ull << 31)

struct receive {
	struct link *link;
	struct hello hello;
	struct kept kept;
	struct arrival arrival;
	bool gone;	     /* one of that id was here, and has moved away */
	const char *folders; /* the digest of those that it may have here; NULL: none */
	int file[HELLO_FILES];
};

/* ---- may it come */
static bool has_snapshots(const struct receive *r)
{
	auto_mem char *path = NULL;
	must(asprintf(&path, "%s/guests/%s/snapshots/current", store_root(r->kept.store),
		      r->hello.name) > 0);
	return file_exists(path);
}

static int check_name(struct receive *r, struct err *e)
{
	struct record was;
	struct guest_state st;
	const char *name = r->hello.name;
	int fd;
	if (store_guest_look(r->kept.store, name, &fd, NULL)) return 0;
	auto_fd int dirfd = fd;
	state_read(&st, dirfd);
	if (record_read(&was, dirfd, NULL) == 0) {
		r->gone = !strcmp(was.id, r->hello.record.id) && st.life == LIFE_MOVED;
		record_done(&was);
	}
	if (r->gone && has_snapshots(r))
		return fail(e, -EEXIST,
			    "guest %s has snapshots here from before it moved; remove them first: "
			    "lodge rm %s",
			    name, name);
	return r->gone ? 0 : fail(e, -EEXIST, "there is a guest named '%s' already", name);
}

static int check_spec(const struct spec *s, struct err *e)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < s->nnets; i++) r = network_check(s->net[i], e);
	return r;
}

/* A volume that is not here would be made, and be empty. */
static int check_volumes(const struct receive *r, struct err *e)
{
	const struct spec *s = &r->hello.record.spec;
	int bad = 0;
	for (unsigned i = 0; !bad && i < s->nvolumes; i++) {
		auto_mem char *name = strndup(s->volume[i], strcspn(s->volume[i], ":"));
		struct volume v = {0};
		must(name);
		if (!strchr(name, '/')) bad = store_volume_find(r->kept.store, name, &v, e);
		volume_done(&v);
	}
	return bad;
}

static int check_shares(struct receive *r, struct err *e)
{
	char here[SHARES_DIGEST], any[SHARES_DIGEST];
	struct spec s = r->hello.record.spec;
	struct shares shares = {0};
	if (!s.nvolumes) return 0;
	s.append = NULL;
	int bad = check_volumes(r, e);
	if (!bad) bad = shares_add(&shares, r->kept.store, &s, e);
	if (!bad) shares_digest(&shares, &s, false, here);
	shares_done(&shares);
	if (bad) return fail_in(e, "its shared folders");
	shares_digest(&shares, &s, true, any);
	if (r->folders && (!strcmp(r->folders, here) || !strcmp(r->folders, any))) return 0;
	return fail(e, -EOPNOTSUPP,
		    "its shared folders do not move, and are others there. If what it needs is "
		    "there under the same names: lodge move --shared");
}

static int hear(struct receive *r, struct err *e)
{
	struct link_frame f;
	int bad = link_recv(r->link, &f, HELLO_SECONDS, e);
	if (bad) return bad;
	if (f.type != LINK_HELLO) return fail(e, -EPROTO, "nobody says who comes");
	if (f.arg != LINK_VERSION)
		return fail(e, -EPROTONOSUPPORT,
			    "this Lodge knows version %d of moving, that one speaks %llu: use the "
			    "same on both",
			    LINK_VERSION, (unsigned long long)f.arg);
	bad = hello_parse(&r->hello, f.at, f.len, e);
	if (!bad) bad = check_spec(&r->hello.record.spec, e);
	if (!bad) bad = check_shares(r, e);
	return bad ? bad : check_name(r, e);
}

/* ---- its folder */
static int file_make(const struct receive *r, const char *name, uint64_t size, struct err *e)
{
	int fd = openat(r->kept.folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)size))
		return fail(e, -errno, "%s: %s", name, strerror(errno));
	return fd;
}

static int disks_make(struct receive *r, struct err *e)
{
	const struct hello *h = &r->hello;
	for (unsigned i = 0; i < h->record.spec.ndisks; i++) {
		char name[16];
		(void)snprintf(name, sizeof(name), "disk%u", i);
		r->arrival.disk[i] = file_make(r, name, h->disk[i], e);
		if (r->arrival.disk[i] < 0) return r->arrival.disk[i];
	}
	return 0;
}

static int files_make(struct receive *r, struct err *e)
{
	for (unsigned i = 0; i < HELLO_FILES; i++) {
		if (r->hello.file[i] > FILE_MOST)
			return fail(e, -EFBIG, "its %s is too large", hello_files[i]);
		if (!r->hello.file[i]) continue;
		r->file[i] = file_make(r, hello_files[i], r->hello.file[i], e);
		if (r->file[i] < 0) return r->file[i];
	}
	return 0;
}

static int file_take(struct receive *r, const struct link_frame *f, struct err *e)
{
	uint64_t n = f->arg >> 48, at = f->arg & ((1ull << 48) - 1);
	if (n >= HELLO_FILES || r->file[n] < 0 || at + f->len > r->hello.file[n])
		return fail(e, -EPROTO, "a file comes that was not told of");
	return pwrite(r->file[n], f->at, f->len, (off_t)at) == (ssize_t)f->len
		       ? 0
		       : fail(e, -errno, "%s: %s", hello_files[n], strerror(errno));
}

static int files_take(struct receive *r, struct err *e)
{
	struct link_frame f;
	int bad;
	while ((bad = link_recv(r->link, &f, FILE_SECONDS, e)) == 0 && f.type != LINK_BUILD) {
		bad = f.type == LINK_FILE ? file_take(r, &f, e)
					  : fail(e, -EPROTO, "its boot files are incomplete");
		if (bad) break;
	}
	for (unsigned i = 0; !bad && i < HELLO_FILES; i++)
		if (r->file[i] >= 0 && fsync(r->file[i]))
			bad = fail(e, -errno, "%s: %s", hello_files[i], strerror(errno));
	return bad;
}

/* All paths are of its own folder; what names other files of the source's host is gone. */
static void spec_own(struct receive *r, struct spec *s, char paths[SPEC_DISKS][OWN_PATH])
{
	const uint64_t *has = r->hello.file;
	s->image = s->dump = s->symbols = s->trace = s->trace_file = NULL;
	s->profile = false;
	s->kernel = has[0] ? SPEC_OWN "kernel" : NULL;
	s->initrd = has[1] ? SPEC_OWN "initrd" : NULL;
	s->firmware = has[2] ? SPEC_OWN "firmware" : NULL;
	s->vars = has[3] ? SPEC_OWN TAG_VARS : NULL;
	for (unsigned i = 0; i < s->ndisks; i++) {
		(void)snprintf(paths[i], OWN_PATH, SPEC_OWN "disk%u", i);
		s->disk[i].path = paths[i];
		s->disk[i].format = "raw";
		s->disk[i].backing = false;
	}
}

static int record_make(struct receive *r, struct err *e)
{
	auto_buf struct buf b = {0};
	char paths[SPEC_DISKS][OWN_PATH];
	struct record made = r->hello.record;
	spec_own(r, &made.spec, paths);
	record_format(&made, &b);
	int bad = record_parse(&r->kept.record, b.at, b.len, e);
	return bad ? bad : record_write(&r->kept.record, r->kept.folder, e);
}

/* In the monitor, which has no store of its own. */
static int keep(void *ctx, struct err *e)
{
	struct receive *r = ctx;
	struct store *s;
	int bad = store_open(&s, NULL, e);
	if (bad) return bad;
	bad = store_arrival_keep(s, r->kept.record.id, r->kept.name, r->gone, e);
	store_close(s);
	return bad;
}

static int build(struct receive *r, struct err *e)
{
	int bad = store_arrival_begin(r->kept.store, r->hello.record.id, &r->kept.folder, e);
	(void)snprintf(r->kept.name, sizeof(r->kept.name), "%s", r->hello.name);
	if (!bad) bad = disks_make(r, e);
	if (!bad) bad = files_make(r, e);
	if (!bad) bad = link_send(r->link, LINK_OK, 0, NULL, 0, e);
	if (!bad) bad = files_take(r, e);
	if (!bad) bad = record_make(r, e);
	return bad ? bad : kept_load(&r->kept, e);
}

static int start(struct receive *r, struct err *e)
{
	r->arrival.link = r->link;
	r->arrival.keep = keep;
	r->arrival.ctx = r;
	r->kept.spec.arrival = &r->arrival;
	return kept_start(&r->kept, -1, e);
}

/* What others print must not get between the frames. */
static int take_over_output(struct receive *r, struct err *e)
{
	int in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (in < 0 || out < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return fail(e, -errno, "its input and output: %s", strerror(errno));
	(void)signal(SIGPIPE, SIG_IGN);
	r->link = link_new(in, out);
	return 0;
}

static int receive(const char *folders, struct err *e)
{
	struct receive r = {
		.kept.folder = -1,
		.folders = folders,
	};
	for (unsigned i = 0; i < SPEC_DISKS; i++) r.arrival.disk[i] = -1;
	for (unsigned i = 0; i < HELLO_FILES; i++) r.file[i] = -1;
	int bad = take_over_output(&r, e);
	if (bad) return bad;
	bad = store_open(&r.kept.store, NULL, e);
	if (!bad) bad = hear(&r, e);
	if (!bad) bad = build(&r, e);
	if (bad)
		link_refuse(r.link, e);
	else
		bad = start(&r, e);
	if (bad && *r.hello.record.id && r.kept.store)
		(void)store_arrival_drop(r.kept.store, r.hello.record.id, NULL);
	kept_done(&r.kept);
	hello_done(&r.hello);
	link_free(r.link);
	store_close(r.kept.store);
	return bad;
}

/* ---- is it here */
struct find {
	struct store *store;
	const char *id;
	bool found;
};

static int consider(void *ctx, const char *name)
{
	struct find *f = ctx;
	struct record r;
	struct guest_state st;
	int fd;
	if (store_guest_look(f->store, name, &fd, NULL)) return 0;
	auto_fd int dirfd = fd;
	if (record_read(&r, dirfd, NULL)) return 0;
	state_read(&st, dirfd);
	f->found |= !strcmp(r.id, f->id) && st.life != LIFE_MOVED;
	record_done(&r);
	return f->found;
}

/* First it is made sure that it does not come any more: so the answer stays true. */
static int answer(const char *id, struct err *e)
{
	struct find f = {.id = id};
	if (strlen(id) != RECORD_ID || strspn(id, "0123456789abcdef") != RECORD_ID)
		return fail(e, -EINVAL, "--ask: '%s' is not an id", id);
	int r = store_open(&f.store, NULL, e);
	if (!r) r = store_arrival_drop(f.store, id, e);
	if (!r) r = store_guest_each(f.store, consider, &f, e);
	if (r >= 0) printf("%s\n", f.found ? MOVE_HERE : MOVE_NOT_HERE);
	store_close(f.store);
	return r < 0 ? r : 0;
}

struct receive_opts {
	const char *ask, *folders;
};
static const struct opt receive_table[] = {
	{"ask", 0, OPT_TEXT, offsetof(struct receive_opts, ask), "ID",
	 "Say whether a guest of that id has come; if not, it never will.", NULL},
	{"folders", 0, OPT_TEXT, offsetof(struct receive_opts, folders), "DIGEST",
	 "Which shared folders it may have here, as 'lodge move' knows them.", NULL},
	{0},
};
static const struct receive_opts receive_defaults;

static int receive_run(const struct call *c, struct err *e)
{
	const struct receive_opts *o = c->opts;
	return o->ask ? answer(o->ask, e) : receive(o->folders, e);
}

const struct verb verb_receive = {
	.name = "receive",
	.args = "",
	.summary = "Be the other end of 'lodge move', which starts it there by itself",
	.opts = receive_table,
	.defaults = &receive_defaults,
	.size = sizeof(receive_defaults),
	.run = receive_run,
};
