/* A software network. The one idea: a frame from a guest is first asked whether it may be sent at
 * all, then whether it is a question that the network itself answers, and what is left is switched.
 * Guests' own addresses are fixed in the table when they plug in; so with the guard up nothing that
 * a guest sends can change where frames go, and what nobody has is for the uplink only. */
#include "net/lan.h"
#include "base/buf.h"
#include "base/types.h"
#include "net/dhcp.h"
#include "net/dns.h"
#include "net/frame.h"
#include <errno.h>
#include <sys/random.h>

/* What answers at the gateway's and the server's address: as libslirp has it for its own. */
static void own_mac(uint8_t mac[6], uint32_t ip)
{
	mac[0] = 0x52;
	mac[1] = 0x55;
	be32_put(mac + 2, ip);
}

void lan_init(struct lan *l, const struct lan_conf *conf, const struct lan_ops *ops, void *ctx)
{
	memset(l, 0, sizeof(*l));
	l->conf = *conf;
	l->ops = ops;
	l->ctx = ctx;
	l->leases.subnet = conf->subnet;
	(void)!getrandom(&l->fdb.seed, sizeof(l->fdb.seed), 0);
}

/* --- ports --------------------------------------------------------------------------------- */

static bool ip6_same(const uint8_t a[16], const uint8_t b[16]) { return !memcmp(a, b, 16); }

static bool has_claim(const struct lan_port *p, const uint8_t ip[16])
{
	for (unsigned i = 0; p->used && i < LAN_CLAIMS; i++)
		if (ip6_same(p->claim[i], ip)) return true;
	return false;
}

/* Who comes first has it, as long as it is plugged in and does not claim too many others. */
static bool on_claim(void *ctx, const uint8_t ip[16])
{
	struct lan_port *p = ctx;
	if (has_claim(p, ip)) return true;
	for (unsigned i = 0; i < p->lan->nports; i++)
		if (has_claim(&p->lan->port[i], ip)) return false;
	memcpy(p->claim[p->nclaims++ % LAN_CLAIMS], ip, 16);
	return true;
}

static int free_port(struct lan *l, struct err *e)
{
	for (unsigned i = 0; i < LAN_PORTS; i++) {
		if (l->port[i].used) continue;
		if (i >= l->nports) l->nports = i + 1;
		return (int)i;
	}
	return fail(e, -ENOSPC, "network %s: no more than %d guests fit in", l->conf.name,
		    LAN_PORTS);
}

static bool mac_reserved(const uint8_t mac[6])
{
	static const uint8_t none[6];
	return mac_multicast(mac) || mac_same(mac, none) || (mac[0] == 0x52 && mac[1] == 0x55);
}

int lan_plug(struct lan *l, const uint8_t mac[6], const char *name, uint32_t want, struct err *e)
{
	if (mac_reserved(mac))
		return fail(e, -EINVAL, "network %s: no card can have such an address",
			    l->conf.name);
	int n = free_port(l, e);
	if (n < 0) return n;
	if (*name && lease_named(&l->leases, name))
		name = ""; /* its second card: only the first is found by name */
	struct lease *lease = lease_take(&l->leases, mac, name, want);
	if (!lease)
		return fail(e, -EBUSY, "network %s: %s", l->conf.name,
			    "the card's address is taken, or no IP address is left");
	if (!fdb_fix(&l->fdb, mac, (unsigned)n)) {
		lease_leave(lease);
		return fail(e, -ENOSPC, "network %s: its table of addresses is full", l->conf.name);
	}
	struct lan_port *p = &l->port[n];
	*p = (struct lan_port){.used = true, .lease = lease, .lan = l};
	p->id = (struct guard){.ip = lease->ip, .claim = on_claim, .ctx = p};
	memcpy(p->id.mac, mac, 6);
	return n;
}

int lan_uplink(struct lan *l, struct err *e)
{
	int n = free_port(l, e);
	if (n >= 0) l->port[n] = (struct lan_port){.used = true, .trusted = true, .lan = l};
	return n;
}

void lan_unplug(struct lan *l, unsigned port)
{
	struct lan_port *p = &l->port[port];
	must(port < LAN_PORTS && p->used);
	if (p->lease) lease_leave(p->lease);
	fdb_forget(&l->fdb, port);
	p->used = false;
	while (l->nports && !l->port[l->nports - 1].used) l->nports--;
}

/* --- services ------------------------------------------------------------------------------ */

static bool zone_ip_of(void *ctx, const char *name, uint32_t *ip)
{
	const struct lan *l = ctx;
	const struct lease *n = lease_named(&l->leases, name);
	bool gateway = !n && l->conf.nat && !strcmp(name, "gateway");
	if (n || gateway) *ip = n ? n->ip : subnet_gateway(&l->conf.subnet);
	return n || gateway;
}

static const char *zone_name_of(void *ctx, uint32_t ip)
{
	const struct lease *n = lease_of(&((struct lan *)ctx)->leases, ip);
	return n && n->name[0] ? n->name : NULL;
}

static void serve_dhcp(struct lan *l, unsigned port, const struct udp4 *u)
{
	const struct lan_port *p = &l->port[port];
	const struct subnet *s = &l->conf.subnet;
	struct dhcp_offer o = {.ip = p->lease->ip,
			       .mask = subnet_mask(s),
			       .server = subnet_server(s),
			       .router = l->conf.nat ? subnet_gateway(s) : 0,
			       .dns = subnet_server(s),
			       .domain = l->conf.name,
			       .name = p->lease->name};
	struct dhcp_reply r;
	uint8_t frame[ETH_MAX], mac[6];
	memcpy(o.mac, p->id.mac, 6);
	dhcp_answer(&r, &o, u->at, u->len);
	if (!r.len) return;
	struct udp4 out = {o.server, r.to, 67, 68, r.at, r.len};
	own_mac(mac, o.server);
	l->ops->answer(l->ctx, port, frame, udp4_make(frame, r.mac, mac, &out));
}

/* False: somebody else answers that. */
static bool serve_dns(struct lan *l, unsigned port, const uint8_t *frame, const struct udp4 *u)
{
	struct dns_zone z = {l->conf.name, l->conf.subnet.net, subnet_mask(&l->conf.subnet),
			     zone_ip_of,   zone_name_of,       l};
	uint8_t to[DNS_MAX], out[ETH_MAX];
	size_t n = 0;
	switch (dns_answer(&z, l->conf.nat, u->at, u->len, to, &n)) {
	case DNS_OTHER: return false;
	case DNS_BAD: return true;
	case DNS_ANSWERED: break;
	}
	struct udp4 r = {u->dst, u->src, u->dport, u->sport, to, n};
	l->ops->answer(l->ctx, port, out, udp4_make(out, frame + 6, frame, &r));
	return true;
}

/* Where there is an uplink, that answers for these. */
static bool serve_arp(struct lan *l, unsigned port, const uint8_t *frame, size_t len)
{
	const uint8_t *q = frame + ETH_HEAD;
	uint8_t out[ETH_HEAD + ARP_LEN], *r = out + ETH_HEAD;
	uint32_t ip = subnet_server(&l->conf.subnet);
	if (l->conf.nat || be16_at(frame + 12) != ETH_ARP || len < sizeof(out)) return false;
	if (be16_at(q + 6) != 1 || be32_at(q + 24) != ip) return false;
	memcpy(out, frame + 6, 6);
	own_mac(out + 6, ip);
	be16_put(out + 12, ETH_ARP);
	memcpy(r, q, 8);
	be16_put(r + 6, 2);
	memcpy(r + 8, out + 6, 6);
	be32_put(r + 14, ip);
	memcpy(r + 18, q + 8, 10);
	l->ops->answer(l->ctx, port, out, sizeof(out));
	return true;
}

/* True: the frame was for the network itself. Questions for a DHCP server never reach a guest. */
static bool serve(struct lan *l, unsigned port, const uint8_t *frame, size_t len)
{
	struct udp4 u;
	if (serve_arp(l, port, frame, len)) return true;
	if (!udp4_parse(&u, frame, len)) return false;
	if (u.dport == 67) {
		serve_dhcp(l, port, &u);
		return true;
	}
	return u.dport == 53 && u.dst == subnet_server(&l->conf.subnet) &&
	       serve_dns(l, port, frame, &u);
}

/* --- switching ----------------------------------------------------------------------------- */

static void flood(struct lan *l, unsigned from, bool trusted_only, const uint8_t *frame, size_t len)
{
	for (unsigned i = 0; i < l->nports; i++) {
		const struct lan_port *p = &l->port[i];
		if (i != from && p->used && (p->trusted || !trusted_only))
			l->ops->forward(l->ctx, i, frame, len);
	}
}

static void forward(struct lan *l, unsigned from, const uint8_t *frame, size_t len, uint64_t now)
{
	if (mac_multicast(frame)) {
		flood(l, from, false, frame, len);
		return;
	}
	int to = fdb_find(&l->fdb, frame, now);
	if (to == FDB_NONE)
		flood(l, from, l->conf.guard, frame, len);
	else if ((unsigned)to != from)
		l->ops->forward(l->ctx, (unsigned)to, frame, len);
}

/* Without the guard a frame is only what any switch takes (IEEE 802.1D §7.6, §7.9.2). */
static enum guard_verdict check(const struct lan *l, const struct lan_port *p,
				const struct offload *o, const uint8_t *frame, size_t len)
{
	if (len < ETH_HEAD || (len > ETH_MAX && !offload_is_cut(o))) return GUARD_SHAPE;
	if (!offload_check(o, frame, len)) return GUARD_SHAPE;
	if (l->conf.guard && !p->trusted) return guard_check(&p->id, frame, len);
	return mac_multicast(frame + 6) ? GUARD_MAC : GUARD_PASS;
}

void lan_input(struct lan *l, unsigned port, const struct offload *o, const uint8_t *frame,
	       size_t len, uint64_t now)
{
	struct lan_port *p = &l->port[port];
	must(port < LAN_PORTS && p->used);
	p->got++;
	enum guard_verdict v = check(l, p, o, frame, len);
	if (v != GUARD_PASS) {
		p->refused[v]++;
		return;
	}
	if (p->trusted || !l->conf.guard) fdb_learn(&l->fdb, frame + 6, port, now);
	if (!p->trusted && serve(l, port, frame, len)) return;
	forward(l, port, frame, len, now);
}

/* --- for people ---------------------------------------------------------------------------- */

static void describe_port(const struct lan_port *p, struct buf *to)
{
	const uint8_t *m = p->id.mac;
	char ip[IP4_TEXT];
	ip4_text(ip, p->id.ip);
	buf_fmt(to,
		"{\"name\": \"%s\", \"mac\": \"%02x:%02x:%02x:%02x:%02x:%02x\", \"ip\": \"%s\", "
		"\"frames\": %llu, \"refused\": {",
		p->lease->name, m[0], m[1], m[2], m[3], m[4], m[5], ip, (unsigned long long)p->got);
	const char *comma = "";
	for (unsigned i = 1; i < GUARD_COUNT; i++) {
		if (!p->refused[i]) continue;
		buf_fmt(to, "%s\"%s\": %llu", comma, guard_words[i],
			(unsigned long long)p->refused[i]);
		comma = ", ";
	}
	buf_fmt(to, "}}");
}

void lan_describe(const struct lan *l, struct buf *to)
{
	const char *comma = "";
	buf_fmt(to, "{\"guests\": [");
	for (unsigned i = 0; i < l->nports; i++) {
		const struct lan_port *p = &l->port[i];
		if (!p->used || p->trusted) continue;
		buf_fmt(to, "%s", comma);
		describe_port(p, to);
		comma = ", ";
	}
	buf_fmt(to, "]}");
}
