#ifndef ENGINE_X86_CODE_H
#define ENGINE_X86_CODE_H
#include "engine/x86_vcpu.h"
#include "engine/x86_window.h"
#include "jit/x64/asm.h"
#include <pthread.h>
/* Inside the translator: blocks, and how their code is laid out.
 *
 * While translated code runs, guest registers are in the same registers of the host but for four:
 * the guest's RSP is in r15, and the guest's R10, R11, R15 are in memory. The host's rsp points at
 * the vCPU, below which is a stack; r11 and r10 are free between guest instructions. XMM, YMM, x87
 * and MXCSR are the guest's. Arithmetic flags are in the host's flags (HOST) or in fast.flags
 * (SLOT): a block's body is entered with HOST if its first instructions read any, its other entries
 * and all thunks with SLOT. The rest of RFLAGS is in cpu.flags at all times. */
enum { S1 = R11, S2 = R10, GSP = R15 }; /* compilers use these three least */
enum { JIT_BLOCK_INSNS = 48, JIT_ROUNDS_INSNS = 40, JIT_NOT = 0xffff };
/* A block's variant: view, whether vector instructions are what they are, whether user memory is in
 * a window. */
enum {
	VARIANT_VEC = 4,
	VARIANT_WIN = 8,
	/* The page's own linear address is known: one of the first or of the last 2 GiB there are.
	 * In a window, code that has it is LOW, and other code HIGH. */
	VARIANT_FIXED = 16,
	VARIANT_LOW = VARIANT_WIN | VARIANT_FIXED
};

/* What a thunk is told in S2. */
enum {
	INFO_OFF = 0xfff, /* of the instruction in its page */
	INFO_WRITE = 1 << 12,
	INFO_LEN = 13, /* bytes from S1 on that are wanted: 11 bits */
	INFO_LEN_MASK = 0x7ff,
	INFO_VIEW = 24,	      /* 2 bits */
	INFO_LEAVE = 1 << 26, /* if the instruction is interpreted, do not come back */
	INFO_SLOT = 1 << 12,  /* of a link: the guest's flags are in SLOT alone */
	INFO_AHEAD = 1 << 13, /* of a link: it leads forward in the page */
	INFO_BYTES = 27,      /* the instruction's length */
	INFO_DONE = 32, /* where instructions are counted: those before it that have not been */
};
enum thunk {
	THUNK_MEM,  /* the TLB has no such entry: S1 linear address. S2 = what to add */
	THUNK_STEP, /* interpret the instruction at INFO_OFF, come back if nothing special */
	THUNK_END,  /* interpret it, go on wherever that leads */
	THUNK_LINK, /* go to INFO_OFF; behind the call: how far the jump to be linked is, and in
		     * which block, 32 bits each */
	THUNK_MISS, /* go to S1 */
	THUNK_REP,  /* rep movs or stos: S1 says which, see enum rep */
	THUNK_OUT, /* S1 is not in the part of the window that the instruction at the 32 bits behind
		    * the call was thought to use */
	THUNK_CROSS,   /* is the next page what it was? */
	THUNK_POLL,    /* poll is not 0; at INFO_OFF */
	THUNK_SYSCALL, /* as THUNK_END, but it is syscall, or sysret to 64-bit code */
	THUNK_SYSRET,
	THUNKS,
};
/* In S1 for THUNK_REP: bytes of an element, or REP_STOS. */
enum { REP_SIZE = 15, REP_STOS = 16 };
enum { FROM_SP = 12 }; /* in x86_fast.from */
#define CROSS_NOT (~(gpa_t)0)
struct x86_block {
	gpa_t page;
	uint32_t next; /* in the hash, in the page's list: index + 1 */
	uint32_t page_next;
	uint32_t cross_next; /* in the list of the page that its last instruction ends in */
	gpa_t cross;	     /* that page, or CROSS_NOT */
	uint16_t off;
	uint8_t variant;
	bool plain;   /* accesses are not grouped */
	uint8_t made; /* how often it was made anew */
	uint16_t failed,
		out; /* groups that lay in two pages, accesses not where they were expected */
	/* Offsets in the cache: ib entry, HOST entry, SLOT entry; behind the look at v->poll, for
	 * who comes with HOST from further up in the page: all loops have a look in them. */
	uint32_t code, body, slot, ahead;
	uint32_t cold; /* where what is out of line begins */
};
struct x86_at_host { /* where an instruction's own host instruction may fault */
	uint32_t host;
	uint16_t off;
	bool flags;   /* HOST holds flags that count */
	uint8_t done; /* instructions before it that have not been counted */
};
enum { JIT_HASH_BITS = 17, JIT_HASH = 1 << JIT_HASH_BITS, JIT_PAGES = 1 << 12 };
struct x86_code_page {
	gpa_t at;
	uint64_t granules; /* of 64 bytes: which have been translated */
	uint32_t blocks;   /* list: index + 1 */
	uint32_t crossing; /* list of blocks that end in it */
	uint32_t next;
	bool watched; /* no write to it goes unnoticed, whether it has code or not */
	uint8_t idle; /* writes to it since it has had none */
	uint64_t la;  /* where VARIANT_FIXED has it; 0: nowhere yet */
	uint64_t begins[X86_PAGE / 64]; /* by offset: a block of some variant may begin here */
};
/* What is known of an instruction's memory operand: enum x86_cluster; HINT_NONE: nothing. */
enum { HINTS = 1 << 18, HINT_NONE = 4, X86_TRIED_BITS = 15 };
struct x86_jit {
	struct x86_vcpu *v;
	uint8_t *rx, *rw;
	/* What runs from the beginning on, what is out of line from the middle on. */
	size_t size, used, floor, cold;
	size_t ready, cold_ready;		     /* jit_make_ready() */
	uint8_t *thunk[THUNKS], *miss, *leave, *log; /* rw */
	void (*enter)(struct x86_vcpu *v, const void *to);
	struct x86_block *block;
	uint32_t blocks, blocks_room;
	struct x86_at_host *map;
	uint32_t maps, maps_room;
	uint8_t hint[HINTS];
	uint8_t tried[1 << X86_TRIED_BITS]; /* how often code without a block was come to */
	bool trial;			    /* block_at_rip()'s second answer */
	uint32_t hash[JIT_HASH], page_hash[JIT_PAGES];
	struct x86_code_page *page;
	uint32_t pages, pages_room;
	uint16_t used_ibtc[X86_VIEWS][4096];
	unsigned used_ibtc_n[X86_VIEWS];
	bool kernel_local;	 /* something of kernel addresses is of pages not global */
	unsigned vec;		 /* VARIANT_VEC of what is in fast.ibtc */
	bool live;		 /* vector and x87 state is in the host's registers */
	uint64_t fdp, fop;	 /* x87's data pointer and opcode as they were when it came there */
	bool spent;		 /* x86_jit_run()'s answer */
	bool dropped;		 /* blocks have gone since this was last looked at */
	struct x86_block *found; /* by find(), at rip; NULL: it leaves */
	uint64_t seals;		 /* gmem_broken() */
	uint64_t cr4;		 /* what of it is in code */
	bool counts;		 /* blocks count their instructions, and look at fast.left */
	uint64_t limit;		 /* of v->n: fast.left is how far it is from there */
	struct x86_check *check; /* NULL: not compared with the interpreter */
	pthread_mutex_t lock;	 /* guards the rest: what others have written */
	gpa_t wrote[256];
	unsigned wrote_n; /* more than fit: all */
};
/* Neighbours' share a cache line. */
static inline uint8_t *x86_hint(struct x86_jit *j, gpa_t page, unsigned off)
{
	uint64_t line = (page | off) / 64 * 0x9e3779b97f4a7c15u >> 52;
	return &j->hint[line * 64 + off % 64];
}
static inline unsigned x86_cross_of(gpa_t page)
{
	return (unsigned)(page >> X86_PAGE_SHIFT) % X86_CROSS;
}
static inline const uint8_t *x86_rx(const struct x86_jit *j, uint32_t off) { return j->rx + off; }

static inline unsigned x86_block_hash(gpa_t page, unsigned off, unsigned variant)
{
	uint64_t h = ((page | off) ^ (uint64_t)variant << 50) * 0x9e3779b97f4a7c15;
	return (unsigned)(h >> (64 - JIT_HASH_BITS));
}
static inline struct x86_block *x86_block_find(struct x86_jit *j, gpa_t page, unsigned off,
					       unsigned variant)
{
	for (uint32_t n = j->hash[x86_block_hash(page, off, variant)]; n;) {
		struct x86_block *b = &j->block[n - 1];
		if (b->page == page && b->off == off && b->variant == variant) return b;
		n = b->next;
	}
	return NULL;
}
/* C looks at cpu.flags: have the arithmetic ones there, too. */
static inline void x86_flags_home(struct x86_vcpu *v)
{
	uint64_t arith = (uint64_t)(v->fast.flags >> 8) | (v->fast.flags & 1u) << 11;
	v->cpu.flags = (v->cpu.flags & ~(uint64_t)X86_ARITH) | (arith & X86_ARITH);
}
static inline uint16_t x86_flags_away(uint64_t flags)
{
	return (uint16_t)((flags & 0xff) << 8 | (flags >> 11 & 1));
}
/* What code at la is now, if nothing else has to be known of its page. */
static inline unsigned x86_variant_at(const struct x86_vcpu *v, uint64_t la)
{
	bool vec = (v->cr0 & (CR0_EM | CR0_TS)) == 0 && v->cr4 & CR4_OSFXSR &&
		   v->cr4 & CR4_OSXSAVE && v->xcr0 == X86_XCR0;
	bool win = v->view == X86_VIEW_USER && x86_window_is_on(v) &&
		   x86_cluster_of(la) != X86_WIN_NONE;
	bool fixed = (int64_t)la == (int32_t)la;
	return v->view | (vec ? (unsigned)VARIANT_VEC : 0) | (win ? (unsigned)VARIANT_WIN : 0) |
	       (fixed ? (unsigned)VARIANT_FIXED : 0);
}
static inline unsigned x86_variant_now(const struct x86_vcpu *v)
{
	return x86_variant_at(v, v->cpu.rip);
}
static inline struct x86_code_page *x86_page_find(struct x86_jit *j, gpa_t page)
{
	for (uint32_t n = j->page_hash[page >> X86_PAGE_SHIFT & (JIT_PAGES - 1)]; n;) {
		struct x86_code_page *p = &j->page[n - 1];
		if (p->at == page) return p;
		n = p->next;
	}
	return NULL;
}
/* A page that is at more than one such address is fixed where it was first. */
static inline unsigned x86_variant_in(struct x86_jit *j, gpa_t page, uint64_t la)
{
	unsigned variant = x86_variant_at(j->v, la);
	if (!(variant & VARIANT_FIXED)) return variant;
	const struct x86_code_page *p = x86_page_find(j, page);
	bool there = p && p->la == (la & ~(uint64_t)(X86_PAGE - 1));
	return there ? variant : variant & ~(unsigned)VARIANT_LOW;
}
static inline bool x86_variant_is_low(unsigned variant)
{
	return (variant & VARIANT_LOW) == VARIANT_LOW;
}
static inline bool x86_translatable(const struct x86_vcpu *v)
{
	return v->mode == X86_64 && x86_is_plain(v);
}
enum { X86_CR4_IN_CODE = CR4_SMAP | CR4_TSD }; /* what of it translations depend on */
#define X86_IBTC_FREE 1			       /* no address has this place */
static inline unsigned x86_ibtc_index(uint64_t la)
{
	return (unsigned)(la ^ la >> X86_PAGE_SHIFT) & (X86_IBTC - 1);
}
/* Branches to la, which v->fetch_* is about, find b from now on. */
static inline void x86_ibtc_enter(struct x86_jit *j, uint64_t la, const struct x86_block *b)
{
	struct x86_vcpu *v = j->v;
	unsigned at = x86_ibtc_index(la), view = v->view, n = j->used_ibtc_n[view];
	j->kernel_local |= view != X86_VIEW_USER && !v->fetch_global;
	bool free = v->fast.ibtc[view][at].key == X86_IBTC_FREE;
	v->fast.ibtc[view][at] = (struct x86_ibtc){la, x86_rx(j, b->code)};
	if (!free) return;
	if (n <= COUNT(j->used_ibtc[0])) j->used_ibtc_n[view] = n + 1;
	if (n < COUNT(j->used_ibtc[0])) j->used_ibtc[view][n] = (uint16_t)at;
}

/* x86_emit.c: translate what begins at off of the page whose bytes are at code. NULL: there is no
 * room (j->used is at the end) or nothing to translate (*nothing). */
struct x86_block *x86_translate_block(struct x86_jit *j, const uint8_t *code, gpa_t page,
				      unsigned off, unsigned variant, bool plain, bool *nothing);
/* x86_jit.c */
/* The page behind the one at la, as far as it can be executed. False: it cannot. */
bool x86_next_page(struct x86_jit *j, uint64_t la, gpa_t *page, const uint8_t **code);
/* b's last instruction ends in `page`. */
void x86_block_crosses(struct x86_jit *j, struct x86_block *b, gpa_t page, unsigned to);
/* For many questions about one page: where blocks may begin; NULL: nowhere. */
const uint64_t *x86_block_begins(struct x86_jit *j, gpa_t page);
struct x86_block *x86_block_new(struct x86_jit *j, gpa_t page, unsigned off, unsigned variant);
void x86_code_used(struct x86_jit *j, gpa_t page, unsigned from, unsigned to);
bool x86_map_add(struct x86_jit *j, struct x86_at_host at);
/* Called by thunks. Where to go on. */
const void *x86_jit_thunk_mem(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back);
const void *x86_jit_thunk_step(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back);
const void *x86_jit_thunk_end(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back);
const void *x86_jit_thunk_link(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back);
const void *x86_jit_thunk_miss(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back);
const void *x86_jit_thunk_rep(struct x86_vcpu *v, uint64_t how, uint32_t info, const uint8_t *back);
const void *x86_jit_thunk_out(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back);
const void *x86_jit_thunk_cross(struct x86_vcpu *v, uint64_t la, uint32_t info,
				const uint8_t *back);
const void *x86_jit_thunk_poll(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back);
/* x86_light.c: tried before these. NULL: not done, or only a part of it. */
const void *x86_light_miss(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back);
const void *x86_light_rep(struct x86_vcpu *v, uint64_t how, uint32_t info, const uint8_t *back);
const void *x86_light_syscall(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back);
const void *x86_light_sysret(struct x86_vcpu *v, uint64_t la, uint32_t info, const uint8_t *back);
/* As many elements as lie in one page each, if the TLB knows those. */
bool x86_rep_some(struct x86_vcpu *v, unsigned how, enum x86_view view);
/* x86_thunk.c: the pieces of code that all others use. */
void x86_thunks_make(struct x86_jit *j, struct x64_asm *a);
#define V_AT(field) rm_mem(RSP, (int32_t)offsetof(struct x86_vcpu, field))
static inline struct rm x86_reg_slot(unsigned g) { return rm_mem(RSP, (int32_t)(8 * g)); }
static inline unsigned x86_host_of(unsigned g) /* NOREG: in memory */
{
	if (g == RSP) return GSP;
	return g == S1 || g == S2 || g == GSP ? (unsigned)NOREG : g;
}
#endif
