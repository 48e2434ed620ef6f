/* What of an x86-64 guest is translated, and the way between interpreter and blocks. Blocks are
 * looked up by where they are in physical memory, so that programs that share pages share blocks;
 * linear addresses come in only where a branch leaves its page (fast.ibtc). */
#include "engine/x86_jit.h"
#include "engine/unitlog.h"
#include "engine/x86_check.h"
#include "engine/x86_code.h"
#include "engine/x86_context.h"
#include "engine/x86_direct.h"
#include "engine/x86_shadow.h"
#include "engine/x86_vector.h"
#include "engine/x86_vector_impl.h"
#include "engine/x86_window.h"
#include "hw/gmem.h"
#include "jit/jit.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#define NOWHERE (1ull << 63)
enum { ROOM = 128 * MIB };

/* ---- blocks */

const uint64_t *x86_block_begins(struct x86_jit *j, gpa_t page)
{
	const struct x86_code_page *p = x86_page_find(j, page);
	return p ? p->begins : NULL;
}
static struct x86_code_page *page_get(struct x86_jit *j, gpa_t page)
{
	struct x86_code_page *p = x86_page_find(j, page);
	if (p) return p;
	if (!jit_grow((void **)&j->page, &j->pages_room, j->pages + 1, sizeof(*p))) return NULL;
	uint32_t *head = &j->page_hash[page >> X86_PAGE_SHIFT & (JIT_PAGES - 1)];
	p = &j->page[j->pages++];
	*p = (struct x86_code_page){.at = page, .next = *head};
	*head = j->pages;
	return p;
}
static void unhash(struct x86_jit *j, struct x86_block *b)
{
	uint32_t me = (uint32_t)(b - j->block) + 1;
	uint32_t *at = &j->hash[x86_block_hash(b->page, b->off, b->variant)];
	while (*at != me) at = &j->block[*at - 1].next;
	*at = b->next;
}
struct x86_block *x86_block_new(struct x86_jit *j, gpa_t page, unsigned off, unsigned variant)
{
	struct x86_code_page *p = page_get(j, page);
	if (!p || !jit_grow((void **)&j->block, &j->blocks_room, j->blocks + 1, sizeof(*j->block)))
		return NULL;
	struct x86_block *b = &j->block[j->blocks++];
	uint32_t *head = &j->hash[x86_block_hash(page, off, variant)];
	*b = (struct x86_block){.page = page,
				.cross = CROSS_NOT,
				.off = (uint16_t)off,
				.variant = (uint8_t)variant,
				.next = *head,
				.page_next = p->blocks};
	*head = p->blocks = j->blocks;
	p->begins[off / 64] |= 1ull << off % 64;
	return b;
}
void x86_code_used(struct x86_jit *j, gpa_t page, unsigned from, unsigned to)
{
	struct x86_code_page *p = x86_page_find(j, page);
	for (unsigned g = from >> 6; p && g <= (to - 1) >> 6; g++) p->granules |= 1ull << g;
}
bool x86_map_add(struct x86_jit *j, struct x86_at_host at)
{
	if (!jit_grow((void **)&j->map, &j->maps_room, j->maps + 1, sizeof(*j->map))) return false;
	j->map[j->maps++] = at;
	return true;
}
static void mark_page(struct x86_jit *j, gpa_t page, bool on)
{
	struct x86_machine *m = j->v->machine;
	uint64_t n = page >> X86_PAGE_SHIFT;
	uint8_t bit = (uint8_t)(1u << (j->v->id & 7));
	if (!m->code || n >= m->code_pages) return;
	if (on)
		atomic_fetch_or(&m->code[n], bit);
	else
		atomic_fetch_and(&m->code[n], (uint8_t)~bit);
}
/* No vCPU goes on writing to the page without telling. */
static void forget_writes(struct x86_jit *j, gpa_t page)
{
	struct x86_machine *m = j->v->machine;
	x86_tlb_flush_writes(j->v, page);
	x86_shadows_readonly(j->v, page);
	for (unsigned k = 0; k < m->n; k++)
		if (m->vcpu[k] && m->vcpu[k] != j->v) x86_fence_writes(m->vcpu[k], j->v);
}
void x86_code_watch(struct x86_jit *j, gpa_t page)
{
	struct x86_code_page *p = page_get(j, page);
	if (p) p->idle = 0;
	if (p && p->watched) return;
	mark_page(j, page, true);
	forget_writes(j, page);
	(void)gmem_seal(j->v->machine->env.mem, page);
	if (p) p->watched = true;
}
static void unwatch(struct x86_jit *j, struct x86_code_page *p)
{
	p->watched = false;
	mark_page(j, p->at, false);
}
bool x86_next_page(struct x86_jit *j, uint64_t la, gpa_t *page, const uint8_t **code)
{
	struct x86_vcpu *v = j->v;
	bool good = !x86_fetch(v, (la & ~(uint64_t)(X86_PAGE - 1)) + X86_PAGE) && v->fetch_host;
	bool global = v->fetch_global;
	*page = v->fetch_gpa;
	*code = v->fetch_host;
	if (x86_fetch(v, la)) return false;
	v->fetch_global &= global;
	return good && gmem_ptr(v->machine->env.mem, *page, X86_PAGE, true);
}
void x86_block_crosses(struct x86_jit *j, struct x86_block *b, gpa_t page, unsigned to)
{
	struct x86_code_page *p = page_get(j, page);
	if (!p) {
		unhash(j, b);
		b->off = JIT_NOT;
		return;
	}
	x86_code_watch(j, page);
	b->cross = page;
	b->cross_next = p->crossing;
	p->crossing = (uint32_t)(b - j->block) + 1;
	x86_code_used(j, page, 0, to);
}
static void ibtc_clear(struct x86_jit *j, unsigned view)
{
	struct x86_ibtc *t = j->v->fast.ibtc[view];
	const void *miss = j->rx + (j->miss - j->rw);
	bool all = j->used_ibtc_n[view] > COUNT(j->used_ibtc[0]);
	unsigned n = all ? X86_IBTC : j->used_ibtc_n[view];
	for (unsigned k = 0; k < n; k++)
		t[all ? k : j->used_ibtc[view][k]] = (struct x86_ibtc){X86_IBTC_FREE, miss};
	j->used_ibtc_n[view] = 0;
}
static void ibtc_clear_all(struct x86_jit *j)
{
	memset(j->v->fast.cross, 0xff, sizeof(j->v->fast.cross));
	for (unsigned view = 0; view < X86_VIEWS; view++) ibtc_clear(j, view);
	j->kernel_local = false;
}
/* What fast.ibtc says of a block leads to a look-up from now on. Its code is no other's until all
 * are dropped. */
static void block_shut(struct x86_jit *j, const struct x86_block *b)
{
	struct x64_asm a = {.p = j->rw + b->code};
	jump_to(&a, j->miss);
}
/* All code of a page, which stays watched: what has been written once is likely to be written and
 * run again. Links to its blocks come from the page itself, other ways in by look-up. */
static void page_drop(struct x86_jit *j, struct x86_code_page *p)
{
	uint32_t crossing = p->crossing;
	for (uint32_t n = p->blocks; n;) {
		struct x86_block *b = &j->block[n - 1];
		if (b->off != JIT_NOT) unhash(j, b);
		block_shut(j, b);
		n = b->page_next;
	}
	p->blocks = p->crossing = 0;
	p->granules = 0;
	memset(p->begins, 0, sizeof(p->begins));
	p->la = 0;
	j->dropped = true;
	x86_count(j->v, X86_STAT_DROPS);
	while (crossing) { /* other blocks of their page may have links to them */
		struct x86_block *b = &j->block[crossing - 1];
		struct x86_code_page *first = x86_page_find(j, b->page);
		crossing = b->cross_next;
		if (first && first->blocks) page_drop(j, first);
	}
}
static void drop_all(struct x86_jit *j)
{
	x86_jit_home(j->v); /* x87 has addresses of what goes */
	x86_count(j->v, X86_STAT_EMPTIED);
	for (uint32_t n = 0; n < j->pages; n++) mark_page(j, j->page[n].at, false);
	memset(j->hash, 0, sizeof(j->hash));
	memset(j->page_hash, 0, sizeof(j->page_hash));
	j->blocks = j->maps = j->pages = 0;
	x86_direct_drop_code(j->v, ~(gpa_t)0); /* nor is it watched */
	j->used = j->floor;
	j->cold = j->size / 2;
	x86_contexts_drop(j->v);
	for (unsigned view = 0; view < X86_VIEWS; view++) j->used_ibtc_n[view] = X86_IBTC;
	ibtc_clear_all(j);
	j->dropped = true;
	if (j->v->machine->env.log) unitlog_flush(j->v->machine->env.log, j->v->id);
}

/* ---- looking up */

static struct x86_block *block_make(struct x86_jit *j, gpa_t page, const uint8_t *code,
				    unsigned off, unsigned variant, bool plain)
{
	bool nothing;
	uint64_t began = __builtin_ia32_rdtsc();
	x86_code_watch(j, page);
	struct x86_block *b = x86_translate_block(j, code, page, off, variant, plain, &nothing);
	if (!b && !nothing) {
		drop_all(j);
		x86_code_watch(j, page);
		b = x86_translate_block(j, code, page, off, variant, plain, &nothing);
	}
	x86_count_n(j->v, X86_STAT_UNIT_NS,
		    (__builtin_ia32_rdtsc() - began) * 1000000 / x86_host_tsc_khz());
	return b;
}
/* The first such address that a page is at is its own. */
static unsigned variant_here(struct x86_jit *j)
{
	uint64_t la = j->v->cpu.rip;
	unsigned variant = x86_variant_at(j->v, la);
	struct x86_code_page *p = variant & VARIANT_FIXED ? page_get(j, j->v->fetch_gpa) : NULL;
	if (p && !p->la) p->la = la & ~(uint64_t)(X86_PAGE - 1);
	return x86_variant_in(j, j->v->fetch_gpa, la);
}
/* Making a block costs as much as interpreting it five times, so what is done only once or twice is
 * not worth one. By a hash: those who have the same place are just made earlier. */
static bool is_on_trial(struct x86_jit *j, gpa_t page, unsigned off)
{
	uint8_t *n = &j->tried[((page | off) * 0x9e3779b97f4a7c15u) >> (64 - X86_TRIED_BITS)];
	if (*n >= j->v->machine->env.trials || j->counts) return false;
	++*n;
	return true;
}
/* The block at rip, made if need be; fetch_* is set then. NULL: none, for this instruction; or,
 * where j->trial is set, for those up to the next jump. */
static struct x86_block *block_at_rip(struct x86_jit *j)
{
	struct x86_vcpu *v = j->v;
	j->trial = false;
	if (!x86_translatable(v)) return NULL;
	if (x86_fetch(v, v->cpu.rip)) return NULL;
	unsigned off = (unsigned)v->cpu.rip & (X86_PAGE - 1), variant = variant_here(j);
	if (unlikely((variant & VARIANT_VEC) != j->vec)) {
		ibtc_clear_all(j);
		x86_contexts_drop(v);
	}
	j->vec = variant & VARIANT_VEC;
	struct x86_block *b = x86_block_find(j, v->fetch_gpa, off, variant);
	j->trial = !b && is_on_trial(j, v->fetch_gpa, off);
	if (!b && !j->trial && gmem_ptr(v->machine->env.mem, v->fetch_gpa, X86_PAGE, true))
		b = block_make(j, v->fetch_gpa, v->fetch_host, off, variant, false);
	return b;
}
static void look_at_changes(struct x86_jit *j)
{
	uint64_t cr4 = j->v->cr4 & X86_CR4_IN_CODE;
	if (unlikely(cr4 != j->cr4) && j->pages) drop_all(j);
	j->cr4 = cr4;
	gpa_t page[GMEM_NOTES];
	int n = gmem_broken(j->v->machine->env.mem, &j->seals, page);
	if (n < 0) drop_all(j);
	for (int k = 0; k < n; k++) {
		struct x86_code_page *p = x86_page_find(j, page[k]);
		x86_direct_drop_code(j->v, page[k]);
		if (p && (p->blocks || p->crossing)) page_drop(j, p);
		if (p) unwatch(j, p); /* until it is sealed again */
	}
}

/* ---- from our code to the guest's */

/* The block that has code at `host`. */
static struct x86_block *block_with(struct x86_jit *j, const uint8_t *host)
{
	/* A return address may be where the next one begins. */
	uint32_t at = (uint32_t)(host - j->rx) - 1, lo = 0, hi = j->blocks;
	bool cold = at >= j->size / 2;
	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;
		if ((cold ? j->block[mid].cold : j->block[mid].code) <= at)
			lo = mid;
		else
			hi = mid;
	}
	return &j->block[lo];
}
static const struct x86_at_host *map_find(const struct x86_jit *j, uint32_t host)
{
	uint32_t lo = 0, hi = j->maps;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (j->map[mid].host < host)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < j->maps && j->map[lo].host == host ? &j->map[lo] : NULL;
}

/* ---- state in the host's registers */

enum { MXCSR_C = 0x1f80, FSW_ES = 0x80 };
static void ymm_move(struct x86_vcpu *v, bool home)
{
	uint64_t upper = 0, part[2];
	for (unsigned i = 0; i < 16; i++) {
		uint8_t *lo = v->x.bytes + X_XMM + 16 * i, *hi = v->x.bytes + X_YMM + 16 * i;
		uint8_t *at = v->fast.ymm[i];
		memcpy(home ? lo : at, home ? at : lo, 16);
		memcpy(home ? hi : at + 16, home ? at + 16 : hi, 16);
		memcpy(part, hi, 16);
		upper |= part[0] | part[1];
	}
	v->fast.upper = upper;
}
/* x87 has noted where its last instruction is in our code, and its operand in our memory: that is
 * for nobody to see. Where it is in the guest's, as far as that is still known, else 0. */
static uint64_t linear_of_code(const struct x86_jit *j, gpa_t at)
{
	const struct x86_fetches *f = &j->v->fetches;
	gpa_t in = at & (X86_PAGE - 1);
	for (unsigned k = 0; k < COUNT(f->at); k++)
		if (f->at[k].tag && (f->at[k].gpa & ~(gpa_t)(X86_PAGE - 1)) == at - in)
			return (f->at[k].tag & ~(uint64_t)(X86_PAGE - 1)) + in;
	return 0;
}
/* Opcode and ModRM byte as FOP has them: SDM 1, 8.1.9. */
static unsigned opcode_of(const uint8_t *code)
{
	enum { LONGEST = 15 };
	const uint8_t *end = code + LONGEST - 2;
	while (code < end && (*code & 0xf8) != 0xd8) code++;
	return (code[0] & 7u) << 8 | code[1];
}
static unsigned opcode_of_guest(const struct x86_jit *j, const struct x86_block *b, unsigned off)
{
	enum { LONGEST = 15 };
	struct gmem *mem = j->v->machine->env.mem;
	uint8_t code[2 * LONGEST] = {0};
	unsigned here = X86_PAGE - off < LONGEST ? X86_PAGE - off : LONGEST;
	(void)gmem_read(mem, b->page + off, code, here);
	if (b->cross != CROSS_NOT) (void)gmem_read(mem, b->cross, code + here, LONGEST);
	return opcode_of(code);
}
/* CPUs of today note the opcode for exceptions alone: if it is that of our instruction, the guest
 * is to see its own. */
static void instruction_pointer(struct x86_jit *j, uint32_t host)
{
	uint8_t *x = j->v->x.bytes;
	const struct x86_at_host *m = map_find(j, host);
	const struct x86_block *b = block_with(j, j->rx + host + 1);
	uint64_t fop = load_le(x + X_FOP, 2);
	bool is_new = fop != j->fop || x[X_FSW] & FSW_ES;
	bool noted = is_new && fop == opcode_of(j->rx + host);
	store_le(x + X_FIP, m ? linear_of_code(j, b->page + m->off) : 0, 8);
	if (m && noted) store_le(x + X_FOP, opcode_of_guest(j, b, m->off), 2);
}
static uint64_t linear_of_data(const struct x86_vcpu *v, uint64_t host)
{
	uint64_t page = host & ~(uint64_t)(X86_PAGE - 1);
	for (unsigned k = 0; k < X86_TLB_SIZE * X86_VIEWS; k++) {
		const struct x86_tlb_entry *e = &v->tlb[k / X86_TLB_SIZE][k % X86_TLB_SIZE];
		if (e->rd + e->add == page) return host - e->add;
	}
	return v->window ? x86_window_guest(v, host) : 0;
}
static void x87_pointers(struct x86_jit *j)
{
	uint8_t *x = j->v->x.bytes;
	uint64_t ip = load_le(x + X_FIP, 8) - (uint64_t)(uintptr_t)j->rx;
	uint64_t dp = load_le(x + X_FDP, 8);
	if (ip < j->size) instruction_pointer(j, (uint32_t)ip);
	if (dp != j->fdp) store_le(x + X_FDP, linear_of_data(j->v, dp), 8);
}
void x86_jit_home(struct x86_vcpu *v)
{
	struct x86_jit *j = v->jit;
	if (!j || !j->live) return;
	__asm__ volatile("stmxcsr %0" : "=m"(v->x.bytes[X_MXCSR]));
	x86_x87_leave(&v->x);
	x87_pointers(j);
	ymm_move(v, true);
	v->x.bytes[X_HEADER] |= X86_XCR0;
	uint32_t plain = MXCSR_C;
	__asm__ volatile("ldmxcsr %0" : : "m"(plain));
	j->live = false;
}
static void go_live(struct x86_jit *j)
{
	if (j->live) return;
	j->fdp = load_le(j->v->x.bytes + X_FDP, 8);
	j->fop = load_le(j->v->x.bytes + X_FOP, 2);
	x86_x87_enter(&j->v->x);
	ymm_move(j->v, false);
	__asm__ volatile("ldmxcsr %0" : : "m"(j->v->x.bytes[X_MXCSR]));
	j->live = true;
}
/* C code may use floating point: no exception of it must be unmasked. */
static void calm(struct x86_jit *j)
{
	uint32_t now;
	__asm__ volatile("stmxcsr %0" : "=m"(now));
	if ((now & MXCSR_C) != MXCSR_C) x86_jit_home(j->v);
}

/* ---- between blocks */

/* lag: instructions of the block that will be counted, but have been. */
static const void *into_code(struct x86_vcpu *v, const void *to, uint64_t lag)
{
	struct x86_jit *j = v->jit;
	if (j->check) x86_check_open(v);
	v->fast.left = (int64_t)(j->limit - v->n + lag);
	v->fast.flags = x86_flags_away(v->cpu.flags);
	go_live(j);
	return to;
}
static void count_home(struct x86_vcpu *v)
{
	if (v->jit->counts) v->n = v->jit->limit - (uint64_t)v->fast.left;
}
static void step(struct x86_vcpu *v)
{
	if (v->jit->check) x86_check_look(v);
	x86_step(v);
}
static bool is_spent(const struct x86_vcpu *v)
{
	return v->jit->counts && !v->jit->check && v->n >= v->jit->limit;
}
static bool is_stopped(const struct x86_vcpu *v) { return v->broken || v->reset_asked; }
static const void *leave_code(struct x86_vcpu *v)
{
	struct x86_jit *j = v->jit;
	x86_jit_home(v);
	j->spent = is_spent(v) && !is_stopped(v);
	j->found = NULL;
	return x86_rx(j, (uint32_t)(j->leave - j->rw));
}
static void ticked(struct x86_jit *j)
{
	if (x86_window_tick(j->v)) ibtc_clear(j, X86_VIEW_USER);
	x86_direct_tick(j->v);
}
static bool runs_direct(struct x86_vcpu *v)
{
	if (v->cpl != 3 || !x86_direct_turns(v)) return false;
	x86_jit_home(v);
	return x86_direct_run(v);
}
/* A kick was taken, and the caller is to hear of it, even if it is time to leave anyway. */
static const void *leave_kicked(struct x86_vcpu *v)
{
	const void *to = leave_code(v);
	v->jit->spent = false;
	return to;
}
/* About as far as a block would go. */
static void step_to_jump(struct x86_vcpu *v)
{
	enum { LONGEST = 15 };
	uint64_t from, traps = v->traps;
	do {
		from = v->cpu.rip;
		step(v);
	} while (v->cpu.rip - from - 1 < LONGEST && (v->cpu.rip ^ from) < X86_PAGE &&
		 v->traps == traps && v->activity == X86_RUNNING && !is_stopped(v) &&
		 !atomic_load_explicit(&v->poll, memory_order_relaxed) && x86_translatable(v));
}
/* Whatever is at rip is done, until there is a block for it or run() has to be left. */
static const void *find(struct x86_vcpu *v)
{
	struct x86_jit *j = v->jit;
	if (j->check) (void)x86_check_close(v);
	for (;;) {
		if (unlikely(is_spent(v))) return leave_code(v);
		if (unlikely(atomic_load_explicit(&v->poll, memory_order_relaxed)) ||
		    v->activity != X86_RUNNING || is_stopped(v)) {
			calm(j);
			uint64_t irqs = v->stats[X86_STAT_IRQ];
			bool user = v->cpl == 3;
			bool goes_on = !is_stopped(v) && x86_events(v);
			if (user && v->stats[X86_STAT_IRQ] != irqs) ticked(j);
			if (!goes_on) return leave_kicked(v);
		}
		look_at_changes(j);
		/* Where there are no breakpoints, RF says nothing, and a fault sets it again. */
		if (!(v->dr[7] & X86_DR7_ENABLED)) v->cpu.flags &= ~(uint64_t)X86_RF;
		if (unlikely(x86_window_turns(v))) ibtc_clear(j, X86_VIEW_USER);
		if (unlikely(runs_direct(v))) continue;
		struct x86_block *b = j->found = block_at_rip(j);
		if (b) {
			if (v->window && v->cpl == 3) x86_window_expect(v);
			v->fast.page = v->cpu.rip & ~(uint64_t)(X86_PAGE - 1);
			return into_code(v, x86_rx(j, b->slot), 0);
		}
		calm(j);
		x86_count(v, X86_STAT_ALONE);
		if (j->trial)
			step_to_jump(v);
		else
			step(v);
	}
}
static const void *step_and_find(struct x86_vcpu *v)
{
	if (v->jit->check && !x86_check_close(v)) return find(v);
	calm(v->jit);
	x86_count(v, X86_STAT_ENDS);
	step(v);
	return find(v);
}
static void at_info(struct x86_vcpu *v, uint32_t info)
{
	x86_flags_home(v);
	v->cpu.rip = v->fast.page + (info & INFO_OFF);
	count_home(v);
}
/* Interpret the instruction; if nothing came of it but the next, go on at `next`. That rip is there
 * is not enough: a trap's handler may be, with another RSP than what has been looked up. */
static const void *step_here(struct x86_vcpu *v, uint32_t info, const void *next)
{
	struct x86_jit *j = v->jit;
	uint64_t lag = v->fast.lag + 1;
	if (j->check && !x86_check_close(v)) return find(v);
	uint64_t end = v->cpu.rip + (info >> INFO_BYTES);
	unsigned variant = x86_variant_now(v);
	uint64_t traps = v->traps;
	j->dropped = false;
	calm(j);
	x86_count(v, X86_STAT_STEPS);
	step(v);
	while (v->cpu.rip == end - (info >> INFO_BYTES) && v->traps == traps && !j->dropped &&
	       !is_spent(v) && !is_stopped(v) &&
	       !atomic_load_explicit(&v->poll, memory_order_relaxed) &&
	       x86_variant_now(v) == variant && x86_translatable(v))
		step(v); /* a string instruction has more to do */
	if (info & INFO_LEAVE || is_spent(v) || v->cpu.rip != end || v->traps != traps ||
	    j->dropped || x86_variant_now(v) != variant || !x86_translatable(v) || is_stopped(v) ||
	    v->activity != X86_RUNNING || atomic_load_explicit(&v->poll, memory_order_relaxed))
		return find(v);
	return into_code(v, next, lag);
}
/* A block was wrong about its accesses again: it is made anew, and whoever comes to the old one
 * goes on to that. plain: each access by itself, since a group of them lies in two pages. */
static void remake(struct x86_jit *j, const uint8_t *back, bool plain)
{
	enum { FAILS = 32, FAILS_OUT = 2, TIMES = 16 };
	struct x86_block *b = block_with(j, back);
	uint16_t *failed = plain ? &b->failed : &b->out;
	unsigned made = b->made + 1u;
	if ((plain && b->plain) || made > TIMES || ++*failed != (plain ? FAILS : FAILS_OUT)) return;
	uint32_t n = (uint32_t)(b - j->block), entry[2] = {b->body, b->ahead};
	gpa_t page = b->page;
	const uint8_t *code = gmem_ptr(j->v->machine->env.mem, page, X86_PAGE, false);
	unsigned off = b->off, variant = b->variant;
	plain |= b->plain;
	uint64_t emptied = j->v->stats[X86_STAT_EMPTIED];
	if (x86_block_find(j, page, off, variant) != b || !code) return;
	unhash(j, b);
	j->block[n].off = JIT_NOT; /* its key is the new one's */
	b = block_make(j, page, code, off, variant, plain);
	if (!b || j->v->stats[X86_STAT_EMPTIED] != emptied) return;
	b->made = (uint8_t)made;
	struct x64_asm a = {.p = j->rw + entry[0]}, ahead = {.p = j->rw + entry[1]};
	jump_to(&a, j->rw + b->body);
	jump_to(&ahead, j->rw + b->ahead);
}
static unsigned hint_with(unsigned was, enum x86_cluster is)
{
	if (was == HINT_NONE || was == is) return is;
	return was && is ? X86_WIN_EITHER : X86_WIN_NONE;
}
/* The window's part that was guessed is wrong: know better the next time. */
const void *x86_jit_thunk_out(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back)
{
	struct x86_jit *j = v->jit;
	at_info(v, info);
	uint32_t site = info & INFO_OFF; /* or whose base was looked at early: behind the call */
	if (la != NOWHERE) memcpy(&site, back, sizeof(site));
	uint8_t *hint = x86_hint(j, block_with(j, back)->page, site);
	enum x86_cluster is = x86_cluster_of(la);
	*hint = (uint8_t)hint_with(*hint, la == NOWHERE ? X86_WIN_NONE : is);
	remake(j, back, false);
	x86_count(v, X86_STAT_REFUSED);
	return step_here(v, info, back);
}
const void *x86_jit_thunk_mem(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back)
{
	enum { JUMP = 5 };
	unsigned len = info >> INFO_LEN & INFO_LEN_MASK;
	bool write = info & INFO_WRITE;
	at_info(v, info);
	if ((la & (X86_PAGE - 1)) + len <= X86_PAGE) {
		uint8_t *p = x86_tlb_find(v, la, write, info >> INFO_VIEW & 3);
		if (p) {
			x86_count(v, X86_STAT_FILLS);
			v->fast.save[0] = la;
			v->fast.save[1] = (uint64_t)(uintptr_t)p - la;
			return into_code(v, back, v->fast.lag);
		}
	} else if (info & INFO_LEAVE) {
		remake(v->jit, back, true);
	}
	x86_count(v, X86_STAT_REFUSED);
	return step_here(v, info, back + JUMP);
}
const void *x86_jit_thunk_step(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back)
{
	(void)la;
	at_info(v, info);
	return step_here(v, info, back);
}
/* Have the TLB know the pages of the next part. False: it is not that simple. */
static bool rep_ready(struct x86_vcpu *v, unsigned how, enum x86_view view)
{
	uint64_t *r = v->cpu.r;
	if (v->cpu.flags & X86_DF || !x86_tlb_find(v, r[RDI], true, view)) return false;
	return how & REP_STOS || x86_tlb_find(v, r[RSI], false, view);
}
const void *x86_jit_thunk_rep(struct x86_vcpu *v, uint64_t how, uint32_t info, const uint8_t *back)
{
	at_info(v, info);
	x86_count(v, X86_STAT_REPS);
	enum x86_view view = info >> INFO_VIEW & 3;
	while (v->cpu.r[RCX]) {
		if (atomic_load_explicit(&v->poll, memory_order_relaxed)) return find(v);
		if (!rep_ready(v, (unsigned)how, view) || !x86_rep_some(v, (unsigned)how, view))
			return step_here(v, info, back);
	}
	v->cpu.rip += info >> INFO_BYTES;
	return into_code(v, back, 0); /* not where instructions are counted */
}
const void *x86_jit_thunk_end(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back)
{
	(void)la, (void)back;
	at_info(v, info);
	return step_and_find(v);
}
/* What is not canonical is refused where the branch is, as nothing has come of it: unless it was a
 * direct one, which leads no farther than that. */
static bool is_refused(const struct x86_vcpu *v, uint64_t la)
{
	int64_t by = (int64_t)(la - v->fast.page);
	return unlikely(!x86_canonical(la)) && by != (int32_t)by;
}
static const void *refuse(struct x86_vcpu *v)
{
	v->cpu.rip = v->fast.page + (v->fast.from & INFO_OFF);
	v->cpu.r[RSP] -= (uint64_t)(int64_t)((int32_t)v->fast.from >> FROM_SP);
	if (v->jit->counts) v->n--;
	return step_and_find(v);
}
const void *x86_jit_thunk_miss(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back)
{
	struct x86_jit *j = v->jit;
	(void)info, (void)back;
	x86_flags_home(v);
	v->cpu.rip = la;
	count_home(v);
	if (is_refused(v, la)) return refuse(v);
	x86_count(v, X86_STAT_LOOKUPS);
	const void *to = find(v);
	const struct x86_block *b = j->found;
	/* Only if that is where we are now, and not in an interrupt's handler, say. */
	if (v->cpu.rip != la || !b) return to;
	x86_ibtc_enter(j, la, b);
	return to;
}
/* Where a jump that is linked leads; SLOT is all that a block needs which reads no flags. */
static uint32_t link_entry(const struct x86_block *b, uint32_t info)
{
	if (info & INFO_SLOT && b->slot != b->body) return b->slot;
	return info & INFO_AHEAD ? b->ahead : b->body;
}
const void *x86_jit_thunk_link(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back)
{
	struct x86_jit *j = v->jit;
	int32_t site;
	uint32_t from;
	(void)la;
	at_info(v, info);
	memcpy(&site, back, sizeof(site));
	memcpy(&from, back + sizeof(site), sizeof(from));
	uint64_t rip = v->cpu.rip;
	gpa_t page = j->block[from].page;
	unsigned variant = (j->block[from].variant & ~3u) | (info >> INFO_VIEW & 3);
	j->dropped = false;
	const void *to = find(v);
	const struct x86_block *b = j->found;
	/* An interrupt's handler may be there, too: not for this block to go to. */
	if (j->dropped || v->cpu.rip != rip || !b || b->page != page || b->variant != variant)
		return to;
	set_rel32(j->rw + (back - j->rx) + site, j->rw + link_entry(b, info));
	x86_count(v, X86_STAT_LINKS);
	return to;
}
const void *x86_jit_thunk_cross(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back)
{
	struct x86_jit *j = v->jit;
	const uint8_t *code;
	gpa_t next;
	(void)la;
	at_info(v, info);
	x86_count(v, X86_STAT_CROSSINGS);
	bool is = x86_next_page(j, v->cpu.rip, &next, &code);
	const struct x86_block *b = block_with(j, back);
	if (!is || b->cross != next) return step_and_find(v);
	j->kernel_local |= !v->fetch_global && v->fast.page >> 63;
	v->fast.cross[x86_cross_of(b->page)] =
		(struct x86_cross){v->fast.page, next >> X86_PAGE_SHIFT};
	return into_code(v, back, v->fast.lag);
}
const void *x86_jit_thunk_poll(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back)
{
	(void)la, (void)back;
	at_info(v, info);
	x86_count(v, X86_STAT_POLLS);
	return find(v);
}

/* ---- faults of the guest's own instructions */

static _Thread_local struct x86_jit *running;
static struct sigaction before[NSIG];

static enum x86_missing fault_in_window(struct x86_jit *j, const greg_t *r, const siginfo_t *info)
{
	enum { PAGE_FAULT = 14, WRITE = 2 };
	if (r[REG_TRAPNO] != PAGE_FAULT) return X86_GUEST_FAULTS;
	x86_count(j->v, X86_STAT_WINDOW_MISSES);
	return x86_window_fault(j->v, (uint64_t)(uintptr_t)info->si_addr, r[REG_ERR] & WRITE);
}
/* Have a thunk called as if from where the fault was. */
static void divert(struct x86_jit *j, greg_t *r, enum thunk to, uint64_t info)
{
	uint64_t *sp = (uint64_t *)(void *)j->v - 1;
	*sp = (uint64_t)r[REG_RIP];
	r[REG_R10] = (greg_t)info; /* S2 */
	r[REG_RSP] = (greg_t)(uintptr_t)sp;
	r[REG_RIP] = (greg_t)(uintptr_t)x86_rx(j, (uint32_t)(j->thunk[to] - j->rw));
}
static bool fault_in_code(ucontext_t *u, const siginfo_t *info)
{
	struct x86_jit *j = running;
	greg_t *r = u->uc_mcontext.gregs;
	uint64_t pc = (uint64_t)r[REG_RIP] - (uint64_t)(uintptr_t)(j ? j->rx : NULL);
	if (!j || pc >= j->used) return false;
	const struct x86_at_host *m = map_find(j, (uint32_t)pc);
	if (!m) return false;
	bool in_window = block_with(j, j->rx + pc)->variant & VARIANT_WIN;
	enum x86_missing is = in_window ? fault_in_window(j, r, info) : X86_GUEST_FAULTS;
	if (is == X86_CAME) return true;
	if (m->flags) j->v->fast.flags = x86_flags_away((uint64_t)r[REG_EFL]);
	/* No linear address: not to be looked for in the window again. */
	r[REG_R11] = (greg_t)NOWHERE; /* S1 */
	divert(j, r, is == X86_NOT_HERE ? THUNK_OUT : THUNK_END,
	       m->off | (uint32_t)INFO_LEAVE | (uint64_t)m->done << INFO_DONE);
	return true;
}
static void on_fault(int sig, siginfo_t *info, void *context)
{
	if (fault_in_code(context, info)) return;
	struct sigaction *b = &before[sig];
	if (b->sa_flags & SA_SIGINFO)
		b->sa_sigaction(sig, info, context);
	else
		(void)sigaction(sig, b, NULL); /* it comes again when we return */
}
static void catch_faults(void)
{
	static const int caught[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	static atomic_flag done = ATOMIC_FLAG_INIT;
	if (atomic_flag_test_and_set(&done)) return;
	struct sigaction a = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
	for (unsigned k = 0; k < COUNT(caught); k++)
		(void)sigaction(caught[k], &a, &before[caught[k]]);
}

/* ---- outside */

bool x86_jit_run(struct x86_vcpu *v)
{
	struct x86_jit *j = v->jit;
	running = j;
	if (v->window) __asm__ volatile("wrgsbase %0" : : "r"(v->fast.win_add));
	const void *to = find(v);
	if (j->live) j->enter(v, to);
	running = NULL;
	return j->spent;
}
void x86_jit_until(struct x86_vcpu *v, uint64_t n) { v->jit->limit = n; }
void x86_jit_flush(struct x86_vcpu *v, bool globals)
{
	struct x86_cross *c = v->fast.cross;
	if (!v->jit) return;
	x86_count(v, X86_STAT_FLUSHES);
	if (globals || v->jit->kernel_local) {
		ibtc_clear_all(v->jit);
		return;
	}
	ibtc_clear(v->jit, X86_VIEW_USER);
	for (unsigned k = 0; k < X86_CROSS; k++)
		if (!(c[k].page >> 63)) c[k].next = X86_CROSS_NONE;
}
static void wrote(struct x86_jit *j, gpa_t at, unsigned n)
{
	enum { ENOUGH = 32 };
	x86_direct_drop_code(j->v, at & ~(gpa_t)(X86_PAGE - 1));
	struct x86_code_page *p = x86_page_find(j, at & ~(gpa_t)(X86_PAGE - 1));
	unsigned first = (unsigned)(at & (X86_PAGE - 1)) >> 6;
	unsigned last = (unsigned)((at & (X86_PAGE - 1)) + n - 1) >> 6;
	for (unsigned g = first; p && g <= last && g < 64; g++)
		if (p->granules >> g & 1) {
			page_drop(j, p);
			return;
		}
	if (p && !p->blocks && !p->crossing && ++p->idle == ENOUGH) unwatch(j, p);
}
static bool is_told(const struct x86_jit *j, gpa_t granule)
{
	for (unsigned k = 0; k < j->wrote_n && k < COUNT(j->wrote); k++)
		if (j->wrote[k] == granule) return true;
	return false;
}
/* Another one, if it has code of that page; who sleeps may not look for long. */
static void tell(struct x86_jit *j, gpa_t at)
{
	const struct x86_machine *m = j->v->machine;
	gpa_t granule = at & ~(gpa_t)63;
	if (!(m->code[at >> X86_PAGE_SHIFT] >> (j->v->id & 7) & 1)) return;
	(void)pthread_mutex_lock(&j->lock);
	if (!is_told(j, granule)) {
		if (j->wrote_n < COUNT(j->wrote)) j->wrote[j->wrote_n] = granule;
		if (j->wrote_n <= COUNT(j->wrote)) j->wrote_n++;
	}
	(void)pthread_mutex_unlock(&j->lock);
	x86_poke(j->v, X86_POLL_CODE);
}
void x86_jit_wrote(struct x86_vcpu *v, gpa_t at, unsigned n)
{
	struct x86_machine *m = v->machine;
	for (unsigned k = 0; k < m->n; k++) {
		struct x86_vcpu *o = m->vcpu[k];
		if (o == v)
			wrote(v->jit, at, n);
		else if (o && o->jit)
			tell(o->jit, at), tell(o->jit, at + n - 1);
	}
}
void x86_jit_drop(struct x86_vcpu *v)
{
	if (v->jit) drop_all(v->jit);
}
void x86_jit_serve(struct x86_vcpu *v)
{
	struct x86_jit *j = v->jit;
	if (!j) return;
	(void)pthread_mutex_lock(&j->lock);
	if (j->wrote_n > COUNT(j->wrote)) drop_all(j);
	for (unsigned k = 0; k < j->wrote_n && k < COUNT(j->wrote); k++) wrote(j, j->wrote[k], 1);
	j->wrote_n = 0;
	(void)pthread_mutex_unlock(&j->lock);
}
int x86_jit_new(struct x86_vcpu *v, size_t room, enum x86_jit_mode mode, struct err *e)
{
	enum { LOWEST = 2 * 1024 * 1024 };
	struct x86_jit *j = calloc(1, sizeof(*j));
	if (!j) return fail(e, -ENOMEM, "translator: out of memory");
	j->v = v;
	v->jit = j;
	must(!pthread_mutex_init(&j->lock, NULL));
	v->machine->code_wrote = x86_jit_wrote;
	j->size = room < LOWEST ? ROOM : (room + X86_PAGE - 1) & ~(size_t)(X86_PAGE - 1);
	int r = jit_map_twice(j->size, &j->rx, &j->rw, e);
	if (r < 0) return r;
	j->counts = mode != X86_JIT_FAST;
	j->limit = INT64_MAX;
	if (mode == X86_JIT_CHECK && !(j->check = x86_check_new()))
		return fail(e, -ENOMEM, "translator: out of memory");
	struct x64_asm a = {.p = j->rw};
	x86_thunks_make(j, &a);
	j->used = j->floor = j->ready = ((size_t)(a.p - j->rw) + 63) & ~(size_t)63;
	j->cold_ready = j->size / 2;
	drop_all(j);
	memset(j->hint, HINT_NONE, sizeof(j->hint));
	v->writers = calloc(v->machine->code_pages + 1, sizeof(*v->writers));
	if (v->machine->env.windows != WINDOWS_OFF && !j->counts) v->window = x86_window_new(v);
	if (v->machine->env.direct != DIRECT_OFF && !j->counts) v->direct = x86_direct_new(v);
	catch_faults();
	return 0;
}
void x86_jit_free(struct x86_jit *j)
{
	if (!j) return;
	x86_window_free(j->v->window);
	x86_direct_free(j->v->direct);
	j->v->direct = NULL;
	free(j->v->writers);
	j->v->writers = NULL;
	if (j->rx) munmap(j->rx, j->size);
	if (j->rw) munmap(j->rw, j->size);
	(void)pthread_mutex_destroy(&j->lock);
	free(j->block);
	free(j->map);
	free(j->page);
	x86_check_free(j->check);
	free(j);
}
