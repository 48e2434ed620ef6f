/* lodge run and create: from options and an image to a struct spec, and from there to a guest that
 * has this terminal, or none. What the guest leaves behind is decided here: with a name all of it
 * stays, without one its disk loses its last name before the guest starts, so that nothing has to
 * be cleaned up. */
#include "cli/run.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "cli/images.h"
#include "cli/stats.h"
#include "cli/term.h"
#include "guest/outside.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

static const struct run_opts run_defaults = {0};

/* Something is said that it is made of. */
static bool is_made_of(const struct spec *s)
{
	return s->image || s->kernel || s->firmware || s->zone.rootfs;
}

const struct kind *const *cli_kinds;
enum { DEFAULT_MEMORY = 1024 /* MiB */ };

/* A guest that never ran leaves nothing behind. */
static void run_done(struct run *r)
{
	if (!r->end.ran && r->fresh && r->kept.folder >= 0) (void)kept_remove(&r->kept, NULL);
	kept_done(&r->kept);
	shares_done(&r->shares);
	drop_fd(&r->disk_fd);
	drop_fd(&r->seed_fd);
	if (r->temp_ours) (void)store_guest_remove(r->kept.store, r->temp, &r->folder, NULL);
	drop_fd(&r->folder);
	guest_disk_done(&r->disk);
	free(r->vars);
	free(r->trace);
	free(r->restore);
	image_done(&r->image);
	tapes_done(&r->tapes);
	arena_free(r->arena);
	store_close(r->kept.store);
}

static bool host_runs(enum arch a)
{
	for (const struct kind *const *k = cli_kinds; k && *k; k++)
		if ((*k)->runs && (*k)->runs(a)) return true;
	return false;
}

static bool image_there(struct store *s, const char *name, enum arch a)
{
	struct image im;
	bool there = !store_image_find(s, name, arch_name(a), &im, NULL);
	image_done(&im);
	return there;
}

/* This machine's own, unless the image is there for the other only. */
static enum arch usual_arch(struct store *s, const char *image)
{
	if (!strcmp(image, "linux")) return BUILT_IN;
	bool wanted = image_there(s, image, HOST) || !image_there(s, image, BUILT_IN);
	return wanted && host_runs(HOST) ? HOST : BUILT_IN;
}

/* The built-in guest is made when it is wanted first; others are asked for. */
static int find_image(struct run *r, struct image *im, struct err *e)
{
	struct store *s = r->kept.store;
	if (!r->opts->arch) r->wish.arch = usual_arch(s, r->wish.image);
	const char *name = r->wish.image, *arch = arch_name(r->wish.arch);
	int bad = !strcmp(name, "linux") ? boxed_kernel(s, arch, im, e)
					 : store_image_find(s, name, arch, im, e);
	if (!bad) bad = zones_choose(&r->wish, im, e);
	if (!bad && r->opts->cpus) zones_cap(&r->wish);
	return bad;
}

/* A serial line does not say how large the terminal is and of which type; our images listen to
 * these words of the kernel's command line. */
static const char *append_terminal(struct run *r, const char *own)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.";
	const char *term = getenv("TERM");
	struct winsize w;
	if (!own || !isatty(STDIN_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) || !w.ws_row)
		return own;
	if (!term || term[strspn(term, plain)] || strlen(term) > 32) term = "vt220";
	int n = snprintf(r->append, sizeof(r->append), "%s lodge.size=%ux%u TERM=%s", own, w.ws_row,
			 w.ws_col, term);
	return n < (int)sizeof(r->append) ? r->append : own;
}

const struct kind *kind_for(const struct spec *s)
{
	const struct kind *best = NULL;
	int most = 0;
	for (const struct kind *const *k = cli_kinds; k && *k; k++) {
		int likes = (*k)->accepts(s);
		if (likes > most) {
			best = *k;
			most = likes;
		}
	}
	return best;
}

static void leave(void *ctx, int code) { loop_stop(ctx, code); }

/* On this terminal. home NULL: it has none. */
static int run_here(const struct run *r, const struct spec *s, const struct guest_home *home,
		    struct guest_end *end, struct err *e)
{
	const char *keys = r->opts->keys;
	uint8_t key[TERM_KEYS];
	size_t nkeys = 0;
	struct chr console = {0};
	struct loop *l = NULL;
	struct term *term;
	const struct kind *k = kind_for(s);
	if (!k)
		return fail(e, -ENOTSUP, "no kind of guest runs this yet: %s with CPU %s",
			    s->image ? s->image : "a kernel", arch_name(s->arch));
	int bad = keys && strcmp(keys, "none") != 0 ? term_keys(keys, key, sizeof(key), &nkeys, e)
						    : 0;
	if (!bad && s->confined) bad = guest_confine(k, s, home, e);
	if (!bad) bad = loop_new(&l, e);
	if (!bad)
		bad = term_open(&term, l, &console, s->zone.tty || !spec_is_container(s), leave, l,
				e);
	if (!bad && keys) term_leaves_by(term, key, nkeys);
	if (!bad) {
		bad = guest_keep(k, s, home, l, &console, end, e);
		term_close(term);
	}
	loop_free(l);
	return bad ? bad : end->code;
}

/* --- without a name: nothing stays ----------------------------------------------------------- */

/* The disk loses its last name before anything starts. */
static int temp_disk(struct run *r, struct err *e)
{
	char temp[32];
	struct store *s = r->kept.store;
	int bad = temp_folder(s, temp, sizeof(temp), &r->folder, e);
	if (!bad)
		bad = store_guest_disk(s, temp, &r->image,
				       r->spec.disk_copy ? DISK_COPY : DISK_LOOSE, &r->disk, e);
	if (!bad) {
		r->disk_fd = open(r->disk.path, O_RDWR | O_CLOEXEC);
		if (r->disk_fd < 0) bad = fail(e, -errno, "%s: %s", r->disk.path, strerror(errno));
	}
	if (r->folder >= 0) {
		int left = store_guest_remove(s, temp, &r->folder, bad ? NULL : e);
		if (!bad) bad = left;
		(void)snprintf(r->disk_at, sizeof(r->disk_at), "/proc/self/fd/%d", r->disk_fd);
	}
	if (!bad) bad = spec_first_disk(&r->spec, r->disk_at, r->disk.format, e);
	if (!bad) r->spec.disk[0].backing = r->disk.layered;
	return bad;
}

/* A zone's folder is there as long as it is: the zone takes it with it. */
static int temp_zone(struct run *r, struct err *e)
{
	int bad = temp_folder(r->kept.store, r->temp, sizeof(r->temp), &r->folder, e);
	r->spec.zone.temp = r->temp;
	r->temp_ours = !bad;
	return bad ? bad
		   : zones_use_image(&r->spec, r->kept.store, &r->image, r->folder, r->arena, e);
}

static int use_image(struct run *r, struct err *e)
{
	int bad = find_image(r, &r->image, e);
	if (bad) return bad;
	r->spec = r->wish;
	spec_use_image(&r->spec, &r->image);
	if (!r->wish.append) r->spec.append = append_terminal(r, r->spec.append);
	if (spec_is_zone(&r->spec)) return temp_zone(r, e);
	if (r->spec.zone.own_kernel)
		return boxed_use_image(&r->spec, r->kept.store, &r->image, -1, r->arena, e);
	if (!r->image.disk.path) return 0;
	if (!r->opts->record) return temp_disk(r, e);
	return spec_first_disk(&r->spec, r->image.disk.path, r->image.disk.format, e);
}

static int temp_seed(struct run *r, struct err *e)
{
	if (!seeds_wanted(&r->opts->seed)) return 0;
	int bad = seeds_temp(&r->opts->seed, &r->seed_fd, e);
	(void)snprintf(r->seed_at, sizeof(r->seed_at), "/proc/self/fd/%d", r->seed_fd);
	return bad ? bad : seeds_add_disk(&r->spec, r->seed_at, e);
}

/* What the recording does not say, and what shows it. */
static int replay(struct run *r, struct err *e)
{
	struct spec *s = &r->spec, *w = &r->wish;
	int bad = store_open(&r->kept.store, NULL, e);
	if (!bad) bad = tapes_replay(&r->tapes, r->kept.store, s, r->opts->replay, e);
	s->engine = w->engine;
	s->code_cache = w->code_cache;
	s->profile = w->profile;
	s->dump = w->dump;
	s->trace = w->trace;
	s->trace_file = w->trace_file;
	s->symbols = w->symbols;
	s->gdb = w->gdb;
	s->gdb_wait = w->gdb_wait;
	s->control = true;
	s->confined = guest_is_to_be_confined();
	s->npublish = 0;
	return bad ? bad : run_here(r, s, NULL, &r->end, e);
}

static int run_nameless(struct run *r, struct err *e)
{
	struct spec *w = &r->wish;
	if (r->opts->replay) return replay(r, e);
	if (!is_made_of(w)) w->image = "linux";
	int bad = w->image || w->zone.rootfs || w->nvolumes || r->opts->record
			  ? store_open(&r->kept.store, NULL, e)
			  : 0;
	r->spec = *w;
	if (!bad && w->image) bad = use_image(r, e);
	if (!bad && w->zone.rootfs)
		bad = boxed_use_image(&r->spec, r->kept.store, NULL, -1, r->arena, e);
	if (!bad) bad = temp_seed(r, e);
	if (!bad) bad = shares_add(&r->shares, r->kept.store, &r->spec, e);
	if (!r->spec.memory && !spec_is_zone(&r->spec)) r->spec.memory = DEFAULT_MEMORY * MIB;
	zones_sit(&r->spec);
	r->spec.confined = guest_is_to_be_confined();
	if (!bad && r->opts->record)
		bad = tapes_record(&r->tapes, r->kept.store, &r->spec, r->opts->record, e);
	if (!bad) r->temp_ours = false;
	return bad ? bad : run_here(r, &r->spec, NULL, &r->end, e);
}

/* --- with one: it is kept -------------------------------------------------------------------- */

/* IMAGE-1 and so on: the first that nobody has. */
static int generate_name(struct run *r, struct err *e)
{
	char name[64];
	int bad = -EBUSY, fd;
	for (unsigned i = 1; bad == -EBUSY && i < 10000; i++) {
		(void)snprintf(name, sizeof(name), "%.50s-%u", r->wish.image ? r->wish.image : "vm",
			       i);
		if (!store_guest_look(r->kept.store, name, &fd, NULL)) {
			(void)close(fd);
			continue;
		}
		bad = store_guest_open(r->kept.store, name, true, &fd, e);
		if (bad) continue;
		r->kept.folder = fd;
		bad = record_read(&r->kept.record, fd, NULL) == -ENOENT ? 0 : -EBUSY;
		if (bad) kept_done(&r->kept); /* somebody was faster, and is done already */
	}
	(void)snprintf(r->kept.name, sizeof(r->kept.name), "%s", name);
	r->fresh = !bad;
	return bad;
}

static bool is_empty(struct run *r)
{
	struct image im;
	if (*r->kept.record.id) return false;
	bool none = store_guest_image_find(r->kept.store, r->kept.name, &im, NULL) == -ENOENT;
	if (!none) image_done(&im);
	return none;
}

static int find_folder(struct run *r, struct err *e)
{
	if (!r->opts->name) return generate_name(r, e);
	int bad = kept_lock(&r->kept, r->opts->name, false, e);
	if (!bad) r->fresh = is_empty(r); /* whose maker was killed */
	if (bad != -ENOENT) return bad;
	r->fresh = true;
	return kept_lock(&r->kept, r->opts->name, true, e);
}

/* What its folder says it was made from; old ones have no record, but an image. */
static int known_image(struct run *r, char name[64], enum arch *arch)
{
	struct image im;
	const struct spec *was = &r->kept.record.spec;
	*arch = was->arch;
	if (*r->kept.record.id) return snprintf(name, 64, "%s", was->image ? was->image : ""), 0;
	if (store_guest_image_find(r->kept.store, r->kept.name, &im, NULL)) return -ENOENT;
	(void)snprintf(name, 64, "%s", im.name ? im.name : "");
	bool good = im.arch && arch_find(arch, im.arch);
	image_done(&im);
	return good ? 0 : -EINVAL;
}

/* Run again: with the disk it has, so from the same image and with the same CPU. What is not said
 * about what it boots is as it was. */
static int again(struct run *r, struct err *e)
{
	char image[64];
	enum arch arch;
	struct spec *w = &r->wish;
	const struct spec *was = &r->kept.record.spec;
	if (known_image(r, image, &arch)) return 0;
	if (w->image && *image && strcmp(w->image, image) != 0)
		return fail(e, -EEXIST,
			    "guest %s was made from image %s; give the new one another "
			    "name, or remove the old one: lodge rm %s",
			    r->kept.name, image, r->kept.name);
	if (r->opts->arch && w->arch != arch)
		return fail(e, -EEXIST,
			    "guest %s has CPU %s, and so has what is on its disk; give "
			    "the new one another name",
			    r->kept.name, arch_name(arch));
	w->arch = arch;
	w->kind = was->kind;
	zones_again(w, was);
	if (!w->image && *image) w->image = r->image.name = strdup(image);
	if (w->kernel || w->firmware || !*r->kept.record.id) return 0;
	w->kernel = was->kernel;
	w->firmware = was->firmware;
	if (!w->initrd) w->initrd = was->initrd;
	if (!w->append) w->append = was->append;
	return 0;
}

/* The image that a new guest is made from stays its own. */
static int choose_image(struct run *r, struct err *e)
{
	struct spec *w = &r->wish;
	struct image im = {0};
	if (!is_made_of(w)) w->image = "linux";
	if (!w->image) return 0;
	if (!store_guest_image_find(r->kept.store, r->kept.name, &im, NULL)) {
		image_done(&im);
		return 0;
	}
	int bad = find_image(r, &im, e);
	if (!bad) bad = store_guest_image(r->kept.store, r->kept.name, &im, e);
	image_done(&im);
	return bad;
}

/* The record as start will read it: nothing of it lies in the words of the command line. */
static int make_record(struct run *r, struct err *e)
{
	auto_buf struct buf b = {0};
	struct record made = {.created = (int64_t)time(NULL), .spec = r->wish}, read;
	bool old = *r->kept.record.id;
	if (old)
		made.created = r->kept.record.created,
		memcpy(made.id, r->kept.record.id, sizeof(made.id));
	else
		record_id_make(made.id);
	record_format(&made, &b);
	int bad = record_parse(&read, b.at, b.len, e);
	if (bad) return bad;
	record_done(&r->kept.record);
	r->kept.record = read;
	return old ? 0 : record_write(&read, r->kept.folder, e);
}

static int keep(struct run *r, struct err *e)
{
	int bad = store_open(&r->kept.store, NULL, e);
	if (!bad && !r->opts->name && !is_made_of(&r->wish)) r->wish.image = "linux";
	if (!bad) bad = find_folder(r, e);
	if (!bad && !r->fresh) bad = again(r, e);
	if (!bad) bad = choose_image(r, e);
	if (!bad) bad = make_record(r, e);
	if (!bad && seeds_wanted(&r->opts->seed))
		bad = seeds_keep(&r->opts->seed, r->kept.name, r->kept.record.id, r->kept.folder,
				 e);
	if (!bad) bad = kept_load(&r->kept, e);
	if (r->wish.restore) must((r->restore = strdup(r->wish.restore)));
	r->kept.spec.restore = r->restore; /* this time, not whenever it runs */
	return bad;
}

/* What it was run with is what it is started with the next time, once it has run with it. */
static void note(void *ctx)
{
	struct run *r = ctx;
	struct err e;
	if (record_write(&r->kept.record, r->kept.folder, &e)) log_warn("%s", e.msg);
}

static int run_kept(struct run *r, struct err *e)
{
	struct kept *k = &r->kept;
	struct guest_home home = {.folder = k->folder,
				  .created = k->record.created,
				  .fresh = r->fresh,
				  .attach = -1,
				  .starting = note,
				  .ctx = r};
	if (!k->record.spec.append && k->spec.image)
		k->spec.append = append_terminal(r, k->spec.append);
	zones_sit(&k->spec);
	int bad = run_here(r, &k->spec, &home, &r->end, e);
	if (k->spec.confined && r->end.ran) k->folder = -1; /* closed */
	if (!r->end.ran && r->fresh && outside_is_there() && !outside_remove(NULL)) k->folder = -1;
	if (r->end.ran && k->spec.remove && outside_is_there()) {
		(void)outside_remove(NULL);
	} else if (r->end.ran && k->spec.remove) {
		(void)snprintf(k->name, sizeof(k->name), "%s", r->end.stats.name);
		(void)kept_remove(k, NULL);
	}
	return bad;
}

static int run_behind(struct run *r, struct err *e)
{
	auto_fd int folder = fcntl(r->kept.folder, F_DUPFD_CLOEXEC, 3);
	if (r->opts->stats)
		return fail(e, -EINVAL, "--stats: not in the background; 'lodge stats' asks it");
	int bad = kept_start(&r->kept, -1, e);
	if (bad) return bad;
	r->end.ran = true;
	if (!r->fresh && record_write(&r->kept.record, folder, e)) return e->code;
	printf("%s\n", r->kept.name);
	return 0;
}

static int check_record(const struct run_opts *o, struct err *e)
{
	if (o->name || o->detach)
		return fail(e, -EINVAL,
			    "--record: not of a guest that is kept, whose disk would be another "
			    "one the next time: leave out --name and --detach");
	if (o->gdb) return fail(e, -EINVAL, "--record: not with --gdb; debug the replay instead");
	if (o->restore || seeds_wanted(&o->seed))
		return fail(e, -EINVAL, "--record: not with --restore or --cloud-init yet");
	return o->replay ? fail(e, -EINVAL, "--record and --replay: one or the other") : 0;
}

static int check_replay(const struct run *r, const struct call *c, struct err *e)
{
	const struct run_opts *o = r->opts;
	const struct spec *w = &r->wish;
	bool says = c->nargs || o->arch || w->kernel || w->initrd || w->append || w->firmware ||
		    w->vars || w->memory || o->name || o->detach || o->restore || w->ndisks ||
		    w->npublish || w->nnets || w->nvolumes || seeds_wanted(&o->seed) || o->cpus;
	return says ? fail(e, -EINVAL,
			   "--replay: what guest it is the recording says; only "
			   "--engine, --gdb, --stats and the like go with it")
		    : 0;
}

static int run_run(const struct call *c, struct err *e)
{
	struct run r = {
		.opts = c->opts, .folder = -1, .disk_fd = -1, .seed_fd = -1, .kept.folder = -1};
	bool kept = r.opts->name || r.opts->detach;
	int bad = run_options(&r, c, e);
	if (!bad && r.opts->record) bad = check_record(r.opts, e);
	if (!bad && r.opts->replay) bad = check_replay(&r, c, e);
	if (!bad && kept) bad = keep(&r, e);
	if (!bad)
		bad = !kept	       ? run_nameless(&r, e)
		      : r.opts->detach ? run_behind(&r, e)
				       : run_kept(&r, e);
	if (r.end.stats.up_ns && r.opts->stats) stats_print(&r.end.stats, stderr);
	run_done(&r);
	return bad;
}

static int create_run(const struct call *c, struct err *e)
{
	struct run r = {
		.opts = c->opts, .folder = -1, .disk_fd = -1, .seed_fd = -1, .kept.folder = -1};
	int bad = run_options(&r, c, e);
	if (!bad && (r.opts->record || r.opts->replay))
		bad = fail(e, -EINVAL,
			   "create: it is not run now: --record and --replay are run's");
	if (!bad && (r.opts->detach || r.opts->stats))
		bad = fail(e, -EINVAL,
			   "create: it is not run now, so neither --detach nor --stats");
	if (!bad) bad = keep(&r, e);
	if (!bad && !r.fresh)
		bad = fail(e, -EEXIST, "there is a guest named '%s' already", r.kept.name);
	if (!bad) {
		printf("%s\n", r.kept.name);
		r.fresh = false;
	}
	run_done(&r);
	return bad;
}

#define RUN_TEXT                                                                                   \
	"IMAGE is one of 'lodge image ls'; without IMAGE, --kernel and --firmware it is the\n"     \
	"built-in guest 'linux'. The guest writes to a disk of its own, never to the image.\n"     \
	"A shared folder is one of this machine's ('./src', '/srv'; it must be there) or a "       \
	"volume\n"                                                                                 \
	"('data', see 'lodge volume ls'). Our images mount it; in others: mount -t virtiofs "      \
	"share0\n"                                                                                 \
	"/where, share1 for the second and so on.\n"                                               \
	"A container's image ('lodge image import') runs as a zone: COMMAND, or what the image\n"  \
	"says, below this machine's kernel, with processes, files, users and a network of its\n"   \
	"own. Its exit code is that of the command, 127 if there is none of that name. -v "        \
	"shares\n"                                                                                 \
	"files, too; --net host is this machine's network. With --kind zone so does the disk of "  \
	"a computer.\n"                                                                            \
	"With --kind vm it runs in a computer of its own, below the built-in guest's kernel; an "  \
	"image\n"                                                                                  \
	"for another CPU than this machine's always does.\n"

const struct verb verb_run = {
	.name = "run",
	.args = "[IMAGE [COMMAND...]]",
	.summary = "Run a guest on this terminal",
	.text = RUN_TEXT
	"Ctrl-] leaves the guest, which stops it; so does SIGTERM. The exit code "
	"is the\n"
	"guest's, 0 when it powers off, and 125 when Lodge could not run it.\n"
	"A guest with a name, or with --detach, is kept: 'lodge ps -a' shows it, "
	"'lodge start'\n"
	"runs it again as it was run last, 'lodge rm' removes it. --name with a name "
	"that is\n"
	"there runs that guest again, with its disk and these options.",
	.examples = "lodge run\n"
		    "lodge run -d --name web -c 2 -m 2G -p 2222:22 debian\n"
		    "lodge run --kernel Image --initrd initrd --append 'console=ttyS0' --disk "
		    "root.img\n"
		    "lodge run --rm -it alpine sh\n"
		    "lodge run --rm -it --kind vm alpine sh\n"
		    "lodge run --firmware uefi --disk new.img --cdrom installer.iso",
	.opts = run_table,
	.defaults = &run_defaults,
	.size = sizeof(run_defaults),
	.max_args = 1000,
	.command = true,
	.completes = "image",
	.run = run_run,
};

const struct verb verb_create = {
	.name = "create",
	.args = "[IMAGE [COMMAND...]]",
	.summary = "Make a guest without running it",
	.text = RUN_TEXT
	"Its name is printed; without --name it is the image's and a number. 'lodge "
	"start' runs it.",
	.examples = "lodge create --name web -c 2 -m 2G -p 2222:22 debian && lodge start web",
	.opts = run_table,
	.defaults = &run_defaults,
	.size = sizeof(run_defaults),
	.max_args = 1000,
	.command = true,
	.completes = "image",
	.run = create_run,
};
