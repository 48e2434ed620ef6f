/* As oracle_guest.c, for vector instructions. The signal handler is compiled without them, so what
 * they left is there when it returns. */
#include "vector.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

void vector_run(struct vector_case *c, uint64_t n, void *code);

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
	struct vector_memory *m = mmap((void *)ORACLE_MEMORY, sizeof(*m), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_FIXED, fd, 0);
	char *code = mmap((void *)ORACLE_CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	unsigned char i;
	if (m == MAP_FAILED || code == MAP_FAILED || sigaction(SIGILL, &sa, 0)) return 1;
	while (read(0, &i, 1) == 1 && i < ORACLE_SLOTS) {
		oracle_put(code, (uint32_t)m->slot[i].word);
		__asm__ volatile("fence.i" ::: "memory");
		vector_run(m->slot[i].c, VECTOR_CASES, code);
		if (write(1, &i, 1) != 1) return 1;
	}
	return 0;
}
