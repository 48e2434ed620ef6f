/* The generation of a virtual machine: 16 bytes that are others in each of its lives, and an
 * interrupt when they change. So a kernel learns that it goes on from a snapshot, where another may
 * go on as well, and makes new random numbers (Microsoft's Virtual Machine Generation ID; Linux'
 * bindings/rng/microsoft,vmgenid.yaml). */
#include "base/state.h"
#include "base/types.h"
#include "dev/dev.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct vmgenid {
	struct device d;
	struct irq irq;
	uint8_t id[VMGENID_LEN];
};

static uint64_t vmgenid_read(struct device *d, uint64_t off, unsigned len)
{
	struct vmgenid *g = (struct vmgenid *)d;
	return off + len <= sizeof(g->id) ? load_le(g->id + off, len) : 0;
}

static void vmgenid_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	(void)d, (void)off, (void)val, (void)len;
}

static void vmgenid_state(struct device *d, struct state *s)
{
	struct vmgenid *g = (struct vmgenid *)d;
	STATE(s, g, id);
}

static void vmgenid_free(struct device *d)
{
	device_done(d);
	free(d);
}

static const struct device_ops ops = {.name = "vmgenid",
				      .read = vmgenid_read,
				      .write = vmgenid_write,
				      .state = vmgenid_state,
				      .free = vmgenid_free};

int vmgenid_new(struct device **out, struct irq irq, const uint8_t id[VMGENID_LEN], struct err *e)
{
	struct vmgenid *g = calloc(1, sizeof(*g));
	if (!g) return fail(e, -ENOMEM, "vmgenid: out of memory");
	device_init(&g->d, &ops, "vmgenid");
	g->irq = irq;
	memcpy(g->id, id, sizeof(g->id));
	*out = &g->d;
	return 0;
}

void vmgenid_renew(struct device *d, const uint8_t id[VMGENID_LEN])
{
	struct vmgenid *g = (struct vmgenid *)d;
	device_lock(d);
	memcpy(g->id, id, sizeof(g->id));
	irq_set(g->irq, 1);
	irq_set(g->irq, 0);
	device_unlock(d);
}
