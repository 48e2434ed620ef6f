#include "cli/boxed.h"
#include "base/buf.h"
#include "base/ext4.h"
#include "base/file.h"
#include "base/own.h"
#include "cli/images.h"
#include "cli/kept.h"
#include "cli/shares.h"
#include "cli/zones.h"
#include "guest/exec.h"
#include "guest/guest.h"
#include "guest/spec.h"
#include "guest/stream.h"
#include "store/oci.h"
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define USUAL_STORAGE (8 * GIB)
enum { TEXT_MOST = 100 * KIB, HOST_MOST = 64 };

static const char *copy(struct arena *a, const char *text)
{
	return strcpy(arena_make(a, char, strlen(text) + 1), text);
}

static int check(const struct spec *s, const char *name, struct err *e)
{
	const struct spec_zone *z = &s->zone;
	const struct limits *l = &s->limits;
	if (s->kernel || s->initrd || s->append || s->firmware || s->vars || s->restore)
		return fail(e, -EINVAL,
			    "%s is a container's: its computer boots the built-in guest's "
			    "kernel, and no other",
			    name);
	if (z->host_ids || z->host_net || z->ip || l->memory_low || l->pids || l->io_weight ||
	    l->cpu_set)
		return fail(e, -EINVAL,
			    "--userns, --ip, --net host, --memory-low, --pids-limit, --io-weight "
			    "and --cpuset-cpus "
			    "are for zones; %s is to run in a computer of its own",
			    name);
	return 0;
}

int boxed_choose(struct spec *s, const struct image *im, struct err *e)
{
	int r = check(s, im->name, e);
	if (r) return r;
	s->kind = "vm";
	s->zone.own_kernel = true;
	return 0;
}

int boxed_folder(struct spec *s, struct err *e)
{
	struct stat st;
	int r = check(s, s->zone.rootfs, e);
	if (!r && s->kind && strcmp(s->kind, "vm") != 0)
		r = fail(e, -EINVAL,
			 "--rootfs: for --kind vm; lodge-oci runs such folders as zones");
	if (!r && (stat(s->zone.rootfs, &st) || !S_ISDIR(st.st_mode)))
		r = fail(e, -ENOTDIR, "--rootfs: %s: there is no such folder", s->zone.rootfs);
	s->kind = "vm";
	s->zone.own_kernel = true;
	return r;
}

int boxed_kernel(struct store *s, const char *arch, struct image *out, struct err *e)
{
	int r = store_image_find(s, "linux", arch, out, e);
	if (r != -ENOENT) return r;
	(void)fprintf(stderr, "lodge: making the built-in guest, once\n");
	r = image_make(s, "linux", arch, false, e);
	return r ? r : store_image_find(s, "linux", arch, out, e);
}

/* ---- what runs */
static void add(struct spec_words *w, const char *word) { w->at[w->n++] = word; }

/* A later word for the same variable takes the place of an earlier one. */
static void env_set(struct spec_words *w, const char *word)
{
	size_t name = strcspn(word, "=") + 1;
	unsigned i = 0;
	if (word[name - 1] != '=') return;
	while (i < w->n && strncmp(w->at[i], word, name) != 0) i++;
	w->at[i] = word;
	w->n += i == w->n;
}

static const char *host_name(const struct spec *s)
{
	return s->zone.hostname ? s->zone.hostname : s->name ? s->name : "lodge";
}

static void env_take(struct spec *s, const struct oci_says *c, struct arena *a)
{
	enum { OURS = 4 };
	struct spec_words *w = &s->program.env;
	size_t n = strlen(host_name(s)) + sizeof("HOSTNAME=");
	char *host = arena_make(a, char, n);
	(void)snprintf(host, n, "HOSTNAME=%s", host_name(s));
	w->at = arena_make(a, const char *, OURS + c->env.n + s->zone.env.n + 1);
	w->n = 0;
	env_set(w, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	env_set(w, host);
	env_set(w, "container=lodge");
	if (s->zone.tty) env_set(w, "TERM=xterm");
	for (unsigned i = 0; i < c->env.n; i++) env_set(w, c->env.at[i]);
	for (unsigned i = 0; i < s->zone.env.n; i++) env_set(w, s->zone.env.at[i]);
}

/* Who names another entry point does not mean the image's command behind it. */
static void args_take(struct spec *s, const struct oci_says *c, struct arena *a)
{
	struct spec_words *w = &s->program.args;
	const struct spec_zone *z = &s->zone;
	w->at = arena_make(a, const char *, c->entrypoint.n + c->cmd.n + z->args.n + 2);
	w->n = 0;
	if (z->entrypoint && *z->entrypoint) add(w, z->entrypoint);
	for (unsigned i = 0; !z->entrypoint && i < c->entrypoint.n; i++)
		add(w, c->entrypoint.at[i]);
	for (unsigned i = 0; i < z->args.n; i++) add(w, z->args.at[i]);
	if (z->args.n || z->entrypoint) return;
	for (unsigned i = 0; i < c->cmd.n; i++) add(w, c->cmd.at[i]);
}

int boxed_signal(const char *word)
{
	if (!strncmp(word, "SIG", 3)) word += 3;
	if (isdigit((unsigned char)*word)) {
		unsigned long n = strtoul(word, NULL, 10);
		return n < NSIG ? (int)n : 0;
	}
	if (!strcmp(word, "RTMIN+3")) return 37; /* as the kernel counts */
	for (int i = 1; i < 32; i++)
		if (sigabbrev_np(i) && !strcmp(sigabbrev_np(i), word)) return i;
	return 0;
}

static int words_check(const struct spec_words *w, const char *what, size_t *bytes, struct err *e)
{
	if (w->n > EXEC_WORDS)
		return fail(e, -E2BIG, "%s: %u words; there can be %d", what, w->n, EXEC_WORDS);
	for (unsigned i = 0; i < w->n; i++) {
		size_t n = strlen(w->at[i]) + 1;
		*bytes += n;
		if (n >= STREAM_MAX)
			return fail(e, -E2BIG, "%s: a word of %zu bytes is too long", what, n);
	}
	return *bytes > TEXT_MOST ? fail(e, -E2BIG, "command and environment are too long") : 0;
}

static int program_take(struct spec *s, const struct image *im, struct arena *a, struct err *e)
{
	struct spec_program *p = &s->program;
	struct oci_says c = {0};
	size_t bytes = 0;
	int r = im ? oci_says(im, &c, a, e) : 0;
	if (r) return r;
	const char *user = s->zone.user ? s->zone.user : c.user;
	const char *dir = s->zone.workdir ? s->zone.workdir : c.workdir;
	args_take(s, &c, a);
	env_take(s, &c, a);
	p->user = user && *user ? user : "0";
	p->dir = dir && *dir ? dir : "/";
	p->stop = c.stop_signal ? boxed_signal(c.stop_signal) : SIGTERM;
	if (!p->stop) p->stop = SIGTERM;
	if (!p->args.n)
		return fail(e, -EINVAL, "its image has no command of its own: which is to run?");
	if (strlen(p->user) > 120 || strlen(p->dir) >= PATH_MAX)
		return fail(e, -E2BIG, "its user's name, or folder, is too long");
	r = words_check(&p->args, "its command", &bytes, e);
	return r ? r : words_check(&p->env, "its environment", &bytes, e);
}

/* ---- what it boots */
static void append_words(struct spec *s, const char *usual, bool disk, struct arena *a)
{
	auto_buf struct buf b = {0};
	char host[4 * HOST_MOST + 1], name[HOST_MOST + 1];
	(void)snprintf(name, sizeof(name), "%s", host_name(s));
	shares_encode(host, name);
	buf_fmt(&b, "%s quiet panic=-1 rdinit=/sbin/lodge-agent lodge.box=%s", usual ? usual : "",
		host);
	if (s->nnets) buf_fmt(&b, " lodge.cards=%u", s->nnets);
	if (disk) buf_fmt(&b, " lodge.upper=/dev/vda");
	if (s->zone.rootfs) buf_fmt(&b, " lodge.root=rw");
	s->append = copy(a, b.at);
}

/* What a kept one writes is on a disk of its own, made when it is wanted first and of that size
 * from then on. */
static int storage_add(struct spec *s, int folder, struct arena *a, struct err *e)
{
	char self[32], at[PATH_MAX];
	if (folder < 0 && s->zone.storage)
		return fail(e, -EINVAL,
			    "--storage: for one with --name: what others write is in memory (-m)");
	if (folder < 0) return 0;
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", folder);
	ssize_t n = readlink(self, at, sizeof(at) - sizeof("/storage.img"));
	if (n < 0) return fail(e, -errno, "its folder: %s", strerror(errno));
	(void)strcpy(at + n, "/storage.img");
	int r = file_exists(at)
			? 0
			: ext4_make(at, s->zone.storage ? s->zone.storage : USUAL_STORAGE, e);
	return r ? r : spec_first_disk(s, copy(a, at), "raw", e);
}

int boxed_use_image(struct spec *s, struct store *st, const struct image *im, int folder,
		    struct arena *a, struct err *e)
{
	struct image linux_image = {0};
	int r = boxed_kernel(st, arch_name(s->arch), &linux_image, e);
	if (!r && !linux_image.kernel.path) r = fail(e, -ENOENT, "image linux has no kernel");
	if (im && !r) r = zones_use_image(s, st, im, folder, a, e);
	if (im && !r) r = storage_add(s, folder, a, e);
	if (!im) {
		s->zone.layers = (struct spec_words){arena_make(a, const char *, 2), 1};
		s->zone.layers.at[0] = s->zone.rootfs;
	}
	if (!r) r = program_take(s, im, a, e);
	if (!r) {
		s->kernel = copy(a, linux_image.kernel.path);
		s->initrd = linux_image.initrd.path ? copy(a, linux_image.initrd.path) : NULL;
		append_words(s, linux_image.append, im && folder >= 0, a);
	}
	image_done(&linux_image);
	return r;
}
