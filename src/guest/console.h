#ifndef GUEST_CONSOLE_H
#define GUEST_CONSOLE_H
#include "base/chr.h"
#include "base/err.h"
/* A guest's console, shared: between the one who sits here, a log, and any number of people who
 * come and go over control connections. All see the same and may type. Belongs to the loop's
 * thread, but for what chr.h lets any thread call. */
struct console;
struct loop;
enum { CONSOLE_LOG = 1 << 20 }; /* bytes of console.log, and of console.log.1 before it */

/* sitter: whoever sits here has filled in its half, and the other is filled in now; it outlives
 * the console. NULL: nobody. */
struct console *console_new(struct loop *l, struct chr *sitter);
struct chr *console_chr(struct console *c); /* for the guest's device */
/* Keep what is written in that folder, behind what is there. */
void console_log(struct console *c, int dirfd);
/* Somebody comes: fd, a connected socket, is ours from now on, and carries frames. -EMFILE: too
 * many are there, and fd stays the caller's. */
int console_attach(struct console *c, int fd, struct err *e);
/* The guest has ended, and the loop does not run any more: all hear the rest and then last, within
 * a second or two. */
void console_end(struct console *c, const char *last);
void console_free(struct console *c); /* after the guest's device; NULL is fine */
#endif
