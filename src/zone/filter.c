#include "zone/filter.h"
#include "base/buf.h"
#include "zone/decode.h"
#include "zone/group.h"
#include "zone/log.h"
#include "zone/words.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

struct arg {
	uint32_t index;
	uint64_t value, value_two;
	const char *op;
};
struct rule {
	struct texts names;
	const char *action;
	struct number errno_ret;
	LIST_OF(struct arg) args;
};
struct section {
	const char *action;
	struct number errno_ret;
	struct texts archs, flags;
	const char *listener, *metadata;
	LIST_OF(struct rule) rules;
};

static const struct decode_field arg_fields[] = {
	DECODE_AT(arg, index, "index", U32), DECODE_AT(arg, value, "value", U64),
	DECODE_AT(arg, value_two, "valueTwo", U64), DECODE_AT(arg, op, "op", TEXT), DECODE_END};
static const struct decode_field rule_fields[] = {
	DECODE_AT(rule, names, "names", TEXTS), DECODE_AT(rule, action, "action", TEXT),
	DECODE_AT(rule, errno_ret, "errnoRet", NUMBER),
	DECODE_EACH(rule, args, "args", arg, arg_fields), DECODE_END};
static const struct decode_field section_fields[] = {
	DECODE_AT(section, action, "defaultAction", TEXT),
	DECODE_AT(section, errno_ret, "defaultErrnoRet", NUMBER),
	DECODE_AT(section, archs, "architectures", TEXTS),
	DECODE_AT(section, flags, "flags", TEXTS),
	DECODE_AT(section, listener, "listenerPath", TEXT),
	DECODE_AT(section, metadata, "listenerMetadata", TEXT),
	DECODE_EACH(section, rules, "syscalls", rule, rule_fields),
	DECODE_END};

const char *const filter_actions[] = {"SCMP_ACT_ALLOW",	      "SCMP_ACT_ERRNO",
				      "SCMP_ACT_KILL",	      "SCMP_ACT_KILL_PROCESS",
				      "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG",
				      "SCMP_ACT_NOTIFY",      "SCMP_ACT_TRACE",
				      "SCMP_ACT_TRAP",	      NULL};
static const struct word actions[] = {{"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
				      {"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0)},
				      {"SCMP_ACT_KILL", SCMP_ACT_KILL},
				      {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
				      {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
				      {"SCMP_ACT_LOG", SCMP_ACT_LOG},
				      {"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY},
				      {"SCMP_ACT_TRACE", SCMP_ACT_TRACE(0)},
				      {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
				      {NULL, 0}};
const char *const filter_operators[] = {"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
					"SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ",
					"SCMP_CMP_NE", NULL};
static const struct word operators[] = {{"SCMP_CMP_NE", SCMP_CMP_NE},
					{"SCMP_CMP_LT", SCMP_CMP_LT},
					{"SCMP_CMP_LE", SCMP_CMP_LE},
					{"SCMP_CMP_EQ", SCMP_CMP_EQ},
					{"SCMP_CMP_GE", SCMP_CMP_GE},
					{"SCMP_CMP_GT", SCMP_CMP_GT},
					{"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
					{NULL, 0}};
const char *const filter_archs[] = {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM",
				    "SCMP_ARCH_MIPS",	 "SCMP_ARCH_PPC64LE",
				    "SCMP_ARCH_RISCV64", "SCMP_ARCH_S390X",
				    "SCMP_ARCH_X32",	 "SCMP_ARCH_X86",
				    "SCMP_ARCH_X86_64",	 NULL};
const char *const filter_flags[] = {"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
				    "SECCOMP_FILTER_FLAG_TSYNC",
				    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", NULL};
/* TSYNC says nothing here: there is one thread. */
static const struct word flag_words[] = {
	{"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
	{"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	{"SECCOMP_FILTER_FLAG_TSYNC", 0},
	{"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
	{NULL, 0}};

static int action_of(const char *name, const struct number *code, uint32_t *to, struct err *e)
{
	int64_t a = name ? word_find(actions, name) : -1;
	if (a < 0)
		return fail(e, -EINVAL, "linux.seccomp: %s: no such action",
			    name ? name : "(none)");
	*to = (uint32_t)a;
	bool takes = a == SCMP_ACT_ERRNO(0) || a == SCMP_ACT_TRACE(0);
	if (code->set && !takes)
		return fail(e, -EINVAL, "linux.seccomp: errnoRet says nothing for %s", name);
	if (code->set && (code->v < 0 || code->v > 4095))
		return fail(e, -ERANGE, "linux.seccomp: errnoRet: 0 to 4095");
	if (takes) *to |= code->set ? (uint32_t)code->v : EPERM;
	return 0;
}

static int archs_add(scmp_filter_ctx ctx, const struct texts *archs, struct err *e)
{
	for (unsigned i = 0; i < archs->n; i++) {
		char name[32];
		const char *a = archs->at[i];
		if (strncmp(a, "SCMP_ARCH_", 10) || strlen(a) > 40)
			return fail(e, -EINVAL,
				    "linux.seccomp.architectures: %s: none is so called", a);
		size_t n = 0;
		for (const char *c = a + 10; *c; c++)
			name[n++] = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
		name[n] = 0;
		uint32_t token = seccomp_arch_resolve_name(name);
		int r = token ? seccomp_arch_add(ctx, token) : -EINVAL;
		if (r && r != -EEXIST)
			return fail(e, r, "linux.seccomp.architectures: %s: not known here", a);
	}
	return 0;
}

static int args_convert(const struct rule *r, struct scmp_arg_cmp *to, struct err *e)
{
	if (r->args.n > 6) return fail(e, -E2BIG, "linux.seccomp: more than six arguments");
	for (unsigned i = 0; i < r->args.n; i++) {
		const struct arg *a = &r->args.at[i];
		int64_t op = a->op ? word_find(operators, a->op) : -1;
		if (op < 0 || a->index > 5)
			return fail(e, -EINVAL, "linux.seccomp: args: %s of argument %u",
				    a->op ? a->op : "(none)", a->index);
		to[i] = (struct scmp_arg_cmp){a->index, (enum scmp_compare)op, a->value,
					      a->value_two};
	}
	return 0;
}

/* Conditions on one argument twice cannot be asked for together: either is enough then. */
static bool twice(const struct rule *r)
{
	unsigned seen = 0;
	for (unsigned i = 0; i < r->args.n; i++) {
		if (seen & 1u << r->args.at[i].index) return true;
		seen |= 1u << r->args.at[i].index;
	}
	return false;
}

static int rule_add(scmp_filter_ctx ctx, const struct rule *r, uint32_t otherwise, struct err *e)
{
	struct scmp_arg_cmp args[6];
	uint32_t action = 0;
	int c;
	if ((c = action_of(r->action, &r->errno_ret, &action, e))) return c;
	if ((c = args_convert(r, args, e)) || action == otherwise) return c;
	for (unsigned i = 0; i < r->names.n; i++) {
		int nr = seccomp_syscall_resolve_name(r->names.at[i]);
		if (nr == __NR_SCMP_ERROR) continue;
		if (twice(r))
			for (unsigned k = 0; !c && k < r->args.n; k++)
				c = seccomp_rule_add_array(ctx, action, nr, 1, &args[k]);
		else
			c = seccomp_rule_add_array(ctx, action, nr, r->args.n, args);
		if (c)
			return fail(e, c, "linux.seccomp: %s %s: %s", r->action, r->names.at[i],
				    strerror(-c));
	}
	return 0;
}

static int export(scmp_filter_ctx ctx, struct filter *f, struct arena *a, struct err *e)
{
	auto_fd int fd = memfd_create("bpf", MFD_CLOEXEC);
	struct stat st;
	if (fd < 0 || seccomp_export_bpf(ctx, fd) || fstat(fd, &st) || st.st_size <= 0 ||
	    st.st_size % (off_t)sizeof(*f->at))
		return fail(e, -EINVAL, "linux.seccomp: libseccomp made no program of it");
	f->at = arena_alloc(a, (size_t)st.st_size);
	f->n = (unsigned)((size_t)st.st_size / sizeof(*f->at));
	return pread(fd, f->at, (size_t)st.st_size, 0) == st.st_size
		       ? 0
		       : fail(e, -EIO, "linux.seccomp: reading the program");
}

static int compile(struct filter *f, const struct section *s, struct arena *a, struct err *e)
{
	uint32_t otherwise = 0;
	int r = action_of(s->action, &s->errno_ret, &otherwise, e);
	if (r) return r;
	scmp_filter_ctx ctx = seccomp_init(otherwise);
	if (!ctx) return fail(e, -EINVAL, "linux.seccomp.defaultAction: %s", s->action);
	r = archs_add(ctx, &s->archs, e);
	for (unsigned i = 0; !r && i < s->rules.n; i++)
		r = rule_add(ctx, &s->rules.at[i], otherwise, e);
	if (!r) r = export(ctx, f, a, e);
	seccomp_release(ctx);
	return r;
}

/* Bytes of the text, the text, the program. */
static void cache_name(char *to, size_t room, const char *text, size_t len)
{
	uint64_t h = 0xcbf29ce484222325;
	for (size_t i = 0; i < len; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001b3;
	(void)snprintf(to, room, ".filter-1-%016lx", h);
}

static bool cache_read(struct filter *f, int cache, const char *name, const char *text, size_t len,
		       struct arena *a)
{
	struct stat st;
	uint64_t had = 0;
	auto_fd int fd = cache < 0 ? -1 : openat(cache, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) || st.st_uid != geteuid() || (st.st_mode & 022) ||
	    pread(fd, &had, sizeof(had), 0) != sizeof(had) || had != len)
		return false;
	off_t bpf = (off_t)(sizeof(had) + len), left = st.st_size - bpf;
	if (left <= 0 || left % (off_t)sizeof(*f->at) || left > BPF_MAXINSNS * 8) return false;
	char *old = arena_alloc(a, len);
	f->at = arena_alloc(a, (size_t)left);
	f->n = (unsigned)((size_t)left / sizeof(*f->at));
	if (pread(fd, old, len, sizeof(had)) == (ssize_t)len && !memcmp(old, text, len) &&
	    pread(fd, f->at, (size_t)left, bpf) == left)
		return true;
	f->at = NULL;
	return false;
}

static void cache_write(const struct filter *f, int cache, const char *name, const char *text,
			size_t len)
{
	char fresh[64];
	uint64_t n = len;
	size_t size = f->n * sizeof(*f->at);
	(void)snprintf(fresh, sizeof(fresh), "%s.%d", name, (int)getpid());
	auto_fd int fd =
		cache < 0 ? -1
			  : openat(cache, fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) return;
	if (write(fd, &n, sizeof(n)) != sizeof(n) || write(fd, text, len) != (ssize_t)len ||
	    write(fd, f->at, size) != (ssize_t)size || renameat(cache, fresh, cache, name))
		(void)unlinkat(cache, fresh, 0);
}

static int flags_take(struct filter *f, const struct section *s, struct err *e)
{
	for (unsigned i = 0; i < s->flags.n; i++) {
		int64_t v = word_find(flag_words, s->flags.at[i]);
		if (v < 0)
			return fail(e, -EINVAL, "linux.seccomp.flags: %s: no such flag",
				    s->flags.at[i]);
		f->flags |= (unsigned)v;
	}
	bool notifies = s->action && !strcmp(s->action, "SCMP_ACT_NOTIFY");
	for (unsigned i = 0; i < s->rules.n; i++)
		notifies |=
			s->rules.at[i].action && !strcmp(s->rules.at[i].action, "SCMP_ACT_NOTIFY");
	if (notifies && !s->listener)
		return fail(e, -EINVAL, "linux.seccomp: SCMP_ACT_NOTIFY without a listenerPath");
	if (notifies) {
		f->listener = s->listener;
		f->metadata = s->metadata;
		f->flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
	} else {
		f->flags &= ~(unsigned)SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	}
	return 0;
}

int filter_make(struct filter *f, struct json_object *section, int cache, struct arena *a,
		struct err *e)
{
	struct section s = {0};
	char name[48];
	*f = (struct filter){0};
	if (!section) return 0;
	int r = decode_object(section, "linux.seccomp", section_fields, &s, a, e);
	if (r || (r = flags_take(f, &s, e))) return r;
	const char *text = json_object_to_json_string_ext(section, JSON_C_TO_STRING_PLAIN);
	size_t len = strlen(text);
	cache_name(name, sizeof(name), text, len);
	if (cache_read(f, cache, name, text, len, a)) return 0;
	if ((r = compile(f, &s, a, e))) return r;
	cache_write(f, cache, name, text, len);
	return 0;
}

/* One step of a program that has looked at what data has. Returns what is to be added to the place,
 * or -1: it asks for more than that. */
static int64_t lets_step(const struct sock_filter *i, const struct seccomp_data *data, uint32_t *a)
{
	switch (i->code) {
	case BPF_LD | BPF_W | BPF_ABS:
		if (i->k > offsetof(struct seccomp_data, arch) || i->k % 4) return -1;
		memcpy(a, (const char *)data + i->k, 4);
		return 1;
	case BPF_JMP | BPF_JA: return 1 + (int64_t)i->k;
	case BPF_JMP | BPF_JEQ | BPF_K: return 1 + (*a == i->k ? i->jt : i->jf);
	case BPF_JMP | BPF_JGT | BPF_K: return 1 + (*a > i->k ? i->jt : i->jf);
	case BPF_JMP | BPF_JGE | BPF_K: return 1 + (*a >= i->k ? i->jt : i->jf);
	case BPF_JMP | BPF_JSET | BPF_K: return 1 + (*a & i->k ? i->jt : i->jf);
	case BPF_ALU | BPF_AND | BPF_K: *a &= i->k; return 1;
	default: return -1;
	}
}

bool filter_lets(const struct filter *f, int call)
{
	const struct seccomp_data data = {.nr = call, .arch = AUDIT_ARCH_X86_64};
	uint32_t a = 0;
	for (int64_t at = 0, step; f->at && at < f->n; at += step) {
		const struct sock_filter *i = &f->at[at];
		if (i->code == (BPF_RET | BPF_K)) return i->k == SECCOMP_RET_ALLOW;
		if ((step = lets_step(i, &data, &a)) < 0) return false;
	}
	return !f->at;
}

int filter_load(const struct filter *f, struct err *e)
{
	struct sock_fprog p = {(unsigned short)f->n, f->at};
	int r = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, f->flags, &p);
	return r < 0 ? fail(e, -errno, "linux.seccomp: the kernel refused it: %s", strerror(errno))
		     : r;
}
