#include "cli/zones.h"
#include "base/own.h"
#include "base/types.h"
#include "cli/boxed.h"
#include "guest/spec.h"
#include "net/subnet.h"
#include "store/oci.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __x86_64__
#define HOST "amd64"
#else
#define HOST "riscv64"
#endif
enum { CPUS = 64, LEAST_STORAGE = 8 /* MiB */ };

static const char *copy(struct arena *a, const char *text)
{
	return text ? strcpy(arena_make(a, char, strlen(text) + 1), text) : NULL;
}

int cpuset_parse(uint64_t *set, const char *text, struct err *e)
{
	const char *at = text;
	char *end;
	*set = 0;
	do {
		unsigned long first = isdigit((unsigned char)*at) ? strtoul(at, &end, 10) : CPUS;
		unsigned long last = first;
		if (first < CPUS && *end == '-')
			last = isdigit((unsigned char)end[1]) ? strtoul(end + 1, &end, 10) : CPUS;
		if (first >= CPUS || last >= CPUS || last < first || (*end && *end != ','))
			return fail(e, -EINVAL, "'%s' are no CPUs of the first %d, such as 0-2,4",
				    text, CPUS);
		for (unsigned long i = first; i <= last; i++) *set |= 1ull << i;
		at = end + (*end == ',');
	} while (*end);
	return 0;
}

/* A name alone stands for our own variable of that name; if we have none, the zone has none. */
static int env_take(struct spec *s, const struct opt_list *env, struct arena *a, struct err *e)
{
	struct spec_words *w = &s->zone.env;
	w->at = arena_make(a, const char *, env->n + 1);
	for (unsigned i = 0; i < env->n; i++) {
		const char *text = env->at[i], *value = strchr(text, '=') ? "" : getenv(text);
		if (!*text || *text == '=')
			return fail(e, -EINVAL, "--env: '%s' is not NAME=VALUE", text);
		if (!value) continue;
		size_t n = strlen(text) + strlen(value) + 2;
		char *to = arena_make(a, char, n);
		(void)snprintf(to, n, "%s%s%s", text, *value ? "=" : "", value);
		w->at[w->n++] = to;
	}
	return 0;
}

static int check(const struct zone_opts *o, struct err *e)
{
	if (o->workdir && *o->workdir != '/')
		return fail(e, -EINVAL, "--workdir: '%s' does not begin with /", o->workdir);
	if (o->userns && strcmp(o->userns, "auto") && strcmp(o->userns, "host"))
		return fail(e, -EINVAL, "--userns: '%s' is neither auto nor host", o->userns);
	if (o->userns && !strcmp(o->userns, "host") && geteuid())
		return fail(e, -EPERM, "--userns host: only root can share root's ids");
	struct ip4_card card;
	if (o->ip && ip4_card_parse(&card, o->ip, e)) return fail_in(e, "--ip");
	if (o->storage && o->storage < LEAST_STORAGE * MIB)
		return fail(e, -EINVAL, "--storage: at least %dM", LEAST_STORAGE);
	return 0;
}

int zones_options(struct spec *s, const struct zone_opts *o, const char *const *args,
		  unsigned nargs, struct arena *a, struct err *e)
{
	struct spec_zone *z = &s->zone;
	int r = check(o, e);
	if (!r) r = env_take(s, &o->env, a, e);
	if (!r && o->cpuset) r = cpuset_parse(&s->limits.cpu_set, o->cpuset, e);
	if (r) return r;
	z->args.at = arena_make(a, const char *, nargs + 1);
	for (unsigned i = 0; i < nargs; i++) z->args.at[z->args.n++] = copy(a, args[i]);
	z->entrypoint = copy(a, o->entrypoint);
	z->rootfs = copy(a, o->rootfs);
	z->user = copy(a, o->user);
	z->workdir = copy(a, o->workdir);
	z->hostname = copy(a, o->hostname);
	z->tty = o->tty;
	z->storage = o->storage;
	z->input = o->interactive;
	z->host_ids = o->userns && !strcmp(o->userns, "host");
	s->limits.pids = o->pids;
	s->limits.io_weight = o->io_weight;
	s->limits.memory_low = o->memory_low;
	z->ip = copy(a, o->ip);
	return 0;
}

static bool says_zone(const struct spec *s)
{
	const struct spec_zone *z = &s->zone;
	const struct limits *l = &s->limits;
	return z->args.n || z->env.n || z->entrypoint || z->user || z->workdir || z->hostname ||
	       z->host_ids || z->host_net || z->storage || z->ip || l->pids || l->io_weight ||
	       l->cpu_set || l->memory_low;
}

static int choose_vm(struct spec *s, const struct image *im, struct err *e)
{
	if (im->nlayers) return boxed_choose(s, im, e);
	if (!says_zone(s)) return 0;
	if (s->zone.args.n)
		return fail(e, -EINVAL,
			    "'%s': image %s is a computer, which runs no command; options go "
			    "before its name",
			    s->zone.args.at[0], im->name);
	return fail(e, -EINVAL,
		    "--env, --user, --workdir, --entrypoint, --pids-limit and the like are for "
		    "zones, and image %s is a computer",
		    im->name);
}

int zones_choose(struct spec *s, const struct image *im, struct err *e)
{
	bool asked = s->kind;
	bool foreign = strcmp(im->arch, HOST) != 0;
	if (im->nlayers && !s->kind) s->kind = foreign ? "vm" : "zone";
	if (im->nlayers && foreign && !spec_is_zone(s) && !asked)
		(void)fprintf(stderr,
			      "lodge: image %s is for %s: it runs in a computer of its own\n",
			      im->name, im->arch);
	if (!spec_is_zone(s)) return choose_vm(s, im, e);
	if (!im->nlayers && (!im->disk.path || strcmp(im->disk.format, "raw")))
		return fail(e, -ENOTSUP,
			    "image %s has neither layers nor a raw disk to be a zone's", im->name);
	if (!im->nlayers && geteuid())
		return fail(e, -EPERM, "image %s is a disk: only root can have it as a zone's",
			    im->name);
	if (foreign)
		return fail(e, -ENOTSUP,
			    "image %s is for %s: zones of another CPU than this machine's cannot "
			    "be run yet; --kind vm gives it a computer of its own",
			    im->name, im->arch);
	if (s->zone.storage && geteuid())
		return fail(e, -EPERM, "--storage: for root's zones only");
	if (s->kernel || s->initrd || s->append || s->firmware || s->ndisks || s->gdb)
		return fail(e, -EINVAL, "a zone has no kernel, firmware or disks of its own");
	return 0;
}

int zones_use_image(struct spec *s, struct store *st, const struct image *im, int folder,
		    struct arena *a, struct err *e)
{
	struct spec_zone *z = &s->zone;
	z->layers.at = arena_make(a, const char *, im->nlayers + 1);
	z->layers.n = 0;
	for (unsigned i = 0; i < im->nlayers; i++) {
		auto_mem char *path = NULL;
		int r = oci_tree(st, im, i, &path, e);
		if (r) return r;
		z->layers.at[z->layers.n++] = copy(a, path);
	}
	z->config = copy(a, im->config.path);
	z->disk = im->nlayers ? NULL : copy(a, im->disk.path);
	z->folder = folder;
	return 0;
}

void zones_again(struct spec *s, const struct spec *was)
{
	struct spec_zone *z = &s->zone;
	if (!z->args.n && !z->entrypoint) {
		z->args = was->zone.args;
		z->entrypoint = was->zone.entrypoint;
	}
	if (!z->env.n) z->env = was->zone.env;
	if (!z->user) z->user = was->zone.user;
	if (!z->workdir) z->workdir = was->zone.workdir;
	if (!z->hostname) z->hostname = was->zone.hostname;
	if (!z->storage) z->storage = was->zone.storage;
	if (!z->ip) z->ip = was->zone.ip;
	z->own_kernel = was->zone.own_kernel;
	if (!z->rootfs) z->rootfs = was->zone.rootfs;
}

void zones_cap(struct spec *s)
{
	enum { THOUSAND = 1000 };
	if (spec_is_zone(s) && !s->limits.cpu_cap) s->limits.cpu_cap = (uint64_t)s->cpus * THOUSAND;
}

void zones_sit(struct spec *s)
{
	if (!spec_is_container(s)) return;
	s->zone.tty |= isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	s->zone.input = true;
}
