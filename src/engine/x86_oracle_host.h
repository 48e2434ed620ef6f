#ifndef ENGINE_X86_ORACLE_HOST_H
#define ENGINE_X86_ORACLE_HOST_H
/* For x86_oracle_test.c: the host's side, in a process of its own, so that the same addresses are
 * free and nothing that goes wrong there is ours. Programs come and outcomes go in shared memory, a
 * batch at a time. */
#include "engine/x86_oracle.h"
#include "isa/x86/host_test.h"
#include <sys/wait.h>

enum { BATCH = 64, ORACLE_U = 4 };
struct share {
	unsigned n;	     /* programs in this batch */
	_Atomic unsigned at; /* the one at work */
	struct prog prog[BATCH];
	bool wanted[BATCH];
	struct outcome out[BATCH];
};
struct oracle_host {
	struct share *share;
	pid_t child;
	int go[2], done[2];
};
static struct {
	uint8_t *data, *code; /* what the views show, for writing */
} oracle_host_lab;

static inline bool oracle_host_map(uint64_t at, size_t len, int prot, int fd, size_t from)
{
	int flags =
		fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED | MAP_POPULATE;
	void *to = (void *)(uintptr_t)at; /* a guest's address, a number */
	void *p = mmap(to, len, prot, flags | MAP_FIXED_NOREPLACE, fd, (off_t)from);
	return p == to;
}
static inline bool oracle_host_map_all(void)
{
	int data = memfd_create("data", 0), code = memfd_create("code", 0);
	bool good = data >= 0 && code >= 0 && !ftruncate(data, DATA_BYTES) &&
		    !ftruncate(code, CODE_BYTES);
	for (unsigned k = 0; good && k < COUNT(oracle_view); k++) {
		uint64_t at = oracle_view[k];
		good = oracle_host_map(at, 2 * X86_PAGE, PROT_READ | PROT_WRITE, data, 0) &&
		       oracle_host_map(at + 2 * X86_PAGE, X86_PAGE, PROT_NONE, -1, 0) &&
		       oracle_host_map(at + 3 * X86_PAGE, X86_PAGE, PROT_READ, data, 2 * X86_PAGE);
	}
	for (unsigned k = 0; good && k < COUNT(oracle_code); k++)
		good = oracle_host_map(oracle_code[k], CODE_BYTES, PROT_READ | PROT_EXEC, code, 0);
	if (!good) return false;
	int rw = PROT_READ | PROT_WRITE;
	oracle_host_lab.data = mmap(NULL, DATA_BYTES, rw, MAP_SHARED, data, 0);
	oracle_host_lab.code = mmap(NULL, CODE_BYTES, rw, MAP_SHARED, code, 0);
	if (oracle_host_lab.data == MAP_FAILED || oracle_host_lab.code == MAP_FAILED ||
	    !oracle_host_map(oracle_lab, HOST_CODE + HOST_CTX, PROT_NONE, -1, 0))
		return false;
	host_open((void *)(uintptr_t)oracle_lab, "x86_oracle_test");
	CHECK(host.leave == oracle_out);
	host.anywhere = true;
	return true;
}
/* Components that were found to be as they are initially. */
static inline void oracle_host_x(struct outcome *o)
{
	uint8_t *x = o->x.bytes;
	const uint8_t *from = host.ctx->x_out;
	memcpy(x, from, sizeof o->x);
	if (!(from[X_HEADER] & 1)) {
		memset(x, 0, X_MXCSR);
		store_le(x, 0x37f, 2);
		memset(x + X_ST, 0, 128);
	}
	if (!(from[X_HEADER] & 2)) memset(x + X_XMM, 0, 256);
	if (!(from[X_HEADER] & 4)) memset(x + X_YMM, 0, 256);
}
/* Code that has been written at another address is what is executed behind this: SDM 3, 8.1.3. */
static inline void oracle_host_serialize(void)
{
	__asm__ volatile(
		"movl %%ss, %%ecx\n\tmovq %%rsp, %%rax\n\tsubq $128, %%rsp\n\t"
		"pushq %%rcx\n\tpushq %%rax\n\tpushfq\n\tmovl %%cs, %%ecx\n\tpushq %%rcx\n\t"
		"leaq 1f(%%rip), %%rcx\n\tpushq %%rcx\n\tiretq\n1:" ::
			: "rax", "rcx", "memory", "cc");
}
static inline void oracle_host_one(const struct prog *p, struct outcome *o)
{
	static uint8_t *was;
	static unsigned was_len;
	struct host_ctx *x = host.ctx;
	if (!was) was = oracle_host_lab.code;
	uint8_t *code = oracle_host_lab.code + (p->base & (CODE_BYTES - 1));
	memcpy(oracle_host_lab.data, p->data, DATA_BYTES);
	memset(was, 0, was_len);
	memcpy(code, p->code, p->len);
	was = code, was_len = p->len;
	memcpy(x->in, p->r, sizeof x->in);
	x->in_flags = p->flags;
	x->in_base[0] = p->fs, x->in_base[1] = p->gs;
	memcpy(x->x_in, &p->x, sizeof p->x);
	x->start = p->base;
	oracle_host_serialize();
	host_run(false);
	memcpy(o->r, x->out, sizeof o->r);
	o->flags = x->out_flags;
	o->fs = x->out_base[0], o->gs = x->out_base[1];
	bool out = !x->signal; /* as guests see it */
	o->rip = out ? oracle_out : x->rip;
	o->vector = out ? X86_TRAP_PF - X86_TRAP : x->trap;
	o->code = out ? X86_X | ORACLE_U : x->code;
	o->cr2 = out ? oracle_out : x->fault;
	oracle_host_x(o);
	memcpy(o->data, oracle_host_lab.data, DATA_BYTES);
}
static inline void __attribute__((noreturn)) oracle_host_serve(struct oracle_host *h)
{
	char c = oracle_host_map_all() ? 'y' : 'n';
	while (write(h->done[1], &c, 1) == 1 && c == 'y' && read(h->go[0], &c, 1) == 1) {
		(void)alarm(30);
		struct share *s = h->share;
		for (unsigned k = 0; k < s->n; k++) {
			s->at = k;
			if (s->wanted[k]) oracle_host_one(&s->prog[k], &s->out[k]);
		}
		(void)alarm(0);
		c = 'y';
	}
	_exit(0);
}
/* Before there are vCPUs with windows in this process. False: the addresses are not free. */
static inline bool oracle_host_open(struct oracle_host *h)
{
	char c = 'n';
	h->share = mmap(NULL, sizeof *h->share, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	CHECK(h->share != MAP_FAILED && !pipe(h->go) && !pipe(h->done));
	h->child = fork();
	CHECK(h->child >= 0);
	if (!h->child) {
		(void)close(h->go[1]), (void)close(h->done[0]);
		oracle_host_serve(h);
	}
	(void)close(h->go[0]), (void)close(h->done[1]);
	return read(h->done[0], &c, 1) == 1 && c == 'y';
}
/* All that are wanted. False: the process has died, at share->at. */
static inline bool oracle_host_run(struct oracle_host *h)
{
	char c = 'y';
	return write(h->go[1], &c, 1) == 1 && read(h->done[0], &c, 1) == 1;
}
static inline void oracle_host_close(struct oracle_host *h)
{
	int status;
	(void)close(h->go[1]), (void)close(h->done[0]);
	CHECK(waitpid(h->child, &status, 0) == h->child && WIFEXITED(status) &&
	      !WEXITSTATUS(status));
	(void)munmap(h->share, sizeof *h->share);
}
#endif
