#include "base/buf.h"
#include "base/state.h"
#include "base/test.h"
#include <string.h>

struct thing {
	uint8_t a;
	uint64_t b;
	uint16_t c[3];
	bool on;
};
static void thing_state(struct state *s, struct thing *t)
{
	STATE(s, t, a);
	STATE(s, t, b);
	STATE(s, t, c);
	STATE(s, t, on);
	(void)state_need(s, t->a < 10, "a");
}
static const struct thing some = {7, 1ull << 63, {1, 2, 3}, true};

static int load(struct thing *to, const char *at, size_t n, struct err *e)
{
	auto_buf struct buf b = {0};
	buf_add(&b, at, n);
	struct state s = {.b = &b, .loading = true};
	thing_state(&s, to);
	return state_end(&s, e);
}

TEST(state_comes_back)
{
	auto_buf struct buf b = {0};
	struct thing from = some, to = {0};
	struct state s = {.b = &b};
	thing_state(&s, &from);
	CHECK(!state_end(&s, NULL) && !load(&to, b.at, b.len, NULL));
	CHECK(to.a == 7 && to.b == some.b && to.c[2] == 3 && to.on);
}

TEST(state_refuses_what_is_cut_renamed_or_more)
{
	auto_buf struct buf b = {0};
	struct thing from = some, to;
	struct state s = {.b = &b};
	struct err e;
	thing_state(&s, &from);
	for (size_t n = 0; n < b.len; n++) CHECK(load(&to, b.at, n, NULL) < 0);
	buf_add(&b, "x", 1);
	CHECK(load(&to, b.at, b.len, &e) < 0 && strstr(e.msg, "more"));
	b.at[1] = 'z';
	CHECK(load(&to, b.at, b.len - 1, &e) < 0 && strstr(e.msg, "a: missing"));
}

TEST(state_refuses_what_cannot_be)
{
	auto_buf struct buf b = {0};
	struct thing from = some, to;
	struct state s = {.b = &b};
	struct err e;
	from.a = 10;
	thing_state(&s, &from);
	CHECK(load(&to, b.at, b.len, &e) < 0 && strstr(e.msg, "a: impossible"));
	b.at[b.len - 1] = 2;
	CHECK(load(&to, b.at, b.len, &e) < 0 && strstr(e.msg, "neither"));
}
