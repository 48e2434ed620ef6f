#include "base/test.h"
#include "base/types.h"
#include "net/frame.h"
#include "net/offload.h"
#include <stdlib.h>

/* Sums by the book, two bytes at a time (RFC 1071 §4.1), apart from what is tested. */
static unsigned sum_plain(uint64_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) sum += i % 2 ? p[i] : (uint64_t)p[i] << 8;
	while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
	return (unsigned)sum;
}
static bool ip_is_right(const uint8_t *f)
{
	return sum_plain(0, f + 14, (f[14] & 15u) * 4) == 0xffff;
}
static bool l4_is_right(const uint8_t *f, unsigned l4, size_t len)
{
	bool six = f[12] == 0x86;
	unsigned proto = f[six ? 20 : 23];
	uint64_t pseudo = sum_plain(0, f + (six ? 22 : 26), six ? 32 : 8) + proto + (len - l4);
	return sum_plain(pseudo, f + l4, len - l4) == 0xffff;
}

enum { OPTIONS = 12 };
static uint8_t f[OFFLOAD_FRAME], piece[ETH_MAX], whole[OFFLOAD_FRAME];
static const struct offload four = {OFFLOAD_TCP4, 34, 1448}, six = {OFFLOAD_TCP6, 54, 1000};

static size_t tcp(bool v6, size_t payload)
{
	unsigned l4 = v6 ? 54 : 34, head = l4 + 20 + OPTIONS;
	memset(f, 0, sizeof(f));
	for (size_t i = 0; i < payload; i++) f[head + i] = (uint8_t)(i * 7 + i / 251);
	be16_put(f + 12, v6 ? ETH_IP6 : ETH_IP4);
	f[14] = v6 ? 0x60 : 0x45;
	be16_put(f + (v6 ? 18 : 16), (unsigned)(head - (v6 ? 54 : 14) + payload));
	f[v6 ? 20 : 23] = 6;
	be16_put(f + (v6 ? 60 : 18), 0xfffe); /* of IPv4 the identification */
	be32_put(f + (v6 ? 22 : 26), 0x0a000001);
	be32_put(f + l4 + 4, 0xfffffff0);
	f[l4 + 12] = (20 + OPTIONS) / 4 << 4;
	f[l4 + 13] = 0x80 | 0x10 | 8 | 1;
	return head + payload;
}

TEST(offload_sums_as_the_book_has_it)
{
	srand(1);
	for (unsigned i = 0; i < 2000; i++) {
		uint8_t at[100];
		for (unsigned k = 0; k < sizeof(at); k++)
			at[k] = rand() % 3 ? 0xff : (uint8_t)rand();
		size_t n = (size_t)rand() % sizeof(at);
		uint32_t start = (uint32_t)rand() % 0x20000;
		unsigned a = sum_fold(sum_add(start, at, n)), b = sum_plain(start, at, n);
		CHECK(a == b || (a % 0xffff == 0 && b % 0xffff == 0));
	}
}

static void is_cut(const struct offload *o, size_t payload)
{
	bool v6 = o->kind == OFFLOAD_TCP6;
	size_t len = tcp(v6, payload), head = o->l4 + 20 + OPTIONS, at = 0;
	CHECK(offload_check(o, f, len) && offload_headers(o, f) == head);
	unsigned n = offload_frames(o, f, len);
	CHECK(n == (payload + o->size - 1) / o->size);
	for (unsigned i = 0; i < n; i++) {
		size_t k = offload_frame(o, f, len, i, piece);
		CHECK(k > head && k - head == (i < n - 1 ? o->size : payload - at));
		CHECK(l4_is_right(piece, o->l4, k) && (v6 || ip_is_right(piece)));
		CHECK(be16_at(piece + (v6 ? 18 : 16)) == k - (v6 ? 54 : 14));
		CHECK(v6 || be16_at(piece + 18) == ((0xfffe + i) & 0xffff));
		CHECK(be32_at(piece + o->l4 + 4) == (uint32_t)(0xfffffff0 + at));
		unsigned flags = piece[o->l4 + 13];
		CHECK(flags == (0x10u | (i ? 0 : 0x80) | (i == n - 1 ? 9 : 0)));
		memcpy(whole + at, piece + head, k - head);
		at += k - head;
	}
	CHECK(at == payload && !memcmp(whole, f + head, payload));
}

TEST(offload_cuts)
{
	const size_t payload[] = {1, 1000, 1001, 1448, 1449, 2896, 65000};
	for (unsigned i = 0; i < COUNT(payload); i++) {
		is_cut(&four, payload[i]);
		is_cut(&six, payload[i]);
	}
}

TEST(offload_finishes)
{
	const struct offload sum = {OFFLOAD_CSUM, 34, 0};
	size_t len = tcp(false, 1000);
	CHECK(offload_check(&sum, f, len) && offload_frames(&sum, f, len) == 1);
	CHECK(offload_frame(&sum, f, len, 0, piece) == len && l4_is_right(piece, 34, len));
	CHECK(!l4_is_right(f, 34, len));
	offload_finish(&sum, f, len);
	CHECK(!memcmp(f, piece, len) && offload_sum_at(&sum, f) == 16);
	len = tcp(false, 60000);
	offload_finish(&four, f, len);
	CHECK(l4_is_right(f, 34, len) && ip_is_right(f));
	len = tcp(true, 60000);
	offload_finish(&six, f, len);
	CHECK(l4_is_right(f, 54, len));
}

/* A sum of zero means that there is none. */
TEST(offload_finishes_udp)
{
	const struct offload sum = {OFFLOAD_CSUM, 34, 0};
	size_t len = tcp(false, 1000);
	f[23] = 17;
	CHECK(offload_check(&sum, f, len) && offload_sum_at(&sum, f) == 6);
	offload_finish(&sum, f, len);
	CHECK(l4_is_right(f, 34, len));
	unsigned before = be16_at(f + 40);
	be16_put(f + 34, (be16_at(f + 34) + before) % 0xffff);
	offload_finish(&sum, f, len);
	CHECK(be16_at(f + 40) == 0xffff && l4_is_right(f, 34, len));
}

static bool passes(struct offload o, size_t len) { return offload_check(&o, f, len); }

TEST(offload_refuses_what_cannot_be)
{
	size_t len = tcp(false, 3000);
	CHECK(passes(four, len));
	CHECK(!passes(six, len) && !passes((struct offload){OFFLOAD_KINDS, 34, 1448}, len));
	CHECK(!passes((struct offload){OFFLOAD_TCP4, 35, 1448}, len));
	CHECK(!passes((struct offload){OFFLOAD_TCP4, 34, 0}, len));
	CHECK(!passes((struct offload){OFFLOAD_TCP4, 34, OFFLOAD_LEAST - 1}, len));
	CHECK(!passes((struct offload){OFFLOAD_TCP4, 34, ETH_MAX - 65}, len));
	CHECK(passes((struct offload){OFFLOAD_TCP4, 34, ETH_MAX - 66}, len));
	CHECK(!passes(four, len - 1) && !passes(four, len + 1));    /* lengths disagree */
	CHECK(!passes((struct offload){OFFLOAD_CSUM, 34, 0}, len)); /* and not to be cut */
	for (unsigned n = 0; n < 66; n++) CHECK(!passes(four, n));
	f[20] = 0x20; /* a fragment */
	CHECK(!passes(four, len));
	len = tcp(false, 3000);
	f[46] = 0x40; /* a TCP header too short */
	CHECK(!passes(four, len));
	f[46] = 0xf0;
	CHECK(!passes(four, len) && passes((struct offload){OFFLOAD_TCP4, 34, 1400}, len));
	f[23] = 17;
	CHECK(!passes(four, len));
	f[23] = 6;
	f[14] = 0x4f; /* IPv4 options */
	CHECK(!passes(four, len) && passes((struct offload){OFFLOAD_TCP4, 74, 1400}, len));
	f[14] = 0x44;
	CHECK(!passes(four, len));
	len = tcp(false, 0);
	CHECK(!passes(four, len)); /* nothing to cut */
	len = tcp(true, 3000);
	f[20] = 43; /* a routing header */
	CHECK(!passes(six, len));
	CHECK(passes((struct offload){OFFLOAD_NONE, 1, 1}, 9));
}

TEST(offload_goes_over_a_socket)
{
	uint8_t b[OFFLOAD_HEAD];
	offload_write(&six, b);
	struct offload o = offload_read(b);
	CHECK(o.kind == six.kind && o.l4 == 54 && o.size == 1000);
}
