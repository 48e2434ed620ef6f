/* A box between the loop's thread, which puts keys in, and the hart's, which takes them out. */
#include "vm/keys.h"
#include "base/err.h"
#include "base/loop.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct keys {
	struct chr *chr;
	struct loop *loop;
	void (*come)(void *ctx);
	void *ctx;
	size_t (*input)(void *dev, const uint8_t *p, size_t n); /* the device's */
	void *dev;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t looked;
	unsigned asked, answered; /* looks at the loop */
	uint8_t key[KEYS_MOST];
	size_t n;
	bool deaf;
};

static size_t box_input(void *dev, const uint8_t *p, size_t n)
{
	struct keys *k = dev;
	(void)pthread_mutex_lock(&k->lock);
	size_t room = sizeof(k->key) - k->n;
	if (k->deaf) {
		(void)pthread_mutex_unlock(&k->lock);
		return n;
	}
	if (n > room) n = room;
	memcpy(k->key + k->n, p, n);
	k->n += n;
	(void)pthread_mutex_unlock(&k->lock);
	if (n) k->come(k->ctx);
	return n;
}

struct keys *keys_new(struct chr *c, struct loop *l, void (*come)(void *ctx), void *ctx)
{
	struct keys *k = calloc(1, sizeof(*k));
	must(k);
	*k = (struct keys){.chr = c, .loop = l, .come = come, .ctx = ctx};
	(void)pthread_mutex_init(&k->lock, NULL);
	(void)pthread_cond_init(&k->looked, NULL);
	k->input = c->input;
	k->dev = c->dev;
	c->input = box_input;
	c->dev = k;
	c->drained = NULL; /* nobody waits: chr->patient */
	return k;
}

void keys_free(struct keys *k)
{
	if (!k) return;
	k->chr->input = NULL;
	(void)pthread_mutex_destroy(&k->lock);
	(void)pthread_cond_destroy(&k->looked);
	free(k);
}

static void looked(void *ctx)
{
	struct keys *k = ctx;
	(void)pthread_mutex_lock(&k->lock);
	k->answered++;
	(void)pthread_cond_signal(&k->looked);
	(void)pthread_mutex_unlock(&k->lock);
}

/* The loop has called all that was posted before. */
static void look(struct keys *k, bool (*given_up)(void *ctx))
{
	struct timespec t;
	loop_post(k->loop, looked, k);
	(void)pthread_mutex_lock(&k->lock);
	k->asked++;
	while (k->answered != k->asked && !given_up(k->ctx)) {
		(void)clock_gettime(CLOCK_REALTIME, &t);
		t.tv_nsec += 10000000;
		if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
		(void)pthread_cond_timedwait(&k->looked, &k->lock, &t);
	}
	(void)pthread_mutex_unlock(&k->lock);
}

static size_t pass(struct keys *k, uint8_t key[KEYS_MOST])
{
	(void)pthread_mutex_lock(&k->lock);
	size_t n = k->n;
	memcpy(key, k->key, n);
	(void)pthread_mutex_unlock(&k->lock);
	size_t took = n ? keys_put(k, key, n) : 0;
	(void)pthread_mutex_lock(&k->lock);
	k->n -= took;
	memmove(k->key, k->key + took, k->n);
	(void)pthread_mutex_unlock(&k->lock);
	return took;
}

static void hungry(struct keys *k)
{
	if (k->chr->hungry) k->chr->hungry(k->chr->host);
}

size_t keys_put(struct keys *k, const uint8_t *p, size_t n) { return k->input(k->dev, p, n); }

size_t keys_give(struct keys *k, uint8_t to[KEYS_MOST])
{
	size_t took = pass(k, to);
	if (took) hungry(k);
	return took;
}

void keys_deaf(struct keys *k)
{
	(void)pthread_mutex_lock(&k->lock);
	k->deaf = true;
	(void)pthread_mutex_unlock(&k->lock);
}

/* A first look has the loop watch the descriptor again, a second one is behind what that gave. */
void keys_pass(struct keys *k, bool (*given_up)(void *ctx))
{
	uint8_t key[KEYS_MOST];
	hungry(k);
	for (int i = 0; i < 3; i++) look(k, given_up);
	(void)pass(k, key);
}
