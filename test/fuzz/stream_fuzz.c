/* Whoever is attached to a console sends anything, in pieces of any size: the console hangs up or
 * goes on, and the device gets no more than was sent. */
#include "base/loop.h"
#include "base/own.h"
#include "guest/console.h"
#include "guest/stream.h"
#include <stdint.h>
#include <sys/socket.h>

static size_t got, room;
static size_t keys(void *dev, const uint8_t *p, size_t n)
{
	(void)dev;
	(void)p;
	if (n > room) n = room;
	room -= n;
	got += n;
	return n;
}

static void stop(void *l) { loop_stop(l, 0); }
static void turn(struct loop *l)
{
	loop_post(l, stop, l);
	(void)loop_run(l);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct loop *l;
	struct frame f;
	int ends[2];
	if (n > 40000) return 0;
	ssize_t whole = frame_parse(&f, p, n);
	must(whole < 0 || (size_t)whole <= n);
	must(!loop_new(&l, NULL) && !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	struct console *c = console_new(l, NULL);
	struct chr *chr = console_chr(c);
	chr->dev = l;
	chr->input = keys;
	got = 0;
	must(!console_attach(c, ends[1], NULL));
	for (size_t at = 0; at < n;) {
		size_t some = (size_t)p[at] * 16 + 1;
		if (some > n - at) some = n - at;
		(void)send(ends[0], p + at, some, MSG_NOSIGNAL | MSG_DONTWAIT);
		room = p[at];
		at += some;
		turn(l);
		(void)chr_output(chr, p, some);
		chr->hungry(chr->host);
	}
	turn(l);
	must(got <= n);
	(void)close(ends[0]);
	turn(l);
	console_end(c, "{}");
	console_free(c);
	loop_free(l);
	return 0;
}
