#include "base/test.h"
#include "base/types.h"
#include "net/frame.h"
#include "net/merge.h"

enum { HEAD = 14 + 20 + 32 };
static struct merge m;
static uint8_t f[ETH_MAX];

/* A segment as offload_frame() makes it: number n of a stream of such pieces. */
static size_t segment(unsigned n, size_t piece, size_t before, unsigned flags)
{
	const struct offload sum = {OFFLOAD_CSUM, 34, 0};
	memset(f, 0, sizeof(f));
	for (size_t i = 0; i < piece; i++) f[HEAD + i] = (uint8_t)((before + i) * 13);
	be16_put(f + 12, ETH_IP4);
	f[14] = 0x45;
	be16_put(f + 16, (unsigned)(HEAD - 14 + piece));
	be16_put(f + 18, 7 + n);
	f[22] = 64;
	f[23] = 6;
	be32_put(f + 26, 0x0a000202);
	be32_put(f + 38, (uint32_t)(0xffffff00 + before));
	f[46] = 0x80;
	f[47] = (uint8_t)flags;
	be16_put(f + 48, 1000);
	offload_finish(&sum, f, HEAD + piece);
	const struct offload ip = {OFFLOAD_TCP4, 34, 1};
	offload_finish(&ip, f, HEAD + piece);
	return HEAD + piece;
}
static bool add(unsigned n, size_t piece, size_t before, unsigned flags)
{
	size_t len = segment(n, piece, before, flags);
	return merge_add(&m, f, len);
}

/* Put together and cut again they are what they were. */
TEST(merge_is_the_way_back)
{
	uint8_t piece[ETH_MAX];
	m.n = 0;
	for (unsigned i = 0; i < 40; i++) CHECK(add(i, 1000, 1000 * i, 16));
	CHECK(add(40, 300, 40000, 24) && m.n == 41 && m.last && m.len == HEAD + 40300);
	CHECK(m.offload.kind == OFFLOAD_TCP4 && offload_check(&m.offload, m.frame, m.len));
	CHECK(offload_frames(&m.offload, m.frame, m.len) == 41);
	for (unsigned i = 0; i < 41; i++) {
		size_t len = segment(i, i < 40 ? 1000 : 300, 1000 * i, i < 40 ? 16 : 24);
		CHECK(offload_frame(&m.offload, m.frame, m.len, i, piece) == len);
		CHECK(!memcmp(piece, f, len));
	}
	CHECK(!add(41, 1000, 40300, 16));
}

TEST(merge_leaves_one_as_it_is)
{
	m.n = 0;
	CHECK(add(0, 1000, 0, 16) && m.n == 1 && m.offload.kind == OFFLOAD_VALID);
	CHECK(m.len == HEAD + 1000 && !memcmp(m.frame, f, m.len));
}

TEST(merge_takes_nothing_else)
{
	static const unsigned at[] = {0, 6, 15, 22, 26, 30, 34, 36, 38, 42, 46, 47, 48, 52, 54, 65};
	m.n = 0;
	CHECK(!add(0, 1000, 0, 2) && !add(0, 1000, 0, 17) && !add(0, 1000, 0, 20));
	CHECK(!add(0, 0, 0, 16)); /* an acknowledgement */
	CHECK(!merge_add(&m, f, 53));
	for (unsigned i = 0; i < COUNT(at); i++) {
		m.n = 0;
		CHECK(add(0, 1000, 0, 16));
		size_t len = segment(1, 1000, 1000, 16);
		f[at[i]] ^= at[i] == 47 ? 1 : 0x40;
		CHECK(!merge_add(&m, f, len) && m.n == 1 && m.len == len);
	}
	CHECK(!add(1, 1001, 1000, 16));				/* longer than the first */
	CHECK(!add(2, 1000, 1000, 16));				/* one is missing */
	CHECK(add(1, 999, 1000, 16) && !add(2, 999, 1999, 16)); /* the last was shorter */
	m.n = 0;
	unsigned n = 0;
	while (add(n, 1000, 1000 * n, 16)) n++;
	CHECK(n == 65 && m.n == 65);
}

static size_t ack(unsigned id, uint32_t seq, uint32_t number, unsigned window)
{
	const struct offload sum = {OFFLOAD_CSUM, 34, 0};
	(void)segment(id, 0, 0, 16);
	be16_put(f + 16, 40);
	be32_put(f + 38, seq);
	be32_put(f + 42, number);
	f[46] = 0x50;
	be16_put(f + 48, window);
	offload_finish(&sum, f, 54);
	return 54;
}

/* The last is left as it was; what the first of two says again, the sender counts. */
TEST(merge_keeps_the_last_acknowledgement)
{
	m.n = 0;
	for (unsigned i = 0; i < 5; i++)
		CHECK(merge_add(&m, f, ack(i, 9, 0xffffff00 + 100 * i, 1000 + i)));
	CHECK(m.n == 1 && m.len == 54 && m.offload.kind == OFFLOAD_VALID);
	CHECK(!memcmp(m.frame, f, 54));
	CHECK(!merge_add(&m, f, ack(5, 9, 0xffffff00 + 400, 1000)));  /* once more */
	CHECK(!merge_add(&m, f, ack(5, 9, 0xffffff00 + 300, 1000)));  /* an older one */
	CHECK(!merge_add(&m, f, ack(5, 10, 0xffffff00 + 500, 1000))); /* data was sent */
	size_t n = ack(5, 9, 0xffffff00 + 500, 1000);
	f[37] ^= 1;
	CHECK(!merge_add(&m, f, n)); /* to another port */
	CHECK(!add(0, 1000, 0, 16));
	m.n = 0;
	CHECK(add(0, 1000, 0, 16) && !merge_add(&m, f, ack(1, 9, 77, 1000)) && m.n == 1);
	CHECK(m.len == HEAD + 1000);
}
