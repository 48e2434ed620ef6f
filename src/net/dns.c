/* Names of guests. One question, one answer: nothing is kept, and questions about the world are
 * left to those who know it. */
#include "net/dns.h"
#include "net/frame.h"
#include <stdio.h>
#include <strings.h>

enum { HEAD = 12, TYPE_A = 1, TYPE_PTR = 12, TYPE_ANY = 255, CLASS_IN = 1 }; /* RFC 1035 §3.2 */
enum { NOERROR, FORMERR, SERVFAIL, NXDOMAIN };				     /* §4.1.1 */

struct question {
	char name[DNS_NAME]; /* lower case, dots, no last one */
	unsigned type, class;
	size_t end; /* of the question, from the head */
};

static char lower(uint8_t c) { return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c); }

/* Nothing but letters, digits, - and _ is a guest's name, and nothing else is printed. */
static bool plain(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_';
}

/* False: it is cut short, too long, or compressed, which a question has no reason to be. Bytes
 * that no guest's name has become '?'. */
static bool name_parse(struct question *k, const uint8_t *q, size_t n, size_t *at)
{
	size_t to = 0;
	while (*at < n && q[*at]) {
		size_t label = q[*at];
		if (label > 63 || *at + 1 + label >= n || to + label + 2 > DNS_NAME) return false;
		if (to) k->name[to++] = '.';
		for (size_t i = 1; i <= label; i++)
			k->name[to++] = plain(q[*at + i]) ? lower(q[*at + i]) : '?';
		*at += 1 + label;
	}
	k->name[to] = 0;
	return (*at)++ < n;
}

static bool question_parse(struct question *k, const uint8_t *q, size_t n)
{
	size_t at = HEAD;
	if (n < HEAD || n > DNS_MAX || (q[2] & 0xf8) || be16_at(q + 4) != 1 || be16_at(q + 6))
		return false;
	if (!name_parse(k, q, n, &at) || at + 4 > n) return false;
	k->type = be16_at(q + at);
	k->class = be16_at(q + at + 2);
	k->end = at + 4;
	return true;
}

static size_t begin(uint8_t *to, const uint8_t *q, const struct question *k, unsigned code)
{
	memcpy(to, q, k->end);
	to[2] = (uint8_t)(0x84 | (q[2] & 1)); /* an answer, authoritative; RD as it was */
	to[3] = (uint8_t)(0x80 | code);	      /* recursion is to be had */
	memset(to + 6, 0, 6);
	return k->end;
}

/* One record about the question's name. */
static size_t record(uint8_t *to, size_t at, unsigned type, const uint8_t *data, size_t n)
{
	if (at + HEAD + n > DNS_MAX) return at;
	be16_put(to + 6, 1);
	be16_put(to + at, 0xc000 | HEAD); /* §4.1.4: that name */
	be16_put(to + at + 2, type);
	be16_put(to + at + 4, CLASS_IN);
	be32_put(to + at + 6, DNS_TTL);
	be16_put(to + at + 10, (unsigned)n);
	memcpy(to + at + 12, data, n);
	return at + 12 + n;
}

/* The guest's part of a name of this network; false: it is somebody else's. */
static bool own_name(const struct dns_zone *z, char *name)
{
	char *dot = strrchr(name, '.');
	if (!dot) return *name;
	if (strcasecmp(dot + 1, z->domain)) return false;
	*dot = 0;
	return true;
}

static bool own_reverse(const struct dns_zone *z, const char *name, uint32_t *ip)
{
	unsigned a, b, c, d;
	int n = 0;
	if (sscanf(name, "%3u.%3u.%3u.%3u.in-addr.arpa%n", &d, &c, &b, &a, &n) != 4 || !n ||
	    name[n])
		return false;
	*ip = (a & 255) << 24 | (b & 255) << 16 | (c & 255) << 8 | (d & 255);
	return a < 256 && b < 256 && c < 256 && d < 256 && (*ip & z->mask) == z->net;
}

/* A name in a record; its length, 0: it does not fit. */
static size_t name_put(uint8_t *to, size_t room, const char *name)
{
	size_t at = 0;
	while (*name) {
		size_t n = strcspn(name, ".");
		if (!n || n > 63 || at + 1 + n + 1 > room) return 0;
		to[at++] = (uint8_t)n;
		memcpy(to + at, name, n);
		at += n;
		name += n + (name[n] == '.');
	}
	to[at++] = 0;
	return at;
}

static size_t answer_reverse(const struct dns_zone *z, const uint8_t *q, const struct question *k,
			     uint32_t ip, uint8_t *to)
{
	char full[DNS_NAME];
	uint8_t data[DNS_NAME];
	const char *name = z->name_of(z->ctx, ip);
	if (!name) return begin(to, q, k, NXDOMAIN);
	(void)snprintf(full, sizeof(full), "%s.%s", name, z->domain);
	size_t n = name_put(data, sizeof(data), full), at = begin(to, q, k, NOERROR);
	bool ptr = k->type == TYPE_PTR || k->type == TYPE_ANY;
	return n && ptr ? record(to, at, TYPE_PTR, data, n) : at;
}

static size_t answer_name(const struct dns_zone *z, const uint8_t *q, const struct question *k,
			  uint8_t *to)
{
	uint32_t ip;
	uint8_t data[4];
	if (!z->ip_of(z->ctx, k->name, &ip)) return begin(to, q, k, NXDOMAIN);
	size_t at = begin(to, q, k, NOERROR);
	if (k->type != TYPE_A && k->type != TYPE_ANY) return at;
	be32_put(data, ip);
	return record(to, at, TYPE_A, data, 4);
}

enum dns_verdict dns_answer(const struct dns_zone *z, bool others, const uint8_t *q, size_t n,
			    uint8_t *to, size_t *len)
{
	struct question k;
	uint32_t ip;
	if (!question_parse(&k, q, n)) return DNS_BAD;
	if (k.class == CLASS_IN && own_reverse(z, k.name, &ip))
		*len = answer_reverse(z, q, &k, ip, to);
	else if (k.class == CLASS_IN && own_name(z, k.name))
		*len = answer_name(z, q, &k, to);
	else if (others)
		return DNS_OTHER;
	else
		*len = begin(to, q, &k, NXDOMAIN);
	return DNS_ANSWERED;
}
