#ifndef BASE_KSM_H
#define BASE_KSM_H
#include <stdint.h>
/* The host's KSM: pages of private memory that hold the same, in one process or in several, kept
 * once until somebody writes to them. Linux Documentation/admin-guide/mm/ksm.rst. */
enum ksm { KSM_NONE, KSM_OFF, KSM_ON }; /* the kernel has none; it is off; it looks for them */
enum ksm ksm_host(void);

/* What it has done for this process, also once that cannot open files any more. Any thread. */
struct ksm_own {
	int pages, more; /* files in /proc; -1: this kernel does not have it */
};
void ksm_open(struct ksm_own *k);
void ksm_close(struct ksm_own *k);
/* Bytes that it has from the host together with others, or with itself. */
uint64_t ksm_merged(const struct ksm_own *k);
#endif
