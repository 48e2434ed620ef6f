/* Token buckets, filled when they are looked at: nothing has to happen while nobody does. */
#include "base/bucket.h"

#define SECOND 1000000000ull
#define PAST   (1000 * SECOND) /* what is longer ago counts as that */
#define MOST   (1ull << 40)    /* and what is more at once */

void bucket_set(struct bucket *b, uint64_t rate, uint64_t burst, uint64_t now)
{
	*b = (struct bucket){.rate = rate, .burst = burst, .level = (int64_t)burst, .at_ns = now};
}

static void add(struct bucket *b, uint64_t more)
{
	uint64_t room = (uint64_t)((int64_t)b->burst - b->level);
	b->level += (int64_t)(more < room ? more : room);
}

static void fill(struct bucket *b, uint64_t now)
{
	if (now > PAST && b->at_ns < now - PAST) b->at_ns = now - PAST;
	uint64_t since = now > b->at_ns ? now - b->at_ns : 0;
	uint64_t more = (uint64_t)((unsigned __int128)since * b->rate / SECOND);
	if (!more) return;
	add(b, more);
	b->at_ns += (uint64_t)((unsigned __int128)more * SECOND / b->rate); /* parts count later */
}

static int64_t needed(const struct bucket *b, uint64_t n)
{
	return (int64_t)(n < b->burst ? n : b->burst);
}

bool bucket_take(struct bucket *b, uint64_t n, uint64_t now)
{
	if (!b->rate) return true;
	fill(b, now);
	if (b->level < needed(b, n)) return false;
	b->level -= (int64_t)(n < MOST ? n : MOST);
	return true;
}

void bucket_owe(struct bucket *b, uint64_t n)
{
	if (b->rate) b->level -= (int64_t)(n < MOST ? n : MOST);
}

void bucket_back(struct bucket *b, uint64_t n) { add(b, n); }

uint64_t bucket_when(const struct bucket *b, uint64_t n, uint64_t now)
{
	if (!b->rate) return now;
	int64_t need = needed(b, n);
	uint64_t lack = need > b->level ? (uint64_t)(need - b->level) : 1;
	return now + (uint64_t)((unsigned __int128)lack * SECOND / b->rate) + 1;
}
