#ifndef ZONE_PUMP_H
#define ZONE_PUMP_H
#include "base/err.h"
/* Bytes both ways between two connected sockets, on a loop: what a zone's program is given is not
 * the connection of whoever is outside. Both are the pump's, which goes when either hangs up. */
struct loop;
struct pumps; /* all of one guest */
struct pumps *pumps_new(struct loop *l);
int pumps_add(struct pumps *p, int a, int b, struct err *e); /* on failure both stay the caller's */
void pumps_free(struct pumps *p);			     /* NULL is fine */
#endif
