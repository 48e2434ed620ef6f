#ifndef ZONE_OCI_IMPL_H
#define ZONE_OCI_IMPL_H
#include "zone/birth.h"
#include "zone/enter.h"
#include "zone/log.h"
#include "zone/oci.h"
/* Between the files of the command line. */
enum { OCI_LIST = 64 };
struct oci_list {
	unsigned n;
	const char *at[OCI_LIST];
};
struct oci { /* one call */
	/* global */
	const char *root, *log, *log_format, *manager, *rootless;
	bool debug, systemd;
	/* of verbs */
	const char *bundle, *config, *console_socket, *pid_file, *preserve_fds;
	bool no_pivot, no_keyring, no_subreaper, keep, detach;
	const char *process, *cwd, *user, *apparmor, *label, *tty;
	bool no_new_privs, terminal, ignore_paused;
	struct oci_list env, caps, subgroups, gids;
	const char *format, *interval, *resources;
	bool force, all, regex, quiet, stats, is_rootless;
	struct oci_list limits; /* NAME=VALUE, of update */
	/* what is left */
	int nargs;
	char **args, **argv; /* argv: all, as we were called */
	/* made */
	int places;		   /* folder of all zones */
	unsigned preserve, listen; /* listen: sockets among those that are kept */
	struct arena *a;
};
typedef int oci_verb(struct oci *o, struct err *e); /* exit code, or a negative errno */
oci_verb oci_create, oci_run, oci_start, oci_state, oci_kill, oci_delete; /* oci_life.c */
oci_verb oci_exec;
oci_verb oci_list, oci_ps, oci_events, oci_features, oci_spec; /* oci_tell.c */
oci_verb oci_pause, oci_resume, oci_update;		       /* oci_limit.c */
/* The zone of args[0] and its groups, opened; p->dir and the groups are the caller's. */
int oci_open(struct oci *o, struct place *p, struct group *g, bool lock, struct err *e);
/* The config.json that the zone was made from. */
int oci_config(struct oci *o, const struct place *p, struct spec *s, struct err *e);
int oci_pid_write(const struct oci *o, pid_t pid, struct err *e); /* to --pid-file, if any */
/* NAME=VALUE words in the place of those of the same name, or at the end. */
void oci_env_put(struct oci *o, struct texts *t, const char *const *more, unsigned n);
/* Until pid ends; signals that we get go to it. Its exit code. */
int oci_wait(pid_t pid, int pidfd, int master);
int oci_read(int dir, const char *file, size_t max, struct buf *to, struct err *e);
/* This program again, from a copy in memory that nobody can write to, unless it is that already. */
int oci_seal(const struct oci *o, struct err *e);
/* oci_vm.c: a bundle in a computer of its own, if its annotation org.lodge.kind is vm, or it has an
 * object vm. The verbs are the same; these do their part of it by executing `lodge`. */
bool oci_vm_wanted(const struct spec *s);
bool oci_vm_is(const struct place *p);
int oci_vm_begin(struct oci *o, struct birth *b, struct err *e); /* as birth_begin() */
int oci_vm_start(struct oci *o, const struct place *p, struct err *e);
int oci_vm_signal(struct oci *o, const struct place *p, int sig, struct err *e);
int oci_vm_pause(struct oci *o, const struct place *p, bool pause, struct err *e);
/* Of such a one: an error, for verbs that look at the host's control groups. */
int oci_vm_cannot(const struct place *p, const char *verb, struct err *e);
void oci_vm_remove(struct oci *o, const struct place *p); /* what is left of the guest */
/* *pid, our child, runs the process in there; *master: of its terminal, or -1. */
int oci_vm_enter(struct oci *o, const struct place *pl, const struct spec_process *p, pid_t *pid,
		 int *master, struct err *e);
#endif
