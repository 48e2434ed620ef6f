#ifndef BASE_PASS_H
#define BASE_PASS_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
/* Bytes over a connected local socket, with a descriptor beside them. */
bool pass_send(int to, const void *p, size_t n, int fd); /* fd -1: none. False: not all went */
/* As recvmsg(). fd NULL: none is taken; else it stays as it is if none came, and is the caller's.
 */
ssize_t pass_receive(int from, void *p, size_t n, int *fd);
#endif
