/* Token buckets, filled when they are looked at: nothing has to happen while nobody does. */
#include "base/bucket.h"

#define SECOND 1000000000ull

void bucket_set(struct bucket *b, uint64_t rate, uint64_t burst, uint64_t now)
{
	*b = (struct bucket){.rate = rate, .burst = burst, .level = burst, .at_ns = now};
}

static void fill(struct bucket *b, uint64_t now)
{
	uint64_t since = now > b->at_ns ? now - b->at_ns : 0;
	if (since > SECOND) since = SECOND;
	uint64_t more = (uint64_t)((unsigned __int128)since * b->rate / SECOND);
	if (!more) return;
	b->level = more < b->burst - b->level ? b->level + more : b->burst;
	b->at_ns = now;
}

bool bucket_take(struct bucket *b, uint64_t n, uint64_t now)
{
	if (!b->rate) return true;
	fill(b, now);
	if (b->level < n && b->level < b->burst) return false;
	b->level -= n < b->level ? n : b->level;
	return true;
}

void bucket_back(struct bucket *b, uint64_t n)
{
	b->level = n < b->burst - b->level ? b->level + n : b->burst;
}

uint64_t bucket_when(const struct bucket *b, uint64_t n, uint64_t now)
{
	if (!b->rate) return now;
	if (n > b->burst) n = b->burst;
	uint64_t lack = n > b->level ? n - b->level : 1;
	return now + (uint64_t)((unsigned __int128)lack * SECOND / b->rate) + 1;
}
