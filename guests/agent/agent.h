#ifndef AGENT_H
#define AGENT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
/* Lodge's agent in a guest: one small static program. It connects to the monitor, which speaks
 * QEMU's guest agent protocol to it (qga.c), and runs programs for whoever the monitor lets connect
 * (session.c). Only the host may: that is address 2, which no program of the guest can have. */
enum {
	PORT_QGA = 1000,  /* of the host */
	PORT_EXEC = 1001, /* ours */
	HOST = 2,
};

/* In a zone, where a host's process runs the agent for each session, and in a guest that is there
 * for one container's program: as whom and where programs run unless it is said; the environment is
 * the zone's. user NULL: this is neither. */
struct zone {
	const char *user, *dir;
	const char *root; /* of the container; NULL: there is none, or it is ours, too */
	pid_t *program;	  /* with a root: its own program, as we see it; shared by all of us */
	bool first;	  /* this process runs the container's own program */
};
extern struct zone zone;

/* session.c: serve one connection, to its end. Frames as in src/guest/stream.h and exec.h. */
void session(int fd);
/* The first of a guest with a container: hear what is to run, as whom, where and with which
 * environment, which is everybody's in this process from now on; a process of its own then does
 * that. False: there is none. */
bool session_first(int fd);
/* box.c: be the first process of such a guest. serve() is called in a process of its own. */
_Noreturn void box(void (*serve)(void));
/* identity.c: be who the arguments of lodge-set-identity say; false: they make no sense. */
bool identity_take(const char *arguments);
/* qga.c: serve the monitor until it hangs up. */
void qga(int fd);

/* A user of /etc/passwd, by name or number, and his groups. */
enum { GROUPS = 64 };
struct user {
	uid_t uid;
	gid_t gid, groups[GROUPS];
	size_t ngroups;
	char name[64], home[256], shell[256];
};
bool user_find(struct user *u, const char *who); /* NAME[:GROUP]; "" is root */
/* In a process of its own: become that user, in that folder (NULL: home), and run it; env is added.
 * Without arguments it is the login shell. Never returns. */
_Noreturn void run(const struct user *u, const char *dir, char **argv, char **env);
bool write_all(int fd, const void *p, size_t n);
#endif
