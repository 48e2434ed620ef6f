/* Why: code must live somewhere that is writable and executable, never both at one address. The one
 * idea: one piece of memory mapped twice; units are appended, and when it is full everything goes
 * at once, so that no code ever refers to code that is gone. */
#include "base/types.h"
#include "jit/impl.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

bool jit_grow(void **p, uint32_t *room, uint32_t n, size_t size)
{
	if (n <= *room) return true;
	uint32_t want = n + n / 2 + 64;
	void *q = realloc(*p, want * size);
	if (!q) return false;
	*p = q;
	*room = want;
	return true;
}

/* Not a memfd: code of a mapping that has a name is not looked up in /tmp/perf-PID.map. Executable
 * first, writable second: some hosts refuse to make code of what was no code. */
int jit_map_twice(size_t size, uint8_t **to_rx, uint8_t **to_rw, struct err *e)
{
	void *rx = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (rx == MAP_FAILED)
		return fail(e, -errno, "code cache: cannot map %zu bytes to execute: %m", size);
	*to_rx = rx;
	void *rw = mremap(rx, 0, size, MREMAP_MAYMOVE); /* 0: the same memory once more */
	if (rw == MAP_FAILED) return fail(e, -errno, "code cache: cannot map it twice: %m");
	*to_rw = rw;
	(void)madvise(rx, size, MADV_HUGEPAGE);
	(void)madvise(rw, size, MADV_HUGEPAGE);
	if (mprotect(rw, size, PROT_READ | PROT_WRITE) < 0)
		return fail(e, -errno, "code cache: cannot write to it: %m");
	return 0;
}

/* Kernels that cannot: each page has its fault. */
void jit_make_ready(uint8_t *rx, uint8_t *rw, size_t upto, size_t end, size_t *ready)
{
	enum { STEP = 128 * 1024 };
	if (upto <= *ready) return;
	size_t to = (upto + STEP) & ~(size_t)4095, from = *ready & ~(size_t)4095;
	if (to > end) to = end;
	*ready = to;
	(void)madvise(rw + from, to - from, MADV_POPULATE_WRITE);
	(void)madvise(rx + from, to - from, MADV_POPULATE_READ);
}

struct jit_cache *jit_cache_new(const struct jit_machine *m, size_t room, struct err *e)
{
	struct jit_cache *c = calloc(1, sizeof(*c));
	if (!c) {
		fail(e, -ENOMEM, "code cache: out of memory");
		return NULL;
	}
	c->m = *m;
	c->size = (room + KONSTS * 8 + 2 * 4096 + 4095) & ~(size_t)4095;
	if (c->size > (size_t)1 << 30) {
		fail(e, -EINVAL, "code cache: %zu bytes are more than jumps reach", room);
		jit_cache_free(c);
		return NULL;
	}
	if (jit_map_twice(c->size, &c->rx, &c->rw, e) < 0) {
		jit_cache_free(c);
		return NULL;
	}
	c->konst = (uint64_t *)c->rw;
	c->used = KONSTS * 8;
	if (jit_host_new(c, e) < 0) {
		jit_cache_free(c);
		return NULL;
	}
	c->floor = c->used = (c->used + 63) & ~(size_t)63;
	return c;
}

void jit_cache_free(struct jit_cache *c)
{
	if (!c) return;
	jit_host_free(c);
	if (c->rw) munmap(c->rw, c->size);
	if (c->rx) munmap(c->rx, c->size);
	free(c->unit);
	free(c->link);
	free(c->access);
	free(c->map);
	alloc_done(&c->alloc);
	free(c);
}

void jit_cache_flush(struct jit_cache *c)
{
	c->used = c->floor;
	c->nunits = c->nlinks = c->naccesses = c->nmap = 0;
	memset(c->konst, 0, KONSTS * 8);
	c->nkonst = 0;
}

bool jit_no_room(const struct jit_cache *c) { return c->full; }
size_t jit_cache_used(const struct jit_cache *c) { return c->used - c->floor; }

const void *jit_konst(struct jit_cache *c, uint64_t k)
{
	uint32_t at = (uint32_t)(k * 0x9e3779b97f4a7c15u >> (64 - KONST_BITS));
	if (!k || c->nkonst > KONSTS / 4 * 3) return NULL;
	while (c->konst[at] && c->konst[at] != k) at = (at + 1) % KONSTS;
	if (!c->konst[at]) {
		c->konst[at] = k;
		c->nkonst++;
	}
	return &c->konst[at];
}

uint32_t jit_link_new(struct jit_cache *c, const uint8_t *at, const uint8_t *stub, int32_t pc)
{
	if (!jit_grow((void **)&c->link, &c->link_room, c->nlinks + 1, sizeof(*c->link)))
		return ~0u;
	c->link[c->nlinks] = (struct link){(uint32_t)(at - c->rw), (uint32_t)(stub - c->rw), pc};
	return c->nlinks++;
}

/* Code grows upwards, so they come sorted. */
bool jit_access_new(struct jit_cache *c, const uint8_t *at, const uint8_t *end, uint32_t map)
{
	if (!jit_grow((void **)&c->access, &c->access_room, c->naccesses + 1, sizeof(*c->access)))
		return false;
	c->access[c->naccesses++] =
		(struct access){(uint32_t)(at - c->rw), (uint32_t)(end - c->rw), map};
	return true;
}

const struct access *jit_access_find(const struct jit_cache *c, const void *rx)
{
	size_t off = (size_t)((const uint8_t *)rx - c->rx);
	uint32_t lo = 0, n = c->naccesses;
	if ((const uint8_t *)rx < c->rx || off >= c->used) return NULL;
	while (n) { /* the first that ends behind it */
		uint32_t half = n / 2;
		if (off >= c->access[lo + half].end) {
			lo += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
	return lo < c->naccesses && off >= c->access[lo].at ? &c->access[lo] : NULL;
}

void jit_replace(struct jit_cache *c, const void *was, const void *now)
{
	for (uint32_t k = 0; k < c->nlinks; k++) {
		uint32_t at = c->link[k].at;
		if (jit_host_linked(c->rw + at, c->rx + at) == was)
			jit_host_relink(c->rw + at, c->rx + at,
					now ? now : c->rx + c->link[k].stub);
	}
}

void jit_link(struct jit_cache *c, uint32_t link, const void *entry)
{
	must(link < c->nlinks);
	uint32_t at = c->link[link].at;
	jit_host_relink(c->rw + at, c->rx + at, entry);
}
