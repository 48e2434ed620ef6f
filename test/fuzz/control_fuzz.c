/* Requests on a control socket: any line gets one JSON object and no more. Input: a line; or, if it
 * begins with a byte below 32, steps of four who connect, send pieces, and go when they like. That
 * byte says what kind of guest it is about. */
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "guest/agent.h"
#include "guest/console.h"
#include "guest/control.h"
#include "guest/guest.h"
#include "guest/life.h"
#include "guest/link.h"
#include "guest/sockets.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PEOPLE = 4, STEPS = 256, TELL = 2 * CONTROL_LINE };
enum { CAN = 1, KEPT = 2, LIVES = 4, HAS_CONSOLE = 8, FAILS = 16 }; /* kinds of guests */
static char home[] = "/tmp/control_fuzz.XXXXXX";
static int folder = -1, sockets = -1, agents = -1;
static struct guest g;
static struct link *moving;
static bool fails;
static struct person {
	int fd; /* -1: not connected */
	char told[TELL];
	size_t n;
} people[PEOPLE];

/* ---- a guest on paper ---- */
static int maybe(struct err *e) { return fails ? fail(e, -EIO, "it \"cannot\"\n") : 0; }
static int guest_asked(struct guest *of, struct err *e) { return (void)of, maybe(e); }
static int on_stop(struct guest *of, bool force, struct err *e)
{
	return (void)of, fails && !force ? fail(e, -EAGAIN, "later") : 0;
}
static void hang_up(void *fd) { (void)close((int)(intptr_t)fd); }
static int on_connect(struct guest *of, uint32_t port, int fd, struct err *e)
{
	if (maybe(e)) return -EIO;
	(void)port;
	loop_post(of->loop, hang_up, (void *)(intptr_t)fd);
	return 0;
}
static int on_save(struct guest *of, const char *dir, struct err *e)
{
	must(dir[0] == '/');
	return (void)of, maybe(e);
}
static int on_move(struct guest *of, struct link *l, const struct move_how *how, struct err *e)
{
	must(how && memchr(how->to, 0, sizeof(how->to)));
	if (moving || maybe(e)) return moving ? fail(e, -EBUSY, "it is on its way") : -EIO;
	(void)of;
	moving = l;
	return 0;
}
static void on_status(struct guest *of, struct json_object *to) { (void)of, (void)to; }
static int on_settle(struct guest *of, bool there, struct err *e)
{
	(void)of, (void)there;
	if (!moving) return fail(e, -EINVAL, "it does not move");
	link_free(moving);
	moving = NULL;
	return 0;
}
static int on_verb(struct guest *of, const char *verb, struct buf *in, struct buf *out,
		   struct err *e)
{
	(void)of;
	if (strcmp(verb, "debug") != 0) return fail(e, -ENOTSUP, "%s: unknown", verb);
	buf_add(out, in->at ? in->at : "", in->len);
	return maybe(e);
}

static const struct kind paper = {.name = "paper"};
static const struct kind able = {.name = "able",
				 .pause = guest_asked,
				 .resume = guest_asked,
				 .stop = on_stop,
				 .connect = on_connect,
				 .save = on_save,
				 .move = on_move,
				 .move_status = on_status,
				 .move_settle = on_settle,
				 .verb = on_verb,
				 .limit = guest_asked};

/* ---- who speaks with its monitor ---- */
static void stop(void *l) { loop_stop(l, 0); }
/* Time enough to accept, to read, and to do what was posted meanwhile. */
static void turn(void)
{
	for (unsigned i = 0; i < 3; i++) {
		loop_post(g.loop, stop, g.loop);
		(void)loop_run(g.loop);
	}
}

static void go(struct person *p)
{
	if (p->fd >= 0) (void)close(p->fd);
	p->fd = -1;
	p->n = 0;
}

/* Unless too many wait at the door. */
static void come(struct person *p)
{
	go(p);
	if (sockets_connect(sockets, g.name, &p->fd, NULL)) p->fd = -1;
}

/* Host's control groups are not asked for. */
static bool fit(struct person *p, const uint8_t *at, size_t n)
{
	if (n > TELL - p->n) return false;
	memcpy(p->told + p->n, at, n);
	p->n += n;
	return !memmem(p->told, p->n, "cpu-s", 5) && !memmem(p->told, p->n, "memory-h", 8);
}

static void tell(struct person *p, const uint8_t *at, size_t n)
{
	if (p->fd < 0) come(p);
	if (p->fd < 0) return;
	if (!fit(p, at, n)) {
		go(p);
		return;
	}
	(void)send(p->fd, at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The first that one hears is an object, in one line. */
static void hear(struct person *p)
{
	static char said[CONTROL_ANSWER + 1];
	ssize_t n = p->fd < 0 ? 0 : recv(p->fd, said, CONTROL_ANSWER, MSG_DONTWAIT);
	char *end = n > 0 ? memchr(said, '\n', (size_t)n) : NULL;
	if (!end) return;
	*end = 0;
	struct json_object *o = json_tokener_parse(said);
	must(json_object_is_type(o, json_type_object));
	(void)json_object_put(o);
	go(p);
}

static void leave(void) { (void)dir_remove(home, NULL); }
static void build(void)
{
	log_level_set(LOG_ERROR);
	must(mkdtemp(home) && !setenv("LODGE_HOME", home, 1));
	(void)atexit(leave);
	folder = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(folder >= 0 && !sockets_open(&sockets, NULL));
}

static size_t step(const uint8_t *p, size_t n)
{
	struct person *who = &people[p[0] % PEOPLE];
	size_t len = (size_t)p[1] << (p[0] & 64 ? 5 : 0);
	if (len > n - 2) len = n - 2;
	switch (p[0] >> 2 & 3) {
	case 0: tell(who, p + 2, len); break;
	case 1:
		tell(who, p + 2, len);
		tell(who, (const uint8_t *)"\n", 1);
		break;
	case 2: hear(who); return 2;
	default: p[0] & 16 ? come(who) : go(who); return 2;
	}
	if (!(p[0] & 32)) turn();
	return len + 2;
}

static void clean(void)
{
	for (unsigned i = 0; i < PEOPLE; i++) {
		turn();
		hear(&people[i]);
		go(&people[i]);
	}
	turn();
	control_close(g.control);
	console_free(g.shared);
	agent_free(g.port_agent);
	if (agents >= 0) (void)close(agents);
	agents = -1;
	life_free(g.life);
	link_free(moving);
	moving = NULL;
	free(g.save_to);
	free(g.move_to);
	loop_free(g.loop);
}

static void session(uint8_t how, const uint8_t *p, size_t n)
{
	const struct spec s = {.name = "p", .cpus = 1, .memory = 64 * MIB};
	const struct guest_home kept = {.folder = folder, .attach = -1};
	g = (struct guest){.kind = how & CAN ? &able : &paper,
			   .spec = &s,
			   .name = "p",
			   .home = how & KEPT ? &kept : NULL};
	fails = how & FAILS;
	must(!loop_new(&g.loop, NULL) && !control_open(&g.control, &g, NULL));
	if (how & LIVES) g.life = life_new(&g);
	if (how & HAS_CONSOLE) g.shared = console_new(g.loop, NULL);
	if (how & HAS_CONSOLE) g.port_agent = agent_new(&g);
	if (how & LIVES && g.port_agent) agents = guest_port_opened(&g);
	for (unsigned i = 0; i < PEOPLE; i++) people[i].fd = -1;
	for (unsigned i = 0; i < STEPS && n >= 2; i++) {
		size_t used = step(p, n);
		p += used;
		n -= used;
	}
	clean();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (folder < 0) build();
	if (n && p[0] < 32) {
		session(p[0], p + 1, n - 1);
		return 0;
	}
	const struct spec s = {.name = "p", .cpus = 1};
	struct guest one = {.kind = &paper, .spec = &s, .name = "p"};
	auto_buf struct buf b = {0};
	if (n > CONTROL_LINE) return 0;
	control_answer(&one, (const char *)p, n, &b);
	must(b.len && b.at[b.len - 1] == '\n' && b.len <= CONTROL_ANSWER);
	must(strchr(b.at, '\n') == b.at + b.len - 1);
	struct json_object *o = json_tokener_parse(b.at);
	must(json_object_is_type(o, json_type_object));
	(void)json_object_put(o);
	return 0;
}
