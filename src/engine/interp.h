#ifndef ENGINE_INTERP_H
#define ENGINE_INTERP_H
#include "engine/engine.h"
/* A hart of the interpreter without an engine around it, for tests and for engines that fall
 * back on it. What it holds: engine/rv64_cpu.h. One thread at a time. */
struct rv64_cpu;
/* Uses env's mem, mmio, clock, max_satp and sbi. NULL: out of memory. */
struct rv64_cpu *rv64_cpu_new(const struct engine_env *env, unsigned id);
void rv64_cpu_free(struct rv64_cpu *c); /* NULL is fine */
/* Execute one instruction word as if it stood at pc (its lower half, if that is a compressed
 * one). 0, or the exception's cause + 1: then it is in c->cause and c->tval, and no trap has
 * been taken. */
int rv64_exec_one(struct rv64_cpu *c, uint32_t word);
/* Run at c->pc until kicked, or an SBI call. */
enum vcpu_exit rv64_run(struct rv64_cpu *c);

int rv64_cpu_get(struct rv64_cpu *c, unsigned reg, uint64_t *val);
int rv64_cpu_set(struct rv64_cpu *c, unsigned reg, uint64_t val);
#endif
