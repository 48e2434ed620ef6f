/* The balloon: what goes back to the host, what never does, and what it tells. */
#include "base/buf.h"
#include "base/state.h"
#include "base/test.h"
#include "dev/dev.h"
#include "hw/gmem.h"
#include "hw/virtio_driver_test.h"

enum { INFLATE, DEFLATE, STATS, REPORT, REPORT_TOO };
enum {
	F_STATS = 2,
	F_OOM = 4,
	F_HINT = 8,
	F_POISON = 16,
	F_REPORTING = 32,
	PAGE = 4096,
	PAGES = 512
};
static struct vdrv d;
static struct virtio_dev *v;
static gpa_t buf, area; /* area: PAGES pages of which the first byte of each is 7 */
static uint16_t head;
static uint32_t len;

static void start(uint64_t features)
{
	vdrv_init(&d);
	CHECK(!virtio_balloon_new(&v, d.mem, NULL) && vdrv_start(&d, v, features, 0));
	buf = vdrv_alloc(&d, 128 * 1024);
	area = (vdrv_alloc(&d, (PAGES + 1) * PAGE) + PAGE - 1) / PAGE * PAGE;
	for (unsigned i = 0; i < PAGES; i++) *(uint8_t *)vdrv_at(&d, area + i * PAGE, 1) = 7;
}
static bool is_there(unsigned i) { return *(uint8_t *)vdrv_at(&d, area + i * PAGE, 1) == 7; }
static unsigned all_there(void)
{
	unsigned n = 0;
	for (unsigned i = 0; i < PAGES; i++) n += is_there(i);
	return n;
}
static void send(unsigned q, gpa_t at, uint32_t n, bool in)
{
	(void)vdrv_add(&d, q, (struct vdrv_buf[]){{at, n, in}}, 1);
	vdrv_notify(&d, q);
}
static bool done(unsigned q) { return vdrv_used(&d, q, &head, &len); }
static void pfn(unsigned i, uint32_t n) { store_le(vdrv_at(&d, buf + 4 * i, 4), n, 4); }
static uint32_t page(unsigned i) { return (uint32_t)(area / PAGE + i); }
static struct balloon_report look(void)
{
	struct balloon_report r;
	virtio_balloon_look(v, &r);
	return r;
}
static uint32_t config(unsigned off)
{
	uint8_t b[4];
	virtio_lock(v);
	virtio_config_get(v, off, b, 4);
	virtio_unlock(v);
	return (uint32_t)load_le(b, 4);
}
static void set_config(unsigned off, uint32_t n)
{
	uint8_t b[4];
	store_le(b, n, 4);
	virtio_lock(v);
	virtio_config_set(v, off, b, 4);
	virtio_unlock(v);
}

TEST(balloon_inflates_by_pages_in_any_order)
{
	start(0);
	const unsigned which[] = {5, 3, 4, 4, 100, 8};
	for (unsigned i = 0; i < COUNT(which); i++) pfn(i, page(which[i]));
	uint64_t before = gmem_resident(d.mem);
	send(INFLATE, buf, 4 * COUNT(which) + 3, false);
	CHECK(done(INFLATE) && len == 0 && d.queue_irqs[INFLATE]);
	CHECK(all_there() == PAGES - 5 && gmem_resident(d.mem) <= before);
	CHECK(!is_there(3) && !is_there(4) && !is_there(5) && !is_there(8) && !is_there(100));
	CHECK(look().returned == 5 * PAGE);
	send(DEFLATE, buf, 24, false);
	CHECK(done(DEFLATE) && look().returned == 5 * PAGE);
	vdrv_done(&d);
}

TEST(balloon_takes_numbers_that_are_no_pages)
{
	start(0);
	const uint32_t which[] = {0, UINT32_MAX, 0x80000000, UINT32_MAX - 1, page(1)};
	for (unsigned i = 0; i < COUNT(which); i++) pfn(i, which[i]);
	send(INFLATE, buf, sizeof(which), false);
	CHECK(done(INFLATE) && all_there() == PAGES - 1 && look().returned == PAGE);
	send(INFLATE, buf, 3, false);
	send(INFLATE, buf, 4, true);
	CHECK(done(INFLATE) && done(INFLATE) && v->live && all_there() == PAGES - 1);
	vdrv_done(&d);
}

/* One request costs no more than so many pages. */
TEST(balloon_bounds_a_request)
{
	start(0);
	for (unsigned i = 0; i < 128 * 1024 / 4; i++) pfn(i, 1);
	pfn(16384 + 1, page(2));
	pfn(1, page(3));
	send(INFLATE, buf, 128 * 1024, false);
	CHECK(done(INFLATE) && is_there(2) && !is_there(3));
	vdrv_done(&d);
}

TEST(balloon_takes_reports)
{
	for (unsigned q = REPORT; q <= REPORT_TOO; q++) {
		start(F_STATS | F_REPORTING);
		struct vdrv_buf b[] = {{area, 4 * PAGE, 1}, {area + 8 * PAGE, PAGE, 1}};
		(void)vdrv_add(&d, q, b, 2);
		vdrv_notify(&d, q);
		CHECK(done(q) && all_there() == PAGES - 5 && look().returned == 5 * PAGE);
		send(q, area + 20 * PAGE, PAGE, false); /* to be read: nothing that may change */
		CHECK(done(q) && is_there(20));
		vdrv_done(&d);
	}
}

/* Drivers that leave out queues of what they do not know have it at 2. */
TEST(balloon_takes_reports_where_there_are_no_statistics)
{
	start(F_REPORTING);
	send(STATS, area, PAGE, true);
	CHECK(done(STATS) && !is_there(0));
	vdrv_done(&d);
	start(0);
	send(REPORT, area, PAGE, true);
	CHECK(!done(REPORT) && is_there(0));
	vdrv_done(&d);
}

/* A report of as many pages as a driver ever tells at once. */
static void report_fully(unsigned q, unsigned first)
{
	struct vdrv_buf b[32];
	for (unsigned i = 0; i < 32; i++)
		b[i] = (struct vdrv_buf){area + (first + i) * PAGE, PAGE, 1};
	(void)vdrv_add(&d, q, b, 32);
	vdrv_notify(&d, q);
	CHECK(done(q));
}
static void say(uint32_t word)
{
	store_le(vdrv_at(&d, buf, 4), word, 4);
	send(REPORT, buf, 4, false);
	CHECK(done(REPORT));
}
static void hint(unsigned i)
{
	send(REPORT, area + i * PAGE, PAGE, true);
	CHECK(done(REPORT));
}
static uint32_t hints_begin(void)
{
	start(F_STATS | F_HINT | F_REPORTING);
	CHECK(config(8) == 1);
	report_fully(REPORT_TOO, 0);
	CHECK(config(8) > 1);
	return config(8);
}

TEST(balloon_asks_for_all_when_much_was_freed)
{
	unsigned irqs = 0;
	uint32_t id = hints_begin();
	hint(100); /* before the round: not taken */
	CHECK(is_there(100));
	say(id);
	hint(101);
	hint(102);
	CHECK(!is_there(101) && !is_there(102) && config(8) == id);
	irqs = d.config_irqs;
	say(0);
	CHECK(config(8) == 1 && d.config_irqs == irqs + 1);
	hint(103);
	CHECK(is_there(103));
	report_fully(REPORT_TOO, 0); /* nothing came of it: no other round */
	CHECK(config(8) == 1);
	report_fully(REPORT_TOO, 200);
	CHECK(config(8) > 1);
	vdrv_done(&d);
}

TEST(balloon_does_not_ask_after_small_reports_or_who_cannot)
{
	start(F_STATS | F_HINT | F_REPORTING);
	send(REPORT_TOO, area, 40 * PAGE, true);
	CHECK(config(8) == 1 && !is_there(39));
	vdrv_done(&d);
	start(F_STATS | F_REPORTING);
	report_fully(REPORT, 0);
	CHECK(config(8) == 1 && !is_there(0));
	vdrv_done(&d);
}

/* Of several that come at once all but the last may be in use again. */
TEST(balloon_does_not_trust_hints_that_come_late)
{
	uint32_t id = hints_begin();
	say(id);
	for (unsigned i = 50; i < 53; i++)
		(void)vdrv_add(&d, REPORT, (struct vdrv_buf[]){{area + i * PAGE, PAGE, 1}}, 1);
	vdrv_notify(&d, REPORT);
	CHECK(done(REPORT) && done(REPORT) && done(REPORT));
	CHECK(is_there(50) && is_there(51) && is_there(52));
	say(0);
	CHECK(config(8) == 1);
	report_fully(REPORT_TOO, 200);
	CHECK(config(8) == 1); /* it is not asked again */
	vdrv_done(&d);
}

TEST(balloon_ends_a_round_when_paused)
{
	uint32_t id = hints_begin();
	say(id);
	virtio_pause(v);
	virtio_resume(v);
	CHECK(config(8) == 1);
	hint(60);
	CHECK(is_there(60));
	say(id + 1); /* nobody asked for that one */
	hint(60);
	CHECK(is_there(60) && v->live);
	vdrv_done(&d);
}

TEST(balloon_leaves_poison)
{
	start(F_REPORTING | F_STATS | F_POISON);
	set_config(12, 0xaaaaaaaa);
	send(REPORT, area, PAGE, true);
	CHECK(done(REPORT) && is_there(0) && config(12) == 0xaaaaaaaa);
	set_config(12, 0);
	send(REPORT, area, PAGE, true);
	CHECK(done(REPORT) && !is_there(0));
	vdrv_done(&d);
}

TEST(balloon_has_a_target)
{
	start(0);
	unsigned irqs = d.config_irqs;
	virtio_balloon_target(v, 10 * PAGE + 1);
	CHECK(config(0) == 10 && d.config_irqs == irqs + 1);
	set_config(4, 6);
	CHECK(config(4) == 6 && look().actual == 6 * PAGE && look().target == 10 * PAGE);
	virtio_balloon_target(v, UINT64_MAX);
	CHECK(config(0) == UINT32_MAX);
	virtio_balloon_target(v, 10 * PAGE);
	vdrv_reset(&d);
	CHECK(config(0) == 10 && config(4) == 0 && !look().driven);
	vdrv_done(&d);
}

static void put_stat(unsigned i, unsigned tag, uint64_t value)
{
	uint8_t *p = vdrv_at(&d, buf + i * 10, 10);
	store_le(p, tag, 2);
	store_le(p + 2, value, 8);
}

TEST(balloon_asks_for_statistics)
{
	start(F_STATS | F_OOM);
	CHECK(look().used == 0 && !done(STATS));
	put_stat(0, 5, 1000000);
	put_stat(1, 999, 1);
	put_stat(2, 6, 400000);
	send(STATS, buf, 30, false);
	CHECK(!done(STATS) && look().used == 600000);
	CHECK(done(STATS) && d.queue_irqs[STATS] == 1); /* looking has asked for more */
	CHECK(look().used == 600000 && !done(STATS));
	put_stat(2, 6, 300000);
	set_config(4, 100);
	send(STATS, buf, 30, false);
	send(STATS, buf, 30, false); /* one too many waits */
	CHECK(look().used == 700000 - 100 * PAGE && done(STATS) && !done(STATS));
	vdrv_reset(&d);
	CHECK(look().used == 0);
	vdrv_done(&d);
}

/* A buffer that is out counts as not taken while paused, and is taken again. */
TEST(balloon_state_comes_back)
{
	auto_buf struct buf b = {0};
	struct state out = {.b = &b}, in = {.b = &b, .loading = true};
	start(F_STATS);
	put_stat(0, 5, 1000);
	put_stat(1, 6, 400);
	send(STATS, buf, 20, false);
	virtio_balloon_target(v, 5 * PAGE);
	set_config(4, 3);
	virtio_pause(v);
	virtio_state(v, &out);
	CHECK(!state_end(&out, NULL));
	virtio_balloon_target(v, 0);
	set_config(4, 0);
	virtio_state(v, &in);
	CHECK(!state_end(&in, NULL));
	virtio_resume(v);
	CHECK(config(0) == 5 && config(4) == 3 && look().used == 600 && done(STATS));
	vdrv_done(&d);
}

/* Its own rings, twice: what it finds there then is zeroes, and no request. */
TEST(attack_balloon_of_the_pages_of_its_rings)
{
	start(F_STATS);
	uint64_t at = v->vq[INFLATE].desc / PAGE, end = buf / PAGE;
	unsigned n = 0;
	for (uint64_t i = at; i <= end && n < 500; i++)
		pfn(n++, (uint32_t)i), pfn(n++, (uint32_t)i);
	send(INFLATE, buf, 4 * n, false);
	(void)look();
	for (unsigned q = 0; q < 5; q++) vdrv_notify(&d, q);
	virtio_balloon_target(v, 1 << 20);
	vdrv_reset(&d);
	CHECK(!v->status && vdrv_start(&d, v, 0, 0));
	pfn(0, page(1));
	send(INFLATE, buf, 4, false);
	CHECK(done(INFLATE) && !is_there(1) && is_there(2));
	vdrv_done(&d);
}
