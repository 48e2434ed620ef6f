/* A cable: two ends that know each other. */
#include "net/port.h"

void port_wire(struct port *a, struct port *b)
{
	must(!a->peer && !b->peer);
	a->peer = b;
	b->peer = a;
}
