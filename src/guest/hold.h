#ifndef GUEST_HOLD_H
#define GUEST_HOLD_H
#include "base/err.h"
/* A guest stands for as long as somebody is connected who reads its files. On the loop's thread. */
struct guest;
/* fd, a connected socket, is ours from then on; it is closed before the guest goes on, so that who
 * finds it open knows that it stood until then. */
int hold_add(struct guest *g, int fd, struct err *e);
void hold_break(struct guest *g); /* nobody holds it any more; it may still stand */
#endif
