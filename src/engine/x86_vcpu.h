#ifndef ENGINE_X86_VCPU_H
#define ENGINE_X86_VCPU_H
#include "base/types.h"
#include "engine/engine.h"
#include "engine/x86_counts.h"
#include "engine/x86_model.h"
#include "engine/x86_regs.h"
#include "hw/clock.h"
#include "isa/x86/step.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* An x86-64 CPU in software: its state, and the functions that make up its interpreter. The
 * translator (x86_jit.h) runs beside it on the same state, and has one instruction done here
 * whenever it comes to what it does not translate. All of it belongs to the thread that runs the
 * vCPU; what others may touch is _Atomic. "SDM" is Intel's Software Developer's Manual.
 *
 * An instruction is done by x86_step() and below it by functions that answer 0 (done: rip has moved
 * on) or a trap (X86_TRAP + vector; nothing has changed): the error code is then in v->code, and
 * for #PF the address in v->fault (CR2 changes only when the trap is delivered), for #DB what DR6
 * gets in v->fault. */
struct debug;
struct device;
struct gmem;
struct bus;
struct timer;
struct tracer_cpu;
struct x86_jit;
struct x86_machine;
struct x86_window;
struct x86_direct;

enum { X86_PAGE_SHIFT = 12, X86_PAGE = 1 << X86_PAGE_SHIFT };

/* A segment as its hidden part has it: SDM 3, 3.4.3. access as in x86_regs.h (SEG_ACCESS). */
struct x86_segreg {
	uint64_t base;
	uint32_t limit; /* in bytes */
	uint32_t access;
	uint16_t sel;
};
enum { X86_SEG_LDTR = 6, X86_SEG_TR = 7, X86_SEGS = 8 };
enum {
	SEG_A = 1 << 0, /* of a code or data segment: accessed */
	SEG_RW = 1 << 1,
	SEG_EC = 1 << 2, /* expand down, conforming */
	SEG_CODE = 1 << 3,
	SEG_S = 1 << 4,
	SEG_DPL = 3 << 5,
	SEG_P = 1 << 7,
	SEG_L = 1 << 13,
	SEG_DB = 1 << 14,
	SEG_G = 1 << 15,
	SEG_UNUSABLE = 1 << 16,
};
enum x86_cr0 {
	CR0_PE = 1 << 0,
	CR0_MP = 1 << 1,
	CR0_EM = 1 << 2,
	CR0_TS = 1 << 3,
	CR0_ET = 1 << 4,
	CR0_NE = 1 << 5,
	CR0_WP = 1 << 16,
	CR0_AM = 1 << 18,
	CR0_NW = 1 << 29,
	CR0_CD = 1 << 30,
};
#define CR0_PG (1u << 31)
enum x86_cr4 {
	CR4_VME = 1 << 0,
	CR4_PVI = 1 << 1,
	CR4_TSD = 1 << 2,
	CR4_DE = 1 << 3,
	CR4_PSE = 1 << 4,
	CR4_PAE = 1 << 5,
	CR4_MCE = 1 << 6,
	CR4_PGE = 1 << 7,
	CR4_PCE = 1 << 8,
	CR4_OSFXSR = 1 << 9,
	CR4_OSXMMEXCPT = 1 << 10,
	CR4_UMIP = 1 << 11,
	CR4_FSGSBASE = 1 << 16,
	CR4_PCIDE = 1 << 17,
	CR4_OSXSAVE = 1 << 18,
	CR4_SMEP = 1 << 20,
	CR4_SMAP = 1 << 21,
};
enum x86_efer {
	EFER_SCE = 1 << 0,
	EFER_LME = 1 << 8,
	EFER_LMA = 1 << 10,
	EFER_NXE = 1 << 11,
};
enum { X86_XCR0 = 7 }; /* what XCR0 may hold: x87, SSE, AVX */
/* MAXPHYADDR. Not more: a 32-bit OVMF maps all of it by pages of 2 MiB before it goes on. */
enum { X86_PHYS_BITS = 40 };
enum x86_stat {
#define X(id, name) X86_STAT_##id,
	X86_COUNTS(X)
#undef X
		X86_STATS
};
#define X86_NO_FETCH 1ull /* no page's address */

/* The software TLB, direct-mapped, one for each kind of access: user (CPL 3), kernel, and kernel
 * while it may touch user pages (AC set, or SMAP off). An entry allows without further checks what
 * it is there for: rights, A and D are settled. It is RAM: devices, ROM for writes, and for writes
 * pages that hold translated code, are never entered. */
struct x86_tlb_entry {
	uint64_t rd, wr; /* linear address of the page, or X86_NO_TAG(index) */
	uint64_t add;	 /* host address - linear address */
	uint64_t gpa;	 /* of the page; and these: */
};
enum { X86_TLB_GLOBAL = 1, X86_TLB_LARGE = 2 }; /* large: part of a large page */
enum { X86_TLB_SIZE = 4096, X86_MANY = 0xffff };
enum x86_view { X86_VIEW_USER, X86_VIEW_KERNEL, X86_VIEW_BOTH, X86_VIEWS };
struct x86_writers {	/* of a page */
	uint16_t at[2]; /* index + 1 where the TLB, in any view and in kept contexts, may let it be
			   written to; 0 nowhere, X86_MANY elsewhere, too */
};
/* No address in any page that looks at entry i equals it up to its lowest 12 bits. */
#define X86_NO_TAG(i) ((uint64_t)((i) ^ 1) << X86_PAGE_SHIFT)
static inline unsigned x86_tlb_index(uint64_t la)
{
	return la >> X86_PAGE_SHIFT & (X86_TLB_SIZE - 1);
}
enum x86_poll {			   /* why to leave straight-line execution */
		X86_POLL_INTR = 1, /* INTR is up */
		X86_POLL_NMI = 2,
		X86_POLL_KICK = 4,
		X86_POLL_FENCE = 8, /* another vCPU or thread wants something forgotten */
		X86_POLL_INIT = 16,
		X86_POLL_SIPI = 32,
		X86_POLL_CODE = 64, /* code that has been translated was written */
};
enum x86_access { X86_R = 0, X86_W = 2, X86_X = 16 }; /* bits of a #PF's error code */

/* XSAVE's standard layout (SDM 1, 13.4): x87 and SSE, header, AVX. */
struct x86_xarea {
	_Alignas(64) uint8_t bytes[576 + 256];
};

enum { X86_TRACE_CRS = 6 };
/* What translated code keeps beside the registers; x86_jit.h. */
enum { X86_IBTC = 65536, X86_ADDS = 12, X86_CROSS = 256 };
#define X86_CROSS_NONE (~0ull)
struct x86_fast {
	/* Wherever they are not in the host's: OF in bit 0, from bit 8 on what lahf gives. */
	uint16_t flags;
	/* The indirect branch that was taken last: its offset in its page; from bit 12 on what it
	 * did to RSP, signed. */
	uint32_t from;
	uint64_t page;	/* linear address of the page that the running block is of */
	const void *go; /* where a thunk goes on */
	uint64_t save[4];
	uint64_t add[X86_ADDS]; /* what groups of accesses found */
	uint64_t host_sp;	/* the stack to go back to */
	uint64_t win_add;	/* x86_window.h */
	struct x86_cross { /* which page of memory is behind a page of code, where that is now */
		uint64_t page;
		uint64_t next;		  /* its number; X86_CROSS_NONE: not known */
	} cross[X86_CROSS];		  /* by number of the first page */
	_Alignas(32) uint8_t ymm[16][32]; /* while C runs, if x86_jit.live */
	uint64_t upper;			  /* not 0: some of their upper halves are not 0 */
	/* Where instructions are counted: how many may still run until x86_jit.limit; how many that
	 * block has done which a thunk was called from, since it last took some off. */
	int64_t left;
	uint64_t lag;
	uint64_t log_rax, log_bytes; /* x86_check.h: while a store is noted */
	const void *log_go;
	struct x86_ibtc {     /* where indirect branches go */
		uint64_t key; /* linear address */
		const void *host;
	} ibtc[X86_VIEWS][X86_IBTC];
};

struct x86_vcpu {
	struct x86_cpu cpu; /* r, rip, flags, base; flags hold all of RFLAGS at any time */
	/* For translated code; see x86_jit.h */
	_Atomic uint32_t poll; /* enum x86_poll */
	struct x86_fast fast;
	struct x86_tlb_entry tlb[X86_VIEWS][X86_TLB_SIZE];

	/* Registers. XMM, YMM, x87, MXCSR are in x while no translated code runs. */
	struct x86_segreg seg[X86_SEGS]; /* order of enum x86_segment, then LDTR, TR */
	struct {
		uint64_t base;
		uint16_t limit;
	} gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, efer, xcr0, xss;
	uint64_t dr[8];
	uint8_t cpl;	  /* 0 or 3, and 1 or 2 */
	uint8_t mode;	  /* enum x86_mode of CS as it is */
	uint8_t view;	  /* enum x86_view that data accesses have now: x86_mode_update() */
	bool long_mode;	  /* EFER.LMA */
	bool nmi_masked;  /* until iret */
	uint8_t shadow;	  /* bit 0: by mov ss, 1: by sti: no interrupts before the next one */
	uint8_t activity; /* enum x86_activity */
	uint8_t sipi;	  /* its vector */
	uint64_t star, lstar, cstar, sfmask, kernel_gs, tsc_aux;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	struct x86_xarea x;
	struct x86_msrs *msrs; /* the rest, x86_msr.c's */
	uint64_t tsc_off;      /* guest's TSC = host's + this; TSC_ADJUST is part of it */
	uint64_t pdpte[4];     /* PAE paging's registers, SDM 3, 4.4.1 */

	/* Of the trap that is being returned */
	uint64_t fault;
	uint32_t code;

	/* Fetches: where rip's page is. */
	uint64_t fetch_tag, fetch_gpa; /* linear page; NO_FETCH: none */
	const uint8_t *fetch_host;
	bool fetch_global; /* what is made of it may be kept over a write to CR3 */

	const char *broken; /* why the engine cannot go on; NULL */
	char words[160];
	/* Put there by number: events whose delivery was cut short elsewhere. They come first. */
	uint64_t cut_exception, cut_payload, cut_interrupt; /* REG_X86_EVENT_*; 0: none */
	bool reset_asked;				    /* triple fault */
	_Atomic uint64_t retired;
	uint64_t n;			   /* instructions so far, by its own thread */
	uint64_t traps;			   /* that x86_step() has delivered */
	_Atomic uint64_t stats[X86_STATS]; /* written by its own thread */
	_Atomic uint32_t intr;		   /* INTR's level */
	_Atomic uint32_t sipi_asked;
	struct x86_machine *machine;
	struct x86_jit *jit;	    /* NULL: only interpreted */
	struct x86_shadow *shadows; /* of what is below */
	struct x86_window *window;  /* NULL: none */
	struct x86_direct *direct;  /* NULL: there is none */
	bool runs_direct;	    /* user code of the space at CR3 is x86_direct_run()'s */
	_Atomic int native;	    /* not 0: x86_direct_poke() is to be called */
	uint64_t calls;		    /* system calls, so far */
	struct x86_contexts *contexts;
	unsigned id;
	uint8_t cr8;	/* where no local APIC is asked */
	uint8_t hit;	/* data breakpoints that the instruction at work has met */
	bool nmi_waits; /* for nmi_masked to go */
	bool stepping, debugged, watching; /* x86_debug.c */
	struct vcpu_stop stopped;
	const struct vcpu_watch *met; /* the watchpoint that the instruction at work has met */
	const struct debug *debug;    /* NULL: nobody debugs */
	gpa_t apic_page;	      /* of the local APIC; ~0: it is not in memory */
	struct x86_own *own;	      /* x86_vcpu.c's: decoded instructions */
	/* x86_mmu.c's. Of the TLB: what was entered that is not global, since such was last
	 * dropped; and by GiB modulo 64 where large pages are, of which invlpg must drop all. */
	struct x86_entered {
		unsigned n; /* may be more than are noted */
		uint16_t at[512];
	} entered[X86_VIEWS];
	uint64_t large;
	struct x86_writers *writers; /* by page of RAM, up to code_pages; NULL: nobody counts */
	struct x86_across {
		gpa_t page[2];
		uint8_t *two; /* where these are beside each other in the host; NULL: nowhere */
	} across;
	struct x86_fetches {
		uint64_t gen, gen_global; /* older entries are void: any, global ones */
		/* Of user and kernel addresses, a hash of the pages that fetches have seen since
		 * all was forgotten: nothing is known of others that invlpg could ask for. */
		uint64_t seen[2][16];
		struct x86_fetched {
			/* tag: linear page, bit 0: CPL 3; gpa: bit 0: global */
			uint64_t tag, gen, gpa;
			const uint8_t *host; /* NULL: a device */
		} at[256];
	} fetches;
	struct x86_trace {	       /* x86_tracer.c's */
		struct tracer_cpu *to; /* NULL: nobody traces */
		bool steps;	       /* wants to know of each instruction */
		bool wanted;	       /* this instruction is */
		bool goes_on;	       /* a REP that is not done */
		bool msr;	       /* it writes one */
		uint32_t index;
		unsigned got; /* bytes of it that are there */
		uint64_t pc, n, traps, val, cr[X86_TRACE_CRS];
	} trace;
	/* x86_count.c's, where time is instructions; counted NULL: it is not. In instructions: when
	 * to look at timers, and when others may do something; ns that were slept. */
	const struct vclock *counted;
	uint64_t slice_end, pause, slept;
	/* Sleep, and fences that others ask for: as rv64_cpu.c's. */
	_Atomic uint32_t asleep, running, fence_asked, fence_done, fence_waiters;
	_Atomic uint32_t fence_all; /* one that is asked for is x86_fence() */
};

/* What the vCPUs of a machine have in common. Zeroed but for env; x86_machine_init() does the rest.
 */
struct x86_machine {
	struct engine_env env;
	_Atomic uint64_t tsc_khz; /* 0: not known yet; x86_machine_khz() */
	/* Pages of RAM that some vCPU has translated code of: a bit a vCPU, by page number, NULL
	 * while there is no translator. Writers look after their write: x86_wrote(). */
	_Atomic uint8_t *code;
	uint64_t code_pages;
	void (*code_wrote)(struct x86_vcpu *v, gpa_t at, unsigned n); /* the translator's */
	uint64_t tsc_zero;		   /* host's TSC when the guest's was 0 */
	uint64_t pv_tsc, pv_ns;		   /* one moment, by the guest's TSC and by env.clock */
	_Atomic uint64_t tsc_got, tsc_put; /* moments of the host's TSC, x86_tsc_held(); 0: none */
	_Atomic uint32_t locked;	   /* for what the host cannot do atomically */
	/* What its guest was told of its CPU elsewhere; NULL: what x86_cpuid_own() says. */
	struct x86_leaf *told;
	unsigned ntold;
	unsigned n;
	struct x86_vcpu *vcpu[64];
};

/* Has some vCPU translated code of the page? */
static inline bool x86_has_code(const struct x86_machine *m, gpa_t page)
{
	uint64_t p = page >> X86_PAGE_SHIFT;
	return m->code && p < m->code_pages && atomic_load(&m->code[p]);
}
/* ---- x86_vcpu.c: life, the run loop */
void x86_machine_init(struct x86_machine *m);
struct x86_vcpu *x86_vcpu_new(struct x86_machine *m, unsigned id);
void x86_vcpu_free(struct x86_vcpu *v);
void x86_vcpu_reset(struct x86_vcpu *v, bool init); /* init: INIT keeps what RESET does not */
enum vcpu_exit x86_vcpu_run(struct x86_vcpu *v);
void x86_poke(struct x86_vcpu *v, enum x86_poll why); /* any thread */
/* Inputs, any thread: IRQ_X86_*. */
void x86_irq(struct x86_vcpu *v, unsigned line, int level);
/* Have v forget all translations: when it returns v uses none of before. from: as engine.h's. */
void x86_fence(struct x86_vcpu *v, struct x86_vcpu *from);
/* Only those that pages which have code now may be written by; v is another one than from. */
void x86_fence_writes(struct x86_vcpu *v, struct x86_vcpu *from);
/* Take what has come: interrupts, NMI, INIT, SIPI, fences. False: leave x86_vcpu_run(). */
bool x86_events(struct x86_vcpu *v);
/* Sleep until poll is not `seen` any more, ns at most. */
void x86_poll_wait(struct x86_vcpu *v, uint32_t seen, uint64_t ns);
/* Fetch, decode and execute one instruction, and deliver the trap if it ends with one. Events are
 * not looked at. A REP does a bounded part of itself. */
void x86_step(struct x86_vcpu *v);
/* The one at rip, yours until the next is fetched; or a trap. */
int x86_fetched(struct x86_vcpu *v, const struct x86_insn **in);
static inline bool x86_checks_alignment(const struct x86_vcpu *v) /* SDM 3, 7.15, #AC */
{
	return v->cpu.flags & X86_AC && v->cr0 & CR0_AM && v->cpl == 3;
}
/* No TF, RF, breakpoints, shadow, #AC: all the rest that x86_step() does about an instruction is
 * x86_do(). */
enum { X86_DR7_ENABLED = 0xff };
static inline bool x86_is_plain(const struct x86_vcpu *v)
{
	return !(v->cpu.flags & (X86_TF | X86_RF)) && !(v->dr[7] & X86_DR7_ENABLED) && !v->shadow &&
	       !x86_checks_alignment(v);
}
/* Execute one that has been decoded, at rip: 0, X86_REPEAT or a trap. It raises `poll` again if
 * what waited for IF or for iret may now come in; the shadow and TF are x86_step()'s. */
int x86_do(struct x86_vcpu *v, const struct x86_insn *in);
int x86_vcpu_get(struct x86_vcpu *v, unsigned reg, uint64_t *val);
int x86_vcpu_set(struct x86_vcpu *v, unsigned reg, uint64_t val);

/* ---- x86_count.c: a CPU whose instructions are counted, and its time with them */
void x86_count_new(struct x86_vcpu *v);
void x86_count_run(struct x86_vcpu *v);	  /* some, after which x86_events() is to be asked */
void x86_count_sleep(struct x86_vcpu *v); /* until poll says something */
void x86_count_due(struct x86_vcpu *v);	  /* what comes before the next instruction */
void x86_count_look(struct x86_vcpu *v);  /* timers may have been set */

/* ---- x86_debug.c */
/* A debugger has come, has gone (NULL), or wants other points; recut: blocks know too little. */
void x86_debug_set(struct x86_vcpu *v, const struct debug *d, bool recut);
bool x86_debug_here(struct x86_vcpu *v, uint64_t la); /* a breakpoint: the run ends */
void x86_debug_look(struct x86_vcpu *v);	      /* behind an instruction */
void x86_debug_step(struct x86_vcpu *v);

/* ---- x86_tracer.c: around a step if trace.steps; with trace.to: before the delivery of something,
 * CR2 being set. */
void x86_trace_begin(struct x86_vcpu *v);
void x86_trace_end(struct x86_vcpu *v);

/* x86_step.c: which function does an operation; what is decoded. */
void x86_groups_init(void);
struct x86_own *x86_own_new(void);

/* ---- x86_mmu.c */
struct x86_page_found {
	gpa_t at; /* of the page of 4 KiB */
	bool user, global, large, giant, writable, dirty;
	bool accessed; /* x86_peek_page() alone tells */
};
/* Walk for an access (enum x86_access); sets A and D. user: with CPL 3's rights; else `both` says
 * whether user pages may be touched. 0, or the trap with code and fault set. */
int x86_translate(struct x86_vcpu *v, uint64_t la, unsigned access, enum x86_view as,
		  struct x86_page_found *out);
/* As if A and D need not be set; changes nothing: for debuggers. */
bool x86_peek(struct x86_vcpu *v, uint64_t la, gpa_t *out);
bool x86_peek_page(struct x86_vcpu *v, uint64_t la, unsigned access, enum x86_view as,
		   struct x86_page_found *out);
/* What the CPU itself reads and writes (descriptors, TSS): SMAP holds whatever AC is. */
static inline enum x86_view x86_system_view(const struct x86_vcpu *v)
{
	return v->cr4 & CR4_SMAP ? X86_VIEW_KERNEL : X86_VIEW_BOTH;
}
static inline uint8_t *x86_tlb_look(const struct x86_vcpu *v, uint64_t la, bool write,
				    enum x86_view as)
{
	const struct x86_tlb_entry *e = &v->tlb[as][x86_tlb_index(la)];
	uint64_t page = la & ~(uint64_t)(X86_PAGE - 1), tag = write ? e->wr : e->rd;
	/* The host's address is a number here: e->add is a difference of two address spaces. */
	return likely(tag == page) ? (uint8_t *)(uintptr_t)(la + e->add) : NULL;
}
/* Data at linear addresses, n bytes up to 64, which may cross a page or be a device's. */
int x86_load(struct x86_vcpu *v, uint64_t la, void *to, unsigned n, enum x86_view as);
int x86_store(struct x86_vcpu *v, uint64_t la, const void *from, unsigned n, enum x86_view as);
/* For both: would the access be allowed? Nothing is read; D is set for writes. */
int x86_probe(struct x86_vcpu *v, uint64_t la, unsigned n, unsigned access, enum x86_view as);
extern const struct x86_mem x86_mem_ops; /* with v->view; v is what holds the struct x86_cpu */
/* The host address that la has, for reading or writing its page, entered in the TLB; NULL: not that
 * simple (a device, a fault, ROM, translated code): have the instruction interpreted. */
void *x86_tlb_find(struct x86_vcpu *v, uint64_t la, bool write, enum x86_view as);
/* The page where rip's instruction begins: 0 with fetch_* set, or a trap. */
int x86_fetch(struct x86_vcpu *v, uint64_t la);
bool x86_fetch_known(struct x86_vcpu *v, uint64_t la); /* the same, if it is known already */
void x86_tlb_flush(struct x86_vcpu *v, bool globals);
void x86_tlb_flush_page(struct x86_vcpu *v, uint64_t la);
void x86_tlb_flush_writes(struct x86_vcpu *v, gpa_t page); /* it has become a page of code */
void x86_tlb_flush_writes_to_code(struct x86_vcpu *v);	   /* to all that have */
void x86_across_free(struct x86_vcpu *v);		   /* what x86_vcpu.across has */
/* CR0, CR3, CR4, EFER, CPL, CS, AC have changed: view, mode, popf_mask, ssize, base. */
void x86_mode_update(struct x86_vcpu *v);
/* Of these, view alone, where only AC has changed. */
static inline void x86_view_update(struct x86_vcpu *v)
{
	bool smap = v->cr4 & CR4_SMAP && !(v->cpu.flags & X86_AC);
	v->view = v->cpl == 3 ? X86_VIEW_USER : smap ? X86_VIEW_KERNEL : X86_VIEW_BOTH;
}
/* [at, at+n) of guest memory was written, by this vCPU: dirty log, translated code. */
void x86_wrote(struct x86_vcpu *v, gpa_t at, unsigned n);
static inline bool x86_canonical(uint64_t la) { return (uint64_t)((int64_t)la >> 47) + 1 < 2; }

/* ---- x86_seg.c, x86_trap.c, x86_far.c */
/* Load a segment register as mov, pop, lss do, in whatever mode; not CS. */
int x86_seg_load(struct x86_vcpu *v, unsigned seg, uint16_t sel);
/* Deliver exception, interrupt or NMI. From cpu.rip: for what is not a fault it has moved on
 * already. Double and triple faults are seen to; a triple fault sets reset_asked. */
enum x86_source { X86_FROM_CPU, X86_FROM_INTN, X86_FROM_OUTSIDE };
void x86_deliver(struct x86_vcpu *v, unsigned vector, enum x86_source from);
void x86_trace_int(struct x86_vcpu *v, unsigned vector, enum x86_source from);
/* Linear address of seg:offset for an access of n bytes: limit, rights and canonical form
 * checked; 0 or #GP, #SS. */
int x86_linear(struct x86_vcpu *v, unsigned seg, uint64_t off, unsigned n, bool write,
	       uint64_t *la);
/* The memory operand of in, of n bytes. */
int x86_operand_la(struct x86_vcpu *v, const struct x86_insn *in, unsigned n, bool write,
		   uint64_t *la);
uint64_t x86_operand_ea(struct x86_vcpu *v, const struct x86_insn *in); /* offset in segment */
/* The instructions: int3 int into icebp, iret, far jmp/call/ret, syscall sysret sysenter sysexit,
 * mov/pop/lds.. to segments, mov/push from them, lgdt lidt sgdt sidt lldt ltr sldt str, lar lsl
 * verr verw, swapgs, rd/wrfsbase... X86_OTHER: not one of them. */
int x86_do_far(struct x86_vcpu *v, const struct x86_insn *in);
/* Two of them, decoded; next: where the program goes on after the call. 0 or a trap. */
int x86_syscall(struct x86_vcpu *v, uint64_t next);
int x86_sysret(struct x86_vcpu *v, bool to64);

/* ---- x86_system.c, x86_msr.c, x86_cpuid.c: mov cr/dr, clts, lmsw, smsw, in/out/ins/outs, hlt,
 * cli sti, cpuid, rdmsr wrmsr, rdtsc(p), rdpid, invlpg invpcid, wbinvd, clac stac, monitor mwait,
 * vmcall, rdpmc, xgetbv xsetbv... X86_OTHER: not one of them. */
int x86_do_system(struct x86_vcpu *v, const struct x86_insn *in);
int x86_do_io(struct x86_vcpu *v, const struct x86_insn *in); /* x86_io.c: in, out, ins, outs */
/* Register as an operand of n bytes: 4 clear the upper half, fewer leave the rest alone. */
static inline void x86_reg_put(struct x86_vcpu *v, unsigned reg, unsigned n, uint64_t val)
{
	uint64_t keep = n == 2 ? ~0xffffull : n == 1 ? ~0xffull : 0;
	v->cpu.r[reg] = (v->cpu.r[reg] & keep) | (n == 4 ? (uint32_t)val : val & ~keep);
}
static inline int x86_next(struct x86_vcpu *v, const struct x86_insn *in)
{
	v->cpu.rip += in->len;
	if (v->mode != X86_64) v->cpu.rip = (uint32_t)v->cpu.rip;
	return 0;
}
int x86_msr_read(struct x86_vcpu *v, uint32_t index, uint64_t *val); /* 0 or #GP */
int x86_msr_write(struct x86_vcpu *v, uint32_t index, uint64_t val);
int x86_msr_set(struct x86_vcpu *v, uint32_t index, uint64_t val); /* no effects beside */
void x86_cpuid(struct x86_vcpu *v, uint32_t leaf, uint32_t index, uint32_t out[4]);
unsigned x86_told(struct x86_vcpu *v, struct x86_leaf *to); /* up to X86_LEAVES */
/* Be the CPU that told of itself so; its vCPUs exist and none has run. */
int x86_be(struct x86_machine *m, const struct x86_leaf *told, unsigned n, struct err *e);
uint64_t x86_tsc(const struct x86_vcpu *v);
/* All vCPUs' at one moment, and set at one moment, while none of them runs. */
uint64_t x86_tsc_held(struct x86_vcpu *v);
void x86_tsc_hold(struct x86_vcpu *v, uint64_t val);
uint64_t x86_tsc_ns(const struct x86_vcpu *v, uint64_t tsc); /* on env.clock */
void x86_host_tsc_watch(void); /* once, early: how fast it is takes a while to see */
uint64_t x86_host_tsc_khz(void);
uint64_t x86_machine_khz(struct x86_machine *m);
uint64_t x86_host_tsc(void);
bool x86_pdptes_load(struct x86_vcpu *v); /* PAE's, as CR3 says; false: reserved bits */
struct x86_msrs *x86_msrs_new(void);
void x86_msrs_reset(struct x86_vcpu *v, bool init);
void x86_apic_moved(struct x86_vcpu *v); /* MSR 0x1b may be another: sets apic_page */
unsigned x86_cr8(struct x86_vcpu *v, bool write, unsigned val);
/* As mov to control registers does it: 0 or #GP. */
int x86_cr0_write(struct x86_vcpu *v, uint64_t val);
int x86_cr3_write(struct x86_vcpu *v, uint64_t val);
int x86_cr4_write(struct x86_vcpu *v, uint64_t val);
int x86_efer_write(struct x86_vcpu *v, uint64_t val);
bool x86_is_possible(const struct x86_vcpu *v); /* a state that a CPU can be in */
/* What CPUID offers beyond a base line, as the host can do it. */
enum x86_feature {
	X86_HAS_AVX = 1, /* with AVX2, FMA, F16C */
	X86_HAS_AES = 2,
	X86_HAS_CLMUL = 4,
	X86_HAS_SHA = 8,
	X86_HAS_RDRAND = 16,
	X86_HAS_RDSEED = 32,
};
unsigned x86_features(void);
bool x86_host_can(void); /* execute x86's vector instructions at all: SSE4.2, XSAVE */

/* ---- x86_vector.c: x87, MMX, SSE, AVX, AES, SHA, FMA, F16C..., executed by the host's own CPU on
 * v->x; fxsave, fxrstor, the xsave family, ldmxcsr, stmxcsr, emms. #NM, #UD by CR0, CR4, XCR0; #MF,
 * #XM; memory through x86_linear, x86_load, x86_store. X86_OTHER: not one of them. */
int x86_do_vector(struct x86_vcpu *v, const struct x86_insn *in);
void x86_vector_reset(struct x86_vcpu *v, bool init);

static inline struct x86_vcpu *x86_vcpu_of(struct x86_cpu *c) { return (struct x86_vcpu *)c; }
static inline void x86_count_n(struct x86_vcpu *v, enum x86_stat what, uint64_t n)
{
	_Atomic uint64_t *at = &v->stats[what];
	atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + n,
			      memory_order_relaxed);
}
static inline void x86_count(struct x86_vcpu *v, enum x86_stat what) { x86_count_n(v, what, 1); }
static inline int x86_raise(struct x86_vcpu *v, unsigned trap, uint32_t code)
{
	v->code = code;
	return (int)trap;
}
/* What executes outside isa/x86 says so of its memory: data breakpoints, SDM 3, 18.2. */
void x86_watch(struct x86_vcpu *v, uint64_t la, unsigned n, bool write);
static inline void x86_watched(struct x86_vcpu *v, uint64_t la, unsigned n, bool write)
{
	if (unlikely(v->dr[7] & X86_DR7_ENABLED || v->debug)) x86_watch(v, la, n, write);
}
/* 0 or #AC, for an operand of n bytes: SDM 3, 7.15. What is longer is as it pleases the CPU. */
static inline int x86_check_odd(struct x86_vcpu *v, uint64_t la, unsigned n)
{
	enum { LONGEST = 8, EXTENDED = 10 };
	unsigned align = n == EXTENDED ? LONGEST : n <= LONGEST && n ? n : 1;
	if (likely(!x86_checks_alignment(v)) || !(la & (align - 1))) return 0;
	return x86_raise(v, X86_TRAP_AC, 0);
}
#endif
