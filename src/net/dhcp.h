#ifndef NET_DHCP_H
#define NET_DHCP_H
#include <stddef.h>
#include <stdint.h>
/* A DHCP server (RFC 2131, RFC 2132) for clients whose address is known before they ask. */
enum { DHCP_MAX = 548, DHCP_LEASE_S = 3600 };
struct dhcp_offer { /* what this client shall have */
	uint8_t mac[6];
	uint32_t ip, mask, server, router, dns; /* router 0: none */
	const char *domain, *name;		/* "" : none */
};
struct dhcp_reply {
	uint32_t to;	/* 255.255.255.255: everybody, RFC 2131 §4.1 */
	uint8_t mac[6]; /* of the frame that carries it */
	size_t len;	/* 0: there is no answer to this */
	uint8_t at[DHCP_MAX];
};
/* req: what a client sent to UDP port 67, hostile. Answered only if it names the offer's MAC. */
void dhcp_answer(struct dhcp_reply *r, const struct dhcp_offer *o, const uint8_t *req, size_t len);
#endif
