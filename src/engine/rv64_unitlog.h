#ifndef ENGINE_RV64_UNITLOG_H
#define ENGINE_RV64_UNITLOG_H
struct ir_fn;
struct jit_cache;
struct jit_unit;
struct region;
struct rv64_cpu;
struct unitlog;
struct rv64_unit { /* one just made, with all that it was made of */
	const struct region *region;
	const struct ir_fn *ir;
	const struct jit_cache *cache;
	const struct jit_unit *unit;
};
/* c->base is the address of the page that it is of. */
void rv64_unit_log(struct unitlog *log, const struct rv64_cpu *c, const struct rv64_unit *u);
#endif
