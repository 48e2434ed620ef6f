/* What the verbs about kept guests share. */
#include "cli/kept.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "cli/boxed.h"
#include "cli/cli.h"
#include "cli/seeds.h"
#include "cli/zones.h"
#include "guest/control.h"
#include "guest/discs.h"
#include "guest/look.h"
#include "guest/monitor.h"
#include "guest/spec.h"
#include "guest/tags.h"
#include "store/store.h"
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

enum {
	LOCK_SECONDS = 10,
	LOCK_STEP_US = 500,
	LOCK_STEP_MAX_US = 20000,
	END_SECONDS = 30,
	DEFAULT_MEMORY = 1024 /* MiB */
};
#define SECOND 1000000000ull

/* Mostly it is the helper of a monitor that has just ended, and gone in a moment. */
static void lock_wait(unsigned *step)
{
	(void)usleep(*step);
	if (*step < LOCK_STEP_MAX_US) *step *= 2;
}

int kept_lock(struct kept *k, const char *name, bool create, struct err *e)
{
	uint64_t until = now_ns() + LOCK_SECONDS * SECOND;
	unsigned step = LOCK_STEP_US;
	(void)snprintf(k->name, sizeof(k->name), "%s", name);
	int r;
	while ((r = store_guest_open(k->store, name, create, &k->folder, e)) == -EBUSY) {
		if (control_alive(name))
			return fail(e, -EBUSY, "guest %s is running; see 'lodge ps'", name);
		if (now_ns() > until)
			return fail(e, -EBUSY, "guest %s: another command has it in hands", name);
		lock_wait(&step);
	}
	if (r) return r;
	record_sweep(k->folder);
	r = record_read(&k->record, k->folder, e);
	return r == -ENOENT ? 0 : r ? fail_in(e, "guest %s", name) : 0;
}

int spec_first_disk(struct spec *s, const char *path, const char *format, struct err *e)
{
	if (s->ndisks == SPEC_DISKS) return fail(e, -EINVAL, "more than %d disks", SPEC_DISKS);
	memmove(s->disk + 1, s->disk, s->ndisks * sizeof(s->disk[0]));
	s->disk[0] = (struct spec_disk){.path = path, .format = format};
	s->ndisks++;
	return 0;
}

void spec_use_image(struct spec *s, const struct image *im)
{
	if (spec_is_zone(s)) return;
	if (!s->kernel && !s->firmware && im->kernel.path) {
		s->kernel = im->kernel.path;
		if (!s->initrd) s->initrd = im->initrd.path;
	}
	if (!s->append) s->append = im->append;
	if (!s->memory) s->memory = im->memory;
}

static int add_image(struct kept *k, struct err *e)
{
	int r = store_guest_image_find(k->store, k->name, &k->image, e);
	if (r) return r;
	spec_use_image(&k->spec, &k->image);
	if (spec_is_zone(&k->spec))
		return zones_use_image(&k->spec, k->store, &k->image, k->folder, k->record.arena,
				       e);
	if (k->spec.zone.own_kernel)
		return boxed_use_image(&k->spec, k->store, &k->image, k->folder, k->record.arena,
				       e);
	if (!k->image.disk.path) return 0;
	r = store_guest_disk(k->store, k->name, &k->image,
			     k->spec.disk_copy ? DISK_COPY : DISK_LAYER, &k->disk, e);
	if (!r) r = spec_first_disk(&k->spec, k->disk.path, k->disk.format, e);
	if (!r) k->spec.disk[0].backing = k->disk.layered;
	return r;
}

/* Files that lie in its own folder, whatever it is called now: see SPEC_OWN. */
static void own_path(struct kept *k, const char **path)
{
	enum { ROOM = 64 };
	if (!*path || strncmp(*path, SPEC_OWN, strlen(SPEC_OWN)) != 0) return;
	size_t n = strlen(*path) + ROOM;
	char *to = arena_make(k->record.arena, char, n);
	(void)snprintf(to, n, "/proc/self/fd/%d/%s", k->folder, *path + strlen(SPEC_OWN));
	*path = to;
}

void kept_own_paths(struct kept *k)
{
	struct spec *s = &k->spec;
	own_path(k, &s->kernel);
	own_path(k, &s->initrd);
	own_path(k, &s->firmware);
	own_path(k, &s->vars);
	for (unsigned i = 0; i < s->ndisks; i++) own_path(k, &s->disk[i].path);
}

/* Only its owner can know that it does not run where it went. */
static int check_here(const struct kept *k, struct err *e)
{
	struct guest_state st;
	state_read(&st, k->folder);
	if (k->force || (st.life != LIFE_MOVED && st.life != LIFE_LEAVING)) return 0;
	return fail(e, -EBUSY, "guest %s %s %s; if it does not run there: lodge start --force %s",
		    k->name, st.life == LIFE_MOVED ? "has moved" : "was being handed over", st.why,
		    k->name);
}

/* Firmware's variables begin as that file says, and are the guest's own from then on; those of one
 * that came from another host have always been. */
static int add_vars(struct kept *k, struct err *e)
{
	k->spec.vars_kept = true;
	if (!strncmp(k->record.spec.vars, SPEC_OWN, strlen(SPEC_OWN))) return 0;
	int r = store_guest_file(k->store, k->name, TAG_VARS, k->spec.vars, &k->vars, e);
	k->spec.vars = k->vars;
	return r;
}

int kept_load(struct kept *k, struct err *e)
{
	if (!*k->record.id)
		return fail(e, -ENOENT,
			    "guest %s: nothing is recorded of it; try: lodge run --name %s",
			    k->name, k->name);
	int r = check_here(k, e);
	if (r) return r;
	k->spec = k->record.spec;
	k->spec.name = k->name;
	k->spec.id = k->record.id;
	k->spec.control = true;
	k->spec.confined = guest_is_to_be_confined();
	kept_own_paths(k);
	discs_begin(k->folder);
	r = k->spec.image ? add_image(k, e) : 0;
	if (!r && k->spec.zone.rootfs)
		r = boxed_use_image(&k->spec, k->store, NULL, k->folder, k->record.arena, e);
	if (!r && k->spec.vars) r = add_vars(k, e);
	if (!k->spec.memory && !spec_is_zone(&k->spec)) k->spec.memory = DEFAULT_MEMORY * MIB;
	if (!r) r = seeds_add(&k->spec, k->store, k->name, &k->seed, e);
	return r ? r : shares_add(&k->shares, k->store, &k->spec, e);
}

int kept_restore(struct kept *k, const char *tag, const char *dir, struct err *e)
{
	int r = discs_use(k->folder, tag, &k->spec, k->record.arena, e);
	if (!r) r = discs_back(k->folder, tag, e);
	k->spec.restore = dir;
	return r;
}

int kept_start(struct kept *k, int attach, struct err *e)
{
	const struct kind *kind = kind_for(&k->spec);
	if (!kind)
		return fail(e, -ENOTSUP, "no kind of guest runs this yet: %s",
			    k->spec.image ? k->spec.image : "a kernel");
	struct guest_home home = {
		.folder = k->folder, .created = k->record.created, .attach = attach};
	int r = monitor_start(kind, &k->spec, &home, e);
	if (!r) (void)close(give_fd(&k->folder));
	return r;
}

int kept_remove(struct kept *k, struct err *e)
{
	const struct kind *kind = kind_for(&k->record.spec);
	int r = kind && kind->clean ? kind->clean(k->folder, e) : 0;
	if (r) return r;
	return store_guest_remove(k->store, k->name, &k->folder, e);
}

void kept_done(struct kept *k)
{
	drop_fd(&k->folder);
	k->folder = -1;
	record_done(&k->record);
	image_done(&k->image);
	guest_disk_done(&k->disk);
	free(k->seed);
	k->seed = NULL;
	free(k->vars);
	k->vars = NULL;
	shares_done(&k->shares);
}

/* ---- verbs with names of guests ---- */
static int each_one(struct store *s, const char *word,
		    int (*fn)(struct store *s, const char *name, void *ctx, struct err *e),
		    void *ctx, struct err *e)
{
	char name[64];
	int r = look_find(s, word, name, e);
	return r ? r : fn(s, name, ctx, e);
}

int kept_each(const struct call *c,
	      int (*fn)(struct store *s, const char *name, void *ctx, struct err *e), void *ctx,
	      struct err *e)
{
	struct store *s = NULL;
	int bad = 0, r = store_open(&s, NULL, e);
	for (unsigned i = 0; !r && i < c->nargs; i++) {
		struct err why = {0};
		if (!each_one(s, c->args[i], fn, ctx, &why)) continue;
		if (bad) log_say("%s", e->msg);
		*e = why;
		bad = why.code;
	}
	store_close(s);
	return r ? r : bad;
}

bool kept_gone(int pidfd, unsigned seconds)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	uint64_t until = now_ns() + seconds * SECOND;
	while (pidfd >= 0) {
		uint64_t now = now_ns();
		if (now >= until) return false;
		if (poll(&p, 1, (int)((until - now) / 1000000) + 1) > 0) return true;
	}
	return true;
}

static int shoot(int pidfd) { return (int)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0); }

/* A monitor that does not answer, though asked by force, is killed. */
static int ask_to_end(const char *name, unsigned seconds, bool force, int *pidfd, struct err *e)
{
	char request[32];
	struct json_object *answer = NULL, *why;
	(void)snprintf(request, sizeof(request), "stop %u", seconds);
	int r = control_call(name, force ? "kill" : request, &answer, pidfd, e);
	if (r == -ETIMEDOUT && force && (*pidfd = control_process(name)) >= 0 && !shoot(*pidfd))
		return 0;
	if (!r && json_object_object_get_ex(answer, "forced", &why))
		log_say("guest %s: %s; it was cut off from power", name,
			json_object_get_string(why));
	(void)json_object_put(answer);
	return r;
}

static bool is_over(const struct guest_state *st, int dirfd)
{
	return st->life == LIFE_CREATED || (!life_runs(st->life) && !look_held(dirfd));
}

/* A monitor that has said how it ended has the lock, and its disks, for a moment longer; so has the
 * helper of one that was killed. */
static void look_after(struct guest_state *st, const char *name, int dirfd)
{
	uint64_t until = now_ns() + LOCK_SECONDS * SECOND;
	unsigned step = LOCK_STEP_US;
	for (;;) {
		look_state(st, name, dirfd);
		if (is_over(st, dirfd) || now_ns() > until) return;
		if (life_runs(st->life) && control_alive(name)) return;
		lock_wait(&step);
	}
}

/* Nobody listens: so it does not run, unless it had no place for a socket. */
static int does_not_run(struct store *s, const char *name, struct err *e)
{
	struct guest_state st;
	int fd;
	if (store_guest_look(s, name, &fd, NULL)) return 0;
	auto_fd int dirfd = fd;
	look_state(&st, name, dirfd);
	if (!life_runs(st.life)) look_after(&st, name, dirfd);
	return life_runs(st.life) ? fail(e, -EHOSTUNREACH,
					 "guest %s runs, but its monitor cannot be asked; it is "
					 "process %d",
					 name, st.pid)
				  : 0;
}

int kept_stop(struct store *s, const char *name, unsigned seconds, bool force, struct err *e)
{
	auto_fd int pidfd = -1;
	int r = ask_to_end(name, seconds, force, &pidfd, e);
	if (r) return r == -ENOENT ? does_not_run(s, name, e) : r;
	return kept_gone(pidfd, seconds + END_SECONDS)
		       ? 0
		       : fail(e, -ETIMEDOUT, "guest %s: its monitor does not end", name);
}

int kept_code(struct store *s, const char *name, struct err *e)
{
	struct guest_state st;
	int fd, r = store_guest_look(s, name, &fd, e);
	if (r) return r;
	auto_fd int dirfd = fd;
	look_after(&st, name, dirfd);
	switch (st.life) {
	case LIFE_EXITED: return st.code;
	case LIFE_BROKEN: return fail(e, -EIO, "guest %s broke: %s", name, st.why);
	case LIFE_CREATED: return fail(e, -ESRCH, "guest %s has not run yet", name);
	case LIFE_LEAVING:
	case LIFE_MOVED: return fail(e, -ESRCH, "guest %s has moved %s", name, st.why);
	default: return fail(e, -EBUSY, "guest %s runs", name);
	}
}

int kept_result(const char *name, const char *text, int code, const char *ended, struct err *e)
{
	struct json_object *o = *text ? json_tokener_parse(text) : NULL, *why;
	int r = 0;
	if (!json_object_is_type(o, json_type_object))
		r = fail(e, code, "guest %s: %s", name, ended);
	else if (json_object_object_get_ex(o, "error", &why))
		r = fail(e, -EIO, "guest %s: %s", name, json_object_get_string(why));
	(void)json_object_put(o);
	return r;
}
