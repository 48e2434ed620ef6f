/* Segments put together. The idea: the first one's headers stand for all, so a next one must have
 * the same, but for what cutting makes anew: lengths, sums, the sequence number, PSH at the end.
 * Of acknowledgements with nothing else in them the last one stands for all, if it says more. */
#include "net/merge.h"
#include "net/frame.h"

enum { IP = ETH_HEAD, TCP = ETH_HEAD + IP4_HEAD, TCP_HEAD = 20, LONGEST = ETH_HEAD + 65535 };
enum {
	SEQ = TCP + 4,
	ACK_NUMBER = TCP + 8,
	FLAGS = TCP + 13,
	URGENT = TCP + 18,
	ACK = 16,
	PSH = 8
};

static size_t headers(const uint8_t *f) { return TCP + (f[TCP + 12] >> 4) * 4u; }

/* Without IPv4 options, whole, and says nothing but "ack" and "push". */
static bool is_plain(const uint8_t *f, size_t len)
{
	if (len < TCP + TCP_HEAD || be16_at(f + 12) != ETH_IP4 || f[IP] != 0x45) return false;
	if (f[IP + 9] != 6 || be16_at(f + IP + 6) & 0x3fff) return false;
	if (be16_at(f + IP + 2) != len - IP || (f[FLAGS] & ~PSH) != ACK) return false;
	size_t head = headers(f);
	return head >= TCP + TCP_HEAD && len >= head && len <= ETH_MAX;
}

/* No data, and no options, which would say more than "ack". */
static bool is_ack(const uint8_t *f, size_t len)
{
	return len == TCP + TCP_HEAD && len == headers(f) && f[FLAGS] == ACK;
}

/* Cutting counts the identification up, or it means nothing (RFC 6864 §4.1). */
static bool same_ip(const struct merge *m, const uint8_t *f)
{
	const uint8_t *a = m->frame;
	unsigned id = (be16_at(a + IP + 4) + m->n) & 0xffff;
	bool may = be16_at(f + IP + 4) == id || be16_at(f + IP + 6) & 0x4000;
	return may && !memcmp(a, f, IP + 2) && !memcmp(a + IP + 6, f + IP + 6, 4) &&
	       !memcmp(a + IP + 12, f + IP + 12, 8);
}

static bool same_tcp(const struct merge *m, const uint8_t *f, size_t head)
{
	const uint8_t *a = m->frame;
	uint32_t next = be32_at(a + SEQ) + (uint32_t)(m->len - head);
	return be32_at(f + SEQ) == next && !memcmp(a + TCP, f + TCP, 4) &&
	       !memcmp(a + ACK_NUMBER, f + ACK_NUMBER, FLAGS - ACK_NUMBER) &&
	       !memcmp(a + FLAGS + 1, f + FLAGS + 1, 2) &&
	       !memcmp(a + URGENT, f + URGENT, head - URGENT);
}

static void begin(struct merge *m, const uint8_t *f, size_t len)
{
	size_t piece = len - headers(f);
	memcpy(m->frame, f, len);
	m->len = len;
	m->n = 1;
	m->last = f[FLAGS] & PSH || piece < OFFLOAD_LEAST; /* an ack, too */
	m->offload = (struct offload){OFFLOAD_VALID, TCP, (uint16_t)piece};
}

/* The sum in its place becomes that of the pseudo header, as of an unfinished frame. */
static void grow(struct merge *m, const uint8_t *f, size_t len, size_t head)
{
	size_t piece = len - head;
	uint8_t *a = m->frame;
	memcpy(a + m->len, f + head, piece);
	m->len += piece;
	m->n++;
	m->last = f[FLAGS] & PSH || piece < m->offload.size;
	a[FLAGS] |= f[FLAGS] & PSH;
	be16_put(a + IP + 2, (unsigned)(m->len - IP));
	uint32_t sum = 6 + (uint32_t)(m->len - TCP);
	be16_put(a + TCP + 16, sum_fold(sum_add(sum, a + IP + 12, 8)));
	be16_put(a + IP + 10, 0);
	be16_put(a + IP + 10, ~sum_fold(sum_add(0, a + IP, IP4_HEAD)) & 0xffffu);
	m->offload.kind = OFFLOAD_TCP4;
}

/* What the same end says later (RFC 793 §3.3): the one that it said before is not needed. */
static bool is_later_ack(const struct merge *m, const uint8_t *f, size_t len)
{
	const uint8_t *a = m->frame;
	return is_ack(f, len) && is_ack(a, m->len) && !memcmp(a, f, IP + 2) &&
	       !memcmp(a + IP + 12, f + IP + 12, 8) && !memcmp(a + TCP, f + TCP, 8) &&
	       (int32_t)(be32_at(f + ACK_NUMBER) - be32_at(a + ACK_NUMBER)) > 0;
}

bool merge_add(struct merge *m, const uint8_t *f, size_t len)
{
	if (!is_plain(f, len)) return false;
	size_t head = headers(f);
	if (len == head && !is_ack(f, len)) return false;
	if (m->n && is_later_ack(m, f, len)) m->n = 0;
	if (!m->n) {
		begin(m, f, len);
		return true;
	}
	if (m->last || headers(m->frame) != head || len - head > m->offload.size) return false;
	if (m->len + len - head > LONGEST || !same_ip(m, f) || !same_tcp(m, f, head)) return false;
	grow(m, f, len, head);
	return true;
}
