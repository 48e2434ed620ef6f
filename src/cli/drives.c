/* Disks and CDs of a guest, from the words of the command line. */
#include "cli/drives.h"
#include "base/types.h"
#include "blk/blk.h"
#include "guest/guest.h"
#include "guest/spec.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

static int add_disk(struct spec *s, const struct spec_disk *d, struct err *e)
{
	if (s->ndisks == SPEC_DISKS)
		return fail(e, -EINVAL, "--disk: more than %d disks", SPEC_DISKS);
	s->disk[s->ndisks++] = *d;
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
		else if (!strncmp(w, "if=", 3) && !bus_find(&d->bus, w + 3))
			return fail(e, -EINVAL,
				    "--disk: '%s': there are if=virtio, nvme, sata and cdrom", w);
		else if (strncmp(w, "if=", 3) && strncmp(w, "format=", 7))
			break; /* of the file's own name */
		else if (*w == 'f' && !(d->format = blk_format_named(w + 7)))
			return fail(e, -EINVAL,
				    "--disk: unknown format '%s'; there are: raw qcow2 vmdk vdi "
				    "vhd vhdx",
				    w + 7);
		*comma = 0;
	}
	d->path = text;
	d->readonly |= d->bus == BUS_CDROM;
	return d->format ? 0 : guess_nothing(text, e);
}

static int add_disks(struct spec *s, const struct opt_list *l, bool shared, struct err *e)
{
	int r = 0;
	for (unsigned i = 0; !r && i < l->n; i++) {
		struct spec_disk d = {.shared = shared};
		r = disk_words(&d, (char *)l->at[i], e);
		if (!d.format) d.format = "raw";
		if (!r && shared && (d.readonly || strcmp(d.format, "raw") != 0))
			r = fail(e, -EINVAL, "--shared-disk %s: a raw one, to be written to",
				 d.path);
		if (!r) r = add_disk(s, &d, e);
	}
	return r;
}

static int add_cdroms(struct spec *s, const struct opt_list *l, struct err *e)
{
	int r = 0;
	for (unsigned i = 0; !r && i < l->n; i++) {
		const struct spec_disk d = {
			.path = l->at[i], .format = "raw", .readonly = true, .bus = BUS_CDROM};
		r = add_disk(s, &d, e);
	}
	return r;
}

/* Also by the letters and words that QEMU and VirtualBox have for it. */
static int choose_first(struct spec *s, const char *boot, struct err *e)
{
	static const struct {
		const char *word;
		bool cdrom;
	} order[] = {{"disk", false}, {"cdrom", true}, {"c", false},
		     {"d", true},     {"dc", true},    {"dvd", true}};
	for (unsigned i = 0; boot && i < COUNT(order); i++)
		if (!strcmp(boot, order[i].word)) {
			s->boot_cdrom = order[i].cdrom;
			return 0;
		}
	return boot ? fail(e, -EINVAL, "--boot: '%s': there are disk and cdrom", boot) : 0;
}

int drives_add(struct spec *s, const struct drive_opts *o, struct err *e)
{
	int r = choose_first(s, o->boot, e);
	if (!r) r = add_disks(s, &o->disks, false, e);
	if (!r) r = add_disks(s, &o->shared, true, e);
	return r ? r : add_cdroms(s, &o->cdroms, e);
}

/* The names of Debian's packages; then where others have the same. */
static const char *const bios[] = {"/usr/share/seabios/bios-256k.bin",
				   "/usr/share/qemu/bios-256k.bin", NULL};
static const char *const uefi[] = {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/ovmf/OVMF.fd",
				   "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
				   "/usr/share/edk2/ovmf/OVMF_CODE.fd", NULL};

int drives_firmware(const char **out, enum arch *arch, const struct spec *s,
		    const struct drive_opts *o, struct err *e)
{
	const char *want = s->firmware;
	if (!want && o->cdroms.n && !s->image && !s->kernel) want = "bios";
	bool is_bios = want && !strcmp(want, "bios"), is_uefi = want && !strcmp(want, "uefi");
	*out = want;
	if (!is_bios && !is_uefi) return 0;
	*arch = ARCH_X86_64;
	for (const char *const *f = is_bios ? bios : uefi; (*out = *f) != NULL; f++)
		if (!access(*f, R_OK)) return 0;
	return fail(e, -ENOENT, "--firmware: %s is not installed here: install %s, or name a file",
		    want, is_bios ? "SeaBIOS (package seabios)" : "OVMF (package ovmf)");
}
