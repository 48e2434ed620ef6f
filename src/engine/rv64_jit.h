#ifndef ENGINE_RV64_JIT_H
#define ENGINE_RV64_JIT_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* A hart's translator: what it has compiled, and the way between interpreter and units. Belongs to
 * the hart's thread. Every function takes NULL for a hart without one. */
struct check;
struct jit_cache;
struct rv64_cpu;
struct rv64_jit;
struct slot;
struct unitlog;
enum jit_mode {
	JIT_FAST,
	JIT_CHECK, /* after each unit do the same by the interpreter, and compare */
};
/* room: bytes of host code. alone: there is no other hart. Sets c->jit. */
int rv64_jit_new(struct rv64_cpu *c, size_t room, enum jit_mode mode, bool alone, struct err *e);
void rv64_jit_free(struct rv64_jit *j);
/* From now on tell log of each unit, as of that vCPU. */
void rv64_jit_log(struct rv64_jit *j, struct unitlog *log, unsigned vcpu);
void rv64_jit_drop(struct rv64_jit *j); /* forget all units; the code pages have gone, too */
const void *rv64_jit_none(const struct rv64_jit *j); /* entry of a slot without a unit */
/* c->hot at ip, which is c->pc: translate from there, if it pays. */
void rv64_jit_hot(struct rv64_cpu *c, const struct slot *ip);
struct jit_cache *rv64_jit_cache(const struct rv64_jit *j);
struct check *rv64_jit_checker(const struct rv64_jit *j); /* of JIT_CHECK */
/* Units that did not do what the interpreter did; words about the first. */
uint64_t rv64_jit_wrong(const struct rv64_jit *j, const char **words);
/* Run the unit at ip and what follows it, until the interpreter must go on at c->pc. */
void rv64_jit_run(struct rv64_cpu *c, const struct slot *ip);
#endif
