#include "base/test.h"
#include "net/frames_test.h"
#include "net/guard.h"

static const uint8_t me[6] = {0x52, 0x54, 0, 1, 2, 3}, other[6] = {0x52, 0x54, 0, 9, 9, 9};
static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t my6[16] = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 1, 2, 3};
static const uint8_t none6[16];
enum { MY = 0x0a590064, THEIRS = 0x0a590065 };

static bool claim_all(void *ctx, const uint8_t ip[16]) { return (void)ip, *(bool *)ctx; }

static enum guard_verdict verdict(const struct made *f)
{
	bool yes = true;
	struct guard g = {.ip = MY, .claim = claim_all, .ctx = &yes};
	memcpy(g.mac, me, 6);
	return guard_check(&g, f->at, f->len);
}

TEST(guard_mac)
{
	struct made f = made_udp4(all, me, MY, THEIRS, 5, 6, "x", 1);
	CHECK(verdict(&f) == GUARD_PASS);
	f = made_udp4(all, other, MY, THEIRS, 5, 6, "x", 1);
	CHECK(verdict(&f) == GUARD_MAC);
	f.len = 13;
	CHECK(verdict(&f) == GUARD_SHAPE);
}

TEST(guard_arp)
{
	struct made f = made_arp(all, me, 1, me, MY, THEIRS);
	CHECK(verdict(&f) == GUARD_PASS);
	f = made_arp(all, me, 1, me, 0, MY);
	CHECK(verdict(&f) == GUARD_PASS);
	f = made_arp(other, me, 2, me, MY, THEIRS);
	CHECK(verdict(&f) == GUARD_PASS);
	f = made_arp(other, me, 2, me, 0, THEIRS);
	CHECK(verdict(&f) == GUARD_ARP);
	f = made_arp(all, me, 2, me, THEIRS, THEIRS); /* gratuitous, for another's address */
	CHECK(verdict(&f) == GUARD_ARP);
	f = made_arp(all, me, 1, other, MY, THEIRS);
	CHECK(verdict(&f) == GUARD_ARP);
	f.len -= 1;
	CHECK(verdict(&f) == GUARD_SHAPE);
	f = made_arp(all, me, 3, me, MY, THEIRS);
	CHECK(verdict(&f) == GUARD_ARP);
}

TEST(guard_ip4)
{
	struct made f = made_ip4(all, me, THEIRS, MY, 6, "01234567", 8);
	CHECK(verdict(&f) == GUARD_IP4);
	f = made_ip4(all, me, MY, THEIRS, 6, "01234567", 8);
	CHECK(verdict(&f) == GUARD_PASS);
	f.at[14] = 0x44; /* a header of 16 bytes */
	CHECK(verdict(&f) == GUARD_SHAPE);
	f.at[14] = 0x45;
	f.at[17] = 200; /* more than there is */
	CHECK(verdict(&f) == GUARD_SHAPE);
	f = made_ip4(all, me, MY, THEIRS, 17, "01234567", 8);
	f.at[21] = 1; /* a fragment that would overwrite the ports */
	CHECK(verdict(&f) == GUARD_SHAPE);
	f = made_ip4(all, me, MY, THEIRS, 17, "0123", 4);
	CHECK(verdict(&f) == GUARD_SHAPE);
}

TEST(guard_dhcp)
{
	struct made f = made_udp4(all, me, 0, 0xffffffff, 68, 67, "x", 1);
	CHECK(verdict(&f) == GUARD_PASS);
	f.at[20] = 0x20; /* a part of it, which nobody would answer */
	CHECK(verdict(&f) == GUARD_IP4);
	f.at[20] = 0;
	f.at[39] = 50; /* longer than the packet */
	CHECK(verdict(&f) == GUARD_IP4);
	f = made_udp4(all, me, 0, 0xffffffff, 68, 69, "x", 1);
	CHECK(verdict(&f) == GUARD_IP4);
	f = made_udp4(all, me, MY, 0xffffffff, 67, 68, "x", 1);
	CHECK(verdict(&f) == GUARD_DHCP);
	f = made_udp4(other, me, MY, THEIRS, 1000, 68, "x", 1);
	CHECK(verdict(&f) == GUARD_DHCP);
	f.at[20] = 0x20; /* the first fragment of it */
	CHECK(verdict(&f) == GUARD_DHCP);
}

TEST(guard_types)
{
	static const uint8_t stp[6] = {1, 0x80, 0xc2, 0, 0, 0};
	struct made f = made_ether(all, me, 0x8100); /* tagged, maybe twice: what is inside? */
	f.len = 60;
	CHECK(verdict(&f) == GUARD_TYPE);
	f = made_ether(all, me, 0x88a8);
	CHECK(verdict(&f) == GUARD_TYPE);
	f = made_ether(stp, me, 0x0800);
	CHECK(verdict(&f) == GUARD_TYPE);
	f = made_ether(all, me, 38);
	CHECK(verdict(&f) == GUARD_TYPE);
}

static enum guard_verdict icmp6(const uint8_t from[16], unsigned type, const uint8_t *target,
				const uint8_t *link)
{
	uint8_t m[32] = {(uint8_t)type};
	if (target) memcpy(m + 8, target, 16);
	m[24] = type == 136 ? 2 : 1;
	m[25] = 1;
	if (link) memcpy(m + 26, link, 6);
	struct made f = made_ip6(all, me, from, 58, m, link ? 32 : 24);
	return verdict(&f);
}

TEST(guard_ip6)
{
	uint8_t theirs[16], global[16] = {0x20, 1, 0xd, 0xb8}, ula[16] = {0xfd, 0, 1};
	memcpy(theirs, my6, 16);
	theirs[15] = 9; /* made of another's MAC */
	CHECK(icmp6(my6, 128, NULL, NULL) == GUARD_PASS);
	CHECK(icmp6(ula, 128, NULL, NULL) == GUARD_PASS);
	CHECK(icmp6(theirs, 128, NULL, NULL) == GUARD_IP6);
	CHECK(icmp6(global, 128, NULL, NULL) == GUARD_IP6);
	struct made f = made_ip6(all, me, none6, 6, "01234567", 8);
	CHECK(verdict(&f) == GUARD_IP6);
	f = made_ip6(all, me, my6, 6, "01234567", 8);
	CHECK(verdict(&f) == GUARD_PASS);
	bool no = false;
	struct guard g = {.ip = MY, .claim = claim_all, .ctx = &no};
	memcpy(g.mac, me, 6);
	CHECK(guard_check(&g, f.at, f.len) == GUARD_IP6);
}

TEST(guard_neighbours)
{
	uint8_t theirs[16];
	memcpy(theirs, my6, 16);
	theirs[15] = 9;
	CHECK(icmp6(my6, 134, NULL, NULL) == GUARD_ROUTER);
	CHECK(icmp6(my6, 137, theirs, NULL) == GUARD_ROUTER);
	CHECK(icmp6(my6, 133, NULL, NULL) == GUARD_IP6); /* 24 bytes: an option of no length */
	CHECK(icmp6(my6, 136, my6, me) == GUARD_PASS);
	CHECK(icmp6(my6, 136, my6, other) == GUARD_IP6);
	CHECK(icmp6(my6, 136, theirs, me) == GUARD_IP6);
	CHECK(icmp6(my6, 135, theirs, me) == GUARD_PASS);
	CHECK(icmp6(my6, 135, theirs, other) == GUARD_IP6);
	CHECK(icmp6(none6, 135, my6, NULL) == GUARD_PASS);
	CHECK(icmp6(none6, 135, theirs, NULL) == GUARD_IP6);
	CHECK(icmp6(none6, 143, NULL, NULL) == GUARD_PASS); /* joins a group */
}

TEST(guard_hidden_headers)
{
	uint8_t p[128] = {58, 0};
	p[8] = 134;
	struct made f = made_ip6(all, me, my6, 60, p, 40); /* behind an option header */
	CHECK(verdict(&f) == GUARD_ROUTER);
	p[8] = 136;
	f = made_ip6(all, me, my6, 44, p, 40); /* in a whole fragment */
	CHECK(verdict(&f) == GUARD_HIDDEN);
	p[8] = 134;
	f = made_ip6(all, me, my6, 44, p, 40);
	CHECK(verdict(&f) == GUARD_ROUTER);
	f = made_ip6(all, me, my6, 44, p, 12); /* ICMP cut off */
	CHECK(verdict(&f) == GUARD_SHAPE);
	p[3] = 8; /* a later fragment: useless without the first */
	f = made_ip6(all, me, my6, 44, p, 40);
	CHECK(verdict(&f) == GUARD_PASS);
	memset(p, 0, sizeof(p));
	for (unsigned i = 0; i < 12; i++) p[i * 8] = 60;
	f = made_ip6(all, me, my6, 60, p, 96);
	CHECK(verdict(&f) == GUARD_HIDDEN);
	p[1] = 200; /* longer than the packet */
	f = made_ip6(all, me, my6, 60, p, 96);
	CHECK(verdict(&f) == GUARD_HIDDEN);
	uint8_t udp[9] = {2, 35, 2, 34, 0, 9}; /* 547 to 546 */
	f = made_ip6(all, me, my6, 17, udp, 9);
	CHECK(verdict(&f) == GUARD_DHCP);
}
