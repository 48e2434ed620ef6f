#include "zone/last.h"
#include "zone/channel.h"
#include "zone/sys.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

/* A whole ELF file of one segment (System V ABI, Object Files). Its code: close the socket
 * when something is executed; execute; or else say what came of it, with the path, and end. */
__asm__(".section .rodata\n"
	".balign 8\n"
	".global last_begin, last_told, last_end\n"
	"last_begin:\n"
	".byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0\n.quad 0\n"
	".short 2, 62\n.long 1\n"		    /* an executable for x86-64 */
	".quad 0x400000 + 1f - last_begin, 64, 0\n" /* entry, program headers, none of sections */
	".long 0\n.short 64, 56, 1, 64, 0, 0\n"
	".long 1, 5\n.quad 0, 0x400000, 0x400000\n" /* readable, executable */
	".quad last_end - last_begin, last_end - last_begin, 4096\n"
	"last_told: .long -1\n"
	"1:	movl last_told(%rip), %edi\n"
	"	movl $2, %esi\n"  /* F_SETFD */
	"	movl $1, %edx\n"  /* FD_CLOEXEC */
	"	movl $72, %eax\n" /* fcntl */
	"	syscall\n"
	"	testl %eax, %eax\n" /* it is closed: a zone's file has named this program */
	"	js 4f\n"
	"	movq 16(%rsp), %rdi\n" /* argv[1] */
	"	leaq 24(%rsp), %rsi\n" /* argv + 2 */
	"	movq (%rsp), %rax\n"
	"	leaq 16(%rsp,%rax,8), %rdx\n" /* environment */
	"	movq %rdi, %rbx\n"
	"	movl $59, %eax\n" /* execve */
	"	syscall\n"
	"	subq $272, %rsp\n" /* struct channel_msg */
	"	movl $'x', (%rsp)\n"
	"	movl %eax, 4(%rsp)\n"
	"	movq $0, 8(%rsp)\n"
	"	movq %rbx, %rsi\n"
	"	leaq 16(%rsp), %rdi\n"
	"	movl $255, %ecx\n"
	"2:	lodsb\n"
	"	stosb\n"
	"	testb %al, %al\n"
	"	je 3f\n"
	"	decl %ecx\n"
	"	jne 2b\n"
	"	movb $0, (%rdi)\n"
	"3:	movl last_told(%rip), %edi\n"
	"	movq %rsp, %rsi\n"
	"	movl $272, %edx\n"
	"	movl $1, %eax\n" /* write */
	"	syscall\n"
	"4:	movl $1, %edi\n"
	"	movl $231, %eax\n" /* exit_group */
	"	syscall\n"
	"last_end:\n"
	".previous\n");
extern const char last_begin[], last_told[], last_end[];
_Static_assert(sizeof(struct channel_msg) == 272 && offsetof(struct channel_msg, text) == 16,
	       "as the code above has it");

static bool namespace_own(const struct spec *s, int flag)
{
	return (s->new_ns & flag) && !(s->join_ns & flag);
}

static bool hooked_inside(const struct spec *s)
{
	return s->hooks && s->hooks->create_container.n + s->hooks->start_container.n;
}

/* What a user who is not root may find his program by goes with the first program executed. */
static bool finds_by_caps(const struct spec_process *p)
{
	return p->user->uid &&
	       p->caps.effective & (1ull << CAP_DAC_OVERRIDE | 1ull << CAP_DAC_READ_SEARCH);
}

bool last_fits(const struct spec *s, const struct filter *f)
{
	static const int calls[] = {SYS_execveat, SYS_fcntl, SYS_execve, SYS_write, SYS_exit_group};
	const struct spec_process *p = s->process;
	if (!p || f->listener || !namespace_own(s, CLONE_NEWPID) || hooked_inside(s) ||
	    finds_by_caps(p) || p->caps.bounding & 1ull << CAP_SYS_PTRACE ||
	    (p->selinux_label && *p->selinux_label) ||
	    (p->apparmor_profile && *p->apparmor_profile))
		return false;
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (!filter_lets(f, calls[i])) return false;
	return true;
}

int last_program(int told, struct err *e)
{
	size_t n = (size_t)(last_end - last_begin);
	off_t at = last_told - last_begin;
	auto_fd int fd = sys_memfd_program("last");
	if (fd < 0 || write(fd, last_begin, n) != (ssize_t)n ||
	    pwrite(fd, &told, sizeof(told), at) != sizeof(told) || sys_memfd_seal(fd))
		return fail(e, -errno, "the last program in memory: %s", strerror(errno));
	return give_fd(&fd);
}
