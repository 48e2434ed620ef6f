#ifndef ENGINE_UNITLOG_H
#define ENGINE_UNITLOG_H
#include "base/err.h"
#include "base/types.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
/* What a translator tells those who debug or measure it: of each unit it makes, a line of perf's
 * map of this process and a text. An engine is given one, or none. Any thread; it has a lock. */
struct symbols;
struct unitlog;
struct unitlog_how {
	const char *dump;    /* FILE, FILE:PC or FILE:FROM-TO, hexadecimal; NULL: no texts */
	bool profile;	     /* write /tmp/perf-PID.map, as perf(1) expects it */
	const char *symbols; /* names of the guest's code, see symbols.h; NULL: see kernel */
	const char *kernel;  /* it, or the System.map beside it, may name them */
};
int unitlog_open(struct unitlog **out, const struct unitlog_how *how, struct err *e);
/* The guest's kernel as it lies in memory, unpacked: it may name its own code. Before any vCPU
 * runs, and only of use if no file did. */
void unitlog_kernel(struct unitlog *u, const void *at, size_t len);
const struct symbols *unitlog_symbols(const struct unitlog *u); /* as they are by then */
void unitlog_close(struct unitlog *u);				/* the files stay; NULL is fine */

/* For engines. */
struct unit_about {
	unsigned vcpu;
	gva_t pc;
	bool user; /* not the guest's kernel or firmware */
	const void *code;
	size_t size;
};
void unitlog_add(struct unitlog *u, const struct unit_about *a);
void unitlog_flush(struct unitlog *u, unsigned vcpu);  /* all code of that vCPU has gone */
bool unitlog_wants(const struct unitlog *u, gva_t pc); /* texts of units that hold pc */
/* To write a unit's text to, behind a line that says which it is; until unitlog_end(). */
FILE *unitlog_begin(struct unitlog *u, const struct unit_about *a, unsigned insns);
void unitlog_end(struct unitlog *u);
#endif
