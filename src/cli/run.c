/* lodge run: from options and an image to a struct spec, and from there to a guest that has this
 * terminal. What the guest leaves behind is decided here: with a name its disk stays, without one
 * the disk loses its last name before the guest starts, so that nothing has to be cleaned up. */
#include "base/chr.h"
#include "base/loop.h"
#include "base/own.h"
#include "blk/blk.h"
#include "cli/cli.h"
#include "cli/images.h"
#include "cli/shares.h"
#include "cli/stats.h"
#include "cli/term.h"
#include "guest/guest.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

struct run_opts {
	const char *arch, *kernel, *initrd, *append, *firmware, *engine, *name, *net, *kind, *dump,
		*symbols;
	unsigned cpus;
	uint64_t memory, code_cache;
	bool stats, profile, deterministic;
	struct opt_list disks, publish, volumes;
};
#define AT(member) offsetof(struct run_opts, member)
static const struct opt run_table[] = {
	{"append", 0, OPT_TEXT, AT(append), "TEXT", "The kernel's command line.", NULL},
	{"arch", 0, OPT_TEXT, AT(arch), "CPU",
	 "The guest's CPU: riscv64 or amd64 (an image's: this machine's own; otherwise riscv64).",
	 ARCH_CHOICES},
	{"code-cache", 0, OPT_SIZE, AT(code_cache), "SIZE",
	 "How much translated code is kept for each of its CPUs, 1M to 1000M (32M, x86-64 128M).",
	 NULL},
	{"cpus", 'c', OPT_NUMBER, AT(cpus), "N", "How many CPUs the guest has (1).", NULL},
	{"detach", 'd', OPT_LATER, 0, NULL,
	 "running in the background is not implemented yet; leave -d out", NULL},
	{"deterministic", 0, OPT_FLAG, AT(deterministic), NULL,
	 "Have time go by instructions, so that every run does the same: one CPU, no network.",
	 NULL},
	{"disk", 0, OPT_LIST, AT(disks), "FILE[,format=FORMAT][,ro][,backing]",
	 "A disk image, raw unless said otherwise, as the next disk; several may be given. "
	 "backing: "
	 "trust it to name the images that it lies over.",
	 NULL},
	{"dump", 0, OPT_TEXT, AT(dump), "FILE[:PC[-PC]]",
	 "Write there what is translated (at these addresses): guest code, IR, host code.", NULL},
	{"engine", 0, OPT_TEXT, AT(engine), "ENGINE",
	 "What executes its instructions: auto (default), jit (translated), interp (interpreted), "
	 "check (both, compared), kvm (this machine's processor; x86-64 only).",
	 "auto jit interp check kvm"},
	{"firmware", 0, OPT_TEXT, AT(firmware), "FILE",
	 "Start this instead of the kernel: OpenSBI or U-Boot; for amd64 SeaBIOS or OVMF.", NULL},
	{"initrd", 0, OPT_TEXT, AT(initrd), "FILE", "The initial file system of the kernel.", NULL},
	{"interactive", 'i', OPT_IGNORE, 0, NULL, "For habit: the console is always attached.",
	 NULL},
	{"kernel", 0, OPT_TEXT, AT(kernel), "FILE",
	 "A kernel: Image, bzImage, ELF, or any of them in gzip.", NULL},
	{"kind", 0, OPT_TEXT, AT(kind), "KIND", "What kind of guest: vm.", "vm"},
	{"memory", 'm', OPT_SIZE, AT(memory), "SIZE", "How much memory it has, such as 512M (1G).",
	 NULL},
	{"name", 0, OPT_TEXT, AT(name), "NAME",
	 "Name it; its disk is kept and is there again when the same name runs again.", NULL},
	{"net", 0, OPT_TEXT, AT(net), "NET",
	 "user: its own network behind this machine's (default, unless --deterministic); none.",
	 "user none"},
	{"network", 0, OPT_TEXT, AT(net), "NET", "The same as --net.", "user none"},
	{"profile", 0, OPT_FLAG, AT(profile), NULL,
	 "Write /tmp/perf-PID.map, so that perf(1) names translated code by the guest's symbols.",
	 NULL},
	{"publish", 'p', OPT_LIST, AT(publish), "[ADDR:]PORT:GUESTPORT[/udp]",
	 "Pass connections to a port of this machine on to the guest.", NULL},
	{"rm", 0, OPT_IGNORE, 0, NULL, "For habit: a guest without a name always leaves nothing.",
	 NULL},
	{"stats", 0, OPT_FLAG, AT(stats), NULL,
	 "When the guest has ended, say on standard error what it used and counted.", NULL},
	{"symbols", 0, OPT_TEXT, AT(symbols), "FILE",
	 "Names of the guest's code for these: an ELF file, System.map or /proc/kallsyms.", NULL},
	{"tty", 't', OPT_IGNORE, 0, NULL, "For habit: a terminal is passed on when there is one.",
	 NULL},
	{"volume", 'v', OPT_LIST, AT(volumes), "DIR|NAME:DIR[:ro]",
	 "Share a folder of this machine, or a volume, at that place in the guest.", NULL},
	{0},
};
static const struct run_opts run_defaults = {.cpus = 1};

/* The built-in guest's CPU, and what kernels from files are for, unless --arch says otherwise. */
#define BUILT_IN ARCH_RV64
#ifdef __x86_64__
#define HOST ARCH_X86_64
#else
#define HOST BUILT_IN
#endif

const struct kind *const *cli_kinds;

enum { DEFAULT_MEMORY = 1024, LEAST_MEMORY = 1 /* MiB */ };
enum { LEAST_CODE = 1, MOST_CODE = 1000 /* MiB: jumps reach no farther */ };

/* What one run holds; run_done() lets go of all of it. */
struct run {
	const struct run_opts *opts;
	struct spec spec;
	struct store *store;
	struct image image;
	bool has_image;
	int folder;  /* the guest's, locked; -1: none */
	bool fresh;  /* the folder was not there before */
	int disk_fd; /* of a disk without a name; -1: none */
	char *disk;
	char disk_at[32];
	char append[1024];
	struct shares shares;
	struct guest_end end;
};

/* A guest that never ran leaves nothing behind. */
static void run_done(struct run *r)
{
	if (!r->end.ran && r->fresh && r->folder >= 0)
		(void)store_guest_remove(r->store, r->spec.name, &r->folder, NULL);
	shares_done(&r->shares);
	drop_fd(&r->disk_fd);
	drop_fd(&r->folder);
	free(r->disk);
	image_done(&r->image);
	store_close(r->store);
}

static int add_disk(struct spec *s, const char *path, const char *format, bool ro, struct err *e)
{
	if (s->ndisks == SPEC_DISKS)
		return fail(e, -EINVAL, "--disk: more than %d disks", SPEC_DISKS);
	s->disk[s->ndisks++] = (struct spec_disk){.path = path, .format = format, .readonly = ro};
	return 0;
}

/* A raw disk whose first bytes are another format's is most likely that, and its guest would see
 * nothing of what is in it; but the guest of a raw disk can have written them, so nothing is
 * guessed. */
static int guess_nothing(const char *path, struct err *e)
{
	const char *looks = blk_probe(path, NULL);
	if (!looks || !strcmp(looks, "raw")) return 0;
	return fail(e, -EINVAL,
		    "--disk %s: looks like %s: say ',format=%s', or ',format=raw' if it is raw",
		    path, looks, looks);
}

/* The list's strings are the command line's own: words after commas are cut off in place. */
static int disk_words(struct spec_disk *d, char *text, struct err *e)
{
	for (char *comma; (comma = strrchr(text, ','));) {
		const char *w = comma + 1;
		if (!strcmp(w, "ro"))
			d->readonly = true;
		else if (!strcmp(w, "backing"))
			d->backing = true;
		else if (strncmp(w, "format=", 7) != 0)
			break; /* of the file's own name */
		else if (!(d->format = blk_format_named(w + 7)))
			return fail(e, -EINVAL,
				    "--disk: unknown format '%s'; there are: raw qcow2 vmdk vdi "
				    "vhd vhdx",
				    w + 7);
		*comma = 0;
	}
	d->path = text;
	return d->format ? 0 : guess_nothing(text, e);
}

static int add_disks(struct spec *s, const struct opt_list *l, struct err *e)
{
	int r = 0;
	for (unsigned i = 0; !r && i < l->n; i++) {
		struct spec_disk d = {0};
		r = disk_words(&d, (char *)l->at[i], e);
		if (!r) r = add_disk(s, d.path, d.format ? d.format : "raw", d.readonly, e);
		if (!r) s->disk[s->ndisks - 1].backing = d.backing;
	}
	return r;
}

static int add_network(struct spec *s, const struct run_opts *o, struct err *e)
{
	const char *net = o->net ? o->net : o->deterministic ? "none" : "user";
	s->net = !strcmp(net, "user");
	if (!s->net && strcmp(net, "none"))
		return fail(e, -EINVAL, "--net: '%s' is neither user nor none", net);
	if (!s->net && o->publish.n)
		return fail(e, -EINVAL, "--publish needs a network: --net user");
	for (unsigned i = 0; i < o->publish.n; i++) {
		int r = nat_forward_parse(&s->publish[s->npublish++], o->publish.at[i], e);
		if (r) return r;
	}
	return 0;
}

static int add_code_cache(struct spec *s, const struct run_opts *o, struct err *e)
{
	s->code_cache = o->code_cache;
	if (!s->code_cache ||
	    (s->code_cache >= LEAST_CODE * MIB && s->code_cache <= MOST_CODE * MIB))
		return 0;
	return fail(e, -EINVAL, "--code-cache: %llu bytes is not within %dM to %dM",
		    (unsigned long long)s->code_cache, LEAST_CODE, MOST_CODE);
}

static int add_options(struct run *r, const struct call *c, struct err *e)
{
	const struct run_opts *o = r->opts;
	struct spec *s = &r->spec;
	if (o->kind && strcmp(o->kind, "vm"))
		return fail(e, -EINVAL, "--kind: '%s': only vm so far", o->kind);
	if (o->name && !store_name_ok(o->name))
		return fail(e, -EINVAL,
			    "--name: '%s' is not a name: lower-case letters, digits, '_', '.', '-'",
			    o->name);
	if (o->name && !strncmp(o->name, GUEST_NAMELESS, strlen(GUEST_NAMELESS)))
		return fail(e, -EINVAL, "--name: '%s': guests without a name are called so",
			    o->name);
	s->name = o->name;
	s->cpus = o->cpus;
	s->kernel = o->kernel;
	s->initrd = o->initrd;
	s->append = o->append;
	s->firmware = o->firmware;
	s->engine = o->engine;
	s->control = true;
	s->profile = o->profile;
	s->deterministic = o->deterministic;
	s->dump = o->dump;
	s->symbols = o->symbols;
	if (c->nargs)
		s->image = c->args[0];
	else if (!o->kernel && !o->firmware)
		s->image = "linux";
	s->arch = BUILT_IN;
	int bad = o->arch ? arch_parse(&s->arch, o->arch, e) : 0;
	if (bad) return bad;
	if (o->symbols && !o->profile && !o->dump)
		return fail(e, -EINVAL, "--symbols: only --profile and --dump use names");
	bad = add_code_cache(s, o, e);
	return bad ? bad : add_network(s, o, e);
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
static int find_image(struct run *r, struct err *e)
{
	if (!r->opts->arch) r->spec.arch = usual_arch(r->store, r->spec.image);
	const char *name = r->spec.image, *arch = arch_name(r->spec.arch);
	int bad = store_image_find(r->store, name, arch, &r->image, e);
	if (bad == -ENOENT && !strcmp(name, "linux")) {
		(void)fprintf(stderr, "lodge: making the built-in guest, once\n");
		bad = image_make(r->store, name, arch, false, e);
		if (!bad) bad = store_image_find(r->store, name, arch, &r->image, e);
	}
	r->has_image = !bad;
	return bad;
}

/* A guest without a name gets the first folder that no living process has, clean. */
static int temp_folder(struct run *r, char *name, size_t room, struct err *e)
{
	int bad = -EBUSY;
	for (unsigned i = 1; bad == -EBUSY && i < 1000; i++) {
		(void)snprintf(name, room, GUEST_NAMELESS "%u", i);
		bad = store_guest_open(r->store, name, true, &r->folder, e);
	}
	if (!bad) bad = store_guest_remove(r->store, name, &r->folder, e);
	if (!bad) bad = store_guest_open(r->store, name, true, &r->folder, e);
	return bad;
}

static int own_disk(struct run *r, struct err *e)
{
	char temp[32];
	const char *name = r->spec.name;
	int bad = name ? 0 : temp_folder(r, temp, sizeof(temp), e);
	if (!bad) bad = store_guest_disk(r->store, name ? name : temp, &r->image, &r->disk, e);
	if (!bad && !name) {
		r->disk_fd = open(r->disk, O_RDWR | O_CLOEXEC);
		if (r->disk_fd < 0) bad = fail(e, -errno, "%s: %s", r->disk, strerror(errno));
	}
	if (!name && r->folder >= 0) {
		int left = store_guest_remove(r->store, temp, &r->folder, bad ? NULL : e);
		if (!bad) bad = left;
		(void)snprintf(r->disk_at, sizeof(r->disk_at), "/proc/self/fd/%d", r->disk_fd);
	}
	return bad ? bad
		   : add_disk(&r->spec, name ? r->disk : r->disk_at, r->image.disk.format, false,
			      e);
}

/* A serial line does not say how large the terminal is and of which type; our images listen to
 * these words of the kernel's command line. */
static const char *append_terminal(struct run *r)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.";
	const char *term = getenv("TERM"), *own = r->image.append;
	struct winsize w;
	if (!own || !isatty(STDIN_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) || !w.ws_row)
		return own;
	if (!term || term[strspn(term, plain)] || strlen(term) > 32) term = "vt220";
	int n = snprintf(r->append, sizeof(r->append), "%s lodge.size=%ux%u TERM=%s", own, w.ws_row,
			 w.ws_col, term);
	return n < (int)sizeof(r->append) ? r->append : own;
}

static int use_image(struct run *r, struct err *e)
{
	struct spec *s = &r->spec;
	int bad = find_image(r, e);
	if (bad) return bad;
	if (!s->kernel && !s->firmware && r->image.kernel.path) {
		s->kernel = r->image.kernel.path;
		if (!s->initrd) s->initrd = r->image.initrd.path;
	}
	if (!s->append) s->append = append_terminal(r);
	if (!r->opts->memory) s->memory = r->image.memory;
	return r->image.disk.path ? own_disk(r, e) : 0;
}

static int named_folder(struct run *r, struct err *e)
{
	int bad = store_guest_open(r->store, r->spec.name, false, &r->folder, e);
	if (bad != -ENOENT) return bad;
	r->fresh = true;
	return store_guest_open(r->store, r->spec.name, true, &r->folder, e);
}

static int fill_spec(struct run *r, const struct call *c, struct err *e)
{
	struct spec *s = &r->spec;
	int bad = add_options(r, c, e);
	if (!bad && (s->image || s->name)) bad = store_open(&r->store, NULL, e);
	if (!bad && s->name) bad = named_folder(r, e);
	s->memory = r->opts->memory;
	if (!bad && s->image) bad = use_image(r, e);
	if (!s->memory) s->memory = DEFAULT_MEMORY * MIB;
	if (!bad && s->memory < LEAST_MEMORY * MIB)
		bad = fail(e, -EINVAL, "--memory: %llu bytes is too little; did you mean %lluM?",
			   (unsigned long long)s->memory, (unsigned long long)s->memory);
	if (!bad) bad = add_disks(s, &r->opts->disks, e);
	if (!bad && r->opts->volumes.n && !r->store) bad = store_open(&r->store, NULL, e);
	return bad ? bad : shares_add(&r->shares, r->store, &r->opts->volumes, s, e);
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

static int attached(const struct spec *s, struct loop *l, struct guest_end *end, struct err *e)
{
	struct chr console = {0};
	struct term *term;
	const struct kind *k = kind_for(s);
	if (!k)
		return fail(e, -ENOTSUP, "no kind of guest runs this yet: %s with CPU %s",
			    s->image ? s->image : "a kernel", arch_name(s->arch));
	int bad = term_open(&term, l, &console, leave, l, e);
	if (bad) return bad;
	bad = guest_run(k, s, l, &console, end, e);
	term_close(term);
	return bad ? bad : end->code;
}

static int run_run(const struct call *c, struct err *e)
{
	struct run r = {.opts = c->opts, .folder = -1, .disk_fd = -1};
	struct loop *l = NULL;
	int bad = fill_spec(&r, c, e);
	if (!bad) bad = loop_new(&l, e);
	if (!bad) bad = attached(&r.spec, l, &r.end, e);
	loop_free(l);
	if (r.end.ran && r.opts->stats) stats_print(&r.end.stats, stderr);
	run_done(&r);
	return bad;
}

const struct verb verb_run = {
	.name = "run",
	.args = "[IMAGE]",
	.summary = "Run a guest on this terminal",
	.text = "IMAGE is one of 'lodge image ls'; without IMAGE, --kernel and --firmware it is "
		"the\n"
		"built-in guest 'linux'. The guest writes to a disk of its own, never to the "
		"image.\n"
		"A shared folder is one of this machine's ('./src', '/srv'; it must be there) or a "
		"volume\n"
		"('data', see 'lodge volume ls'). Our images mount it; in others: mount -t "
		"virtiofs "
		"share0\n"
		"/where, share1 for the second and so on.\n"
		"Ctrl-] leaves the guest, which stops it; so does SIGTERM. The exit code is the\n"
		"guest's, 0 when it powers off, and 125 when Lodge could not run it.",
	.examples =
		"lodge run\n"
		"lodge run --name web -c 2 -m 2G -p 2222:22 debian\n"
		"lodge run --kernel Image --initrd initrd --append 'console=ttyS0' --disk root.img",
	.opts = run_table,
	.defaults = &run_defaults,
	.size = sizeof(run_defaults),
	.max_args = 1,
	.completes = "image",
	.run = run_run,
};
