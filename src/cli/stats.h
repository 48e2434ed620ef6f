#ifndef CLI_STATS_H
#define CLI_STATS_H
#include <stdio.h>
struct guest_stats;
/* What a guest that has ended used and counted, a line each. */
void stats_print(const struct guest_stats *s, FILE *out);
#endif
