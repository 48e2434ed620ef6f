#ifndef ENGINE_RV64_VKERNEL_H
#define ENGINE_RV64_VKERNEL_H
#include "engine/rv64_vector.h"
/* How kernels of vector instructions are written. A kernel is a loop over blocks of 16 bytes of its
 * widest operand. A block is read before any of it is written, into arrays that the compiler keeps
 * in registers; so it needs no proof that operands do not overlap in order to use the host's
 * vectors. */
typedef unsigned __int128 uint128_t;
typedef __int128 int128_t;

/* TD = f(TA, TB, TZ), blocks of B elements. In the expression p is of vs2, q of vs1 or the scalar,
 * z of the old vd or the carry; U, S are BITS wide, unsigned and signed, W, X twice as wide. */
#define KERNEL(name, bits, wide, B, TD, TA, TB, TZ, ...)                                           \
	static void name(struct rv64_cpu *c, void *d_, const void *a_, const void *b_,             \
			 const void *z_, unsigned n_)                                              \
	{                                                                                          \
		enum { BITS = bits };                                                              \
		typedef uint##bits##_t U __attribute__((unused));                                  \
		typedef int##bits##_t S __attribute__((unused));                                   \
		typedef uint##wide##_t W __attribute__((unused));                                  \
		typedef int##wide##_t X __attribute__((unused));                                   \
		const unsigned rm __attribute__((unused)) = c->v.rm;                               \
		unsigned sat __attribute__((unused)) = 0;                                          \
		for (unsigned i_ = 0; i_ < n_; i_ += (B)) {                                        \
			TD to_[B];                                                                 \
			TA pp_[B];                                                                 \
			TB qq_[B];                                                                 \
			TZ zz_[B];                                                                 \
			memcpy(pp_, (const TA *)a_ + i_, sizeof(pp_));                             \
			memcpy(qq_, (const TB *)b_ + i_, sizeof(qq_));                             \
			memcpy(zz_, (const TZ *)z_ + i_, sizeof(zz_));                             \
			for (unsigned k_ = 0; k_ < (B); k_++) {                                    \
				const TA p __attribute__((unused)) = pp_[k_];                      \
				const TB q __attribute__((unused)) = qq_[k_];                      \
				const TZ z __attribute__((unused)) = zz_[k_];                      \
				to_[k_] = (TD)(__VA_ARGS__);                                       \
			}                                                                          \
			memcpy((TD *)d_ + i_, to_, sizeof(to_));                                   \
		}                                                                                  \
		if (sat) c->v.sat = 1;                                                             \
	}
#define EXPORT(name, idle, ...) const struct rv64_vkernel rv64_vk_##name = {{__VA_ARGS__}, idle};
/* Of reductions (14): a holds the elements that take part, *d begins as the scalar. p is the
 * element, z what is there so far. */
#define REDUCE(name, bits, TD, TA, ...)                                                            \
	static void name(struct rv64_cpu *c, void *d_, const void *a_, const void *b_,             \
			 const void *z_, unsigned n_)                                              \
	{                                                                                          \
		TD z, p;                                                                           \
		(void)c, (void)b_, (void)z_;                                                       \
		memcpy(&z, d_, sizeof(z));                                                         \
		for (unsigned i_ = 0; i_ < n_; i_++) {                                             \
			TA pp_;                                                                    \
			memcpy(&pp_, (const TA *)a_ + i_, sizeof(pp_));                            \
			p = (TD)pp_;                                                               \
			z = (TD)(__VA_ARGS__);                                                     \
		}                                                                                  \
		memcpy(d_, &z, sizeof(z));                                                         \
	}
#endif
