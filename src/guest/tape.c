/* Recordings, written as they come and read twice: once to see that all of it is there, and once
 * more an event at a time. Neither way holds more than a frame of it. */
#include "base/buf.h"
#include "base/crc.h"
#include "base/own.h"
#include "guest/tape_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- writing */
enum { GATHER = 64 * 1024 };
struct tape_out {
	char *path;
	int fd;
	uint32_t crc; /* of all bytes so far */
	struct buf b; /* not written yet */
	struct err e; /* the first thing that went wrong */
};

static void flush(struct tape_out *t)
{
	size_t at = 0;
	while (at < t->b.len && !t->e.code) {
		ssize_t n = write(t->fd, t->b.at + at, t->b.len - at);
		if (n < 0 && errno == EINTR) continue;
		int why = n < 0 ? errno : ENOSPC;
		if (n <= 0) (void)fail(&t->e, -why, "%s: %s", t->path, strerror(why));
		if (n > 0) at += (size_t)n;
	}
	t->b.len = 0;
}

static void frame_put(struct tape_out *t, char kind, const void *p, size_t n)
{
	size_t from = t->b.len;
	frame_add(&t->b, kind, p, n);
	t->crc = crc32c(t->crc, t->b.at + from, t->b.len - from);
	if (t->b.len >= GATHER) flush(t);
}

static void when_add(struct buf *to, const struct tape_when *w)
{
	uint8_t at[TAPE_WHEN];
	store_le(at, w->ran, 8);
	store_le(at + 8, w->slept, 8);
	at[16] = w->asleep;
	buf_add(to, at, sizeof(at));
}

static void head_put(struct tape_out *t, const struct tape_head *h)
{
	auto_buf struct buf b = {0};
	uint8_t version[4];
	store_le(version, TAPE_VERSION, 4);
	buf_add(&b, TAPE_MAGIC, 8);
	buf_add(&b, version, 4);
	tape_head_format(h, &b);
	if (b.len % STREAM_MAX == 0) buf_add(&b, " ", 1); /* the last frame is not full */
	frame_put(t, TAPE_HEAD, b.at, b.len);
	flush(t);
}

int tape_create(struct tape_out **out, const char *path, const struct tape_head *h, struct err *e)
{
	struct tape_out *t = calloc(1, sizeof(*t));
	must(t);
	t->path = strdup(path);
	must(t->path);
	t->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (t->fd < 0) (void)fail(&t->e, -errno, "%s: %s", path, strerror(errno));
	if (t->fd >= 0) head_put(t, h);
	if (t->e.code) {
		int r = fail(e, t->e.code, "%s", t->e.msg);
		tape_out_free(t);
		return r;
	}
	*out = t;
	return 0;
}

void tape_put(struct tape_out *t, char kind, const struct tape_when *w, const void *p, size_t n)
{
	auto_buf struct buf b = {0};
	must(n <= TAPE_MOST);
	when_add(&b, w);
	if (n) buf_add(&b, p, n);
	frame_put(t, kind, b.at, b.len);
}

static void end_put(struct tape_out *t, const struct tape_when *w, int code)
{
	auto_buf struct buf b = {0}, whole = {0};
	uint8_t last[8] = {0};
	when_add(&b, w);
	store_le(last, (uint32_t)code, 4);
	buf_add(&b, last, 8);
	frame_add(&whole, TAPE_END, b.at, b.len);
	uint32_t crc = crc32c(t->crc, whole.at, whole.len - 4);
	store_le((uint8_t *)whole.at + whole.len - 4, crc, 4);
	buf_add(&t->b, whole.at, whole.len);
	flush(t);
}

int tape_finish(struct tape_out *t, const struct tape_when *w, int code, struct err *e)
{
	end_put(t, w, code);
	return t->e.code ? fail(e, t->e.code, "%s", t->e.msg) : 0;
}

void tape_out_free(struct tape_out *t)
{
	if (!t) return;
	drop_fd(&t->fd);
	buf_done(&t->b);
	free(t->path);
	free(t);
}

/* ---- reading */
struct tape {
	FILE *f;
	uint32_t crc;	/* of all bytes taken, but a TAPE_END's last four */
	bool ended;	/* by such a frame, to which crc fits */
	struct buf one; /* the frame in hand */
	struct tape_event now;
};

static bool more(struct tape *t, size_t n) { return fread(buf_room(&t->one, n), 1, n, t->f) == n; }

/* The next frame, in one; -EBADMSG: there is none. */
static int frame_take(struct tape *t, struct frame *f)
{
	t->one.len = 0;
	if (!more(t, STREAM_HEAD)) return -EBADMSG;
	uint32_t len = (uint32_t)load_le((uint8_t *)t->one.at + 1, 4);
	if (len > STREAM_MAX || !more(t, len)) return -EBADMSG;
	if (frame_parse(f, t->one.at, t->one.len) != (ssize_t)t->one.len) return -EBADMSG;
	bool end = f->type == TAPE_END && f->len == TAPE_END_LEN;
	t->crc = crc32c(t->crc, t->one.at, t->one.len - (end ? 4 : 0));
	t->ended = end && load_le(f->at + f->len - 4, 4) == t->crc;
	return 0;
}

static bool event_good(const struct tape_event *v)
{
	switch (v->kind) {
	case TAPE_KEYS: return v->len;
	case TAPE_FRAME: return v->len > TAPE_FRAME_HEAD && v->at[0] < SPEC_NETS && v->at[1] < 2;
	case TAPE_BUTTON: return !v->len;
	case TAPE_STATE: return v->len && v->len % 8 == 0;
	case TAPE_POWER: return v->len > 5 && (v->len - 5) % 8 == 0;
	case TAPE_END: return v->len == TAPE_END_LEN - TAPE_WHEN;
	default: return false;
	}
}

static int event_take(struct tape *t)
{
	struct frame f;
	int r = frame_take(t, &f);
	if (r || f.len < TAPE_WHEN || f.at[16] > 1) return -EBADMSG;
	t->now = (struct tape_event){
		.kind = f.type,
		.when = {load_le(f.at, 8), load_le(f.at + 8, 8), f.at[16]},
		.at = f.at + TAPE_WHEN,
		.len = f.len - TAPE_WHEN,
	};
	return event_good(&t->now) ? 0 : -EBADMSG;
}

/* What is none of ours has no version. */
static int intro_check(const struct frame *f, struct err *e)
{
	if (f->type != TAPE_HEAD || f->len < TAPE_INTRO || memcmp(f->at, TAPE_MAGIC, 8) != 0)
		return fail(e, -EBADMSG, "not a recording of a guest");
	uint64_t version = load_le(f->at + 8, 4);
	if (version != TAPE_VERSION)
		return fail(e, -EPROTONOSUPPORT, "a recording of version %u; this lodge knows %d",
			    (unsigned)version, TAPE_VERSION);
	return 0;
}

/* The JSON, and the first event in hand. */
static int head_take(struct tape *t, struct buf *json, struct err *e)
{
	struct frame f;
	rewind(t->f);
	t->crc = 0;
	int r = frame_take(t, &f);
	r = r ? fail(e, r, "not a recording of a guest") : intro_check(&f, e);
	if (r) return r;
	buf_add(json, f.at + TAPE_INTRO, f.len - TAPE_INTRO);
	while (f.len == STREAM_MAX) {
		if (frame_take(t, &f) || f.type != TAPE_HEAD || json->len > TAPE_HEAD_MOST)
			return fail(e, -EBADMSG, "a recording that was altered");
		buf_add(json, f.at, f.len);
	}
	return event_take(t) ? fail(e, -EBADMSG, "a recording that was cut or altered") : 0;
}

static int check_all(struct tape *t, struct err *e)
{
	int r = 0;
	while (!r && t->now.kind != TAPE_END) r = event_take(t);
	if (r)
		return fail(e, r,
			    feof(t->f) ? "a recording without its end: it was cut, or lodge was "
					 "killed while it recorded"
				       : "a recording that was altered");
	if (!t->ended || fgetc(t->f) != EOF)
		return fail(e, -EBADMSG, "a recording that was altered");
	return 0;
}

static int read_all(struct tape *t, struct tape_head *h, struct err *e)
{
	auto_buf struct buf json = {0}, again = {0};
	int r = head_take(t, &json, e);
	if (!r) r = check_all(t, e);
	if (!r) r = head_take(t, &again, e);
	if (!r) r = tape_head_parse(h, again.at, again.len, e);
	return r;
}

int tape_open(struct tape **out, struct tape_head *h, const char *path, struct err *e)
{
	struct stat st;
	*h = (struct tape_head){0};
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) return fail(e, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode)) return fail(e, -EINVAL, "%s: not a file", path);
	struct tape *t = calloc(1, sizeof(*t));
	must(t);
	t->f = fdopen(fd, "rb");
	must(t->f);
	(void)give_fd(&fd);
	int r = read_all(t, h, e);
	if (r) {
		tape_close(t);
		return fail_in(e, "%s", path);
	}
	*out = t;
	return 0;
}

const struct tape_event *tape_next(const struct tape *t) { return &t->now; }

/* It has been checked: what is not there any more was altered meanwhile, and ends it. */
void tape_pop(struct tape *t)
{
	if (t->now.kind != TAPE_END && event_take(t))
		t->now = (struct tape_event){
			.kind = TAPE_END, .at = (const uint8_t *)"\0\0\0\0\0\0\0\0", .len = 8};
}

void tape_close(struct tape *t)
{
	if (!t) return;
	(void)fclose(t->f);
	buf_done(&t->one);
	free(t);
}
