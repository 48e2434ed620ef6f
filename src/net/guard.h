#ifndef NET_GUARD_H
#define NET_GUARD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* Whether a guest may send this frame: only as itself, and nothing that only a network's owner
 * sends. Pure; any thread. */
#define GUARD_VERDICTS(X)                                                                          \
	X(PASS, "passed")                                                                          \
	X(SHAPE, "malformed")	      /* too short for what it says it is */                       \
	X(MAC, "mac_spoofed")	      /* the source is not the port's own address */               \
	X(TYPE, "type_refused")	      /* VLAN tags, bridges' own protocols, anything but IP */     \
	X(ARP, "arp_spoofed")	      /* a sender that is not the port's */                        \
	X(IP4, "ip4_spoofed")	      /* RFC 2827 */                                               \
	X(DHCP, "dhcp_refused")	      /* sent as a DHCP server does */                             \
	X(IP6, "ip6_spoofed")	      /* not its own, or another's; RFC 6620 */                    \
	X(ROUTER, "router_refused")   /* RFC 6105: router advertisement, redirect */               \
	X(HIDDEN, "headers_too_long") /* RFC 7113: what is inside cannot be seen */
enum guard_verdict {
#define X(name, word) GUARD_##name,
	GUARD_VERDICTS(X)
#undef X
		GUARD_COUNT
};
extern const char *const guard_words[GUARD_COUNT];
struct guard {
	uint8_t mac[6];
	uint32_t ip; /* its lease */
	/* Is this IPv6 address the port's, or free and from now on the port's? */
	bool (*claim)(void *ctx, const uint8_t ip[16]);
	void *ctx;
};
enum guard_verdict guard_check(const struct guard *g, const uint8_t *frame, size_t len);
#endif
