/* Where the guest's arithmetic flags are, in translated code: in the host's (HOST), in memory
 * (SLOT), or in both. The TLB's compare destroys the host's. Where the guest's are still needed,
 * they are saved first (lahf), and put back only if an instruction reads them or leaves part of
 * them: mostly none does. */
#include "engine/x86_emit.h"

struct rm x86_flags_upper(void)
{
	struct rm m = V_AT(fast.flags);
	m.disp++;
	return m;
}
/* pushf would be shorter, and takes three times as long. */
void x86_flags_save(struct tr *t)
{
	struct x64_asm *a = &t->a;
	mov_rr(a, OP_W, S1, RAX);
	put8(a, 0x9f);					       /* lahf */
	put8(a, 0x0f), put8(a, 0x90), put8(a, 0xc0);	       /* seto al */
	op_rm(a, OP(0x66, 0, 0x89), RAX, V_AT(fast.flags), 0); /* mov word, ax */
	mov_rr(a, OP_W, RAX, S1);
	t->state |= SLOT;
}
static void restore_flags(struct tr *t, unsigned live)
{
	struct x64_asm *a = &t->a;
	mov_store(a, OP_W, V_AT(fast.save[2]), RAX);
	op_rm(a, OP(0, 1, 0xb7), RAX, V_AT(fast.flags), 0); /* movzx eax, word */
	if (live & X86_OF) put8(a, 0x04), put8(a, 0x7f);    /* add al, 0x7f: overflows if it is 1 */
	put8(a, 0x9e);					    /* sahf */
	mov_load(a, OP_W, RAX, V_AT(fast.save[2]));
	t->state |= HOST;
}
void x86_flags_go(struct tr *t, unsigned live)
{
	if (live && !(t->state & SLOT)) x86_flags_save(t);
	t->state = SLOT;
}
void x86_flags_come(struct tr *t, unsigned live)
{
	if (live && !(t->state & HOST)) restore_flags(t, live);
}

enum cc x86_flags_test(struct tr *t, enum cc cc)
{
	enum { OF_TO_SF = 7 };
	static const uint8_t low[] = {
		[CC_O >> 1] = 1, /* of the first byte; the others of the second */
		[CC_B >> 1] = X86_CF, [CC_E >> 1] = X86_ZF, [CC_BE >> 1] = X86_CF | X86_ZF,
		[CC_S >> 1] = X86_SF, [CC_P >> 1] = X86_PF,
	};
	struct x64_asm *a = &t->a;
	struct rm flags = V_AT(fast.flags);
	enum cc is_set = cc & 1 ? CC_E : CC_NE;
	if (cc < CC_L) {
		if (cc > CC_NO) flags = x86_flags_upper();
		op_rm(a, OP(0, 0, 0xf6), 0, flags, 1); /* test byte */
		put8(a, low[cc >> 1]);
		return is_set;
	}
	op_rm(a, OP(0, 1, 0xb6), S1, x86_flags_upper(), 0);
	op_rm(a, OP(0, 1, 0xb6), S2, flags, 0); /* OF */
	shift_imm(a, SH_SHL, 0, S2, OF_TO_SF);
	alu_rr(a, ALU_XOR, 0, S2, S1);
	alu_imm(a, ALU_AND, 0, rm_reg(S2), X86_SF);
	if (cc >= CC_LE) {
		alu_imm(a, ALU_AND, 0, rm_reg(S1), X86_ZF);
		alu_rr(a, ALU_OR, 0, S2, S1);
	}
	return is_set;
}
