#ifndef ZONE_KIND_IMPL_H
#define ZONE_KIND_IMPL_H
#include "guest/guest.h"
#include "zone/keeper.h"
#include "zone/pump.h"
#include <stdbool.h>
/* Private to kind zone: the monitor's side, all on the loop's thread. */
struct rate;
struct wire; /* between the console and the zone's input, output and errors */
struct zone {
	struct guest *guest;
	struct plan plan;
	struct keeper keeper;
	int mine[3], its[3]; /* of its input, output, errors; -1: none (any more) */
	struct wire *wire;
	struct watch *event;
	struct pumps *pumps;
	struct port *card[SPEC_NETS], *cable[SPEC_NETS];
	struct rate *rate[SPEC_NETS];
	const char *own_ip; /* that no card has yet; NULL: none */
	bool ended;	    /* its program has */
	int code;
	struct err gone; /* it never ran: these words, and exit code `code` */
};
int zone_order(struct zone *z, const struct keeper_order *o, int give, int *take,
	       struct keeper_answer *to, struct err *e);

/* wire.c. Its end of input, output and errors: those of the monitor; tty: all one. over() is called
 * once all that was written has been taken. */
int wire_new(struct wire **out, struct guest *g, const int fd[3], bool tty, void (*over)(void *ctx),
	     void *ctx, struct err *e);
void wire_open(struct wire *w);	  /* from here on bytes flow */
void wire_finish(struct wire *w); /* nobody writes any more: over() is called when all is read */
void wire_free(struct wire *w);	  /* NULL is fine */

/* kind_net.c */
int zone_plug(struct zone *z, struct err *e);
void zone_unplug(struct zone *z);
#endif
