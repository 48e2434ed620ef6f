/* What a software network reads but frames: hellos on its socket, its file of leases, DHCP and DNS
 * by themselves, subnets as text. */
#include "base/buf.h"
#include "net/dhcp.h"
#include "net/dns.h"
#include "net/frame.h"
#include "net/lan.h"
#include "net/lan_wire.h"

static bool ip_of(void *ctx, const char *name, uint32_t *ip)
{
	*ip = 1;
	return (void)ctx, name[0] == 'w';
}
static const char *name_of(void *ctx, uint32_t ip) { return (void)ctx, ip & 1 ? "web.x" : NULL; }

static void hello(const uint8_t *p, size_t n)
{
	struct lan_hello h;
	struct nat_forward f;
	if (!lan_hello_read(&h, p, n)) return;
	must(memchr(h.name, 0, sizeof(h.name)) && h.nforward <= LAN_FORWARDS);
	for (unsigned i = 0; i < h.nforward; i++) {
		lan_forward_read(&f, &h.forward[i]);
		must(memchr(f.host, 0, sizeof(f.host)) && f.host_port && f.guest_port);
	}
}

static void leases(const uint8_t *p, size_t n)
{
	static struct leases l, m;
	struct buf b = {0}, c = {0};
	memset(&l, 0, sizeof(l));
	must(!subnet_parse(&l.subnet, "10.89.0.0/24", NULL));
	m = l;
	leases_parse(&l, (const char *)p, n);
	for (unsigned i = 0; i < LEASES; i++)
		must(!l.at[i].ip ||
		     (subnet_has(&l.subnet, l.at[i].ip) && l.at[i].ip > l.subnet.net + 2));
	leases_format(&l, &b);
	leases_parse(&m, b.at ? b.at : "", b.len);
	leases_format(&m, &c);
	must(b.len == c.len && (!b.len || !memcmp(b.at, c.at, b.len)));
	buf_done(&b);
	buf_done(&c);
}

static void dhcp(const uint8_t *p, size_t n)
{
	struct dhcp_offer o = {.ip = 0x0a590064,
			       .mask = 0xffffff00,
			       .server = 0x0a590002,
			       .router = 0x0a590001,
			       .dns = 0x0a590002,
			       .domain = "lan",
			       .name = "web"};
	struct dhcp_reply r;
	if (n >= 34) memcpy(o.mac, p + 28, 6);
	dhcp_answer(&r, &o, p, n);
	must(r.len <= DHCP_MAX && (!r.len || (r.len >= 300 && r.at[0] == 2)));
}

static void dns(const uint8_t *p, size_t n)
{
	const struct dns_zone z = {"lan", 0x0a590000, 0xffffff00, ip_of, name_of, NULL};
	uint8_t to[DNS_MAX];
	size_t len = 0;
	enum dns_verdict v = dns_answer(&z, n & 1, p, n, to, &len);
	must(v != DNS_ANSWERED || (len >= 12 && len <= DNS_MAX && to[2] & 0x80));
}

static void subnet(const uint8_t *p, size_t n)
{
	char text[64] = "";
	struct subnet s;
	struct err e = {0};
	if (n >= sizeof(text)) return;
	memcpy(text, p, n);
	int r = subnet_parse(&s, text, &e);
	must(r ? e.msg[0] != 0 : subnet_has(&s, s.net) && s.bits >= 8 && s.bits <= 29);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static void (*const parts[])(const uint8_t *, size_t) = {hello, leases, dhcp, dns, subnet};
	if (n) parts[*p % COUNT(parts)](p + 1, n - 1);
	return 0;
}
