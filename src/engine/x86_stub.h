#ifndef ENGINE_X86_STUB_H
#define ENGINE_X86_STUB_H
#include "base/types.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/user.h>
/* A process of the host in which nothing is but what it is told to map of a guest's memory, so that
 * a guest's user code can run there by itself, at its own addresses. It makes no system call of its
 * own accord (ptrace(2), PTRACE_SYSEMU), and no other than mmap and munmap whatever happens
 * (seccomp). */
struct gmem;
struct x86_stub;
/* What lives at these addresses is the stub's: a page of code that cannot be written to, and what
 * that is to do, which cannot either. */
#define X86_STUB_AT  0x6e0000000000ull
#define X86_STUB_END (X86_STUB_AT + 0x200000)
#define X86_USER_END 0x7ffffffff000ull /* hosts give nobody more */

enum x86_stub_end {
	X86_STUB_CALL,	   /* behind syscall, int $0x80 or sysenter; orig_rax is what rax was */
	X86_STUB_FAULT,	   /* of memory, at `at`: missing or not allowed */
	X86_STUB_TRAP,	   /* any other exception, at rip */
	X86_STUB_OVERFLOW, /* behind int $4 or into; or it is X86_STUB_TRAP */
	X86_STUB_INT3,	   /* behind int3, int $3 or icebp */
	X86_STUB_STEP,	   /* #DB, behind an instruction */
	X86_STUB_BREAK,	   /* at a place that x86_stub_break() named */
	X86_STUB_POKED,
	X86_STUB_REFUSED, /* the host does not take such registers: it has not run */
	X86_STUB_GONE,	  /* what it had in registers is lost */
};
/* XSAVE's standard layout, SDM 1, 13.4: x87, SSE, header, AVX. What more there is starts anew. */
enum { X86_STUB_X = 576 + 256 };
enum { X86_STUB_BREAKS = 4 }; /* as many as the CPU has registers for */

/* Any thread; it waits until it is had. NULL: this host does not let us. */
struct x86_stub *x86_stub_new(struct gmem *m);
/* The calling thread's from now on, which alone calls what is below but for x86_stub_poke(); with
 * that it dies. Does nothing the second time. False: the host does not let us. */
bool x86_stub_have(struct x86_stub *s);
void x86_stub_free(struct x86_stub *s); /* NULL is fine; any thread once its own is gone */
/* In order, and done by x86_stub_ready(). Pages as gmem_file() tells of them; prot:
 * PROT_*. False: it could not be done, and what is mapped is not known. */
bool x86_stub_map(struct x86_stub *s, uint64_t at, size_t len, unsigned prot, unsigned region,
		  uint64_t off);
bool x86_stub_hide(struct x86_stub *s, uint64_t at, size_t len);
/* Stop before an instruction at `at` executes, instead of what the k-th was; 0: nowhere. */
void x86_stub_break(struct x86_stub *s, unsigned k, uint64_t at);
/* Have all of it done now. False: it could not be, and the stub is of no use any more. */
bool x86_stub_ready(struct x86_stub *s);
/* Registers beyond those of x, which it may have used, are not the next guest program's. */
void x86_stub_forget(struct x86_stub *s);
/* Run until something happens. *regs and x are what it has before, and behind it: also if it was
 * killed, of which x86_stub_ready() tells next. */
enum x86_stub_end x86_stub_run(struct x86_stub *s, struct user_regs_struct *regs,
			       uint8_t x[X86_STUB_X], uint64_t *at);
/* The calling thread and what it runs stay on one CPU from its first stub on. Let the host choose
 * again, if that has been so for so many ticks of its TSC. */
void x86_stub_release(uint64_t ticks);
/* How long it has run last, in ticks of the host's TSC, with the way there and back. */
uint64_t x86_stub_ran(const struct x86_stub *s);
/* Any thread: if it runs, it ends with X86_STUB_POKED soon. */
void x86_stub_poke(int pid);
uint64_t x86_stub_orders(const struct x86_stub *s); /* pieces of memory so far */
int x86_stub_pid(const struct x86_stub *s);
#endif
