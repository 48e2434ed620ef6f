#ifndef CLI_ATTACH_H
#define CLI_ATTACH_H
#include "base/err.h"
/* This terminal at the console of a guest that runs elsewhere. fd: a stream of its monitor
 * (guest/stream.h), which is closed. keys: what leaves it, as typed with --detach-keys; NULL: the
 * usual. The guest's exit code; 0 too when the person left, and then *left. */
int attach_stream(int fd, const char *keys, _Bool *left, struct err *e);
#endif
