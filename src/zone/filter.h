#ifndef ZONE_FILTER_H
#define ZONE_FILTER_H
#include "base/err.h"
#include "base/own.h"
#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>
/* linux.seccomp, compiled by libseccomp, which takes a thousand times as long as loading what comes
 * of it: the program is kept in a folder of the runtime's and compared by the whole text that it
 * was made of. */
struct json_object;
struct filter {
	struct sock_filter *at; /* NULL: there is none */
	unsigned n;
	unsigned flags;	      /* of seccomp(2) */
	const char *listener; /* listenerPath: whoever answers SCMP_ACT_NOTIFY; or NULL */
	const char *metadata;
};
/* cache: the folder; -1: nothing is kept. section NULL: none is wanted. */
int filter_make(struct filter *f, struct json_object *section, int cache, struct arena *a,
		struct err *e);
/* Whether this system call of this machine would just be done, whatever its arguments are as long
 * as the program does not look at them; one that looks is taken to refuse. */
bool filter_lets(const struct filter *f, int call);
/* From now on, for this thread. Returns the listener's descriptor where there is one, else 0. */
int filter_load(const struct filter *f, struct err *e);
extern const char *const filter_actions[],
	*const filter_operators[], *const filter_archs[],
					   *const filter_flags[]; /* NULL-ended, for `features` */
#endif
