#ifndef CLI_CLI_H
#define CLI_CLI_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* The command line as tables: from one struct verb come its parser, --help, its man page and its
 * completion. A verb's file fills in the table and does what no room does: talk to the person. */
enum opt_type {
	OPT_FLAG,   /* bool */
	OPT_TEXT,   /* const char * */
	OPT_NUMBER, /* unsigned, at least 1 */
	OPT_SIZE,   /* uint64_t, bytes: 512M, 1.5G; binary units */
	OPT_LIST,   /* struct opt_list: may be given several times */
	OPT_IGNORE, /* taken for the sake of habit; help says why */
	OPT_LATER,  /* known but not there yet; help is the message */
};
enum { OPT_LIST_MAX = 32 };
struct opt_list {
	unsigned n;
	const char *at[OPT_LIST_MAX];
};
struct opt {
	const char *name; /* long name; NULL ends a table */
	char letter;	  /* or 0 */
	enum opt_type type;
	size_t offset;	     /* into the verb's own options */
	const char *arg;     /* what the value is called in help; NULL: takes none */
	const char *help;    /* one sentence */
	const char *choices; /* "riscv64 amd64": for completion; may be NULL */
};
struct call;
struct verb {
	const char *name;     /* "image build" */
	const char *args;     /* "[IMAGE]", for the synopsis */
	const char *summary;  /* one line without a full stop */
	const char *text;     /* paragraphs for help and man, a line each; may be NULL */
	const char *examples; /* a line each; may be NULL */
	const struct opt *opts;
	const void *defaults; /* of the verb's own options, copied for each call */
	size_t size;	      /* of the same */
	unsigned min_args, max_args;
	bool command; /* what follows the first argument is a command: none of our options */
	const char *completes; /* "image", "guest": what arguments are; may be NULL */
	/* The exit code, or a negative errno with words in e. */
	int (*run)(const struct call *c, struct err *e);
};
struct call {
	const struct verb *verb;
	const void *opts;
	unsigned nargs;
	const char *const *args;
};
enum { EXIT_LODGE = 125 };		 /* Lodge's own failure, as docker has it */
extern const struct verb *const verbs[]; /* NULL-ended; in the order of help */
extern const struct opt global_opts[];
extern const char lodge_version[];

/* kinds: what guests there are, NULL-ended. Returns the exit code. */
struct kind;
int cli_main(int argc, char **argv, const struct kind *const *kinds);
extern const struct kind *const *cli_kinds;
struct spec;
const struct kind *kind_for(const struct spec *s); /* the one that likes it most; NULL: none */

/* Parts, each tested alone. */
struct globals {
	bool help, version, verbose;
	const char *trace, *root;
};
/* Take options and arguments off the NULL-ended *words until they end, or, without a verb, up to
 * the first argument. opts has verb->size bytes, args room for every word. -EINVAL with words. */
int cli_parse(const struct verb *v, char ***words, void *opts, struct globals *g, const char **args,
	      unsigned *nargs, struct err *e);
/* Which verb the words begin with, and of how many its name is; NULL: none. */
const struct verb *verb_find(char **words, unsigned *len);
int size_parse(uint64_t *bytes, const char *text, struct err *e);
/* Bits a second as tc(8) writes them: 500k, 10M, 1.5G, 10Mbit; decimal units. */
int bits_parse(uint64_t *bits, const char *text, struct err *e);
void human_size(char *to, size_t room, uint64_t bytes); /* "1.2G" */
/* Of a NULL-ended list, what the person may have meant by word; NULL: nothing is near. */
const char *suggest(const char *word, const char *const *list);
void help_verb(const struct verb *v);
void help_all(void);
int help_man(struct err *e); /* write NAME.1 of every verb into the current folder */

extern const struct verb verb_run, verb_create, verb_start, verb_stop, verb_restart, verb_kill,
	verb_pause, verb_resume, verb_ps, verb_inspect, verb_logs, verb_attach, verb_exec,
	verb_shell, verb_cp, verb_wait, verb_stats, verb_top, verb_debug, verb_media, verb_update,
	verb_rename, verb_rm, verb_prune, verb_snapshot_ls, verb_snapshot_tree, verb_snapshot_rm,
	verb_snapshot, verb_restore, verb_clone, verb_commit, verb_diff, verb_move, verb_receive,
	verb_image_ls, verb_image_build, verb_image_inspect, verb_image_rm, verb_image_import,
	verb_image_export, verb_image_tag, verb_image_create, verb_image_convert, verb_image_info,
	verb_image_check, verb_image_resize, verb_image_compare, verb_network_create,
	verb_network_ls, verb_network_inspect, verb_network_rm, verb_network_prune,
	verb_network_serve, verb_volume_create, verb_volume_ls, verb_volume_inspect, verb_volume_rm,
	verb_volume_prune, verb_doctor, verb_help, verb_completion, verb_version;
#endif
