/* lodge move: connects a guest's monitor with lodge receive on the other host, by a program that
 * makes the channel, and shows how far it is. The two ends do the rest; only if nobody knows which
 * of them has the guest, the other one is asked here. */
#include "cli/move.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "cli/cli.h"
#include "cli/kept.h"
#include "guest/control.h"
#include "guest/look.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

struct move_opts {
	const char *to_store, *command, *cap_rate, *stand;
	bool shared;
};
#define AT(member) offsetof(struct move_opts, member)
static const struct opt move_table[] = {
	{"cap-rate", 0, OPT_TEXT, AT(cap_rate), "RATE",
	 "The most that is sent, in bits a second: 500k, 10M, 1G.", NULL},
	{"command", 0, OPT_TEXT, AT(command), "COMMAND",
	 "Reach the other Lodge by this instead of ssh: 'ip netns exec x lodge'.", NULL},
	{"shared", 0, OPT_FLAG, AT(shared), NULL,
	 "The other host has the guest's shared folders under the same names: go on with those.",
	 NULL},
	{"stand", 0, OPT_TEXT, AT(stand), "MS",
	 "For how many milliseconds it may stand, if that can be had (100).", NULL},
	{"to-store", 0, OPT_TEXT, AT(to_store), "FOLDER",
	 "Move it to another store of this machine, by its LODGE_HOME.", NULL},
	{0},
};
static const struct move_opts move_defaults;

enum { ASKS = 5, LOOK_MS = 100, END_SECONDS = 10, STAND_MOST = 60000 };

struct move {
	const struct move_opts *o;
	const char *host; /* NULL: by --command or --to-store */
	struct store *store;
	char name[64], id[RECORD_ID + 1], to[160];
	char folders[SHARES_DIGEST]; /* which it shares; "": none */
	pid_t child;
};

/* ---- the channel */
static const char *own_program(void)
{
	static char exe[4096];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	exe[n > 0 ? n : 0] = 0;
	return exe;
}

static _Noreturn void child(const struct move *m, int in, int out, const char *id)
{
	auto_mem char *shell = NULL;
	sigset_t none;
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	const char *how = id		? "--ask"
			  : *m->folders ? "--folders"
					: NULL,
		   *what = id ? id : m->folders;
	must(asprintf(&shell, "%s receive %s %s", m->o->command ? m->o->command : "",
		      how ? how : "", how ? what : "") > 0);
	if (in < 0) in = open("/dev/null", O_RDONLY);
	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0) _exit(126);
	if (m->o->to_store) (void)setenv("LODGE_HOME", m->o->to_store, 1);
	if (m->o->command)
		(void)execlp("sh", "sh", "-c", shell, (char *)NULL);
	else if (m->host)
		(void)execlp("ssh", "ssh", "--", m->host, "lodge", "receive", how, what,
			     (char *)NULL);
	else
		(void)execl(own_program(), "lodge", "receive", how, what, (char *)NULL);
	log_say("%s: %s", m->host ? "ssh" : "sh", strerror(errno));
	_exit(127);
}

static int spawn(struct move *m, int in, int out, const char *id, struct err *e)
{
	(void)fflush(NULL);
	m->child = fork();
	if (m->child == 0) child(m, in, out, id);
	return m->child < 0 ? fail(e, -errno, "fork: %s", strerror(errno)) : 0;
}

static void reap(struct move *m)
{
	while (m->child > 0 && waitpid(m->child, NULL, 0) < 0 && errno == EINTR) {
	}
	m->child = 0;
}

/* ---- which of the two has it */
static int ask_once(struct move *m, bool *there, struct err *e)
{
	char text[64] = "";
	size_t n = 0;
	int ends[2];
	if (pipe2(ends, O_CLOEXEC)) return fail(e, -errno, "pipe: %s", strerror(errno));
	auto_fd int ours = ends[0];
	int r = spawn(m, -1, ends[1], m->id, e);
	(void)close(ends[1]);
	for (ssize_t k = 1; !r && k && n < sizeof(text) - 1;) {
		k = read(ours, text + n, sizeof(text) - 1 - n);
		if (k < 0 && errno != EINTR) break;
		if (k > 0) n += (size_t)k;
	}
	reap(m);
	*there = !strcmp(text, MOVE_HERE "\n");
	if (r || *there || !strcmp(text, MOVE_NOT_HERE "\n")) return r;
	return fail(e, -EHOSTUNREACH,
		    "guest %s was being handed over %s, which cannot be asked now whether it has "
		    "it; until 'lodge move' is given once more, and can ask, it stands",
		    m->name, m->to);
}

static int ask(struct move *m, bool *there, struct err *e)
{
	int r = -1;
	for (unsigned i = 0; r && i < ASKS; i++) {
		if (i) (void)sleep(1);
		r = ask_once(m, there, e);
	}
	return r;
}

static int settle(struct move *m, struct err *e)
{
	bool there;
	int r = ask(m, &there, e);
	if (r) return r;
	r = control_call(m->name, there ? "settle there" : "settle here", NULL, NULL, e);
	if (r || there) return r;
	return fail(e, -EPIPE, "guest %s has not moved: the connection was cut; it goes on here",
		    m->name);
}

/* Its monitor is gone, too. */
static int settle_dead(struct move *m, struct err *e)
{
	struct kept k = {.store = m->store, .folder = -1};
	struct guest_state st;
	bool there;
	int r = kept_lock(&k, m->name, false, e);
	if (!r) r = ask(m, &there, e);
	if (!r) {
		state_read(&st, k.folder);
		st.life = there ? LIFE_MOVED : LIFE_BROKEN;
		if (!there) (void)snprintf(st.why, sizeof(st.why), "its monitor was killed");
		r = state_write(&st, k.folder, e);
	}
	kept_done(&k);
	if (r || there) return r;
	return fail(e, -EPIPE, "guest %s has not moved, and its monitor was killed; lodge start %s",
		    m->name, m->name);
}

/* ---- how far it is */
static const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *v;
	const char *s = json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : NULL;
	return s ? s : "";
}

static uint64_t number_of(struct json_object *o, const char *key)
{
	struct json_object *v;
	return json_object_object_get_ex(o, key, &v) ? (uint64_t)json_object_get_int64(v) : 0;
}

static void show(struct json_object *o)
{
	char sent[16], left[16], rate[16];
	if (!isatty(STDERR_FILENO)) return;
	human_size(sent, sizeof(sent), number_of(o, "sent"));
	human_size(left, sizeof(left), number_of(o, "left"));
	human_size(rate, sizeof(rate), number_of(o, "rate"));
	(void)fprintf(stderr, "\r\033[K%s: %s sent, round %u, %s left, %s/s", text_of(o, "phase"),
		      sent, (unsigned)number_of(o, "round"), left, rate);
}

static void show_end(void)
{
	if (isatty(STDERR_FILENO)) (void)fprintf(stderr, "\r\033[K");
}

/* Its monitor ended: its folder says why. */
static int ended(struct move *m, struct err *e)
{
	struct guest_state st;
	int fd, r = store_guest_look(m->store, m->name, &fd, e);
	if (r) return r;
	auto_fd int dirfd = fd;
	look_state(&st, m->name, dirfd);
	if (st.life == LIFE_LEAVING) return settle_dead(m, e);
	if (st.life != LIFE_MOVED)
		return fail(e, -ESRCH, "guest %s ended before it had moved", m->name);
	log_say("guest %s has moved %s", m->name, st.why);
	return 0;
}

/* 1: not yet. */
static int look(struct move *m, struct err *e)
{
	struct json_object *o = NULL;
	int r = control_call(m->name, "moving", &o, NULL, e);
	if (r) return r == -ENOENT ? ended(m, e) : r == -ETIMEDOUT ? 1 : r;
	const char *phase = text_of(o, "phase");
	r = 1;
	if (!strcmp(phase, "failed"))
		r = fail(e, -EPIPE, "guest %s has not moved, and goes on here: %s", m->name,
			 text_of(o, "why"));
	else if (!strcmp(phase, "doubt"))
		r = settle(m, e) ? e->code : 1;
	else
		show(o);
	(void)json_object_put(o);
	return r;
}

static int watch(struct move *m, int pidfd, struct err *e)
{
	int r;
	while ((r = look(m, e)) == 1) {
		struct pollfd p = {.fd = pidfd, .events = POLLIN};
		if (poll(&p, 1, LOOK_MS) < 0 && errno != EINTR) break;
	}
	show_end();
	return r;
}

/* ---- */
static int stand_parse(unsigned *ms, const char *text, struct err *e)
{
	*ms = 100;
	if (!text) return 0;
	if (!*text || strlen(text) > 5 || text[strspn(text, "0123456789")] ||
	    strtoul(text, NULL, 10) > STAND_MOST)
		return fail(e, -EINVAL, "--stand: '%s' is not a number of milliseconds up to %d",
			    text, STAND_MOST);
	*ms = (unsigned)strtoul(text, NULL, 10);
	return 0;
}

static int request(struct move *m, struct buf *to, struct err *e)
{
	uint64_t bits = 0;
	unsigned ms = 0;
	int r = m->o->cap_rate ? bits_parse(&bits, m->o->cap_rate, e) : 0;
	if (!r) r = stand_parse(&ms, m->o->stand, e);
	if (r) return r;
	struct json_object *o = json_object_new_object();
	must(o);
	(void)json_object_object_add(o, "to", json_object_new_string(m->to + strlen("to ")));
	(void)json_object_object_add(o, "cap", json_object_new_int64((int64_t)(bits / 8)));
	(void)json_object_object_add(o, "stand_ms", json_object_new_int((int)ms));
	buf_fmt(to, "move %s", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	(void)json_object_put(o);
	return 0;
}

/* By the command, not by its monitor: so what a guest that has taken that over says is not enough
 * to have other folders there. */
static int folders(struct move *m, struct err *e)
{
	struct kept k = {.folder = -1};
	int fd, r = store_guest_look(m->store, m->name, &fd, e);
	if (r) return r;
	auto_fd int dirfd = fd;
	r = record_read(&k.record, dirfd, e);
	if (!r) r = shares_add(&k.shares, m->store, &k.record.spec, e);
	if (!r && k.shares.n) shares_digest(&k.shares, &k.record.spec, m->o->shared, m->folders);
	kept_done(&k);
	return r;
}

static int start(struct move *m, int *pidfd, struct err *e)
{
	auto_buf struct buf b = {0};
	int fd = -1, r = request(m, &b, e);
	if (!r) r = folders(m, e);
	if (!r) r = control_stream(m->name, b.at, &fd, pidfd, e);
	if (r == -ENOENT)
		return fail(e, r, "guest %s does not run; only a running one moves", m->name);
	if (r) return r;
	auto_fd int stream = fd;
	return spawn(m, stream, stream, NULL, e);
}

/* Where an earlier move has left it. 1: here. */
static int earlier(struct move *m, struct err *e)
{
	struct guest_state st;
	struct record rec;
	int fd, r = store_guest_look(m->store, m->name, &fd, e);
	if (r) return r;
	auto_fd int dirfd = fd;
	r = record_read(&rec, dirfd, e);
	if (r) return r;
	memcpy(m->id, rec.id, sizeof(m->id));
	record_done(&rec);
	look_state(&st, m->name, dirfd);
	if (st.life != LIFE_LEAVING) return 1;
	if (!control_alive(m->name)) return settle_dead(m, e);
	r = look(m, e);
	return r ? r : 0;
}

static int where(struct move *m, const struct call *c, struct err *e)
{
	const struct move_opts *o = m->o;
	m->host = c->nargs > 1 ? c->args[1] : NULL;
	if (!m->host + !o->command + !o->to_store != 2)
		return fail(e, -EINVAL, "move: where to? HOST, or --to-store, or --command");
	if (m->host && *m->host == '-') return fail(e, -EINVAL, "'%s' is not a host", m->host);
	(void)snprintf(m->to, sizeof(m->to), "to %s",
		       m->host	    ? m->host
		       : o->command ? o->command
				    : o->to_store);
	return 0;
}

static int move_run(const struct call *c, struct err *e)
{
	struct move m = {.o = c->opts};
	auto_fd int pidfd = -1;
	int r = where(&m, c, e);
	if (!r) r = store_open(&m.store, NULL, e);
	if (!r) r = look_find(m.store, c->args[0], m.name, e);
	if (!r) r = earlier(&m, e);
	if (r == 1) {
		r = start(&m, &pidfd, e);
		if (!r) r = watch(&m, pidfd, e);
		reap(&m);
		if (!r) (void)kept_gone(pidfd, END_SECONDS);
	}
	if (!r) printf("%s\n", m.name);
	store_close(m.store);
	return r;
}

const struct verb verb_move = {
	.name = "move",
	.args = "GUEST [HOST]",
	.summary = "Move a running guest to another host",
	.text = "By ssh, which asks whether you may; Lodge must be there. The guest runs while "
		"its\n"
		"memory and disks are copied, and stands for a moment at the end. Whatever goes "
		"wrong\n"
		"before that host has taken it over, it goes on here. Its snapshots stay here. "
		"Shared "
		"folders\n"
		"do not move: where they are not the same ones, see --shared.",
	.examples = "lodge move web root@other\n"
		    "lodge move web --to-store /srv/lodge",
	.opts = move_table,
	.defaults = &move_defaults,
	.size = sizeof(move_defaults),
	.min_args = 1,
	.max_args = 2,
	.completes = "guest",
	.run = move_run,
};
