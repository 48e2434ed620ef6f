/* A chain of blocks that only grows until it is reset: everything in it dies together. */
#include "base/err.h"
#include "base/own.h"
#include <stdint.h>
#include <string.h>

struct block {
	struct block *next;
	size_t size, used;
	max_align_t data[];
};
struct arena {
	struct block *first, *now;
};
enum { BLOCK = 64 * 1024 };

static struct block *block_new(size_t size)
{
	struct block *b = malloc(sizeof(*b) + size);
	must(b);
	*b = (struct block){.size = size};
	return b;
}

struct arena *arena_new(void)
{
	struct arena *a = malloc(sizeof(*a));
	must(a);
	a->first = a->now = block_new(BLOCK);
	return a;
}

void *arena_alloc(struct arena *a, size_t size)
{
	must(size < SIZE_MAX / 2);
	size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
	while (a->now->size - a->now->used < size) {
		if (!a->now->next) a->now->next = block_new(size > BLOCK ? size : BLOCK);
		a->now = a->now->next;
	}
	void *p = (char *)a->now->data + a->now->used;
	a->now->used += size;
	return memset(p, 0, size);
}

void arena_reset(struct arena *a)
{
	for (struct block *b = a->first; b; b = b->next) b->used = 0;
	a->now = a->first;
}

void arena_free(struct arena *a)
{
	if (!a) return;
	for (struct block *b = a->first, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	free(a);
}
