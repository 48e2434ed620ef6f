#ifndef BASE_FAULT_H
#define BASE_FAULT_H
/* A place at which a crash would be worst: between two writes that belong together. For tests:
 * with LODGE_KILL_AT=N in the environment the process kills itself with SIGKILL at the Nth such
 * place that it comes to. Any thread. */
void fault_point(void);
#endif
