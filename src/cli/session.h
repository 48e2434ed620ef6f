#ifndef CLI_SESSION_H
#define CLI_SESSION_H
#include "base/err.h"
#include "cli/cli.h"
#include <stdbool.h>
/* A program run inside a guest by its agent, with our descriptors as its own. */
struct session {
	const char *guest;	    /* its whole name */
	const char *const *argv;    /* NULL-ended; empty: the login shell */
	const struct opt_list *env; /* may be NULL */
	const char *dir, *user;	    /* may be NULL */
	bool terminal;		    /* it gets one; ours goes raw meanwhile, if input is it */
	bool signals;		    /* pass on those that would end us */
	int in, out, err;	    /* in -1: it reads nothing */
	bool bulk;		    /* in and out may be large, and are nobody's terminal */
	bool plain; /* what it says at stderr is shown as bytes of others (plain.h) */
};
/* Its exit code. While the guest is starting its agent is waited for a while. Negative: it did not
 * run, or nobody knows how it ended. */
int session_run(const struct session *s, struct err *e);
/* The same with an agent that is at the other end of fd, which is closed. */
int session_talk(const struct session *s, int fd, struct err *e);
#endif
