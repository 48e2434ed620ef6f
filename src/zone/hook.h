#ifndef ZONE_HOOK_H
#define ZONE_HOOK_H
#include "zone/spec.h"
/* Programs that config.json wants run at the turns of a zone's life; each gets the zone's state as
 * JSON on its input and is waited for; where it has no "env", its environment is ours. The first
 * that fails ends it: words in e. */
int hooks_run(const spec_hooks *h, const char *kind, const char *state, struct err *e);
/* The same, of programs that are the zone's own: become() takes each process's rights away, and our
 * environment is none of theirs. */
int hooks_run_inside(const spec_hooks *h, const char *kind, const char *state,
		     int (*become)(void *ctx, struct err *e), void *ctx, struct err *e);
/* The same where a failure changes nothing: it is logged, and the next one runs. */
void hooks_run_all(const spec_hooks *h, const char *kind, const char *state);
#endif
