/* Locks are the host's: guests that share a folder, and the host's programs, respect one another's.
 * A record lock of a process of the guest is an open-file-description lock on a descriptor of its
 * own, a flock() is one on the file's handle. Whoever must wait costs no thread: one thread tries
 * again for all of them. */
#include "fs/impl.h"
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>

enum { WAITERS_MAX = 64, OWNERS_MAX = 256, RETRY_NS = 5000000 };
#define RETAKE_NS 10000000000ull

struct waiter {
	struct waiter *next;
	struct fuse_req *q;
	uint64_t unique;
	struct inode *i; /* with owner: a record lock */
	struct owner *owner;
	struct handle *h; /* or a flock */
	struct flock want;
	int how;
	bool granted;	/* it has the lock; only the answer waits */
	uint64_t after; /* ns: no answer before */
};

/* ---- owners; `lock` is held ---- */
static void owner_free(struct fuse *f, struct owner **at)
{
	struct owner *o = *at;
	f->nowners--;
	*at = o->next;
	if (o->fd >= 0) (void)close(o->fd);
	free(o->range);
	free(o);
}

void owners_free(struct fuse *f, struct inode *i)
{
	while (i->owners) owner_free(f, &i->owners);
}

static int owner_open(struct fuse *f, struct inode *i, bool *writes)
{
	int fd = f->opts.readonly ? -EROFS : inode_open(f, i, O_RDWR);
	*writes = fd >= 0;
	return fd >= 0 ? fd : inode_open(f, i, O_RDONLY);
}

struct owner *owner_make(struct fuse *f, struct inode *i, uint64_t id, int fd, bool writes)
{
	struct owner *o = malloc(sizeof(*o));
	must(o);
	*o = (struct owner){.next = i->owners, .id = id, .fd = fd, .writes = writes};
	i->owners = o;
	f->nowners++;
	return o;
}

static bool touch(const struct range *a, const struct range *b)
{
	bool apart = (a->end < b->start && a->end + 1 != b->start) ||
		     (b->end < a->start && b->end + 1 != a->start);
	return a->type == b->type && a->held == b->held && !apart;
}

/* As the kernel has it: the new one takes the place of what it covers, and joins its like. */
void owner_note(struct owner *o, const struct range *r)
{
	struct range *to = calloc(o->nranges + 2, sizeof(*to)), add = *r;
	unsigned n = 0;
	must(to);
	for (unsigned i = 0; i < o->nranges; i++) {
		const struct range *x = &o->range[i];
		bool joins = r->type != F_UNLCK && touch(x, r), apart;
		apart = x->end < r->start || x->start > r->end;
		if (joins && x->start < add.start) add.start = x->start;
		if (joins && x->end > add.end) add.end = x->end;
		if (joins) continue;
		if (apart || x->start < r->start) to[n++] = *x;
		if (!apart && x->start < r->start) to[n - 1].end = r->start - 1;
		if (apart || x->end <= r->end) continue;
		to[n] = *x;
		to[n++].start = r->end + 1;
	}
	if (r->type != F_UNLCK) to[n++] = add;
	free(o->range);
	o->range = to;
	o->nranges = n;
}

static int owner_new(struct fuse *f, struct inode *i, uint64_t id, struct owner **out)
{
	bool writes;
	int fd = owner_open(f, i, &writes);
	if (fd < 0) return fd;
	*out = owner_make(f, i, id, fd, writes);
	return 0;
}

static int owner_reopen(struct fuse *f, struct inode *i, struct owner *o)
{
	if (o->fd < 0) o->fd = owner_open(f, i, &o->writes);
	return o->fd < 0 ? o->fd : 0;
}

static int owner_get(struct fuse *f, struct inode *i, uint64_t id, struct owner **out)
{
	unsigned n = 0;
	if (!S_ISREG(i->type)) return -EBADF;
	for (struct owner *o = i->owners; o; o = o->next, n++)
		if (o->id == id) {
			*out = o;
			return owner_reopen(f, i, o);
		}
	return n < OWNERS_MAX && f->nowners < f->max_fds ? owner_new(f, i, id, out) : -ENOLCK;
}

void locks_flush(struct fuse *f, struct inode *i, uint64_t owner)
{
	struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
	(void)pthread_mutex_lock(&f->lock);
	struct owner **at = &i->owners;
	while (*at && (*at)->id != owner) at = &(*at)->next;
	if (*at && (*at)->waits) {
		(void)fcntl((*at)->fd, F_OFD_SETLK, &all);
		(*at)->nranges = 0;
	} else if (*at)
		owner_free(f, at);
	(void)pthread_cond_signal(&f->wake);
	(void)pthread_mutex_unlock(&f->lock);
}

/* ---- those who wait; `lock` is held ---- */
static void note(const struct waiter *w)
{
	const struct flock *l = &w->want;
	const struct range r = {l->l_start, l->l_len ? l->l_start + l->l_len - 1 : INT64_MAX,
				l->l_type, true};
	if (w->owner) {
		owner_note(w->owner, &r);
	} else {
		w->h->how = (uint8_t)(w->how == LOCK_UN ? 0 : w->how);
		w->h->missing = false;
	}
}

static int try(const struct waiter *w)
{
	bool full = w->owner && w->owner->nranges >= RANGES_MAX && w->want.l_type != F_UNLCK;
	if (full) return -ENOLCK;
	int r = w->owner ? fcntl(w->owner->fd, F_OFD_SETLK, (struct flock *)&w->want)
			 : flock(w->h->fd, w->how | LOCK_NB);
	if (r == 0) note(w);
	return r ? errno == EACCES ? -EAGAIN : -errno : 0;
}

/* Out of the list; the caller answers and lets go without the lock. */
static struct waiter *take(struct fuse *f, struct waiter **at)
{
	struct waiter *w = *at;
	*at = w->next;
	f->nwaiters--;
	if (w->owner) w->owner->waits--;
	return w;
}

static void settle(struct fuse *f, struct waiter *w, int r)
{
	fuse_answer(w->q, w->unique, r, NULL, 0);
	inode_put(f, w->i);
	handle_put(f, w->h);
	free(w);
}

/* The first that is done, or NULL. */
static struct waiter *ready(struct fuse *f, int *r)
{
	for (struct waiter **at = &f->waiter; *at; at = &(*at)->next) {
		struct waiter *w = *at;
		*r = w->granted ? 0 : try(w);
		w->granted = *r == 0;
		bool early = w->granted && fuse_now() < w->after;
		if (*r != -EAGAIN && !early) return take(f, at);
	}
	return NULL;
}

static void pause_for(struct fuse *f)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += RETRY_NS;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	if (f->waiter || f->retaking)
		(void)pthread_cond_timedwait(&f->wake, &f->lock, &t);
	else
		(void)pthread_cond_wait(&f->wake, &f->lock);
}

/* ---- those that were loaded; `lock` is held ---- */
static unsigned retake_owner(struct fuse *f, struct inode *i, struct owner *o, bool last)
{
	unsigned left = 0, kept = 0;
	bool open = !inode_again(f, i) && !owner_reopen(f, i, o);
	for (unsigned n = 0; n < o->nranges; n++) {
		struct range *r = &o->range[n];
		struct flock l = {.l_type = (short)r->type,
				  .l_whence = SEEK_SET,
				  .l_start = r->start,
				  .l_len = r->end == INT64_MAX ? 0 : r->end - r->start + 1};
		if (!r->held && open) r->held = !fcntl(o->fd, F_OFD_SETLK, &l);
		left += !r->held;
		if (r->held || !last) o->range[kept++] = *r;
	}
	o->nranges = kept;
	return left;
}

static unsigned retake_handle(struct handle *h, bool last)
{
	if (h->missing && h->fd >= 0) h->missing = flock(h->fd, h->how | LOCK_NB) != 0;
	unsigned left = h->missing;
	if (last && h->missing) h->how = 0;
	if (last) h->missing = false;
	return left;
}

static void retake(struct fuse *f)
{
	bool last = fuse_now() >= f->retake_until;
	unsigned left = 0;
	for (uint32_t n = 0; n < f->inodes.n; n++) {
		struct inode *i = f->inodes.slot[n].at;
		for (struct owner *o = i ? i->owners : NULL; o; o = o->next)
			left += retake_owner(f, i, o, last);
	}
	for (uint32_t n = 0; n < f->handles.n; n++)
		if (f->handles.slot[n].at) left += retake_handle(f->handles.slot[n].at, last);
	f->retaking = left && !last;
	f->pending = f->retaking;
	if (left && last && f->opts.lost) f->opts.lost(f->opts.ctx, left);
}

/* Whom it was copied from may still have them, for as long as it takes him to end. */
void locks_retake(struct fuse *f)
{
	if (!f->pending) return;
	f->retaking = true;
	f->retake_until = fuse_now() + RETAKE_NS;
	(void)pthread_cond_signal(&f->wake);
}

static void *locks_run(void *ctx)
{
	struct fuse *f = ctx;
	(void)pthread_mutex_lock(&f->lock);
	while (!f->stop) {
		int r = 0;
		if (f->retaking) retake(f);
		struct waiter *w = ready(f, &r);
		if (!w) {
			pause_for(f);
			continue;
		}
		(void)pthread_mutex_unlock(&f->lock);
		settle(f, w, r);
		(void)pthread_mutex_lock(&f->lock);
	}
	(void)pthread_mutex_unlock(&f->lock);
	return NULL;
}

static void settle_again(struct fuse *f, struct waiter *w)
{
	w->q->done(w->q, FUSE_AGAIN);
	inode_put(f, w->i);
	handle_put(f, w->h);
	free(w);
}

static void interrupt_all(struct fuse *f, bool all, bool again, uint64_t unique, bool *any)
{
	struct waiter **at, *w;
	do {
		(void)pthread_mutex_lock(&f->lock);
		for (at = &f->waiter; *at && !all && (*at)->unique != unique;) at = &(*at)->next;
		w = *at ? take(f, at) : NULL;
		(void)pthread_mutex_unlock(&f->lock);
		if (w && again)
			settle_again(f, w);
		else if (w)
			settle(f, w, w->granted ? 0 : -EINTR);
		if (w) *any = true;
	} while (w && all);
}

void locks_cancel(struct fuse *f, bool again)
{
	bool any;
	interrupt_all(f, true, again, 0, &any);
}

bool locks_interrupt(struct fuse *f, uint64_t unique)
{
	bool any = false;
	interrupt_all(f, false, false, unique, &any);
	return any;
}

int locks_start(struct fuse *f, struct err *e)
{
	int r = pthread_create(&f->thread, NULL, locks_run, f);
	f->threaded = !r;
	return r ? fail(e, -r, "no thread for a shared folder: %s", strerror(r)) : 0;
}

void locks_stop(struct fuse *f)
{
	if (!f->threaded) return;
	(void)pthread_mutex_lock(&f->lock);
	f->stop = true;
	(void)pthread_cond_signal(&f->wake);
	(void)pthread_mutex_unlock(&f->lock);
	(void)pthread_join(f->thread, NULL);
	f->threaded = false;
}

/* ---- operations ---- */
static int lock_of(const struct fuse_file_lock *l, struct flock *to)
{
	if (l->start > INT64_MAX || l->end < l->start) return -EINVAL;
	if (l->type != F_RDLCK && l->type != F_WRLCK && l->type != F_UNLCK) return -EINVAL;
	uint64_t end = l->end < INT64_MAX ? l->end : INT64_MAX;
	*to = (struct flock){.l_type = (short)l->type,
			     .l_whence = SEEK_SET,
			     .l_start = (off_t)l->start,
			     .l_len = end == INT64_MAX ? 0 : (off_t)(end - l->start + 1)};
	return 0;
}

int op_getlk(struct call *c)
{
	const struct fuse_lk_in *in = CALL_ARG(c, fuse_lk_in);
	struct fuse_lk_out *out = (void *)c->reply;
	struct owner *o;
	struct inode *i;
	struct flock l;
	int r = lock_of(&in->lk, &l);
	if (!r) r = inode_get(c->f, c->h.nodeid, &i);
	if (r) return r;
	(void)pthread_mutex_lock(&c->f->lock);
	r = owner_get(c->f, i, in->owner, &o);
	if (!r && fcntl(o->fd, F_OFD_GETLK, &l)) r = -errno;
	(void)pthread_mutex_unlock(&c->f->lock);
	inode_put(c->f, i);
	*out = (struct fuse_lk_out){
		.lk = {.start = (uint64_t)l.l_start,
		       .end = l.l_len ? (uint64_t)(l.l_start + l.l_len - 1) : INT64_MAX,
		       .type = (uint32_t)l.l_type}};
	return r ? r : (int)sizeof(*out);
}

/* Tried, and where it shall wait, kept. What w holds is the caller's until then. */
static int lock_or_wait(struct call *c, struct waiter *w, bool wait)
{
	bool unlocks = w->owner ? w->want.l_type == F_UNLCK : w->how == LOCK_UN;
	int r = w->owner && w->want.l_type == F_WRLCK && !w->owner->writes ? -EBADF : try(w);
	if (r == 0) (void)pthread_cond_signal(&c->f->wake);
	w->granted = r == 0;
	bool early = w->granted && !unlocks && fuse_now() < w->after;
	if (!early && (r != -EAGAIN || !wait)) return r;
	if (c->f->paused) {
		c->again = true;
		return 0;
	}
	struct waiter *own = c->f->nwaiters < WAITERS_MAX ? malloc(sizeof(*own)) : NULL;
	if (!own) return early ? 0 : -ENOLCK;
	*own = *w;
	own->next = c->f->waiter;
	c->f->waiter = own;
	c->f->nwaiters++;
	if (own->owner) own->owner->waits++;
	c->later = true;
	(void)pthread_cond_signal(&c->f->wake);
	return 0;
}

static int record_lock(struct call *c, const struct fuse_lk_in *in, bool wait, uint64_t after)
{
	struct waiter w = {.q = c->q, .unique = c->h.unique, .after = after};
	int r = lock_of(&in->lk, &w.want);
	if (!r) r = inode_get(c->f, c->h.nodeid, &w.i);
	if (r) return r;
	(void)pthread_mutex_lock(&c->f->lock);
	r = owner_get(c->f, w.i, in->owner, &w.owner);
	if (!r) r = lock_or_wait(c, &w, wait);
	(void)pthread_mutex_unlock(&c->f->lock);
	if (!c->later) inode_put(c->f, w.i);
	return r;
}

static int whole_lock(struct call *c, const struct fuse_lk_in *in, bool wait, uint64_t after)
{
	struct waiter w = {.q = c->q, .unique = c->h.unique, .after = after};
	w.how = in->lk.type == F_UNLCK ? LOCK_UN : in->lk.type == F_WRLCK ? LOCK_EX : LOCK_SH;
	w.h = handle_get(c->f, in->fh, HANDLE_FILE | HANDLE_DIR);
	if (!w.h) return -EBADF;
	(void)pthread_mutex_lock(&c->f->lock);
	int r = lock_or_wait(c, &w, wait);
	(void)pthread_mutex_unlock(&c->f->lock);
	if (!c->later) handle_put(c->f, w.h);
	return r;
}

/* Who locks wants to see what others wrote. What his kernel was told before is not taken back, so
 * the first lock is not given until it is too old to be believed. */
static int locks(struct call *c, bool wait)
{
	const struct fuse_lk_in *in = CALL_ARG(c, fuse_lk_in);
	uint64_t after = inode_share(c->f, c->h.nodeid);
	return in->lk_flags & FUSE_LK_FLOCK ? whole_lock(c, in, wait, after)
					    : record_lock(c, in, wait, after);
}

int op_setlk(struct call *c) { return locks(c, false); }

int op_setlkw(struct call *c) { return locks(c, true); }

int op_interrupt(struct call *c)
{
	(void)locks_interrupt(c->f, CALL_ARG(c, fuse_interrupt_in)->unique);
	return 0;
}
