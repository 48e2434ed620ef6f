#include "zone/agent.h"
#include "base/own.h"
#include "zone/sys.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#ifndef AGENT_FILE
#define AGENT_FILE "/dev/null"
#endif
__asm__(".section .rodata\n.global agent_begin, agent_end\nagent_begin:\n.incbin \"" AGENT_FILE
	"\"\nagent_end:\n.byte 0\n.previous\n");
extern const char agent_begin[], agent_end[];

int agent_program(struct err *e)
{
	size_t n = (size_t)(agent_end - agent_begin);
	auto_fd int fd = sys_memfd_program("lodge-agent");
	if (fd < 0 || write(fd, agent_begin, n) != (ssize_t)n || sys_memfd_seal(fd))
		return fail(e, -errno, "the agent in memory: %s", strerror(errno));
	return give_fd(&fd);
}
