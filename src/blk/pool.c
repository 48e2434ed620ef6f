/* A few threads and one list: asynchronous file i/o where the host has no io_uring, and the
 * threads in front of every format that waits for its file. */
#include "base/jail.h"
#include "blk/aio.h"
#include <errno.h>
#include <stdlib.h>

enum { THREADS = 4 };

struct pool {
	struct aio a;
	pthread_mutex_t mutex;
	pthread_cond_t work;
	struct blk_req *first, **last; /* under mutex */
	bool stop;
	int (*run)(void *ctx, const struct blk_req *q);
	void *ctx;
	unsigned nthreads;
	pthread_t thread[THREADS];
};

static struct blk_req *pool_take(struct pool *p)
{
	(void)pthread_mutex_lock(&p->mutex);
	while (!p->first && !p->stop) (void)pthread_cond_wait(&p->work, &p->mutex);
	struct blk_req *q = p->first;
	if (q && !(p->first = q->next)) p->last = &p->first;
	(void)pthread_mutex_unlock(&p->mutex);
	return q;
}

static void *pool_run(void *ctx)
{
	struct pool *p = ctx;
	jail_thread(JAIL_DISK);
	for (struct blk_req *q; (q = pool_take(p));)
		q->done(q, q->res < 0 ? q->res : p->run(p->ctx, q));
	return NULL;
}

static void pool_submit(struct aio *a, struct blk_req *q)
{
	struct pool *p = (struct pool *)a;
	q->next = NULL;
	(void)pthread_mutex_lock(&p->mutex);
	*p->last = q;
	p->last = &q->next;
	(void)pthread_mutex_unlock(&p->mutex);
	(void)pthread_cond_signal(&p->work); /* now: it needs the mutex when it wakes up */
}

static void pool_free(struct aio *a)
{
	struct pool *p = (struct pool *)a;
	(void)pthread_mutex_lock(&p->mutex);
	p->stop = true;
	(void)pthread_cond_broadcast(&p->work);
	(void)pthread_mutex_unlock(&p->mutex);
	while (p->nthreads) (void)pthread_join(p->thread[--p->nthreads], NULL);
	(void)pthread_cond_destroy(&p->work);
	(void)pthread_mutex_destroy(&p->mutex);
	free(p);
}

int pool_new(struct aio **out, int (*run)(void *ctx, const struct blk_req *q), void *ctx,
	     struct err *e)
{
	struct pool *p = calloc(1, sizeof(*p));
	if (!p) return fail(e, -ENOMEM, "out of memory");
	p->a = (struct aio){&aio_pool, -1};
	p->run = run;
	p->ctx = ctx;
	p->last = &p->first;
	(void)pthread_mutex_init(&p->mutex, NULL);
	(void)pthread_cond_init(&p->work, NULL);
	for (; p->nthreads < THREADS; p->nthreads++)
		if (aio_thread(&p->thread[p->nthreads], pool_run, p) < 0) break;
	if (!p->nthreads) {
		pool_free(&p->a);
		return fail(e, -EAGAIN, "no thread could be started for disk i/o");
	}
	*out = &p->a;
	return 0;
}

static int run_on_file(void *ctx, const struct blk_req *q)
{
	const struct aio *a = ctx;
	return file_run(a->fd, q, 0);
}

static int pool_start(struct aio **out, int fd, struct err *e)
{
	int r = pool_new(out, run_on_file, NULL, e);
	if (r < 0) return r;
	struct pool *p = (struct pool *)*out;
	p->a.fd = fd;
	p->ctx = &p->a; /* nothing has been submitted yet */
	return 0;
}

const struct aio_ops aio_pool = {"threads", pool_start, pool_submit, pool_free};
