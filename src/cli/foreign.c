/* lodge exec by an agent that is not ours. Its protocol carries a question and an answer at a time,
 * so each is a connection of its own: others may ask in between. */
#include "cli/foreign.h"
#include "base/buf.h"
#include "base/loop.h"
#include "base/own.h"
#include "cli/plain.h"
#include "cli/session.h"
#include "guest/control.h"
#include <errno.h>
#include <json-c/json.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define SECOND	 1000000000ull
#define PATIENCE (20 * SECOND) /* for an answer, and for others to be done */
enum { INPUT_MAX = 1 << 20, ANSWER_MAX = 64 << 20, PAUSE_US = 50000, PAUSE_MOST_US = 500000 };

/* ---- a question and its answer ---- */
bool foreign_answer(const char *line, size_t n, const char *id, struct json_object **out,
		    struct err *e)
{
	struct json_object *o = NULL, *v;
	struct json_tokener *t = json_tokener_new_ex(8);
	must(t);
	if (n && n < INT32_MAX) o = json_tokener_parse_ex(t, line, (int)n);
	json_tokener_free(t);
	bool ours =
		json_object_object_get_ex(o, "id", &v) && !strcmp(json_object_get_string(v), id);
	*out = NULL;
	if (ours && json_object_object_get_ex(o, "return", &v))
		*out = json_object_get(v);
	else if (ours && json_object_object_get_ex(o, "error", &v) &&
		 json_object_object_get_ex(v, "desc", &v))
		(void)fail(e, -EREMOTEIO, "%.200s", json_object_get_string(v));
	else if (ours)
		(void)fail(e, -EPROTO, "its answer is not understood");
	(void)json_object_put(o);
	return ours;
}

static int send_all(int fd, const char *p, size_t n, uint64_t until)
{
	while (n) {
		struct pollfd w = {.fd = fd, .events = POLLOUT};
		if (now_ns() > until || poll(&w, 1, 1000) < 0) return -ETIMEDOUT;
		ssize_t put = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (put < 0 && errno != EAGAIN && errno != EINTR) return -errno;
		if (put > 0) p += put, n -= (size_t)put;
	}
	return 0;
}

static int hear(int fd, const char *id, struct json_object **out, uint64_t until, struct err *e)
{
	auto_buf struct buf b = {0};
	char some[16384];
	for (;;) {
		const char *end = b.len ? memchr(b.at, '\n', b.len) : NULL;
		if (end && foreign_answer(b.at, (size_t)(end - b.at), id, out, e))
			return *out ? 0 : e->code;
		if (end) {
			size_t n = (size_t)(end - b.at) + 1;
			memmove(b.at, end + 1, b.len -= n);
			continue;
		}
		struct pollfd w = {.fd = fd, .events = POLLIN};
		if (b.len > ANSWER_MAX || now_ns() > until || poll(&w, 1, 1000) < 0)
			return fail(e, -ETIMEDOUT, "its agent does not answer");
		ssize_t n = w.revents ? recv(fd, some, sizeof(some), MSG_DONTWAIT) : -1;
		if (n == 0) return fail(e, -ECONNRESET, "the connection to its agent is lost");
		if (n > 0) buf_add(&b, some, (size_t)n);
	}
}

static int reach(const char *guest, int *fd, uint64_t until, struct err *e)
{
	int r;
	while ((r = control_stream(guest, "agent", fd, NULL, e)) == -EBUSY && now_ns() < until)
		(void)usleep(PAUSE_US);
	return r;
}

int foreign_ask(const char *guest, const char *command, struct json_object *arguments,
		struct json_object **out, struct err *e)
{
	static unsigned n;
	char id[32];
	struct err why = {0};
	uint64_t until = now_ns() + PATIENCE;
	int stream = -1;
	struct json_object *o = json_object_new_object();
	(void)snprintf(id, sizeof(id), "lodge-%d-%u", (int)getpid(), n++);
	must(o && !json_object_object_add(o, "execute", json_object_new_string(command)));
	must(!json_object_object_add(o, "arguments", arguments));
	must(!json_object_object_add(o, "id", json_object_new_string(id)));
	auto_buf struct buf b = {0};
	buf_fmt(&b, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	(void)json_object_put(o);
	int r = reach(guest, &stream, until, &why);
	auto_fd int fd = stream;
	if (!r) r = send_all(fd, b.at, b.len, until);
	if (r && !why.code) (void)fail(&why, r, "its agent: %s", strerror(-r));
	if (!r) r = hear(fd, id, out, until, &why);
	return r ? fail(e, r, "guest %s: %s", guest, why.msg) : 0;
}

bool foreign_here(const char *guest)
{
	int fd = -1;
	int r = control_stream(guest, "agent", &fd, NULL, NULL);
	drop_fd(&fd);
	return !r || r == -EBUSY;
}

/* ---- running a program ---- */
void foreign_add(struct json_object *o, const char *key, struct json_object *v)
{
	must(v && !json_object_object_add(o, key, v));
}

static int add_input(struct json_object *o, int fd, struct err *e)
{
	auto_mem char *all = malloc(INPUT_MAX + 1), *coded = malloc(INPUT_MAX / 3 * 4 + 8);
	size_t n = 0;
	must(all && coded);
	for (ssize_t got; n <= INPUT_MAX && (got = read(fd, all + n, INPUT_MAX + 1 - n)) != 0;) {
		if (got < 0 && errno != EINTR) return fail(e, -errno, "input: %s", strerror(errno));
		if (got > 0) n += (size_t)got;
	}
	if (n > INPUT_MAX)
		return fail(e, -EFBIG, "exec: its agent takes no more than %d KiB of input",
			    INPUT_MAX / 1024);
	(void)EVP_EncodeBlock((void *)coded, (void *)all, (int)n);
	foreign_add(o, "input-data", json_object_new_string(coded));
	return 0;
}

/* Where it begins is a shell's affair: the protocol has no word for it. */
static int arguments(const struct session *s, struct json_object *o, struct err *e)
{
	static const char *const there[] = {"-c", "cd \"$0\" && exec \"$@\""};
	struct json_object *list = json_object_new_array(), *env = json_object_new_array();
	const char *const *argv = s->argv;
	must(list && env);
	foreign_add(o, "path", json_object_new_string(s->dir ? "/bin/sh" : *argv++));
	for (unsigned i = 0; s->dir && i < 2; i++)
		must(!json_object_array_add(list, json_object_new_string(there[i])));
	if (s->dir) must(!json_object_array_add(list, json_object_new_string(s->dir)));
	for (; *argv; argv++) must(!json_object_array_add(list, json_object_new_string(*argv)));
	for (unsigned i = 0; s->env && i < s->env->n; i++)
		must(!json_object_array_add(env, json_object_new_string(s->env->at[i])));
	foreign_add(o, "arg", list);
	if (json_object_array_length(env))
		foreign_add(o, "env", env);
	else
		(void)json_object_put(env);
	foreign_add(o, "capture-output", json_object_new_boolean(true));
	return s->in >= 0 ? add_input(o, s->in, e) : 0;
}

int foreign_write(int fd, const unsigned char *p, size_t n)
{
	while (n) {
		ssize_t put = write(fd, p, n);
		if (put < 0 && errno != EINTR) return -errno;
		if (put > 0) p += put, n -= (size_t)put;
	}
	return 0;
}

unsigned char *foreign_bytes(struct json_object *text, size_t *n)
{
	if (!json_object_is_type(text, json_type_string)) return NULL;
	const char *p = json_object_get_string(text);
	int len = json_object_get_string_len(text);
	unsigned char *data = malloc((size_t)len + 4);
	must(data);
	int got = EVP_DecodeBlock(data, (const void *)p, len);
	for (int i = len; got > 0 && i > 0 && i > len - 2 && p[i - 1] == '='; i--) got--;
	*n = got > 0 ? (size_t)got : 0;
	if (got >= 0) return data;
	free(data);
	return NULL;
}

/* One of its outputs, in base64. */
static int show(const struct session *s, const struct json_object *o, const char *key, int fd)
{
	struct json_object *v;
	struct plain plain = {0};
	size_t n;
	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
		return 0;
	auto_mem unsigned char *data = foreign_bytes(v, &n);
	if (!data) return -EPROTO;
	if (!s->plain || fd != STDERR_FILENO) return foreign_write(fd, data, n);
	plain_put(&plain, data, n, stderr);
	plain_end(&plain, stderr);
	return 0;
}

static bool is_true(const struct json_object *o, const char *key)
{
	struct json_object *v;
	return json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

int foreign_outcome(const struct session *s, const struct json_object *o, struct err *e)
{
	struct json_object *v;
	int r = show(s, o, "out-data", s->out);
	if (!r) r = show(s, o, "err-data", s->err);
	if (r == -EPROTO)
		return fail(e, r, "guest %s: what its agent says is not understood", s->guest);
	if (r) return 128 + 13; /* nobody reads it any more */
	if (is_true(o, "out-truncated") || is_true(o, "err-truncated"))
		return fail(e, -EFBIG, "guest %s: its agent kept only the beginning of the output",
			    s->guest);
	if (json_object_object_get_ex(o, "exitcode", &v)) return json_object_get_int(v) & 255;
	if (json_object_object_get_ex(o, "signal", &v)) return (128 + json_object_get_int(v)) & 255;
	return fail(e, -EPROTO, "guest %s: its agent does not say how it ended", s->guest);
}

static int await(const struct session *s, int64_t pid, struct err *e)
{
	for (unsigned pause = PAUSE_US;;
	     pause = pause * 2 < PAUSE_MOST_US ? pause * 2 : PAUSE_MOST_US) {
		struct json_object *o = json_object_new_object(), *is = NULL;
		foreign_add(o, "pid", json_object_new_int64(pid));
		int r = foreign_ask(s->guest, "guest-exec-status", o, &is, e);
		bool ended = !r && is_true(is, "exited");
		if (ended) r = foreign_outcome(s, is, e);
		(void)json_object_put(is);
		if (r || ended) return r;
		(void)usleep(pause);
	}
}

static int check(const struct session *s, struct err *e)
{
	const char *what = s->terminal || !*s->argv ? "terminals" : s->user ? "users" : NULL;
	if (!what) return 0;
	return fail(e, -ENOTSUP, "guest %s: its agent is QEMU's, and that knows no %s", s->guest,
		    what);
}

int foreign_run(const struct session *s, struct err *e)
{
	struct json_object *o, *is = NULL, *v;
	int r = check(s, e);
	if (r) return r;
	must((o = json_object_new_object()));
	r = arguments(s, o, e);
	if (r) {
		(void)json_object_put(o);
		return r;
	}
	r = foreign_ask(s->guest, "guest-exec", o, &is, e);
	if (r == -EREMOTEIO) { /* as a shell has it */
		(void)fprintf(stderr, "lodge: %s\n", e->msg);
		return 127;
	}
	if (!r && !json_object_object_get_ex(is, "pid", &v))
		r = fail(e, -EPROTO, "guest %s: its agent gives it no number", s->guest);
	int64_t pid = r ? 0 : json_object_get_int64(v);
	(void)json_object_put(is);
	return r ? r : await(s, pid, e);
}
