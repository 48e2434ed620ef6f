/* The guest's vector registers between memory and the host's own: what translated code calls where
 * it is left and entered. In assembly since C could use those registers at any point. */
#include "engine/x86_vector_impl.h"

_Static_assert(X_XMM == 160 && X_YMM == 576 && X_MXCSR == 24 && X_HEADER == 512, "as below");

bool x86_vector_has_avx;
#ifdef __x86_64__
#define ALL(do)                                                                                    \
	do (0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) ALL_HIGH(do)
#define ALL_HIGH(do)                                                                               \
	do (8) do(9) do(10) do(11) do(12) do(13) do(14) do(15)
#define SAVE_XMM(n) "movups %xmm" #n ", 160+16*" #n "(%rdi)\n"
#define LOAD_XMM(n) "movups 160+16*" #n "(%rdi), %xmm" #n "\n"
#define SAVE_YMM(n)                                                                                \
	"vmovups %xmm" #n ", 160+16*" #n "(%rdi)\n"                                                \
	"vextractf128 $1, %ymm" #n ", 576+16*" #n "(%rdi)\n"
#define LOAD_YMM(n)                                                                                \
	"vmovups 160+16*" #n "(%rdi), %xmm" #n "\n"                                                \
	"vinsertf128 $1, 576+16*" #n "(%rdi), %ymm" #n ", %ymm" #n "\n"
#define OR_HIGH(n) "vorps 576+32*" #n "(%rdi), %ymm0, %ymm0\n"
#define FUNCTION(name, body)                                                                       \
	__asm__(".text\n.p2align 5\n.globl " #name "\n.type " #name ", @function\n" #name          \
		":\n" body "ret\n.size " #name ", .-" #name "\n")

/* 0x1f80: SDM 1, 10.2.3, MXCSR after reset, which is C's. */
__asm__(".section .rodata\n.p2align 2\n.Lx86_usual: .long 0x1f80\n.text\n");

FUNCTION(x86_vector_leave,
	 "cmpb $0, x86_vector_has_avx(%rip)\nje 1f\n" ALL(SAVE_YMM) "vzeroupper\njmp 2f\n1:\n" ALL(
		 SAVE_XMM) "2:\n"
			   "stmxcsr 24(%rdi)\n"
			   "ldmxcsr .Lx86_usual(%rip)\n"
			   "movq $7, 512(%rdi)\n");
/* Upper halves that hold nothing are left as vzeroupper leaves them: once they have been written,
 * even to zero, SSE code waits for them at each of its instructions, up to ten times as long
 * (Intel, Optimization Reference Manual, "Mixing AVX code with SSE code"). */
FUNCTION(x86_vector_enter,
	 "ldmxcsr 24(%rdi)\n"
	 "cmpb $0, x86_vector_has_avx(%rip)\nje 1f\n"
	 "vmovups 576(%rdi), %ymm0\n" OR_HIGH(1) OR_HIGH(2) OR_HIGH(3) OR_HIGH(4) OR_HIGH(5)
		 OR_HIGH(6) OR_HIGH(7) "vptest %ymm0, %ymm0\nvzeroupper\njz 1f\n" ALL(
			 LOAD_YMM) "ret\n1:\n" ALL(LOAD_XMM));
/* XSAVE and XRSTOR of component 0 only: SDM 1, 13.7 and 13.8. */
FUNCTION(x86_x87_leave, "movl $1, %eax\nxorl %edx, %edx\n"
			"xsave64 (%rdi)\nfninit\n"
			"movq $7, 512(%rdi)\n");
FUNCTION(x86_x87_enter, "movl $1, %eax\nxorl %edx, %edx\n"
			"movq $1, 512(%rdi)\nmovq $0, 520(%rdi)\n"
			"xrstor64 (%rdi)\nmovq $7, 512(%rdi)\n");

__attribute__((constructor)) static void find_avx(void)
{
	__builtin_cpu_init();
	x86_vector_has_avx = __builtin_cpu_supports("avx");
}
#else
void x86_vector_leave(struct x86_xarea *a) { (void)a; }
void x86_vector_enter(const struct x86_xarea *a) { (void)a; }
void x86_x87_leave(struct x86_xarea *a) { (void)a; }
void x86_x87_enter(struct x86_xarea *a) { (void)a; }
#endif
