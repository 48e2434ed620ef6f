/* Streams to and from programs that a foreign image's agent runs. QEMU's takes all input in one
 * message and keeps the output in memory, up to a limit; but it reads and writes files bit by bit.
 * So what may be large goes there and comes from there by files, in a folder of the guest's that is
 * made for it and removed again. */
#include "base/own.h"
#include "cli/foreign.h"
#include "cli/session.h"
#include <errno.h>
#include <json-c/json.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECE = 48 << 10, FOLDER = 64 };
static const char place[] = "/var/tmp/lodge-cp.";

static struct json_object *handle_of(int64_t handle)
{
	struct json_object *o = json_object_new_object();
	must(o);
	foreign_add(o, "handle", json_object_new_int64(handle));
	return o;
}

static int file_open(const char *guest, const char *dir, const char *name, const char *mode,
		     int64_t *handle, struct err *e)
{
	char path[FOLDER + 8];
	struct json_object *o = json_object_new_object(), *is = NULL;
	must(o);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	foreign_add(o, "path", json_object_new_string(path));
	foreign_add(o, "mode", json_object_new_string(mode));
	int r = foreign_ask(guest, "guest-file-open", o, &is, e);
	*handle = r ? 0 : json_object_get_int64(is);
	(void)json_object_put(is);
	return r;
}

static int file_close(const char *guest, int64_t handle, struct err *e)
{
	struct json_object *is = NULL;
	int r = foreign_ask(guest, "guest-file-close", handle_of(handle), &is, e);
	(void)json_object_put(is);
	return r;
}

/* How much of it was written. */
static ssize_t file_write(const char *guest, int64_t handle, const unsigned char *p, size_t n,
			  struct err *e)
{
	char coded[PIECE / 3 * 4 + 8];
	struct json_object *o = handle_of(handle), *is = NULL, *v;
	must(n <= PIECE);
	(void)EVP_EncodeBlock((void *)coded, p, (int)n);
	foreign_add(o, "buf-b64", json_object_new_string(coded));
	int r = foreign_ask(guest, "guest-file-write", o, &is, e);
	int64_t put =
		!r && json_object_object_get_ex(is, "count", &v) ? json_object_get_int64(v) : 0;
	(void)json_object_put(is);
	if (!r && (put <= 0 || (size_t)put > n))
		r = fail(e, -EPROTO, "guest %s: its agent does not write to a file", guest);
	return r ? r : (ssize_t)put;
}

static ssize_t piece_read(int fd, unsigned char *to)
{
	size_t n = 0;
	for (ssize_t got; n < PIECE && (got = read(fd, to + n, PIECE - n)) != 0;) {
		if (got < 0 && errno != EINTR) return -errno;
		if (got > 0) n += (size_t)got;
	}
	return (ssize_t)n;
}

static int put_all(const char *guest, int64_t handle, int from, struct err *e)
{
	auto_mem unsigned char *piece = malloc(PIECE);
	ssize_t n, put = 0;
	must(piece);
	while ((n = piece_read(from, piece)) > 0)
		for (ssize_t at = 0; at < n; at += put)
			if ((put = file_write(guest, handle, piece + at, (size_t)(n - at), e)) < 0)
				return (int)put;
	return n ? fail(e, (int)n, "input: %s", strerror((int)-n)) : 0;
}

static int get_piece(const char *guest, int64_t handle, int to, bool *end, struct err *e)
{
	struct json_object *o = handle_of(handle), *is = NULL, *v;
	size_t n = 0;
	foreign_add(o, "count", json_object_new_int(PIECE));
	int r = foreign_ask(guest, "guest-file-read", o, &is, e);
	bool there = !r && json_object_object_get_ex(is, "buf-b64", &v);
	auto_mem unsigned char *data = there ? foreign_bytes(v, &n) : NULL;
	*end = !r && json_object_object_get_ex(is, "eof", &v) && json_object_get_boolean(v);
	(void)json_object_put(is);
	if (r) return r;
	if (!data || (!n && !*end))
		return fail(e, -EPROTO, "guest %s: what its agent reads is not understood", guest);
	r = foreign_write(to, data, n);
	return r ? fail(e, r, "output: %s", strerror(-r)) : 0;
}

static int get_all(const char *guest, int64_t handle, int to, struct err *e)
{
	bool end = false;
	int r = 0;
	while (!r && !end) r = get_piece(guest, handle, to, &end, e);
	return r;
}

static int through(const struct session *s, const char *dir, bool in, struct err *e)
{
	int64_t handle;
	int r = file_open(s->guest, dir, in ? "in" : "out", in ? "w" : "r", &handle, e);
	if (r) return r;
	r = in ? put_all(s->guest, handle, s->in, e) : get_all(s->guest, handle, s->out, e);
	int closed = file_close(s->guest, handle, r ? NULL : e);
	return r ? r : closed;
}

/* ---- the folder */
static int quiet(const struct session *s, const char *const *argv, int out, struct err *e)
{
	struct session q = {.guest = s->guest,
			    .argv = argv,
			    .in = -1,
			    .out = out,
			    .err = s->err,
			    .plain = s->plain};
	return foreign_run(&q, e);
}

static int folder_make(const struct session *s, char dir[FOLDER], struct err *e)
{
	static const char *const argv[] = {"mktemp", "-d", "/var/tmp/lodge-cp.XXXXXXXXXX", NULL};
	auto_fd int fd = memfd_create("answer", MFD_CLOEXEC);
	if (fd < 0) return fail(e, -errno, "memfd: %s", strerror(errno));
	int r = quiet(s, argv, fd, e);
	if (r < 0) return r;
	ssize_t n = pread(fd, dir, FOLDER - 1, 0);
	dir[n > 0 ? n : 0] = 0;
	dir[strcspn(dir, "\n")] = 0;
	if (!r && !strncmp(dir, place, sizeof(place) - 1) && !strchr(dir + sizeof(place) - 1, '/'))
		return 0;
	return fail(e, -EIO, "guest %s: its agent makes no folder in /var/tmp", s->guest);
}

static int program_run(const struct session *s, const char *dir, struct err *e)
{
	static const char script[] = "d=$1; shift; if [ -e \"$d/in\" ]; then exec <\"$d/in\"; "
				     "fi; exec \"$@\" >\"$d/out\"";
	enum { WORDS = 32 };
	const char *argv[WORDS] = {"sh", "-c", script, "sh", dir};
	unsigned n = 5;
	for (const char *const *a = s->argv; *a && n < WORDS - 1; a++) argv[n++] = *a;
	return quiet(s, argv, s->err, e);
}

int foreign_bulk(const struct session *s, struct err *e)
{
	char dir[FOLDER];
	const char *const away[] = {"rm", "-rf", "--", dir, NULL};
	int r = folder_make(s, dir, e);
	if (r) return r;
	if (s->in >= 0) r = through(s, dir, true, e);
	int code = r ? r : program_run(s, dir, e);
	if (!r && code >= 0 && s->out != s->err) r = through(s, dir, false, e);
	(void)quiet(s, away, s->err, NULL);
	return r ? r : code;
}
