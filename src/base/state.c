/* Named fields in a row. The one idea: whoever has state describes it once, and the description
 * both writes and reads it. */
#include "base/state.h"
#include "base/buf.h"
#include "base/types.h"
#include <errno.h>

enum { NAME_MAX_ = 255 };

static void wrong(struct state *s, const char *name, const char *what)
{
	if (state_ok(s)) (void)fail(&s->e, -EBADMSG, "%s: %s", name, what);
}

static void put(struct state *s, const char *name, const void *p, size_t n)
{
	size_t len = strlen(name);
	uint8_t head = (uint8_t)len, size[4];
	must(len <= NAME_MAX_ && n <= UINT32_MAX);
	store_le(size, n, 4);
	buf_add(s->b, &head, 1);
	buf_add(s->b, name, len);
	buf_add(s->b, size, 4);
	buf_add(s->b, p, n);
}

/* Where the value is; NULL: it is not that field. */
static const char *find(struct state *s, const char *name, size_t n)
{
	struct buf *b = s->b;
	size_t len = strlen(name), left = b->len - b->pos;
	const char *at = b->at + b->pos;
	if (!state_ok(s)) return NULL;
	if (left < 1 + len + 4 || (uint8_t)*at != len || memcmp(at + 1, name, len)) {
		wrong(s, name, "missing");
		return NULL;
	}
	if (load_le(at + 1 + len, 4) != n || left - (1 + len + 4) < n) {
		wrong(s, name, "of another length");
		return NULL;
	}
	b->pos += 1 + len + 4 + n;
	return at + 1 + len + 4;
}

void state_bytes(struct state *s, const char *name, void *p, size_t n)
{
	if (!s->loading) {
		put(s, name, p, n);
		return;
	}
	const char *v = find(s, name, n);
	if (v) memcpy(p, v, n);
}

void state_flag(struct state *s, const char *name, void *flag, size_t n)
{
	bool *to = flag;
	uint8_t v = *to;
	must(n == sizeof(*to));
	state_bytes(s, name, &v, 1);
	if (v > 1) wrong(s, name, "neither yes nor no");
	if (s->loading && state_ok(s)) *to = v;
}

bool state_need(struct state *s, bool good, const char *what)
{
	if (s->loading && !good) wrong(s, what, "impossible");
	return state_ok(s);
}

int state_end(struct state *s, struct err *e)
{
	if (s->loading && s->b->pos != s->b->len) wrong(s, "end", "there is more than expected");
	return state_ok(s) ? 0 : fail(e, s->e.code, "%s", s->e.msg);
}
