/* lodge image import, export, tag: images of containers to and from files. */
#include "base/types.h"
#include "cli/cli.h"
#include "cli/images.h"
#include "guest/spec.h"
#include "store/oci.h"
#include <errno.h>
#include <stdio.h>

struct file_opts {
	const char *arch;
};
static const struct file_opts defaults;

/* ---- import */

static const struct opt import_table[] = {
	{"arch", 0, OPT_TEXT, offsetof(struct file_opts, arch), "CPU",
	 "Of several, the one for this CPU, as OCI calls it (this machine's if it is there).",
	 NULL},
	{0},
};
static int import_run(const struct call *c, struct err *e)
{
	const struct file_opts *o = c->opts;
	auto_image struct image im = {0};
	struct store *s;
	int r = store_open(&s, NULL, e);
	if (r) return r;
	r = oci_import(s, c->args[0], c->nargs > 1 ? c->args[1] : NULL, o->arch, &im, e);
	if (!r) printf("%s\n", im.name);
	store_close(s);
	return r;
}
const struct verb verb_image_import = {
	.name = "image import",
	.args = "FILE|FOLDER [NAME]",
	.summary = "Take in a container's image",
	.text = "A file that podman, skopeo or docker saved (oci-archive, docker-archive, also\n"
		"compressed), or a folder that is a layout of OCI. Digests are compared and "
		"layers\n"
		"unpacked before it is there; without NAME it is called what the file calls it.",
	.examples =
		"podman save --format oci-archive -o web.tar web && lodge image import web.tar\n"
		"lodge image import ./layout web",
	.opts = import_table,
	.defaults = &defaults,
	.size = sizeof(defaults),
	.min_args = 1,
	.max_args = 2,
	.run = import_run,
};

/* ---- export, tag */

static const struct opt arch_table[] = {
	{"arch", 0, OPT_TEXT, offsetof(struct file_opts, arch), "CPU",
	 "The image for this CPU; otherwise the one there is, this machine's before others.", NULL},
	{0},
};
static int find_any(struct store *s, const char *name, const char *arch, struct image *im,
		    struct err *e)
{
	enum arch others[] = {ARCH_X86_64, ARCH_RV64};
	if (arch) return store_image_find(s, name, arch, im, e);
	int r = -ENOENT;
	for (unsigned k = 0; r == -ENOENT && k < COUNT(others); k++)
		r = store_image_find(s, name, arch_name(others[k]), im, e);
	return r == -ENOENT ? fail(e, r, "image %s: there is none", name) : r;
}
/* What a verb does with the image of its first word, and its second. */
static int with_image(const struct call *c,
		      int (*fn)(struct store *s, const struct image *im, const char *to,
				struct err *e),
		      struct err *e)
{
	const struct file_opts *o = c->opts;
	auto_image struct image im = {0};
	struct store *s;
	int r = store_open(&s, NULL, e);
	if (r) return r;
	r = find_any(s, c->args[0], o->arch, &im, e);
	if (!r) r = fn(s, &im, c->args[1], e);
	store_close(s);
	return r;
}
static int export_to(struct store *s, const struct image *im, const char *to, struct err *e)
{
	(void)s;
	return oci_export(im, to, e);
}
static int export_run(const struct call *c, struct err *e) { return with_image(c, export_to, e); }
const struct verb verb_image_export = {
	.name = "image export",
	.args = "IMAGE FILE",
	.summary = "Write a container's image to a file",
	.text = "A tar file that podman, skopeo, docker and 'lodge image import' read.",
	.examples = "lodge image export web web.tar && podman load -i web.tar",
	.opts = arch_table,
	.defaults = &defaults,
	.size = sizeof(defaults),
	.min_args = 2,
	.max_args = 2,
	.completes = "image",
	.run = export_run,
};

static int tag_run(const struct call *c, struct err *e)
{
	return with_image(c, store_image_tag, e);
}
const struct verb verb_image_tag = {
	.name = "image tag",
	.args = "IMAGE NAME",
	.summary = "Give an image one more name",
	.text = "Nothing is copied: both names are for the same contents, and either can be "
		"removed.",
	.examples = "lodge image tag busybox-1.36 busybox",
	.opts = arch_table,
	.defaults = &defaults,
	.size = sizeof(defaults),
	.min_args = 2,
	.max_args = 2,
	.completes = "image",
	.run = tag_run,
};
