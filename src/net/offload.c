/* Unfinished frames, finished. The idea: nothing that was said of a frame is used before it was
 * compared with what is in it, and every segment is a copy of the headers with what differs put in
 * anew; so no field of the original decides a length here. */
#include "net/offload.h"
#include "net/frame.h"

enum { PROTO_TCP = 6, TCP_HEAD = 20, TCP_SUM = 16, UDP_SUM = 6, IP4_SUM = 10 };
enum { TCP_SEQ = 4, TCP_OFF = 12, TCP_FLAGS = 13, FIN = 1, PSH = 8, CWR = 128 };

/* ---- sums */
uint16_t sum_fold(uint32_t sum)
{
	while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Eight bytes at a time: a ones' complement sum may be made of larger words and folded, and of
 * swapped ones and swapped back (RFC 1071 §2). */
uint32_t sum_add(uint32_t sum, const uint8_t *p, size_t n)
{
	uint64_t s = 0, w;
	for (; n >= 8; n -= 8, p += 8) {
		memcpy(&w, p, 8);
		s += (w & 0xffffffff) + (w >> 32);
	}
	s = (s & 0xffffffff) + (s >> 32);
	uint32_t t = sum_fold((uint32_t)((s & 0xffff) + (s >> 16)));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	t = (t & 0xff) << 8 | t >> 8;
#endif
	for (; n >= 2; n -= 2, p += 2) t += be16_at(p);
	if (n) t += (uint32_t)*p << 8;
	return sum_fold(sum) + (uint32_t)sum_fold(t);
}

/* ---- what a frame is */
struct shape {
	bool six;
	unsigned proto, l4;
	size_t end, head; /* of the packet; of all headers */
};

static bool shape_ip4(struct shape *s, const uint8_t *ip, size_t len)
{
	size_t head = (ip[0] & 15u) * 4, total = be16_at(ip + 2);
	if (ip[0] >> 4 != 4 || head < IP4_HEAD || total > len || total < head) return false;
	if (be16_at(ip + 6) & 0x3fff) return false; /* a fragment */
	s->proto = ip[9];
	s->l4 = (unsigned)(ETH_HEAD + head);
	s->end = ETH_HEAD + total;
	return true;
}

static bool shape_ip6(struct shape *s, const uint8_t *ip, size_t len)
{
	size_t n = be16_at(ip + 4);
	if (len < IP6_HEAD || ip[0] >> 4 != 6 || n > len - IP6_HEAD) return false;
	s->six = true;
	s->proto = ip[6];
	s->l4 = ETH_HEAD + IP6_HEAD;
	s->end = s->l4 + n;
	return true;
}

static bool shape_of(struct shape *s, const uint8_t *frame, size_t len)
{
	*s = (struct shape){0};
	if (len < ETH_HEAD + IP4_HEAD + UDP_HEAD || len > OFFLOAD_FRAME) return false;
	unsigned type = be16_at(frame + 12);
	const uint8_t *ip = frame + ETH_HEAD;
	bool good = (type == ETH_IP4 && shape_ip4(s, ip, len - ETH_HEAD)) ||
		    (type == ETH_IP6 && shape_ip6(s, ip, len - ETH_HEAD));
	if (!good) return false;
	size_t least = s->proto == PROTO_TCP ? TCP_HEAD : UDP_HEAD, n = s->end - s->l4;
	if ((s->proto != PROTO_TCP && s->proto != PROTO_UDP) || n < least) return false;
	if (s->proto == PROTO_TCP) least = (frame[s->l4 + TCP_OFF] >> 4) * 4u;
	s->head = s->l4 + least;
	return least >= UDP_HEAD && (s->proto != PROTO_TCP || least >= TCP_HEAD) && n >= least;
}

bool offload_check(const struct offload *o, const uint8_t *frame, size_t len)
{
	struct shape s;
	if (o->kind <= OFFLOAD_VALID) return true;
	if (o->kind >= OFFLOAD_KINDS || !shape_of(&s, frame, len) || s.l4 != o->l4) return false;
	if (o->kind == OFFLOAD_CSUM) return len <= ETH_MAX;
	return s.proto == PROTO_TCP && s.six == (o->kind == OFFLOAD_TCP6) && s.end == len &&
	       o->size >= OFFLOAD_LEAST && s.head + o->size <= ETH_MAX && s.end > s.head;
}

/* ---- finishing */
static void sum_ip4(uint8_t *ip)
{
	be16_put(ip + IP4_SUM, 0);
	be16_put(ip + IP4_SUM, ~sum_fold(sum_add(0, ip, (ip[0] & 15u) * 4)) & 0xffffu);
}

/* A UDP checksum of zero means none, so that one is sent as its other form (RFC 768). */
static void sum_l4(uint8_t *frame, const struct shape *s)
{
	const uint8_t *ip = frame + ETH_HEAD;
	size_t n = s->end - s->l4, at = s->l4 + (s->proto == PROTO_TCP ? TCP_SUM : UDP_SUM);
	uint32_t sum = sum_add(0, ip + (s->six ? 8 : 12), s->six ? 32 : 8);
	be16_put(frame + at, 0);
	sum = sum_add(sum + s->proto + (uint32_t)n, frame + s->l4, n);
	unsigned v = ~sum_fold(sum) & 0xffffu;
	be16_put(frame + at, v || s->proto == PROTO_TCP ? v : 0xffff);
}

void offload_finish(const struct offload *o, uint8_t *frame, size_t len)
{
	struct shape s;
	if (o->kind <= OFFLOAD_VALID || !shape_of(&s, frame, len)) return;
	if (o->kind == OFFLOAD_TCP4) sum_ip4(frame + ETH_HEAD);
	sum_l4(frame, &s);
}

static bool is_tcp(const uint8_t *frame)
{
	return frame[ETH_HEAD + (be16_at(frame + 12) == ETH_IP6 ? 6 : 9)] == PROTO_TCP;
}

unsigned offload_sum_at(const struct offload *o, const uint8_t *frame)
{
	(void)o;
	return is_tcp(frame) ? TCP_SUM : UDP_SUM;
}

unsigned offload_headers(const struct offload *o, const uint8_t *frame)
{
	return o->l4 + (is_tcp(frame) ? (frame[o->l4 + TCP_OFF] >> 4) * 4u : UDP_HEAD);
}

unsigned offload_frames(const struct offload *o, const uint8_t *frame, size_t len)
{
	struct shape s;
	if (!offload_is_cut(o) || !shape_of(&s, frame, len)) return 1;
	return (unsigned)((s.end - s.head + o->size - 1) / o->size);
}

static void segment_headers(uint8_t *to, const struct shape *s, unsigned n, size_t from, bool last)
{
	uint8_t *ip = to + ETH_HEAD, *tcp = to + s->l4;
	if (s->six) {
		be16_put(ip + 4, (unsigned)(s->end - s->l4));
	} else {
		be16_put(ip + 2, (unsigned)(s->end - ETH_HEAD));
		be16_put(ip + 4, (be16_at(ip + 4) + n) & 0xffff);
	}
	be32_put(tcp + TCP_SEQ, be32_at(tcp + TCP_SEQ) + (uint32_t)from);
	if (!last) tcp[TCP_FLAGS] &= (uint8_t) ~(FIN | PSH);
	if (n) tcp[TCP_FLAGS] &= (uint8_t)~CWR;
}

size_t offload_frame(const struct offload *o, const uint8_t *frame, size_t len, unsigned n,
		     uint8_t *to)
{
	struct shape s;
	if (!offload_is_cut(o) || !shape_of(&s, frame, len)) {
		memcpy(to, frame, len);
		offload_finish(o, to, len);
		return len;
	}
	size_t from = (size_t)n * o->size, left = s.end - s.head - from;
	bool last = left <= o->size;
	size_t piece = last ? left : o->size;
	memcpy(to, frame, s.head);
	memcpy(to + s.head, frame + s.head + from, piece);
	s.end = s.head + piece;
	segment_headers(to, &s, n, from, last);
	if (!s.six) sum_ip4(to + ETH_HEAD);
	sum_l4(to, &s);
	return s.end;
}

/* ---- on a socket */
void offload_write(const struct offload *o, uint8_t to[OFFLOAD_HEAD])
{
	memset(to, 0, OFFLOAD_HEAD);
	to[0] = o->kind;
	be16_put(to + 2, o->l4);
	be16_put(to + 4, o->size);
}

struct offload offload_read(const uint8_t from[OFFLOAD_HEAD])
{
	return (struct offload){from[0], (uint16_t)be16_at(from + 2), (uint16_t)be16_at(from + 4)};
}
