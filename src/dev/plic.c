/* RISC-V platform-level interrupt controller (RISC-V PLIC specification 1.0, memory map of
 * chapter 3). All lines are levels. A gateway passes one request at a time: after a claim the
 * line is looked at again only on completion. Offers to contexts are recomputed after each
 * change; there are at most 32 words to look through. */
#include "base/state.h"
#include "dev/dev.h"
#include <errno.h>
#include <stdlib.h>

enum { SOURCES = 1024, WORDS = SOURCES / 32, CONTEXTS = 15872, PRIORITY_MASK = 7 };
enum {
	PENDING = 0x1000,
	PENDING_END = PENDING + WORDS * 4,
	ENABLE = 0x2000,
	ENABLE_STRIDE = 0x80,
	CONTEXT = 0x200000,
	CONTEXT_STRIDE = 0x1000,
	THRESHOLD = 0,
	CLAIM = 4,
};

struct context {
	uint32_t enabled[WORDS];
	uint32_t threshold;
	int level; /* of its output, as last set */
	struct irq to;
};

struct plic {
	struct device d;
	unsigned sources, contexts;
	uint8_t priority[SOURCES];
	uint32_t line[WORDS], pending[WORDS], claimed[WORDS];
	struct context ctx[];
};

static bool bit(const uint32_t *map, unsigned n) { return map[n / 32] >> n % 32 & 1; }

static void bit_put(uint32_t *map, unsigned n, bool on)
{
	uint32_t m = 1u << n % 32;
	map[n / 32] = on ? map[n / 32] | m : map[n / 32] & ~m;
}

/* The pending, enabled source of highest priority, the lowest number among equals; 0: none.
 * Priority 0 never interrupts. */
static unsigned best(const struct plic *p, const struct context *c)
{
	unsigned at = 0;
	for (unsigned w = 0; w <= p->sources / 32; w++)
		for (uint32_t m = p->pending[w] & c->enabled[w]; m; m &= m - 1) {
			unsigned s = w * 32 + (unsigned)__builtin_ctz(m);
			if (p->priority[s] > p->priority[at]) at = s;
		}
	return at;
}

static void offer(struct plic *p)
{
	for (unsigned i = 0; i < p->contexts; i++) {
		struct context *c = &p->ctx[i];
		int level = p->priority[best(p, c)] > c->threshold;
		if (level == c->level) continue;
		c->level = level;
		irq_set(c->to, level);
	}
}

/* The gateway of one source. */
static void gate(struct plic *p, unsigned s)
{
	if (bit(p->line, s) && !bit(p->claimed, s)) bit_put(p->pending, s, true);
}

/* The threshold holds back the interrupt, not the claim (chapter 8). */
static uint32_t claim(struct plic *p, struct context *c)
{
	unsigned s = best(p, c);
	if (!s) return 0;
	bit_put(p->pending, s, false);
	bit_put(p->claimed, s, true);
	offer(p);
	return s;
}

static void complete(struct plic *p, struct context *c, uint32_t s)
{
	if (!s || s > p->sources || !bit(c->enabled, s)) return;
	bit_put(p->claimed, s, false);
	gate(p, s);
}

static struct context *context_at(struct plic *p, uint64_t base, uint64_t stride, uint64_t off)
{
	uint64_t i = (off - base) / stride;
	return i < p->contexts ? &p->ctx[i] : NULL;
}

/* Source 0 does not exist, nor do those beyond the last. */
static uint32_t word_mask(const struct plic *p, unsigned w)
{
	uint32_t m = w ? ~0u : ~1u;
	if (w > p->sources / 32) return 0;
	return w == p->sources / 32 && p->sources % 32 != 31 ? m & ((2u << p->sources % 32) - 1)
							     : m;
}

static uint64_t plic_read(struct device *d, uint64_t off, unsigned len)
{
	struct plic *p = (struct plic *)d;
	struct context *c;
	if (len != 4 || off % 4) return 0;
	if (off < PENDING) return p->priority[off / 4];
	if (off < PENDING_END) return p->pending[(off - PENDING) / 4];
	if (off < ENABLE) return 0;
	if (off < CONTEXT) {
		c = context_at(p, ENABLE, ENABLE_STRIDE, off);
		return c ? c->enabled[off % ENABLE_STRIDE / 4] : 0;
	}
	c = context_at(p, CONTEXT, CONTEXT_STRIDE, off);
	if (c && off % CONTEXT_STRIDE == THRESHOLD) return c->threshold;
	if (c && off % CONTEXT_STRIDE == CLAIM) return claim(p, c);
	return 0;
}

static void write_context(struct plic *p, uint64_t off, uint32_t v)
{
	struct context *c = context_at(p, CONTEXT, CONTEXT_STRIDE, off);
	if (c && off % CONTEXT_STRIDE == THRESHOLD) c->threshold = v & PRIORITY_MASK;
	if (c && off % CONTEXT_STRIDE == CLAIM) complete(p, c, v);
}

static void write_enable(struct plic *p, uint64_t off, uint32_t v)
{
	struct context *c = context_at(p, ENABLE, ENABLE_STRIDE, off);
	unsigned w = off % ENABLE_STRIDE / 4;
	if (c) c->enabled[w] = v & word_mask(p, w);
}

static void plic_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct plic *p = (struct plic *)d;
	uint32_t v = (uint32_t)val;
	if (len != 4 || off % 4) return;
	if (off < PENDING) {
		if (off && off / 4 <= p->sources) p->priority[off / 4] = v & PRIORITY_MASK;
	} else if (off >= CONTEXT) {
		write_context(p, off, v);
	} else if (off >= ENABLE) {
		write_enable(p, off, v);
	}
	offer(p);
}

static void line_set(void *ctl, unsigned line, int level)
{
	struct plic *p = ctl;
	device_lock(&p->d);
	if (bit(p->line, line) != !!level) {
		bit_put(p->line, line, level);
		gate(p, line);
		offer(p);
	}
	device_unlock(&p->d);
}

/* The lines keep their levels: they are the devices'. */
static void plic_reset(struct device *d)
{
	struct plic *p = (struct plic *)d;
	memset(p->priority, 0, sizeof(p->priority));
	memset(p->claimed, 0, sizeof(p->claimed));
	memcpy(p->pending, p->line, sizeof(p->pending));
	for (unsigned i = 0; i < p->contexts; i++) {
		memset(p->ctx[i].enabled, 0, sizeof(p->ctx[i].enabled));
		p->ctx[i].threshold = 0;
	}
	offer(p);
}

static void plic_free(struct device *d)
{
	device_done(d);
	free(d);
}

static void context_state(struct context *c, struct state *s)
{
	STATE(s, c, enabled);
	STATE(s, c, threshold);
	STATE(s, c, level);
	if (s->loading) irq_set(c->to, c->level != 0);
}

static void plic_state(struct device *d, struct state *s)
{
	struct plic *p = (struct plic *)d;
	unsigned sources = p->sources, contexts = p->contexts;
	state_bytes(s, "sources", &sources, sizeof(sources));
	state_bytes(s, "contexts", &contexts, sizeof(contexts));
	if (!state_need(s, sources == p->sources && contexts == p->contexts, "number of lines"))
		return;
	STATE(s, p, priority);
	STATE(s, p, line);
	STATE(s, p, pending);
	STATE(s, p, claimed);
	for (unsigned i = 0; i < p->contexts; i++) context_state(&p->ctx[i], s);
}

static const struct device_ops ops = {
	.name = "plic",
	.read = plic_read,
	.write = plic_write,
	.reset = plic_reset,
	.state = plic_state,
	.free = plic_free,
};

int plic_new(struct device **out, unsigned sources, const struct irq *to, unsigned contexts,
	     struct err *e)
{
	must(sources < SOURCES && contexts <= CONTEXTS);
	struct plic *p = calloc(1, sizeof(*p) + contexts * sizeof(p->ctx[0]));
	if (!p) return fail(e, -ENOMEM, "plic: out of memory");
	device_init(&p->d, &ops, "plic");
	p->sources = sources;
	p->contexts = contexts;
	for (unsigned i = 0; i < contexts; i++) p->ctx[i].to = to[i];
	*out = &p->d;
	return 0;
}

struct irq plic_line(struct device *plic, unsigned source)
{
	must(source > 0 && source <= ((struct plic *)plic)->sources);
	return (struct irq){line_set, plic, source};
}
