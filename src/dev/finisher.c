/* The SiFive test finisher: one register whose value ends or restarts the computer. Linux
 * reaches it through a syscon-poweroff / syscon-reboot pair in the device tree. */
#include "dev/dev.h"
#include <errno.h>
#include <stdlib.h>

enum { FINISH_FAIL = 0x3333, FINISH_OFF = 0x5555, FINISH_RESET = 0x7777 };

struct finisher {
	struct device d;
	void (*power)(void *ctx, enum power what, unsigned code);
	void *ctx;
};

static uint64_t finisher_read(struct device *d, uint64_t off, unsigned len)
{
	(void)d, (void)off, (void)len;
	return 0;
}

static void finisher_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct finisher *f = (struct finisher *)d;
	if (off != 0 || len < 2) return;
	switch (val & 0xffff) {
	case FINISH_OFF: f->power(f->ctx, POWER_OFF, 0); break;
	case FINISH_RESET: f->power(f->ctx, POWER_RESET, 0); break;
	case FINISH_FAIL: f->power(f->ctx, POWER_FAIL, val >> 16 & 0xffff); break;
	default: break;
	}
}

static void finisher_free(struct device *d)
{
	device_done(d);
	free(d);
}

static const struct device_ops ops = {
	.name = "finisher",
	.read = finisher_read,
	.write = finisher_write,
	.free = finisher_free,
};

int finisher_new(struct device **out, void (*power)(void *ctx, enum power what, unsigned code),
		 void *ctx, struct err *e)
{
	struct finisher *f = calloc(1, sizeof(*f));
	if (!f) return fail(e, -ENOMEM, "finisher: out of memory");
	device_init(&f->d, &ops, "finisher");
	f->power = power;
	f->ctx = ctx;
	*out = &f->d;
	return 0;
}
