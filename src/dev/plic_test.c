#include "base/test.h"
#include "dev/dev.h"

enum { NCTX = 4, SOURCES = 40 };
static int out[NCTX];
static void set_out(void *ctl, unsigned line, int level)
{
	(void)ctl;
	out[line] = level;
}
static struct device *d;
static struct bus *bus;

static void start(void)
{
	struct irq to[NCTX];
	for (unsigned i = 0; i < NCTX; i++) {
		to[i] = (struct irq){set_out, NULL, i};
		out[i] = 0;
	}
	CHECK(plic_new(&d, SOURCES, to, NCTX, NULL) == 0);
	bus = bus_new("test");
	CHECK(bus_map(bus, 0, 0x4000000, d, NULL) == 0);
}
static void stop(void)
{
	bus_free(bus);
	device_free(d);
}
static uint32_t get(uint64_t at) { return (uint32_t)bus_read(bus, at, 4); }
static void put(uint64_t at, uint32_t v) { bus_write(bus, at, v, 4); }
static void priority(unsigned s, uint32_t v) { put(s * 4u, v); }
static uint64_t enable_at(unsigned c, unsigned w) { return 0x2000 + 0x80u * c + 4u * w; }
static uint64_t threshold_at(unsigned c) { return 0x200000 + 0x1000u * c; }
static uint64_t claim_at(unsigned c) { return threshold_at(c) + 4; }
static void line(unsigned s, int level) { irq_set(plic_line(d, s), level); }

TEST(plic_claims_by_priority_then_number)
{
	start();
	put(enable_at(1, 0), 0xffffffff);
	put(enable_at(1, 1), 0xffffffff);
	priority(3, 1);
	priority(5, 2);
	priority(33, 2);
	line(3, 1);
	line(33, 1);
	line(5, 1);
	line(7, 1); /* priority 0: never */
	CHECK(out[1] == 1 && out[0] == 0 && get(0x1000) == (1 << 3 | 1 << 5 | 1 << 7));
	CHECK(get(0x1004) == 2);
	CHECK(get(claim_at(1)) == 5 && get(claim_at(1)) == 33 && out[1] == 1);
	CHECK(get(claim_at(1)) == 3 && out[1] == 0 && get(claim_at(1)) == 0);
	CHECK(get(0x1000) == 1 << 7 && get(0x1004) == 0);
	stop();
}

TEST(plic_level_comes_again_after_completion)
{
	start();
	priority(9, 7);
	put(enable_at(0, 0), 1 << 9);
	line(9, 1);
	CHECK(out[0] == 1 && get(claim_at(0)) == 9 && out[0] == 0);
	line(9, 0);
	line(9, 1);
	CHECK(out[0] == 0); /* one request at a time */
	put(claim_at(0), 9);
	CHECK(out[0] == 1 && get(claim_at(0)) == 9);
	line(9, 0);
	put(claim_at(0), 9);
	CHECK(out[0] == 0 && get(claim_at(0)) == 0);
	line(9, 1);
	line(9, 0); /* forwarded already: stays (chapter 5) */
	CHECK(out[0] == 1 && get(claim_at(0)) == 9);
	stop();
}

TEST(plic_completion_is_for_enabled_sources)
{
	start();
	priority(2, 1);
	put(enable_at(0, 0), 1 << 2);
	line(2, 1);
	CHECK(get(claim_at(0)) == 2);
	put(claim_at(1), 2); /* not enabled there */
	put(claim_at(0), 3);
	put(claim_at(0), 0);
	put(claim_at(0), 0xffffffff);
	put(claim_at(0), SOURCES + 1);
	CHECK(out[0] == 0);
	put(claim_at(0), 2);
	CHECK(out[0] == 1);
	stop();
}

TEST(plic_threshold_masks_the_output_not_the_claim)
{
	start();
	priority(4, 3);
	put(enable_at(2, 0), 1 << 4);
	put(threshold_at(2), 3);
	line(4, 1);
	CHECK(out[2] == 0);
	put(threshold_at(2), 2);
	CHECK(out[2] == 1);
	put(threshold_at(2), 7);
	CHECK(out[2] == 0 && get(claim_at(2)) == 4);
	put(threshold_at(2), 0xffffffff);
	CHECK(get(threshold_at(2)) == 7);
	stop();
}

TEST(plic_one_claim_wins)
{
	start();
	priority(1, 1);
	put(enable_at(1, 0), 2);
	put(enable_at(3, 0), 2);
	line(1, 1);
	CHECK(out[1] == 1 && out[3] == 1);
	CHECK(get(claim_at(3)) == 1 && out[1] == 0 && out[3] == 0 && get(claim_at(1)) == 0);
	stop();
}

TEST(plic_has_no_source_zero_nor_beyond_the_last)
{
	start();
	for (unsigned w = 0; w < 32; w++) put(enable_at(0, w), 0xffffffff);
	CHECK(get(enable_at(0, 0)) == 0xfffffffe && get(enable_at(0, 1)) == 0x1ff);
	CHECK(get(enable_at(0, 2)) == 0 && get(enable_at(0, 31)) == 0);
	priority(0, 7);
	priority(SOURCES + 1, 7);
	priority(SOURCES, 0xff);
	CHECK(get(0) == 0 && get((SOURCES + 1) * 4) == 0 && get(SOURCES * 4) == 7);
	put(enable_at(NCTX, 0), 0xffffffff);
	CHECK(get(enable_at(NCTX, 0)) == 0 && get(claim_at(NCTX)) == 0);
	put(0x1000, 0xffffffff);
	CHECK(get(0x1000) == 0 && get(0x1080) == 0 && get(0x1ffc) == 0);
	CHECK(bus_read(bus, enable_at(0, 0), 8) == 0 && bus_read(bus, 0x2001, 4) == 0);
	stop();
}

TEST(plic_reset_forgets_all_but_the_lines)
{
	start();
	priority(6, 5);
	put(enable_at(0, 0), 1 << 6);
	line(6, 1);
	CHECK(get(claim_at(0)) == 6);
	put(threshold_at(0), 6);
	d->ops->reset(d);
	CHECK(get(enable_at(0, 0)) == 0 && get(threshold_at(0)) == 0 && get(6 * 4) == 0 &&
	      out[0] == 0);
	priority(6, 5);
	put(enable_at(0, 0), 1 << 6);
	CHECK(out[0] == 1 && get(claim_at(0)) == 6);
	stop();
}
