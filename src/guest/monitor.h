#ifndef GUEST_MONITOR_H
#define GUEST_MONITOR_H
#include "base/err.h"
/* A guest in the background: a process of its own, which nothing but the guest's folder ties to
 * whoever started it. */
struct guest_home;
struct kind;
struct spec;
/* Start it. Returns when the guest runs and can be spoken to, or with why it does not. Call while
 * there is one thread. Nothing of s or home may lie in the words of the command line, which become
 * the process's title. home->folder stays the caller's, too: its lock is both's until it is closed
 * here. home->started is not called. */
int monitor_start(const struct kind *k, const struct spec *s, const struct guest_home *home,
		  struct err *e);
#endif
