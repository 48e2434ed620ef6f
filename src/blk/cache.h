#ifndef BLK_CACHE_H
#define BLK_CACHE_H
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* Tables of an image file, all of one size, in bounded memory. A dirty one stays until it is
 * written by cache_write(), so that its owner decides on the order. The caller holds the mutex, or
 * is the only one that uses the cache. */
struct cache {
	pthread_mutex_t mutex;
	int fd;
	size_t unit;	/* bytes of a table */
	unsigned slots; /* a power of two */
	unsigned dirty; /* how many are */
	unsigned hand;
	struct slot {
		uint64_t at; /* in the file; 0: empty */
		bool dirty, hot;
		unsigned next; /* in its bucket; slots: none */
	} * slot;
	unsigned *bucket;
	uint8_t *mem;
};
enum { CACHE_LEAST = 8, CACHE_MOST = 4096 };
/* About bytes of memory, never under CACHE_LEAST tables. -ENOMEM. */
int cache_init(struct cache *c, int fd, size_t unit, size_t bytes);
void cache_done(struct cache *c); /* what is dirty is lost; zeroed is fine */
/* The table at that place of the file; good until the next cache_get() but one. -EIO. */
int cache_get(struct cache *c, uint64_t at, uint8_t **table);
/* NULL: it is not there. */
uint8_t *cache_peek(struct cache *c, uint64_t at);
/* The same without reading: zeroed and dirty. */
int cache_make(struct cache *c, uint64_t at, uint8_t **table);
void cache_dirty(struct cache *c, const uint8_t *table);
void cache_drop(struct cache *c, uint64_t at); /* forget it, dirty or not */
/* There may be at most half of the tables dirty when others are asked for: write them before. */
static inline bool cache_full(const struct cache *c) { return c->dirty > c->slots / 2; }
int cache_write(struct cache *c); /* all that are dirty */
#endif
