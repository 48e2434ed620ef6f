/* DHCP for a network on which every client's address is settled when it plugs in: so there is no
 * state here, only an answer to each question. */
#include "net/dhcp.h"
#include "net/frame.h"

enum {
	OP = 0,
	HTYPE = 1,
	HLEN = 2,
	XID = 4,
	FLAGS = 10,
	CIADDR = 12,
	YIADDR = 16,
	GIADDR = 24,
	CHADDR = 28,
	COOKIE = 236,
	OPTIONS = 240
}; /* RFC 2131 §2 */
enum {
	MASK = 1,
	ROUTER = 3,
	DNS = 6,
	NAME = 12,
	DOMAIN = 15,
	BROADCAST = 28,
	WANTED = 50,
	LEASE = 51,
	TYPE = 53,
	SERVER = 54,
	RENEW = 58,
	REBIND = 59,
	END = 255
}; /* RFC 2132 */
enum { DISCOVER = 1, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM };
#define MAGIC 0x63825363u
#define ALL   0xffffffffu

/* An option of that length (0: any, at least one byte); NULL: it is not there, or not well made. */
static const uint8_t *option(const uint8_t *req, size_t len, unsigned code, size_t want)
{
	size_t at = OPTIONS;
	while (at < len && req[at] != END) {
		if (req[at] == 0) {
			at++;
			continue;
		}
		if (at + 2 > len || at + 2 + req[at + 1] > len) return NULL;
		size_t n = req[at + 1];
		if (req[at] == code) return n && (!want || n == want) ? req + at + 2 : NULL;
		at += 2 + n;
	}
	return NULL;
}

static void add(struct dhcp_reply *r, unsigned code, const void *p, size_t n)
{
	if (!n || n > 255 || r->len + 2 + n + 1 > DHCP_MAX) return;
	r->at[r->len++] = (uint8_t)code;
	r->at[r->len++] = (uint8_t)n;
	memcpy(r->at + r->len, p, n);
	r->len += n;
}

static void add32(struct dhcp_reply *r, unsigned code, uint32_t v)
{
	uint8_t b[4];
	be32_put(b, v);
	add(r, code, b, 4);
}

static void add_text(struct dhcp_reply *r, unsigned code, const char *s)
{
	add(r, code, s, strlen(s));
}

static void begin(struct dhcp_reply *r, const struct dhcp_offer *o, const uint8_t *req,
		  unsigned type)
{
	uint8_t kind = (uint8_t)type;
	memset(r->at, 0, sizeof(r->at));
	memcpy(r->at, req, OPTIONS);
	memset(r->at + YIADDR, 0, 8);	     /* yiaddr, siaddr */
	memset(r->at + CHADDR + 16, 0, 192); /* sname, file */
	r->at[OP] = 2;
	be16_put(r->at + 8, 0); /* secs */
	r->len = OPTIONS;
	add(r, TYPE, &kind, 1);
	add32(r, SERVER, o->server);
	if (type == NAK) memset(r->at + CIADDR, 0, 4);
}

static void add_settings(struct dhcp_reply *r, const struct dhcp_offer *o)
{
	add32(r, MASK, o->mask);
	add32(r, BROADCAST, (o->ip & o->mask) | ~o->mask);
	if (o->router) add32(r, ROUTER, o->router);
	add32(r, DNS, o->dns);
	add_text(r, DOMAIN, o->domain);
	add_text(r, NAME, o->name);
}

static void add_times(struct dhcp_reply *r)
{
	add32(r, LEASE, DHCP_LEASE_S);
	add32(r, RENEW, DHCP_LEASE_S / 2);
	add32(r, REBIND, DHCP_LEASE_S / 8 * 7);
}

static void address(struct dhcp_reply *r, const struct dhcp_offer *o, const uint8_t *req, bool nak)
{
	uint32_t has = be32_at(req + CIADDR);
	bool all = nak || (req[FLAGS] & 0x80);
	r->to = has && !nak ? has : all ? ALL : o->ip;
	memset(r->mac, 0xff, 6);
	if (r->to != ALL) memcpy(r->mac, o->mac, 6);
}

static unsigned answer_to(const struct dhcp_offer *o, const uint8_t *req, size_t len)
{
	const uint8_t *type = option(req, len, TYPE, 1), *server = option(req, len, SERVER, 4),
		      *wanted = option(req, len, WANTED, 4);
	uint32_t has = be32_at(req + CIADDR);
	if (!type || (server && be32_at(server) != o->server)) return 0;
	if (*type == DISCOVER) return OFFER;
	if (*type == INFORM) return has == o->ip ? ACK : 0;
	if (*type != REQUEST) return 0;
	uint32_t ip = wanted ? be32_at(wanted) : has;
	return ip == o->ip && (!has || has == o->ip) ? ACK : NAK;
}

void dhcp_answer(struct dhcp_reply *r, const struct dhcp_offer *o, const uint8_t *req, size_t len)
{
	r->len = 0;
	if (len < OPTIONS || req[OP] != 1 || req[HTYPE] != 1 || req[HLEN] != 6) return;
	if (be32_at(req + COOKIE) != MAGIC || !mac_same(req + CHADDR, o->mac)) return;
	if (be32_at(req + GIADDR)) return; /* relays have no business here */
	unsigned answer = answer_to(o, req, len);
	if (!answer) return;
	bool inform = answer == ACK && *option(req, len, TYPE, 1) == INFORM;
	begin(r, o, req, answer);
	if (answer != NAK) {
		if (!inform) be32_put(r->at + YIADDR, o->ip);
		if (!inform) add_times(r);
		add_settings(r, o);
	}
	r->at[r->len++] = END;
	if (r->len < 300) r->len = 300; /* BOOTP's least, RFC 1542 §2.1 */
	address(r, o, req, answer == NAK);
}
