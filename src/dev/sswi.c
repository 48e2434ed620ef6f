/* Supervisor software interrupts of the harts: an ACLINT's SSWI device (RISC-V ACLINT
 * specification 1.0, chapter 4). A write is an edge: the hart latches and clears it itself. */
#include "dev/dev.h"
#include <errno.h>
#include <stdlib.h>

enum { HARTS = 4095 };

struct sswi {
	struct device d;
	unsigned harts;
	struct irq ssi[];
};

static uint64_t sswi_read(struct device *d, uint64_t off, unsigned len)
{
	(void)d, (void)off, (void)len;
	return 0;
}

static void sswi_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct sswi *s = (struct sswi *)d;
	if (len < 4 || off % len) return;
	for (unsigned i = 0; i < len / 4; i++)
		if (off / 4 + i < s->harts && val >> i * 32 & 1) irq_set(s->ssi[off / 4 + i], 1);
}

static void sswi_free(struct device *d)
{
	device_done(d);
	free(d);
}

static const struct device_ops ops = {
	.name = "sswi",
	.read = sswi_read,
	.write = sswi_write,
	.free = sswi_free,
};

int sswi_new(struct device **out, unsigned harts, const struct irq *ssi, struct err *e)
{
	must(harts <= HARTS);
	struct sswi *s = calloc(1, sizeof(*s) + harts * sizeof(s->ssi[0]));
	if (!s) return fail(e, -ENOMEM, "sswi: out of memory");
	device_init(&s->d, &ops, "sswi");
	s->harts = harts;
	for (unsigned i = 0; i < harts; i++) s->ssi[i] = ssi[i];
	*out = &s->d;
	return 0;
}
