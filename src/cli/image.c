/* lodge image ls, build, rm: the store's images for people. Making one is the recipe's work; here
 * it is only found, run and its result put into the store. */
#include "base/file.h"
#include "base/own.h"
#include "base/proc.h"
#include "cli/cli.h"
#include "cli/images.h"
#include "cli/plain.h"
#include "store/store.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct {
	const char *word;
	enum arch arch;
} arch_words[] = {
	{"riscv64", ARCH_RV64},	      {"amd64", ARCH_X86_64},  {"rv64", ARCH_RV64},
	{"x86_64", ARCH_X86_64},      {"x86-64", ARCH_X86_64}, {"linux/riscv64", ARCH_RV64},
	{"linux/amd64", ARCH_X86_64},
};

int arch_parse(enum arch *out, const char *text, struct err *e)
{
	for (unsigned i = 0; i < COUNT(arch_words); i++)
		if (!strcmp(text, arch_words[i].word)) {
			*out = arch_words[i].arch;
			return 0;
		}
	return fail(e, -EINVAL, "--arch: unknown CPU '%s'; there are: " ARCH_CHOICES, text);
}

static bool readlink_self(char *exe, size_t room)
{
	ssize_t n = readlink("/proc/self/exe", exe, room - 1);
	exe[n > 0 ? n : 0] = 0;
	return n > 0;
}

int recipes_find(char *path, size_t room, struct err *e)
{
	static const char *const places[] = {"../guests", "../share/lodge/guests", "guests"};
	char exe[4000], build[4096];
	if (!readlink_self(exe, sizeof(exe)))
		return fail(e, -ENOENT, "/proc is not mounted: recipes of images cannot be found");
	char *slash = strrchr(exe, '/');
	if (slash) *slash = 0;
	for (unsigned i = 0; i < COUNT(places); i++) {
		(void)snprintf(path, room, "%s/%s", exe, places[i]);
		if ((size_t)snprintf(build, sizeof(build), "%s/build", path) < sizeof(build) &&
		    file_exists(build))
			return 0;
	}
	return fail(e, -ENOENT, "the recipes of images are neither beside %s nor in share/lodge",
		    exe);
}

/* Made images are kept, so that making one again is quick; losing them loses nothing. */
static int made_dir(char *path, size_t room, const char *name, const char *arch, struct err *e)
{
	const char *own = getenv("LODGE_CACHE"), *xdg = getenv("XDG_CACHE_HOME"),
		   *home = getenv("HOME");
	char base[3000];
	if (own && *own)
		(void)snprintf(base, sizeof(base), "%s", own);
	else if (!geteuid())
		(void)snprintf(base, sizeof(base), "/var/cache/lodge");
	else if (xdg && *xdg == '/')
		(void)snprintf(base, sizeof(base), "%s/lodge", xdg);
	else if (home && *home)
		(void)snprintf(base, sizeof(base), "%s/.cache/lodge", home);
	else
		return fail(e, -ENOENT, "no home folder for what is being made: set LODGE_CACHE");
	(void)snprintf(path, room, "%s/made/%s-%s", base, name, arch);
	return 0;
}

int image_make(struct store *s, const char *name, const char *arch, bool refresh, struct err *e)
{
	char recipes[4096], build[4200], dir[4096], exe[4000];
	int code;
	if (!store_name_ok(name)) return fail(e, -EINVAL, "'%s' is not a name for an image", name);
	int r = recipes_find(recipes, sizeof(recipes), e);
	if (!r) r = made_dir(dir, sizeof(dir), name, arch, e);
	if (r) return r;
	(void)snprintf(build, sizeof(build), "%s/%s/recipe.sh", recipes, name);
	if (!file_exists(build))
		return fail(e, -ENOENT, "no recipe for an image '%s' in %s", name, recipes);
	(void)snprintf(build, sizeof(build), "%s/build", recipes);
	if (readlink_self(exe, sizeof(exe)))
		(void)setenv("LODGE", exe, 0); /* a recipe may need a vm */
	const char *argv[] = {build, name, arch, dir, refresh ? "--refresh" : NULL, NULL};
	struct proc p = {.argv = argv};
	r = proc_run(&p, &code, e);
	if (r) return r;
	if (code)
		return fail(e, -EIO, "image %s for %s was not made (the lines above say why)", name,
			    arch);
	return store_image_add_dir(s, name, arch, dir, e);
}

/* --- ls -------------------------------------------------------------------------------------- */

struct ls_opts {
	bool quiet;
};
static const struct opt ls_table[] = {
	{"quiet", 'q', OPT_FLAG, offsetof(struct ls_opts, quiet), NULL, "Names only.", NULL},
	{0},
};
static const struct ls_opts ls_defaults;

static int print_name(void *ctx, const struct image *im)
{
	(void)ctx;
	printf("%s\n", im->name);
	return 0;
}

static int print_row(void *ctx, const struct image *im)
{
	char size[16], made[32];
	time_t when = (time_t)im->created;
	struct tm tm;
	(void)ctx;
	uint64_t bytes = im->kernel.size + im->initrd.size + im->disk.size;
	for (unsigned k = 0; k < im->nlayers; k++) bytes += im->layer[k].size;
	human_size(size, sizeof(size), bytes);
	if (!localtime_r(&when, &tm) || !strftime(made, sizeof(made), "%Y-%m-%d %H:%M", &tm))
		made[0] = 0;
	printf("%-16s  %-8s  %-4s  %8s  %s\n", im->name, im->arch, im->kind, size, made);
	return 0;
}

static int ls_run(const struct call *c, struct err *e)
{
	const struct ls_opts *o = c->opts;
	struct store *s;
	int r = store_open(&s, NULL, e);
	if (r) return r;
	if (!o->quiet)
		printf("%-16s  %-8s  %-4s  %8s  %s\n", "NAME", "ARCH", "KIND", "SIZE", "MADE");
	r = store_image_each(s, o->quiet ? print_name : print_row, NULL, e);
	store_close(s);
	return r;
}

const struct verb verb_image_ls = {
	.name = "image ls",
	.args = "",
	.summary = "List the images that guests are made from",
	.opts = ls_table,
	.defaults = &ls_defaults,
	.size = sizeof(ls_defaults),
	.run = ls_run,
};

/* --- inspect --------------------------------------------------------------------------------- */

struct image_opts {
	const char *arch;
	bool refresh, force;
};
static const struct opt inspect_table[] = {
	{"arch", 0, OPT_TEXT, offsetof(struct image_opts, arch), "CPU",
	 "The image for this CPU: riscv64 (default) or amd64.", ARCH_CHOICES},
	{0},
};

static void put_text(struct json_object *o, const char *key, const char *text)
{
	if (text) json_object_object_add(o, key, json_object_new_string(text));
}

static void put_number(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_uint64(n));
}

static void put_file(struct json_object *o, const char *what, const struct image_file *f)
{
	char key[32];
	if (!f->path) return;
	(void)snprintf(key, sizeof(key), "%s_path", what);
	put_text(o, key, f->path);
	(void)snprintf(key, sizeof(key), "%s_size", what);
	put_number(o, key, f->size);
	(void)snprintf(key, sizeof(key), "%s_sha256", what);
	put_text(o, key, f->digest);
}

static void put_layers(struct json_object *o, const struct image *im)
{
	struct json_object *list = im->nlayers ? json_object_new_array() : NULL;
	for (unsigned k = 0; k < im->nlayers; k++) {
		struct json_object *one = json_object_new_object();
		put_text(one, "path", im->layer[k].path);
		put_number(one, "size", im->layer[k].size);
		put_text(one, "format", im->layer[k].format);
		put_text(one, "sha256", im->layer[k].digest);
		put_text(one, "diff_id", im->layer[k].diff);
		json_object_array_add(list, one);
	}
	if (list) json_object_object_add(o, "layers", list);
}

static void print_image(const struct image *im)
{
	struct json_object *o = json_object_new_object();
	must(o);
	put_text(o, "name", im->name);
	put_text(o, "arch", im->arch);
	put_text(o, "kind", im->kind);
	put_text(o, "append", im->append);
	put_number(o, "memory", im->memory);
	put_number(o, "created", (uint64_t)im->created);
	put_file(o, "kernel", &im->kernel);
	put_file(o, "initrd", &im->initrd);
	put_file(o, "disk", &im->disk);
	put_text(o, "disk_format", im->disk.format);
	put_file(o, "config", &im->config);
	put_layers(o, im);
	plain_json(o,
		   JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
			   JSON_C_TO_STRING_NOSLASHESCAPE,
		   stdout);
	(void)putchar('\n');
	json_object_put(o);
}

static int inspect_run(const struct call *c, struct err *e)
{
	const struct image_opts *o = c->opts;
	struct image im = {0};
	struct store *s;
	enum arch arch;
	int r = arch_parse(&arch, o->arch, e);
	if (!r) r = store_open(&s, NULL, e);
	if (r) return r;
	r = store_image_find(s, c->args[0], arch_name(arch), &im, e);
	if (!r) print_image(&im);
	image_done(&im);
	store_close(s);
	return r;
}

/* --- build and rm ---------------------------------------------------------------------------- */

static const struct opt build_table[] = {
	{"arch", 0, OPT_TEXT, offsetof(struct image_opts, arch), "CPU",
	 "The guest's CPU: riscv64 (default) or amd64.", ARCH_CHOICES},
	{"refresh", 0, OPT_FLAG, offsetof(struct image_opts, refresh), NULL,
	 "Ask for newer packages even when nothing else changed.", NULL},
	{0},
};
static const struct image_opts build_defaults = {.arch = "riscv64"};

const struct verb verb_image_inspect = {
	.name = "image inspect",
	.args = "IMAGE",
	.summary = "Print as JSON what an image is made of and where that lies",
	.opts = inspect_table,
	.defaults = &build_defaults,
	.size = sizeof(build_defaults),
	.min_args = 1,
	.max_args = 1,
	.completes = "image",
	.run = inspect_run,
};

static int build_run(const struct call *c, struct err *e)
{
	const struct image_opts *o = c->opts;
	enum arch arch;
	struct store *s;
	int r = arch_parse(&arch, o->arch, e);
	if (!r) r = store_open(&s, NULL, e);
	if (r) return r;
	r = image_make(s, c->args[0], arch_name(arch), o->refresh, e);
	if (!r) printf("%s\n", c->args[0]);
	store_close(s);
	return r;
}

const struct verb verb_image_build = {
	.name = "image build",
	.args = "IMAGE",
	.summary = "Make an image from Debian's packages",
	.text = "The packages come from the Debian mirror that this machine uses itself, or from\n"
		"LODGE_MIRROR. No root is needed. What was fetched and made is kept, so a second "
		"call\n"
		"is quick, and one that was interrupted goes on where it stopped.",
	.examples = "lodge image build debian",
	.opts = build_table,
	.defaults = &build_defaults,
	.size = sizeof(build_defaults),
	.min_args = 1,
	.max_args = 1,
	.run = build_run,
};

static const struct opt rm_table[] = {
	{"arch", 0, OPT_TEXT, offsetof(struct image_opts, arch), "CPU",
	 "Only the image for this CPU.", ARCH_CHOICES},
	{"force", 'f', OPT_FLAG, offsetof(struct image_opts, force), NULL,
	 "Also one that guests were made from: they keep what it holds.", NULL},
	{0},
};
static const struct image_opts rm_defaults;

static int rm_run(const struct call *c, struct err *e)
{
	const struct image_opts *o = c->opts;
	enum arch arch = ARCH_RV64;
	struct store *s;
	int r = o->arch ? arch_parse(&arch, o->arch, e) : 0;
	if (!r) r = store_open(&s, NULL, e);
	if (r) return r;
	for (unsigned i = 0; !r && i < c->nargs; i++) {
		r = store_image_rm(s, c->args[i], o->arch ? arch_name(arch) : NULL, o->force, e);
		if (!r) printf("%s\n", c->args[i]);
	}
	store_close(s);
	return r;
}

const struct verb verb_image_rm = {
	.name = "image rm",
	.args = "IMAGE...",
	.summary = "Remove images",
	.text = "Not while kept guests are there that were made from them, unless --force: they "
		"keep "
		"then\n"
		"what the image holds, until 'lodge prune' finds that nobody needs it any more.",
	.opts = rm_table,
	.defaults = &rm_defaults,
	.size = sizeof(rm_defaults),
	.min_args = 1,
	.max_args = 64,
	.completes = "image",
	.run = rm_run,
};
