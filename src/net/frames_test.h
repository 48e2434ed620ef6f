#ifndef NET_FRAMES_TEST_H
#define NET_FRAMES_TEST_H
#include "net/frame.h"
/* Frames for tests, made byte by byte, apart from what is tested. */
struct made {
	size_t len;
	uint8_t at[2048];
};
static inline void made_add(struct made *f, const void *p, size_t n)
{
	memcpy(f->at + f->len, p, n);
	f->len += n;
}
static inline struct made made_ether(const uint8_t dst[6], const uint8_t src[6], unsigned type)
{
	struct made f = {0};
	uint8_t t[2] = {(uint8_t)(type >> 8), (uint8_t)type};
	made_add(&f, dst, 6);
	made_add(&f, src, 6);
	made_add(&f, t, 2);
	return f;
}
static inline struct made made_arp(const uint8_t dst[6], const uint8_t src[6], unsigned op,
				   const uint8_t sender[6], uint32_t sender_ip, uint32_t target_ip)
{
	struct made f = made_ether(dst, src, 0x0806);
	uint8_t a[28] = {0, 1, 8, 0, 6, 4, 0, (uint8_t)op};
	memcpy(a + 8, sender, 6);
	be32_put(a + 14, sender_ip);
	be32_put(a + 24, target_ip);
	made_add(&f, a, sizeof(a));
	return f;
}
static inline struct made made_ip4(const uint8_t dst[6], const uint8_t src[6], uint32_t from,
				   uint32_t to, unsigned proto, const void *p, size_t n)
{
	struct made f = made_ether(dst, src, 0x0800);
	uint8_t h[20] = {0x45};
	be16_put(h + 2, (unsigned)(20 + n));
	h[8] = 64;
	h[9] = (uint8_t)proto;
	be32_put(h + 12, from);
	be32_put(h + 16, to);
	made_add(&f, h, sizeof(h));
	made_add(&f, p, n);
	return f;
}
static inline struct made made_udp4(const uint8_t dst[6], const uint8_t src[6], uint32_t from,
				    uint32_t to, unsigned sport, unsigned dport, const void *p,
				    size_t n)
{
	uint8_t u[1480];
	be16_put(u, sport);
	be16_put(u + 2, dport);
	be16_put(u + 4, (unsigned)(8 + n));
	be16_put(u + 6, 0);
	memcpy(u + 8, p, n);
	return made_ip4(dst, src, from, to, 17, u, 8 + n);
}
static inline struct made made_ip6(const uint8_t dst[6], const uint8_t src[6],
				   const uint8_t from[16], unsigned next, const void *p, size_t n)
{
	static const uint8_t all[16] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
	struct made f = made_ether(dst, src, 0x86dd);
	uint8_t h[8] = {0x60, 0, 0, 0, (uint8_t)(n >> 8), (uint8_t)n, (uint8_t)next, 255};
	made_add(&f, h, 8);
	made_add(&f, from, 16);
	made_add(&f, all, 16);
	made_add(&f, p, n);
	return f;
}
/* A DHCP request of that type; wanted, server 0: not said. */
static inline size_t made_dhcp(uint8_t *to, const uint8_t mac[6], unsigned type, uint32_t wanted,
			       uint32_t server)
{
	static const uint8_t cookie[4] = {99, 130, 83, 99};
	size_t n = 240;
	memset(to, 0, 300);
	to[0] = to[1] = 1;
	to[2] = 6;
	be32_put(to + 4, 0x12345678);
	memcpy(to + 28, mac, 6);
	memcpy(to + 236, cookie, 4);
	to[n++] = 53, to[n++] = 1, to[n++] = (uint8_t)type;
	if (wanted) to[n++] = 50, to[n++] = 4, be32_put(to + n, wanted), n += 4;
	if (server) to[n++] = 54, to[n++] = 4, be32_put(to + n, server), n += 4;
	to[n++] = 255;
	return n;
}
/* A DNS question; name as "web.lan". */
static inline size_t made_dns(uint8_t *to, const char *name, unsigned type)
{
	size_t n = 12;
	memset(to, 0, 12);
	be16_put(to, 0xabcd);
	to[2] = 1;
	to[5] = 1;
	while (*name) {
		size_t len = strcspn(name, ".");
		to[n++] = (uint8_t)len;
		memcpy(to + n, name, len);
		n += len;
		name += len + (name[len] == '.');
	}
	to[n++] = 0;
	be16_put(to + n, type);
	be16_put(to + n + 2, 1);
	return n + 4;
}
#endif
