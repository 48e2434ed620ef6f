/* What blocks have besides, where instructions are counted (x86_jit.h): how many have run is taken
 * off fast.left at every way out, and a block's head looks whether that is below 0. Before a thunk
 * does an instruction, it hears how many of its block's are not counted yet. Nothing here touches a
 * flag. */
#include "engine/x86_block.h"

void x86_emit_counted(struct tr *t, unsigned more, unsigned reg)
{
	struct x64_asm *a = &t->a;
	unsigned n = t->done + more;
	t->done = 0;
	if (!n) return;
	mov_load(a, OP_W, reg, V_AT(fast.left));
	lea(a, OP_W, reg, rm_mem(reg, -(int32_t)n));
	mov_store(a, OP_W, V_AT(fast.left), reg);
}

uint8_t *x86_emit_spent(struct tr *t)
{
	enum { SIGN = 63, JRCXZ = 0xe3, JUMP = 5 };
	struct x64_asm *a = &t->a;
	mov_store(a, OP_W, V_AT(fast.save[2]), RCX);
	mov_imm(a, S1, SIGN);
	vex_rm(a, OP(0xf2, 2, 0xf7) + OP_W, RCX, S1, V_AT(fast.left), 0); /* shrx */
	put8(a, JRCXZ), put8(a, JUMP);
	uint8_t *spent = jump_later(a);
	mov_load(a, OP_W, RCX, V_AT(fast.save[2]));
	return spent;
}

void x86_emit_log(struct tr *t, struct rm rm, unsigned bytes)
{
	struct x64_asm *a = &t->a;
	mov_store(a, OP_W, V_AT(fast.log_rax), RAX);
	lea(a, OP_W, RAX, rm);
	mov_store_imm(a, 8, V_AT(fast.log_bytes), (int32_t)bytes);
	call_to(a, t->j->log);
}
