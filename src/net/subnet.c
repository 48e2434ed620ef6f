/* IPv4 networks as text, and finding one that nobody uses. */
#include "net/subnet.h"
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int bad(const char *text, struct err *e, const char *why)
{
	return fail(e, -EINVAL, "subnet \"%.40s\": %s", text, why);
}

int subnet_parse(struct subnet *s, const char *text, struct err *e)
{
	char copy[SUBNET_TEXT], *slash;
	struct in_addr a;
	if (strlen(text) >= sizeof(copy) || !strchr(text, '/'))
		return bad(text, e, "is not like 10.89.0.0/24");
	(void)strcpy(copy, text);
	slash = strchr(copy, '/');
	*slash++ = 0;
	size_t n = strspn(slash, "0123456789");
	if (inet_pton(AF_INET, copy, &a) != 1 || !n || n > 2 || slash[n])
		return bad(text, e, "is not like 10.89.0.0/24");
	unsigned bits = (unsigned)strtoul(slash, NULL, 10);
	if (bits < 8 || bits > 29) return bad(text, e, "between /8 and /29, please");
	struct subnet to = {.bits = bits};
	to.net = ntohl(a.s_addr) & subnet_mask(&to);
	uint32_t top = to.net >> 24;
	if (top == 0 || top == 127 || top >= 224)
		return bad(text, e, "hosts have no such addresses");
	*s = to;
	return 0;
}

void ip4_text(char to[IP4_TEXT], uint32_t ip)
{
	(void)snprintf(to, IP4_TEXT, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255,
		       ip & 255);
}

void subnet_text(char to[SUBNET_TEXT], const struct subnet *s)
{
	char ip[IP4_TEXT];
	ip4_text(ip, s->net);
	(void)snprintf(to, SUBNET_TEXT, "%s/%u", ip, s->bits);
}

static bool host_touches(const struct ifaddrs *all, const struct subnet *s)
{
	for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
		if (!i->ifa_addr || !i->ifa_netmask || i->ifa_addr->sa_family != AF_INET) continue;
		uint32_t ip = ntohl(((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr.s_addr);
		uint32_t m = ntohl(((struct sockaddr_in *)(void *)i->ifa_netmask)->sin_addr.s_addr);
		uint32_t both = m & subnet_mask(s);
		if ((ip & both) == (s->net & both)) return true;
	}
	return false;
}

static bool any_touches(const struct subnet *taken, unsigned n, const struct subnet *s)
{
	for (unsigned i = 0; i < n; i++)
		if (subnet_touches(&taken[i], s)) return true;
	return false;
}

int subnet_free(struct subnet *s, const struct subnet *taken, unsigned n, struct err *e)
{
	struct ifaddrs *host = NULL;
	(void)getifaddrs(&host);
	struct subnet at = {.bits = 24};
	unsigned i = 0;
	for (; i < 256; i++) {
		at.net = 10u << 24 | 89u << 16 | i << 8;
		if (!any_touches(taken, n, &at) && !host_touches(host, &at)) break;
	}
	freeifaddrs(host);
	if (i == 256) return fail(e, -ENOSPC, "no subnet is free; choose one with --subnet");
	*s = at;
	return 0;
}

static bool ip4_parse(uint32_t *ip, const char *text, size_t n)
{
	char copy[IP4_TEXT];
	struct in_addr a;
	if (n >= sizeof(copy)) return false;
	memcpy(copy, text, n);
	copy[n] = 0;
	if (inet_pton(AF_INET, copy, &a) != 1) return false;
	*ip = ntohl(a.s_addr);
	return *ip;
}

int ip4_card_parse(struct ip4_card *c, const char *text, struct err *e)
{
	enum { MOST_BITS = 30 };
	size_t n = strcspn(text, "/");
	const char *bits = text[n] ? text + n + 1 : "";
	size_t digits = strspn(bits, "0123456789");
	unsigned long len = digits && digits < 3 ? strtoul(bits, NULL, 10) : 0;
	const char *rest = bits + digits, *way = *rest == ',' ? rest + 1 : NULL;
	*c = (struct ip4_card){0};
	bool good = ip4_parse(&c->ip, text, n) && len && len <= MOST_BITS && (!*rest || way) &&
		    (!way || ip4_parse(&c->gateway, way, strlen(way)));
	if (good) c->mask = ~0u << (32 - len);
	if (good && (c->ip & ~c->mask) && (c->ip | c->mask) != ~0u &&
	    (!way || ((c->gateway ^ c->ip) & c->mask) == 0))
		return 0;
	return fail(e, -EINVAL, "'%.60s' is no address such as 10.0.0.5/24 or 10.0.0.5/24,10.0.0.1",
		    text);
}
