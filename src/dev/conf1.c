/* PCI configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2) as another way into the same config
 * space that ECAM reaches, and between its bytes the reset control register (Intel 82371AB, RC). */
#include "base/state.h"
#include "dev/pc.h"
#include <errno.h>
#include <stdlib.h>

enum { ADDRESS = 0, RESET = 1, DATA = 4, END = 8 };
enum { RC_CPU = 4, RC_KEPT = 0x0e };
#define ENABLE 0x80000000u
enum { BUSES = 1 }; /* that ECAM covers */

struct conf1 {
	struct device d;
	struct device *ecam;
	void (*reset)(void *ctx);
	void *ctx;
	uint32_t address;
	uint8_t rc;
};

/* Where in ECAM the data port is now; false: nowhere. */
static bool place(const struct conf1 *c, uint64_t off, unsigned len, uint64_t *at)
{
	uint32_t a = c->address;
	if (!c->ecam || !(a & ENABLE) || off < DATA || off + len > END) return false;
	if ((a >> 16 & 0xff) >= BUSES) return false;
	*at = (uint64_t)(a >> 8 & 0xffff) << 12 | (a & 0xfc) | (off - DATA);
	return true;
}

static uint64_t conf1_read(struct device *d, uint64_t off, unsigned len)
{
	struct conf1 *c = (struct conf1 *)d;
	uint64_t at;
	if (off == ADDRESS && len == 4) return c->address;
	if (off == RESET && len == 1) return c->rc;
	if (!place(c, off, len, &at)) return ~0ull;
	device_lock(c->ecam);
	uint64_t v = c->ecam->ops->read(c->ecam, at, len);
	device_unlock(c->ecam);
	return v;
}

/* The rise of bit 2 resets. */
static void rc_write(struct conf1 *c, uint8_t v)
{
	bool go = v & RC_CPU && !(c->rc & RC_CPU);
	c->rc = v & RC_KEPT;
	if (go && c->reset) c->reset(c->ctx);
}

static void conf1_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct conf1 *c = (struct conf1 *)d;
	uint64_t at;
	if (off == ADDRESS && len == 4) c->address = (uint32_t)val & 0x80fffffc;
	if (off == RESET && len == 1) rc_write(c, (uint8_t)val);
	if (!place(c, off, len, &at)) return;
	device_lock(c->ecam);
	c->ecam->ops->write(c->ecam, at, val, len);
	device_unlock(c->ecam);
}

static void conf1_reset(struct device *d)
{
	struct conf1 *c = (struct conf1 *)d;
	c->address = 0;
	c->rc = 0;
}

static void conf1_free(struct device *d)
{
	device_done(d);
	free(d);
}

static void conf1_state(struct device *d, struct state *s)
{
	struct conf1 *c = (struct conf1 *)d;
	STATE(s, c, address);
	STATE(s, c, rc);
	c->address &= 0x80fffffc;
}

static const struct device_ops ops = {
	.name = "conf1",
	.read = conf1_read,
	.write = conf1_write,
	.reset = conf1_reset,
	.state = conf1_state,
	.free = conf1_free,
};

int conf1_new(struct device **out, struct device *ecam, void (*reset)(void *ctx), void *ctx,
	      struct err *e)
{
	struct conf1 *c = calloc(1, sizeof(*c));
	if (!c) return fail(e, -ENOMEM, "conf1: out of memory");
	device_init(&c->d, &ops, "conf1");
	c->ecam = ecam;
	c->reset = reset;
	c->ctx = ctx;
	*out = &c->d;
	return 0;
}
