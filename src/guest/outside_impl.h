#ifndef GUEST_OUTSIDE_IMPL_H
#define GUEST_OUTSIDE_IMPL_H
#include "guest/outside.h"
#include "net/lan_wire.h"
#include <limits.h>
#include <sys/types.h>
/* What passes between a monitor and its helper, and what is done alike by a helper and, where there
 * is none, by the monitor itself. */
enum { OUTSIDE_TEXT = PATH_MAX, OUTSIDE_NET = LAN_NAME };
enum order_kind {
	NAMED,
	STATE,
	LOG,
	DRAFT,
	KEEP,
	DROP,
	COPY,
	RENAME,
	UNLISTEN,
	REMOVE,
	DIAL, /* the network's name, and behind OUTSIDE_NET bytes a struct lan_hello */
	LIMITS,
	GROUP,
	UNGROUP,
	VSOCK,
	UNGDB,
	LAST_WORDS,
	ARRIVED,
	KINDS
};
struct order {
	uint32_t kind, n;
	char text[OUTSIDE_TEXT];
};
_Static_assert(OUTSIDE_NET + sizeof(struct lan_hello) <= OUTSIDE_TEXT, "a hello fits");

/* The process of the helper: it serves sock until that hangs up. */
struct helper_of {
	const struct spec *spec;
	const struct guest_home *home; /* NULL: none */
	int monitor;		       /* its process */
	int starter;		       /* of switches; -1: none */
	int held;		       /* hangs up once nobody has outside_hold(); -1: none */
};
_Noreturn void helper_main(const struct helper_of *of, int sock);

/* ---- outside_jail.c */
struct helper_needs {
	const struct spec *spec; /* paths of disks that are open by now */
	const char *root;	 /* of the store; NULL: there is none */
	int folder;		 /* of the guest; -1: none */
	bool removes;		 /* it may be asked to remove that */
};
void helper_deaf(void); /* signals of the terminal are for the monitor, whose end is ours */
/* This process is nobody's but its guest's from now on. */
void helper_settle(const struct helper_needs *n);
/* A process that starts switches of this guest's networks when it is told a number, and ends with
 * us: what it starts must not be confined as we are. -1: none is needed. */
int starter_new(const struct spec *s);
int starter_ask(int starter, unsigned net, struct err *e);

/* ---- outside_local.c */
int draft_open(const char *path, struct err *e);
int draft_keep(const char *path, struct err *e);
void draft_drop(const char *path);
int log_open(int folder, bool full);
int disk_copy(const struct spec *s, unsigned n, const char *to, struct err *e);
int limits_keep(const char *words, int folder, struct err *e);
int group_set(unsigned what, uint64_t v, int pid, struct err *e);
void ungroup(void);
int vsock_dial(uint32_t port, int folder);
#endif
