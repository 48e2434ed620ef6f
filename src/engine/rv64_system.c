/* Instructions that the table leaves to us: CSRs, environment calls, returns from traps, fences
 * and cache blocks. Each checks who may do it, then says how the hart goes on. */
#include "engine/rv64_cpu.h"
#include <sched.h>

static enum rv64_stop illegal(struct rv64_cpu *c, const struct slot *ip)
{
	return rv64_raise(c, CAUSE_ILLEGAL, rv64_code_raw(ip));
}

/* ---- Zicsr ---- */
enum csr_how { CSR_SWAP, CSR_SET, CSR_CLEAR };

static bool csr_store(struct rv64_cpu *c, unsigned csr, enum csr_how how, uint64_t v)
{
	if (how == CSR_SET) return rv64_csr_change(c, csr, c->priv, v, 0);
	if (how == CSR_CLEAR) return rv64_csr_change(c, csr, c->priv, 0, v);
	return rv64_csr_write(c, csr, c->priv, v);
}

static enum rv64_stop csr_op(struct rv64_cpu *c, const struct slot *ip, enum csr_how how,
			     uint64_t src, bool write)
{
	unsigned csr = (unsigned)ip->imm;
	uint64_t old = 0;
	bool read = how != CSR_SWAP || ip->rd != 32;
	if (read && !rv64_csr_read(c, csr, c->priv, &old)) return illegal(c, ip);
	if (write && !csr_store(c, csr, how, src)) return illegal(c, ip);
	c->x[ip->rd] = old;
	if (!write || (!c->remap && !rv64_interrupt_due(c))) return STOP_NOT;
	c->remap = false;
	return STOP_NEXT;
}
#define CSR_OP(name, how, src, write)                                                              \
	enum rv64_stop rv64_do_##name(struct rv64_cpu *c, const struct slot *ip)                   \
	{                                                                                          \
		return csr_op(c, ip, how, src, write);                                             \
	}
CSR_OP(csrrw, CSR_SWAP, c->x[ip->rs1], true)
CSR_OP(csrrs, CSR_SET, c->x[ip->rs1], ip->rs1 != 0)
CSR_OP(csrrc, CSR_CLEAR, c->x[ip->rs1], ip->rs1 != 0)
CSR_OP(csrrwi, CSR_SWAP, ip->rs1, true)
CSR_OP(csrrsi, CSR_SET, ip->rs1, ip->rs1 != 0)
CSR_OP(csrrci, CSR_CLEAR, ip->rs1, ip->rs1 != 0)

/* ---- calls and returns ---- */
enum rv64_stop rv64_do_ecall(struct rv64_cpu *c, const struct slot *ip)
{
	(void)ip;
	c->res_len = 0;
	if (c->sbi && c->priv == PRIV_S) return STOP_SYSCALL;
	return rv64_raise(c, CAUSE_ECALL_U + c->priv, 0);
}
enum rv64_stop rv64_do_ebreak(struct rv64_cpu *c, const struct slot *ip)
{
	return rv64_raise(c, CAUSE_BREAKPOINT, rv64_pc(c, ip));
}
enum rv64_stop rv64_do_mret(struct rv64_cpu *c, const struct slot *ip)
{
	return c->priv == PRIV_M ? rv64_mret(c) : illegal(c, ip);
}
/* S-mode, where mstatus has no objection. */
static bool supervisor(const struct rv64_cpu *c, uint64_t objection)
{
	return c->priv == PRIV_M || (c->priv == PRIV_S && !(c->mstatus & objection));
}
enum rv64_stop rv64_do_sret(struct rv64_cpu *c, const struct slot *ip)
{
	return supervisor(c, MSTATUS_TSR) ? rv64_sret(c) : illegal(c, ip);
}

/* ---- waiting ---- */
enum rv64_stop rv64_do_wfi(struct rv64_cpu *c, const struct slot *ip)
{
	return supervisor(c, MSTATUS_TW) ? STOP_WFI : illegal(c, ip);
}
/* Somebody else must run for the wait to end; now and then say so to the host. */
enum rv64_stop rv64_do_pause(struct rv64_cpu *c, const struct slot *ip)
{
	(void)ip;
	if (!(++c->pauses & 63)) (void)sched_yield();
	return STOP_NOT;
}
enum rv64_stop rv64_do_wrs_nto(struct rv64_cpu *c, const struct slot *ip)
{
	return rv64_do_pause(c, ip);
}
enum rv64_stop rv64_do_wrs_sto(struct rv64_cpu *c, const struct slot *ip)
{
	return rv64_do_pause(c, ip);
}

/* ---- fences ---- */
enum rv64_stop rv64_do_sfence_vma(struct rv64_cpu *c, const struct slot *ip)
{
	if (!supervisor(c, MSTATUS_TVM)) return illegal(c, ip);
	rv64_count(c, COUNT_FENCE_TLB);
	if (ip->rs1)
		rv64_tlb_flush_page(c, c->x[ip->rs1]);
	else if (ip->rs2)
		rv64_tlb_flush_asid(c, c->x[ip->rs2] & 0xffff);
	else
		rv64_tlb_flush(c);
	return STOP_NEXT;
}
enum rv64_stop rv64_do_sinval_vma(struct rv64_cpu *c, const struct slot *ip)
{
	return rv64_do_sfence_vma(c, ip);
}
enum rv64_stop rv64_do_sfence_w_inval(struct rv64_cpu *c, const struct slot *ip)
{
	return c->priv == PRIV_U ? illegal(c, ip) : STOP_NOT;
}
enum rv64_stop rv64_do_sfence_inval_ir(struct rv64_cpu *c, const struct slot *ip)
{
	return c->priv == PRIV_U ? illegal(c, ip) : STOP_NOT;
}
enum rv64_stop rv64_do_fence_i(struct rv64_cpu *c, const struct slot *ip)
{
	(void)ip;
	rv64_code_fence(c);
	return STOP_NEXT;
}

/* ---- cache blocks: nothing is cached, so all is rights and zeroing ---- */
static bool cbo_may(const struct rv64_cpu *c, uint64_t bits)
{
	return (c->priv == PRIV_M || c->menvcfg & bits) && (c->priv != PRIV_U || c->senvcfg & bits);
}
static enum rv64_stop cbo(struct rv64_cpu *c, const struct slot *ip, uint64_t bits)
{
	return cbo_may(c, bits) ? rv64_check_block(c, c->x[ip->rs1]) : illegal(c, ip);
}
enum rv64_stop rv64_do_cbo_inval(struct rv64_cpu *c, const struct slot *ip)
{
	return cbo(c, ip, ENVCFG_CBIE);
}
enum rv64_stop rv64_do_cbo_clean(struct rv64_cpu *c, const struct slot *ip)
{
	return cbo(c, ip, ENVCFG_CBCFE);
}
enum rv64_stop rv64_do_cbo_flush(struct rv64_cpu *c, const struct slot *ip)
{
	return cbo(c, ip, ENVCFG_CBCFE);
}
enum rv64_stop rv64_do_cbo_zero(struct rv64_cpu *c, const struct slot *ip)
{
	return cbo_may(c, ENVCFG_CBZE) ? rv64_zero_block(c, c->x[ip->rs1]) : illegal(c, ip);
}
