/* The other implementation's side: a riscv64 Linux program that runs single instructions as it
 * is told. An illegal one ends in the signal handler. */
#include "oracle.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

void oracle_run(struct oracle_case *c, uint64_t n, void *code);

static void on_illegal(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	(void)sig, (void)info;
	u->uc_mcontext.__gregs[0] = u->uc_mcontext.__gregs[1]; /* pc = ra */
	u->uc_mcontext.__gregs[6] = OUT_ILLEGAL;	       /* t1 */
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO};
	int fd = argc == 2 ? open(argv[1], O_RDWR) : -1;
	struct oracle_memory *m = mmap((void *)ORACLE_MEMORY, sizeof(*m), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_FIXED, fd, 0);
	char *code = mmap((void *)ORACLE_CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	unsigned char i;
	if (m == MAP_FAILED || code == MAP_FAILED || sigaction(SIGILL, &sa, 0)) return 1;
	while (read(0, &i, 1) == 1 && i < ORACLE_SLOTS) {
		oracle_put(code, m->slot[i].word);
		__asm__ volatile("fence.i" ::: "memory");
		oracle_run(m->slot[i].c, m->slot[i].count, code);
		if (write(1, &i, 1) != 1) return 1;
	}
	return 0;
}
