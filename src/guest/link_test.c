#include "base/buf.h"
#include "base/own.h"
#include "base/test.h"
#include "guest/arrival.h"
#include "guest/link.h"
#include "guest/spec.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

struct pair {
	struct link *a, *b;
	int raw; /* a's end, too */
};

static struct pair pair(void)
{
	int s[2];
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s));
	return (struct pair){link_new(s[0], s[0]), link_new(s[1], s[1]), s[0]};
}

static void pair_done(struct pair *p)
{
	link_free(p->a);
	link_free(p->b);
}

TEST(link_carries_frames_both_ways)
{
	__attribute__((cleanup(pair_done))) struct pair p = pair();
	struct link_frame f;
	struct err e;
	CHECK(!link_send(p.a, LINK_PAGES, 0x1234, "page", 4, &e));
	CHECK(!link_send(p.a, LINK_END, 0, NULL, 0, &e));
	CHECK(!link_recv(p.b, &f, 1, &e) && f.type == LINK_PAGES && f.arg == 0x1234);
	CHECK(f.len == 4 && !strcmp(f.at, "page"));
	CHECK(!link_expect(p.b, LINK_END, 1, &e));
	CHECK(!link_send(p.b, LINK_READY, 0, NULL, 0, &e));
	CHECK(!link_expect(p.a, LINK_READY, 1, &e));
}

TEST(link_says_why_it_is_refused)
{
	__attribute__((cleanup(pair_done))) struct pair p = pair();
	struct err e = {0}, why = {-EEXIST, "there is one\033"};
	link_refuse(p.b, &why);
	CHECK(link_expect(p.a, LINK_OK, 1, &e) == -EREMOTEIO);
	CHECK(!strcmp(e.msg, "the other side: there is one?"));
	link_refuse(p.b, &why);
	link_hang_up(p.b);
	int r = 0;
	for (unsigned i = 0; !r && i < 10; i++) r = link_send(p.a, LINK_END, 0, NULL, 0, &e);
	CHECK(r == -EREMOTEIO);
}

TEST(link_sees_what_is_altered_missing_or_twice)
{
	struct err e;
	struct link_frame f;
	char bytes[2][256];
	__attribute__((cleanup(pair_done))) struct pair p = pair();
	CHECK(!link_send(p.b, LINK_PAGES, 7, "abc", 3, &e));
	CHECK(!link_send(p.b, LINK_PAGES, 8, "def", 3, &e));
	CHECK(read(p.raw, bytes[0], LINK_HEAD + 3) == LINK_HEAD + 3);
	CHECK(read(p.raw, bytes[1], LINK_HEAD + 3) == LINK_HEAD + 3);
	for (unsigned i = 0; i < LINK_HEAD + 3; i++) {
		__attribute__((cleanup(pair_done))) struct pair q = pair();
		bytes[0][i] ^= 4;
		CHECK(write(q.raw, bytes[0], LINK_HEAD + 3) == LINK_HEAD + 3);
		CHECK(shutdown(q.raw, SHUT_WR) == 0);
		bytes[0][i] ^= 4;
		int r = link_recv(q.b, &f, 1, &e);
		CHECK(r == -EBADMSG || r == -EPIPE);
	}
	__attribute__((cleanup(pair_done))) struct pair twice = pair(), second = pair();
	CHECK(write(twice.raw, bytes[0], LINK_HEAD + 3) > 0);
	CHECK(write(twice.raw, bytes[0], LINK_HEAD + 3) > 0);
	CHECK(!link_recv(twice.b, &f, 1, &e) && link_recv(twice.b, &f, 1, &e) == -EBADMSG);
	CHECK(write(second.raw, bytes[1], LINK_HEAD + 3) > 0);
	CHECK(link_recv(second.b, &f, 1, &e) == -EBADMSG);
}

TEST(link_does_not_wait_for_ever)
{
	__attribute__((cleanup(pair_done))) struct pair p = pair();
	struct link_frame f;
	struct err e;
	CHECK(link_recv(p.b, &f, 0, &e) == -ETIMEDOUT);
	link_stop(p.b);
	CHECK(link_recv(p.b, &f, 60, &e) == -ECANCELED);
	CHECK(link_send(p.b, LINK_END, 0, NULL, 0, &e) == -ECANCELED);
}

TEST(hello_is_read_as_it_was_written_and_not_trusted)
{
	auto_buf struct buf b = {0};
	struct err e;
	struct hello h = {.name = "web", .record = {.id = "0123456789ab"}}, got;
	h.record.spec = (struct spec){.arch = ARCH_X86_64, .cpus = 2, .memory = 1 << 27};
	h.record.spec.disk[0] = (struct spec_disk){.path = "/x", .format = "qcow2"};
	h.record.spec.ndisks = 1;
	h.file[0] = 77;
	h.disk[0] = 1 << 20;
	hello_format(&h, &b);
	CHECK(!hello_parse(&got, b.at, b.len, &e));
	CHECK(!strcmp(got.name, "web") && got.file[0] == 77 && got.disk[0] == 1 << 20);
	CHECK(got.record.spec.cpus == 2 && !strcmp(got.record.id, h.record.id));
	hello_done(&got);
	for (size_t n = 0; n < b.len; n++) CHECK(hello_parse(&got, b.at, n, &e));
	for (const char *const *bad = (const char *[]){"web", "1048576", "[77,", NULL}; *bad;
	     bad++) {
		auto_mem char *text = strdup(b.at);
		memcpy(strstr(text, *bad), "-", 1);
		CHECK(hello_parse(&got, text, strlen(text), &e) < 0);
	}
}
