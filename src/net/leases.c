/* Addresses by guest. The first place to look is made of the name, so that addresses mostly stay
 * the same even where nothing was stored. */
#include "net/leases.h"
#include "base/buf.h"
#include "base/types.h"
#include <stdio.h>

enum { FIRST = 10 /* below are gateway, server, and room for later */, LINE = 160 };

static struct lease *by_ip(const struct leases *l, uint32_t ip)
{
	for (unsigned i = 0; i < LEASES; i++)
		if (l->at[i].ip == ip) return (struct lease *)&l->at[i];
	return NULL;
}

static struct lease *by_mac(const struct leases *l, const uint8_t mac[6])
{
	for (unsigned i = 0; i < LEASES; i++)
		if (l->at[i].ip && !memcmp(l->at[i].mac, mac, 6)) return (struct lease *)&l->at[i];
	return NULL;
}

/* Its own from before, with whatever card it has now. */
static struct lease *idle_named(struct leases *l, const char *name)
{
	for (unsigned i = 0; i < LEASES; i++)
		if (*name && l->at[i].ip && !l->at[i].live && !strcmp(l->at[i].name, name))
			return &l->at[i];
	return NULL;
}

static struct lease *oldest_idle(struct leases *l)
{
	struct lease *old = NULL;
	for (unsigned i = 0; i < LEASES; i++) {
		struct lease *n = &l->at[i];
		if (!n->live && (!n->ip || !old || n->used < old->used)) old = n;
		if (old && !old->ip) break;
	}
	return old;
}

static uint32_t first_host(const struct subnet *s) { return s->bits > 27 ? 3 : FIRST; }
static uint32_t hosts(const struct subnet *s) { return ~subnet_mask(s) - first_host(s); }

static bool usable(const struct leases *l, uint32_t ip)
{
	uint32_t at = ip - l->subnet.net;
	return subnet_has(&l->subnet, ip) && at >= first_host(&l->subnet) &&
	       at < first_host(&l->subnet) + hosts(&l->subnet);
}

static uint32_t place_of(const struct leases *l, const uint8_t mac[6], const char *name)
{
	uint64_t h = 0xcbf29ce484222325; /* FNV-1a */
	for (const char *c = name; *c; c++) h = (h ^ (uint8_t)*c) * 0x100000001b3;
	for (unsigned i = 0; !*name && i < 6; i++) h = (h ^ mac[i]) * 0x100000001b3;
	return (uint32_t)(h >> 32) % hosts(&l->subnet);
}

/* The first free from there on; then one of a guest that is not there. 0: none. */
static uint32_t free_ip(struct leases *l, const uint8_t mac[6], const char *name)
{
	uint32_t n = hosts(&l->subnet), at = place_of(l, mac, name);
	for (uint32_t i = 0; i < n && i <= LEASES; i++) {
		uint32_t ip = l->subnet.net + first_host(&l->subnet) + (at + i) % n;
		if (!by_ip(l, ip)) return ip;
	}
	struct lease *old = NULL;
	for (unsigned i = 0; i < LEASES; i++)
		if (l->at[i].ip && !l->at[i].live && (!old || l->at[i].used < old->used))
			old = &l->at[i];
	uint32_t ip = old ? old->ip : 0;
	if (old) old->ip = 0;
	return ip;
}

struct lease *lease_take(struct leases *l, const uint8_t mac[6], const char *name, uint32_t want)
{
	struct lease *n = by_mac(l, mac);
	if (n && n->live) return NULL;
	if (!n) n = idle_named(l, name);
	uint32_t ip = n ? n->ip : 0;
	if (!ip && want && usable(l, want) && !by_ip(l, want)) ip = want;
	if (!ip) ip = free_ip(l, mac, name);
	if (!n && ip) n = oldest_idle(l);
	if (!n) return NULL;
	*n = (struct lease){.ip = ip, .live = true, .used = ++l->clock};
	memcpy(n->mac, mac, 6);
	(void)snprintf(n->name, sizeof(n->name), "%s", name);
	return n;
}

void lease_leave(struct lease *n) { n->live = false; }

const struct lease *lease_named(const struct leases *l, const char *name)
{
	for (unsigned i = 0; *name && i < LEASES; i++)
		if (l->at[i].live && !strcmp(l->at[i].name, name)) return &l->at[i];
	return NULL;
}

const struct lease *lease_of(const struct leases *l, uint32_t ip)
{
	const struct lease *n = ip ? by_ip(l, ip) : NULL;
	return n && n->live ? n : NULL;
}

static void lease_text(char *to, size_t room, const struct lease *n)
{
	char ip[IP4_TEXT];
	const uint8_t *m = n->mac;
	ip4_text(ip, n->ip);
	(void)snprintf(to, room, "%s %02x:%02x:%02x:%02x:%02x:%02x %llu %s", ip, m[0], m[1], m[2],
		       m[3], m[4], m[5], (unsigned long long)n->used, n->name);
}

void leases_format(const struct leases *l, struct buf *to)
{
	char line[LINE];
	for (unsigned i = 0; i < LEASES; i++) {
		if (!l->at[i].ip || !l->at[i].name[0]) continue;
		lease_text(line, sizeof(line), &l->at[i]);
		buf_fmt(to, "%s\n", line);
	}
}

static bool name_plain(const char *s)
{
	return *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_.-")] == 0;
}

/* What would not be written like that is no such line. */
static void line_parse(struct leases *l, const char *line)
{
	char same[LINE];
	unsigned b[4], m[6];
	unsigned long long used;
	struct lease n = {0};
	if (sscanf(line, "%3u.%3u.%3u.%3u %2x:%2x:%2x:%2x:%2x:%2x %19llu %63s", &b[0], &b[1], &b[2],
		   &b[3], &m[0], &m[1], &m[2], &m[3], &m[4], &m[5], &used, n.name) != 12)
		return;
	for (unsigned i = 0; i < 4; i++) n.ip = n.ip << 8 | (b[i] & 255);
	for (unsigned i = 0; i < 6; i++) n.mac[i] = (uint8_t)m[i];
	n.used = used;
	lease_text(same, sizeof(same), &n);
	struct lease *to = oldest_idle(l);
	if (strcmp(same, line) || !name_plain(n.name) || !usable(l, n.ip) || by_ip(l, n.ip) ||
	    by_mac(l, n.mac) || !to || to->ip)
		return;
	*to = n;
	if (used > l->clock) l->clock = used;
}

void leases_parse(struct leases *l, const char *text, size_t len)
{
	char line[LINE];
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;
		if (n < sizeof(line)) {
			memcpy(line, text, n);
			line[n] = 0;
			line_parse(l, line);
		}
		n += end != NULL;
		text += n;
		len -= n;
	}
}
