#ifndef ENGINE_RV64_RESERVE_H
#define ENGINE_RV64_RESERVE_H
#include "base/types.h"
#include "engine/rv64_cpu.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* Reservations that other harts' writes must break, even such as put back what was there (A-B-A).
 *
 * Where nothing can be observed between LR and SC, comparing values is exact: had LR come just
 * before SC, it would have read the same. That is all code but a few lock-free lists. rv64_lr_way()
 * finds it by looking at what follows LR. Any other LR has its page watched: no hart has a write
 * entry or a window of it, so that every store goes through rv64_watched_*(), one at a time. */
struct rv64_reserve;
struct rv64_reserve *rv64_reserve_new(void); /* one for all harts of a machine; aborts */
void rv64_reserve_free(struct rv64_reserve *r);
void rv64_reserve_join(struct rv64_reserve *r, struct rv64_cpu *c); /* before any of them runs */

enum lr_way {
	LR_UNKNOWN, /* what is to be looked at lies beyond len */
	LR_CLOSE,   /* nothing observes anything on the way to the next SC */
	LR_FAR
};
/* Of the LR at off in len bytes of code. */
enum lr_way rv64_lr_way(const uint8_t *code, size_t off, size_t len);

/* Is something of this watched, so that it may not be entered anywhere as writable? */
bool rv64_watched_slow(const struct rv64_cpu *c, gpa_t at, uint64_t len);
static inline bool rv64_watched(const struct rv64_cpu *c, gpa_t at, uint64_t len)
{
	return unlikely(c->reserve != NULL) && rv64_watched_slow(c, at, len);
}
/* Between these, others' reservations do not change; writes of this hart's are told of. */
void rv64_watched_begin(struct rv64_cpu *c);
void rv64_watched_wrote(struct rv64_cpu *c, gpa_t at, unsigned len);
void rv64_watched_end(struct rv64_cpu *c);

/* A far LR that the interpreter executes: the value in c->val, or how it stopped. STOP_WATCH: call
 * rv64_reserve_watch() where no guest code runs, then begin again. */
bool rv64_lr_far(struct rv64_cpu *c, const struct slot *ip);
enum rv64_stop rv64_reserve_load(struct rv64_cpu *c, gva_t va, unsigned len);
void rv64_reserve_watch(struct rv64_cpu *c);
/* The end of an atomic whose memory rv64_atomic_ptr() found. */
void rv64_atomic_end(struct rv64_cpu *c, bool stored, unsigned len);
/* Whether SC of this length may store, after rv64_atomic_ptr(), if the value is what it was. */
bool rv64_reserve_holds(const struct rv64_cpu *c, gva_t va, unsigned len);
enum { RES_WATCHED = 16 }; /* in res_len: of a far LR */
#endif
