#include "base/buf.h"
#include "base/test.h"
#include "net/frames_test.h"
#include "net/lan.h"
#include <errno.h>
#include <stdlib.h>

/* Everything that comes out of the switch, kept. */
enum { OUT = 64 };
static struct rec {
	unsigned n;
	struct {
		unsigned port;
		bool own; /* made by the network */
		struct made f;
	} at[OUT];
} rec;
static struct lan *l;
static struct offload said; /* of what goes in */

static void keep(unsigned port, bool own, const uint8_t *at, size_t len)
{
	if (rec.n == OUT) return;
	rec.at[rec.n].port = port;
	rec.at[rec.n].own = own;
	rec.at[rec.n].f.len = 0;
	made_add(&rec.at[rec.n++].f, at, len);
}
static void on_forward(void *ctx, unsigned port, const uint8_t *at, size_t len)
{
	(void)ctx;
	keep(port, false, at, len);
}
static void on_answer(void *ctx, unsigned port, const uint8_t *at, size_t len)
{
	(void)ctx;
	keep(port, true, at, len);
}
static const struct lan_ops ops = {on_forward, on_answer};
static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static const uint8_t *mac(unsigned n)
{
	static uint8_t m[4][6];
	static unsigned turn;
	uint8_t *at = m[turn++ % 4];
	at[0] = 0x52;
	at[1] = 0x54;
	memcpy(at + 2, &n, 4);
	return at;
}

static void begin(bool nat, bool guard)
{
	struct lan_conf c = {.name = "lan", .nat = nat, .guard = guard};
	CHECK(!subnet_parse(&c.subnet, "10.89.0.0/24", NULL));
	free(l);
	l = malloc(sizeof(*l));
	lan_init(l, &c, &ops, NULL);
}

static uint32_t ip(int port) { return l->port[port].id.ip; }

static void in(int port, const struct made *f, uint64_t now)
{
	rec.n = 0;
	lan_input(l, (unsigned)port, &said, f->at, f->len, now);
}

static bool went(int port)
{
	for (unsigned i = 0; i < rec.n; i++)
		if (rec.at[i].port == (unsigned)port) return true;
	return false;
}

TEST(lan_switches_between_guests)
{
	begin(false, true);
	int a = lan_plug(l, mac(1), "a", 0, NULL), b = lan_plug(l, mac(2), "b", 0, NULL),
	    c = lan_plug(l, mac(3), "c", 0, NULL);
	CHECK(a >= 0 && b >= 0 && c >= 0);
	struct made f = made_udp4(mac(2), mac(1), ip(a), ip(b), 5, 6, "x", 1);
	in(a, &f, 1);
	CHECK(rec.n == 1 && rec.at[0].port == (unsigned)b && !memcmp(rec.at[0].f.at, f.at, f.len));
	f = made_arp(all, mac(1), 1, mac(1), ip(a), ip(b));
	in(a, &f, 1);
	CHECK(rec.n == 2 && went(b) && went(c));
	f = made_udp4(mac(99), mac(1), ip(a), ip(b), 5, 6, "x", 1); /* nobody's */
	in(a, &f, 1);
	CHECK(rec.n == 0);
	lan_unplug(l, (unsigned)b);
	f = made_udp4(mac(2), mac(1), ip(a), 1, 5, 6, "x", 1);
	in(a, &f, 1);
	CHECK(rec.n == 0);
}

/* What is said of a frame must be so; and a long one must be one that is to be cut. */
TEST(lan_switches_unfinished_frames)
{
	begin(false, true);
	int a = lan_plug(l, mac(1), "a", 0, NULL), b = lan_plug(l, mac(2), "b", 0, NULL);
	static uint8_t t[1900] = {[12] = 0x50};
	struct made f = made_ip4(mac(2), mac(1), ip(a), ip(b), 6, t, sizeof(t));
	in(a, &f, 1);
	CHECK(rec.n == 0);
	said = (struct offload){OFFLOAD_TCP4, 34, 1000};
	in(a, &f, 1);
	CHECK(rec.n == 1 && went(b) && rec.at[0].f.len == f.len);
	said.size = 1500;
	in(a, &f, 1);
	CHECK(rec.n == 0);
	said = (struct offload){OFFLOAD_TCP6, 54, 1000};
	in(a, &f, 1);
	CHECK(rec.n == 0);
	said = (struct offload){OFFLOAD_TCP4, 34, 1000};
	f = made_ip4(mac(2), mac(1), ip(b), ip(b), 6, t, sizeof(t));
	in(a, &f, 1);
	CHECK(rec.n == 0);
	said = (struct offload){0};
}
TEST(lan_refuses_ports)
{
	struct err e = {0};
	begin(true, true);
	CHECK(lan_plug(l, mac(1), "a", 0, NULL) >= 0);
	CHECK(lan_plug(l, mac(1), "b", 0, &e) == -EBUSY && strstr(e.msg, "taken"));
	CHECK(lan_plug(l, all, "b", 0, &e) == -EINVAL);
	CHECK(lan_plug(l, (uint8_t[6]){0x52, 0x55, 10, 89, 0, 1}, "b", 0, &e) == -EINVAL);
	for (unsigned i = 2; i < 240; i++) CHECK(lan_plug(l, mac(i), "", 0, &e) >= 0);
	for (unsigned i = 240; i < 300; i++) (void)lan_plug(l, mac(i), "", 0, &e);
	CHECK(e.code == -EBUSY || e.code == -ENOSPC);
}

TEST(lan_drops_and_counts_what_is_spoofed)
{
	auto_buf struct buf b = {0};
	begin(false, true);
	int a = lan_plug(l, mac(1), "a", 0, NULL), v = lan_plug(l, mac(2), "victim", 0, NULL);
	struct made f[] = {
		made_udp4(mac(2), mac(3), ip(a), ip(v), 5, 6, "x", 1),
		made_arp(all, mac(1), 2, mac(1), l->conf.subnet.net + 1, ip(v)),
		made_udp4(mac(2), mac(1), ip(v), ip(v), 5, 6, "x", 1),
		made_udp4(mac(2), mac(1), ip(a), ip(v), 67, 68, "x", 1),
		made_ether(all, mac(1), 0x8100),
	};
	for (unsigned i = 0; i < 5; i++) {
		in(a, &f[i], 1);
		CHECK(rec.n == 0);
	}
	lan_describe(l, &b);
	CHECK(strstr(b.at, "\"name\": \"a\"") && strstr(b.at, "\"frames\": 5") &&
	      strstr(b.at, "\"mac_spoofed\": 1, \"type_refused\": 1, \"arp_spoofed\": 1, "
			   "\"ip4_spoofed\": 1, \"dhcp_refused\": 1"));
}

TEST(lan_ip6_addresses_are_first_comes)
{
	begin(false, true);
	uint8_t ip6[16] = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
	int a = lan_plug(l, mac(1), "a", 0, NULL), b = lan_plug(l, mac(2), "b", 0, NULL);
	struct made f = made_ip6(all, mac(1), ip6, 6, "01234567", 8),
		    g = made_ip6(all, mac(2), ip6, 6, "01234567", 8);
	in(a, &f, 1);
	CHECK(went(b));
	in(b, &g, 1);
	CHECK(rec.n == 0);
	for (unsigned i = 0; i < 50; i++) { /* no port can hoard them */
		ip6[15] = (uint8_t)(100 + i);
		g = made_ip6(all, mac(2), ip6, 6, "01234567", 8);
		in(b, &g, 1);
		CHECK(went(a));
	}
	lan_unplug(l, (unsigned)a);
	ip6[15] = 8;
	g = made_ip6(all, mac(2), ip6, 6, "01234567", 8);
	int c = lan_plug(l, mac(3), "c", 0, NULL);
	in(b, &g, 1);
	CHECK(went(c));
}

TEST(lan_dhcp_never_reaches_a_guest)
{
	uint8_t q[512];
	begin(true, true);
	int up = lan_uplink(l, NULL), a = lan_plug(l, mac(1), "a", 0, NULL),
	    b = lan_plug(l, mac(2), "b", 0, NULL);
	size_t n = made_dhcp(q, mac(1), 1, 0, 0);
	struct made f = made_udp4(all, mac(1), 0, 0xffffffff, 68, 67, q, n);
	struct udp4 u;
	in(a, &f, 1);
	CHECK(rec.n == 1 && went(a) && rec.at[0].own && !went(b) && !went(up));
	CHECK(udp4_parse(&u, rec.at[0].f.at, rec.at[0].f.len) && u.sport == 67 && u.dport == 68);
	CHECK(u.src == l->conf.subnet.net + 2 && be32_at(u.at + 16) == ip(a));
	n = made_dhcp(q, mac(2), 1, 0, 0); /* in another's name */
	f = made_udp4(all, mac(1), 0, 0xffffffff, 68, 67, q, n);
	in(a, &f, 1);
	CHECK(rec.n == 0);
}

TEST(lan_dns)
{
	uint8_t q[512];
	struct udp4 u;
	begin(true, true);
	int up = lan_uplink(l, NULL), a = lan_plug(l, mac(1), "a", 0, NULL),
	    b = lan_plug(l, mac(2), "b", 0, NULL);
	const uint8_t gate[6] = {0x52, 0x55, 10, 89, 0, 2};
	uint32_t dns = l->conf.subnet.net + 2;
	struct made f = made_udp4(gate, mac(1), ip(a), dns, 1234, 53, q, made_dns(q, "b.lan", 1));
	in(a, &f, 1);
	CHECK(rec.n == 1 && went(a) && udp4_parse(&u, rec.at[0].f.at, rec.at[0].f.len));
	CHECK(u.src == dns && u.dst == ip(a) && u.sport == 53 && u.dport == 1234);
	CHECK(be32_at(u.at + u.len - 4) == ip(b) && !memcmp(rec.at[0].f.at + 6, gate, 6));
	f = made_udp4(gate, mac(1), ip(a), dns, 1234, 53, q, made_dns(q, "example.org", 1));
	in(a, &f, 1);
	CHECK(rec.n == 1 && went(up) && !rec.at[0].own);
	lan_unplug(l, (unsigned)b);
	f = made_udp4(gate, mac(1), ip(a), dns, 1234, 53, q, made_dns(q, "b.lan", 1));
	in(a, &f, 1);
	CHECK(rec.n == 1 && udp4_parse(&u, rec.at[0].f.at, rec.at[0].f.len) && (u.at[3] & 15) == 3);
}

TEST(lan_isolated_has_a_server_but_no_way_out)
{
	uint8_t q[512];
	struct udp4 u;
	begin(false, true);
	int a = lan_plug(l, mac(1), "a", 0, NULL), b = lan_plug(l, mac(2), "b", 0, NULL);
	uint32_t dns = l->conf.subnet.net + 2;
	struct made f = made_arp(all, mac(1), 1, mac(1), ip(a), dns);
	in(a, &f, 1);
	CHECK(rec.n == 1 && went(a) && be16_at(rec.at[0].f.at + 20) == 2);
	const uint8_t *gate = rec.at[0].f.at + 6;
	CHECK(!memcmp(gate, rec.at[0].f.at + 22, 6) && be32_at(rec.at[0].f.at + 28) == dns);
	f = made_udp4(gate, mac(1), ip(a), dns, 1234, 53, q, made_dns(q, "example.org", 1));
	in(a, &f, 1);
	CHECK(rec.n == 1 && udp4_parse(&u, rec.at[0].f.at, rec.at[0].f.len) && (u.at[3] & 15) == 3);
	f = made_arp(all, mac(1), 1, mac(1), ip(a), dns - 1);
	in(a, &f, 1);
	CHECK(rec.n == 1 && went(b) && !rec.at[0].own);
}

TEST(lan_without_guard_learns)
{
	begin(true, false);
	int up = lan_uplink(l, NULL), a = lan_plug(l, mac(1), "a", 0, NULL),
	    b = lan_plug(l, mac(2), "b", 0, NULL), c = lan_plug(l, mac(3), "c", 0, NULL);
	struct made f = made_ether(mac(50), mac(1), 0x8100); /* anything goes */
	in(a, &f, 1);
	CHECK(rec.n == 3 && went(b) && went(c) && went(up));
	f = made_ether(mac(1), mac(50), 0x1234);
	in(c, &f, 1);
	CHECK(rec.n == 1 && went(a));
	f = made_ether(mac(50), mac(1), 0x1234);
	in(a, &f, 2);
	CHECK(rec.n == 1 && went(c));
	in(a, &f, 2 + FDB_AGE);
	CHECK(rec.n == 3);
	for (unsigned i = 0; i < 100000; i++) {
		uint8_t src[6] = {2, 0, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i, 1};
		f = made_ether(mac(1), src, 0x1234);
		in(c, &f, 3);
	}
	f = made_ether(mac(2), mac(1), 0x1234);
	in(a, &f, 4);
	CHECK(rec.n == 1 && went(b));
}

TEST(lan_uplink_is_where_the_unknown_goes)
{
	begin(true, true);
	int up = lan_uplink(l, NULL), a = lan_plug(l, mac(1), "a", 0, NULL),
	    b = lan_plug(l, mac(2), "b", 0, NULL);
	const uint8_t gate[6] = {0x52, 0x55, 10, 89, 0, 1};
	struct made f = made_udp4(gate, mac(1), ip(a), 0x08080808, 5, 6, "x", 1);
	in(a, &f, 1);
	CHECK(rec.n == 1 && went(up));
	f = made_udp4(mac(1), gate, 0x08080808, ip(a), 6, 5, "x", 1);
	in(up, &f, 1);
	CHECK(rec.n == 1 && went(a));
	f = made_ether(all, mac(1), 0x0806); /* the uplink cannot take a guest's place */
	in(up, &f, 1);
	f = made_udp4(mac(1), mac(2), ip(b), ip(a), 6, 5, "x", 1);
	in(b, &f, 1);
	CHECK(rec.n == 1 && went(a));
}
