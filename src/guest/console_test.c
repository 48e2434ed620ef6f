#include "base/buf.h"
#include "base/file.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/test.h"
#include "guest/console.h"
#include "guest/stream.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* A device that takes so many keys, and those who sit at its console: one here, others by socket.
 */
struct desk {
	struct loop *loop;
	struct console *console;
	struct chr sitter, *chr;
	char path[32];
	int dirfd;
	char keys[64];
	size_t nkeys, room, drained;
	char seen[64]; /* by the sitter */
	size_t nseen, will_see;
};

static size_t take_keys(void *dev, const uint8_t *p, size_t n)
{
	struct desk *d = dev;
	if (n > d->room) n = d->room;
	memcpy(d->keys + d->nkeys, p, n);
	d->nkeys += n;
	d->room -= n;
	return n;
}
static void drained(void *dev) { ((struct desk *)dev)->drained++; }
static size_t see(void *host, const uint8_t *p, size_t n)
{
	struct desk *d = host;
	if (n > d->will_see) n = d->will_see;
	if (d->nseen + n < sizeof(d->seen)) memcpy(d->seen + d->nseen, p, n);
	d->nseen += n;
	d->will_see -= n;
	return n;
}

static void desk_open(struct desk *d, bool sitter)
{
	*d = (struct desk){.path = "/tmp/console_test.XXXXXX", .will_see = ~0ul};
	CHECK(mkdtemp(d->path) && !loop_new(&d->loop, NULL));
	d->dirfd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d->sitter = (struct chr){.output = see, .host = d};
	d->console = console_new(d->loop, sitter ? &d->sitter : NULL);
	d->chr = console_chr(d->console);
	d->chr->dev = d;
	d->chr->input = take_keys;
	d->chr->drained = drained;
	console_log(d->console, d->dirfd);
}
static void desk_close(struct desk *d)
{
	console_free(d->console);
	loop_free(d->loop);
	(void)close(d->dirfd);
	CHECK(!dir_remove(d->path, NULL));
}

static void stop(void *l) { loop_stop(l, 0); }
/* All that is ready is done, and what that makes ready. */
static void turn(struct desk *d)
{
	for (int i = 0; i < 4; i++) {
		loop_post(d->loop, stop, d->loop);
		(void)loop_run(d->loop);
	}
}
static void write_out(struct desk *d, const char *text)
{
	CHECK(chr_output(d->chr, (const uint8_t *)text, strlen(text)) == strlen(text));
}
static int come(struct desk *d)
{
	int ends[2];
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	CHECK(!console_attach(d->console, ends[1], NULL));
	return ends[0];
}
static bool hears(int fd, char type, const char *text)
{
	char b[256];
	struct frame f;
	ssize_t n = recv(fd, b, sizeof(b), MSG_DONTWAIT);
	return n > 0 && frame_parse(&f, b, (size_t)n) == n && f.type == type &&
	       f.len == strlen(text) && !memcmp(f.at, text, f.len);
}
static bool logged(struct desk *d, const char *name, const char *text)
{
	char path[64];
	auto_buf struct buf b = {0};
	(void)snprintf(path, sizeof(path), "%s/%s", d->path, name);
	return !file_read(&b, path, 1 << 21, NULL) && b.len == strlen(text) &&
	       !memcmp(b.at, text, b.len);
}

TEST(console_is_seen_and_typed_at_by_all)
{
	struct desk d;
	auto_buf struct buf keys = {0};
	desk_open(&d, true);
	int a = come(&d), b = come(&d);
	write_out(&d, "hello");
	turn(&d);
	CHECK(hears(a, STREAM_OUTPUT, "hello") && hears(b, STREAM_OUTPUT, "hello"));
	CHECK(d.nseen == 5 && !memcmp(d.seen, "hello", 5) && logged(&d, "console.log", "hello"));
	frame_add(&keys, STREAM_INPUT, "abc", 3);
	d.room = 2;
	CHECK(send(a, keys.at, keys.len, 0) == 8);
	turn(&d);
	CHECK(d.nkeys == 2);
	d.room = 10;
	d.chr->hungry(d.chr->host);
	turn(&d);
	CHECK(d.nkeys == 3 && !memcmp(d.keys, "abc", 3));
	CHECK(d.sitter.input(d.sitter.dev, (const uint8_t *)"d", 1) == 1 && d.keys[3] == 'd');
	console_end(d.console, "the end");
	CHECK(hears(a, STREAM_END, "the end") && hears(b, STREAM_END, "the end"));
	CHECK(recv(a, keys.at, 1, MSG_DONTWAIT) == 0);
	(void)close(a);
	(void)close(b);
	desk_close(&d);
}

/* The one here may hold the guest up, and nobody sees what he does not. */
TEST(console_waits_for_the_sitter)
{
	struct desk d;
	desk_open(&d, true);
	d.will_see = 3;
	CHECK(chr_output(d.chr, (const uint8_t *)"hello", 5) == 3);
	turn(&d);
	CHECK(logged(&d, "console.log", "hel") && d.drained == 0);
	d.will_see = 9;
	d.sitter.drained(d.sitter.dev);
	CHECK(d.drained == 1 && chr_output(d.chr, (const uint8_t *)"lo", 2) == 2);
	desk_close(&d);
}

/* Those elsewhere may not: who does not read misses something, and is told how much. */
TEST(console_waits_for_nobody_else)
{
	static uint8_t block[8192];
	struct desk d;
	char text[4096];
	desk_open(&d, false);
	int a = come(&d);
	size_t sent = 0;
	for (int i = 0; i < 400; i++) {
		size_t n = chr_output(d.chr, block, sizeof(block));
		sent += n;
		turn(&d);
		if (n < sizeof(block)) CHECK(d.drained > 0);
	}
	CHECK(sent == 400 * sizeof(block));
	bool told = false;
	for (int i = 0; i < 100000 && !told; i++) {
		ssize_t n = recv(a, text, sizeof(text), MSG_DONTWAIT);
		if (n > 0)
			told = memmem(text, (size_t)n, "bytes not shown", 15);
		else
			write_out(&d, "more");
		turn(&d);
	}
	CHECK(told);
	(void)close(a);
	desk_close(&d);
}

TEST(console_log_is_bounded)
{
	static uint8_t block[65536];
	struct desk d;
	struct stat now = {0}, old = {0};
	desk_open(&d, false);
	memset(block, 'x', sizeof(block));
	for (size_t all = 0; all < 3u * CONSOLE_LOG; turn(&d))
		all += chr_output(d.chr, block, sizeof(block));
	CHECK(!fstatat(d.dirfd, "console.log", &now, 0) && now.st_size <= CONSOLE_LOG);
	CHECK(!fstatat(d.dirfd, "console.log.1", &old, 0) && old.st_size <= CONSOLE_LOG);
	CHECK(now.st_size + old.st_size > CONSOLE_LOG);
	desk_close(&d);
}

TEST(console_hangs_up_on_nonsense_and_on_too_many)
{
	struct desk d;
	char c;
	int fd[17], ends[2];
	desk_open(&d, false);
	for (int i = 0; i < 16; i++) fd[i] = come(&d);
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	CHECK(console_attach(d.console, ends[0], NULL) == -EMFILE);
	(void)close(ends[0]);
	(void)close(ends[1]);
	CHECK(send(fd[0], "i\377\377\377\377", 5, 0) == 5);
	CHECK(send(fd[1], "?\1\0\0\0!w\4\0\0\0abcd", 15, 0) == 15); /* not known: passed over */
	(void)close(fd[2]);
	turn(&d);
	CHECK(recv(fd[0], &c, 1, MSG_DONTWAIT) == 0 && recv(fd[1], &c, 1, MSG_DONTWAIT) < 0);
	(void)close(fd[0]);
	fd[0] = come(&d);
	fd[2] = come(&d);
	for (int i = 0; i < 16; i++) (void)close(fd[i]);
	desk_close(&d);
}
