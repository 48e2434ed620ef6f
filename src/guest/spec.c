/* struct spec as JSON, by a table: what is added to the struct is a line here. */
#include "guest/spec.h"
#include "base/own.h"
#include "guest/guest.h"
#include <errno.h>
#include <json-c/json.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum field_type { TEXT, PATH, COUNTED, SIZE, FLAG, WORDS };
static const struct field {
	const char *name;
	enum field_type type;
	size_t at;
} fields[] = {
#define FIELD(type, member)                                                                        \
	{                                                                                          \
#member, type, offsetof(struct spec, member)                                       \
	}
	FIELD(TEXT, image),	 FIELD(COUNTED, cpus),
	FIELD(SIZE, memory),	 FIELD(PATH, kernel),
	FIELD(PATH, initrd),	 FIELD(TEXT, append),
	FIELD(PATH, firmware),	 FIELD(TEXT, engine),
	FIELD(TEXT, cpu),	 FIELD(SIZE, code_cache),
	FIELD(FLAG, profile),	 FIELD(FLAG, deterministic),
	FIELD(PATH, dump),	 FIELD(TEXT, trace),
	FIELD(PATH, trace_file), FIELD(PATH, symbols),
	FIELD(SIZE, cap_rate),	 FIELD(FLAG, remove),
	FIELD(PATH, vars),	 FIELD(TEXT, gdb),
	FIELD(FLAG, gdb_wait),	 FIELD(FLAG, no_balloon),
	FIELD(FLAG, no_direct),	 FIELD(FLAG, memory_merge),
	FIELD(FLAG, boot_cdrom), FIELD(FLAG, disk_copy),
	FIELD(TEXT, kind),
#undef FIELD
#define ZONE(type, member)                                                                         \
	{                                                                                          \
#member, type, offsetof(struct spec, zone.member)                                  \
	}
	ZONE(WORDS, args),	 ZONE(WORDS, env),
	ZONE(TEXT, entrypoint),	 ZONE(TEXT, user),
	ZONE(TEXT, workdir),	 ZONE(TEXT, hostname),
	ZONE(FLAG, tty),	 ZONE(FLAG, input),
	ZONE(FLAG, host_ids),	 ZONE(FLAG, host_net),
	ZONE(SIZE, storage),	 ZONE(TEXT, ip),
	ZONE(FLAG, own_kernel),	 ZONE(PATH, rootfs),
#undef ZONE
#define LIMIT(member)                                                                              \
	{                                                                                          \
#member, SIZE, offsetof(struct spec, limits.member)                                \
	}
	LIMIT(target),		 LIMIT(cpu_cap),
	LIMIT(cpu_shares),	 LIMIT(io_rate),
	LIMIT(io_ops),		 LIMIT(memory_high),
	LIMIT(cpu_set),		 LIMIT(pids),
	LIMIT(io_weight),	 LIMIT(memory_low),
#undef LIMIT
};
enum { TEXT_MAX = 64 * 1024, WORDS_MAX = 4096 };
static const char *const arches[] = {[ARCH_X86_64] = "amd64", [ARCH_RV64] = "riscv64"};

static const char *const buses[] = {
	[BUS_VIRTIO] = "virtio", [BUS_NVME] = "nvme", [BUS_SATA] = "sata", [BUS_CDROM] = "cdrom"};

bool bus_find(enum spec_bus *out, const char *name)
{
	for (unsigned i = 0; i < COUNT(buses); i++)
		if (!strcmp(name, buses[i])) return *out = (enum spec_bus)i, true;
	return false;
}

bool spec_is_zone(const struct spec *s) { return s->kind && !strcmp(s->kind, "zone"); }

bool spec_is_container(const struct spec *s) { return spec_is_zone(s) || s->zone.own_kernel; }

const char *arch_name(enum arch a) { return arches[a]; }

bool arch_find(enum arch *out, const char *name)
{
	for (unsigned i = 0; i < COUNT(arches); i++)
		if (!strcmp(name, arches[i])) {
			*out = (enum arch)i;
			return true;
		}
	return false;
}

/* ---- writing ---- */
static void put(struct json_object *o, const char *key, struct json_object *v)
{
	must(v && !json_object_object_add(o, key, v));
}

static char *began_in; /* the process, before it was confined; NULL: it is not */

void spec_keep_folder(void)
{
	if (!began_in) began_in = getcwd(NULL, 0);
}

static struct json_object *path_json(const char *path)
{
	bool whole_already = *path == '/' || !strncmp(path, SPEC_OWN, strlen(SPEC_OWN));
	auto_mem char *cwd = whole_already ? NULL
			     : began_in	   ? strdup(began_in)
					   : getcwd(NULL, 0),
		      *whole = NULL;
	if (!cwd) return json_object_new_string(path);
	must(asprintf(&whole, "%s/%s", strcmp(cwd, "/") != 0 ? cwd : "", path) >= 0);
	return json_object_new_string(whole);
}

static struct json_object *words_json(const struct spec_words *w)
{
	struct json_object *all = json_object_new_array();
	for (unsigned i = 0; i < w->n; i++)
		must(!json_object_array_add(all, json_object_new_string(w->at[i])));
	return all;
}

static void put_field(const struct spec *s, const struct field *f, struct json_object *to)
{
	const void *at = (const char *)s + f->at;
	const char *text = f->type <= PATH ? *(const char *const *)at : NULL;
	if (text)
		put(to, f->name, f->type == PATH ? path_json(text) : json_object_new_string(text));
	else if (f->type == COUNTED)
		put(to, f->name, json_object_new_int64(*(const unsigned *)at));
	else if (f->type == SIZE && *(const uint64_t *)at)
		put(to, f->name, json_object_new_uint64(*(const uint64_t *)at));
	else if (f->type == FLAG)
		put(to, f->name, json_object_new_boolean(*(const bool *)at));
	else if (f->type == WORDS && ((const struct spec_words *)at)->n)
		put(to, f->name, words_json(at));
}

static struct json_object *disks_json(const struct spec *s)
{
	struct json_object *all = json_object_new_array();
	for (unsigned i = 0; i < s->ndisks; i++) {
		struct json_object *o = json_object_new_object();
		put(o, "path", path_json(s->disk[i].path));
		put(o, "format", json_object_new_string(s->disk[i].format));
		put(o, "readonly", json_object_new_boolean(s->disk[i].readonly));
		put(o, "backing", json_object_new_boolean(s->disk[i].backing));
		if (s->disk[i].shared) put(o, "shared", json_object_new_boolean(true));
		if (s->disk[i].bus != BUS_VIRTIO)
			put(o, "if", json_object_new_string(buses[s->disk[i].bus]));
		must(!json_object_array_add(all, o));
	}
	return all;
}

static struct json_object *ports_json(const struct spec *s)
{
	struct json_object *all = json_object_new_array();
	for (unsigned i = 0; i < s->npublish; i++) {
		const struct nat_forward *f = &s->publish[i];
		char text[80];
		(void)snprintf(text, sizeof(text), "%s:%u:%u/%s", *f->host ? f->host : "127.0.0.1",
			       f->host_port, f->guest_port, f->udp ? "udp" : "tcp");
		must(!json_object_array_add(all, json_object_new_string(text)));
	}
	return all;
}

/* FOLDER:PLACE, the folder from the root; but a volume's name. */
static struct json_object *volume_json(const char *text)
{
	size_t n = strcspn(text, ":");
	bool folder = memchr(text, '/', n) || (n == 1 && *text == '.') ||
		      (n == 2 && !strncmp(text, "..", n));
	return folder ? path_json(text) : json_object_new_string(text);
}

static struct json_object *volumes_json(const struct spec *s)
{
	struct json_object *all = json_object_new_array();
	for (unsigned i = 0; i < s->nvolumes; i++)
		must(!json_object_array_add(all, volume_json(s->volume[i])));
	return all;
}

static struct json_object *nets_json(const struct spec *s)
{
	struct json_object *all = json_object_new_array();
	for (unsigned i = 0; i < s->nnets; i++)
		must(!json_object_array_add(all, json_object_new_string(s->net[i])));
	return all;
}

void spec_to_json(const struct spec *s, struct json_object *to)
{
	put(to, "arch", json_object_new_string(arch_name(s->arch)));
	for (unsigned i = 0; i < COUNT(fields); i++) put_field(s, &fields[i], to);
	put(to, "disks", disks_json(s));
	put(to, "ports", ports_json(s));
	put(to, "nets", nets_json(s));
	put(to, "volumes", volumes_json(s));
}

/* ---- reading ---- */
static int take_text(const char **to, struct arena *a, struct json_object *v, struct err *e)
{
	if (!json_object_is_type(v, json_type_string)) return fail(e, -EINVAL, "not a string");
	const char *s = json_object_get_string(v);
	size_t n = (size_t)json_object_get_string_len(v);
	if (n > TEXT_MAX || strlen(s) != n) return fail(e, -EINVAL, "not a text");
	char *copy = arena_make(a, char, n + 1);
	memcpy(copy, s, n);
	*to = copy;
	return 0;
}

static int take_number(uint64_t *to, struct json_object *v, uint64_t most, struct err *e)
{
	if (!json_object_is_type(v, json_type_int) || json_object_get_int64(v) < 0 ||
	    json_object_get_uint64(v) > most)
		return fail(e, -EINVAL, "not a number up to %llu", (unsigned long long)most);
	*to = json_object_get_uint64(v);
	return 0;
}

static int take_flag(bool *to, struct json_object *v, struct err *e)
{
	if (!json_object_is_type(v, json_type_boolean)) return fail(e, -EINVAL, "not a boolean");
	*to = json_object_get_boolean(v);
	return 0;
}

static int take_words(struct spec_words *to, struct arena *a, struct json_object *v, struct err *e)
{
	if (!json_object_is_type(v, json_type_array)) return fail(e, -EINVAL, "not a list");
	size_t n = json_object_array_length(v);
	if (n > WORDS_MAX) return fail(e, -E2BIG, "more than %d", WORDS_MAX);
	to->at = arena_make(a, const char *, n + 1);
	for (size_t i = 0; i < n; i++) {
		int r = take_text(&to->at[i], a, json_object_array_get_idx(v, i), e);
		if (r) return r;
	}
	to->n = (unsigned)n;
	return 0;
}

static int take_field(struct spec *s, const struct field *f, struct arena *a, struct json_object *v,
		      struct err *e)
{
	void *at = (char *)s + f->at;
	uint64_t n = 0;
	int r;
	switch (f->type) {
	case COUNTED:
		r = take_number(&n, v, 1u << 20, e);
		*(unsigned *)at = (unsigned)n;
		break;
	case SIZE: r = take_number(at, v, 1ull << 60, e); break;
	case FLAG: r = take_flag(at, v, e); break;
	case WORDS: r = take_words(at, a, v, e); break;
	default: r = take_text(at, a, v, e); break;
	}
	return r ? fail_in(e, "%s", f->name) : 0;
}

/* Left out where it is the usual one. */
static int take_bus(enum spec_bus *to, struct arena *a, struct json_object *o, struct err *e)
{
	struct json_object *v;
	const char *text = "";
	if (!json_object_object_get_ex(o, "if", &v)) return 0;
	int r = take_text(&text, a, v, e);
	return r || bus_find(to, text) ? r : fail(e, -EINVAL, "if: not a bus");
}

static int take_disk(struct spec *s, struct arena *a, struct json_object *o, struct err *e)
{
	struct json_object *path, *format, *ro, *backing, *shared;
	if (s->ndisks == SPEC_DISKS) return fail(e, -EINVAL, "more than %d", SPEC_DISKS);
	struct spec_disk *d = &s->disk[s->ndisks];
	if (!json_object_object_get_ex(o, "path", &path) ||
	    !json_object_object_get_ex(o, "format", &format) ||
	    !json_object_object_get_ex(o, "readonly", &ro))
		return fail(e, -EINVAL, "needs path, format, readonly");
	int r = take_text(&d->path, a, path, e);
	if (!r) r = take_text(&d->format, a, format, e);
	if (!r) r = take_flag(&d->readonly, ro, e);
	if (!r && json_object_object_get_ex(o, "backing", &backing))
		r = take_flag(&d->backing, backing, e);
	if (!r && json_object_object_get_ex(o, "shared", &shared))
		r = take_flag(&d->shared, shared, e);
	if (!r) r = take_bus(&d->bus, a, o, e);
	if (!r && d->bus == BUS_CDROM && !d->readonly) r = fail(e, -EINVAL, "readonly: a CD is");
	s->ndisks += !r;
	return r;
}

static int take_port(struct spec *s, struct arena *a, struct json_object *o, struct err *e)
{
	const char *text = NULL;
	if (s->npublish == SPEC_PUBLISH) return fail(e, -EINVAL, "more than %d", SPEC_PUBLISH);
	int r = take_text(&text, a, o, e);
	if (!r) r = nat_forward_parse(&s->publish[s->npublish], text, e);
	s->npublish += !r;
	return r;
}

static int take_net(struct spec *s, struct arena *a, struct json_object *o, struct err *e)
{
	if (s->nnets == SPEC_NETS) return fail(e, -EINVAL, "more than %d", SPEC_NETS);
	int r = take_text(&s->net[s->nnets], a, o, e);
	s->nnets += !r;
	return r;
}

static int take_volume(struct spec *s, struct arena *a, struct json_object *o, struct err *e)
{
	if (s->nvolumes == SPEC_VOLUMES) return fail(e, -EINVAL, "more than %d", SPEC_VOLUMES);
	int r = take_text(&s->volume[s->nvolumes], a, o, e);
	s->nvolumes += !r;
	return r;
}

static int take_list(struct spec *s, struct arena *a, struct json_object *o, const char *key,
		     int (*one)(struct spec *s, struct arena *a, struct json_object *v,
				struct err *e),
		     struct err *e)
{
	struct json_object *list;
	int r = 0;
	if (!json_object_object_get_ex(o, key, &list)) return 0;
	if (!json_object_is_type(list, json_type_array))
		return fail(e, -EINVAL, "%s: not a list", key);
	for (size_t i = 0; !r && i < json_object_array_length(list); i++)
		r = one(s, a, json_object_array_get_idx(list, i), e);
	return r ? fail_in(e, "%s", key) : 0;
}

static int take_arch(struct spec *s, struct arena *a, struct json_object *o, struct err *e)
{
	struct json_object *v;
	const char *text = "";
	if (!json_object_object_get_ex(o, "arch", &v)) return fail(e, -EINVAL, "arch: missing");
	int r = take_text(&text, a, v, e);
	if (!r && !arch_find(&s->arch, text)) r = fail(e, -EINVAL, "not a CPU");
	return r ? fail_in(e, "arch") : 0;
}

int spec_from_json(struct spec *s, struct arena *a, struct json_object *from, struct err *e)
{
	struct json_object *v;
	*s = (struct spec){.cpus = 1};
	if (!json_object_is_type(from, json_type_object)) return fail(e, -EINVAL, "not an object");
	int r = take_arch(s, a, from, e);
	for (unsigned i = 0; !r && i < COUNT(fields); i++)
		if (json_object_object_get_ex(from, fields[i].name, &v))
			r = take_field(s, &fields[i], a, v, e);
	if (!r) r = take_list(s, a, from, "disks", take_disk, e);
	if (!r) r = take_list(s, a, from, "nets", take_net, e);
	if (!r) r = take_list(s, a, from, "volumes", take_volume, e);
	return r ? r : take_list(s, a, from, "ports", take_port, e);
}
