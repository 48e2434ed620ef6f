/* Metadata of images in bounded memory: a hash of places and a clock hand that passes over what
 * is dirty. Each image's format has one for each size of its tables. */
#include "blk/cache.h"
#include "blk/impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int cache_init(struct cache *c, int fd, size_t unit, size_t bytes)
{
	*c = (struct cache){.fd = fd, .unit = unit, .slots = CACHE_LEAST};
	(void)pthread_mutex_init(&c->mutex, NULL);
	while (c->slots < CACHE_MOST && c->slots * 2 * unit <= bytes) c->slots *= 2;
	c->slot = calloc(c->slots, sizeof(*c->slot));
	c->bucket = calloc(c->slots, sizeof(*c->bucket));
	c->mem = calloc(c->slots, unit); /* touched as it fills */
	if (!c->slot || !c->bucket || !c->mem) {
		cache_done(c);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < c->slots; i++) c->bucket[i] = c->slots;
	return 0;
}

void cache_done(struct cache *c)
{
	if (!c->slots) return;
	(void)pthread_mutex_destroy(&c->mutex);
	free(c->slot);
	free(c->bucket);
	free(c->mem);
	*c = (struct cache){0};
}

static unsigned *bucket_of(struct cache *c, uint64_t at)
{
	return &c->bucket[at / 512 * 0x9e3779b97f4a7c15 >> 32 & (c->slots - 1)];
}

static unsigned slot_find(struct cache *c, uint64_t at)
{
	unsigned i = *bucket_of(c, at);
	while (i < c->slots && c->slot[i].at != at) i = c->slot[i].next;
	return i;
}

static void slot_clear(struct cache *c, unsigned i)
{
	struct slot *s = &c->slot[i];
	if (!s->at) return;
	unsigned *link = bucket_of(c, s->at);
	while (*link != i) link = &c->slot[*link].next;
	*link = s->next;
	c->dirty -= s->dirty;
	*s = (struct slot){0};
}

static unsigned slot_free(struct cache *c)
{
	for (unsigned tries = 0; tries < 3 * c->slots; tries++) {
		unsigned i = c->hand++ & (c->slots - 1);
		if (c->slot[i].dirty) continue;
		if (!c->slot[i].hot) return i;
		c->slot[i].hot = false;
	}
	return c->slots;
}

static int slot_take(struct cache *c, uint64_t at, unsigned *out)
{
	unsigned i = slot_free(c);
	if (i == c->slots) return -ENOMEM;
	slot_clear(c, i);
	unsigned *head = bucket_of(c, at);
	c->slot[i] = (struct slot){.at = at, .hot = true, .next = *head};
	*head = i;
	*out = i;
	return 0;
}

int cache_get(struct cache *c, uint64_t at, uint8_t **table)
{
	unsigned i;
	*table = cache_peek(c, at);
	if (*table) return 0;
	if (!at) return -EIO;
	int r = slot_take(c, at, &i);
	if (r < 0) return r;
	*table = c->mem + i * c->unit;
	r = file_get(c->fd, *table, c->unit, at);
	if (r < 0) slot_clear(c, i);
	return r;
}

uint8_t *cache_peek(struct cache *c, uint64_t at)
{
	unsigned i = at ? slot_find(c, at) : c->slots;
	if (i == c->slots) return NULL;
	c->slot[i].hot = true;
	return c->mem + i * c->unit;
}

int cache_make(struct cache *c, uint64_t at, uint8_t **table)
{
	unsigned i = slot_find(c, at);
	int r = i == c->slots ? slot_take(c, at, &i) : 0;
	if (r < 0) return r;
	*table = c->mem + i * c->unit;
	memset(*table, 0, c->unit);
	cache_dirty(c, *table);
	return 0;
}

void cache_dirty(struct cache *c, const uint8_t *table)
{
	struct slot *s = &c->slot[(size_t)(table - c->mem) / c->unit];
	if (!s->dirty) c->dirty++;
	s->dirty = true;
}

void cache_drop(struct cache *c, uint64_t at)
{
	unsigned i = slot_find(c, at);
	if (i < c->slots) slot_clear(c, i);
}

int cache_write(struct cache *c)
{
	for (unsigned i = 0; c->dirty && i < c->slots; i++) {
		if (!c->slot[i].dirty) continue;
		int r = file_put(c->fd, c->mem + i * c->unit, c->unit, c->slot[i].at);
		if (r < 0) return r;
		c->slot[i].dirty = false;
		c->dirty--;
	}
	return 0;
}
