#ifndef ENGINE_X86_CHECK_IMPL_H
#define ENGINE_X86_CHECK_IMPL_H
#include "engine/x86_vcpu.h"
/* Inside x86_check.c and x86_light.c. */
enum { CHECK_LOG = 1 << 14, CHECK_WIDEST = 64 };
struct x86_check_was {
	void *at;
	uint32_t bytes;
	uint8_t old[CHECK_WIDEST], now[CHECK_WIDEST];
};
struct x86_check_state { /* what translated code may change */
	uint64_t r[16], rip, flags, n, base[8], gs, kernel_gs;
	uint8_t view;
	struct x86_xarea x;
};
struct x86_check {
	struct x86_check_was log[CHECK_LOG];
	unsigned logged; /* more than fit: such a stretch is taken as it is */
	bool open;
	struct x86_check_state before, jit;
	unsigned tries;
	uint64_t tried; /* v->n of the last one that differed */
	/* Flags that the translator has left wrong, as nobody would read them; and when that was.
	 */
	uint64_t dead, traps, irqs;
	/* Of the stretch at work: flags that the manual leaves open, whether one was read; stores.
	 */
	uint64_t open_flags;
	bool unknown;
	unsigned stores;
	char words[480];
};
#endif
