/* Who answers at an address. Mappings are a sorted array behind a sequence count: readers never
 * lock and never wait for one another, a writer (a PCI BAR moving) makes them look again.
 * A device found just before it was unmapped still answers that one access, as a transaction
 * already on the wire would be; devices outlive the bus, so it is there to answer. */
#include "hw/bus.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MAPPINGS = 256 };
struct mapping { /* atomics: read while a writer shifts them, then thrown away */
	_Atomic uint64_t base, last, off;
	struct device *_Atomic dev;
};
struct bus {
	const char *name;
	pthread_mutex_t writer;
	atomic_uint seq; /* odd while a writer is at work */
	atomic_uint n;
	struct mapping map[MAPPINGS];
};
struct found {
	struct device *dev;
	uint64_t off;
};

void device_init(struct device *d, const struct device_ops *ops, const char *id)
{
	d->ops = ops;
	d->id = id;
	must(pthread_mutex_init(&d->mutex, NULL) == 0);
}

void device_done(struct device *d) { (void)pthread_mutex_destroy(&d->mutex); }

void device_free(struct device *d)
{
	if (d && d->ops->free) d->ops->free(d);
}

struct bus *bus_new(const char *name)
{
	struct bus *b = calloc(1, sizeof(*b));
	must(b);
	b->name = name;
	must(pthread_mutex_init(&b->writer, NULL) == 0);
	return b;
}

void bus_free(struct bus *b)
{
	if (b) (void)pthread_mutex_destroy(&b->writer);
	free(b);
}

#define GET(x)	  atomic_load_explicit(&(x), memory_order_relaxed)
#define SET(x, v) atomic_store_explicit(&(x), (v), memory_order_relaxed)

/* The number of mappings that begin at or below `at`. */
static unsigned map_upto(struct bus *b, uint64_t at)
{
	unsigned lo = 0, hi = GET(b->n);
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		if (GET(b->map[mid].base) <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct found map_find(struct bus *b, uint64_t at, unsigned len)
{
	struct found f;
	unsigned seq;
	do {
		seq = atomic_load_explicit(&b->seq, memory_order_acquire);
		f = (struct found){0};
		unsigned i = map_upto(b, at);
		if (i) {
			struct mapping *m = &b->map[i - 1];
			uint64_t base = GET(m->base), last = GET(m->last);
			if (at <= last && len - 1 <= last - at)
				f = (struct found){GET(m->dev), at - base + GET(m->off)};
		}
		atomic_thread_fence(memory_order_acquire);
	} while (seq & 1 || GET(b->seq) != seq);
	return f;
}

static void map_copy(struct mapping *to, struct mapping *from)
{
	SET(to->base, GET(from->base));
	SET(to->last, GET(from->last));
	SET(to->off, GET(from->off));
	SET(to->dev, GET(from->dev));
}

static void write_begin(struct bus *b)
{
	SET(b->seq, GET(b->seq) + 1);
	atomic_thread_fence(memory_order_release);
}

static void write_end(struct bus *b)
{
	atomic_store_explicit(&b->seq, GET(b->seq) + 1, memory_order_release);
}

struct part {
	uint64_t base, last, off;
	struct device *dev;
};

static void map_insert(struct bus *b, unsigned i, const struct part *p)
{
	write_begin(b);
	for (unsigned j = GET(b->n); j > i; j--) map_copy(&b->map[j], &b->map[j - 1]);
	SET(b->map[i].base, p->base);
	SET(b->map[i].last, p->last);
	SET(b->map[i].off, p->off);
	SET(b->map[i].dev, p->dev);
	SET(b->n, GET(b->n) + 1);
	write_end(b);
}

static int map_add(struct bus *b, const struct part *p, struct err *e)
{
	unsigned i = map_upto(b, p->base), n = GET(b->n);
	if ((i && GET(b->map[i - 1].last) >= p->base) || (i < n && GET(b->map[i].base) <= p->last))
		return fail(e, -EEXIST, "%s bus: %#llx..%#llx is taken", b->name,
			    (unsigned long long)p->base, (unsigned long long)p->last);
	if (n == MAPPINGS)
		return fail(e, -ENOSPC, "%s bus: more than %d mappings", b->name, MAPPINGS);
	map_insert(b, i, p);
	return 0;
}

int bus_map(struct bus *b, uint64_t base, uint64_t len, struct device *d, struct err *e)
{
	return bus_map_part(b, base, len, d, 0, e);
}

int bus_map_part(struct bus *b, uint64_t base, uint64_t len, struct device *d, uint64_t off,
		 struct err *e)
{
	if (!len || base + (len - 1) < base)
		return fail(e, -EINVAL, "%s bus: %#llx+%#llx is no range", b->name,
			    (unsigned long long)base, (unsigned long long)len);
	(void)pthread_mutex_lock(&b->writer);
	int rc = map_add(b, &(struct part){base, base + (len - 1), off, d}, e);
	(void)pthread_mutex_unlock(&b->writer);
	return rc;
}

void bus_unmap(struct bus *b, uint64_t base)
{
	(void)pthread_mutex_lock(&b->writer);
	unsigned i = map_upto(b, base);
	if (i && GET(b->map[i - 1].base) == base) {
		write_begin(b);
		for (unsigned n = GET(b->n); i < n; i++) map_copy(&b->map[i - 1], &b->map[i]);
		SET(b->n, GET(b->n) - 1);
		write_end(b);
	}
	(void)pthread_mutex_unlock(&b->writer);
}

static void split_set(void *ctl, unsigned line, int level)
{
	const struct irq_split *s = ctl;
	(void)line;
	irq_set(s->to[0], level);
	irq_set(s->to[1], level);
}

struct irq irq_split(struct irq_split *s) { return (struct irq){split_set, s, 0}; }

static uint64_t ones(unsigned len) { return len >= 8 ? ~0ull : (1ull << len * 8) - 1; }

uint64_t bus_read(struct bus *b, uint64_t at, unsigned len)
{
	struct found f = map_find(b, at, len);
	if (!f.dev) return ones(len);
	if (!f.dev->ops->read) return 0;
	device_lock(f.dev);
	uint64_t v = f.dev->ops->read(f.dev, f.off, len);
	device_unlock(f.dev);
	return v & ones(len);
}

void bus_write(struct bus *b, uint64_t at, uint64_t val, unsigned len)
{
	struct found f = map_find(b, at, len);
	if (!f.dev || !f.dev->ops->write) return;
	device_lock(f.dev);
	f.dev->ops->write(f.dev, f.off, val & ones(len), len);
	device_unlock(f.dev);
}
