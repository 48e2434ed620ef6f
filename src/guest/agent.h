#ifndef GUEST_AGENT_H
#define GUEST_AGENT_H
#include <stdbool.h>
/* The monitor's end of a program in the guest that does what the monitor asks: QEMU's guest agent
 * protocol (qga/qapi-schema.json of QEMU), a JSON object a line. The guest's program connects; who
 * speaks is not trusted, so answers are looked at for the log only, and nothing waits for one.
 * Of the loop's thread; private to guest/. */
struct guest;
struct agent;
enum {
	AGENT_PORT = 1000,	/* of the host: the agent connects from a port below 1024 */
	AGENT_EXEC_PORT = 1001, /* of the guest: where it runs programs, see exec.h */
	AGENT_PRIVILEGED = 1024,
	AGENT_LINE = 4096, /* of a longer answer the rest is passed over */
};
struct agent *agent_new(struct guest *g);
void agent_free(struct agent *a); /* NULL is fine, here and below */
/* Somebody in the guest connects as the agent, and takes the place of who was there: the guest's
 * end of a socket, the caller's, or a negative errno. */
int agent_dialed(struct agent *a);
/* The same for one that has opened its port, as QEMU's own does: it is spoken to only when there is
 * something to say. */
int agent_opened(struct agent *a);
/* A client that speaks with it for itself, a line at a time; what it is sent meanwhile is its
 * business, and what it hears all that the agent says. fd is the agent's unless this fails. */
struct err;
int agent_carry(struct agent *a, int fd, struct err *e);
bool agent_here(const struct agent *a);
bool agent_shutdown(struct agent *a); /* asked; false: nobody is there to be asked */
void agent_time(struct agent *a);     /* tell it what time it is */
#endif
