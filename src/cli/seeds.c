/* What cloud-init is told: read from the owner's files when the guest is made or run with these
 * options, not at each start, so that a guest does not depend on them later. */
#include "cli/seeds.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "base/types.h"
#include "guest/guest.h"
#include "guest/record.h"
#include "store/seed.h"
#include "store/store.h"
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#define SEED_FILE "seed.iso"

bool seeds_wanted(const struct seed_opts *o) { return o->wanted || o->user_data || o->ssh_key; }

static int make(const struct seed_opts *o, const char *name, const char *id, struct buf *to,
		struct err *e)
{
	auto_buf struct buf data = {0}, keys = {0};
	struct seed s = {.id = id, .name = name};
	int r = o->user_data ? file_read(&data, o->user_data, MIB, e) : 0;
	if (!r && o->ssh_key) r = file_read(&keys, o->ssh_key, 64 * KIB, e);
	if (r) return r;
	if (keys.at && strstr(keys.at, "PRIVATE KEY"))
		return fail(e, -EINVAL, "--ssh-key: %s is a private key; its .pub is meant",
			    o->ssh_key);
	s.keys = keys.at;
	s.user_data = data.len ? data.at : NULL;
	s.len = data.len;
	return seed_make(&s, to, e);
}

int seeds_keep(const struct seed_opts *o, const char *name, const char *id, int folder,
	       struct err *e)
{
	auto_buf struct buf b = {0};
	char path[64];
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/" SEED_FILE, folder);
	int r = make(o, name, id, &b, e);
	return r ? r : file_replace(path, b.at, b.len, 0600, e);
}

int seeds_temp(const struct seed_opts *o, int *fd, struct err *e)
{
	auto_buf struct buf b = {0};
	char id[RECORD_ID + 1];
	record_id_make(id);
	int r = make(o, NULL, id, &b, e);
	if (r) return r;
	auto_fd int to = memfd_create("seed", MFD_CLOEXEC);
	if (to < 0 || write(to, b.at, b.len) != (ssize_t)b.len)
		return fail(e, -ENOMEM, "seed: no memory for it");
	*fd = give_fd(&to);
	return 0;
}

int seeds_add_disk(struct spec *s, const char *path, struct err *e)
{
	if (s->ndisks == SPEC_DISKS) return fail(e, -EINVAL, "more than %d disks", SPEC_DISKS);
	s->disk[s->ndisks++] = (struct spec_disk){.path = path, .readonly = true};
	return 0;
}

int seeds_add(struct spec *s, struct store *st, const char *name, char **path, struct err *e)
{
	free(*path);
	must(asprintf(path, "%s/guests/%s/" SEED_FILE, store_root(st), name) > 0);
	return file_exists(*path) ? seeds_add_disk(s, *path, e) : 0;
}
