#include "base/buf.h"
#include "base/state.h"
#include "base/test.h"
#include "base/types.h"
#include "dev/dev.h"
#include <string.h>

static unsigned pulses;
static int level;
static void on_line(void *ctl, unsigned line, int to)
{
	(void)ctl, (void)line;
	pulses += level && !to;
	level = to;
}

TEST(vmgenid_is_read_only_and_tells_when_it_changes)
{
	static const uint8_t a[VMGENID_LEN] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
	static const uint8_t b[VMGENID_LEN] = {[0] = 9, [15] = 7};
	auto_buf struct buf s = {0};
	struct state out = {.b = &s}, in = {.b = &s, .loading = true};
	struct device *d = NULL, *e = NULL;
	CHECK(!vmgenid_new(&d, (struct irq){on_line, NULL, 0}, a, NULL));
	CHECK(d->ops->read(d, 0, 4) == 0x04030201 && d->ops->read(d, 8, 8) == 9);
	d->ops->write(d, 0, 0, 8);
	CHECK(d->ops->read(d, 1, 1) == 2 && !d->ops->read(d, 12, 8) && !d->ops->read(d, 16, 1));
	d->ops->state(d, &out);
	vmgenid_renew(d, b);
	CHECK(pulses == 1 && !level && d->ops->read(d, 15, 1) == 7 && d->ops->read(d, 0, 1) == 9);
	CHECK(!vmgenid_new(&e, (struct irq){on_line, NULL, 0}, b, NULL));
	e->ops->state(e, &in);
	CHECK(!state_end(&in, NULL) && e->ops->read(e, 0, 1) == 1 && pulses == 1);
	device_free(d);
	device_free(e);
}
