#ifndef NET_SUBNET_H
#define NET_SUBNET_H
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
/* An IPv4 network as people write it, "10.89.0.0/24"; numbers are the host's. */
struct subnet {
	uint32_t net;
	unsigned bits; /* of the network's part: 8 to 29 */
};
enum { SUBNET_TEXT = 20, IP4_TEXT = 16 };
/* -EINVAL in words; an address within it names it as well. */
int subnet_parse(struct subnet *s, const char *text, struct err *e);
void subnet_text(char to[SUBNET_TEXT], const struct subnet *s);
void ip4_text(char to[IP4_TEXT], uint32_t ip);
/* A card's address as people write it, "10.0.0.5/24", and perhaps ",10.0.0.1": its way out, which
 * is in that network. */
struct ip4_card {
	uint32_t ip, mask, gateway; /* 0: none */
};
int ip4_card_parse(struct ip4_card *c, const char *text, struct err *e);
/* One of 10.89.0.0/24 to 10.89.255.0/24 that neither touches those nor a network this host is on.
 * -ENOSPC: none is left. */
int subnet_free(struct subnet *s, const struct subnet *taken, unsigned n, struct err *e);
static inline uint32_t subnet_mask(const struct subnet *s) { return ~0u << (32 - s->bits); }
static inline bool subnet_has(const struct subnet *s, uint32_t ip)
{
	return (ip & subnet_mask(s)) == s->net;
}
static inline bool subnet_touches(const struct subnet *a, const struct subnet *b)
{
	return subnet_has(a, b->net) || subnet_has(b, a->net);
}
/* What is the same in every software network: the way out, and who answers DNS and DHCP. */
static inline uint32_t subnet_gateway(const struct subnet *s) { return s->net + 1; }
static inline uint32_t subnet_server(const struct subnet *s) { return s->net + 2; }
static inline uint32_t subnet_broadcast(const struct subnet *s) { return s->net | ~subnet_mask(s); }
#endif
