#ifndef CLI_TERM_H
#define CLI_TERM_H
#include "base/chr.h"
#include "base/err.h"
/* The person at a guest's console: our standard input and output as the sitter's half of a chr.
 * On a terminal: raw mode, given back however this process dies, kill -9 included; Ctrl-] leaves.
 * From a pipe or file: bytes go in as the guest takes them, and their end does not end the guest.
 * Belongs to the loop's thread, but for chr->output and chr->hungry. */
struct term;
struct loop;
/* Call before any other thread starts (it forks). raw false: a terminal, too, is taken as it is,
 * like a pipe, and errors are apart from output. leave(ctx, code) is called on the loop's thread
 * when the person leaves (code 0), or output can go nowhere any more (code 125, said why). */
int term_open(struct term **out, struct loop *l, struct chr *c, bool raw,
	      void (*leave)(void *ctx, int code), void *ctx, struct err *e);
/* Other keys that leave than Ctrl-], before the loop runs: at most TERM_KEYS; 0: none do. */
enum { TERM_KEYS = 8 };
void term_leaves_by(struct term *t, const uint8_t *keys, size_t n);
/* Words for them, as docker has them: "ctrl-p,ctrl-q", "~,.". */
int term_keys(const char *text, uint8_t *keys, size_t room, size_t *n, struct err *e);
/* Call when the guest is gone, before loop_free(). Writes what output is left, for as long as its
 * reader takes; SIGTERM, SIGINT and SIGHUP then end the process. NULL is fine. */
void term_close(struct term *t);
#endif
