#ifndef ENGINE_RV64_CHECK_H
#define ENGINE_RV64_CHECK_H
#include "jit/jit.h"
/* Translated code against the interpreter, unit by unit. Units must have been lifted with count
 * and check_log, and must leave to their caller at every end. */
struct check;
struct rv64_cpu;
struct check *check_new(void);
void check_free(struct check *k);
/* Under this engine harts take turns, whatever they do: else one would see what another is about to
 * undo. A hart that runs has the turn, gives it away when it sleeps or leaves, and when asked. */
void check_take(struct rv64_cpu *c);
void check_give(void);
uint64_t check_log(struct rv64_cpu *c, void *at, uint64_t bytes);
/* jit_enter(), then everything undone and done again by the interpreter. What differs is noted. */
struct jit_exit check_enter(struct check *k, struct rv64_cpu *c, struct jit_cache *cache,
			    const void *entry);
/* How many units went wrong; *words: about the first, yours to read while k lives. */
uint64_t check_wrong(const struct check *k, const char **words);
#endif
