/* Writing snapshots: pages go to the file as they are found, all else is kept until the end. The
 * file has a name of its own until it is whole. */
#include "base/buf.h"
#include "base/crc.h"
#include "base/own.h"
#include "guest/outside.h"
#include "guest/snapshot_impl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* syscalls loop: fchmod fdatasync pwrite64 */

enum { RUN = 256 }; /* pages written at once, at most */

struct section {
	struct snapshot_entry e;
	struct buf bytes;
};
struct snapshot_out {
	char *path;
	int fd;
	uint64_t end; /* of what has been written */
	struct section *section;
	unsigned n;
	struct err e; /* the first thing that went wrong */
};

void snapshot_abandon(struct snapshot_out *o)
{
	if (!o) return;
	if (o->fd >= 0) {
		outside_drop(o->path);
		(void)close(o->fd);
	}
	for (unsigned i = 0; i < o->n; i++) buf_done(&o->section[i].bytes);
	free(o->section);
	free(o->path);
	free(o);
}

int snapshot_create(struct snapshot_out **out, const char *path, struct err *e)
{
	struct snapshot_out *o = calloc(1, sizeof(*o));
	must(o);
	o->path = strdup(path);
	must(o->path);
	o->fd = outside_draft(path, e);
	o->end = SNAPSHOT_PAGE;
	if (o->fd < 0) {
		int r = o->fd;
		snapshot_abandon(o);
		return r;
	}
	*out = o;
	return 0;
}

static int wrote(struct snapshot_out *o, const void *p, size_t n, uint64_t at)
{
	const char *from = p;
	while (n && !o->e.code) {
		ssize_t k = pwrite(o->fd, from, n, (off_t)at);
		if (k < 0 && errno == EINTR) continue;
		if (k <= 0) {
			int why = k < 0 ? errno : ENOSPC;
			return fail(&o->e, -why, "%s: %s", o->path, strerror(why));
		}
		from += k;
		at += (uint64_t)k;
		n -= (size_t)k;
	}
	return o->e.code;
}

static struct section *section_new(struct snapshot_out *o, const char *name, unsigned version)
{
	must(strlen(name) < SNAPSHOT_NAME && o->n < SNAPSHOT_SECTIONS);
	o->section = realloc(o->section, (o->n + 1) * sizeof(*o->section));
	must(o->section);
	struct section *s = &o->section[o->n++];
	*s = (struct section){.e = {.version = le32_of(version)}};
	memcpy(s->e.name, name, strlen(name));
	return s;
}

void snapshot_put(struct snapshot_out *o, const char *name, unsigned version, const struct buf *b)
{
	buf_add(&section_new(o, name, version)->bytes, b->at, b->len);
}

/* ---- memory */
struct pages {
	const struct snapshot_memory *m;
	uint64_t *present, n;
	struct buf crcs;
};

static bool is_zero(const void *page)
{
	const uint64_t *p = page;
	uint64_t any = 0;
	for (unsigned i = 0; i < SNAPSHOT_PAGE / 8 && !any; i += 8)
		any = p[i] | p[i + 1] | p[i + 2] | p[i + 3] | p[i + 4] | p[i + 5] | p[i + 6] |
		      p[i + 7];
	return !any;
}

static const char *host_of(const struct pages *g, uint64_t page)
{
	return (const char *)g->m->host + page * SNAPSHOT_PAGE;
}

static void page_note(struct pages *g, uint64_t page)
{
	le32 crc = le32_of(crc32c(0, host_of(g, page), SNAPSHOT_PAGE));
	g->present[page / 64] |= 1ull << page % 64;
	g->n++;
	buf_add(&g->crcs, &crc, sizeof(crc));
}

/* Pages [first, end), in runs of those that are not zero. */
static int pages_write(struct snapshot_out *o, struct pages *g, uint64_t first, uint64_t end)
{
	while (first < end && !o->e.code) {
		uint64_t n = 0;
		if (is_zero(host_of(g, first))) {
			first++;
			continue;
		}
		for (; first + n < end && n < RUN && !is_zero(host_of(g, first + n)); n++)
			page_note(g, first + n);
		(void)wrote(o, host_of(g, first), n * SNAPSHOT_PAGE, o->end);
		o->end += n * SNAPSHOT_PAGE;
		first += n;
	}
	return o->e.code;
}

static int memory_write(struct snapshot_out *o, struct pages *g)
{
	const struct snapshot_memory *m = g->m;
	uint64_t at = m->base, from, len, end = m->base + m->len;
	while (at < end && m->next(m->ctx, at, &from, &len) && !o->e.code) {
		uint64_t first = (from - m->base) / SNAPSHOT_PAGE;
		(void)pages_write(o, g, first, first + len / SNAPSHOT_PAGE);
		at = from + len;
	}
	return o->e.code;
}

int snapshot_put_memory(struct snapshot_out *o, const struct snapshot_memory *m, struct err *e)
{
	char name[SNAPSHOT_NAME];
	uint64_t words = snapshot_words(m->len), offset = o->end;
	struct pages g = {.m = m, .present = calloc(words, 8)};
	must(g.present);
	(void)memory_write(o, &g);
	const struct snapshot_index x = {le64_of(m->base), le64_of(m->len), le64_of(offset),
					 le64_of(g.n)};
	(void)snprintf(name, sizeof(name), SNAPSHOT_MEMORY "%llx", (unsigned long long)m->base);
	struct section *s = section_new(o, name, 1);
	buf_add(&s->bytes, &x, sizeof(x));
	buf_add(&s->bytes, g.present, words * 8);
	buf_add(&s->bytes, g.crcs.at, g.crcs.len);
	buf_done(&g.crcs);
	free(g.present);
	return o->e.code ? fail(e, o->e.code, "%s", o->e.msg) : 0;
}

/* ---- the end */
static void sections_write(struct snapshot_out *o)
{
	for (unsigned i = 0; i < o->n; i++) {
		struct section *s = &o->section[i];
		s->e.crc = le32_of(crc32c(0, s->bytes.at, s->bytes.len));
		s->e.offset = le64_of(o->end);
		s->e.length = le64_of(s->bytes.len);
		(void)wrote(o, s->bytes.at, s->bytes.len, o->end);
		o->end += s->bytes.len;
	}
}

static void table_write(struct snapshot_out *o)
{
	struct {
		struct snapshot_head h;
		char zero[SNAPSHOT_PAGE - sizeof(struct snapshot_head)];
	} page = {.h = {.version = le32_of(SNAPSHOT_VERSION),
			.table = le64_of(o->end),
			.sections = le32_of(o->n)}};
	uint32_t crc = 0;
	for (unsigned i = 0; i < o->n; i++) {
		(void)wrote(o, &o->section[i].e, sizeof(o->section[i].e), o->end);
		crc = crc32c(crc, &o->section[i].e, sizeof(o->section[i].e));
		o->end += sizeof(o->section[i].e);
	}
	memcpy(page.h.magic, SNAPSHOT_MAGIC, sizeof(page.h.magic));
	page.h.table_crc = le32_of(crc);
	page.h.length = le64_of(o->end);
	page.h.crc = le32_of(crc32c(0, &page, sizeof(page)));
	(void)wrote(o, &page, sizeof(page), 0);
}

static int settle(struct snapshot_out *o)
{
	if (o->e.code) return o->e.code;
	if (fchmod(o->fd, 0400) || fdatasync(o->fd))
		return fail(&o->e, -errno, "%s: %s", o->path, strerror(errno));
	int r = outside_keep(o->path, &o->e);
	if (r < 0) return r;
	(void)close(o->fd);
	o->fd = -1;
	return 0;
}

int snapshot_finish(struct snapshot_out *o, struct err *e)
{
	sections_write(o);
	table_write(o);
	int r = settle(o);
	if (r < 0) (void)fail(e, r, "%s", o->e.msg);
	snapshot_abandon(o);
	return r;
}
