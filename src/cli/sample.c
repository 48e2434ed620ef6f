/* Asking monitors what their guests use. Apart from the verbs that show it, because a share of a
 * CPU is one of a time: whoever shows one keeps what was answered before. */
#include "cli/sample.h"
#include "base/buf.h"
#include "base/loop.h"
#include "base/types.h"
#include "cli/cli.h"
#include "guest/control.h"
#include "guest/look.h"
#include "store/store.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MOMENT_MS = 500 };
static const char *const keys[] = {
	[FLOW_CPU] = "cpu_ns",		 [FLOW_READ] = "disk_read",
	[FLOW_WRITTEN] = "disk_written", [FLOW_RECEIVED] = "net_received",
	[FLOW_SENT] = "net_sent",
};
_Static_assert(COUNT(keys) == FLOWS, "a key for each");

uint64_t sample_number(const struct sample *s, const char *key)
{
	struct json_object *v;
	return json_object_object_get_ex(s->now, key, &v) ? json_object_get_uint64(v) : 0;
}

double sample_cpu(const struct sample *s) { return s->rate[FLOW_CPU] / 1e7; }

/* NULL and words: it is none. */
static struct json_object *parse_answer(const char *name, const struct buf *b, struct err *e)
{
	struct json_tokener *t = json_tokener_new_ex(8);
	must(t);
	struct json_object *o = json_tokener_parse_ex(t, b->at, (int)b->len), *words;
	json_tokener_free(t);
	if (json_object_is_type(o, json_type_object) &&
	    !json_object_object_get_ex(o, "error", &words))
		return o;
	(void)fail(e, -EPROTO, "guest %s: its monitor gave no answer that is understood", name);
	(void)json_object_put(o);
	return NULL;
}

static void take(struct sample *s, struct json_object *o, uint64_t at)
{
	struct sample before = *s;
	s->now = o;
	s->at_ns = at;
	for (unsigned i = 0; i < FLOWS; i++) {
		uint64_t was = sample_number(&before, keys[i]), is = sample_number(s, keys[i]);
		bool known = before.now && at > before.at_ns && is >= was;
		s->rate[i] = known ? (double)(is - was) * 1e9 / (double)(at - before.at_ns) : 0;
	}
	(void)json_object_put(before.now);
}

static int ask(struct sample *s, struct err *e)
{
	auto_buf struct buf b = {0};
	int bad = control_ask(s->name, "stats", &b, e);
	if (bad) return bad;
	struct json_object *o = parse_answer(s->name, &b, e);
	if (!o) return e->code;
	take(s, o, now_ns());
	return 0;
}

void samples_drop(struct samples *all, unsigned i)
{
	(void)json_object_put(all->at[i].now);
	all->n--;
	memmove(all->at + i, all->at + i + 1, (all->n - i) * sizeof(*all->at));
}

int samples_ask(struct samples *all, uint64_t patience_ns, struct err *e)
{
	int r = 0;
	for (unsigned i = 0; i < all->n;) {
		struct sample *s = &all->at[i];
		struct err why = {0};
		if (s->silent.code && now_ns() - s->silent_ns < patience_ns) {
			i++;
			continue;
		}
		int bad = ask(s, &why);
		s->silent = why;
		s->silent_ns = now_ns();
		if (bad != -ENOENT) {
			i++;
			continue;
		}
		*e = why;
		r = bad;
		samples_drop(all, i);
	}
	return r;
}

static int add(void *ctx, const char *name)
{
	struct samples *all = ctx;
	for (unsigned i = 0; i < all->n; i++)
		if (!strcmp(all->at[i].name, name)) return 0;
	all->at = realloc(all->at, (all->n + 1) * sizeof(*all->at));
	must(all->at);
	struct sample *s = &all->at[all->n++];
	*s = (struct sample){0};
	(void)snprintf(s->name, sizeof(s->name), "%s", name);
	return 0;
}

int samples_find(struct samples *all, struct err *e) { return control_each(add, all, e); }

int samples_name(struct samples *all, const struct call *c, struct err *e)
{
	char name[64];
	struct store *s = NULL;
	int r = store_open(&s, NULL, e);
	for (unsigned i = 0; !r && i < c->nargs; i++) {
		r = look_find(s, c->args[i], name, e);
		if (!r) (void)add(all, name);
	}
	store_close(s);
	return r;
}

void samples_rest(void)
{
	struct timespec t = {.tv_nsec = MOMENT_MS * 1000000L};
	(void)nanosleep(&t, NULL);
}

void samples_done(struct samples *all)
{
	while (all->n) samples_drop(all, all->n - 1);
	free(all->at);
	*all = (struct samples){0};
}
