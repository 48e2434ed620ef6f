/* The little of IPv4 and UDP that the services of a software network speak. */
#include "net/frame.h"

const struct udp4 *udp4_parse(struct udp4 *u, const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + ETH_HEAD;
	if (len < ETH_HEAD + IP4_HEAD + UDP_HEAD || be16_at(frame + 12) != ETH_IP4) return NULL;
	size_t head = (ip[0] & 15u) * 4, total = be16_at(ip + 2);
	bool part = be16_at(ip + 6) & 0x3fff; /* more fragments, or not the first */
	if (ip[0] >> 4 != 4 || head < IP4_HEAD || part || ip[9] != PROTO_UDP) return NULL;
	if (total > len - ETH_HEAD || total < head + UDP_HEAD) return NULL;
	const uint8_t *udp = ip + head;
	size_t n = be16_at(udp + 4);
	if (n < UDP_HEAD || n > total - head) return NULL;
	*u = (struct udp4){.src = be32_at(ip + 12),
			   .dst = be32_at(ip + 16),
			   .sport = (uint16_t)be16_at(udp),
			   .dport = (uint16_t)be16_at(udp + 2),
			   .at = udp + UDP_HEAD,
			   .len = n - UDP_HEAD};
	return u;
}

/* RFC 1071 */
static unsigned checksum(const uint8_t *p, size_t n)
{
	uint32_t s = 0;
	for (size_t i = 0; i + 1 < n; i += 2) s += be16_at(p + i);
	while (s >> 16) s = (s & 0xffff) + (s >> 16);
	return ~s & 0xffff;
}

size_t udp4_make(uint8_t *to, const uint8_t dst[6], const uint8_t src[6], const struct udp4 *u)
{
	uint8_t *ip = to + ETH_HEAD, *udp = ip + IP4_HEAD;
	size_t n = IP4_HEAD + UDP_HEAD + u->len;
	if (n > 1500) return 0;
	memcpy(to, dst, 6);
	memcpy(to + 6, src, 6);
	be16_put(to + 12, ETH_IP4);
	memset(ip, 0, IP4_HEAD + UDP_HEAD);
	ip[0] = 0x45;
	be16_put(ip + 2, (unsigned)n);
	ip[8] = 64; /* hops */
	ip[9] = PROTO_UDP;
	be32_put(ip + 12, u->src);
	be32_put(ip + 16, u->dst);
	be16_put(ip + 10, checksum(ip, IP4_HEAD));
	be16_put(udp, u->sport);
	be16_put(udp + 2, u->dport);
	be16_put(udp + 4, (unsigned)(UDP_HEAD + u->len)); /* no checksum: RFC 768 */
	memcpy(udp + UDP_HEAD, u->at, u->len);
	return ETH_HEAD + n;
}
