/* What keeps guests of one network from passing for one another. The idea: everything that is let
 * through was understood as far as other hosts will understand it; what hides behind fragments or
 * a long chain of headers is not. */
#include "net/guard.h"
#include "net/frame.h"

const char *const guard_words[GUARD_COUNT] = {
#define X(name, word) word,
	GUARD_VERDICTS(X)
#undef X
};

static enum guard_verdict check_arp(const struct guard *g, const uint8_t *arp, size_t len)
{
	static const uint8_t head[] = {0, 1, 8, 0, 6, 4};
	if (len < ARP_LEN || memcmp(arp, head, sizeof(head))) return GUARD_SHAPE;
	unsigned op = be16_at(arp + 6);
	uint32_t sender = be32_at(arp + 14);
	bool probe = sender == 0 && op == 1; /* RFC 5227 §2.1.1 */
	if (op != 1 && op != 2) return GUARD_ARP;
	return mac_same(arp + 8, g->mac) && (probe || sender == g->ip) ? GUARD_PASS : GUARD_ARP;
}

/* DHCP servers answer from port 67; a client sends from 68 only (RFC 2131 §4.1). */
static bool udp_as_server(const uint8_t *udp, unsigned server, unsigned client)
{
	return be16_at(udp) == server || be16_at(udp + 2) == client;
}

/* Before it has an address a guest asks the network's own DHCP server, in one whole packet. */
static bool asks_for_address(const uint8_t *ip, size_t head, size_t total)
{
	const uint8_t *udp = ip + head;
	return be32_at(ip + 12) == 0 && ip[9] == PROTO_UDP && !(be16_at(ip + 6) & 0x3fff) &&
	       be16_at(udp + 2) == 67 && be16_at(udp + 4) >= UDP_HEAD &&
	       be16_at(udp + 4) <= total - head;
}

static enum guard_verdict check_ip4(const struct guard *g, const uint8_t *ip, size_t len)
{
	if (len < IP4_HEAD || ip[0] >> 4 != 4) return GUARD_SHAPE;
	size_t head = (ip[0] & 15u) * 4, total = be16_at(ip + 2);
	if (head < IP4_HEAD || total < head || total > len) return GUARD_SHAPE;
	unsigned at = be16_at(ip + 6) & 0x1fff, proto = ip[9];
	bool udp = proto == PROTO_UDP, ports = total >= head + UDP_HEAD;
	if (at == 1 && (udp || proto == 6)) return GUARD_SHAPE; /* RFC 3128: overlaps the ports */
	if (udp && at == 0 && !ports) return GUARD_SHAPE;
	if (udp && at == 0 && udp_as_server(ip + head, 67, 68)) return GUARD_DHCP;
	if (be32_at(ip + 12) == g->ip || asks_for_address(ip, head, total)) return GUARD_PASS;
	return GUARD_IP4;
}

/* An interface identifier made of a MAC (RFC 4291, appendix A) is made of its own. */
static bool id_fits(const uint8_t ip[16], const uint8_t mac[6])
{
	if (ip[11] != 0xff || ip[12] != 0xfe) return true;
	uint8_t id[8] = {mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
	return !memcmp(ip + 8, id, 8);
}

/* Link-local and unique local ones; no other prefix is announced on such a network. */
static bool ip6_own(const struct guard *g, const uint8_t ip[16])
{
	bool local = (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80) || (ip[0] & 0xfe) == 0xfc;
	return local && id_fits(ip, g->mac) && g->claim(g->ctx, ip);
}

/* Options of a neighbour message (RFC 4861 §4.6): a link-layer address is the port's own. */
static bool nd_options_fit(const struct guard *g, const uint8_t *o, size_t len)
{
	while (len) {
		size_t n = len >= 2 ? o[1] * 8u : 0;
		if (!n || n > len) return false;
		if ((o[0] == 1 || o[0] == 2) && (n != 8 || !mac_same(o + 2, g->mac))) return false;
		o += n;
		len -= n;
	}
	return true;
}

static bool ip6_none(const uint8_t ip[16])
{
	static const uint8_t none[16];
	return !memcmp(ip, none, 16);
}

/* Neighbour solicitation 135 and advertisement 136, 24 bytes before their options; router
 * solicitation 133, 8 of them. */
static enum guard_verdict check_nd(const struct guard *g, const uint8_t *ip, const uint8_t *icmp,
				   size_t len)
{
	size_t fixed = icmp[0] == 133 ? 8 : 24;
	if (ip[7] != 255 || len < fixed) return GUARD_SHAPE;
	if (icmp[0] == 136 && !ip6_own(g, icmp + 8)) return GUARD_IP6;
	if (icmp[0] == 135 && ip6_none(ip + 8) && !ip6_own(g, icmp + 8)) return GUARD_IP6;
	return nd_options_fit(g, icmp + fixed, len - fixed) ? GUARD_PASS : GUARD_IP6;
}

static enum guard_verdict check_icmp6(const struct guard *g, const uint8_t *ip, const uint8_t *icmp,
				      size_t len, bool part)
{
	if (len < 8) return GUARD_SHAPE;
	unsigned type = icmp[0];
	if (type == 134 || type == 137) return GUARD_ROUTER;
	if (type < 133 || type > 136) return GUARD_PASS;
	return part ? GUARD_HIDDEN : check_nd(g, ip, icmp, len); /* RFC 6980 */
}

/* Walks the headers (RFC 8200 §4) to what they carry. *len is then what is left, *part says that
 * it is a fragment. NULL: a later fragment, which nobody can use without the first. */
static const uint8_t *ip6_payload(const uint8_t *at, size_t *len, unsigned *next, bool *part,
				  bool *hidden)
{
	enum { HOPS = 0, ROUTING = 43, FRAGMENT = 44, AUTH = 51, OPTIONS = 60, MOST = 8 };
	*hidden = true;
	for (unsigned i = 0; i < MOST; i++) {
		bool fragment = *next == FRAGMENT;
		if (!fragment && *next != HOPS && *next != ROUTING && *next != OPTIONS &&
		    *next != AUTH) {
			*hidden = false;
			return at;
		}
		if (*len < 8) return NULL;
		size_t n = fragment ? 8 : *next == AUTH ? (at[1] + 2u) * 4 : (at[1] + 1u) * 8;
		if (n > *len) return NULL;
		*next = at[0];
		*part |= fragment;
		if (fragment && be16_at(at + 2) >> 3) {
			*hidden = false;
			return NULL;
		}
		at += n;
		*len -= n;
	}
	return NULL;
}

static enum guard_verdict check_ip6(const struct guard *g, const uint8_t *ip, size_t len)
{
	if (len < IP6_HEAD || ip[0] >> 4 != 6) return GUARD_SHAPE;
	size_t n = be16_at(ip + 4);
	if (n > len - IP6_HEAD) return GUARD_SHAPE;
	unsigned next = ip[6];
	bool part = false, hidden, none = ip6_none(ip + 8);
	if (!none && !ip6_own(g, ip + 8)) return GUARD_IP6;
	const uint8_t *at = ip6_payload(ip + IP6_HEAD, &n, &next, &part, &hidden);
	if (hidden) return GUARD_HIDDEN;
	if (!at) return none ? GUARD_IP6 : GUARD_PASS;
	if (next == PROTO_ICMP6) return check_icmp6(g, ip, at, n, part);
	if (none) return GUARD_IP6;
	if (next != PROTO_UDP) return GUARD_PASS;
	if (n < UDP_HEAD) return GUARD_SHAPE;
	return udp_as_server(at, 547, 546) ? GUARD_DHCP : GUARD_PASS; /* RFC 8415 §7.2 */
}

enum guard_verdict guard_check(const struct guard *g, const uint8_t *frame, size_t len)
{
	static const uint8_t reserved[5] = {1, 0x80,
					    0xc2}; /* bridges' own: IEEE 802.1D table 7-10 */
	if (len < ETH_HEAD) return GUARD_SHAPE;
	if (!mac_same(frame + 6, g->mac)) return GUARD_MAC;
	if (!memcmp(frame, reserved, 5) && frame[5] < 16) return GUARD_TYPE;
	switch (be16_at(frame + 12)) {
	case ETH_ARP: return check_arp(g, frame + ETH_HEAD, len - ETH_HEAD);
	case ETH_IP4: return check_ip4(g, frame + ETH_HEAD, len - ETH_HEAD);
	case ETH_IP6: return check_ip6(g, frame + ETH_HEAD, len - ETH_HEAD);
	default: return GUARD_TYPE;
	}
}
