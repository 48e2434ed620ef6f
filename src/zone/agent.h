#ifndef ZONE_AGENT_H
#define ZONE_AGENT_H
#include "base/err.h"
/* The guests' agent (guests/agent) as a program in memory that nobody can change: what executes a
 * zone's programs, and what serves `lodge exec` inside. A descriptor, the caller's. */
int agent_program(struct err *e);
#endif
