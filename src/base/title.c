/* The kernel shows the bytes where the command line was, up to the first that is missing at its
 * end; so they are overwritten. Without title_init() only the short name changes. */
#include "base/title.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static char *room;
static size_t len;

void title_init(int argc, char **argv)
{
	if (argc < 1) return;
	room = argv[0];
	len = strlen(room) + 1;
	for (int i = 1; i < argc && argv[i] == room + len; i++) len += strlen(argv[i]) + 1;
}

void title_set(const char *text)
{
	(void)prctl(PR_SET_NAME, text);
	if (!room) return;
	memset(room, 0, len);
	(void)snprintf(room, len, "%s", text);
}

int title_pid(void)
{
	static int here, there;
	char text[16];
	int pid = (int)getpid();
	if (pid == here) return there;
	ssize_t n = readlink("/proc/self", text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	here = pid;
	there = n > 0 ? atoi(text) : pid;
	return there;
}
