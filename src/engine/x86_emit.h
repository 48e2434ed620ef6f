#ifndef ENGINE_X86_EMIT_H
#define ENGINE_X86_EMIT_H
#include "engine/x86_block.h"
/* Inside x86_emit.c: flags (x86_emit_flags.c) and memory operands (x86_emit_mem.c) of instructions.
 * S1 and S2 are lost by all of it that does not say otherwise. */
static inline struct cold *x86_cold_new(struct tr *t, unsigned kind, uint8_t *from)
{
	must(t->colds < COLDS);
	struct cold *c = &t->cold[t->colds++];
	*c = (struct cold){
		.kind = kind, .from = from, .state = t->state, .view = t->view, .done = t->done};
	return c;
}
/* to = all 64 bits of a guest register. Nothing is lost. */
static inline void x86_emit_guest(struct x64_asm *a, unsigned to, unsigned g) /* 64 bits */
{
	if (x86_host_of(g) == NOREG)
		mov_load(a, OP_W, to, x86_reg_slot(g));
	else
		mov_rr(a, OP_W, to, x86_host_of(g));
}
/* The guest's flags go to SLOT. S2 is kept. */
void x86_flags_save(struct tr *t);
/* The host's flags are about to be lost; `live`: of the guest's, those that still count. */
void x86_flags_go(struct tr *t, unsigned live);
/* They are in HOST from here on. */
void x86_flags_come(struct tr *t, unsigned live);
/* The byte of SLOT that holds all of them but OF. */
struct rm x86_flags_upper(void);
/* The host's condition that holds if the guest's cc does, whose flags are in SLOT alone. */
enum cc x86_flags_test(struct tr *t, enum cc cc);

/* Is the linear address at `disp` from the page's beginning one that is known? In the same 2 GiB,
 * which is LOW if it is in a window. */
bool x86_is_fixed(const struct tr *t, int64_t disp);
/* S1 = m's linear address. */
void x86_emit_la(struct x64_asm *a, const struct access *m, const struct x86_insn *in);
/* Where in the host's memory, behind t->prefix: the access of instruction k; any one. */
struct rm x86_look_up(struct tr *t, unsigned k);
struct rm x86_look_up_alone(struct tr *t, unsigned k, const struct access *m);
/* What groups have to have looked at before instruction k. */
void x86_look_windows(struct tr *t, unsigned k);
/* All that a loop need not look at again; who is refused goes on with the first instruction. */
void x86_look_steady(struct tr *t);
/* Here instruction k may fault; flags: HOST holds some that count. Here it stores. */
void x86_note_host(struct tr *t, unsigned k, bool flags);
void x86_note_store(struct tr *t, struct rm rm, unsigned bytes);
/* For an instruction of one byte at most before its ModRM: a move between S1 or a register and what
 * has been looked up. */
void x86_emit_move(struct tr *t, unsigned k, unsigned reg, struct rm rm, bool load);
void x86_emit_move_imm(struct tr *t, unsigned k, int32_t imm, struct rm to);
#endif
