#ifndef ENGINE_X86_COUNTS_H
#define ENGINE_X86_COUNTS_H
/* What an x86-64 CPU counts, with the names that `lodge stats` prints. From UNITS on: only where
 * there is a translator; from CHECKED on: where it is compared with the interpreter. */
/* clang-format off */
#define X86_COUNTS(X) \
	X(WALK, "page_walks") \
	X(MMIO, "mmio") \
	X(PIO, "pio") \
	X(IRQ, "interrupts") \
	X(SLEEP, "sleeps") \
	X(FAULTS, "user_page_faults") \
	X(UNITS, "units") \
	X(UNIT_INSNS, "unit_instructions") \
	X(UNIT_NS, "unit_nanoseconds") \
	X(UNIT_BYTES, "unit_bytes") \
	X(LINKS, "links") \
	X(LOOKUPS, "lookups") \
	X(FILLS, "tlb_misses") \
	X(REFUSED, "accesses_interpreted") \
	X(STEPS, "steps") \
	X(ENDS, "ends") \
	X(ALONE, "steps_outside") \
	X(REPS, "string_copies") \
	X(POLLS, "polls") \
	X(CROSSINGS, "page_crossings") \
	X(DROPS, "code_pages_dropped") \
	X(EMPTIED, "code_emptied") \
	X(FLUSHES, "flushes") \
	X(WINDOW, "window_pages") \
	X(WINDOW_MISSES, "window_misses") \
	X(PROMOTED, "windows_given") \
	X(DIRECT, "direct_begun") \
	X(DIRECT_STOPS, "direct_stops") \
	X(DIRECT_FAULTS, "direct_faults") \
	X(DIRECT_STEPS, "direct_steps") \
	X(DIRECT_ENDED, "direct_ended") \
	X(DIRECT_LOST, "direct_lost") \
	X(DIRECT_REFUSED, "direct_refused") \
	X(CHECKED, "checked_instructions") \
	X(AGAIN, "checked_again") \
	X(UNKNOWN, "checked_in_vain")
/* clang-format on */
#endif
