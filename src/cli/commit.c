/* lodge commit and diff: what a zone has written, as a layer of an image, and in words. */
#include "base/own.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/held.h"
#include "cli/plain.h"
#include "cli/zones.h"
#include "guest/guest.h"
#include "guest/look.h"
#include "guest/spec.h"
#include "store/oci.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct commit_opts {
	struct opt_list change;
	const char *message, *author;
};
#define AT(member) offsetof(struct commit_opts, member)
static const struct opt commit_table[] = {
	{"author", 'a', OPT_TEXT, AT(author), "WHO", "Who made it, for the image's config.", NULL},
	{"change", 'c', OPT_LIST, AT(change), "CHANGE",
	 "Of the image's config, as in a Dockerfile: 'CMD [\"/bin/web\"]', 'ENV A=b', 'USER joe'.",
	 NULL},
	{"message", 'm', OPT_TEXT, AT(message), "TEXT", "What it is, for the image's history.",
	 NULL},
	{0},
};
static const struct commit_opts commit_defaults;

/* A zone that does not change, and its image. */
struct zone {
	struct store *store;
	struct held held;
	struct image image;
};

static int zone_take(struct zone *z, const char *word, struct err *e)
{
	char name[64];
	struct kept look = {.folder = -1};
	*z = (struct zone){.held = {.kept.folder = -1, .hold = -1}};
	int r = store_open(&z->store, NULL, e);
	if (!r) r = look_find(z->store, word, name, e);
	look.store = z->held.kept.store = z->store;
	if (!r) r = held_look(&look, name, e);
	if (!r && !files_of(&look))
		r = fail(e, -ENOTSUP, "guest %s is no zone: what it writes is in disks", name);
	kept_done(&look);
	if (!r) r = held_take(&z->held, name, e);
	return r ? r : store_guest_image_find(z->store, name, &z->image, e);
}

static void zone_let_go(struct zone *z)
{
	image_done(&z->image);
	held_done(&z->held);
	store_close(z->store);
}

/* ---- commit */
static int commit(struct zone *z, const struct commit_opts *o, const char *name, struct err *e)
{
	auto_mem char *by = text_format("lodge commit %s", z->held.kept.name);
	auto_fd int fd = store_draft(z->store, e);
	if (fd < 0) return fd;
	struct guest_files from = files_at(&z->held.kept, NULL);
	struct oci_commit c = {.layer = fd,
			       .change = o->change.at,
			       .nchanges = o->change.n,
			       .message = o->message,
			       .author = o->author,
			       .by = by};
	int r = files_of(&z->held.kept)->pack(&from, fd, e);
	if (!r) r = held_check(&z->held, e);
	held_done(&z->held); /* it may go on */
	if (!r) r = oci_commit(z->store, &z->image, &c, name, e);
	return r;
}

static int commit_run(const struct call *c, struct err *e)
{
	struct zone z;
	auto_mem char *name = oci_name(c->args[1]);
	int r = zone_take(&z, c->args[0], e);
	if (!r && !store_name_ok(name))
		r = fail(e, -EINVAL, "'%s' is not a name for an image", c->args[1]);
	if (!r) r = commit(&z, c->opts, name, e);
	if (!r) printf("%s\n", name);
	zone_let_go(&z);
	return r;
}

const struct verb verb_commit = {
	.name = "commit",
	.args = "ZONE IMAGE[:TAG]",
	.summary = "Make an image of a zone's and what the zone has written",
	.text = "Its files become one more layer over its image's: 'lodge image export' writes it "
		"for\n"
		"podman and docker. A zone that runs stands for that time. What is in volumes is "
		"not\n"
		"its own. WEB:2 is called web-2 here. Changes: CMD, ENTRYPOINT, ENV, EXPOSE, "
		"LABEL,\n"
		"STOPSIGNAL, USER, VOLUME, WORKDIR.",
	.examples = "lodge commit web web:2\n"
		    "lodge commit -c 'CMD [\"nginx\"]' -c 'ENV MODE=test' web web-test",
	.opts = commit_table,
	.defaults = &commit_defaults,
	.size = sizeof(commit_defaults),
	.min_args = 2,
	.max_args = 2,
	.completes = "guest",
	.run = commit_run,
};

/* ---- diff */
static int print(int fd, struct err *e)
{
	char *line = NULL;
	size_t room = 0;
	FILE *in = lseek(fd, 0, SEEK_SET) ? NULL : fdopen(dup(fd), "r");
	if (!in) return fail(e, -errno, "diff: %s", strerror(errno));
	while (getdelim(&line, &room, 0, in) > 1) {
		printf("%c ", line[0]);
		plain_text(line + 1, stdout);
		(void)putchar('\n');
	}
	free(line);
	(void)fclose(in);
	return 0;
}

static int diff_run(const struct call *c, struct err *e)
{
	struct zone z;
	auto_fd int fd = memfd_create("diff", MFD_CLOEXEC);
	int r = zone_take(&z, c->args[0], e);
	struct kept *k = &z.held.kept;
	k->spec = k->record.spec;
	if (!r && fd < 0) r = fail(e, -errno, "diff: %s", strerror(errno));
	if (!r) r = zones_use_image(&k->spec, z.store, &z.image, k->folder, k->record.arena, e);
	struct guest_files from = files_at(k, NULL);
	from.spec = &k->spec;
	if (!r) r = files_of(k)->diff(&from, fd, e);
	if (!r) r = held_check(&z.held, e);
	if (!r) r = print(fd, e);
	zone_let_go(&z);
	return r;
}

const struct verb verb_diff = {
	.name = "diff",
	.args = "ZONE",
	.summary = "List what a zone has changed of its image's files",
	.text = "A: added, C: changed, D: gone. A zone that runs stands for that time.",
	.examples = "lodge diff web",
	.min_args = 1,
	.max_args = 1,
	.completes = "guest",
	.run = diff_run,
};
