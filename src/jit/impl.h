#ifndef JIT_IMPL_H
#define JIT_IMPL_H
#include "ir/ir.h"
#include "jit/alloc.h"
#include "jit/jit.h"
/* What the files of this room share. */
struct jit_frame { /* on the C stack, while code runs */
	/* What sites know: to [page, page + size) adds h. */
	uint64_t size[SITES_MAX], page[SITES_MAX], h[SITES_MAX];
	uint64_t spill[SPILLS_MAX], wide[WIDE_MAX][2];
	uint64_t ints[16], vecs[16][2]; /* registers, when C is called */
};
struct jit_unit { /* stands in front of its code */
	const void *entry;
	uint32_t at, size; /* of the code, from the cache's beginning */
};
struct link {
	uint32_t at;   /* the jump's displacement, from the cache's beginning */
	uint32_t stub; /* where it goes while there is no link */
	int32_t pc;
};
struct access { /* an access by a window, and where its map is */
	uint32_t at, end, map;
};
enum { KONST_BITS = 11, KONSTS = 1 << KONST_BITS };
struct jit_host; /* the back end's own, see its folder */
struct jit_cache {
	struct jit_machine m;
	uint8_t *rw, *rx;	  /* two mappings of the same memory */
	size_t size, used, floor; /* floor: what lies below is never flushed */
	bool full;		  /* that is why the last unit was refused */
	uint64_t *konst;	  /* rw: constants that code reads from memory, hashed; 0: free */
	uint32_t nkonst;
	struct jit_unit **unit; /* by address */
	uint32_t nunits, unit_room;
	struct link *link;
	uint32_t nlinks, link_room;
	struct access *access; /* by address */
	uint32_t naccesses, access_room;
	uint32_t *map; /* words, see maps.c */
	uint32_t nmap, map_room;
	struct alloc alloc;
	struct jit_host *host;
};

/* cache.c */
bool jit_access_new(struct jit_cache *c, const uint8_t *at, const uint8_t *end, uint32_t map);
const struct access *jit_access_find(const struct jit_cache *c, const void *rx); /* NULL: none */
static inline const void *jit_rx(const struct jit_cache *c, const void *rw)
{
	return c->rx + ((const uint8_t *)rw - c->rw);
}
/* ~0: no memory */
uint32_t jit_link_new(struct jit_cache *c, const uint8_t *at, const uint8_t *stub, int32_t pc);
/* Where k stands in memory (rw); NULL: no room. */
const void *jit_konst(struct jit_cache *c, uint64_t k);

/* maps.c: how a unit is left in the middle. */
uint32_t jit_map_put(struct jit_cache *c, const struct ir_fn *f, uint32_t map); /* ~0: no memory */
/* Write all slots and the pc; the map's `why`. state: without bias. */
uint32_t jit_map_apply(struct jit_cache *c, uint32_t at, char *state, const struct jit_frame *fr);

/* The back end. */
int jit_host_new(struct jit_cache *c, struct err *e); /* thunks into the cache, below floor */
void jit_host_free(struct jit_cache *c);
void jit_host_plain(struct jit_cache *c); /* for tests: an older host */
struct host_exit {
	uint64_t how, n; /* n: link or why */
};
struct host_exit jit_host_enter(struct jit_cache *c, void *state, const void *entry);
const void *jit_host_none(const struct jit_cache *c);
const void *jit_host_linked(const uint8_t *rw, const uint8_t *rx); /* where that exit goes */
void jit_host_relink(uint8_t *rw, const uint8_t *rx, const void *to);
/* Code of f, homes decided, from rw on, not beyond `end`; NULL: no room. Else its end. */
uint8_t *jit_host_emit(struct jit_cache *c, const struct ir_fn *f, uint8_t *at, uint8_t *end);
bool jit_host_lanes(const struct jit_cache *c, bool fused);
const struct alloc_host *jit_host_regs(const struct jit_cache *c);
void jit_host_dump(const struct jit_cache *c, const uint8_t *code, size_t len, FILE *out);
#endif
