/* Which devices a zone may open: version 1 has two files for that, version 2 a program in the
 * kernel, which is made here by hand: rules from the last to the first, the first that fits
 * decides (bpf(2), struct bpf_cgroup_dev_ctx). What no rule names is refused. */
#include "zone/group.h"
#include "zone/log.h"
#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ANY                                                                                        \
	{                                                                                          \
		false, 0                                                                           \
	}
/* What each zone may have, as runc and crun give it: nodes may be made of anything, and the
 * devices of the specification's default list may be used. */
static const struct spec_device_rule usual[] = {
	{true, "c", ANY, ANY, "m"},
	{true, "b", ANY, ANY, "m"},
	{true, "c", {true, 1}, {true, 3}, "rwm"},
	{true, "c", {true, 1}, {true, 5}, "rwm"},
	{true, "c", {true, 1}, {true, 7}, "rwm"},
	{true, "c", {true, 1}, {true, 8}, "rwm"},
	{true, "c", {true, 1}, {true, 9}, "rwm"},
	{true, "c", {true, 5}, {true, 0}, "rwm"},
	{true, "c", {true, 5}, {true, 1}, "rwm"},
	{true, "c", {true, 5}, {true, 2}, "rwm"},
	{true, "c", {true, 136}, ANY, "rwm"},
};
enum { USUAL = sizeof(usual) / sizeof(usual[0]), INSNS_MAX = 4096 };

static bool any(const struct number *n) { return !n->set || n->v < 0; }
static const char *type_of(const struct spec_device_rule *r)
{
	return r->type && *r->type ? r->type : "a";
}
static const char *access_of(const struct spec_device_rule *r)
{
	return r->access && *r->access ? r->access : "rwm";
}

static int rule_check(const struct spec_device_rule *r, struct err *e)
{
	const char *t = type_of(r), *a = access_of(r);
	if (strlen(t) != 1 || !strchr("abc", *t))
		return fail(e, -EINVAL, "linux.resources.devices: type %s: a, b or c", t);
	if (strlen(a) > 3 || strspn(a, "rwm") != strlen(a))
		return fail(e, -EINVAL, "linux.resources.devices: access %s: of r, w and m", a);
	return 0;
}

/* to: devices.deny and devices.allow. */
static int v1_rule(const int to[2], const struct spec_device_rule *r, struct err *e)
{
	char major[24] = "*", minor[24] = "*", text[96];
	if (!any(&r->major)) (void)snprintf(major, sizeof(major), "%" PRId64, r->major.v);
	if (!any(&r->minor)) (void)snprintf(minor, sizeof(minor), "%" PRId64, r->minor.v);
	int n = snprintf(text, sizeof(text), "%s %s:%s %s", type_of(r), major, minor, access_of(r));
	if (*type_of(r) == 'a') n = 1; /* that says all */
	return write(to[r->allow], text, (size_t)n) == n
		       ? 0
		       : fail(e, -errno, "linux.resources.devices: %s: %s", text, strerror(errno));
}

struct program {
	struct bpf_insn at[INSNS_MAX];
	unsigned n;
};

static void emit(struct program *p, int op, unsigned dst, unsigned src, int off, int32_t imm)
{
	if (p->n < INSNS_MAX)
		p->at[p->n++] = (struct bpf_insn){.code = (uint8_t)op,
						  .dst_reg = dst & 15,
						  .src_reg = src & 15,
						  .off = (int16_t)off,
						  .imm = imm};
}

/* r2: type, r3: access, r4: major, r5: minor; a test that fails skips the rest of its rule. */
static void program_head(struct program *p)
{
	emit(p, BPF_LDX | BPF_W | BPF_MEM, 2, 1, 0, 0);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0);
	emit(p, BPF_ALU64 | BPF_AND | BPF_K, 2, 0, 0, 0xffff);
	emit(p, BPF_ALU64 | BPF_RSH | BPF_K, 3, 0, 0, 16);
	emit(p, BPF_LDX | BPF_W | BPF_MEM, 4, 1, 4, 0);
	emit(p, BPF_LDX | BPF_W | BPF_MEM, 5, 1, 8, 0);
}

static int access_bits(const char *a)
{
	return (strchr(a, 'm') ? BPF_DEVCG_ACC_MKNOD : 0) |
	       (strchr(a, 'r') ? BPF_DEVCG_ACC_READ : 0) |
	       (strchr(a, 'w') ? BPF_DEVCG_ACC_WRITE : 0);
}

/* False: it fits whatever is asked for, so nothing after it could be reached, which the kernel does
 * not take. */
static bool program_rule(struct program *p, const struct spec_device_rule *r)
{
	unsigned tests[8], n = 0;
	const char *t = type_of(r);
	if (*t != 'a') {
		tests[n++] = p->n;
		emit(p, BPF_JMP | BPF_JNE | BPF_K, 2, 0, 0,
		     *t == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	}
	int bits = *t == 'a' ? 7 : access_bits(access_of(r));
	if (bits != 7 && r->allow) { /* all that is wanted is among them */
		emit(p, BPF_ALU64 | BPF_MOV | BPF_X, 0, 3, 0, 0);
		emit(p, BPF_ALU64 | BPF_AND | BPF_K, 0, 0, 0, 7 & ~bits);
		tests[n++] = p->n;
		emit(p, BPF_JMP | BPF_JNE | BPF_K, 0, 0, 0, 0);
	} else if (bits != 7) { /* any that is wanted is among them */
		emit(p, BPF_ALU64 | BPF_MOV | BPF_X, 0, 3, 0, 0);
		emit(p, BPF_ALU64 | BPF_AND | BPF_K, 0, 0, 0, bits);
		tests[n++] = p->n;
		emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 0, 0);
	}
	if (!any(&r->major) && *t != 'a') {
		tests[n++] = p->n;
		emit(p, BPF_JMP | BPF_JNE | BPF_K, 4, 0, 0, (int32_t)r->major.v);
	}
	if (!any(&r->minor) && *t != 'a') {
		tests[n++] = p->n;
		emit(p, BPF_JMP | BPF_JNE | BPF_K, 5, 0, 0, (int32_t)r->minor.v);
	}
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, r->allow);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	for (unsigned i = 0; i < n && p->n < INSNS_MAX; i++)
		p->at[tests[i]].off = (int16_t)(p->n - tests[i] - 1);
	return n;
}

static int program_attach(const struct program *p, int dir, struct err *e)
{
	union bpf_attr a = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
			    .insns = (uint64_t)(uintptr_t)p->at,
			    .insn_cnt = p->n,
			    .license = (uint64_t)(uintptr_t) "GPL"};
	auto_fd int prog = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof(a));
	if (prog < 0)
		return fail(e, -errno,
			    "linux.resources.devices: the kernel took no program for "
			    "them: %s",
			    strerror(errno));
	union bpf_attr at = {.target_fd = (unsigned)dir,
			     .attach_bpf_fd = (unsigned)prog,
			     .attach_type = BPF_CGROUP_DEVICE,
			     .attach_flags = BPF_F_ALLOW_MULTI};
	if (syscall(SYS_bpf, BPF_PROG_ATTACH, &at, sizeof(at)))
		return fail(e, -errno, "linux.resources.devices: attaching their program: %s",
			    strerror(errno));
	return 0;
}

int group_devices_bpf(int dir, const struct spec_device_rule *rules, unsigned n, struct err *e)
{
	static struct program p;
	p.n = 0;
	program_head(&p);
	bool open = true;
	for (unsigned i = USUAL; i--;) (void)program_rule(&p, &usual[i]);
	for (unsigned i = n; open && i--;) open = program_rule(&p, &rules[i]);
	if (open) {
		emit(&p, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
		emit(&p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	}
	if (p.n >= INSNS_MAX)
		return fail(e, -E2BIG, "linux.resources.devices: %u rules are too many", n);
	return program_attach(&p, dir, e);
}

static int v1_devices(int dir, const struct spec_resources *r, struct err *e)
{
	static const struct spec_device_rule all = {.type = "a"};
	auto_fd int deny = openat(dir, "devices.deny", O_WRONLY | O_CLOEXEC | O_NOFOLLOW),
		    allow = openat(dir, "devices.allow", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	const int to[] = {deny, allow};
	int c = v1_rule(to, &all, e);
	for (unsigned i = 0; !c && r && i < r->devices.n; i++)
		c = v1_rule(to, &r->devices.at[i], e);
	for (unsigned i = 0; !c && i < USUAL; i++) c = v1_rule(to, &usual[i], e);
	return c;
}

/* The last rule allows all: nothing has to be asked of anybody. */
static bool all_allowed(const struct spec_resources *r)
{
	const struct spec_device_rule *last =
		r && r->devices.n ? &r->devices.at[r->devices.n - 1] : NULL;
	return last && last->allow && *type_of(last) == 'a';
}

int group_devices(const struct group *g, const struct spec_resources *r, struct err *e)
{
	bool two;
	int c = 0, dir = group_dir(g, "devices", &two);
	for (unsigned i = 0; !c && r && i < r->devices.n; i++) c = rule_check(&r->devices.at[i], e);
	if (c || all_allowed(r)) return c;
	if (dir >= 0) {
		c = v1_devices(dir, r, e);
	} else if ((dir = group_into(g)) >= 0) {
		c = group_devices_bpf(dir, r ? r->devices.at : NULL, r ? r->devices.n : 0, e);
	} else {
		return 0;
	}
	if (c && (c == -EPERM || c == -EACCES) && (g->lame || geteuid())) {
		oci_log(OCI_WARNING, "%s: going on without", e->msg);
		c = 0;
	}
	return c;
}
