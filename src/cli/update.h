#ifndef CLI_UPDATE_H
#define CLI_UPDATE_H
#include "base/err.h"
#include <stdint.h>
/* --cpus as docker has it: 1.5 is two CPUs that together use the time of one and a half. cap is in
 * thousandths, 0 when the number is whole, as so many CPUs use no more anyway. */
int cpus_parse(unsigned *cpus, uint64_t *cap, const char *text, struct err *e);
#endif
