#ifndef CLI_DRIVES_H
#define CLI_DRIVES_H
#include "base/types.h"
#include "cli/cli.h"
/* Of lodge run: what a guest reads, writes and boots from. */
struct spec;
struct drive_opts {
	struct opt_list disks, shared, cdroms;
	const char *boot;
};
/* After those that the spec has. The lists' strings stay in it; words behind commas are cut off. */
int drives_add(struct spec *s, const struct drive_opts *o, struct err *e);
/* What --firmware says as a file: "bios" and "uefi" are those that this machine has installed. With
 * nothing else to boot but a CD it is bios. *arch is theirs. *out NULL: none. */
int drives_firmware(const char **out, enum arch *arch, const struct spec *s,
		    const struct drive_opts *o, struct err *e);
#endif
