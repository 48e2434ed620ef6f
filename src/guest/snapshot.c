/* Reading snapshots. The one idea: before anything is taken from the file, all of it but its pages
 * has been read into memory of our own and compared with its checksums, and it has been seen that
 * header, pages, sections and table follow each other without a gap; so nothing later can fail but
 * a page that was altered meanwhile. A file that has been looked at so, or written by us, and has
 * neither been written to nor exchanged since, is not looked at again. Pages are read, not mapped:
 * a file that somebody cuts off under us is an error then, not a signal. */
#include "base/buf.h"
#include "base/crc.h"
#include "base/file.h"
#include "base/own.h"
#include "guest/snapshot_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A page comes on whatever thread touches it first. */
/* syscalls all: pread64 */

#define REST_MAX (1 * GIB) /* of what is no page */
enum { MEMORIES = 16, RANK = 8, CHUNK = 4096, MARK = 128 };

struct memory {
	uint64_t base, len, offset, pages;
	const uint8_t *present, *crcs; /* in rest */
	uint32_t *rank;		       /* how many are present before each RANK words of present */
};
struct snapshot {
	atomic_uint refs;
	int fd;
	char *path;
	uint64_t length, table, first; /* of the file; where its table and its sections begin */
	unsigned sections, memories;
	char *rest; /* from `first` on: sections, then the table */
	struct memory memory[MEMORIES];
};

static int bad(const struct snapshot *s, struct err *e, const char *what)
{
	return fail(e, -EBADMSG, "snapshot %s: %s; it cannot be used", s->path, what);
}

static int get(const struct snapshot *s, void *to, size_t n, uint64_t at, struct err *e)
{
	char *p = to;
	while (n) {
		ssize_t k = pread(s->fd, p, n, (off_t)at);
		if (k < 0 && errno == EINTR) continue;
		if (k < 0) return fail(e, -errno, "snapshot %s: %s", s->path, strerror(errno));
		if (!k) return bad(s, e, "it has been cut off");
		p += k;
		at += (uint64_t)k;
		n -= (size_t)k;
	}
	return 0;
}

/* ---- header and table */
static int head_check(struct snapshot *s, const struct snapshot_head *h, uint32_t crc,
		      struct err *e)
{
	uint64_t length = le64_get(h->length), table = le64_get(h->table);
	uint64_t n = le32_get(h->sections);
	if (memcmp(h->magic, SNAPSHOT_MAGIC, sizeof(h->magic))) return bad(s, e, "it is none");
	if (le32_get(h->crc) != crc) return bad(s, e, "its header has been altered");
	if (le32_get(h->version) > SNAPSHOT_VERSION)
		return fail(e, -EPROTONOSUPPORT,
			    "snapshot %s: of version %u, and this Lodge knows up to %d: use the "
			    "newer one",
			    s->path, le32_get(h->version), SNAPSHOT_VERSION);
	if (length != s->length) return bad(s, e, "it has been cut off, or added to");
	if (n > SNAPSHOT_SECTIONS || table < SNAPSHOT_PAGE || table > length ||
	    length - table != n * sizeof(struct snapshot_entry))
		return bad(s, e, "its table is nowhere");
	s->table = table;
	s->sections = (unsigned)n;
	return 0;
}

static int head_read(struct snapshot *s, uint32_t *table_crc, struct err *e)
{
	union {
		struct snapshot_head h;
		uint8_t bytes[SNAPSHOT_PAGE];
	} page;
	int r = s->length < sizeof(page) ? bad(s, e, "it is too short to be one")
					 : get(s, &page, sizeof(page), 0, e);
	if (r < 0) return r;
	struct snapshot_head h = page.h;
	page.h.crc = le32_of(0);
	*table_crc = le32_get(h.table_crc);
	return head_check(s, &h, crc32c(0, &page, sizeof(page)), e);
}

static const struct snapshot_entry *entry(const struct snapshot *s, unsigned i)
{
	return (const struct snapshot_entry *)(const void *)(s->rest + (s->table - s->first)) + i;
}

/* Sections lie one behind the other, up to the table: where the first one begins is where pages
 * end. */
static int rest_read(struct snapshot *s, uint32_t table_crc, struct err *e)
{
	auto_mem struct snapshot_entry *t = NULL;
	size_t n = s->sections * sizeof(*t);
	t = malloc(n + 1);
	must(t);
	int r = get(s, t, n, s->table, e);
	if (r < 0) return r;
	if (crc32c(0, t, n) != table_crc) return bad(s, e, "its table has been altered");
	s->first = s->sections ? le64_get(t[0].offset) : s->table;
	if (s->first > s->table || s->length - s->first > REST_MAX || s->first % SNAPSHOT_PAGE)
		return bad(s, e, "its sections are nowhere");
	s->rest = malloc(s->length - s->first + 1);
	must(s->rest);
	return get(s, s->rest, s->length - s->first, s->first, e);
}

static int sections_check(struct snapshot *s, uint32_t table_crc, struct err *e)
{
	uint64_t at = s->first;
	const char *table = s->rest + (s->table - s->first);
	if (crc32c(0, table, s->length - s->table) != table_crc)
		return bad(s, e, "its table has been altered");
	for (unsigned i = 0; i < s->sections; i++) {
		const struct snapshot_entry *t = entry(s, i);
		uint64_t n = le64_get(t->length);
		if (!memchr(t->name, 0, sizeof(t->name)) || le64_get(t->offset) != at ||
		    n > s->table - at)
			return bad(s, e, "its table makes no sense");
		if (crc32c(0, s->rest + (at - s->first), n) != le32_get(t->crc))
			return fail(e, -EBADMSG,
				    "snapshot %s: its section '%s' has been altered; it cannot be "
				    "used",
				    s->path, t->name);
		at += n;
	}
	return at == s->table ? 0 : bad(s, e, "there is more in it than its table says");
}

/* ---- memory */
static unsigned bits(const uint8_t *word)
{
	return (unsigned)__builtin_popcountll(load_le(word, 8));
}

static uint64_t ranks_make(struct memory *m)
{
	uint64_t words = snapshot_words(m->len), n = 0;
	m->rank = malloc((words / RANK + 1) * sizeof(*m->rank));
	must(m->rank);
	for (uint64_t w = 0; w < words; w++) {
		if (w % RANK == 0) m->rank[w / RANK] = (uint32_t)n;
		n += bits(m->present + 8 * w);
	}
	return n;
}

static bool has_bits_beyond(const struct memory *m)
{
	uint64_t pages = m->len / SNAPSHOT_PAGE, last = pages / 64;
	return pages % 64 && load_le(m->present + 8 * last, 8) >> pages % 64;
}

static int memory_take(struct snapshot *s, const char *p, uint64_t n, uint64_t *end, struct err *e)
{
	struct snapshot_index x;
	struct memory *m = &s->memory[s->memories];
	if (s->memories == MEMORIES || n < sizeof(x)) return bad(s, e, "its memory makes no sense");
	memcpy(&x, p, sizeof(x));
	*m = (struct memory){le64_get(x.base),
			     le64_get(x.len),
			     le64_get(x.offset),
			     le64_get(x.present),
			     NULL,
			     NULL,
			     NULL};
	uint64_t map = snapshot_words(m->len) * 8;
	bool sized = m->len && m->len % SNAPSHOT_PAGE == 0 && m->len <= 1024 * GIB &&
		     n >= sizeof(x) + map && m->pages <= m->len / SNAPSHOT_PAGE &&
		     n == sizeof(x) + map + 4 * m->pages;
	if (!sized || m->offset != *end) return bad(s, e, "its memory makes no sense");
	m->present = (const uint8_t *)p + sizeof(x);
	m->crcs = m->present + map;
	s->memories++;
	*end += m->pages * SNAPSHOT_PAGE;
	return ranks_make(m) == m->pages && !has_bits_beyond(m)
		       ? 0
		       : bad(s, e, "its memory makes no sense");
}

static bool is_memory(const struct snapshot_entry *t)
{
	return !strncmp(t->name, SNAPSHOT_MEMORY, strlen(SNAPSHOT_MEMORY));
}

static int memories_check(struct snapshot *s, struct err *e)
{
	uint64_t end = SNAPSHOT_PAGE;
	int r = 0;
	for (unsigned i = 0; r == 0 && i < s->sections; i++) {
		const struct snapshot_entry *t = entry(s, i);
		if (is_memory(t))
			r = memory_take(s, s->rest + (le64_get(t->offset) - s->first),
					le64_get(t->length), &end, e);
	}
	if (r == 0 && end != s->first) r = bad(s, e, "its pages are not where they should be");
	return r;
}

static bool page_good(const struct memory *m, uint64_t k, const void *page)
{
	return crc32c(0, page, SNAPSHOT_PAGE) == load_le(m->crcs + 4 * k, 4);
}

static int pages_bad(const struct snapshot *s, struct err *e)
{
	return bad(s, e, "a page of memory in it has been altered");
}

/* A mapping is read faster than a file; for a moment, before anything runs. */
static int pages_check(const struct snapshot *s, const struct memory *m, struct err *e)
{
	int r = 0;
	for (uint64_t k = 0; r == 0 && k < m->pages; k += CHUNK) {
		uint64_t n = m->pages - k < CHUNK ? m->pages - k : CHUNK;
		const char *p = mmap(NULL, n * SNAPSHOT_PAGE, PROT_READ, MAP_SHARED | MAP_POPULATE,
				     s->fd, (off_t)(m->offset + k * SNAPSHOT_PAGE));
		if (p == MAP_FAILED)
			return fail(e, -errno, "snapshot %s: %s", s->path, strerror(errno));
		for (uint64_t i = 0; r == 0 && i < n; i++)
			if (!page_good(m, k + i, p + i * SNAPSHOT_PAGE)) r = pages_bad(s, e);
		(void)munmap((void *)(uintptr_t)p, n * SNAPSHOT_PAGE);
	}
	return r;
}

/* ---- a mark beside the file says that all of it has been looked at, and which file that was */
static int mark_make(const char *path, const struct stat *st, char to[MARK], char **name)
{
	must(asprintf(name, "%s.seen", path) > 0);
	return snprintf(to, MARK, "%llu %llu %llu %lld.%09ld\n", (unsigned long long)st->st_dev,
			(unsigned long long)st->st_ino, (unsigned long long)st->st_size,
			(long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
}

static bool is_marked(const char *path, const struct stat *st)
{
	char want[MARK];
	auto_mem char *name = NULL;
	auto_buf struct buf b = {0};
	int n = mark_make(path, st, want, &name);
	return !file_read(&b, name, MARK, NULL) && b.len == (size_t)n && !memcmp(b.at, want, b.len);
}

void snapshot_mark(const char *path)
{
	char text[MARK];
	auto_mem char *name = NULL;
	struct stat st;
	if (stat(path, &st) || is_marked(path, &st)) return;
	int n = mark_make(path, &st, text, &name);
	(void)file_replace(name, text, (size_t)n, 0600, NULL);
}

/* ---- opening */
static int check(struct snapshot *s, bool pages, struct err *e)
{
	uint32_t crc = 0;
	int r = head_read(s, &crc, e);
	if (r == 0) r = rest_read(s, crc, e);
	if (r == 0) r = sections_check(s, crc, e);
	if (r == 0) r = memories_check(s, e);
	for (unsigned i = 0; pages && r == 0 && i < s->memories; i++)
		r = pages_check(s, &s->memory[i], e);
	return r;
}

int snapshot_open(struct snapshot **out, const char *path, bool pages, struct err *e)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	struct stat st;
	must(s && (s->path = strdup(path)));
	s->refs = 1;
	s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int r = s->fd < 0 || fstat(s->fd, &st)
			? fail(e, -errno, "snapshot %s: %s", path, strerror(errno))
			: 0;
	if (r == 0 && !S_ISREG(st.st_mode)) r = bad(s, e, "it is no file");
	if (r == 0) {
		s->length = (uint64_t)st.st_size;
		r = check(s, pages && !is_marked(path, &st), e);
	}
	if (r < 0)
		snapshot_unref(s);
	else
		*out = s;
	return r;
}

void snapshot_ref(struct snapshot *s) { (void)atomic_fetch_add(&s->refs, 1); }

void snapshot_unref(struct snapshot *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1) return;
	for (unsigned i = 0; i < s->memories; i++) free(s->memory[i].rank);
	if (s->fd >= 0) (void)close(s->fd);
	free(s->rest);
	free(s->path);
	free(s);
}

/* ---- what is in it */
const char *snapshot_name(const struct snapshot *s, unsigned n)
{
	return n < s->sections ? entry(s, n)->name : NULL;
}

int snapshot_section(const struct snapshot *s, const char *name, unsigned known, struct buf *lent,
		     struct err *e)
{
	for (unsigned i = 0; i < s->sections; i++) {
		const struct snapshot_entry *t = entry(s, i);
		if (strcmp(t->name, name)) continue;
		if (le32_get(t->version) > known)
			return fail(e, -EPROTONOSUPPORT,
				    "snapshot %s: its '%s' is of a newer Lodge: use that", s->path,
				    name);
		*lent = (struct buf){.at = s->rest + (le64_get(t->offset) - s->first),
				     .len = le64_get(t->length)};
		return 0;
	}
	return fail(e, -ENOENT, "snapshot %s: there is no '%s' in it", s->path, name);
}

int snapshot_memory_find(const struct snapshot *s, uint64_t base, uint64_t len, unsigned *which,
			 uint64_t **present, struct err *e)
{
	for (unsigned i = 0; i < s->memories; i++) {
		const struct memory *m = &s->memory[i];
		size_t n = snapshot_words(m->len) * 8;
		if (m->base != base || m->len != len) continue;
		*which = i;
		*present = malloc(n);
		must(*present);
		memcpy(*present, m->present, n);
		return 0;
	}
	return fail(e, -ENOENT, "snapshot %s: it has no memory of %llu MiB at %#llx", s->path,
		    (unsigned long long)(len / MIB), (unsigned long long)base);
}

static uint64_t rank_of(const struct memory *m, uint64_t n)
{
	uint64_t w = n / 64, k = m->rank[w / RANK];
	for (uint64_t i = w / RANK * RANK; i < w; i++) k += bits(m->present + 8 * i);
	uint64_t below = load_le(m->present + 8 * w, 8) & ((1ull << n % 64) - 1);
	return k + (uint64_t)__builtin_popcountll(below);
}

int snapshot_page(const struct snapshot *s, unsigned which, uint64_t n, void *to, struct err *e)
{
	const struct memory *m = &s->memory[which];
	uint64_t k = rank_of(m, n);
	int r = get(s, to, SNAPSHOT_PAGE, m->offset + k * SNAPSHOT_PAGE, e);
	return r == 0 && !page_good(m, k, to) ? pages_bad(s, e) : r;
}
