/* Vectors: the loops that compilers and libraries make of them for RISC-V, strip-mined with a
 * vsetvli each turn; elsewhere, what the compiler makes of C. All sums are exact, so that their
 * order does not matter. */
#include "programs.h"
#include <stddef.h>
#include <string.h>

#ifdef __riscv
#define VECTOR(text) ".option push\n.option arch, +v\n" text "\n.option pop"
static void saxpy(size_t n, float a, const float *x, float *y)
{
	size_t vl;
	__asm__ volatile(VECTOR("1: vsetvli %0, %1, e32, m4, ta, ma\n"
				"vle32.v v0, (%2)\n"
				"sub %1, %1, %0\n"
				"slli %0, %0, 2\n"
				"add %2, %2, %0\n"
				"vle32.v v8, (%3)\n"
				"vfmacc.vf v8, %4, v0\n"
				"vse32.v v8, (%3)\n"
				"add %3, %3, %0\n"
				"bnez %1, 1b")
			 : "=&r"(vl), "+r"(n), "+r"(x), "+r"(y)
			 : "f"(a)
			 : "memory");
}
static float dot(size_t n, const float *x, const float *y)
{
	size_t vl;
	float sum;
	__asm__ volatile(VECTOR("vsetvli %0, zero, e32, m2, ta, ma\n"
				"vmv.v.i v8, 0\n"
				"vmv.s.x v12, zero\n"
				"1: vsetvli %0, %2, e32, m2, tu, ma\n"
				"vle32.v v0, (%3)\n"
				"sub %2, %2, %0\n"
				"vle32.v v4, (%4)\n"
				"slli %0, %0, 2\n"
				"add %3, %3, %0\n"
				"vfmacc.vv v8, v0, v4\n"
				"add %4, %4, %0\n"
				"bnez %2, 1b\n"
				"vsetvli %0, zero, e32, m2, ta, ma\n"
				"vfredusum.vs v12, v8, v12\n"
				"vfmv.f.s %1, v12")
			 : "=&r"(vl), "=f"(sum), "+r"(n), "+r"(x), "+r"(y)
			 :
			 : "memory");
	return sum;
}
static void copy(void *to, const void *from, size_t n)
{
	size_t vl;
	__asm__ volatile(VECTOR("1: vsetvli %0, %1, e8, m8, ta, ma\n"
				"vle8.v v0, (%2)\n"
				"add %2, %2, %0\n"
				"sub %1, %1, %0\n"
				"vse8.v v0, (%3)\n"
				"add %3, %3, %0\n"
				"bnez %1, 1b")
			 : "=&r"(vl), "+r"(n), "+r"(from), "+r"(to)
			 :
			 : "memory");
}
static size_t length(const char *s)
{
	const char *p = s;
	size_t vl;
	long first;
	__asm__ volatile(VECTOR("vsetvli %0, zero, e8, m2, ta, ma\n"
				"1: vle8ff.v v8, (%2)\n"
				"csrr %0, vl\n"
				"vmseq.vi v0, v8, 0\n"
				"vfirst.m %1, v0\n"
				"add %2, %2, %0\n"
				"bltz %1, 1b\n"
				"sub %2, %2, %0\n"
				"add %2, %2, %1")
			 : "=&r"(vl), "=&r"(first), "+r"(p)
			 :
			 : "memory");
	return (size_t)(p - s);
}
/* Those above t become t; how many they are. */
static size_t clip(int32_t *x, size_t n, int32_t t)
{
	size_t vl, found, all = 0;
	__asm__ volatile(VECTOR("1: vsetvli %0, %3, e32, m2, ta, mu\n"
				"vle32.v v8, (%4)\n"
				"sub %3, %3, %0\n"
				"slli %0, %0, 2\n"
				"vmsgt.vx v0, v8, %5\n"
				"vcpop.m %1, v0\n"
				"vmerge.vxm v8, v8, %5, v0\n"
				"add %2, %2, %1\n"
				"vse32.v v8, (%4)\n"
				"add %4, %4, %0\n"
				"bnez %3, 1b")
			 : "=&r"(vl), "=&r"(found), "+r"(all), "+r"(n), "+r"(x)
			 : "r"(t)
			 : "memory");
	return all;
}
#else
static void saxpy(size_t n, float a, const float *x, float *y)
{
	for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}
static float dot(size_t n, const float *x, const float *y)
{
	float s = 0;
	for (size_t i = 0; i < n; i++) s += x[i] * y[i];
	return s;
}
static void copy(void *to, const void *from, size_t n) { memcpy(to, from, n); }
static size_t length(const char *s) { return strlen(s); }
static size_t clip(int32_t *x, size_t n, int32_t t)
{
	size_t all = 0;
	for (size_t i = 0; i < n; i++) all += x[i] > t, x[i] = x[i] > t ? t : x[i];
	return all;
}
#endif

enum { ROOM = 4096 };
static float fx[ROOM], fy[ROOM];
static uint8_t from[ROOM + 64], to[ROOM + 64];
static int32_t ints[ROOM];

static uint64_t vsaxpy(int n)
{
	for (int i = 0; i < ROOM; i++) fx[i] = (float)(i % 13), fy[i] = 0;
	while (n--) saxpy(ROOM - 5, 1 + n % 3, fx, fy);
	return (uint64_t)fy[77] + (uint64_t)fy[ROOM - 7];
}
static uint64_t vdot(int n)
{
	uint64_t s = 0;
	for (int i = 0; i < ROOM; i++) fx[i] = (float)(i % 13), fy[i] = (float)(i % 7);
	while (n--) s += (uint64_t)dot(ROOM - 5 - (size_t)n % 8, fx, fy);
	return s;
}
static uint64_t vcopy(int n)
{
	uint64_t s = 0;
	for (int i = 0; i < ROOM + 64; i++) from[i] = (uint8_t)(i * 7);
	for (int i = 0; i < n; i++)
		for (size_t len = 1; len < ROOM; len += len / 2 + 3) {
			copy(to + i % 32, from + i % 5, len);
			s += to[i % 32 + len - 1];
		}
	return s;
}
static uint64_t vstrlen(int n)
{
	uint64_t s = 0;
	memset(from, 'x', ROOM);
	for (int i = 0; i < n; i++)
		for (int at = 8; at < ROOM; at += at / 2 + i % 32) {
			from[at] = 0;
			s += length((const char *)from + i % 8);
			from[at] = 'x';
		}
	return s;
}
static uint64_t vclip(int n)
{
	uint64_t s = 0;
	while (n--) {
		for (int i = 0; i < ROOM; i += 8) ints[i] = (int32_t)(rnd() >> 8);
		s += clip(ints, ROOM - 3, 1 << 20);
	}
	return s;
}

const struct program vector_programs[] = {
	{"vsaxpy", vsaxpy, 20000, NULL}, {"vdot", vdot, 4000, NULL},
	{"vcopy", vcopy, 10000, NULL},	 {"vstrlen", vstrlen, 15000, NULL},
	{"vclip", vclip, 10000, NULL},	 {0},
};
