/* The other implementation's side: a riscv64 Linux program that runs single instructions as it
 * is told. A word is put in front of two endings, one for falling through and one for jumping;
 * an illegal one ends in the signal handler. */
#include "oracle.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

void oracle_run(struct oracle_case *c, uint64_t n, void *code);
__asm__(".globl oracle_run\noracle_run:\n"
	"addi sp, sp, -32\n sd ra, 0(sp)\n sd s0, 8(sp)\n sd s1, 16(sp)\n sd s2, 24(sp)\n"
	"mv s0, a0\n mv s1, a1\n mv s2, a2\n"
	"1: beqz s1, 2f\n"
	"ld t0, 64(s0)\n fscsr t0\n"
	"fld fa2, 32(s0)\n fld fa3, 40(s0)\n fld fa4, 48(s0)\n fld fa5, 56(s0)\n"
	"ld a2, 0(s0)\n ld a3, 8(s0)\n ld a4, 16(s0)\n ld a5, 24(s0)\n"
	"jalr s2\n"
	"sd a2, 0(s0)\n sd a3, 8(s0)\n sd a4, 16(s0)\n sd a5, 24(s0)\n"
	"fsd fa2, 32(s0)\n fsd fa3, 40(s0)\n fsd fa4, 48(s0)\n fsd fa5, 56(s0)\n"
	"frcsr t0\n sd t0, 64(s0)\n sd t1, 72(s0)\n"
	"addi s0, s0, 80\n addi s1, s1, -1\n j 1b\n"
	"2: ld ra, 0(sp)\n ld s0, 8(sp)\n ld s1, 16(sp)\n ld s2, 24(sp)\n addi sp, sp, 32\n ret\n");
_Static_assert(sizeof(struct oracle_case) == 80, "offsets in oracle_run");

static void on_illegal(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	(void)sig, (void)info;
	u->uc_mcontext.__gregs[0] = u->uc_mcontext.__gregs[1]; /* pc = ra */
	u->uc_mcontext.__gregs[6] = OUT_ILLEGAL;	       /* t1 */
}

static void put_ending(char *at, unsigned out)
{
	uint16_t ending[] = {(uint16_t)(0x4301 | out << 2), 0x8082}; /* c.li t1, out; c.jr ra */
	memcpy(at, ending, sizeof(ending));
}

static void put_code(char *code, uint32_t word)
{
	unsigned len = (word & 3) == 3 ? 4 : 2;
	memcpy(code, &word, len);
	put_ending(code + len, OUT_NEXT);
	put_ending(code + ORACLE_TARGET, OUT_TARGET);
	__asm__ volatile("fence.i" ::: "memory");
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO};
	int fd = argc == 2 ? open(argv[1], O_RDWR) : -1;
	struct oracle_memory *m = mmap(0, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *code = mmap((void *)ORACLE_CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	unsigned char i;
	if (m == MAP_FAILED || code == MAP_FAILED || sigaction(SIGILL, &sa, 0)) return 1;
	while (read(0, &i, 1) == 1 && i < ORACLE_SLOTS) {
		put_code(code, m->slot[i].word);
		oracle_run(m->slot[i].c, m->slot[i].count, code);
		if (write(1, &i, 1) != 1) return 1;
	}
	return 0;
}
