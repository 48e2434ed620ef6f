#ifndef NET_FRAME_H
#define NET_FRAME_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* Ethernet frames without FCS, and what of IPv4 Lodge makes itself. Numbers are the host's; an
 * IPv4 address is one number, 10.0.2.2 = 0x0a000202. */
enum {
	ETH_HEAD = 14,
	ETH_MAX = 1518, /* 1500 bytes and a VLAN tag */
	ETH_ARP = 0x0806,
	ETH_IP4 = 0x0800,
	ETH_IP6 = 0x86dd,
	ARP_LEN = 28, /* RFC 826 for IPv4 over Ethernet */
	IP4_HEAD = 20,
	IP6_HEAD = 40,
	UDP_HEAD = 8,
	PROTO_UDP = 17,
	PROTO_ICMP6 = 58,
};
static inline unsigned be16_at(const uint8_t *p) { return (unsigned)(p[0] << 8 | p[1]); }
static inline uint32_t be32_at(const uint8_t *p)
{
	return (uint32_t)be16_at(p) << 16 | be16_at(p + 2);
}
static inline void be16_put(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}
static inline void be32_put(uint8_t *p, uint32_t v)
{
	be16_put(p, v >> 16);
	be16_put(p + 2, v & 0xffff);
}
static inline bool mac_same(const uint8_t a[6], const uint8_t b[6]) { return !memcmp(a, b, 6); }
static inline bool mac_multicast(const uint8_t mac[6]) { return mac[0] & 1; }

/* A whole UDP datagram in one IPv4 packet in a frame; NULL: the frame is something else, or any
 * length in it is wrong. Checksums are not looked at: nothing between two guests damages bytes. */
struct udp4 {
	uint32_t src, dst;
	uint16_t sport, dport;
	const uint8_t *at; /* within the frame */
	size_t len;
};
const struct udp4 *udp4_parse(struct udp4 *u, const uint8_t *frame, size_t len);
/* That datagram in a frame at to, which has room for ETH_MAX. Its length; 0: it does not fit. */
size_t udp4_make(uint8_t *to, const uint8_t dst[6], const uint8_t src[6], const struct udp4 *u);
#endif
