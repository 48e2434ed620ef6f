#include "base/buf.h"
#include "base/err.h"
#include "base/state.h"
#include "base/test.h"
#include "base/types.h"
#include "dev/dev.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEN = 0x84000 };
static int fd;

static struct device *flash(bool kept)
{
	char name[] = "/tmp/lodge-flash.XXXXXX";
	uint8_t *p = malloc(LEN);
	struct device *d = NULL;
	must(p && (fd = mkstemp(name)) >= 0 && !unlink(name));
	for (size_t i = 0; i < LEN; i++) p[i] = (uint8_t)(i * 7 + 1);
	must(write(fd, p, LEN) == LEN);
	free(p);
	must(!pflash_new(&d, "vars", fd, LEN, kept, NULL));
	return d;
}
static void done(struct device *d)
{
	device_free(d);
	(void)close(fd);
}
static uint64_t get(struct device *d, uint64_t off, unsigned n) { return d->ops->read(d, off, n); }
static void put(struct device *d, uint64_t off, uint64_t v, unsigned n)
{
	d->ops->write(d, off, v, n);
}
static uint8_t stored(off_t at)
{
	uint8_t v = 0;
	must(pread(fd, &v, 1, at) == 1);
	return v;
}

/* As OVMF looks whether it is flash, ROM or RAM. */
TEST(pflash_is_known_as_flash)
{
	struct device *d = flash(true);
	CHECK(get(d, 1, 1) == 8 && get(d, 0, 4) == 0x160f0801);
	put(d, 1, 0x50, 1);
	CHECK(get(d, 1, 1) == 8);
	put(d, 1, 0x70, 1);
	CHECK(get(d, 1, 1) == 0);
	put(d, 1, 0xff, 1);
	CHECK(get(d, 1, 1) == 8);
	put(d, 0, 0x98, 1);
	CHECK(get(d, 0x10, 1) == 'Q' && get(d, 0x12, 1) == 'Y' &&
	      get(d, 0x2d, 1) == LEN / 4096 - 1);
	put(d, 0, 0x90, 1);
	CHECK(get(d, 0, 1) == 0x89);
	put(d, 0, 0x33, 1); /* no command */
	CHECK(get(d, 1, 1) == 8);
	done(d);
}
TEST(pflash_programs_and_erases_for_good)
{
	struct device *d = flash(true);
	put(d, 0x1010, 0x10, 1);
	put(d, 0x1010, 0x70, 1);
	CHECK(get(d, 0, 1) == 0x80);
	put(d, 0, 0xff, 1);
	CHECK(get(d, 0x1010, 1) == (0x71 & 0x70) && stored(0x1010) == (0x71 & 0x70));
	put(d, 0x1fff, 0x20, 1);
	put(d, 0x1fff, 0xd0, 1);
	put(d, 0, 0xff, 1);
	CHECK(get(d, 0x1000, 8) == ~0ull && get(d, 0x1ff8, 8) == ~0ull && stored(0x1234) == 0xff);
	CHECK(get(d, 0xfff, 1) == (uint8_t)(0xfff * 7 + 1) && get(d, 0x2000, 1) == 1);
	put(d, 0x3000, 0x20, 1); /* not confirmed */
	put(d, 0x3000, 0x11, 1);
	CHECK(get(d, 0, 1) & 0x30);
	put(d, 0, 0xff, 1);
	CHECK(get(d, 0x3000, 1) == 1 && stored(0x3000) == 1);
	put(d, LEN - 8, 0x40, 8); /* at its end */
	put(d, LEN - 8, 0, 8);
	put(d, LEN - 1, 0x20, 1);
	put(d, LEN - 1, 0xd0, 1);
	d->ops->reset(d);
	CHECK(get(d, LEN - 8, 8) == ~0ull);
	done(d);
}
TEST(pflash_forgets_what_is_not_kept)
{
	struct device *d = flash(false);
	put(d, 0, 0x20, 1);
	put(d, 0, 0xd0, 1);
	d->ops->reset(d);
	CHECK(get(d, 0, 1) == 0xff && stored(0) == 1);
	done(d);
}

static int load(struct device *d, struct buf *from)
{
	struct state in = {.b = from, .loading = true};
	from->pos = 0;
	d->ops->state(d, &in);
	return state_end(&in, NULL);
}
TEST(pflash_state_is_contents_and_goes_to_the_file)
{
	auto_buf struct buf s = {0}, again = {0};
	struct device *a = flash(false);
	struct state out = {.b = &s}, twice = {.b = &again};
	put(a, 0x1000, 0x20, 1);
	put(a, 0x1000, 0xd0, 1);
	put(a, 0, 0x98, 1);
	a->ops->state(a, &out);
	CHECK(!state_end(&out, NULL));
	done(a);
	struct device *b = flash(true);
	CHECK(!load(b, &s) && get(b, 0x10, 1) == 'Q' && stored(0x1234) == 0xff);
	b->ops->state(b, &twice);
	CHECK(again.len == s.len && !memcmp(again.at, s.at, s.len));
	CHECK(s.at[9] == (char)0x98 && (s.at[9] = 0x33, load(b, &s) < 0)); /* no mode */
	CHECK(get(b, 0, 1) == 1);
	for (size_t whole = s.len; s.len; s.len = s.len > 997 ? s.len - 997 : 0)
		CHECK(s.len == whole || load(b, &s) < 0);
	done(b);
}
