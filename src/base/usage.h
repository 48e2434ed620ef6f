#ifndef BASE_USAGE_H
#define BASE_USAGE_H
#include <stdint.h>
/* CPU time of this process, in ns, with that of processes that do a part of its work. Any thread.
 */
uint64_t usage_ns(void);
/* From now on pid's counts, too; up to 256 at once, more are not counted. */
void usage_add(int pid);
void usage_remove(int pid); /* before it is waited for: what it has used goes on to count */
#endif
