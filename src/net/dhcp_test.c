#include "base/test.h"
#include "net/dhcp.h"
#include "net/frames_test.h"

static const uint8_t me[6] = {0x52, 0x54, 0, 1, 2, 3}, other[6] = {0x52, 0x54, 0, 9, 9, 9};
enum { MY = 0x0a590064, SERVER = 0x0a590002, GATEWAY = 0x0a590001 };
static struct dhcp_reply r;

static void ask(const uint8_t *req, size_t len)
{
	struct dhcp_offer o = {.ip = MY,
			       .mask = 0xffffff00,
			       .server = SERVER,
			       .router = GATEWAY,
			       .dns = SERVER,
			       .domain = "lan",
			       .name = "web"};
	memcpy(o.mac, me, 6);
	memset(&r, 0xee, sizeof(r));
	dhcp_answer(&r, &o, req, len);
}

static const uint8_t *option(unsigned code)
{
	for (size_t at = 240; at + 1 < r.len && r.at[at] != 255; at += 2u + r.at[at + 1])
		if (r.at[at] == code) return r.at + at + 2;
	return NULL;
}

static unsigned type(void)
{
	const uint8_t *t = r.len ? option(53) : NULL;
	return t ? *t : 0;
}

TEST(dhcp_discover_and_request)
{
	uint8_t q[512];
	ask(q, made_dhcp(q, me, 1, 0, 0));
	CHECK(type() == 2 && be32_at(r.at + 16) == MY && r.at[0] == 2 && r.len >= 300);
	CHECK(be32_at(r.at + 4) == 0x12345678 && r.to == MY && mac_same(r.mac, me));
	CHECK(be32_at(option(1)) == 0xffffff00 && be32_at(option(3)) == GATEWAY);
	CHECK(be32_at(option(6)) == SERVER && be32_at(option(54)) == SERVER);
	CHECK(!memcmp(option(15) - 1, "\3lan", 4) && !memcmp(option(12) - 1, "\3web", 4));
	CHECK(be32_at(option(28)) == 0x0a5900ff && be32_at(option(51)) == DHCP_LEASE_S);
	ask(q, made_dhcp(q, me, 3, MY, SERVER));
	CHECK(type() == 5 && be32_at(r.at + 16) == MY);
	size_t n = made_dhcp(q, me, 3, 0, 0); /* renewing */
	be32_put(q + 12, MY);
	ask(q, n);
	CHECK(type() == 5 && r.to == MY);
	n = made_dhcp(q, me, 1, 0, 0);
	q[10] = 0x80; /* it cannot hear unicast yet */
	ask(q, n);
	CHECK(type() == 2 && r.to == 0xffffffff && r.mac[0] == 0xff);
	n = made_dhcp(q, me, 8, 0, 0); /* inform */
	be32_put(q + 12, MY);
	ask(q, n);
	CHECK(type() == 5 && !option(51) && be32_at(r.at + 16) == 0);
}

TEST(dhcp_refuses)
{
	uint8_t q[512];
	ask(q, made_dhcp(q, me, 3, MY + 1, SERVER));
	CHECK(type() == 6 && be32_at(r.at + 16) == 0 && r.to == 0xffffffff && !option(51));
	ask(q, made_dhcp(q, me, 3, MY, SERVER + 1)); /* it took another's offer */
	CHECK(!r.len);
	ask(q, made_dhcp(q, other, 1, 0, 0));
	CHECK(!r.len);
	ask(q, made_dhcp(q, me, 7, 0, SERVER));
	CHECK(!r.len);
	ask(q, made_dhcp(q, me, 2, 0, 0));
	CHECK(!r.len);
	size_t n = made_dhcp(q, me, 1, 0, 0);
	for (size_t cut = 0; cut < n - 1; cut++) {
		ask(q, cut);
		CHECK(cut >= 243 || !r.len);
	}
	q[2] = 16;
	ask(q, n);
	CHECK(!r.len);
	n = made_dhcp(q, me, 1, 0, 0);
	q[24] = 10; /* through a relay */
	ask(q, n);
	CHECK(!r.len);
	n = made_dhcp(q, me, 1, 0, 0);
	q[241] = 255; /* an option longer than the packet */
	ask(q, n);
	CHECK(!r.len);
}
