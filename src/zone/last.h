#ifndef ZONE_LAST_H
#define ZONE_LAST_H
#include "zone/filter.h"
#include "zone/spec.h"
/* What names /proc/self/exe, as an image's program or its interpreter may, gets the file of whoever
 * executes it: of the runtime, which a zone whose root is the host's could then overwrite
 * (CVE-2019-5736). Two ways out of that. The runtime goes on from a copy of itself in sealed
 * memory, which is executed: 1.4 MiB and the start of a C library. Or it ends as a sealed program
 * of 300 bytes, which executes the zone's: that will do where nobody else can see the runtime's
 * process in between. */
/* Whether it will: the zone's processes are its own, none may look at others, nothing of it
 * is executed before its program, and the filter lets pass what that takes. f: the zone's. */
bool last_fits(const struct spec *s, const struct filter *f);
/* That program, as a descriptor. Its arguments are a word, the path to execute, and the arguments
 * of that. It tells this socket, which is then closed, if that failed: SAY_EXEC. */
int last_program(int told, struct err *e);
#endif
