/* The config is made as text and read as any bundle's is: so what is checked there holds here. */
#include "zone/plan.h"
#include "base/buf.h"
#include "base/file.h"
#include "zone/root.h"
#include "zone/spec.h"
#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the image's part */
struct outer {
	struct plan_image *config;
};
static const struct decode_field image_fields[] = {
	DECODE_AT(plan_image, env, "Env", TEXTS),
	DECODE_AT(plan_image, entrypoint, "Entrypoint", TEXTS),
	DECODE_AT(plan_image, cmd, "Cmd", TEXTS),
	DECODE_AT(plan_image, user, "User", TEXT),
	DECODE_AT(plan_image, workdir, "WorkingDir", TEXT),
	DECODE_AT(plan_image, stop_signal, "StopSignal", TEXT),
	DECODE_END};
static const struct decode_field outer_fields[] = {{"config", DECODE_OBJECT,
						    offsetof(struct outer, config), image_fields,
						    sizeof(struct plan_image)},
						   DECODE_END};

int plan_image_parse(struct plan_image *to, const char *text, size_t len, struct arena *a,
		     struct err *e)
{
	struct outer o = {0};
	auto_json struct json_object *j = decode_text(text, len, e);
	*to = (struct plan_image){0};
	int r = j ? decode_object(j, "", outer_fields, &o, a, e) : e->code;
	if (!r && o.config) *to = *o.config;
	return r ? fail_in(e, "the image's config") : 0;
}

/* ---- JSON */
static void put(struct json_object *o, const char *key, struct json_object *v)
{
	must(v && !json_object_object_add(o, key, v));
}
static void put_text(struct json_object *o, const char *key, const char *v)
{
	put(o, key, json_object_new_string(v));
}
static void add(struct json_object *list, struct json_object *v)
{
	must(v && !json_object_array_add(list, v));
}
static struct json_object *get(struct json_object *o, const char *key)
{
	struct json_object *v;
	must(json_object_object_get_ex(o, key, &v));
	return v;
}
static struct json_object *words_json(const char *const *at, unsigned n)
{
	struct json_object *l = json_object_new_array();
	for (unsigned i = 0; i < n; i++) add(l, json_object_new_string(at[i]));
	return l;
}

/* ---- the process */
/* A later word for the same variable takes the place of an earlier one. */
static void env_set(struct json_object *env, const char *word)
{
	size_t n = json_object_array_length(env), name = strcspn(word, "=") + 1, i = 0;
	while (i < n &&
	       strncmp(json_object_get_string(json_object_array_get_idx(env, i)), word, name))
		i++;
	must(!json_object_array_put_idx(env, i, json_object_new_string(word)));
}

static struct json_object *env_json(const struct plan *p, const struct plan_image *im,
				    struct arena *a)
{
	struct json_object *env = json_object_new_array();
	env_set(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	env_set(env, arena_text(a, "HOSTNAME=%s", p->hostname));
	env_set(env, "container=lodge");
	if (p->tty) env_set(env, "TERM=xterm");
	for (unsigned i = 0; i < im->env.n; i++)
		if (strchr(im->env.at[i], '=')) env_set(env, im->env.at[i]);
	for (unsigned i = 0; i < p->env.n; i++) env_set(env, p->env.at[i]);
	return env;
}

/* Who names another entry point does not mean the image's command behind it. */
static struct json_object *args_json(const struct plan *p, const struct plan_image *im)
{
	struct json_object *args = p->entrypoint ? json_object_new_array()
						 : words_json(im->entrypoint.at, im->entrypoint.n);
	if (p->entrypoint && *p->entrypoint) add(args, json_object_new_string(p->entrypoint));
	const struct texts *rest = &p->args;
	if (!rest->n && !p->entrypoint) rest = &im->cmd;
	for (unsigned i = 0; i < rest->n; i++) add(args, json_object_new_string(rest->at[i]));
	if (p->disk && !json_object_array_length(args))
		add(args, json_object_new_string("/sbin/init"));
	return args;
}

static bool is_init(struct json_object *args)
{
	const char *name = json_object_get_string(json_object_array_get_idx(args, 0));
	const char *slash = name ? strrchr(name, '/') : NULL;
	return slash && (!strcmp(slash, "/init") || !strcmp(slash, "/systemd"));
}

/* As podman has them; in a user namespace they hold for what is the zone's own. */
static const char *const caps[] = {"CHOWN",   "DAC_OVERRIDE", "FOWNER",		  "FSETID",
				   "KILL",    "SETGID",	      "NET_BIND_SERVICE", "SETUID",
				   "SETPCAP", "SETFCAP",      "SYS_CHROOT"};

static struct json_object *caps_json(void)
{
	static const char *const sets[] = {"bounding", "effective", "permitted"};
	struct json_object *o = json_object_new_object();
	for (unsigned s = 0; s < 3; s++) {
		struct json_object *l = json_object_new_array();
		for (unsigned i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
			char name[32];
			(void)snprintf(name, sizeof(name), "CAP_%s", caps[i]);
			add(l, json_object_new_string(name));
		}
		put(o, sets[s], l);
	}
	return o;
}

static struct json_object *process_json(const struct plan *p, const struct plan_image *im,
					struct arena *a)
{
	struct json_object *o = json_object_new_object();
	const char *cwd = p->workdir ? p->workdir : im->workdir;
	put(o, "terminal", json_object_new_boolean(p->tty));
	put(o, "args", args_json(p, im));
	put(o, "env", env_json(p, im, a));
	put_text(o, "cwd", cwd && *cwd ? cwd : "/");
	put(o, "capabilities", caps_json());
	put(o, "noNewPrivileges", json_object_new_boolean(true));
	return o;
}

/* ---- the world */
static void mount_add(struct json_object *list, const char *from, const char *to, bool ro, bool map)
{
	struct json_object *o = json_object_new_object();
	const char *options[] = {"rbind", "rprivate",	     "nosuid",
				 "nodev", ro ? "rro" : "rw", map ? "ridmap" : "rw"};
	put_text(o, "type", "bind");
	put_text(o, "source", from);
	put_text(o, "destination", to);
	put(o, "options", words_json(options, 6));
	add(list, o);
}

/* What the zone is told of its names and addresses: files of its folder, filled in later. */
static void file_add(const struct plan *p, struct json_object *list, const char *file,
		     const char *to, struct arena *a)
{
	char self[32], folder[PATH_MAX];
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", p->folder);
	ssize_t n = readlink(self, folder, sizeof(folder) - 1);
	folder[n > 0 ? n : 0] = 0;
	mount_add(list, arena_text(a, "%s/%s", folder, file), to, false, p->nmaps && !geteuid());
}

static void mounts_add(const struct plan *p, struct json_object *list, struct arena *a)
{
	bool map = p->nmaps && !geteuid();
	file_add(p, list, "hosts", "/etc/hosts", a);
	file_add(p, list, "hostname", "/etc/hostname", a);
	file_add(p, list, "resolv.conf", "/etc/resolv.conf", a);
	for (unsigned i = 0; i < p->nvolumes; i++)
		mount_add(list, p->volume[i].from, p->volume[i].to, p->volume[i].readonly, map);
}

/* As systemd wants to find it (its CONTAINER_INTERFACE.md). Where names are asked of its resolved,
 * that asks whom we say; and what the file systems of a computer's disk are, is not this zone's. */
static void init_world(const struct plan *p, struct json_object *mounts, struct arena *a)
{
	static const char *const options[] = {"nosuid", "nodev", "mode=755", "size=65536k"};
	static const char *const places[] = {"/run", "/run/lock", "/tmp"};
	for (unsigned i = 0; i < 3; i++) {
		struct json_object *o = json_object_new_object();
		put_text(o, "type", "tmpfs");
		put_text(o, "source", "tmpfs");
		put_text(o, "destination", places[i]);
		put(o, "options", words_json(options, i < 2 ? 4 : 2));
		add(mounts, o);
	}
	file_add(p, mounts, "resolved.conf", "/run/systemd/resolved.conf.d/lodge.conf", a);
	if (p->disk) file_add(p, mounts, "fstab", "/etc/fstab", a);
	for (size_t i = 0; i < json_object_array_length(mounts); i++) {
		struct json_object *m = json_object_array_get_idx(mounts, i);
		static const char *const group[] = {"nosuid", "noexec", "nodev", "relatime"};
		if (!strcmp(json_object_get_string(get(m, "type")), "cgroup"))
			put(m, "options", words_json(group, 4));
	}
}

static struct json_object *map_json(const struct plan_map *m, unsigned n)
{
	struct json_object *l = json_object_new_array();
	for (unsigned i = 0; i < n; i++) {
		struct json_object *o = json_object_new_object();
		put(o, "containerID", json_object_new_int64(m[i].inside));
		put(o, "hostID", json_object_new_int64(m[i].outside));
		put(o, "size", json_object_new_int64(m[i].size));
		add(l, o);
	}
	return l;
}

static void namespace_add(struct json_object *l, const char *type)
{
	struct json_object *o = json_object_new_object();
	put_text(o, "type", type);
	add(l, o);
}

static void linux_fill(const struct plan *p, struct json_object *o)
{
	struct json_object *ns = get(o, "namespaces");
	if (p->net == PLAN_NET_OWN) namespace_add(ns, "network");
	if (p->nmaps) {
		namespace_add(ns, "user");
		put(o, "uidMappings", map_json(p->users, p->nmaps));
		put(o, "gidMappings", map_json(p->groups, p->nmaps));
	}
	put_text(o, "cgroupsPath", p->group);
}

static const char seccomp_text[] =
#include "zone/seccomp_usual.inc"
	;
static const char world_text[] =
#include "zone/world_usual.inc"
	;

static int world_json(struct plan *p, const struct plan_image *im, struct json_object **out,
		      struct arena *a, struct err *e)
{
	struct json_object *o = decode_text(world_text, sizeof(world_text) - 1, e);
	must(o);
	struct json_object *filter = decode_text(seccomp_text, sizeof(seccomp_text) - 1, e);
	must(filter);
	*out = o;
	put_text(o, "hostname", p->hostname);
	put(o, "process", process_json(p, im, a));
	mounts_add(p, get(o, "mounts"), a);
	linux_fill(p, get(o, "linux"));
	put(get(o, "linux"), "seccomp", filter);
	struct json_object *args = get(get(o, "process"), "args");
	p->init = is_init(args) && p->nmaps;
	if (p->init) init_world(p, get(o, "mounts"), a);
	if (!json_object_array_length(args))
		return fail(e, -EINVAL, "its image has no command of its own: which is to run?");
	return 0;
}

int plan_spec(struct plan *p, const struct plan_image *im, struct spec *s, struct arena *a,
	      struct err *e)
{
	auto_json struct json_object *o = NULL;
	int r = world_json(p, im, &o, a, e);
	if (r) return r;
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	r = spec_parse(s, text, strlen(text), a, e);
	if (r) return r;
	const char *user = p->user ? p->user : im->user;
	s->process->user_name = user && *user ? user : "0";
	return 0;
}

/* ---- ids */
enum { RANGE_FIRST = 524288, RANGES = 8192, TEXT_MAX = 1 << 20 };

static uint32_t range_of(const char *name)
{
	uint32_t h = 2166136261u;
	for (; *name; name++) h = (h ^ (unsigned char)*name) * 16777619u;
	return RANGE_FIRST + (h % RANGES) * PLAN_IDS;
}

/* "NAME:FIRST:COUNT" of that user, by name or number. */
static bool lent(const char *file, const char *name, uint32_t *first, uint32_t *count)
{
	auto_buf struct buf b = {0};
	char number[16];
	(void)snprintf(number, sizeof(number), "%u", geteuid());
	if (file_read(&b, file, TEXT_MAX, NULL) || !b.len) return false;
	for (char *line, *at = b.at; (line = strsep(&at, "\n"));) {
		const char *who = strsep(&line, ":");
		if (!line || (strcmp(who, name) && strcmp(who, number))) continue;
		if (sscanf(line, "%u:%u", first, count) == 2 && *count) return true;
	}
	return false;
}

static bool helpers_there(void)
{
	return !access("/usr/bin/newuidmap", X_OK) && !access("/usr/bin/newgidmap", X_OK);
}

void plan_ids(struct plan *p)
{
	uint32_t first, count, gfirst, gcount;
	p->nmaps = !geteuid() && !kernel_has(6, 15) ? 0 : 1;
	if (!geteuid()) {
		p->users[0] = (struct plan_map){0, range_of(p->id ? p->id : p->hostname), PLAN_IDS};
		p->groups[0] = p->users[0];
		return;
	}
	p->users[0] = (struct plan_map){0, geteuid(), 1};
	p->groups[0] = (struct plan_map){0, getegid(), 1};
	const struct passwd *w = getpwuid(geteuid());
	if (!w || !helpers_there() || !lent("/etc/subuid", w->pw_name, &first, &count) ||
	    !lent("/etc/subgid", w->pw_name, &gfirst, &gcount))
		return;
	p->users[1] = (struct plan_map){1, first, count};
	p->groups[1] = (struct plan_map){1, gfirst, gcount};
	p->nmaps = 2;
}
