/* Asynchronous reads by io_uring: submitters fill the ring under a lock, one reaper thread takes
 * completions. No more is in the ring than its completion side holds, the rest waits in a list, so
 * nothing is ever dropped and no submitter waits for the disk. All else goes to threads: most file
 * systems make the kernel use one for it anyway, and then the reaper is one wake-up more. */
#include "base/jail.h"
#include "base/types.h"
#include "blk/aio.h"
#include <errno.h>
#include <liburing.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* syscalls all: io_uring_enter */

enum { DEPTH = 128, RETRY_US = 100 };

struct uring {
	struct aio a;
	struct aio *others;   /* threads, for what is no read */
	struct io_uring ring; /* submission side under mutex, completion side the reaper's */
	pthread_t reaper;
	pthread_mutex_t mutex;
	pthread_cond_t idle;
	unsigned inflight;	       /* under mutex: in the ring */
	struct blk_req *first, **last; /* under mutex: waiting for a place in it */
};

static void prepare(struct io_uring_sqe *s, int fd, struct blk_req *q)
{
	unsigned n = q->niov < IOV_MAX ? (unsigned)q->niov : IOV_MAX;
	if (q->res < 0)
		io_uring_prep_nop(s);
	else
		io_uring_prep_readv(s, fd, q->iov, n, q->off);
	io_uring_sqe_set_data(s, q);
}

/* Under mutex. The kernel refuses only for want of memory, which passes. */
static void ring_put(struct uring *u)
{
	while (io_uring_submit(&u->ring) < 0) (void)usleep(RETRY_US);
}

static void ring_add(struct uring *u, struct blk_req *q)
{
	struct io_uring_sqe *s = io_uring_get_sqe(&u->ring);
	must(s);
	prepare(s, u->a.fd, q);
	u->inflight++;
	__atomic_store_n(&q->next, NULL, __ATOMIC_RELEASE); /* to reap(), through the kernel */
	ring_put(u);
}

static void uring_submit(struct aio *a, struct blk_req *q)
{
	struct uring *u = (struct uring *)a;
	if (q->op != BLK_READ) {
		aio_submit(u->others, q);
		return;
	}
	(void)pthread_mutex_lock(&u->mutex);
	if (u->inflight < DEPTH) {
		ring_add(u, q);
	} else {
		q->next = NULL;
		*u->last = q;
		u->last = &q->next;
	}
	(void)pthread_mutex_unlock(&u->mutex);
}

static int outcome(int fd, struct blk_req *q, int res)
{
	if (q->res < 0) return q->res;
	if (res == -EINTR || res == -EAGAIN) res = 0;
	if (res < 0) return res;
	return (uint64_t)res == q->len ? 0 : file_run(fd, q, (uint64_t)res);
}

static void retire(struct uring *u)
{
	(void)pthread_mutex_lock(&u->mutex);
	struct blk_req *q = u->first;
	u->inflight--;
	if (q) {
		if (!(u->first = q->next)) u->last = &u->first;
		ring_add(u, q);
	}
	if (u->inflight == 0) (void)pthread_cond_signal(&u->idle);
	(void)pthread_mutex_unlock(&u->mutex);
}

static void *reap(void *ctx)
{
	struct uring *u = ctx;
	jail_thread(JAIL_DISK);
	for (;;) {
		struct io_uring_cqe *c;
		int r = io_uring_wait_cqe(&u->ring, &c);
		if (r == -EINTR || r == -EAGAIN) continue;
		must(r == 0);
		struct blk_req *q = io_uring_cqe_get_data(c);
		int res = c->res;
		io_uring_cqe_seen(&u->ring, c);
		if (!q) return NULL;
		(void)__atomic_load_n(&q->next, __ATOMIC_ACQUIRE);
		q->done(q, outcome(u->a.fd, q, res));
		retire(u);
	}
}

static void stop_reaper(struct uring *u)
{
	(void)pthread_mutex_lock(&u->mutex);
	while (u->inflight) (void)pthread_cond_wait(&u->idle, &u->mutex);
	struct io_uring_sqe *s = io_uring_get_sqe(&u->ring);
	must(s);
	io_uring_prep_nop(s);
	io_uring_sqe_set_data(s, NULL);
	ring_put(u);
	(void)pthread_mutex_unlock(&u->mutex);
	(void)pthread_join(u->reaper, NULL);
}

static void uring_free(struct aio *a)
{
	struct uring *u = (struct uring *)a;
	aio_free(u->others);
	stop_reaper(u);
	io_uring_queue_exit(&u->ring);
	(void)pthread_cond_destroy(&u->idle);
	(void)pthread_mutex_destroy(&u->mutex);
	free(u);
}

static long ring_register(struct io_uring *r, unsigned what, const void *at, unsigned n)
{
	return syscall(SYS_io_uring_register, r->ring_fd, what, at, n);
}

/* The ring does nothing else for whoever has taken over our memory: it is not bound by the filter
 * of system calls. Kernels before 5.10 have no such limits: confined, threads do it there. */
static int ring_open(struct io_uring *ring)
{
	static const uint8_t ops[] = {IORING_OP_NOP, IORING_OP_READV};
	struct io_uring_restriction only[COUNT(ops)];
	int r = io_uring_queue_init(DEPTH, ring, IORING_SETUP_R_DISABLED);
	if (r == -EINVAL && !jail_is_on()) return io_uring_queue_init(DEPTH, ring, 0);
	if (r < 0) return r;
	memset(only, 0, sizeof(only));
	for (unsigned i = 0; i < COUNT(ops); i++) {
		only[i].opcode = IORING_RESTRICTION_SQE_OP;
		only[i].sqe_op = ops[i];
	}
	if (ring_register(ring, IORING_REGISTER_RESTRICTIONS, only, COUNT(ops)) ||
	    ring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0)) {
		r = -errno;
		io_uring_queue_exit(ring);
	}
	return r;
}

static int uring_start(struct aio **out, int fd, struct err *e)
{
	struct uring *u = calloc(1, sizeof(*u));
	if (!u) return fail(e, -ENOMEM, "out of memory");
	int r = ring_open(&u->ring);
	if (r < 0) {
		free(u);
		return fail(e, r, "io_uring is not to be had on this host");
	}
	u->a = (struct aio){&aio_uring, fd};
	u->last = &u->first;
	(void)pthread_mutex_init(&u->mutex, NULL);
	(void)pthread_cond_init(&u->idle, NULL);
	r = aio_pool.start(&u->others, fd, e);
	if (!r && aio_thread(&u->reaper, reap, u) < 0)
		r = fail(e, -EAGAIN, "no thread could be started for disk i/o");
	if (r < 0) {
		aio_free(u->others);
		io_uring_queue_exit(&u->ring);
		free(u);
		return r;
	}
	*out = &u->a;
	return 0;
}

const struct aio_ops aio_uring = {"io_uring", uring_start, uring_submit, uring_free};
