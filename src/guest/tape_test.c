#include "base/buf.h"
#include "base/file.h"
#include "base/test.h"
#include "guest/tape.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
static char dir[] = "/tmp/lodge-tape-XXXXXX", path[64];

static void begin(void)
{
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	CHECK(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/t", dir);
}
static void done(void) { CHECK(!dir_remove(dir, NULL)); }

static struct tape_head head(const char *append)
{
	struct tape_head h = {.lodge = "1", .seed = 7, .clock = 1000, .nfiles = 2};
	h.spec = (struct spec){.arch = ARCH_X86_64, .cpus = 1, .memory = 1 << 30, .kernel = "/k"};
	h.spec.deterministic = true;
	h.spec.append = append;
	h.spec.ndisks = 1;
	h.spec.disk[0] = (struct spec_disk){.path = "/d", .format = "raw"};
	memcpy(h.digest[0], DIGEST, TAPE_DIGEST);
	memcpy(h.digest[1], DIGEST, TAPE_DIGEST);
	return h;
}

static void make(const char *append)
{
	struct tape_out *t = NULL;
	const struct tape_when one = {5, 6, false}, two = {7, 8, true};
	const uint8_t state[16] = {1}, frame[20] = {1, 1, 9};
	struct tape_head h = head(append);
	CHECK(!tape_create(&t, path, &h, NULL));
	tape_put(t, TAPE_KEYS, &one, "keys", 4);
	tape_put(t, TAPE_FRAME, &two, frame, sizeof(frame));
	tape_put(t, TAPE_BUTTON, &two, NULL, 0);
	tape_put(t, TAPE_STATE, &two, state, sizeof(state));
	CHECK(!tape_finish(t, &two, 3, NULL));
	tape_out_free(t);
}

TEST(tape_comes_back)
{
	struct tape *t = NULL;
	struct tape_head h;
	begin();
	make("words");
	CHECK(!tape_open(&t, &h, path, NULL));
	CHECK(h.seed == 7 && h.clock == 1000 && h.nfiles == 2 && !strcmp(h.digest[1], DIGEST));
	CHECK(!strcmp(h.spec.append, "words") && h.spec.ndisks == 1 && h.spec.deterministic);
	const struct tape_event *v = tape_next(t);
	CHECK(v->kind == TAPE_KEYS && v->when.ran == 5 && v->when.slept == 6 && !v->when.asleep);
	CHECK(v->len == 4 && !memcmp(v->at, "keys", 4));
	tape_pop(t);
	CHECK(v->kind == TAPE_FRAME && v->len == 20 && v->at[2] == 9 && v->when.asleep);
	tape_pop(t);
	CHECK(v->kind == TAPE_BUTTON && !v->len);
	tape_pop(t);
	CHECK(v->kind == TAPE_STATE && v->len == 16);
	for (unsigned i = 0; i < 2; i++) {
		tape_pop(t);
		CHECK(v->kind == TAPE_END && v->len == 8 && v->at[0] == 3 && v->when.ran == 7);
	}
	tape_close(t);
	tape_head_done(&h);
	done();
}

static int open_bytes(const void *p, size_t n, struct err *e)
{
	struct tape *t = NULL;
	struct tape_head h;
	CHECK(!file_replace(path, p, n, 0600, NULL));
	int r = tape_open(&t, &h, path, e);
	if (!r) tape_close(t);
	tape_head_done(&h);
	return r;
}

TEST(tape_that_is_cut_or_altered_anywhere_is_refused)
{
	auto_buf struct buf b = {0};
	struct err e;
	begin();
	make("words");
	CHECK(!file_read(&b, path, 1 << 20, NULL));
	CHECK(!open_bytes(b.at, b.len, NULL));
	for (size_t n = 0; n < b.len; n++) {
		CHECK(open_bytes(b.at, n, &e) == -EBADMSG && *e.msg);
		for (unsigned bit = 0; bit < 8; bit += 7) {
			b.at[n] = (char)(b.at[n] ^ 1 << bit);
			int r = open_bytes(b.at, b.len, &e);
			CHECK(r == -EBADMSG || r == -EPROTONOSUPPORT);
			b.at[n] = (char)(b.at[n] ^ 1 << bit);
		}
	}
	buf_add(&b, "", 1);
	CHECK(open_bytes(b.at, b.len, &e) == -EBADMSG);
	done();
}

/* The head's frames: full ones go on. */
TEST(tape_has_a_head_of_any_length)
{
	static char words[STREAM_MAX + 100];
	struct tape *t;
	struct tape_head h;
	begin();
	for (size_t n = STREAM_MAX - 700; n < sizeof(words); n += n < STREAM_MAX ? 1 : 20) {
		memset(words, 'a', n);
		words[n] = 0;
		make(words);
		CHECK(!tape_open(&t, &h, path, NULL) && strlen(h.spec.append) == n);
		CHECK(tape_next(t)->kind == TAPE_KEYS);
		tape_close(t);
		tape_head_done(&h);
		if (n > STREAM_MAX + 60) break;
	}
	done();
}

TEST(tape_writer_says_that_the_disk_is_full)
{
	struct tape_out *t = NULL;
	struct tape_head h = head("a");
	struct err e;
	CHECK(tape_create(&t, "/dev/full", &h, &e) == -ENOSPC && strstr(e.msg, "/dev/full"));
	CHECK(tape_create(&t, "/nowhere/t", &h, &e) == -ENOENT);
}

TEST(tape_of_a_killed_writer_says_so)
{
	struct tape_out *out = NULL;
	struct tape *t;
	struct tape_head h = head("a"), read;
	struct err e;
	begin();
	CHECK(!tape_create(&out, path, &h, NULL));
	tape_put(out, TAPE_KEYS, &(struct tape_when){0}, "a", 1);
	tape_out_free(out);
	CHECK(tape_open(&t, &read, path, &e) == -EBADMSG);
	CHECK(tape_open(&t, &read, dir, &e) == -EINVAL && strstr(e.msg, "not a file"));
	done();
}
