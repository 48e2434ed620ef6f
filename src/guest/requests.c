/* What a monitor can be asked, a line each. Whoever adds a request adds it here; what only one kind
 * of guest understands belongs to its verb(). */
#include "base/loop.h"
#include "base/pass.h"
#include "base/types.h"
#include "guest/agent.h"
#include "guest/console.h"
#include "guest/control.h"
#include "guest/guest.h"
#include "guest/hold.h"
#include "guest/life.h"
#include "guest/limits.h"
#include "guest/link.h"
#include "guest/look.h"
#include "guest/outside.h"
#include "guest/program.h"
#include "guest/spec.h"
#include "store/store.h"
#include <ctype.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DAY = 86400 };

static int serve_stats(struct ask *a, struct err *e)
{
	struct guest_stats s;
	(void)e;
	guest_stats(a->guest, &s);
	guest_stats_json(&s, a->to);
	return 0;
}

static int serve_inspect(struct ask *a, struct err *e)
{
	struct guest *g = a->guest;
	static const struct guest_home none = {.folder = -1};
	const struct guest_home *h = g->home ? g->home : &none;
	struct record r = {.created = h->created, .spec = *g->spec};
	(void)e;
	r.spec.limits = g->limits;
	(void)snprintf(r.id, sizeof(r.id), "%s", g->spec->id ? g->spec->id : "");
	if (g->life) look_json(a->to, g->name, &r, life_state(g->life));
	return 0;
}

static int check_lives(const struct guest *g, struct err *e)
{
	return g->life ? 0 : fail(e, -ESRCH, "it does not run");
}

static int serve_pause(struct ask *a, struct err *e) { return guest_pause(a->guest, e); }
static int serve_resume(struct ask *a, struct err *e) { return guest_resume(a->guest, e); }

/* "stop SECONDS". That it could not be asked is no failure, but worth knowing. */
static int serve_stop(struct ask *a, struct err *e)
{
	char *end;
	unsigned long n = strtoul(a->words, &end, 10);
	if (!isdigit((unsigned char)a->words[0]) || *end || n > DAY)
		return fail(e, -EINVAL, "stop: how many seconds, up to %d?", DAY);
	int r = check_lives(a->guest, e);
	if (r) return r;
	struct err why = {0};
	if (guest_stop(a->guest, (unsigned)n, &why))
		(void)json_object_object_add(a->to, "forced", json_object_new_string(why.msg));
	return 0;
}

static int serve_kill(struct ask *a, struct err *e)
{
	int r = check_lives(a->guest, e);
	if (!r) guest_kill(a->guest);
	return r;
}

/* "signal NUMBER": to the program that the guest is there for. */
static int serve_signal(struct ask *a, struct err *e)
{
	char *end;
	unsigned long n = strtoul(a->words, &end, 10);
	if (!isdigit((unsigned char)a->words[0]) || *end || !n || n > 64)
		return fail(e, -EINVAL, "signal: which, from 1 to 64?");
	if (!a->guest->program)
		return fail(e, -ENOTSUP, "only a container with a kernel of its own takes signals");
	return program_signal(a->guest->program, (int)n, e);
}

/* The folder first: if we are killed in between, its old socket is one that nobody listens at. */
static int serve_rename(struct ask *a, struct err *e)
{
	struct guest *g = a->guest;
	struct store *s = NULL;
	int r;
	if (outside_is_there()) {
		r = outside_rename(a->words, e);
		return r || !g->control ? r : control_rename(g->control, a->words, e);
	}
	if (!g->home || g->home->folder < 0) return fail(e, -ENOTSUP, "it is not kept");
	r = store_open(&s, NULL, e);
	if (!r) r = store_guest_rename(s, g->name, a->words, e);
	if (!r && g->control) r = control_rename(g->control, a->words, e);
	store_close(s);
	return r;
}

static int stream_attach(struct guest *g, const char *words, int fd, struct err *e)
{
	(void)words;
	return g->shared ? console_attach(g->shared, fd, e) : fail(e, -ENOTSUP, "no console");
}

static int stream_wait(struct guest *g, const char *words, int fd, struct err *e)
{
	(void)words;
	int r = check_lives(g, e);
	return r ? r : life_wait(g->life, fd, e);
}

/* "snapshot FOLDER", an absolute path. The guest stands until it is there, and so does its monitor:
 * what came of it is said in the stream, {} or {"error": WORDS}, when that is. */
static int serve_snapshot(struct ask *a, struct err *e)
{
	struct guest *g = a->guest;
	if (!g->kind->save) return fail(e, -ENOTSUP, "this kind of guest cannot be saved");
	if (g->program) return fail(e, -ENOTSUP, "containers cannot be saved yet");
	if (a->words[0] != '/') return fail(e, -EINVAL, "snapshot: into which folder?");
	free(g->save_to);
	g->save_to = strdup(a->words);
	return g->save_to ? 0 : fail(e, -ENOMEM, "out of memory");
}

struct saving {
	struct guest *guest;
	char *to;
	int fd;
};

static void save_now(void *saving)
{
	struct saving *v = saving;
	struct err why = {0};
	struct json_object *o = json_object_new_object();
	must(o);
	if (v->guest->kind->save(v->guest, v->to, &why) < 0)
		(void)json_object_object_add(o, "error", json_object_new_string(why.msg));
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	(void)send(v->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)send(v->fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)json_object_put(o);
	(void)close(v->fd);
	free(v->to);
	free(v);
}

/* Later: the answer goes first. */
static int stream_snapshot(struct guest *g, const char *words, int fd, struct err *e)
{
	(void)words;
	struct saving *v = malloc(sizeof(*v));
	if (!v) return fail(e, -ENOMEM, "out of memory");
	*v = (struct saving){g, g->save_to, fd};
	g->save_to = NULL;
	loop_post(g->loop, save_now, v);
	return 0;
}

/* "hold": it stands until whoever asked hangs up. */
static int stream_hold(struct guest *g, const char *words, int fd, struct err *e)
{
	(void)words;
	int r = check_lives(g, e);
	return r ? r : hold_add(g, fd, e);
}

/* "connect PORT": to who listens there inside the guest. It hangs up if nobody does. */
static int stream_connect(struct guest *g, const char *words, int fd, struct err *e)
{
	char *end;
	unsigned long port = strtoul(words, &end, 10);
	if (!isdigit((unsigned char)words[0]) || *end || port >= UINT32_MAX)
		return fail(e, -EINVAL, "connect: to which port?");
	if (g->program && !program_runs(g->program))
		return fail(e, -EAGAIN, "its program does not run yet");
	if (!g->kind->connect)
		return fail(e, -ENOTSUP, "guests of kind %s have no sockets", g->kind->name);
	return g->kind->connect(g, (uint32_t)port, fd, e);
}

/* What it was told is what it starts with the next time. */
static int keep_limits(struct guest *g, struct err *e)
{
	if (!g->home || g->home->folder < 0) return 0;
	return outside_limits(&g->limits, g->home->folder, e);
}

/* "update NAME NUMBER ...", as in limits.h. All of it, or nothing. */
static int serve_update(struct ask *a, struct err *e)
{
	struct guest *g = a->guest;
	struct limits was = g->limits, l = was;
	if (!g->kind->limit) return fail(e, -ENOTSUP, "this kind of guest has no limits");
	int r = check_lives(g, e);
	if (!r) r = limits_take(&l, a->words, e);
	if (!r) r = limits_check(&l, spec_is_zone(g->spec) ? 0 : g->spec->memory, e);
	if (r) return r;
	g->limits = l;
	r = guest_limit(g, e);
	if (!r) return keep_limits(g, e);
	g->limits = was;
	(void)guest_limit(g, NULL);
	return r;
}

/* "move {"to": WORDS, "cap": BYTES A SECOND, "stand_ms": N}": the connection becomes the link. */
static int serve_move(struct ask *a, struct err *e)
{
	struct guest *g = a->guest;
	struct move_how how = {.stand_ms = 100};
	struct json_object *o = json_tokener_parse(a->words), *v;
	bool good = json_object_is_type(o, json_type_object);
	if (good && json_object_object_get_ex(o, "to", &v))
		(void)snprintf(how.to, sizeof(how.to), "to %s", json_object_get_string(v));
	if (good && json_object_object_get_ex(o, "cap", &v)) how.cap = json_object_get_uint64(v);
	if (good && json_object_object_get_ex(o, "stand_ms", &v))
		how.stand_ms = (unsigned)json_object_get_int(v);
	(void)json_object_put(o);
	if (!good || !*how.to) return fail(e, -EINVAL, "move: where to?");
	if (!g->kind->move) return fail(e, -ENOTSUP, "this kind of guest cannot be moved");
	if (g->program) return fail(e, -ENOTSUP, "containers cannot be moved yet");
	if (!g->home || g->home->folder < 0)
		return fail(e, -ENOTSUP, "it is not kept: start it with --name to move it");
	free(g->move_to);
	g->move_to = malloc(sizeof(how));
	if (!g->move_to) return fail(e, -ENOMEM, "out of memory");
	*g->move_to = how;
	return 0;
}

/* The answer is on its way before the first frame: it is the loop's thread that sends it. */
static void move_now(void *guest)
{
	struct guest *g = guest;
	struct err why;
	if (g->move_link && g->kind->move(g, g->move_link, g->move_to, &why) < 0) {
		link_refuse(g->move_link, &why);
		link_free(g->move_link);
	}
	g->move_link = NULL;
}

static int stream_move(struct guest *g, const char *words, int fd, struct err *e)
{
	(void)words;
	if (g->move_link) return fail(e, -EBUSY, "it is on its way already");
	g->move_link = link_new(fd, fd);
	loop_post(g->loop, move_now, g);
	return 0;
}

static int serve_moving(struct ask *a, struct err *e)
{
	if (!a->guest->kind->move_status) return fail(e, -ENOTSUP, "it cannot be moved");
	a->guest->kind->move_status(a->guest, a->to);
	return 0;
}

/* "settle here" or "settle there". */
static int serve_settle(struct ask *a, struct err *e)
{
	bool there = !strcmp(a->words, "there");
	if ((!there && strcmp(a->words, "here") != 0) || !a->guest->kind->move_settle)
		return fail(e, -EINVAL, "settle: here, or there?");
	return a->guest->kind->move_settle(a->guest, there, e);
}

/* The agent of a foreign image, which speaks QEMU's protocol at its port. */
static int stream_agent(struct guest *g, const char *words, int fd, struct err *e)
{
	(void)words;
	return agent_carry(g->port_agent, fd, e);
}

/* "eject N [force]", "insert N [force]": of the nth CD drive. */
static int media_parse(const struct guest *g, const char *words, unsigned *n, bool *force,
		       struct err *e)
{
	char *end = NULL;
	*n = isdigit((unsigned char)words[0]) ? (unsigned)strtoul(words, &end, 10) : 0;
	if (!*n || *n > SPEC_DISKS) return fail(e, -EINVAL, "which of its CD drives?");
	*force = !strcmp(end, " force");
	if (*end && !*force) return fail(e, -EINVAL, "'%s'?", end);
	if (!g->kind->media) return fail(e, -ENOTSUP, "this kind of guest has no CD drives");
	return check_lives(g, e);
}

static int serve_eject(struct ask *a, struct err *e)
{
	unsigned n;
	bool force;
	int r = media_parse(a->guest, a->words, &n, &force, e);
	return r ? r : a->guest->kind->media(a->guest, n, -1, force, e);
}

struct inserting {
	struct guest *guest;
	struct watch *watch;
	unsigned n;
	bool force;
	int fd;
};

static int insert_now(struct inserting *v, struct err *e)
{
	char byte;
	int disc = -1;
	if (pass_receive(v->fd, &byte, 1, &disc) != 1 || disc < 0)
		return fail(e, -EPROTO, "insert: no file came with it");
	int r = v->guest->kind->media(v->guest, v->n, disc, v->force, e);
	(void)close(disc);
	return r;
}

/* The file has come, or nobody is there any more. */
static void insert_ready(void *inserting, uint32_t ready)
{
	struct inserting *v = inserting;
	struct err why = {0};
	struct json_object *o = json_object_new_object();
	(void)ready;
	must(o);
	watch_free(v->watch);
	if (insert_now(v, &why) < 0)
		(void)json_object_object_add(o, "error", json_object_new_string(why.msg));
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	(void)send(v->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)json_object_put(o);
	(void)close(v->fd);
	free(v);
}

static int serve_insert(struct ask *a, struct err *e)
{
	unsigned n;
	bool force;
	return media_parse(a->guest, a->words, &n, &force, e);
}

static int stream_insert(struct guest *g, const char *words, int fd, struct err *e)
{
	struct inserting *v = calloc(1, sizeof(*v));
	if (!v) return fail(e, -ENOMEM, "out of memory");
	v->guest = g;
	v->fd = fd;
	int r = media_parse(g, words, &v->n, &v->force, e);
	if (!r) r = loop_watch(g->loop, &v->watch, fd, EPOLLIN, insert_ready, v, e);
	if (r) free(v);
	return r;
}

const struct request requests[] = {
	{.name = "eject", .serve = serve_eject},
	{.name = "insert", .serve = serve_insert, .stream = stream_insert},
	{.name = "agent", .stream = stream_agent},
	{.name = "move", .serve = serve_move, .stream = stream_move},
	{.name = "moving", .serve = serve_moving},
	{.name = "settle", .serve = serve_settle},
	{.name = "update", .serve = serve_update},
	{.name = "snapshot", .serve = serve_snapshot, .stream = stream_snapshot},
	{.name = "stats", .serve = serve_stats},
	{.name = "inspect", .serve = serve_inspect},
	{.name = "pause", .serve = serve_pause},
	{.name = "resume", .serve = serve_resume},
	{.name = "hold", .stream = stream_hold},
	{.name = "stop", .serve = serve_stop},
	{.name = "kill", .serve = serve_kill},
	{.name = "signal", .serve = serve_signal},
	{.name = "rename", .serve = serve_rename},
	{.name = "attach", .stream = stream_attach},
	{.name = "wait", .stream = stream_wait},
	{.name = "connect", .stream = stream_connect},
	{0},
};
