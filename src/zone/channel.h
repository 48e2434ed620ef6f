#ifndef ZONE_CHANNEL_H
#define ZONE_CHANNEL_H
#include "base/err.h"
#include <stdint.h>
/* Between the runtime and a process that it is making: words in turn, over a socket pair that keeps
 * them apart (SOCK_SEQPACKET); a descriptor may go with one. Each end knows what comes next; an
 * error ends it, and its words are those of fail(). */
enum channel_word {
	SAY_ERROR = 'e',    /* text, code */
	SAY_WARNING = 'w',  /* text: for the log; anywhere in between */
	SAY_KNOWN = 'k',    /* to a child that another has told of: from now on it may speak */
	SAY_MAPPED = 'i',   /* to the child: its ids are mapped */
	SAY_MOUNTED = 'm',  /* to the parent: its root is there, hooks may run */
	SAY_HOOKED = 'h',   /* to the child: they have */
	SAY_TERMINAL = 't', /* to the parent: with the pseudo-terminal's master */
	SAY_READY = 'r',    /* to the parent: all but the program is done */
	SAY_GO = 'g',	    /* to the child: become it */
	SAY_EXEC = 'x',	    /* to the parent, after the go: executing text failed, code says why */
	SAY_LISTENER = 'n', /* to the parent: code is a descriptor, at an address of the child's */
	SAY_PID = 'p'	    /* to the parent: code is a process id, with its pidfd */
};
struct channel_msg {
	int32_t what, code;
	uint64_t at;
	char text[256];
};
int channel_pair(int fd[2], struct err *e);
int channel_say(int to, enum channel_word w, int code, const char *text, int fd);
/* Takes the next; warnings are logged on the way. *fd as pass_receive(), may be NULL. An error of
 * the other end becomes ours; so does its end. */
int channel_hear(int from, struct channel_msg *m, int *fd, struct err *e);
/* The next must be this; returns its code, or a negative errno. */
int channel_wait(int from, enum channel_word w, struct err *e);
int channel_fail(int to, const struct err *e); /* tells it; returns e->code */
#endif
