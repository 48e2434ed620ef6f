#ifndef ENGINE_X86_ORACLE_H
#define ENGINE_X86_ORACLE_H
/* For x86_oracle_test.c: programs of a few instructions, and what comes of one. The host and all
 * vCPUs see the same memory at the same addresses. */
#include "base/types.h"
#include "engine/x86_code.h"
#include "engine/x86_vector_impl.h"
#include "engine/x86_vector_rig.h"
#include "engine/x86_window.h"
#include "isa/x86/random_test.h"
#include <stdio.h>
#include <stdlib.h>

/* Data: four pages, of which three are there; the third is missing, the last is for reading. Code:
 * two pages. NEAR: within reach of RIP. */
enum { DATA_PAGES = 3, DATA_BYTES = DATA_PAGES * X86_PAGE, VIEW_BYTES = 4 * X86_PAGE };
enum { CODE_PAGES = 2, CODE_BYTES = CODE_PAGES * X86_PAGE };
static const uint64_t oracle_view[] = {
	0x10000000,
	0x5a0000000000,
	0x400100000,
	X86_LOW_END - X86_PAGE,
	0x100000000 - X86_PAGE,
	X86_HIGH_BEGIN - X86_PAGE,
	X86_HIGH_END - 5 * X86_PAGE, /* Linux leaves the last page empty */
};
static const uint64_t oracle_code[] = {0x20000000, 0x5a0000100000, 0x400000000};

/* Where the host's laboratory is, and in it the way out: nothing is there in a guest. */
static const uint64_t oracle_lab = 0x3a0000000000, oracle_out = 0x3a0000000400;

enum { STEPS = 64, CODE_ROOM = 512, NOWHERE = -1, ANYWHERE = -2 };
struct step {
	uint16_t off;
	int16_t to;	     /* step that it branches to, NOWHERE, ANYWHERE */
	uint16_t open, live; /* flags before it: of no defined value; that are read before written
			      */
	struct x86_insn in;
};
struct prog {
	uint64_t seed, base; /* of code */
	unsigned n, len;     /* steps, bytes of code; the last step leaves */
	bool user, signals;  /* only as user code; its end is to be an exception on the host, too */
	uint64_t r[16], flags, fs, gs;
	struct x86_xarea x;
	struct step step[STEPS];
	uint8_t code[CODE_ROOM];
	uint8_t data[DATA_BYTES];
	bool used; /* registers have values that count */
};
struct outcome {
	uint64_t r[16], rip, flags, fs, gs;
	uint64_t vector, code, cr2;
	struct x86_xarea x;
	uint8_t data[DATA_BYTES];
};
#endif
