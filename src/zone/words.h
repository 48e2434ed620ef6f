#ifndef ZONE_WORDS_H
#define ZONE_WORDS_H
#include <stdint.h>
/* Names that config.json and the command line have for the kernel's numbers. Each returns -1 for
 * what is none. */
struct word {
	const char *name;
	int64_t value;
};
int64_t word_find(const struct word *table, const char *name); /* a NULL name ends a table */
int word_cap(const char *name);				       /* "CAP_CHOWN", "chown": CAP_CHOWN */
int word_rlimit(const char *name);			       /* "RLIMIT_NOFILE" */
int word_namespace(const char *type);			       /* "network": CLONE_NEWNET */
int word_signal(const char *name); /* "TERM", "SIGTERM", "15", "RTMIN+3" */
extern const struct word words_caps[], words_namespaces[];
const char *word_namespace_file(int flag); /* CLONE_NEWNET: "net", as below /proc/self/ns */
#endif
