/* The pieces of a disk that have changed. The bitmap is made once and stays until the disk is
 * closed: who notes a change may be any thread, and takes no lock. */
#include "blk/dirty.h"
#include "blk/impl.h"
#include <stdlib.h>

enum { WORD = 64 };

static uint64_t pieces(const struct blk *b) { return (b->info.size + BLK_PIECE - 1) / BLK_PIECE; }
static uint64_t words(const struct blk *b) { return (pieces(b) + WORD - 1) / WORD; }

void blk_track(struct blk *b, bool on)
{
	if (on && !b->changed) {
		b->changed = calloc(words(b) + 1, sizeof(*b->changed));
		must(b->changed);
	}
	for (uint64_t w = 0; on && w < words(b); w++) atomic_store(&b->changed[w], 0);
	atomic_store(&b->tracking, on);
}

void blk_changed(struct blk *b, uint64_t off, uint64_t len)
{
	if (!atomic_load(&b->tracking) || !len || off >= b->info.size) return;
	uint64_t last = (off + len - 1) / BLK_PIECE;
	for (uint64_t p = off / BLK_PIECE; p <= last && p < pieces(b); p++)
		(void)atomic_fetch_or(&b->changed[p / WORD], 1ull << p % WORD);
}

bool blk_changed_take(struct blk *b, uint64_t *off, uint64_t *len)
{
	uint64_t p = *off / BLK_PIECE;
	while (p < pieces(b)) {
		uint64_t left = atomic_load(&b->changed[p / WORD]) >> p % WORD;
		if (left) {
			p += (unsigned)__builtin_ctzll(left);
			(void)atomic_fetch_and(&b->changed[p / WORD], ~(1ull << p % WORD));
			*off = p * BLK_PIECE;
			*len = b->info.size - *off < BLK_PIECE ? b->info.size - *off : BLK_PIECE;
			return true;
		}
		p = (p / WORD + 1) * WORD;
	}
	return false;
}

uint64_t blk_changed_count(struct blk *b)
{
	uint64_t n = 0;
	for (uint64_t w = 0; w < words(b); w++)
		n += (unsigned)__builtin_popcountll(atomic_load(&b->changed[w]));
	return n;
}
