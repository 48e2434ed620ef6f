#ifndef ENGINE_RV64_WINDOW_H
#define ENGINE_RV64_WINDOW_H
#include "base/types.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* Windows: a user address space (Sv39) laid out in host memory, so that an access of translated
 * code is one host access. Belongs to the hart's thread. Whatever a window has, the page tables
 * allowed when it was put there, and no fence has been since: it is a TLB that the host's MMU looks
 * things up in. Every function takes a hart without windows. */
struct rv64_cpu;
struct rv64_window;
struct rv64_windows;
struct window_stats {
	uint64_t given, taken;	  /* windows, to and from address spaces */
	uint64_t faults, refused; /* signals; those that the interpreter had to see to */
	uint64_t maps, pages;	  /* calls of mmap, pages put there */
	uint64_t drops, page_drops, over_budget;
};
/* early: for tests, every space has one at once, and keeps it, and pages come by faults alone. */
void rv64_windows_new(struct rv64_cpu *c, bool early);
void rv64_windows_free(struct rv64_cpu *c);
bool rv64_windows_early(const struct rv64_cpu *c);
const struct window_stats *rv64_window_stats(const struct rv64_cpu *c); /* NULL: none */
/* For tests: how many mappings this hart may have. */
void rv64_window_budget(struct rv64_cpu *c, size_t mappings);

/* From here on, faults on this thread are this hart's; NULL: nobody's. */
void rv64_window_thread(struct rv64_cpu *c);
void rv64_window_mode(struct rv64_cpu *c);  /* the mode has changed: set win_limit, win_base */
void rv64_window_space(struct rv64_cpu *c); /* so has satp */
void rv64_window_tick(struct rv64_cpu *c);  /* a timer interrupts user code */
void rv64_window_drop(struct rv64_cpu *c);
void rv64_window_drop_asid(struct rv64_cpu *c, unsigned asid);
void rv64_window_drop_page(struct rv64_cpu *c, gva_t va);
/* User code has just been found to be allowed this access: have the page there. */
void rv64_window_fill(struct rv64_cpu *c, gva_t va, unsigned access);
/* Is `host` in or around the current window? Then *va is the guest's address, if any is there. */
bool rv64_window_has(const struct rv64_cpu *c, const void *host, gva_t *va);
#endif
