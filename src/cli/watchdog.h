#ifndef CLI_WATCHDOG_H
#define CLI_WATCHDOG_H
#include "base/err.h"
#include <sys/types.h>
#include <termios.h>
/* A child that outlives us for a moment: when this process ends without watchdog_stop(), by
 * kill -9 for one, it gives the terminal its settings back, if they still are the raw ones, and
 * writes parting there. */
struct watchdog {
	int fd; /* -1: none. The child sees us die when this closes */
	pid_t child;
};
int watchdog_start(struct watchdog *w, int tty, const struct termios *before,
		   const struct termios *raw, const char *parting, struct err *e);
void watchdog_stop(struct watchdog *w); /* the terminal is in order again */
#endif
