/* A port that takes bytes and gives a constant: POST codes (0x80), and the debug console that
 * SeaBIOS and OVMF look for at 0x402 by its answer 0xe9. */
#include "base/state.h"
#include "dev/pc.h"
#include "dev/ports.h"
#include <errno.h>
#include <stdlib.h>

struct sink {
	struct device d;
	int answer;
	uint8_t last;
	void (*put)(void *ctx, uint8_t v);
	void *ctx;
};

static uint8_t port_read(struct device *d, uint64_t off)
{
	const struct sink *s = (const struct sink *)d;
	(void)off;
	return s->answer < 0 ? s->last : (uint8_t)s->answer;
}

static void port_write(struct device *d, uint64_t off, uint8_t v)
{
	struct sink *s = (struct sink *)d;
	(void)off;
	s->last = v;
	if (s->put) s->put(s->ctx, v);
}

static uint64_t sink_read(struct device *d, uint64_t off, unsigned len)
{
	return ports_read(d, off, len, port_read);
}

static void sink_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	ports_write(d, off, val, len, port_write);
}

static void sink_reset(struct device *d) { ((struct sink *)d)->last = 0; }

static void sink_free(struct device *d)
{
	device_done(d);
	free(d);
}

static void sink_state(struct device *d, struct state *s)
{
	struct sink *k = (struct sink *)d;
	STATE(s, k, last);
}

static const struct device_ops ops = {
	.name = "sink",
	.read = sink_read,
	.write = sink_write,
	.reset = sink_reset,
	.state = sink_state,
	.free = sink_free,
};

int sink_new(struct device **out, const char *id, int answer, void (*put)(void *ctx, uint8_t v),
	     void *ctx, struct err *e)
{
	struct sink *s = calloc(1, sizeof(*s));
	if (!s) return fail(e, -ENOMEM, "%s: out of memory", id);
	device_init(&s->d, &ops, id);
	s->answer = answer;
	s->put = put;
	s->ctx = ctx;
	*out = &s->d;
	return 0;
}

uint8_t sink_last(struct device *d)
{
	device_lock(d);
	uint8_t v = ((struct sink *)d)->last;
	device_unlock(d);
	return v;
}
