#ifndef ZONE_TERMINAL_H
#define ZONE_TERMINAL_H
#include "zone/spec.h"
#include <termios.h>
/* Pseudo-terminals of zones: made by the zone's own devpts, so that it can name them; the master
 * goes to whoever keeps the console. */
/* root: the zone's, attached. Both ends are the caller's; *slave has the terminal's size. */
int terminal_make(int root, const struct spec_size *size, int *master, int *slave, struct err *e);
int terminal_send(const char *socket, int master, struct err *e); /* --console-socket */
/* Bytes both ways between our own terminal and the master, ours being raw, until pid ends (its
 * pidfd); signals are passed on by the caller's handlers. */
void terminal_relay(int master, int pidfd);
#endif
