/* What the types of config.json's fields cannot say. A thing that would be done wrongly or not at
 * all is an error here, before anything has been made; so is what only an attacker would write. */
#include "zone/log.h"
#include "zone/spec.h"
#include "zone/words.h"
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What no kernel of ours knows cannot be granted: a warning, by the specification, not an error. */
static uint64_t cap_bits(const struct texts *names, const char *set)
{
	uint64_t bits = 0;
	for (unsigned i = 0; i < names->n; i++) {
		int c = strncmp(names->at[i], "CAP_", 4) ? -1 : word_cap(names->at[i]);
		if (c < 0)
			oci_log(OCI_WARNING,
				"process.capabilities.%s: %s: no such capability: left out", set,
				names->at[i]);
		else
			bits |= 1ull << c;
	}
	return bits;
}

static void caps_take(struct spec_process *p)
{
	const struct spec_cap_names *n = p->cap_names;
	if (!n) return;
	p->caps = (struct spec_caps){.bounding = cap_bits(&n->bounding, "bounding"),
				     .effective = cap_bits(&n->effective, "effective"),
				     .inheritable = cap_bits(&n->inheritable, "inheritable"),
				     .permitted = cap_bits(&n->permitted, "permitted"),
				     .ambient = cap_bits(&n->ambient, "ambient")};
}

static int rlimits_check(struct spec_process *p, struct err *e)
{
	unsigned seen = 0;
	for (unsigned i = 0; i < p->rlimits.n; i++) {
		struct spec_rlimit *l = &p->rlimits.at[i];
		l->resource = l->type ? word_rlimit(l->type) : -1;
		if (l->resource < 0)
			return fail(e, -EINVAL, "process.rlimits[%u].type: %s: no such limit", i,
				    l->type ? l->type : "(none)");
		if (seen & 1u << l->resource)
			return fail(e, -EINVAL, "process.rlimits: %s is there twice", l->type);
		seen |= 1u << l->resource;
		if (l->soft > l->hard)
			return fail(e, -EINVAL, "process.rlimits: %s: soft is above hard", l->type);
	}
	return 0;
}

int spec_check_process(struct spec_process *p, struct err *e)
{
	int r;
	if (!p->args.n || !*p->args.at[0])
		return fail(e, -EINVAL, "process.args: empty: there is nothing to run");
	if (!p->cwd || p->cwd[0] != '/')
		return fail(e, -EINVAL, "process.cwd: %s: an absolute path is wanted",
			    p->cwd ? p->cwd : "(none)");
	if (p->oom_score_adj.set && (p->oom_score_adj.v < -1000 || p->oom_score_adj.v > 1000))
		return fail(e, -ERANGE, "process.oomScoreAdj: -1000 to 1000");
	if (p->user->umask.set && (p->user->umask.v < 0 || p->user->umask.v > 0777))
		return fail(e, -ERANGE, "process.user.umask: 0 to 0777");
	if ((r = rlimits_check(p, e))) return r;
	caps_take(p);
	return 0;
}

static int namespaces_check(struct spec *s, struct err *e)
{
	for (unsigned i = 0; i < s->linux_->namespaces.n; i++) {
		struct spec_namespace *n = &s->linux_->namespaces.at[i];
		int f = n->type ? word_namespace(n->type) : -1;
		if (f < 0)
			return fail(e, -EINVAL, "linux.namespaces[%u].type: %s: no such namespace",
				    i, n->type ? n->type : "(none)");
		if ((s->new_ns | s->join_ns) & f)
			return fail(e, -EINVAL, "linux.namespaces: %s is there twice", n->type);
		if (n->path && !*n->path) n->path = NULL;
		n->flag = f;
		*(n->path ? &s->join_ns : &s->new_ns) |= f;
	}
	return 0;
}

/* Which namespace of the zone's own a sysctl is kept in; 0: it is the host's. */
static int sysctl_ns(const char *key)
{
	static const struct word ipc[] = {
		{"kernel.msgmax", CLONE_NEWIPC},     {"kernel.msgmnb", CLONE_NEWIPC},
		{"kernel.msgmni", CLONE_NEWIPC},     {"kernel.sem", CLONE_NEWIPC},
		{"kernel.shmall", CLONE_NEWIPC},     {"kernel.shmmax", CLONE_NEWIPC},
		{"kernel.shmmni", CLONE_NEWIPC},     {"kernel.shm_rmid_forced", CLONE_NEWIPC},
		{"kernel.domainname", CLONE_NEWUTS}, {NULL, 0}};
	if (!strncmp(key, "net.", 4)) return CLONE_NEWNET;
	if (!strncmp(key, "fs.mqueue.", 10)) return CLONE_NEWIPC;
	if (!strncmp(key, "user.", 5)) return CLONE_NEWUSER;
	int64_t ns = word_find(ipc, key);
	return ns < 0 ? 0 : (int)ns;
}

static int sysctls_check(struct spec *s, struct err *e)
{
	for (unsigned i = 0; i < s->linux_->sysctl.n; i++) {
		char *key = (char *)s->linux_->sysctl.key[i];
		if (!strchr(key, '.') && strchr(key, '/'))
			for (char *c = key; (c = strchr(c, '/'));) *c = '.';
		if (strstr(key, "..") || *key == '.')
			return fail(e, -EINVAL, "linux.sysctl: %s: no such name", key);
		int ns = sysctl_ns(key);
		if (!ns) return fail(e, -EPERM, "linux.sysctl: %s is the whole host's", key);
		if (!((s->new_ns | s->join_ns) & ns))
			return fail(e, -EPERM, "linux.sysctl: %s: needs a namespace of its own: %s",
				    key, word_namespace_file(ns));
	}
	return 0;
}

static int maps_check(const struct spec_map *m, unsigned n, const char *what, struct err *e)
{
	for (unsigned i = 0; i < n; i++)
		if (!m[i].size || m[i].container_id + (uint64_t)m[i].size > UINT32_MAX ||
		    m[i].host_id + (uint64_t)m[i].size > UINT32_MAX)
			return fail(e, -ERANGE, "%s[%u]: no such range of ids", what, i);
	return n > 340 ? fail(e, -E2BIG, "%s: the kernel takes 340 at most", what) : 0;
}

static int user_check(const struct spec *s, struct err *e)
{
	const struct spec_linux *l = s->linux_;
	int r;
	if ((r = maps_check(l->uid_mappings.at, l->uid_mappings.n, "linux.uidMappings", e)) ||
	    (r = maps_check(l->gid_mappings.at, l->gid_mappings.n, "linux.gidMappings", e)))
		return r;
	bool maps = l->uid_mappings.n || l->gid_mappings.n;
	if ((s->new_ns & CLONE_NEWUSER) && !(l->uid_mappings.n && l->gid_mappings.n))
		return fail(e, -EINVAL,
			    "linux.namespaces: user needs linux.uidMappings and "
			    "linux.gidMappings");
	if (maps && !((s->new_ns | s->join_ns) & CLONE_NEWUSER))
		return fail(e, -EINVAL, "linux.uidMappings: without a user namespace");
	return 0;
}

static int mounts_check(const struct spec *s, struct err *e)
{
	for (unsigned i = 0; i < s->mounts.n; i++) {
		const struct spec_mount *m = &s->mounts.at[i];
		if (!m->destination || !*m->destination)
			return fail(e, -EINVAL, "mounts[%u].destination: missing", i);
		if (!m->uid_mappings.n != !m->gid_mappings.n)
			return fail(e, -EINVAL,
				    "mounts[%u]: uidMappings and gidMappings go "
				    "together",
				    i);
	}
	return 0;
}

static int devices_check(const struct spec *s, struct err *e)
{
	for (unsigned i = 0; i < s->linux_->devices.n; i++) {
		const struct spec_device *d = &s->linux_->devices.at[i];
		if (!d->path || d->path[0] != '/' || !d->path[1])
			return fail(e, -EINVAL,
				    "linux.devices[%u].path: an absolute path is "
				    "wanted",
				    i);
		if (!d->type || strlen(d->type) != 1 || !strchr("cubp", *d->type))
			return fail(e, -EINVAL, "linux.devices[%u].type: c, u, b or p", i);
		if (d->major < 0 || d->major > 4095 || d->minor < 0 || d->minor > 0xfffff)
			return fail(e, -ERANGE, "linux.devices[%u]: no such device number", i);
	}
	return 0;
}

static int hook_list_check(const spec_hooks *l, const char *kind, struct err *e)
{
	for (unsigned i = 0; i < l->n; i++) {
		if (!l->at[i].path || l->at[i].path[0] != '/')
			return fail(e, -EINVAL, "hooks.%s[%u].path: an absolute path is wanted",
				    kind, i);
		if (l->at[i].timeout < 0)
			return fail(e, -EINVAL, "hooks.%s[%u].timeout: 1 or more seconds", kind, i);
	}
	return 0;
}

static int hooks_check(const struct spec_hooks *h, struct err *e)
{
	int r;
	if (!h) return 0;
	if ((r = hook_list_check(&h->prestart, "prestart", e)) ||
	    (r = hook_list_check(&h->create_runtime, "createRuntime", e)) ||
	    (r = hook_list_check(&h->create_container, "createContainer", e)) ||
	    (r = hook_list_check(&h->start_container, "startContainer", e)) ||
	    (r = hook_list_check(&h->poststart, "poststart", e)))
		return r;
	return hook_list_check(&h->poststop, "poststop", e);
}

static int names_check(const struct spec *s, struct err *e)
{
	if (s->hostname && !((s->new_ns | s->join_ns) & CLONE_NEWUTS))
		return fail(e, -EINVAL, "hostname: needs a uts namespace of its own");
	if (s->domainname && !((s->new_ns | s->join_ns) & CLONE_NEWUTS))
		return fail(e, -EINVAL, "domainname: needs a uts namespace of its own");
	if ((s->hostname && strlen(s->hostname) > 64) ||
	    (s->domainname && strlen(s->domainname) > 64))
		return fail(e, -ENAMETOOLONG, "hostname, domainname: 64 bytes at most");
	return 0;
}

int spec_check(struct spec *s, struct err *e)
{
	int r;
	if (!s->oci_version) return fail(e, -EINVAL, "ociVersion: missing");
	if (strncmp(s->oci_version, "1.", 2))
		return fail(e, -EINVAL, "ociVersion: %s: 1.x is what is known here",
			    s->oci_version);
	if (!s->root || !s->root->path || !*s->root->path)
		return fail(e, -EINVAL, "root.path: missing");
	if (s->process && (r = spec_check_process(s->process, e))) return r;
	if ((r = namespaces_check(s, e)) || (r = user_check(s, e)) || (r = names_check(s, e)) ||
	    (r = mounts_check(s, e)) || (r = devices_check(s, e)) || (r = sysctls_check(s, e)))
		return r;
	return hooks_check(s->hooks, e);
}

const struct spec_namespace *spec_ns(const struct spec *s, int flag)
{
	for (unsigned i = 0; i < s->linux_->namespaces.n; i++)
		if (s->linux_->namespaces.at[i].flag == flag) return &s->linux_->namespaces.at[i];
	return NULL;
}

const char *spec_annotation(const struct pairs *annotations, const char *key)
{
	for (unsigned i = 0; i < annotations->n; i++)
		if (!strcmp(annotations->key[i], key)) return annotations->value[i];
	return NULL;
}
