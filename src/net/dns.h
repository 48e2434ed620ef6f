#ifndef NET_DNS_H
#define NET_DNS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* A DNS server (RFC 1035) for the names of one network's guests: NAME and NAME.DOMAIN, and back
 * from address to name. IPv4 only; asked for other types of a name it knows, it says that there
 * are none. */
enum { DNS_MAX = 512, DNS_NAME = 256, DNS_TTL = 10 };
struct dns_zone {
	const char *domain;
	uint32_t net, mask;
	bool (*ip_of)(void *ctx, const char *name, uint32_t *ip);
	const char *(*name_of)(void *ctx, uint32_t ip); /* or NULL */
	void *ctx;
};
enum dns_verdict {
	DNS_ANSWERED, /* to holds the answer */
	DNS_OTHER,    /* a good question about somebody else's names */
	DNS_BAD,      /* not worth an answer */
};
/* q: hostile. to has room for DNS_MAX. others: whether someone else answers DNS_OTHER; if not, such
 * names are said not to exist. */
enum dns_verdict dns_answer(const struct dns_zone *z, bool others, const uint8_t *q, size_t n,
			    uint8_t *to, size_t *len);
#endif
