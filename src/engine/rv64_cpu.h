#ifndef ENGINE_RV64_CPU_H
#define ENGINE_RV64_CPU_H
#include "base/types.h"
#include "engine/engine.h"
#include "engine/rv64_counts.h"
#include "isa/rv64/csr.h"
#include "isa/rv64/fp.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* A RISC-V hart: registers, the software TLB, the decoded-code cache. All of it belongs to the
 * thread that runs the hart; what others may touch is _Atomic or guarded by `lock`. */
struct bus;
struct debug;
struct engine_env;
struct gmem;
struct timer;
struct tracer_cpu;
struct vclock;
struct rv64_cpu;
struct rv64_jit;
struct rv64_reserve;
struct rv64_windows;

/* One decoded instruction. Slots stand in a code page, one for each halfword. */
struct slot {
	const struct slot *(*fn)(struct rv64_cpu *c, const struct slot *ip, uint64_t n);
	int32_t imm;
	uint8_t rd, rs1, rs2; /* rd is 32 where it names x0 */
	uint8_t rs3 : 5, rm : 3;
};
enum { PAGE_SHIFT = 12, PAGE_SIZE = 1 << PAGE_SHIFT, PAGE_SLOTS = PAGE_SIZE / 2 };
#define PAGE_MASK (~(uint64_t)(PAGE_SIZE - 1))

/* A page of decoded code. Aligned to CODE_STRIDE, so that a slot's address tells its page and
 * its offset in it. slot[PAGE_SLOTS] and the one behind it are crossed into by running off the
 * end of the page. */
struct code_page {
	struct slot slot[PAGE_SLOTS + 2];
	gpa_t at;	  /* the page's address; NO_PAGE: none */
	uint64_t checked; /* code generation in which raw[] was last compared with memory */
	uint32_t next;	  /* hash chain: index + 1 */
	uint32_t version; /* counts what was decoded here */
	bool sealed;	  /* any write to it since will be told of: see gmem_seal() */
	bool used;	  /* has been looked up since it was last to make room */
	bool spread;	  /* more of fetch[] than one entry may be of it */
	uint16_t fetched; /* the one */
	const struct slot *(*tail_fn)(struct rv64_cpu *c, const struct slot *ip, uint64_t n);
	uint8_t raw[PAGE_SIZE + 2]; /* what was decoded; then the other half of tail_fn's word */
	uint8_t heat[PAGE_SLOTS];   /* counts down, by jumps here; at 0 it is time to translate */
	const void *entry[PAGE_SLOTS]; /* translated code, for harts that have any */
};
enum { CODE_STRIDE = 64 * 1024, CODE_PAGES = 2048, CODE_HASH = 4096, CODE_LIST = 64 };
_Static_assert(sizeof(struct code_page) <= CODE_STRIDE, "a code page fits its stride");

/* TLBs are direct-mapped. A tag is a page address plus the number of the context it belongs to
 * (1..CTX_MAX-1); NO_TAG never matches. host: what to add to the guest's address. */
struct tlb_entry {
	uint64_t tag, host;
};
struct fetch_entry {
	uint64_t tag;
	struct code_page *page;
};
enum { TLB_SIZE = 4096, FETCH_SIZE = 1024, CTX_MAX = 4095, CTX_KEYS = 16, LOCAL_LIST = 64 };
enum { LARGE_BITS = 512 }; /* so that Sv39 has a bit for each GiB */
#define NO_TAG	(~0ull)
#define NO_PAGE (~0ull)

/* What a TLB context stands for. */
struct ctx_key {
	uint64_t satp;
	uint32_t id; /* 0: free */
	uint8_t priv;
	bool mxr;
};
enum poll_bit {			/* why to leave straight-line execution */
		POLL_IRQ = 1,	/* interrupt inputs or enables changed */
		POLL_KICK = 2,	/* vcpu_kick() */
		POLL_FENCE = 4, /* another hart wants a fence served */
		POLL_TIMER = 8, /* stimecmp may have come */
		POLL_ONCE = 16, /* single step */
};
enum rv64_stop { /* how an instruction that did not simply go on ended */
		 STOP_NOT,
		 STOP_TRAP, /* cause and tval say why; did not retire */
		 STOP_JUMP, /* retired, pc is the next */
		 STOP_NEXT, /* retired, goes on behind, but look at interrupts and mappings first */
		 STOP_WFI,  /* as STOP_NEXT, asleep */
		 STOP_SYSCALL, /* as STOP_NEXT, to be served by the board */
		 STOP_WATCH,   /* did not retire: rv64_reserve.h */
		 STOP_BROKEN,  /* we cannot go on */
		 STOP_DEBUG,   /* did not retire: rv64_debug.c */
};
enum { FENCE_RANGES = 8 };
struct fence { /* what one hart asks of another */
	enum fence_kind { FENCE_OF_CODE, FENCE_OF_SPACE, FENCE_OF_PAGES } kind;
	unsigned asid; /* of FENCE_OF_SPACE: all of one address space */
	gva_t va;      /* of FENCE_OF_PAGES, in any address space */
	uint64_t len;  /* 0: all there are */
};
struct fence_box { /* what was asked; guarded by lock */
	bool all, code;
	unsigned n;
	struct fence one[FENCE_RANGES];
};

struct rv64_cpu {
	uint64_t x[33]; /* x[32] takes what is written to x0 */
	uint64_t bias;	/* pc = bias + (slot's address >> 3), while code runs */
	uint64_t dctx;	/* context of loads and stores */
	uint64_t fctx;	/* of fetches */
	uint64_t win_limit,
		win_base; /* the window that loads and stores may go by; limit 0: none */
	uint64_t base;	  /* address of the page that translated code is of, while it runs */
	_Atomic uint32_t poll;
	bool fp_on;    /* mstatus.FS is not Off */
	bool fs_dirty; /* FS has become Dirty since mstatus was last looked at */
	uint8_t stop;  /* enum rv64_stop of the instruction that stops */
	uint8_t len;   /* and its length */
	bool remap;    /* a CSR write changed what fetches see */
	bool hot;      /* the code at pc has been jumped to often */
	bool solo;     /* interpret the instruction at pc, even if it is translated */
	union {	       /* what rv64_load and friends found */
		uint64_t val;
		void *ptr;
	};
	struct tlb_entry rd[TLB_SIZE], wr[TLB_SIZE];
	struct fetch_entry fetch[FETCH_SIZE];
	uint64_t f[32];
	struct rv64_fp fp;
	struct rv64_v { /* vector state; rv64_vector.h */
		_Alignas(16) uint8_t reg[32 * 16];
		/* Eight bytes that translated code reads and writes as one, rv64_lift_vec.c. */
		uint8_t sew; /* log2 of the element's bytes */
		int8_t lmul; /* log2 of LMUL, -3..3 */
		bool ill;    /* vtype is: the rest of it reads 0 */
		uint8_t type, vl, vlmax, start;
		bool on; /* mstatus.VS, as fp_on and fs_dirty are its FS */

		bool dirty;
		uint8_t rm, sat; /* vxrm, vxsat */
	} v;

	uint64_t pc;	  /* while no code runs */
	uint64_t n;	  /* instructions since power-on; while code runs the handlers hold it */
	uint64_t n_limit; /* for translated code that counts: when its loops are to end */
	_Atomic uint64_t retired; /* n, now and then, for others */
	uint64_t cause, tval;	  /* of STOP_TRAP */

	uint8_t priv;
	uint8_t priv_data; /* whose rights loads and stores have: MPRV */
	uint64_t mstatus, medeleg, mideleg, mie, mtvec, mscratch, mepc, mcause, mtval, menvcfg;
	uint64_t stvec, sscratch, sepc, scause, stval, satp, senvcfg;
	uint32_t mcounteren, scounteren, mcountinhibit;
	uint64_t cycle_off, instret_off; /* counter = n + off; its value where inhibited */
	uint64_t mip_soft;		 /* mip bits that software holds: SEIP, STIP */
	_Atomic uint64_t mip;		 /* interrupt inputs, and SSIP */
	_Atomic uint64_t stimecmp;
	uint8_t pmpcfg[PMP_ENTRIES];
	uint64_t pmpaddr[PMP_ENTRIES];
	struct pmp_range { /* the entries in use, in order */
		gpa_t first, last;
		uint8_t cfg;
	} pmp[PMP_ENTRIES];
	unsigned pmp_n;
	bool pmp_open; /* the first range allows everything below M-mode, everywhere */

	gva_t res_va; /* LR's reservation: address, value, size (0: none) */
	uint64_t res_val;
	unsigned res_len;
	gpa_t atomic_at;     /* what rv64_atomic_ptr() found: where, and whether it holds */
	bool atomic_watched; /* reserve's lock */

	struct ctx_key ctx[CTX_KEYS];
	uint32_t ctx_next, ctx_hand;	 /* next number to give; next key to reuse */
	uint32_t ctx_id[4][2];		 /* by priv and MXR, for this satp; 0: look it up */
	uint64_t large[LARGE_BITS / 64]; /* bit GiB % LARGE_BITS: part of a large page is cached */
	/* S-mode has one context for all address spaces, as its pages are global. TLB slots that
	 * hold others for it are noted: user pages, which go when SUM is cleared, and local ones,
	 * which go with satp. */
	uint16_t local_list[LOCAL_LIST];
	unsigned local_n; /* LOCAL_LIST + 1: more than that */
	bool fetch_local; /* some are in fetch[] */

	struct code_page *code; /* CODE_PAGES of them, CODE_STRIDE apart; [CODE_PAGES] is for
				   single instructions */
	uint32_t code_hash[CODE_HASH];
	uint32_t code_used, code_hand;
	uint32_t code_put; /* of these, so many are there: private mappings of code_fd, */
	int code_fd;
	struct code_page *code_clear; /* which is this page */
	uint64_t code_gen;
	/* What fence.i has to do: places in fetch[] that pages without seal have been entered at,
	 * places in wr[] of what has ever been sealed; numbers beyond CODE_LIST: too many. */
	uint16_t code_open[CODE_LIST], code_wr[CODE_LIST];
	unsigned code_open_n, code_wr_n;
	uint64_t code_seen;	      /* of broken seals */
	struct rv64_reserve *reserve; /* NULL: there is no other hart */
	gpa_t res_at;		      /* of a far LR, guarded by reserve's lock; NO_PAGE: broken */
	unsigned alone;		      /* the slot in use of the page for single instructions */
	unsigned pauses;

	uint64_t never;		      /* 0, no context: a directory that looks here finds nothing */
	struct rv64_windows *windows; /* NULL: none */
	struct rv64_jit *jit;	      /* NULL: this hart only interprets */
	struct gmem *mem;
	struct bus *mmio;
	const struct vclock *clock;
	struct vclock *counted; /* rv64_count.c: as engine_env has it */
	uint64_t (*tick)(void *ctx, bool pause);
	void *tick_ctx;
	const struct engine_turns *turns;
	bool dozing;		   /* in a WFI that was left for somebody's kick */
	uint64_t slept;		   /* beside n */
	uint64_t slice_end, pause; /* by n: when to look at timers, when others have a turn */
	struct timer *timer;	   /* NULL: no loop, only WFI looks at stimecmp */
	const struct debug *debug; /* NULL: nobody debugs */
	struct vcpu_stop stopped;
	bool stepping, watching;
	struct rv64_trace {
		struct tracer_cpu *to; /* NULL: nobody traces */
		bool steps;	       /* wants to know of each instruction */
		unsigned csr;	       /* that this one names; 0: none */
		uint64_t csr_was;
	} trace;
	unsigned id, max_satp;
	bool sbi;
	uint8_t hot_jumps;		   /* to a place before it is translated */
	_Atomic uint64_t counts[COUNT__N]; /* written by its thread, read by any */

	_Atomic uint32_t lock; /* guards box */
	_Atomic uint32_t running, asleep;
	_Atomic uint32_t fence_asked, fence_done, fence_waiters;
	struct fence_box box;
};

static inline struct code_page *code_page_of(const struct slot *s)
{
	return (struct code_page *)((uintptr_t)s & ~(uintptr_t)(CODE_STRIDE - 1));
}
/* A jump goes to s. True: it has become one of the often used. */
static inline bool slot_heat(const struct slot *s)
{
	struct code_page *p = code_page_of(s);
	return unlikely(!--p->heat[s - p->slot]);
}
static inline uint64_t rv64_pc(const struct rv64_cpu *c, const struct slot *ip)
{
	return c->bias + ((uintptr_t)ip >> 3);
}
/* Note a trap: to be returned, or found in c->stop. */
static inline enum rv64_stop rv64_raise(struct rv64_cpu *c, uint64_t cause, uint64_t tval)
{
	c->cause = cause;
	c->tval = tval;
	return STOP_TRAP;
}

/* rv64_cpu.c */
int rv64_cpu_init(struct rv64_cpu *c); /* zeroed, with mem, mmio, clock, id, sbi set; -errno */
void rv64_cpu_done(struct rv64_cpu *c);
void rv64_cpu_reset(struct rv64_cpu *c);
/* Go on from pc until something stops it, and take the trap if that is what did. */
void rv64_step(struct rv64_cpu *c);
void rv64_poke(struct rv64_cpu *c, enum poll_bit why);	      /* any thread */
void rv64_irq(struct rv64_cpu *c, unsigned line, bool level); /* any thread */
/* Any thread: what engine_ops.fence() promises. */
void rv64_fence(struct rv64_cpu *c, struct rv64_cpu *from, struct fence f);
/* All of them, c among them, forget what they have looked up. c runs no guest code. */
void rv64_fence_all(struct rv64_cpu *c, struct rv64_cpu *const *hart, unsigned n);

/* rv64_csr.c. Reads and writes with the rights of priv; false: illegal instruction. */
enum { PRIV_ANY = 4 }; /* a debugger's: even what mstatus has switched off */
bool rv64_csr_read(struct rv64_cpu *c, unsigned csr, unsigned priv, uint64_t *val);
bool rv64_csr_write(struct rv64_cpu *c, unsigned csr, unsigned priv, uint64_t val);
/* Set and clear bits, as csrrs and csrrc do: not the same as reading and writing for mip. */
bool rv64_csr_change(struct rv64_cpu *c, unsigned csr, unsigned priv, uint64_t set, uint64_t clear);
void rv64_mstatus_set(struct rv64_cpu *c, uint64_t val); /* all fields legal */
uint64_t rv64_mstatus(struct rv64_cpu *c);
bool rv64_stce(const struct rv64_cpu *c);

/* rv64_count.c: harts whose instructions are counted, and their time with them */
void rv64_count_new(struct rv64_cpu *c, const struct engine_env *env);
void rv64_count_run(struct rv64_cpu *c);   /* as rv64_step(), between what is due */
void rv64_count_due(struct rv64_cpu *c);   /* what comes before the next instruction */
void rv64_count_sleep(struct rv64_cpu *c); /* WFI; dozing: it is not over */
static inline void rv64_count_look(struct rv64_cpu *c) { c->slice_end = 0; } /* timers were set */
/* Others: wait until poll is not what was seen, for so long at most. */
void rv64_poll_wait(struct rv64_cpu *c, uint32_t seen, uint64_t ns);

/* rv64_trap.c */
void rv64_trap(struct rv64_cpu *c, uint64_t cause, uint64_t tval); /* from c->pc */
uint64_t rv64_pending(const struct rv64_cpu *c);		   /* mip as software sees it */
bool rv64_interrupt_due(const struct rv64_cpu *c);
bool rv64_interrupt(struct rv64_cpu *c);   /* take the one that is due, if any */
bool rv64_timer_check(struct rv64_cpu *c); /* raise or drop STIP by stimecmp; true: raised */
void rv64_timer_arm(struct rv64_cpu *c);
enum rv64_stop rv64_mret(struct rv64_cpu *c); /* rights have been checked */
enum rv64_stop rv64_sret(struct rv64_cpu *c);

/* rv64_debug.c */
enum { CAUSE_WATCHED = 256 }; /* no trap: the access met a watchpoint */
/* A debugger has come, has gone (NULL), or wants other points; recut: units know too little. */
void rv64_debug_set(struct rv64_cpu *c, const struct debug *d, bool recut);
bool rv64_debug_here(struct rv64_cpu *c); /* pc has a breakpoint: stop is set */
enum rv64_stop rv64_debug_met(struct rv64_cpu *c, const struct vcpu_watch *w);
void rv64_debug_one(struct rv64_cpu *c);  /* the instruction at pc, by itself */
bool rv64_debug_ends(struct rv64_cpu *c); /* a point was met, or a step is done */
bool rv64_debug_peek(struct rv64_cpu *c, gva_t va, gpa_t *out);

/* rv64_tracer.c: around an instruction that is executed alone, if trace.steps; begin false: it is
 * of no interest, and there is no end. With trace.to: behind a trap that was taken from there;
 * before the board is called. */
bool rv64_trace_begin(struct rv64_cpu *c);
void rv64_trace_end(struct rv64_cpu *c);
void rv64_trace_trap(struct rv64_cpu *c, uint64_t cause, uint64_t tval, unsigned from, gva_t pc);
void rv64_trace_call(struct rv64_cpu *c);

/* rv64_pmp.c */
enum rv64_access { ACCESS_R = PMP_R, ACCESS_W = PMP_W, ACCESS_X = PMP_X };
bool rv64_pmp_ok(const struct rv64_cpu *c, gpa_t at, unsigned len, unsigned access, unsigned priv);
bool rv64_pmp_whole(const struct rv64_cpu *c, gpa_t page); /* one answer for all of the page */
void rv64_pmp_update(struct rv64_cpu *c);		   /* pmpcfg or pmpaddr changed */
void rv64_pmpcfg_set(struct rv64_cpu *c, unsigned first, uint64_t val);
void rv64_pmpaddr_set(struct rv64_cpu *c, unsigned i, uint64_t val);

/* rv64_mmu.c */
struct rv64_page { /* a page as an access found it */
	gpa_t at;
	bool user, global;
	bool dirty;    /* marked so, or not in need of a mark */
	uint64_t span; /* size - 1 of the large page it is part of; 0: none */
};
/* Translate va for access by priv. 0 or the trap cause. */
unsigned rv64_translate(struct rv64_cpu *c, gva_t va, unsigned access, unsigned priv,
			struct rv64_page *out);
/* As if A and D could not be set; changes nothing. */
unsigned rv64_peek(struct rv64_cpu *c, gva_t va, unsigned access, unsigned priv,
		   struct rv64_page *out);
/* The same whatever it is to be used for. False: nothing is there. */
bool rv64_look(struct rv64_cpu *c, gva_t va, struct rv64_page *out);
/* Loads and stores of len 1, 2, 4, 8 bytes anywhere. STOP_NOT or STOP_TRAP; c->val is the
 * value. */
enum rv64_stop rv64_load(struct rv64_cpu *c, gva_t va, unsigned len);
enum rv64_stop rv64_store(struct rv64_cpu *c, gva_t va, uint64_t val, unsigned len);
/* Host memory for an atomic of len bytes at va, in c->ptr, or a trap. For a write
 * rv64_atomic_end() must follow. */
enum rv64_stop rv64_atomic_ptr(struct rv64_cpu *c, gva_t va, unsigned len, bool write);
/* For translated code: what to add to va to reach its page in host memory, all of which may be
 * accessed so; 1: it is not that simple. */
uint64_t rv64_tlb_find(struct rv64_cpu *c, gva_t va, unsigned access);
enum rv64_stop rv64_zero_block(struct rv64_cpu *c, gva_t va);  /* cbo.zero */
enum rv64_stop rv64_check_block(struct rv64_cpu *c, gva_t va); /* the other cbos' traps */
void rv64_mode_update(struct rv64_cpu *c); /* privilege, mapping or rights have changed */
void rv64_satp_changed(struct rv64_cpu *c);
void rv64_local_drop(struct rv64_cpu *c); /* what S-mode has of this address space */
void rv64_tlb_large(struct rv64_cpu *c, gva_t va, uint64_t span); /* cached part of one */
void rv64_tlb_flush(struct rv64_cpu *c);
void rv64_tlb_flush_asid(struct rv64_cpu *c, unsigned asid);
void rv64_tlb_flush_page(struct rv64_cpu *c, gva_t va);

/* rv64_system.c: the irregular instructions, HELPER() of the table */
/* clang-format off */
#define RV64_SYSTEM(X) \
	X(csrrw) X(csrrs) X(csrrc) X(csrrwi) X(csrrsi) X(csrrci) X(ecall) X(ebreak) X(mret) \
	X(sret) X(wfi) X(wrs_nto) X(wrs_sto) X(sfence_vma) X(sinval_vma) X(sfence_w_inval) \
	X(sfence_inval_ir) X(fence_i) X(pause) X(cbo_inval) X(cbo_clean) X(cbo_flush) X(cbo_zero)
/* clang-format on */
#define X(name) enum rv64_stop rv64_do_##name(struct rv64_cpu *c, const struct slot *ip);
RV64_SYSTEM(X)
#undef X

/* rv64_code.c */
int rv64_code_init(struct rv64_cpu *c);
void rv64_code_done(struct rv64_cpu *c);
void rv64_code_drop(struct rv64_cpu *c);  /* forget all */
void rv64_code_fence(struct rv64_cpu *c); /* fence.i */
/* wr[i] is about to be of this page. */
void rv64_code_writable(struct rv64_cpu *c, gpa_t page, unsigned i);
/* The slot for c->pc, with c->bias set; NULL: it cannot be fetched, see c->cause, c->tval. */
const struct slot *rv64_code_enter(struct rv64_cpu *c);
/* Decode one instruction word alone, as if it stood at c->pc. */
const struct slot *rv64_code_alone(struct rv64_cpu *c, uint32_t word);
/* The page at va; NULL as above, or c->cause 0: PMP splits this page, use rv64_code_step. */
struct code_page *rv64_code_fetch(struct rv64_cpu *c, gva_t va);
const struct slot *rv64_code_step(struct rv64_cpu *c);
/* All translated code has gone. */
void rv64_code_forget_units(struct rv64_cpu *c);
uint32_t rv64_code_raw(const struct slot *ip); /* instruction bits */
void rv64_code_decode(const struct rv64_cpu *c, const struct slot *ip);
/* The last slot of a page holds an instruction that runs into the next page: make sure that it
 * is decoded with what is there now. NULL as above. */
const struct slot *rv64_code_tail(struct rv64_cpu *c, const struct slot *ip);
/* The slot for the instruction at c->pc, to be executed alone, whatever pages it lies in. NULL: a
 * trap, see c->cause, c->tval. */
const struct slot *rv64_code_single(struct rv64_cpu *c);

/* interp_ops.c: the handlers */
struct rv64_insn;
void rv64_slot_fill(struct slot *s, const struct rv64_insn *i, unsigned index);
const struct slot *rv64_op_decode(struct rv64_cpu *c, const struct slot *ip, uint64_t n);
const struct slot *rv64_op_cross(struct rv64_cpu *c, const struct slot *ip, uint64_t n);
const struct slot *rv64_op_tail(struct rv64_cpu *c, const struct slot *ip, uint64_t n);
const struct slot *rv64_op_unit(struct rv64_cpu *c, const struct slot *ip, uint64_t n);
const struct slot *rv64_op_point(struct rv64_cpu *c, const struct slot *ip, uint64_t n);
const struct slot *rv64_op_leave(struct rv64_cpu *c, const struct slot *ip, uint64_t n);
/* Run from ip until something stops it; c->pc, c->n and c->stop are then set. */
void rv64_go(struct rv64_cpu *c, const struct slot *ip);
#endif
