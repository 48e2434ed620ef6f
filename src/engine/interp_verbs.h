#ifndef ENGINE_INTERP_VERBS_H
#define ENGINE_INTERP_VERBS_H
#include "engine/amo.h"
#include "engine/clmul.h"
#include "engine/rv64_cpu.h"
#include "engine/rv64_reserve.h"
#include "engine/rv64_vector.h"
/* The verbs of the meaning language (isa/README.md), over values, for the interpreter. They are
 * used inside handlers, where c, ip and n stand for hart, slot and instruction count, and whose
 * labels miss, stop and illegal are the ways out. LEN, SLOW and NEAR are the handler's own. */
#define V __attribute__((unused)) const uint64_t

/* ---- values ---- */
#define R(m)	     c->x[ip->m]
#define IMM()	     ((uint64_t)(int64_t)ip->imm)
#define K(k)	     ((uint64_t)(k))
#define PC()	     rv64_pc(c, ip)
#define NEXT_PC()    (rv64_pc(c, ip) + LEN)
#define ADD(a, b)    ((a) + (b))
#define SUB(a, b)    ((a) - (b))
#define AND(a, b)    ((a) & (b))
#define OR(a, b)     ((a) | (b))
#define XOR(a, b)    ((a) ^ (b))
#define NOT(a)	     (~(a))
#define NEG(a)	     (0 - (a))
#define SHL(a, b)    ((a) << (b))
#define SHR(a, b)    ((a) >> (b))
#define SAR(a, b)    ((uint64_t)((int64_t)(a) >> (b)))
#define ROL(a, b)    ((a) << (b) | (a) >> (-(b)&63))
#define ROR(a, b)    ((a) >> (b) | (a) << (-(b)&63))
#define ROLW(a, b)   SX((uint32_t)(a) << (b) | (uint32_t)(a) >> (-(b)&31), 32)
#define RORW(a, b)   SX((uint32_t)(a) >> (b) | (uint32_t)(a) << (-(b)&31), 32)
#define MUL(a, b)    ((a) * (b))
#define EQ(a, b)     ((uint64_t)((a) == (b)))
#define NE(a, b)     ((uint64_t)((a) != (b)))
#define LT(a, b)     ((uint64_t)((int64_t)(a) < (int64_t)(b)))
#define LE(a, b)     ((uint64_t)((int64_t)(a) <= (int64_t)(b)))
#define LTU(a, b)    ((uint64_t)((a) < (b)))
#define LEU(a, b)    ((uint64_t)((a) <= (b)))
#define SEL(q, a, b) ((q) ? (a) : (b))
#define SX(a, bits)  ((uint64_t)((int64_t)((uint64_t)(a) << (64 - (bits))) >> (64 - (bits))))
#define ZX(a, bits)  ((uint64_t)(a) << (64 - (bits)) >> (64 - (bits)))
#define REV8(a)	     __builtin_bswap64(a)
#define CPOP(a)	     ((uint64_t)__builtin_popcountll(a))
#define CPOPW(a)     ((uint64_t)__builtin_popcount((uint32_t)(a)))
#define CLZ(a)	     ((a) ? (uint64_t)__builtin_clzll(a) : 64)
#define CTZ(a)	     ((a) ? (uint64_t)__builtin_ctzll(a) : 64)
#define CLZW(a)	     ((uint32_t)(a) ? (uint64_t)__builtin_clz((uint32_t)(a)) : 32)
#define CTZW(a)	     ((uint32_t)(a) ? (uint64_t)__builtin_ctz((uint32_t)(a)) : 32)

static inline uint64_t MULHU(uint64_t a, uint64_t b)
{
	return (uint64_t)((unsigned __int128)a * b >> 64);
}
static inline uint64_t MULH(uint64_t a, uint64_t b)
{
	return (uint64_t)((__int128)(int64_t)a * (int64_t)b >> 64);
}
static inline uint64_t MULHSU(uint64_t a, uint64_t b)
{
	return MULHU(a, b) - ((int64_t)a < 0 ? b : 0);
}
/* 13.2: by zero, and the overflow of the most negative number by -1. */
static inline uint64_t DIV(uint64_t a, uint64_t b)
{
	if (b + 1 <= 1) return b ? 0 - a : ~0ull;
	return (uint64_t)((int64_t)a / (int64_t)b);
}
static inline uint64_t REM(uint64_t a, uint64_t b)
{
	if (b + 1 <= 1) return b ? 0 : a;
	return (uint64_t)((int64_t)a % (int64_t)b);
}
static inline uint64_t DIVU(uint64_t a, uint64_t b) { return b ? a / b : ~0ull; }
static inline uint64_t REMU(uint64_t a, uint64_t b) { return b ? a % b : a; }
static inline uint64_t DIVW(uint64_t a, uint64_t b)
{
	uint32_t y = (uint32_t)b, x = (uint32_t)a;
	if (y + 1 <= 1) return y ? SX(0 - x, 32) : ~0ull;
	return SX((uint32_t)((int32_t)x / (int32_t)y), 32);
}
static inline uint64_t REMW(uint64_t a, uint64_t b)
{
	uint32_t y = (uint32_t)b, x = (uint32_t)a;
	if (y + 1 <= 1) return y ? 0 : SX(x, 32);
	return SX((uint32_t)((int32_t)x % (int32_t)y), 32);
}
static inline uint64_t DIVUW(uint64_t a, uint64_t b)
{
	return (uint32_t)b ? SX((uint32_t)a / (uint32_t)b, 32) : ~0ull;
}
static inline uint64_t REMUW(uint64_t a, uint64_t b)
{
	return (uint32_t)b ? SX((uint32_t)a % (uint32_t)b, 32) : SX(a, 32);
}
/* Each byte that is not zero becomes all ones. */
static inline uint64_t ORCB(uint64_t a)
{
	const uint64_t low = 0x7f7f7f7f7f7f7f7f;
	uint64_t top = (((a & low) + low) | a) & ~low; /* bit 7 of the bytes that are not zero */
	return (top >> 7) * 0xff;
}
#define CLMUL(a, b)  clmul(a, b)
#define CLMULH(a, b) clmulh(a, b)
#define CLMULR(a, b) clmulr(a, b)
#define FRAW(m)	     c->f[ip->m]
#define F64(m)	     c->f[ip->m]
#define F32(m)	     (c->f[ip->m] >> 32 == 0xffffffff ? (uint32_t)c->f[ip->m] : F32_NAN)
#define F16(m)	     (c->f[ip->m] >> 16 == 0xffffffffffff ? (uint16_t)c->f[ip->m] : F16_NAN)
#define FLI64(m)     fp_fli_f64[ip->m & 31]
#define FLI32(m)     fp_fli_f32[ip->m & 31]
#define FLI16(m)     fp_fli_f16[ip->m & 31]

/* ---- registers ---- */
#define SET(m, v)    c->x[ip->m] = (v)
#define SET_FP(m, v) c->f[ip->m & 31] = (v), c->fs_dirty = true
#define SETF64(m, v) SET_FP(m, v)
#define SETF32(m, v) SET_FP(m, (v) | 0xffffffff00000000)
#define SETF16(m, v) SET_FP(m, (v) | 0xffffffffffff0000)

/* ---- floating point ---- */
#define FP()                                                                                       \
	if (unlikely(!c->fp_on)) goto illegal
static inline bool rm_bad(const struct rv64_cpu *c, unsigned rm)
{
	return unlikely(!fp_host(&c->fp, rm)) && fp_rm(&c->fp, rm) > 4;
}
#define RM ip->rm
/* A fast handler does what the host's unit rounds as asked; the rest is for the slow one. */
#define FOP(t, call)                                                                               \
	if (SLOW && rm_bad(c, RM)) goto illegal;                                                   \
	if (!SLOW && unlikely(!fp_host(&c->fp, RM))) goto miss;                                    \
	V t = call;                                                                                \
	c->fs_dirty = true
#define FNR(t, call)                                                                               \
	if (!SLOW && unlikely(!c->fp.entered)) goto miss;                                          \
	V t = call;                                                                                \
	c->fs_dirty = true
#define FOP1(t, fn, a)	     FOP(t, fn(&c->fp, a, RM))
#define FOP2(t, fn, a, b)    FOP(t, fn(&c->fp, a, b, RM))
#define FOP3(t, fn, a, b, d) FOP(t, fn(&c->fp, a, b, d, RM))
#define FNR1(t, fn, a)	     FNR(t, fn(&c->fp, a))
#define FNR2(t, fn, a, b)    FNR(t, fn(&c->fp, a, b))

/* ---- memory ---- */
typedef uint8_t any8 __attribute__((may_alias));
typedef uint16_t any16 __attribute__((may_alias, aligned(1)));
typedef uint32_t any32 __attribute__((may_alias, aligned(1)));
typedef uint64_t any64 __attribute__((may_alias, aligned(1)));

/* The last byte's page is looked for in the first byte's place: an access that crosses a page
 * misses, any other may be misaligned as it likes. */
static inline bool tlb_hit(const struct rv64_cpu *c, const struct tlb_entry *e, gva_t va,
			   unsigned len)
{
	return likely((((va + len - 1) & PAGE_MASK) | c->dctx) == e->tag);
}
#define TLB(array, va) (&c->array[(va) >> PAGE_SHIFT & (TLB_SIZE - 1)])
#define HOST(T, e, va) ((T *)((va) + (e)->host))

#define LOAD(t, va, bits)                                                                          \
	uint64_t t;                                                                                \
	if (SLOW) {                                                                                \
		c->n = n; /* a device may tell the time */                                         \
		c->stop = (uint8_t)rv64_load(c, va, (bits) / 8);                                   \
		if (unlikely(c->stop)) goto stop;                                                  \
		t = c->val;                                                                        \
	} else {                                                                                   \
		const struct tlb_entry *e_##t = TLB(rd, va);                                       \
		if (unlikely(!tlb_hit(c, e_##t, va, (bits) / 8))) goto miss;                       \
		t = *HOST(const any##bits, e_##t, va);                                             \
	}
#define STORE(va, v, bits)                                                                         \
	if (SLOW) {                                                                                \
		c->n = n;                                                                          \
		c->stop = (uint8_t)rv64_store(c, va, v, (bits) / 8);                               \
		if (unlikely(c->stop)) goto stop;                                                  \
	} else {                                                                                   \
		const struct tlb_entry *e_ = TLB(wr, va);                                          \
		if (unlikely(!tlb_hit(c, e_, va, (bits) / 8))) goto miss;                          \
		*HOST(any##bits, e_, va) = (any##bits)(v);                                         \
	}
/* p: host memory for an atomic at va. */
#define ATOMIC(p, va, bits, array, write)                                                          \
	void *p;                                                                                   \
	if (SLOW) {                                                                                \
		c->stop = (uint8_t)rv64_atomic_ptr(c, va, (bits) / 8, write);                      \
		if (unlikely(c->stop)) goto stop;                                                  \
		p = c->ptr;                                                                        \
	} else {                                                                                   \
		const struct tlb_entry *e_ = TLB(array, va);                                       \
		if (unlikely((va) & ((bits) / 8 - 1) || !tlb_hit(c, e_, va, 1))) goto miss;        \
		p = HOST(void, e_, va);                                                            \
	}
#define AMO(t, op, va, v, bits)                                                                    \
	ATOMIC(p_##t, va, bits, wr, true)                                                          \
	V t = amo_##op##_##bits(p_##t, v);                                                         \
	if (SLOW) rv64_atomic_end(c, true, (bits) / 8);
#define LR(t, va, bits)                                                                            \
	uint64_t t;                                                                                \
	unsigned len_##t = (bits) / 8;                                                             \
	if (!SLOW && unlikely(ip->imm != LR_CLOSE)) goto miss;                                     \
	if (SLOW && rv64_lr_far(c, ip)) {                                                          \
		c->stop = (uint8_t)rv64_reserve_load(c, va, (bits) / 8);                           \
		if (unlikely(c->stop)) goto stop;                                                  \
		t = c->val;                                                                        \
		len_##t |= RES_WATCHED;                                                            \
	} else {                                                                                   \
		ATOMIC(p_##t, va, bits, rd, false)                                                 \
		t = __atomic_load_n((uint##bits##_t *)p_##t, __ATOMIC_SEQ_CST);                    \
	}                                                                                          \
	c->res_va = (va);                                                                          \
	c->res_len = len_##t;                                                                      \
	c->res_val = t;
#define SC(t, va, v, bits)                                                                         \
	ATOMIC(p_##t, va, bits, wr, true)                                                          \
	bool may_##t = SLOW ? rv64_reserve_holds(c, va, (bits) / 8)                                \
			    : c->res_len == (bits) / 8 && c->res_va == (va);                       \
	V t = !(may_##t && sc_##bits(c, p_##t, v));                                                \
	if (SLOW) rv64_atomic_end(c, !t, (bits) / 8);                                              \
	c->res_len = 0;

#define SC_FN(bits, U)                                                                             \
	static inline bool sc_##bits(const struct rv64_cpu *c, void *p, uint64_t v)                \
	{                                                                                          \
		U old = (U)c->res_val;                                                             \
		return __atomic_compare_exchange_n((U *)p, &old, (U)v, false, __ATOMIC_SEQ_CST,    \
						   __ATOMIC_SEQ_CST);                              \
	}
SC_FN(32, uint32_t)
SC_FN(64, uint64_t)

/* 2.7: the host keeps all orders but that of an earlier write and a later read. */
#define FENCE()                                                                                    \
	if (ip->imm & 0x50 && ip->imm & 0x0a) atomic_thread_fence(memory_order_seq_cst)

/* ---- control ---- */
#if defined(__clang__)
#define TAIL_CALL __attribute__((musttail)) return
#else
#define TAIL_CALL return
#endif
#if defined(__OPTIMIZE__) && !defined(LODGE_SAN)
/* Each handler jumps to the next one. */
#define THREADED	 1
#define GO_FN(f, to, n_) TAIL_CALL(f)(c, (to), (n_))
#else
/* Each handler returns the next slot, for compilers that may not make jumps of calls. */
#define THREADED	 0
#define GO_FN(f, to, n_) return c->n = (n_), (f)(c, (to), (n_))
#endif
#if THREADED
#define GO(to, n_) GO_FN((to)->fn, to, n_)
#else
#define GO(to, n_) return c->n = (n_), (to)
#endif
/* Opaque, lest compilers keep both slots in registers: this way it is an add and a jump. */
static inline const struct slot *next_slot(const struct slot *ip, unsigned len)
{
	ip += len / 2;
	__asm__("" : "+r"(ip));
	return ip;
}
#define HANDLER(name) const struct slot *name(struct rv64_cpu *c, const struct slot *ip, uint64_t n)

/* Out of the handlers, to go on at dest. */
#define LEAVE(dest, n_)                                                                            \
	do {                                                                                       \
		c->pc = (dest);                                                                    \
		c->n = (n_);                                                                       \
		c->stop = STOP_JUMP;                                                               \
		return NULL;                                                                       \
	} while (0)
#define LEAVE_HOT(dest, n_)                                                                        \
	do {                                                                                       \
		c->hot = true;                                                                     \
		LEAVE(dest, n_);                                                                   \
	} while (0)
#define POLL(n_)                                                                                   \
	unlikely(atomic_load_explicit(&c->poll, memory_order_relaxed) != 0 || (n_) >= c->n_limit)

#define FAR(dest_, n_)                                                                             \
	do {                                                                                       \
		const gva_t dest = (dest_);                                                        \
		const struct fetch_entry *f_ = &c->fetch[dest >> PAGE_SHIFT & (FETCH_SIZE - 1)];   \
		if (unlikely(((dest & PAGE_MASK) | c->fctx) != f_->tag) || POLL(n_))               \
			LEAVE(dest, n_);                                                           \
		const struct slot *to = &f_->page->slot[(dest & ~PAGE_MASK) >> 1];                 \
		if (slot_heat(to)) LEAVE_HOT(dest, n_);                                            \
		c->bias = dest - ((uintptr_t)to >> 3);                                             \
		GO(to, n_);                                                                        \
	} while (0)
enum near { NEAR_NOT, NEAR_FORWARD, NEAR_BACK }; /* a direct target in this page */
/* Within the page imm counts bytes of slots. */
#define DIRECT(dest)                                                                               \
	do {                                                                                       \
		if (NEAR == NEAR_NOT) FAR(dest, n + 1);                                            \
		const struct slot *to = (const struct slot *)((const char *)ip + ip->imm);         \
		if (NEAR == NEAR_BACK && POLL(n + 1)) LEAVE(rv64_pc(c, to), n + 1);                \
		if (NEAR == NEAR_BACK && slot_heat(to)) LEAVE_HOT(rv64_pc(c, to), n + 1);          \
		GO(to, n + 1);                                                                     \
	} while (0)
#define BR(cond, dest)                                                                             \
	if (cond) DIRECT(dest)
#define JUMP(dest) DIRECT(dest)
#define GOTO(dest) FAR(dest, n + 1)

#define HELPER(name)                                                                               \
	c->n = n;                                                                                  \
	c->stop = (uint8_t)rv64_do_##name(c, ip);                                                  \
	if (unlikely(c->stop)) goto stop
#define STOP()

/* ---- vectors: functions of rv64_vector.h ---- */
#define VECTOR(shape, kernel)                                                                      \
	c->stop = (uint8_t)rv64_v_##shape(c, ip, &rv64_vk_##kernel);                               \
	if (unlikely(c->stop)) goto stop
#define VMEM(shape, bits)                                                                          \
	c->n = n;                                                                                  \
	c->stop = (uint8_t)rv64_v_##shape(c, ip, bits);                                            \
	if (unlikely(c->stop)) goto stop
#endif
