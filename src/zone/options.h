#ifndef ZONE_OPTIONS_H
#define ZONE_OPTIONS_H
#include "zone/spec.h"
#include <sys/mount.h>
/* The options of a mount in config.json, sorted by whom they are for. */
struct options {
	struct mount_attr attr;	     /* of the mount itself */
	struct mount_attr recursive; /* of it and all below: "rro" and its like */
	uint64_t propagation;	     /* MS_PRIVATE...; 0: not said */
	bool propagation_deep;
	bool bind, deep;    /* bind, rbind */
	bool copy_up;	    /* tmpcopyup */
	bool idmap, ridmap; /* by the zone's own mappings, if the mount has none */
	struct texts data;  /* what is left: the file system's own; "key=value" or "flag" */
};
int options_parse(struct options *o, const struct spec_mount *m, struct arena *a, struct err *e);
/* "rslave" and its like, as linux.rootfsPropagation has it; 0: no such word. */
uint64_t options_propagation(const char *word, bool *deep);
const char *const *options_names(unsigned *n); /* all that are known, for `features` */
#endif
