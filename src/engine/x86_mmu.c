/* Address translation and the software TLB behind it. */
#include "engine/x86_vcpu.h"
int x86_translate(struct x86_vcpu *v, uint64_t la, unsigned access, enum x86_view as,
		  struct x86_page_found *out)
{
	(void)la, (void)access, (void)as, (void)out;
	return x86_raise(v, X86_TRAP_PF, 0);
}
bool x86_peek(struct x86_vcpu *v, uint64_t la, gpa_t *out)
{
	(void)v, (void)la, (void)out;
	return false;
}
int x86_load(struct x86_vcpu *v, uint64_t la, void *to, unsigned n, enum x86_view as)
{
	(void)la, (void)to, (void)n, (void)as;
	return x86_raise(v, X86_TRAP_PF, 0);
}
int x86_store(struct x86_vcpu *v, uint64_t la, const void *from, unsigned n, enum x86_view as)
{
	(void)la, (void)from, (void)n, (void)as;
	return x86_raise(v, X86_TRAP_PF, 0);
}
int x86_probe(struct x86_vcpu *v, uint64_t la, unsigned n, unsigned access, enum x86_view as)
{
	(void)la, (void)access, (void)n, (void)as;
	return x86_raise(v, X86_TRAP_PF, 0);
}
const struct x86_mem x86_mem_ops;
void *x86_tlb_find(struct x86_vcpu *v, uint64_t la, bool write, enum x86_view as)
{
	(void)v, (void)la, (void)write, (void)as;
	return NULL;
}
int x86_fetch(struct x86_vcpu *v, uint64_t la)
{
	(void)la;
	return x86_raise(v, X86_TRAP_PF, 0);
}
void x86_tlb_flush(struct x86_vcpu *v, bool globals) { (void)v, (void)globals; }
void x86_tlb_flush_page(struct x86_vcpu *v, uint64_t la) { (void)v, (void)la; }
void x86_tlb_flush_writes(struct x86_vcpu *v, gpa_t page) { (void)v, (void)page; }
void x86_mode_update(struct x86_vcpu *v) { (void)v; }
void x86_wrote(struct x86_vcpu *v, gpa_t at, unsigned n) { (void)v, (void)at, (void)n; }
