#ifndef VM_KEYS_H
#define VM_KEYS_H
#include "base/chr.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* What is typed at a machine whose time is counted: it comes at counted times, and whatever can be
 * read without waiting comes at the first of them. */
struct keys;
struct loop;
/* Stands between the console's two halves, which are wired. come: called on the loop's thread
 * when something came. */
struct keys *keys_new(struct chr *c, struct loop *l, void (*come)(void *ctx), void *ctx);
void keys_free(struct keys *k); /* NULL is fine; the loop does not run any more */
/* On the hart's thread: have the loop read what there is, or until given_up() says so, and give the
 * device what it takes. */
void keys_pass(struct keys *k, bool (*given_up)(void *ctx));
/* The same without the loop, for times that are recorded: what the device took, in `to`. */
enum { KEYS_MOST = 64 };
size_t keys_give(struct keys *k, uint8_t to[KEYS_MOST]);
/* For a recording: it is the device's only input, and what is typed goes nowhere. How many the
 * device took. */
void keys_deaf(struct keys *k);
size_t keys_put(struct keys *k, const uint8_t *p, size_t n);
#endif
