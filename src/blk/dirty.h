#ifndef BLK_DIRTY_H
#define BLK_DIRTY_H
#include <stdbool.h>
#include <stdint.h>
/* Which pieces of a disk have changed, for who copies it while it is written to. Any thread. */
struct blk;
enum { BLK_PIECE = 64 << 10 };		/* bytes */
void blk_track(struct blk *b, bool on); /* on: nothing has changed yet */
/* Whoever issues requests that change it says so once each is done, whatever came of it. */
void blk_changed(struct blk *b, uint64_t off, uint64_t len);
/* The first changed piece from *off on, which counts as unchanged then; false: there is none. */
bool blk_changed_take(struct blk *b, uint64_t *off, uint64_t *len);
uint64_t blk_changed_count(struct blk *b); /* pieces */
#endif
