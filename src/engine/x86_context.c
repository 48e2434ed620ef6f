/* What the TLB and the branches' table knew of an address space, kept by its PCID (SDM 3, 4.10)
 * while another one runs. Only what is not global is in it, and only as long as nobody asked for
 * its invalidation: whoever is not sure drops all. */
#include "engine/x86_context.h"
#include "engine/x86_code.h"
#include "engine/x86_window.h"
#include <stdlib.h>

enum { CONTEXTS = 8, KEPT = COUNT(((struct x86_entered *)0)->at) };
enum { BRANCHES = 1024 };
struct kept_page {
	uint16_t at;
	struct x86_tlb_entry entry;
};
struct kept_branch {
	uint16_t at;
	struct x86_ibtc entry;
};
struct context {
	bool valid, window; /* window: its branches lead to code for the window */
	uint16_t pcid;
	unsigned pages[X86_VIEWS], branches;
	uint64_t seen[COUNT(((struct x86_fetches *)0)->seen[0])];
	struct kept_page page[X86_VIEWS][KEPT];
	struct kept_branch branch[BRANCHES];
};
struct x86_contexts {
	unsigned next; /* to be replaced */
	struct context c[CONTEXTS];
};
struct x86_contexts *x86_contexts_new(void) { return calloc(1, sizeof(struct x86_contexts)); }

static struct context *find(struct x86_contexts *all, unsigned pcid)
{
	for (unsigned k = 0; k < CONTEXTS; k++)
		if (all->c[k].valid && all->c[k].pcid == pcid) return &all->c[k];
	return NULL;
}
void x86_context_drop(struct x86_vcpu *v, unsigned pcid)
{
	struct context *c = find(v->contexts, pcid);
	if (c) c->valid = false;
}
void x86_contexts_drop(struct x86_vcpu *v)
{
	for (unsigned k = 0; v->contexts && k < CONTEXTS; k++) v->contexts->c[k].valid = false;
}

/* More than were noted are none. */
static void pages_leave(struct x86_vcpu *v, struct context *c, unsigned view)
{
	const struct x86_entered *in = &v->entered[view];
	c->pages[view] = 0;
	for (unsigned k = 0; in->n <= KEPT && k < in->n; k++) {
		unsigned i = in->at[k];
		const struct x86_tlb_entry *e = &v->tlb[view][i];
		if (!(e->gpa & X86_TLB_GLOBAL) && e->rd != X86_NO_TAG(i))
			c->page[view][c->pages[view]++] = (struct kept_page){(uint16_t)i, *e};
	}
}
static void branches_leave(struct x86_vcpu *v, struct context *c)
{
	const struct x86_jit *j = v->jit;
	unsigned n = j ? j->used_ibtc_n[X86_VIEW_USER] : 0;
	c->branches = n > BRANCHES ? (unsigned)BRANCHES : n; /* some of many */
	for (unsigned k = 0; k < c->branches; k++) {
		uint16_t at = j->used_ibtc[X86_VIEW_USER][k];
		c->branch[k] = (struct kept_branch){at, v->fast.ibtc[X86_VIEW_USER][at]};
	}
	memcpy(c->seen, v->fetches.seen[0], sizeof(c->seen));
}
void x86_context_leave(struct x86_vcpu *v)
{
	struct x86_contexts *all = v->contexts;
	unsigned pcid = v->cr3 & X86_PCID;
	struct context *c = find(all, pcid);
	if (!c) c = &all->c[all->next++ % CONTEXTS];
	c->valid = true;
	c->pcid = (uint16_t)pcid;
	c->window = x86_window_is_on(v);
	for (unsigned view = 0; view < X86_VIEWS; view++) pages_leave(v, c, view);
	branches_leave(v, c);
}

void x86_context_enter(struct x86_vcpu *v)
{
	struct context *c = find(v->contexts, v->cr3 & X86_PCID);
	if (!c) return;
	c->valid = false; /* it is the CPU's again */
	for (unsigned view = 0; view < X86_VIEWS; view++) {
		for (unsigned k = 0; k < c->pages[view]; k++) {
			const struct kept_page *p = &c->page[view][k];
			v->tlb[view][p->at] = p->entry;
			v->entered[view].at[k] = p->at;
		}
		v->entered[view].n = c->pages[view];
	}
	if (!v->jit || c->window != x86_window_is_on(v)) return;
	for (unsigned k = 0; k < c->branches; k++) {
		const struct kept_branch *b = &c->branch[k];
		v->fast.ibtc[X86_VIEW_USER][b->at] = b->entry;
		v->jit->used_ibtc[X86_VIEW_USER][k] = b->at;
	}
	v->jit->used_ibtc_n[X86_VIEW_USER] = c->branches;
	memcpy(v->fetches.seen[0], c->seen, sizeof(c->seen));
}
