/* What the guest has open. A handle's number carries a generation, so that one made up or kept too
 * long names nothing. */
#include "fs/impl.h"
#include <stdlib.h>

uint32_t slots_add(struct slots *s, void *at)
{
	if (!s->free) {
		uint32_t n = s->n ? 2 * s->n : 64;
		s->slot = realloc(s->slot, n * sizeof(*s->slot));
		must(s->slot);
		for (uint32_t i = n; i-- > s->n; s->free = i + 1)
			s->slot[i] = (struct slot){.next = s->free};
		s->n = n;
	}
	uint32_t i = s->free - 1;
	s->free = s->slot[i].next;
	s->slot[i].at = at;
	return i;
}

void *slots_at(const struct slots *s, uint32_t index, uint32_t gen)
{
	return index < s->n && s->slot[index].gen == gen ? s->slot[index].at : NULL;
}

void slots_drop(struct slots *s, uint32_t index)
{
	s->slot[index].at = NULL;
	s->slot[index].gen++;
	s->slot[index].next = s->free;
	s->free = index + 1;
}

int handle_new(struct fuse *f, int fd, enum handle_kind kind, uint64_t *fh)
{
	struct handle *h = calloc(1, sizeof(*h));
	(void)pthread_mutex_lock(&f->lock);
	bool fits = h && f->nhandles < f->max_handles;
	if (fits) {
		*h = (struct handle){.kind = kind, .fd = fd, .refs = 1};
		(void)pthread_mutex_init(&h->mutex, NULL);
		h->index = slots_add(&f->handles, h);
		h->gen = f->handles.slot[h->index].gen;
		f->nhandles++;
		*fh = (uint64_t)h->gen << 32 | h->index;
	}
	(void)pthread_mutex_unlock(&f->lock);
	if (fits) return 0;
	free(h);
	(void)close(fd);
	return -ENFILE;
}

struct handle *handle_get(struct fuse *f, uint64_t fh, enum handle_kind kind)
{
	(void)pthread_mutex_lock(&f->lock);
	struct handle *h = slots_at(&f->handles, (uint32_t)fh, (uint32_t)(fh >> 32));
	if (h && !(h->kind & kind)) h = NULL;
	if (h) h->refs++;
	(void)pthread_mutex_unlock(&f->lock);
	return h;
}

static void handle_free(struct fuse *f, struct handle *h)
{
	f->nhandles--;
	if (h->fd >= 0) (void)close(h->fd);
	(void)pthread_mutex_destroy(&h->mutex);
	free(h);
}

void handle_put(struct fuse *f, struct handle *h)
{
	if (!h) return;
	(void)pthread_mutex_lock(&f->lock);
	if (!--h->refs) handle_free(f, h);
	(void)pthread_mutex_unlock(&f->lock);
}

void handle_close(struct fuse *f, uint64_t fh, enum handle_kind kind)
{
	(void)pthread_mutex_lock(&f->lock);
	struct handle *h = slots_at(&f->handles, (uint32_t)fh, (uint32_t)(fh >> 32));
	if (h && h->kind == kind) {
		slots_drop(&f->handles, h->index);
		if (!--h->refs) handle_free(f, h);
	}
	(void)pthread_mutex_unlock(&f->lock);
}

/* Into a slot that is empty; the list of those is the caller's matter. */
void handle_put_at(struct fuse *f, uint32_t index, int fd, enum handle_kind kind, uint8_t how)
{
	struct handle *h = calloc(1, sizeof(*h));
	must(h);
	*h = (struct handle){.kind = kind,
			     .fd = fd,
			     .refs = 1,
			     .index = index,
			     .gen = f->handles.slot[index].gen,
			     .how = how,
			     .missing = how != 0};
	(void)pthread_mutex_init(&h->mutex, NULL);
	f->handles.slot[index].at = h;
	f->nhandles++;
	f->pending |= h->missing;
}

void handles_free(struct fuse *f)
{
	(void)pthread_mutex_lock(&f->lock);
	for (uint32_t i = 0; i < f->handles.n; i++) {
		struct handle *h = f->handles.slot[i].at;
		if (!h) continue;
		slots_drop(&f->handles, i);
		if (!--h->refs) handle_free(f, h);
	}
	(void)pthread_mutex_unlock(&f->lock);
}
