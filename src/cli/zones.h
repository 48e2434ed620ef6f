#ifndef CLI_ZONES_H
#define CLI_ZONES_H
#include "cli/cli.h"
#include "guest/guest.h"
/* What run and create take for zones, from options and a container's image to the spec. */
struct arena;
struct image;
struct store;
struct zone_opts {
	struct opt_list env;
	const char *workdir, *user, *entrypoint, *hostname, *cpuset, *userns, *rootfs;
	unsigned pids, io_weight;
	uint64_t storage, memory_low;
	const char *ip;
	bool tty, interactive;
};
#define ZONES_AT(T, member) offsetof(struct T, zone.member)
/* Lines of a table whose options are a struct T with a struct zone_opts called zone. Help is in the
 * order of their names; these are put where they belong by whoever has the table. */
#define ZONES_CPUSET(T)                                                                            \
	{                                                                                          \
		"cpuset-cpus", 0, OPT_TEXT, ZONES_AT(T, cpuset), "0-2,4",                          \
			"Of a zone: on which of this machine's CPUs it runs.", NULL                \
	}
#define ZONES_ENTRYPOINT(T)                                                                        \
	{                                                                                          \
		"entrypoint", 0, OPT_TEXT, ZONES_AT(T, entrypoint), "PROGRAM",                     \
			"Of a container: what COMMAND is given to, instead of what its image "     \
			"says.",                                                                   \
			NULL                                                                       \
	}
#define ZONES_ENV(T)                                                                               \
	{                                                                                          \
		"env", 'e', OPT_LIST, ZONES_AT(T, env), "NAME[=VALUE]",                            \
			"Of a container: a variable of its environment; a name alone: as it is "   \
			"here.",                                                                   \
			NULL                                                                       \
	}
#define ZONES_HOSTNAME(T)                                                                          \
	{                                                                                          \
		"hostname", 0, OPT_TEXT, ZONES_AT(T, hostname), "NAME",                            \
			"Of a container: what it calls itself (its name).", NULL                   \
	}
#define ZONES_INTERACTIVE(T)                                                                       \
	{                                                                                          \
		"interactive", 'i', OPT_FLAG, ZONES_AT(T, interactive), NULL,                      \
			"Of a container in the background: keep its input open, for 'lodge "       \
			"attach'.",                                                                \
			NULL                                                                       \
	}
#define ZONES_IP(T)                                                                                \
	{                                                                                          \
		"ip", 0, OPT_TEXT, ZONES_AT(T, ip), "IP/LEN[,GATEWAY]",                            \
			"Of a zone: its address at the tap or bridge of this machine that --net "  \
			"says.",                                                                   \
			NULL                                                                       \
	}
#define ZONES_RESERVATION(T)                                                                       \
	{                                                                                          \
		"memory-reservation", 0, OPT_SIZE, ZONES_AT(T, memory_low), "SIZE",                \
			"Of a zone: memory that is not taken from it while others have more.",     \
			NULL                                                                       \
	}
#define ZONES_IO_WEIGHT(T)                                                                         \
	{                                                                                          \
		"io-weight", 0, OPT_NUMBER, ZONES_AT(T, io_weight), "N",                           \
			"Of a zone: its weight where disks are busy, 10 to 1000 (100).", NULL      \
	}
#define ZONES_PIDS(T)                                                                              \
	{                                                                                          \
		"pids-limit", 0, OPT_NUMBER, ZONES_AT(T, pids), "N",                               \
			"Of a zone: how many processes it may have (4096).", NULL                  \
	}
#define ZONES_ROOTFS(T)                                                                            \
	{                                                                                          \
		"rootfs", 0, OPT_TEXT, ZONES_AT(T, rootfs), "DIR",                                 \
			"Instead of an image: a container in a computer of its own, whose files "  \
			"are those of that folder, and are written there.",                        \
			NULL                                                                       \
	}
#define ZONES_STORAGE(T)                                                                           \
	{                                                                                          \
		"storage", 0, OPT_SIZE, ZONES_AT(T, storage), "SIZE",                              \
			"Of a container: how much it may write to its own files (as this disk "    \
			"has; with a "                                                             \
			"kernel of its own: 8G).",                                                 \
			NULL                                                                       \
	}
#define ZONES_TTY(T)                                                                               \
	{                                                                                          \
		"tty", 't', OPT_FLAG, ZONES_AT(T, tty), NULL,                                      \
			"Of a container: a terminal also in the background; else it has one "      \
			"where we "                                                                \
			"have.",                                                                   \
			NULL                                                                       \
	}
#define ZONES_USER(T)                                                                              \
	{                                                                                          \
		"user", 'u', OPT_TEXT, ZONES_AT(T, user), "USER[:GROUP]",                          \
			"Of a container: as whom its command runs, by name or number.", NULL       \
	}
#define ZONES_USERNS(T)                                                                            \
	{                                                                                          \
		"userns", 0, OPT_TEXT, ZONES_AT(T, userns), "auto|host",                           \
			"Of a zone: ids of its own (auto), or this machine's: root in it is root " \
			"here.",                                                                   \
			"auto host"                                                                \
	}
#define ZONES_WORKDIR(T)                                                                           \
	{                                                                                          \
		"workdir", 'w', OPT_TEXT, ZONES_AT(T, workdir), "DIR",                             \
			"Of a container: where its command begins.", NULL                          \
	}

/* From the command line; args behind the image's name are the command. a: lives as long as s. */
int zones_options(struct spec *s, const struct zone_opts *o, const char *const *args,
		  unsigned nargs, struct arena *a, struct err *e);
/* The spec is a zone's if this image is a container's, unless it says otherwise: then, or if the
 * image is for another CPU, an error. */
int zones_choose(struct spec *s, const struct image *im, struct err *e);
void zones_cap(struct spec *s); /* --cpus 2 is a limit, too, where there are no CPUs to give */
/* It is run again: what is not said is as it was. */
void zones_again(struct spec *s, const struct spec *was);
/* Of a zone: its layers and config. folder: its own. */
int zones_use_image(struct spec *s, struct store *st, const struct image *im, int folder,
		    struct arena *a, struct err *e);
/* Somebody sits here: it has our terminal, if that is one, and our input. */
void zones_sit(struct spec *s);
/* "0-2,4" as bits. */
int cpuset_parse(uint64_t *set, const char *text, struct err *e);
#endif
