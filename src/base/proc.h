#ifndef BASE_PROC_H
#define BASE_PROC_H
#include "base/err.h"
/* Another program, run to its end. It gets default signal dispositions, dies with us, and has
 * no input. */
struct proc {
	const char *const *argv; /* NULL-ended; argv[0] is looked for in PATH */
	const char *dir;	 /* NULL: where we are */
	/* Its output and errors, line by line without the newline; NULL: they go where ours go. */
	void (*line)(void *ctx, const char *line);
	void *ctx;
};
/* 0 and *code: its exit code, or 128 plus the signal that ended it. Negative: it never ran. */
int proc_run(const struct proc *p, int *code, struct err *e);
#endif
