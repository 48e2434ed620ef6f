#include "base/test.h"
#include "hw/bus.h"
#include <errno.h>
#include <stdatomic.h>

struct probe {
	struct device dev;
	uint64_t off, val;
	unsigned len, n;
};
static uint64_t probe_read(struct device *d, uint64_t off, unsigned len)
{
	struct probe *p = (struct probe *)d;
	p->off = off;
	p->len = len;
	return p->val;
}
static void probe_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	*(struct probe *)d = (struct probe){*d, off, val, len, ((struct probe *)d)->n + 1};
}
static const struct device_ops probe_ops = {.name = "probe", .read = probe_read};
static const struct device_ops sink_ops = {.name = "sink", .write = probe_write};

TEST(bus_finds_the_device_and_its_offset)
{
	struct bus *b = bus_new("t");
	struct probe p[3] = {{.val = 0x1122334455667788}, {.val = 1}, {.val = 2}};
	for (int i = 0; i < 3; i++) device_init(&p[i].dev, &probe_ops, "p");
	CHECK(bus_map(b, 0x3000, 0x1000, &p[2].dev, 0) == 0);
	CHECK(bus_map(b, 0x1000, 0x1000, &p[0].dev, 0) == 0);
	CHECK(bus_map(b, 0x2000, 0x1000, &p[1].dev, 0) == 0);
	CHECK(bus_read(b, 0x1ff8, 8) == 0x1122334455667788);
	CHECK(p[0].off == 0xff8 && p[0].len == 8);
	CHECK(bus_read(b, 0x1000, 1) == 0x88);
	CHECK(bus_read(b, 0x2fff, 1) == 1 && p[1].off == 0xfff);
	CHECK(bus_read(b, 0x3000, 4) == 2);
	bus_write(b, 0x1000, 5, 4); /* no write op: nothing happens */
	bus_free(b);
}
TEST(bus_all_ones_where_nothing_is)
{
	struct bus *b = bus_new("t");
	struct probe p = {.val = 0};
	CHECK(bus_read(b, 0, 4) == 0xffffffff);
	device_init(&p.dev, &probe_ops, "p");
	CHECK(bus_map(b, 0x1000, 0x10, &p.dev, 0) == 0);
	CHECK(bus_read(b, 0xfff, 1) == 0xff);
	CHECK(bus_read(b, 0x1010, 2) == 0xffff);
	CHECK(bus_read(b, 0x100e, 4) == 0xffffffff); /* runs over the end */
	CHECK(bus_read(b, UINT64_MAX, 8) == UINT64_MAX);
	bus_unmap(b, 0x1001);
	CHECK(bus_read(b, 0x1000, 4) == 0);
	bus_unmap(b, 0x1000);
	CHECK(bus_read(b, 0x1000, 4) == 0xffffffff);
	bus_free(b);
}
TEST(bus_refuses_overlap)
{
	struct bus *b = bus_new("t");
	struct probe p = {0};
	struct err e = {0};
	CHECK(bus_map(b, 0x1000, 0x1000, &p.dev, &e) == 0);
	CHECK(bus_map(b, 0x0fff, 2, &p.dev, &e) == -EEXIST);
	CHECK(bus_map(b, 0x1fff, 1, &p.dev, &e) == -EEXIST);
	CHECK(bus_map(b, 0, 0x10000, &p.dev, &e) == -EEXIST);
	CHECK(bus_map(b, 0x2000, 0, &p.dev, &e) == -EINVAL);
	CHECK(bus_map(b, UINT64_MAX, 2, &p.dev, &e) == -EINVAL);
	CHECK(bus_map(b, UINT64_MAX, 1, &p.dev, &e) == 0);
	for (uint64_t i = 0; i < 254; i++) CHECK(bus_map(b, 0x2000 + i, 1, &p.dev, &e) == 0);
	CHECK(bus_map(b, 0x10000, 1, &p.dev, &e) == -ENOSPC);
	bus_free(b);
}
TEST(bus_writes_are_truncated)
{
	struct bus *b = bus_new("t");
	struct probe p = {0};
	device_init(&p.dev, &sink_ops, "p");
	CHECK(bus_map(b, 0, 8, &p.dev, 0) == 0);
	bus_write(b, 1, 0x1234, 1);
	CHECK(p.val == 0x34 && p.off == 1 && p.len == 1 && p.n == 1);
	bus_write(b, 1, 0x1234, 8);
	CHECK(p.n == 1);
	CHECK(bus_read(b, 0, 4) == 0);
	bus_free(b);
}

struct mover {
	struct bus *bus;
	struct probe still, moving;
	atomic_bool stop;
};
static void *move(void *ctx)
{
	struct mover *m = ctx;
	for (int i = 0; i < 20000; i++) {
		uint64_t at = 0x1000u + (uint64_t)(i % 7) * 0x1000;
		(void)bus_map(m->bus, at, 0x1000, &m->moving.dev, 0);
		bus_unmap(m->bus, at);
	}
	atomic_store(&m->stop, true);
	return NULL;
}
TEST(bus_lookup_while_another_mapping_moves)
{
	struct mover m = {.bus = bus_new("t"), .still = {.val = 7}, .moving = {.val = 9}};
	pthread_t t;
	uint64_t wrong = 0;
	device_init(&m.still.dev, &probe_ops, "still");
	device_init(&m.moving.dev, &probe_ops, "moving");
	CHECK(bus_map(m.bus, 0x4800000, 0x1000, &m.still.dev, 0) == 0);
	CHECK(pthread_create(&t, NULL, move, &m) == 0);
	while (!atomic_load(&m.stop)) {
		uint64_t v = bus_read(m.bus, 0x2000, 8);
		wrong += bus_read(m.bus, 0x4800ff8, 8) != 7;
		wrong += v != 9 && v != UINT64_MAX;
	}
	CHECK(!wrong);
	(void)pthread_join(t, NULL);
	bus_free(m.bus);
}

TEST(bus_parts_of_a_device_keep_their_offsets)
{
	struct bus *b = bus_new("t");
	struct probe p = {.val = 7}, q = {.val = 9};
	device_init(&p.dev, &probe_ops, "p");
	device_init(&q.dev, &probe_ops, "q");
	CHECK(bus_map_part(b, 0xa0, 2, &p.dev, 2, 0) == 0);
	CHECK(bus_map(b, 0x64, 1, &q.dev, 0) == 0);
	CHECK(bus_map_part(b, 0x20, 2, &p.dev, 0, 0) == 0);
	CHECK(bus_map_part(b, 0xa1, 1, &q.dev, 5, 0) == -EEXIST);
	CHECK(bus_read(b, 0xa1, 1) == 7 && p.off == 3);
	CHECK(bus_read(b, 0x21, 1) == 7 && p.off == 1);
	CHECK(bus_read(b, 0x21, 2) == 0xffff && p.off == 1);
	CHECK(bus_read(b, 0x64, 1) == 9 && q.off == 0);
	bus_unmap(b, 0x20); /* the others move, and take their offsets along */
	CHECK(bus_read(b, 0x20, 1) == 0xff && bus_read(b, 0xa0, 1) == 7 && p.off == 2);
	bus_free(b);
}
static int split_level[2];
static void split_to(void *ctl, unsigned line, int level)
{
	(void)ctl;
	split_level[line] = level;
}
TEST(irq_split_reaches_both)
{
	struct irq_split s = {{{split_to, NULL, 0}, {split_to, NULL, 1}}};
	irq_set(irq_split(&s), 1);
	CHECK(split_level[0] == 1 && split_level[1] == 1);
	irq_set(irq_split(&s), 0);
	CHECK(split_level[0] == 0 && split_level[1] == 0);
}
