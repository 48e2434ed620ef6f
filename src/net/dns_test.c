#include "base/test.h"
#include "net/dns.h"
#include "net/frames_test.h"

enum { WEB = 0x0a590064 };
static uint8_t to[DNS_MAX];
static size_t n;

static bool ip_of(void *ctx, const char *name, uint32_t *ip)
{
	(void)ctx;
	*ip = WEB;
	return !strcmp(name, "web") || !strcmp(name, "a.b");
}
static const char *name_of(void *ctx, uint32_t ip) { return (void)ctx, ip == WEB ? "web" : NULL; }
static const struct dns_zone zone = {"lan", 0x0a590000, 0xffffff00, ip_of, name_of, NULL};

static enum dns_verdict ask(const char *name, unsigned type, bool others)
{
	uint8_t q[512];
	size_t len = made_dns(q, name, type);
	n = 0;
	memset(to, 0xee, sizeof(to));
	enum dns_verdict v = dns_answer(&zone, others, q, len, to, &n);
	CHECK(v != DNS_ANSWERED || (n >= len && n <= DNS_MAX && to[2] == 0x85 &&
				    !memcmp(to, q, 2) && !memcmp(to + 12, q + 12, len - 12)));
	return v;
}

static unsigned code(void) { return to[3] & 15; }
static unsigned answers(void) { return be16_at(to + 6); }

TEST(dns_names_of_guests)
{
	CHECK(ask("web", 1, true) == DNS_ANSWERED && code() == 0 && answers() == 1);
	CHECK(be32_at(to + n - 4) == WEB && be16_at(to + n - 6) == 4);
	CHECK(ask("WEB.Lan", 1, true) == DNS_ANSWERED && answers() == 1);
	CHECK(ask("a.b.lan", 1, true) == DNS_ANSWERED && answers() == 1);
	CHECK(ask("web", 28, true) == DNS_ANSWERED && code() == 0 && answers() == 0);
	CHECK(ask("nobody", 1, true) == DNS_ANSWERED && code() == 3 && answers() == 0);
	CHECK(ask("nobody.lan", 28, true) == DNS_ANSWERED && code() == 3);
}

TEST(dns_addresses_of_guests)
{
	CHECK(ask("100.0.89.10.in-addr.arpa", 12, true) == DNS_ANSWERED && answers() == 1);
	CHECK(!memcmp(to + n - 9, "\3web\3lan", 9));
	CHECK(ask("101.0.89.10.in-addr.arpa", 12, true) == DNS_ANSWERED && code() == 3);
	CHECK(ask("100.0.90.10.in-addr.arpa", 12, true) == DNS_OTHER);
	CHECK(ask("300.0.89.10.in-addr.arpa", 12, true) == DNS_OTHER);
}

TEST(dns_names_of_others)
{
	CHECK(ask("example.org", 1, true) == DNS_OTHER);
	CHECK(ask("", 2, true) == DNS_OTHER);
	CHECK(ask("example.org", 1, false) == DNS_ANSWERED && code() == 3);
}

static enum dns_verdict raw(const uint8_t *q, size_t len)
{
	return dns_answer(&zone, true, q, len, to, &n);
}

TEST(dns_hostile)
{
	uint8_t q[600];
	size_t len = made_dns(q, "web.lan", 1);
	for (size_t cut = 0; cut < len; cut++) CHECK(raw(q, cut) == DNS_BAD);
	CHECK(raw(q, len) == DNS_ANSWERED);
	q[2] |= 0x80; /* an answer: never answered, or two servers would talk for ever */
	CHECK(raw(q, len) == DNS_BAD);
	len = made_dns(q, "web.lan", 1);
	q[5] = 2;
	CHECK(raw(q, len) == DNS_BAD);
	len = made_dns(q, "web.lan", 1);
	q[12] = 0xc0; /* a pointer, to itself */
	q[13] = 12;
	CHECK(raw(q, len) == DNS_BAD);
	memset(q + 12, 0, sizeof(q) - 12);
	for (unsigned i = 0; i < 7; i++) q[12 + i * 64] = 63;
	q[5] = 1;
	q[2] = 1;
	CHECK(raw(q, 500) == DNS_BAD); /* more than 255 bytes of name */
	CHECK(ask("w\"b\n.lan", 1, true) == DNS_ANSWERED && code() == 3);
}
