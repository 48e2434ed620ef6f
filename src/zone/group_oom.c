/* Of a process that was killed because its group's memory had run out the kernel tells who asks:
 * version 1 through an eventfd, version 2 by making a file ready. Both count. */
#include "base/buf.h"
#include "zone/group.h"
#include "zone/sys.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

static long long kills(const struct group_oom *w)
{
	char text[512];
	ssize_t n = pread(w->file, text, sizeof(text) - 1, 0);
	if (n <= 0) return -1;
	text[n] = 0;
	const char *at = strstr(text, "oom_kill ");
	return at ? strtoll(at + strlen("oom_kill "), NULL, 10) : -1;
}

void group_oom_open(struct group_oom *w, const struct group *g)
{
	char words[32];
	bool two;
	int dir = group_dir(g, "memory", &two);
	*w = (struct group_oom){.event = -1, .file = -1, .wanted = two ? POLLPRI : POLLIN};
	if (dir < 0) return;
	w->file = openat(dir, two ? "memory.events" : "memory.oom_control", O_RDONLY | O_CLOEXEC);
	if (w->file < 0) return;
	w->kills = kills(w);
	if (two) {
		w->event = w->file;
		return;
	}
	w->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	(void)snprintf(words, sizeof(words), "%d %d", w->event, w->file);
	(void)group_write(dir, "cgroup.event_control", words);
}

bool group_oom_seen(struct group_oom *w)
{
	uint64_t n;
	long long was = w->kills;
	if (w->event >= 0 && w->event != w->file) (void)!read(w->event, &n, sizeof(n));
	w->kills = kills(w);
	return was >= 0 && w->kills > was;
}

void group_oom_close(struct group_oom *w)
{
	if (w->event >= 0 && w->event != w->file) (void)close(w->event);
	if (w->file >= 0) (void)close(w->file);
}
