#ifndef FS_JAIL_H
#define FS_JAIL_H
#include <stdbool.h>
#include <stddef.h>
/* The confinement of a process that serves one folder. Called in a process of a single thread that
 * nobody else relies on; what fails is told, not fatal: names in `what` are those for the log. */
struct jail {
	int root;      /* in: the folder; out: the same, as the root of a namespace of its own */
	bool readonly; /* mount it so, too */
	/* More than one: root is nothing but their overlay, the lowest first; read-only. */
	const char *const *layer;
	unsigned nlayers;
	bool rooted; /* out: nothing but the folder has a name, and nothing is left out */
	char what[160];
};
/* Mount namespace whose root is the folder, and no network; the current folder becomes that of our
 * descriptors. No privileges but those over files. Returns 0, or a negative errno: cannot serve at
 * all. */
int jail_enter(struct jail *j);
/* No system calls but those that serving needs; of all threads. false: the host has no seccomp. */
bool jail_seal(void);
#endif
