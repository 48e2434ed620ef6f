/* What translated code asks for most, done while the guest's vector state stays in the host's
 * registers: this file, and those that it calls into, are compiled to use none (Makefile), and
 * nothing here calls anything else. What is not simple is left to x86_jit.c: NULL is answered then,
 * and the same thunk of that file goes on from the state as it is. */
#include "engine/x86_check.h"
#include "engine/x86_check_impl.h"
#include "engine/x86_code.h"
#include "engine/x86_window.h"
#include "hw/gmem.h"

static bool is_quiet(const struct x86_vcpu *v)
{
	return !atomic_load_explicit(&v->poll, memory_order_relaxed) && v->activity == X86_RUNNING;
}

/* ---- rep movs, rep stos */

/* Elements by the host's own instruction, which does them in the same order. */
static void rep_native(void *to, const void *from, uint64_t val, uint64_t n, unsigned how)
{
	switch (how) {
#define MOVS(size, insn)                                                                           \
	case size:                                                                                 \
		__asm__ volatile(insn : "+D"(to), "+S"(from), "+c"(n) : : "memory");               \
		break;
#define STOS(size, insn)                                                                           \
	case REP_STOS | size:                                                                      \
		__asm__ volatile(insn : "+D"(to), "+c"(n) : "a"(val) : "memory");                  \
		break;
		MOVS(1, "rep movsb")
		MOVS(2, "rep movsw")
		MOVS(4, "rep movsl")
		MOVS(8, "rep movsq")
		STOS(1, "rep stosb")
		STOS(2, "rep stosw")
		STOS(4, "rep stosl")
		STOS(8, "rep stosq")
#undef MOVS
#undef STOS
	default: break;
	}
}
static uint64_t left_in_page(uint64_t la, unsigned size)
{
	return (X86_PAGE - (la & (X86_PAGE - 1))) / size;
}
bool x86_rep_some(struct x86_vcpu *v, unsigned how, enum x86_view view)
{
	uint64_t *r = v->cpu.r, n = r[RCX], most = left_in_page(r[RDI], how & REP_SIZE);
	bool stos = how & REP_STOS;
	if (n > most) n = most;
	most = left_in_page(r[RSI], how & REP_SIZE);
	if (!stos && n > most) n = most;
	void *to = n ? x86_tlb_look(v, r[RDI], true, view) : NULL;
	const void *from = to && !stos ? x86_tlb_look(v, r[RSI], false, view) : to;
	if (!from) return false;
	rep_native(to, from, r[RAX], n, how);
	r[RCX] -= n;
	r[RDI] += n * (how & REP_SIZE);
	if (!stos) r[RSI] += n * (how & REP_SIZE);
	return true;
}
const void *x86_light_rep(struct x86_vcpu *v, uint64_t how, uint32_t info, const uint8_t *back)
{
	while (v->cpu.r[RCX])
		if (!is_quiet(v) || v->cpu.flags & X86_DF ||
		    !x86_rep_some(v, (unsigned)how, info >> INFO_VIEW & 3))
			return NULL;
	x86_count(v, X86_STAT_REPS);
	return back;
}

/* ---- branches */

const void *x86_light_miss(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back)
{
	struct x86_jit *j = v->jit;
	(void)info, (void)back;
	bool changed = gmem_is_broken(v->machine->env.mem, j->seals);
	if (!is_quiet(v) || v->broken || v->reset_asked || !x86_translatable(v) || changed ||
	    (v->cr4 & X86_CR4_IN_CODE) != j->cr4 || !x86_fetch_known(v, la))
		return NULL;
	unsigned variant = x86_variant_in(j, v->fetch_gpa, la);
	const struct x86_block *b = x86_block_find(j, v->fetch_gpa, la & (X86_PAGE - 1), variant);
	if (!b || (variant & VARIANT_VEC) != j->vec) return NULL;
	x86_count(v, X86_STAT_LOOKUPS);
	v->cpu.rip = la;
	v->fast.page = la & ~(uint64_t)(X86_PAGE - 1);
	x86_ibtc_enter(j, la, b);
	return x86_rx(j, b->slot);
}
/* Where rip is now, by the table that branches use. */
static const void *go_on(struct x86_vcpu *v)
{
	uint64_t rip = v->cpu.rip;
	const struct x86_ibtc *to = &v->fast.ibtc[v->view][x86_ibtc_index(rip)];
	v->fast.flags = x86_flags_away(v->cpu.flags);
	v->fast.save[0] = rip; /* what indirect() has in S1, S2 */
	v->fast.save[1] = x86_ibtc_index(rip) * sizeof(*to);
	return to->host;
}
const void *x86_light_syscall(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back)
{
	(void)la, (void)back;
	if (!x86_is_plain(v) || !(v->efer & EFER_SCE)) return NULL;
	x86_flags_home(v);
	if (x86_syscall(v, v->fast.page + (info & INFO_OFF) + (info >> INFO_BYTES))) return NULL;
	return go_on(v);
}
/* Not if an interrupt or trap may come with the flags that it loads. */
const void *x86_light_sysret(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back)
{
	(void)la, (void)info, (void)back;
	bool waits = atomic_load_explicit(&v->intr, memory_order_relaxed) || v->nmi_waits ||
		     v->runs_direct;
	if (waits || !is_quiet(v) || !x86_is_plain(v) || v->cpu.r[R11] & (X86_TF | X86_AC) ||
	    v->cpl || x86_sysret(v, true))
		return NULL;
	return go_on(v);
}

/* ---- lockstep */

#ifdef __clang__
#define PLAIN __attribute__((no_sanitize("all")))
#else
#define PLAIN __attribute__((no_sanitize("address", "undefined")))
#endif
PLAIN void x86_check_note(struct x86_vcpu *v, void *at, uint64_t bytes)
{
	struct x86_check *k = v->jit->check;
	if (k->logged >= CHECK_LOG || bytes > CHECK_WIDEST) {
		k->logged = CHECK_LOG + 1;
		return;
	}
	struct x86_check_was *w = &k->log[k->logged++];
	w->at = at;
	w->bytes = (uint32_t)bytes;
	void *to = w->old;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(at), "+c"(bytes) : : "memory");
}
