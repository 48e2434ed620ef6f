#ifndef GUEST_PROGRAM_H
#define GUEST_PROGRAM_H
#include "base/chr.h"
#include "base/err.h"
#include <stdbool.h>
/* The one program that a computer is there for (spec.program): its agent runs it, as it runs those
 * of `lodge exec` (exec.h), but it is the monitor that asks, as soon as the agent is there; the
 * guest's console is the program's input, output and errors, and the guest ends with its exit code.
 * What the agent says is not trusted: frames of bounded size, or the guest is broken off. Of the
 * loop's thread but for program_boot()'s output; private to guest/. */
struct guest;
struct program;
/* Takes the place of the guest's device at the console. */
struct program *program_new(struct guest *g, struct chr *console);
void program_free(struct program *p); /* NULL is fine, here and below */
/* What the guest's device has instead of it: the last words are kept, for one that does not come so
 * far that its program runs. */
struct chr *program_boot(struct program *p);
int program_wait(struct program *p, struct err *e); /* from now on its agent has a while to come */
void program_agent(struct program *p);		    /* it has */
bool program_runs(const struct program *p);	    /* it did once, at least */
int program_signal(struct program *p, int sig, struct err *e); /* -EAGAIN: too early */
int program_stop(struct program *p, struct err *e);	       /* the one that asks it to end */
/* Any thread: the guest has switched itself off. True: its program never ran, *why says so. */
bool program_missed(struct program *p, struct err *why);
#endif
