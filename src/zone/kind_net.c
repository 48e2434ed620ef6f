/* A zone's cards are taps in its network namespace; their other ends are ports here, as those of a
 * vm's cards are. A container's image has no DHCP client: the keeper gives the card its address. */
#include "base/log.h"
#include "guest/network.h"
#include "net/port.h"
#include "net/subnet.h"
#include "zone/kind_impl.h"
#include <errno.h>
#include <string.h>

/* What the network does not give, its owner may: once. */
static int own_address(struct zone *z, struct network_terms *t, struct err *e)
{
	struct ip4_card c;
	if (t->ip || !z->own_ip) return 0;
	int r = ip4_card_parse(&c, z->own_ip, e);
	if (r) return fail_in(e, "its address");
	z->own_ip = NULL;
	t->ip = c.ip;
	t->mask = c.mask;
	t->gateway = c.gateway;
	return 0;
}

static int card_make(struct zone *z, unsigned i, struct err *e)
{
	struct keeper_order o = {.op = KEEPER_NET, .net.n = i};
	struct keeper_answer a;
	struct network_terms t;
	int tap = -1;
	int r = network_terms(z->guest->spec->net[i], z->cable[i], &t, e);
	if (!r) r = own_address(z, &t, e);
	if (r) return r;
	o.net.ip = t.ip;
	o.net.mask = t.mask;
	o.net.gateway = i ? 0 : t.gateway;
	o.net.dns = t.dns;
	memcpy(o.net.mac, z->guest->mac[i], 6);
	memcpy(o.net.search, t.search, sizeof(o.net.search));
	r = zone_order(z, &o, -1, &tap, &a, e);
	return r ? r : tap_new(&z->card[i], tap, e);
}

static int plug_one(struct zone *z, unsigned i, uint64_t identity, struct err *e)
{
	struct guest *g = z->guest;
	const struct spec *s = g->spec;
	unsigned npublish = i == network_publisher(s) ? s->npublish : 0;
	network_mac(g->mac[i], identity, i);
	g->nmacs = i + 1;
	int r = network_plug(&z->cable[i], s->net[i], s->name ? s->name : "", g->mac[i], s->publish,
			     npublish, e);
	if (!r) r = card_make(z, i, e);
	if (r) return r;
	if (s->cap_rate)
		r = rate_new(&z->rate[i], g->loop, s->cap_rate, z->card[i], z->cable[i], e);
	else
		port_wire(z->card[i], z->cable[i]);
	if (r) return r;
	port_ready(z->card[i]); /* neither end waits for the other's first frame */
	port_ready(z->cable[i]);
	return 0;
}

/* Who did not ask for this network may be without one, and is told. */
static int forgive(struct zone *z, unsigned i, int r, const struct err *e)
{
	const struct spec *s = z->guest->spec;
	bool rights = r == -EACCES || r == -EPERM || r == -ENOENT || r == -ENODEV;
	if (!rights || strcmp(s->net[i], "user") || s->npublish) return r;
	log_warn("the zone has no network but its own loopback: %s", e->msg);
	port_free(z->cable[i]);
	z->cable[i] = NULL;
	return 0;
}

int zone_plug(struct zone *z, struct err *e)
{
	const struct spec *s = z->guest->spec;
	uint64_t identity = network_identity(s->id ? s->id : s->name);
	int r = 0;
	z->own_ip = s->zone.ip;
	for (unsigned i = 0; !r && i < s->nnets; i++) {
		struct err why = {0};
		r = plug_one(z, i, identity, &why);
		if (r) r = forgive(z, i, r, &why);
		if (r && e) *e = why;
	}
	if (!r && z->own_ip)
		return fail(e, -EINVAL,
			    "--ip: none of its networks is a tap or bridge of this "
			    "machine: those give addresses themselves");
	return r;
}

/* No end may be used while the other one goes: the card's thread first. */
void zone_unplug(struct zone *z)
{
	for (unsigned i = 0; i < SPEC_NETS; i++) {
		port_free(z->card[i]);
		port_free(z->cable[i]);
		rate_free(z->rate[i]);
		z->card[i] = z->cable[i] = NULL;
		z->rate[i] = NULL;
	}
}
