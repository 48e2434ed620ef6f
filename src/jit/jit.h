#ifndef JIT_JIT_H
#define JIT_JIT_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* IR to host code, and where the code lives. A folder per host CPU (x64/); this header names none.
 *
 * Generated code runs with the address of the state, plus `bias`, in one register, on a C stack
 * frame made by jit_enter(). It leaves in one of these ways: to another unit (a linked jump, or a
 * look-up in the machine's directory), or back to jit_enter()'s caller.
 *
 * An address space may have a window: host memory in which guest address va stands at window + va,
 * or nothing does. Accesses that go by it are found by where in the code they are: jit_faulted()
 * tells of one that a signal handler is called for, and jit_give_up() makes it leave by its map.
 *
 * Owners: a cache, its units and links belong to one thread. */
struct ir_fn;
struct ir_slot;
struct jit_cache;

/* How an address space is looked up: a direct-mapped table in the state of pairs {tag, host}, 16
 * bytes each. The entry for va is number (va >> 12) mod 2^bits; it serves va when its tag is
 * (va & ~4095) | the 64 bits at `ctx`; host is then what to add. */
struct jit_space {
	uint32_t table, ctx; /* offsets in the state */
	unsigned bits;
	/* On a miss: find, or make, what to add to reach [lo, hi] of one page. 1: not possible (the
	 * unit exits by its map). Called with the state; must not change any slot. The answer is
	 * used for the page until the unit ends or calls what may change state. */
	uint64_t (*fill)(void *state, uint64_t lo, uint64_t hi);
	/* Its window: base addresses below the 64 bits at `limit` (0: there is none now) are served
	 * by adding those at `window`. An access may then be up to 2^31 bytes off the window on
	 * either side, and nothing else must lie there. Both 0: no windows. */
	uint32_t limit, window;
};
/* What generated code is told of the machine; the same for all units of a cache. Offsets are in
 * the state. */
struct jit_machine {
	const struct ir_slot *slots;
	unsigned nslots;
	uint32_t bias; /* so that the commonest slots are reached by 8-bit displacements */
	uint32_t poll; /* 32 bits: not 0, something waits */
	uint32_t pc;   /* 64 bits: where the guest is, set on leaving to the caller */
	uint32_t base; /* 64 bits: the page's guest address, which map pcs are relative to */
	struct jit_space space[4];
	/* The directory that other pages' code is found in, laid out as a space's table; host is
	 * the address of the page's record. The address of the code for offset o (even) of the page
	 * is the 8 bytes at record + entries + 4 * o. `base` becomes the page's address. Where
	 * there is no unit, the entry is jit_none(). */
	uint32_t dir_table, dir_ctx, dir_entries;
	unsigned dir_bits;
};

enum jit_left {		    /* how code came back */
		JIT_LINK,   /* an exit to the own page that is not linked yet: jit_link_* tell of it
			     */
		JIT_LOOKUP, /* pc is not in the directory, or there is no unit */
		JIT_STOP,   /* IR_EXIT_STOP */
		JIT_DEOPT   /* a guard, xlat or poll exited by its map; `why` is the map's */
};
struct jit_exit {
	enum jit_left how;
	uint32_t why;
	uint32_t link; /* of JIT_LINK: for jit_link() */
};
struct jit_unit; /* code for one unit */

/* Have *p hold n of `size` bytes at least. False: no memory, nothing has changed. */
bool jit_grow(void **p, uint32_t *room, uint32_t n, size_t size);
/* Memory for code, mapped once to be run and once to be written. What there is of it is the
 * caller's to unmap, even after an error; *rx and *rw are NULL before. */
int jit_map_twice(size_t size, uint8_t **rx, uint8_t **rw, struct err *e);
/* Pages of such memory that are there up to offset *ready, and have to be up to `upto`: a step
 * beyond that, at most up to `end`. One call is cheaper than a fault for each page and mapping. */
void jit_make_ready(uint8_t *rx, uint8_t *rw, size_t upto, size_t end, size_t *ready);
/* room: bytes of code; one mapping is written, another run (W^X). NULL with *e set. */
struct jit_cache *jit_cache_new(const struct jit_machine *m, size_t room, struct err *e);
void jit_cache_free(struct jit_cache *c); /* NULL is fine */
/* Forget all code and links: every address given out is void. */
void jit_cache_flush(struct jit_cache *c);
size_t jit_cache_used(const struct jit_cache *c);
/* Compile f. NULL: there is no room, as jit_no_room() says then (flush and try again; if the cache
 * is empty, the unit is too large), or the unit is too large for the compiler. */
const struct jit_unit *jit_add(struct jit_cache *c, struct ir_fn *f);
bool jit_no_room(const struct jit_cache *c);
const void *jit_entry(const struct jit_unit *u); /* what the directory's entries hold */
const void *jit_none(const struct jit_cache *c); /* the entry where there is no unit */
/* Whether the host does operations of v128, or, if fused, vfma. Units must not have others. */
bool jit_lanes(const struct jit_cache *c, bool fused);
/* Run from entry on. Afterwards pc and all slots are in the state. */
struct jit_exit jit_enter(struct jit_cache *c, void *state, const void *entry);
/* From now on that exit goes to entry (of the same page) by itself. */
void jit_link(struct jit_cache *c, uint32_t link, const void *entry);
/* All exits that go to unit `was` go to unit `now` instead; NULL: are not linked any more. */
void jit_replace(struct jit_cache *c, const void *was, const void *now);

/* An access by a window that could not be made. */
struct jit_fault {
	uint32_t map; /* for jit_give_up() */
	bool write;
};
/* In a handler of SIGSEGV, context being its third argument: did an access by a window in c's code
 * raise it? When the handler returns, the access is tried again. */
bool jit_faulted(const struct jit_cache *c, const void *context, struct jit_fault *out);
/* Have it leave the unit by its map instead; jit_enter() returns JIT_DEOPT. */
void jit_give_up(const struct jit_cache *c, void *context, uint32_t map);

/* Host code of u, an instruction a line; how many bytes it is. */
void jit_dump(const struct jit_cache *c, const struct jit_unit *u, FILE *out);
size_t jit_size(const struct jit_unit *u);
/* The unit that host address at lies in; NULL: none. For profiles. */
const struct jit_unit *jit_find(const struct jit_cache *c, const void *at);
#endif
