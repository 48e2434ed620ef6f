/* Guest memory: a few regions, each a sealed memfd mapped once, or private memory that the host may
 * merge with others', found by comparing addresses.
 * The one idea: nothing here changes after the board is built, so every check is pure. */
#include "hw/gmem.h"
#include "base/ksm.h"
#include "base/own.h"
#include "hw/pagemap.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REGIONS = 16, PAGE = 4096, WORD = 64 };
struct region {
	gpa_t base;
	uint64_t len;
	unsigned flags;
	unsigned char *host;
	int fd; /* -1: private */
	_Atomic uint64_t *dirty;
	_Atomic uint8_t *code;	   /* a byte a page */
	struct lazy *_Atomic lazy; /* NULL: all of it is there */
};
struct lazy { /* pages that have not come; lives as long as the region */
	struct gmem_source from;
	_Atomic uint64_t left;
	_Atomic uint64_t *missing; /* a bit a page */
	pthread_mutex_t lock[16];  /* of a page, by its number */
};
enum { CODE_SEALED = 1, CODE_WAS = 2, CODE_OPEN = 4 };
struct gmem {
	struct region r[REGIONS]; /* the largest first: nearly every look-up ends there */
	unsigned n;
	_Atomic bool tracking, sealing;
	pthread_mutex_t lock; /* guards `broken` */
	gpa_t broken[GMEM_NOTES];
	_Atomic uint64_t nbroken; /* ever */
	bool merges;
	int pagemap; /* of what merges */
	struct ksm_own ksm;
};

struct gmem *gmem_new(void)
{
	struct gmem *m = calloc(1, sizeof(*m));
	must(m);
	(void)pthread_mutex_init(&m->lock, NULL);
	return m;
}

int gmem_merge(struct gmem *m, struct err *e)
{
	must(!m->n);
	if (ksm_host() == KSM_NONE)
		return fail(e, -ENOTSUP, "this host's kernel merges no pages: it has no KSM");
	m->pagemap = pagemap_open(e);
	if (m->pagemap < 0) return m->pagemap;
	ksm_open(&m->ksm);
	m->merges = true;
	return 0;
}

bool gmem_merges(const struct gmem *m) { return m->merges; }
uint64_t gmem_merged(const struct gmem *m) { return m->merges ? ksm_merged(&m->ksm) : 0; }

static uint64_t bitmap_words(const struct region *r) { return (r->len / PAGE + WORD - 1) / WORD; }

static void lazy_free(struct lazy *z)
{
	if (!z) return;
	if (atomic_load(&z->left)) z->from.done(z->from.ctx);
	for (unsigned i = 0; i < COUNT(z->lock); i++) (void)pthread_mutex_destroy(&z->lock[i]);
	free((void *)z->missing);
	free(z);
}

static void region_free(struct region *r)
{
	lazy_free(r->lazy);
	if (r->host) (void)munmap(r->host, r->len);
	if (r->fd >= 0) (void)close(r->fd);
	free((void *)r->dirty);
	free((void *)r->code);
}

void gmem_free(struct gmem *m)
{
	for (unsigned i = 0; m && i < m->n; i++) region_free(&m->r[i]);
	if (m) (void)pthread_mutex_destroy(&m->lock);
	if (m && m->merges) ksm_close(&m->ksm);
	if (m && m->merges) drop_fd(&m->pagemap);
	free(m);
}

/* NULL: errno says why. */
static void *file_map(struct region *r)
{
	const char *name = r->flags & GMEM_ROM ? "guest-rom" : "guest-ram";
	int fd = r->fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)r->len) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return NULL;
	void *p = mmap(NULL, r->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (p == MAP_FAILED) return NULL;
	(void)madvise(p, r->len, MADV_HUGEPAGE);
	return p;
}

/* A child that had it too would copy each page that either writes to. A large page is the same as
 * another far more rarely, and would have to be taken apart. */
static void *private_map(struct region *r)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *p = mmap(NULL, r->len, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p == MAP_FAILED) return NULL;
	r->host = p;
	bool good = !madvise(p, r->len, MADV_DONTFORK) && !madvise(p, r->len, MADV_MERGEABLE);
	(void)madvise(p, r->len, MADV_NOHUGEPAGE);
	return good ? p : NULL;
}

static int region_map(const struct gmem *m, struct region *r, struct err *e)
{
	void *p = m->merges ? private_map(r) : file_map(r);
	if (!p)
		return fail(e, -errno, "%llu MiB of guest memory: %s",
			    (unsigned long long)(r->len / MIB), strerror(errno));
	r->host = p;
	r->dirty = calloc(bitmap_words(r), sizeof(*r->dirty));
	r->code = calloc(r->len / PAGE, 1);
	return r->dirty && r->code
		       ? 0
		       : fail(e, -ENOMEM, "guest memory: no room for what is known of its pages");
}

static void region_insert(struct gmem *m, const struct region *r)
{
	unsigned i = m->n++;
	for (; i && m->r[i - 1].len < r->len; i--) m->r[i] = m->r[i - 1];
	m->r[i] = *r;
}

int gmem_add(struct gmem *m, gpa_t base, uint64_t len, unsigned flags, struct err *e)
{
	struct region r = {.base = base, .len = len, .flags = flags, .fd = -1};
	if (!len || base % PAGE || len % PAGE || base + (len - 1) < base || len > INT64_MAX)
		return fail(e, -EINVAL, "guest memory: %#llx+%#llx is not a range of pages",
			    (unsigned long long)base, (unsigned long long)len);
	if (m->n == REGIONS) return fail(e, -ENOSPC, "guest memory: more than %d regions", REGIONS);
	for (unsigned i = 0; i < m->n; i++)
		if (base <= m->r[i].base + (m->r[i].len - 1) && m->r[i].base <= base + (len - 1))
			return fail(e, -EEXIST, "guest memory: %#llx+%#llx overlaps",
				    (unsigned long long)base, (unsigned long long)len);
	int rc = region_map(m, &r, e);
	if (rc)
		region_free(&r);
	else
		region_insert(m, &r);
	return rc;
}

/* ---- memory that comes when it is reached */
static bool is_missing(const struct lazy *z, uint64_t page)
{
	return atomic_load_explicit(&z->missing[page / WORD], memory_order_acquire) >> page % WORD &
	       1;
}

/* The bit goes when the page is there. */
static void page_come(const struct region *r, struct lazy *z, uint64_t page)
{
	pthread_mutex_t *lock = &z->lock[page % COUNT(z->lock)];
	(void)pthread_mutex_lock(lock);
	bool mine = is_missing(z, page);
	if (mine) {
		z->from.page(z->from.ctx, page, r->host + page * PAGE);
		(void)atomic_fetch_and(&z->missing[page / WORD], ~(1ull << page % WORD));
	}
	(void)pthread_mutex_unlock(lock);
	if (mine && atomic_fetch_sub(&z->left, 1) == 1) z->from.done(z->from.ctx);
}

static __attribute__((noinline)) void come(const struct region *r, uint64_t off, size_t len)
{
	struct lazy *z = atomic_load(&r->lazy);
	uint64_t last = (off + (len ? len - 1 : 0)) / PAGE;
	if (!atomic_load_explicit(&z->left, memory_order_acquire)) return;
	for (uint64_t p = off / PAGE; p <= last; p++)
		if (is_missing(z, p)) page_come(r, z, p);
}

static inline void need(const struct region *r, uint64_t off, size_t len)
{
	if (unlikely(atomic_load_explicit(&r->lazy, memory_order_relaxed))) come(r, off, len);
}

static struct lazy *lazy_new(uint64_t *bitmap, uint64_t words, const struct gmem_source *from)
{
	struct lazy *z = calloc(1, sizeof(*z));
	must(z);
	z->from = *from;
	z->missing = (_Atomic uint64_t *)bitmap;
	for (uint64_t w = 0; w < words; w++) z->left += (uint64_t)__builtin_popcountll(bitmap[w]);
	for (unsigned i = 0; i < COUNT(z->lock); i++)
		must(pthread_mutex_init(&z->lock[i], NULL) == 0);
	return z;
}

int gmem_lazy(struct gmem *m, gpa_t base, uint64_t *bitmap, const struct gmem_source *from,
	      struct err *e)
{
	for (unsigned i = 0; i < m->n; i++) {
		struct region *r = &m->r[i];
		if (r->base != base || r->lazy) continue;
		(void)madvise(r->host, r->len, MADV_NOHUGEPAGE); /* one page is to cost one page */
		r->lazy = lazy_new(bitmap, bitmap_words(r), from);
		if (!r->lazy->left) from->done(from->ctx);
		return 0;
	}
	free(bitmap);
	from->done(from->ctx);
	return fail(e, -EINVAL, "guest memory: none begins at %#llx", (unsigned long long)base);
}

uint64_t gmem_missing(const struct gmem *m)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < m->n; i++)
		if (m->r[i].lazy) n += atomic_load(&m->r[i].lazy->left);
	return n;
}

void gmem_fetch(struct gmem *m)
{
	for (unsigned i = 0; i < m->n; i++) need(&m->r[i], 0, m->r[i].len);
}

static const struct region *region_of(const struct gmem *m, gpa_t at, size_t len)
{
	for (unsigned i = 0; i < m->n; i++) {
		uint64_t off = at - m->r[i].base;
		if (off < m->r[i].len) return len <= m->r[i].len - off ? &m->r[i] : NULL;
	}
	return NULL;
}

void *gmem_host(struct gmem *m, gpa_t at, size_t len)
{
	const struct region *r = region_of(m, at, len);
	if (!r) return NULL;
	need(r, at - r->base, len);
	return r->host + (at - r->base);
}

void *gmem_ptr(struct gmem *m, gpa_t at, size_t len, bool write)
{
	const struct region *r = region_of(m, at, len);
	if (!r || (write && r->flags & GMEM_ROM)) return NULL;
	need(r, at - r->base, len);
	return r->host + (at - r->base);
}

bool gmem_region(const struct gmem *m, unsigned n, struct gmem_region *to)
{
	if (n >= m->n) return false;
	const struct region *r = &m->r[n];
	*to = (struct gmem_region){r->base, r->len, r->flags, r->host, r->fd};
	return true;
}

bool gmem_file(struct gmem *m, gpa_t at, size_t len, bool write, unsigned *region, uint64_t *off)
{
	const struct region *r = region_of(m, at, len);
	if (!r || r->fd < 0 || at % PAGE || len % PAGE || (write && r->flags & GMEM_ROM))
		return false;
	need(r, at - r->base, len);
	*region = (unsigned)(r - m->r);
	*off = at - r->base;
	return true;
}

bool gmem_map(struct gmem *m, gpa_t at, size_t len, void *host, bool write, bool fill)
{
	unsigned region;
	uint64_t off;
	if (!gmem_file(m, at, len, write, &region, &off)) return false;
	int prot = write ? PROT_READ | PROT_WRITE : PROT_READ;
	int flags = MAP_SHARED | MAP_FIXED | (fill ? MAP_POPULATE : 0);
	return mmap(host, len, prot, flags, m->r[region].fd, (off_t)off) == host;
}

static bool private_next(const struct gmem *m, const struct region *r, gpa_t at, gpa_t *from,
			 uint64_t *len)
{
	uint64_t skip = at - r->base, off;
	if (!pagemap_next(m->pagemap, r->host + skip, r->len - skip, &off, len)) return false;
	*from = at + off;
	return true;
}

bool gmem_next(const struct gmem *m, gpa_t at, gpa_t *from, uint64_t *len)
{
	const struct region *r = region_of(m, at, PAGE);
	must(r && at % PAGE == 0);
	if (r->fd < 0) return private_next(m, r, at, from, len);
	off_t data = lseek(r->fd, (off_t)(at - r->base), SEEK_DATA);
	off_t end = data < 0 ? -1 : lseek(r->fd, data, SEEK_HOLE);
	if (data < 0 || (uint64_t)data >= r->len) return false;
	if (end < 0 || (uint64_t)end > r->len) end = (off_t)r->len;
	*from = r->base + (uint64_t)data / PAGE * PAGE;
	*len = ((uint64_t)end + PAGE - 1) / PAGE * PAGE - (*from - r->base);
	return true;
}

/* The bits go first, so that nothing comes into the hole. */
static void forget(const struct region *r, uint64_t page, uint64_t end)
{
	struct lazy *z = atomic_load(&r->lazy);
	for (; z && page < end && atomic_load(&z->left); page++) {
		pthread_mutex_t *lock = &z->lock[page % COUNT(z->lock)];
		(void)pthread_mutex_lock(lock);
		uint64_t bit = 1ull << page % WORD;
		bool mine = atomic_fetch_and(&z->missing[page / WORD], ~bit) & bit;
		(void)pthread_mutex_unlock(lock);
		if (mine && atomic_fetch_sub(&z->left, 1) == 1) z->from.done(z->from.ctx);
	}
}

/* syscalls loop vcpu disk move: fallocate */
static bool hole(const struct region *r, uint64_t off, uint64_t len)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	return r->fd < 0 ? !madvise(r->host + off, len, MADV_DONTNEED)
			 : !fallocate(r->fd, mode, (off_t)off, (off_t)len);
}

bool gmem_discard(struct gmem *m, gpa_t at, size_t len)
{
	const struct region *r = region_of(m, at, len);
	if (!r || r->flags & GMEM_ROM) return false;
	uint64_t from = (at - r->base + PAGE - 1) / PAGE, end = (at - r->base + len) / PAGE;
	if (from >= end) return false;
	forget(r, from, end);
	if (!hole(r, from * PAGE, (end - from) * PAGE)) return false;
	gmem_dirty(m, r->base + from * PAGE, (end - from) * PAGE);
	return true;
}

uint64_t gmem_resident(const struct gmem *m)
{
	enum { BLOCK = 512 }; /* stat(2) */
	uint64_t n = 0;
	struct stat st;
	for (unsigned i = 0; i < m->n; i++)
		if (m->r[i].fd < 0)
			n += pagemap_count(m->pagemap, m->r[i].host, m->r[i].len);
		else if (!fstat(m->r[i].fd, &st))
			n += (uint64_t)st.st_blocks * BLOCK;
	return n;
}

bool gmem_read(struct gmem *m, gpa_t at, void *buf, size_t len)
{
	const void *p = gmem_ptr(m, at, len, false);
	if (p) memcpy(buf, p, len);
	return p;
}

bool gmem_write(struct gmem *m, gpa_t at, const void *buf, size_t len)
{
	void *p = gmem_ptr(m, at, len, true);
	if (!p) return false;
	memcpy(p, buf, len);
	gmem_dirty(m, at, len);
	return true;
}

void gmem_track(struct gmem *m, bool on)
{
	for (unsigned i = 0; on && !gmem_tracking(m) && i < m->n; i++)
		for (uint64_t w = 0; w < bitmap_words(&m->r[i]); w++)
			atomic_store(&m->r[i].dirty[w], 0);
	atomic_store(&m->tracking, on);
}

bool gmem_tracking(const struct gmem *m)
{
	return atomic_load_explicit(&m->tracking, memory_order_relaxed);
}

/* ---- sealed pages ---- */
static _Atomic uint8_t *code_of(const struct gmem *m, gpa_t page)
{
	const struct region *r = region_of(m, page, 1);
	return r ? &r->code[(page - r->base) / PAGE] : NULL;
}

bool gmem_seal(struct gmem *m, gpa_t page)
{
	_Atomic uint8_t *b = code_of(m, page);
	if (!b) return false;
	atomic_store(&m->sealing, true);
	if (atomic_fetch_or(b, CODE_WAS) & CODE_OPEN) return false;
	(void)atomic_fetch_or(b, CODE_SEALED); /* before what the page holds is read */
	return true;
}

bool gmem_was_sealed(const struct gmem *m, gpa_t page)
{
	const _Atomic uint8_t *b = code_of(m, page);
	return b && atomic_load_explicit(b, memory_order_relaxed) & CODE_WAS;
}

void gmem_open(struct gmem *m, gpa_t at, size_t len)
{
	for (uint64_t off = 0; off < len; off += PAGE) {
		_Atomic uint8_t *b = code_of(m, at + off);
		if (b && !(atomic_load_explicit(b, memory_order_relaxed) & CODE_OPEN))
			(void)atomic_fetch_or(b, CODE_OPEN);
	}
}

bool gmem_is_broken(const struct gmem *m, uint64_t seen)
{
	return atomic_load(&m->nbroken) != seen;
}

int gmem_broken(struct gmem *m, uint64_t *seen, gpa_t out[GMEM_NOTES])
{
	int n = 0;
	if (!gmem_is_broken(m, *seen)) return 0;
	(void)pthread_mutex_lock(&m->lock);
	uint64_t now = atomic_load(&m->nbroken);
	if (now - *seen > GMEM_NOTES) n = -1;
	for (uint64_t i = *seen; n >= 0 && i < now; i++) out[n++] = m->broken[i % GMEM_NOTES];
	*seen = now;
	(void)pthread_mutex_unlock(&m->lock);
	return n;
}

static void seal_break(struct gmem *m, const struct region *r, uint64_t page)
{
	atomic_thread_fence(memory_order_seq_cst); /* the data before the seal */
	if (!(atomic_load_explicit(&r->code[page], memory_order_relaxed) & CODE_SEALED)) return;
	if (!(atomic_fetch_and(&r->code[page], (uint8_t)~CODE_SEALED) & CODE_SEALED)) return;
	(void)pthread_mutex_lock(&m->lock);
	m->broken[atomic_load(&m->nbroken) % GMEM_NOTES] = r->base + page * PAGE;
	atomic_fetch_add(&m->nbroken, 1);
	(void)pthread_mutex_unlock(&m->lock);
}

static void seals_break(struct gmem *m, gpa_t at, size_t len)
{
	const struct region *r = region_of(m, at, len);
	if (!r || !len) return;
	uint64_t last = (at - r->base + len - 1) / PAGE;
	for (uint64_t p = (at - r->base) / PAGE; p <= last; p++) seal_break(m, r, p);
}

void gmem_log(struct gmem *m, gpa_t at, size_t len)
{
	if (likely(!gmem_tracking(m)) || !len) return;
	const struct region *r = region_of(m, at, len);
	if (!r) return;
	uint64_t last = (at - r->base + len - 1) / PAGE;
	for (uint64_t p = (at - r->base) / PAGE; p <= last; p++) {
		uint64_t bit = 1ull << p % WORD;
		_Atomic uint64_t *w = &r->dirty[p / WORD];
		atomic_thread_fence(memory_order_seq_cst); /* the data before its mark */
		if (!(atomic_load_explicit(w, memory_order_relaxed) & bit)) atomic_fetch_or(w, bit);
	}
}

void gmem_dirty(struct gmem *m, gpa_t at, size_t len)
{
	if (atomic_load_explicit(&m->sealing, memory_order_relaxed)) seals_break(m, at, len);
	gmem_log(m, at, len);
}

/* n <= 64 bits, the first one being bit `first`, taken out of the bitmap. */
static uint64_t bits_take(_Atomic uint64_t *map, uint64_t first, unsigned n)
{
	unsigned shift = first % WORD, lo = n < WORD - shift ? n : WORD - shift;
	uint64_t mask = (lo == WORD ? ~0ull : (1ull << lo) - 1) << shift;
	uint64_t got = (atomic_fetch_and(&map[first / WORD], ~mask) & mask) >> shift;
	if (n > lo) got |= bits_take(map, first + lo, n - lo) << lo;
	return got;
}

bool gmem_dirty_take(struct gmem *m, gpa_t at, size_t len, uint64_t *bits)
{
	const struct region *r = region_of(m, at, len);
	must(r && at % PAGE == 0 && len % PAGE == 0);
	uint64_t any = 0, first = (at - r->base) / PAGE, n = len / PAGE;
	for (uint64_t i = 0; i < n; i += WORD) {
		bits[i / WORD] =
			bits_take(r->dirty, first + i, n - i < WORD ? (unsigned)(n - i) : WORD);
		any |= bits[i / WORD];
	}
	return any;
}

uint64_t gmem_dirty_count(const struct gmem *m, gpa_t at, size_t len)
{
	const struct region *r = region_of(m, at, len);
	must(r && at == r->base && len == r->len);
	uint64_t n = 0;
	for (uint64_t w = 0; w < bitmap_words(r); w++)
		n += (uint64_t)__builtin_popcountll(atomic_load(&r->dirty[w]));
	return n;
}
