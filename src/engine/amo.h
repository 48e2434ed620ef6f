#ifndef ENGINE_AMO_H
#define ENGINE_AMO_H
#include <stdbool.h>
#include <stdint.h>
/* RISC-V's atomic memory operations (unprivileged architecture 14.4) as host atomics: each gives
 * the old value, zero-extended. p is aligned. */
#define AMO_FN(bits, U, S)                                                                         \
	AMO_HOST(swap, bits, U, __atomic_exchange_n)                                               \
	AMO_HOST(add, bits, U, __atomic_fetch_add)                                                 \
	AMO_HOST(and, bits, U, __atomic_fetch_and)                                                 \
	AMO_HOST(or, bits, U, __atomic_fetch_or)                                                   \
	AMO_HOST(xor, bits, U, __atomic_fetch_xor)                                                 \
	AMO_PICK(min, bits, U, (S)old < (S)v)                                                      \
	AMO_PICK(max, bits, U, (S)old > (S)v)                                                      \
	AMO_PICK(minu, bits, U, old < (U)v)                                                        \
	AMO_PICK(maxu, bits, U, old > (U)v)
#define AMO_HOST(op, bits, U, fn)                                                                  \
	static inline uint64_t amo_##op##_##bits(void *p, uint64_t v)                              \
	{                                                                                          \
		return fn((U *)p, (U)v, __ATOMIC_SEQ_CST);                                         \
	}
#define AMO_PICK(op, bits, U, keep)                                                                \
	static inline uint64_t amo_##op##_##bits(void *p, uint64_t v)                              \
	{                                                                                          \
		U old = __atomic_load_n((U *)p, __ATOMIC_RELAXED);                                 \
		while (!__atomic_compare_exchange_n((U *)p, &old, (keep) ? old : (U)v, true,       \
						    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))           \
			;                                                                          \
		return old;                                                                        \
	}
AMO_FN(32, uint32_t, int32_t)
AMO_FN(64, uint64_t, int64_t)
#undef AMO_FN
#undef AMO_HOST
#undef AMO_PICK
#endif
