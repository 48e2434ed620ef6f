#ifndef GUEST_LIMITS_H
#define GUEST_LIMITS_H
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>
/* A guest's limits as words: "memory 268435456 cpus 500", a name and a number each, in the units of
 * struct limits; 0 lifts one. */
struct limits;
/* The next one's name and place, n from 0; NULL: there are no more. */
const char *limits_name(unsigned n);
uint64_t *limits_at(struct limits *l, unsigned n);
/* Untrusted words onto *l; what they do not name stays. */
int limits_take(struct limits *l, const char *words, struct err *e);
/* memory: bytes that the guest has; 0: not known. */
int limits_check(const struct limits *l, uint64_t memory, struct err *e);
#endif
