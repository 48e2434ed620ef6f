#ifndef RT_H
#define RT_H
/* What our bare-metal test guests stand on. They run in M-mode at the start of memory (as a
 * firmware), or with -DSMODE in S-mode above an SBI (as a kernel). A test prints a line
 * "PASS name", "FAIL name ..." or "SKIP name ..."; the last line is "done". Exit code: 0 or 1. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define STR_(x) #x
#define STR(x)	STR_(x)
#define csr_read(r)                                                                                \
	({                                                                                         \
		u64 v_;                                                                            \
		asm volatile("csrr %0, " STR(r) : "=r"(v_)::"memory");                             \
		v_;                                                                                \
	})
#define csr_write(r, v) asm volatile("csrw " STR(r) ", %0" ::"r"((u64)(v)) : "memory")
#define csr_set(r, v)	asm volatile("csrs " STR(r) ", %0" ::"r"((u64)(v)) : "memory")
#define csr_clear(r, v) asm volatile("csrc " STR(r) ", %0" ::"r"((u64)(v)) : "memory")
/* One instruction of four bytes, so that a trap handler can step over it. */
#define INSN(text)   ".option push\n.option norvc\n" text "\n.option pop\n"

#define MSTATUS_SIE  (1ul << 1)
#define MSTATUS_MIE  (1ul << 3)
#define MSTATUS_SPIE (1ul << 5)
#define MSTATUS_MPIE (1ul << 7)
#define MSTATUS_SPP  (1ul << 8)
#define MSTATUS_MPP  (3ul << 11)
#define MSTATUS_FS   (3ul << 13)
#define MSTATUS_MPRV (1ul << 17)
#define MSTATUS_SUM  (1ul << 18)
#define MSTATUS_MXR  (1ul << 19)
#define MSTATUS_TVM  (1ul << 20)
#define MSTATUS_TW   (1ul << 21)
#define MSTATUS_TSR  (1ul << 22)
#define IRQ	     (1ul << 63)
enum { U = 0, S = 1, M = 3 };
enum { /* trap causes */
       FETCH_ACCESS = 1,
       ILLEGAL = 2,
       BREAK = 3,
       LOAD_MISALIGNED = 4,
       LOAD_ACCESS = 5,
       STORE_ACCESS = 7,
       ECALL_U = 8,
       ECALL_S = 9,
       ECALL_M = 11,
       FETCH_PAGE = 12,
       LOAD_PAGE = 13,
       STORE_PAGE = 15,
};
#define stimecmp 0x14d
#define menvcfg	 0x30a

enum { HARTS = 4 }; /* that there may be; most tests use two */
/* Traps: counted and noted, then the instruction (4 bytes) is skipped; a fetch that failed
 * returns to the caller. An interrupt calls the hook, or its enable bit is cleared. */
struct trap {
	volatile u64 count, cause, epc, tval, status;
	void (*volatile hook)(u64 cause);
};
extern struct trap mtrap[HARTS], strap[HARTS];
void trap_clear(void);
u64 hart(void);

/* Call fn(arg) with less privilege; it comes back by returning, or by ecall with a7 = BACK. Its
 * result, or ~0 when fn could not be fetched. M-mode guests only. */
enum { BACK = 0x4c4f };
u64 run_in(u64 priv, u64 fn, u64 arg);
/* Where another hart starts (SMODE): a0 its number, a1 what it calls with that. */
extern char second_start[];
/* Have hart 1, or hart h, call fn. M-mode guests only. */
void second_run(void (*fn)(void));
void hart_run(u64 h, void (*fn)(void));

void put(const char *s);
void put_hex(u64 v);
int failed(void); /* so many checks until now */
void check(const char *name, int good);
void check_eq(const char *name, u64 got, u64 want);
void skip(const char *name, const char *why);
#define CHECK(x) check(#x, !!(x))
int main(u64 hart, u64 tree);

#define REG8(a)		    (*(volatile u8 *)(a))
#define REG32(a)	    (*(volatile u32 *)(a))
#define REG64(a)	    (*(volatile u64 *)(a))
#define FINISHER	    0x100000ul
#define CLINT		    0x2000000ul
#define MSIP(h)		    REG32(CLINT + 4 * (h))
#define MTIMECMP(h)	    REG64(CLINT + 0x4000 + 8 * (h))
#define MTIME		    REG64(CLINT + 0xbff8)
#define PLIC		    0xc000000ul
#define UART		    0x10000000ul
#define PLIC_PRIORITY(i)    REG32(PLIC + 4 * (i))
#define PLIC_ENABLE(ctx, i) REG32(PLIC + 0x2000 + 0x80 * (ctx) + (i) / 32 * 4)
#define PLIC_THRESHOLD(ctx) REG32(PLIC + 0x200000 + 0x1000 * (ctx))
#define PLIC_CLAIM(ctx)	    REG32(PLIC + 0x200004 + 0x1000 * (ctx))
#endif
