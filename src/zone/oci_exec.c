/* One more process in a zone: from the command line, or from a file, to enter.h. */
#include "base/buf.h"
#include "zone/enter.h"
#include "zone/log.h"
#include "zone/oci_impl.h"
#include "zone/sys.h"
#include "zone/words.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int number_strict(const char *s, uint32_t *to)
{
	char *end;
	if (*s < '0' || *s > '9') return -EINVAL;
	errno = 0;
	unsigned long v = strtoul(s, &end, 10);
	if (errno || *end || v > UINT32_MAX - 1) return -EINVAL;
	*to = (uint32_t)v;
	return 0;
}

static int user_take(struct oci *o, struct spec_process *p, struct err *e)
{
	char *words = arena_text(o->a, "%s", o->user), *uid = strsep(&words, ":");
	struct spec_user *u = arena_make(o->a, struct spec_user, 1);
	if (p->user) *u = *p->user;
	p->user = u;
	if (number_strict(uid, &u->uid) || (words && number_strict(words, &u->gid)))
		return fail(e, -EINVAL, "--user %s: UID or UID:GID is wanted", o->user);
	return 0;
}

static int gids_take(struct oci *o, struct spec_process *p, struct err *e)
{
	struct spec_user *u = arena_make(o->a, struct spec_user, 1);
	if (p->user) *u = *p->user;
	u->additional_gids = (struct u32s){arena_make(o->a, uint32_t, o->gids.n), o->gids.n};
	for (unsigned i = 0; i < o->gids.n; i++)
		if (number_strict(o->gids.at[i], &u->additional_gids.at[i]))
			return fail(e, -EINVAL, "--additional-gids %s: a number is wanted",
				    o->gids.at[i]);
	p->user = u;
	return 0;
}

static void caps_take(struct oci *o, struct spec_process *p)
{
	for (unsigned i = 0; i < o->caps.n; i++) {
		int c = word_cap(o->caps.at[i]);
		if (c < 0) {
			oci_log(OCI_WARNING, "--cap %s: no such capability", o->caps.at[i]);
			continue;
		}
		uint64_t bit = 1ull << c;
		p->caps.bounding |= bit;
		p->caps.effective |= bit;
		p->caps.permitted |= bit;
	}
}

/* From --process, or the zone's own process with what the command line says otherwise. */
static int process_take(struct oci *o, struct spec_process *p, struct err *e)
{
	auto_buf struct buf b = {0};
	if (o->process) {
		*p = (struct spec_process){0};
		int r = oci_read(AT_FDCWD, o->process, SPEC_MAX, &b, e);
		return r ? r : spec_parse_process(p, b.at, b.len, o->a, e);
	}
	if (o->nargs < 2) return fail(e, -EINVAL, "exec: what? ID COMMAND, or --process FILE");
	p->args = (struct texts){(const char **)o->args + 1, (unsigned)o->nargs - 1};
	p->terminal = o->terminal;
	if (o->cwd) p->cwd = o->cwd;
	if (o->no_new_privs) p->no_new_privileges = true;
	if (o->apparmor) p->apparmor_profile = o->apparmor;
	if (o->label) p->selinux_label = o->label;
	oci_env_put(o, &p->env, o->env.at, o->env.n);
	int r;
	if ((o->user && (r = user_take(o, p, e))) || (o->gids.n && (r = gids_take(o, p, e))))
		return r;
	p->caps.inheritable = p->caps.ambient = 0;
	if (!p->cwd || *p->cwd != '/')
		return fail(e, -EINVAL, "--cwd %s: an absolute path is wanted",
			    p->cwd ? p->cwd : "(none)");
	caps_take(o, p);
	return 0;
}

static int enter_vm(struct oci *o, struct place *pl, const struct spec_process *p, struct err *e)
{
	pid_t pid = -1;
	int master = -1, code = 0;
	if (p->terminal && o->detach && !o->console_socket)
		return fail(e, -EINVAL, "exec: a terminal needs --console-socket");
	int r = oci_vm_enter(o, pl, p, &pid, &master, e);
	if (!r) r = oci_pid_write(o, pid, e);
	auto_fd int keep = master, pidfd = r ? -1 : sys_pidfd_open(pid);
	if (!r && !o->detach) code = oci_wait(pid, pidfd, o->console_socket ? -1 : keep);
	return r ? r : code;
}

static int enter(struct oci *o, struct place *pl, struct group *g, struct spec *s, struct err *e)
{
	struct filter f = {0};
	struct spec_process p = *s->process;
	int r, code = 0;
	if ((r = process_take(o, &p, e))) return r;
	if (oci_vm_is(pl)) return enter_vm(o, pl, &p, e);
	if ((r = filter_make(&f, s->linux_->seccomp, o->places, o->a, e))) return r;
	for (unsigned i = 0; i < o->subgroups.n; i++)
		if ((r = group_descend(g, o->subgroups.at[i], e))) return r;
	if (f.listener) return fail(e, -ENOTSUP, "exec: into a zone with SCMP_ACT_NOTIFY");
	struct enter x = {
		.place = pl,
		.group = g,
		.subgroup = o->subgroups.n,
		.console_socket = o->console_socket,
		.keep_master = !o->detach && !o->console_socket,
		.p = {.p = &p,
		      .filter = &f,
		      .a = o->a,
		      .preserve = o->preserve,
		      .keep_groups = spec_annotation(&s->annotations, SPEC_KEEP_GROUPS) != NULL,
		      .personality = s->linux_->personality}};
	if (p.terminal && !x.keep_master && !x.console_socket)
		return fail(e, -EINVAL, "exec: a terminal needs --console-socket");
	if ((r = enter_begin(&x, e))) return r;
	r = oci_pid_write(o, x.pid, e);
	if (!r && !o->detach) code = oci_wait(x.pid, x.pidfd, x.master);
	return r ? r : code;
}

int oci_exec(struct oci *o, struct err *e)
{
	struct place p;
	struct group g;
	struct spec s = {0};
	int r = oci_open(o, &p, &g, false, e);
	if (r) return r;
	enum place_status now = place_status(&p, &g);
	if (now != PLACE_RUNNING && now != PLACE_CREATED &&
	    !(now == PLACE_PAUSED && o->ignore_paused))
		r = fail(e, -EINVAL, "zone %s: is %s: cannot exec in a %s container", p.id,
			 place_words[now], place_words[now]);
	if (!r) r = oci_config(o, &p, &s, e);
	if (!r) r = enter(o, &p, &g, &s, e);
	group_close(&g);
	place_close(&p);
	spec_done(&s);
	return r;
}
