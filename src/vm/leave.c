/* A computer that leaves for another host. A thread of its own sends what there is, then again and
 * again what has changed since; at last the computer stands, and the rest follows. Whatever goes
 * wrong before LINK_GO has the computer go on here. After it the other side may have it already: so
 * it stands until somebody knows. */
#include "base/buf.h"
#include "base/jail.h"
#include "base/loop.h"
#include "base/own.h"
#include "blk/blk.h"
#include "blk/dirty.h"
#include "guest/arrival.h"
#include "guest/guest.h"
#include "hw/gmem.h"
#include "hw/pci.h"
#include "vm/board.h"
#include "vm/move.h"
#include "vm/save.h"
#include "vm/vm.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { PAGE = 4096, RUN = LINK_MAX / PAGE, ROUNDS = 30, STALE = 3, DISK_SHIFT = 56 };
enum { BUILD_SECONDS = 120, READY_SECONDS = 60, STARTED_SECONDS = 30 };
#define SECOND 1000000000ull

enum phase { PHASE_START, PHASE_BULK, PHASE_ROUNDS, PHASE_STANDS, PHASE_GONE, PHASE_END };
static const char *const phases[] = {"building it there", "sending it",	 "sending changes",
				     "standing",	  "handed over", "ended"};
enum end { END_NONE, END_MOVED, END_FAILED, END_DOUBT };

struct leave {
	struct vm *vm;
	struct link *link;
	struct move_how how;
	pthread_t thread;
	pthread_mutex_t lock; /* of the next seven */
	pthread_cond_t changed;
	int (*step)(struct leave *m, struct err *e); /* to be done by the loop's thread */
	int step_result;
	bool quit;
	enum end end;
	struct err why;
	atomic_uint phase, round;
	atomic_ullong left, rate, stood_ns;
	uint64_t stood_at;
	uint64_t *bits; /* of the largest region */
	struct vm_part part[VM_PARTS];
	struct buf state[VM_PARTS];
	unsigned nparts;
	char buf[LINK_MAX];
};

/* ---- the loop's thread does what only it may */
static void step_run(void *ctx)
{
	struct leave *m = ctx;
	(void)pthread_mutex_lock(&m->lock);
	m->step_result = m->step(m, &m->why);
	m->step = NULL;
	(void)pthread_cond_broadcast(&m->changed);
	(void)pthread_mutex_unlock(&m->lock);
}

static int on_loop(struct leave *m, int (*step)(struct leave *m, struct err *e), struct err *e)
{
	(void)pthread_mutex_lock(&m->lock);
	m->step = step;
	if (!m->quit) loop_post(m->vm->guest->loop, step_run, m);
	while (m->step && !m->quit) (void)pthread_cond_wait(&m->changed, &m->lock);
	int r = m->step ? fail(&m->why, -ECANCELED, "the guest has ended") : m->step_result;
	if (r && e) *e = m->why;
	(void)pthread_mutex_unlock(&m->lock);
	return r;
}

static int parts_save(struct leave *m, struct err *e)
{
	int r = 0;
	m->nparts = vm_parts(m->vm, m->part);
	for (unsigned i = 0; r == 0 && i < m->nparts; i++)
		r = vm_part_save(m->vm, &m->part[i], &m->state[i], e);
	return r;
}

static int step_go_on(struct leave *m, struct err *e)
{
	(void)e;
	if (!m->vm->stands) return 0;
	m->vm->stands = false;
	pci_host_resume(m->vm->board->pci);
	vm_thaw(m->vm, VM_HELD_TO_MOVE);
	return 0;
}

static int step_stand(struct leave *m, struct err *e)
{
	struct vm *vm = m->vm;
	if (vm->paused) return fail(e, -EBUSY, "it has been paused meanwhile; resume it first");
	m->stood_at = now_ns();
	int r = 0;
	vm_freeze(vm, VM_HELD_TO_MOVE);
	pci_host_pause(vm->board->pci);
	vm->stands = true;
	if (vm->power != VM_POWER_NONE) r = fail(e, -EBUSY, "it is about to go off or start anew");
	if (r == 0 && vm->ops->dirty) r = vm->ops->dirty(vm->engine, e);
	if (r == 0) r = parts_save(m, e);
	if (r) (void)step_go_on(m, NULL);
	return r;
}

static int step_leave(struct leave *m, struct err *e)
{
	return guest_leaves(m->vm->guest, m->how.to, e);
}

static int step_stay(struct leave *m, struct err *e)
{
	guest_stays(m->vm->guest);
	return step_go_on(m, e);
}

static int step_moved(struct leave *m, struct err *e)
{
	char words[256];
	(void)e;
	(void)snprintf(words, sizeof(words), "%s, standing for %llu ms", m->how.to,
		       (unsigned long long)(atomic_load(&m->stood_ns) / 1000000));
	guest_moved(m->vm->guest, words);
	return 0;
}

/* ---- memory */
static void fence(const struct leave *m)
{
	struct vm *vm = m->vm;
	for (unsigned i = 0; i < vm->ncpus; i++)
		vm->ops->fence(vm->hart[i].cpu, NULL, FENCE_TLB, 0, 0, 0);
}

static bool is_zero(const char *p, size_t n) { return !n || (!*p && !memcmp(p, p + 1, n - 1)); }

/* n pages, as they are now. Zeroes are left out where there is nothing else yet. */
static int pages_send(struct leave *m, gpa_t at, const char *host, size_t n, bool fresh,
		      struct err *e)
{
	int r = 0;
	memcpy(m->buf, host, n * PAGE);
	for (size_t i = 0, k; r == 0 && i < n; i += k) {
		const char *p = m->buf + i * PAGE;
		bool zero = is_zero(p, PAGE);
		for (k = 1; i + k < n && is_zero(p + k * PAGE, PAGE) == zero;) k++;
		le64 len = le64_of(k * PAGE);
		if (!zero)
			r = link_send(m->link, LINK_PAGES, at + i * PAGE, p, k * PAGE, e);
		else if (!fresh)
			r = link_send(m->link, LINK_ZERO, at + i * PAGE, &len, sizeof(len), e);
	}
	return r;
}

static int run_send(struct leave *m, const struct gmem_region *g, gpa_t at, uint64_t len,
		    bool fresh, struct err *e)
{
	int r = 0;
	for (uint64_t k; r == 0 && len; at += k, len -= k) {
		k = len < LINK_MAX ? len : LINK_MAX;
		r = pages_send(m, at, (char *)g->host + (at - g->base), k / PAGE, fresh, e);
	}
	return r;
}

static int memory_all(struct leave *m, struct err *e)
{
	struct gmem_region g;
	int r = 0;
	for (unsigned i = 0; r == 0 && gmem_region(m->vm->mem, i, &g); i++) {
		gpa_t at = g.base, from;
		uint64_t len;
		while (r == 0 && at < g.base + g.len && gmem_next(m->vm->mem, at, &from, &len)) {
			r = run_send(m, &g, from, len, true, e);
			at = from + len;
		}
	}
	return r;
}

static int bits_send(struct leave *m, const struct gmem_region *g, struct err *e)
{
	uint64_t pages = g->len / PAGE;
	int r = 0;
	for (uint64_t i = 0, k; r == 0 && i < pages; i += k) {
		k = 1;
		if (i % 64 == 0 && !m->bits[i / 64]) {
			k = 64;
			continue;
		}
		if (!(m->bits[i / 64] >> i % 64 & 1)) continue;
		while (i + k < pages && k < RUN && m->bits[(i + k) / 64] >> (i + k) % 64 & 1) k++;
		r = run_send(m, g, g->base + i * PAGE, k * PAGE, false, e);
	}
	return r;
}

/* What hardware has noted of writes, into gmem's bitmap. */
static int log_take(struct leave *m, struct err *e)
{
	struct vm *vm = m->vm;
	return vm->ops->dirty ? vm->ops->dirty(vm->engine, e) : 0;
}

static int memory_changed(struct leave *m, struct err *e)
{
	struct gmem_region g;
	int r = log_take(m, e);
	for (unsigned i = 0; r == 0 && gmem_region(m->vm->mem, i, &g); i++) {
		if (!gmem_dirty_take(m->vm->mem, g.base, g.len, m->bits)) continue;
		fence(m); /* then what is written is told of again, before it is read */
		r = bits_send(m, &g, e);
	}
	return r;
}

static void count_bits(const struct leave *m, uint64_t *n)
{
	struct gmem_region g;
	for (unsigned i = 0; gmem_region(m->vm->mem, i, &g); i++)
		*n += gmem_dirty_count(m->vm->mem, g.base, g.len) * PAGE;
}

/* ---- disks */
static int piece_send(struct leave *m, unsigned disk, uint64_t off, uint64_t len, bool fresh,
		      struct err *e)
{
	uint64_t at = (uint64_t)disk << DISK_SHIFT | off;
	le64 n = le64_of(len);
	int r = blk_rw(m->vm->disk[disk], BLK_READ, m->buf, len, off);
	if (r) return fail(e, r, "disk %u: it cannot be read: %s", disk, strerror(-r));
	if (!is_zero(m->buf, len)) return link_send(m->link, LINK_BLOCK, at, m->buf, len, e);
	return fresh ? 0 : link_send(m->link, LINK_BLANK, at, &n, sizeof(n), e);
}

static int disks_all(struct leave *m, struct err *e)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < m->vm->guest->spec->ndisks; i++) {
		uint64_t size = blk_info(m->vm->disk[i]).size;
		for (uint64_t at = 0, k; r == 0 && at < size; at += k) {
			k = size - at < LINK_MAX ? size - at : LINK_MAX;
			r = piece_send(m, i, at, k, true, e);
		}
	}
	return r;
}

static int disks_changed(struct leave *m, struct err *e)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < m->vm->guest->spec->ndisks; i++) {
		uint64_t at = 0, len = 0;
		while (r == 0 && blk_changed_take(m->vm->disk[i], &at, &len)) {
			r = piece_send(m, i, at, len, false, e);
			at += len;
		}
	}
	return r;
}

static int track(struct leave *m, bool on, struct err *e)
{
	for (unsigned i = 0; i < m->vm->guest->spec->ndisks; i++) blk_track(m->vm->disk[i], on);
	gmem_track(m->vm->mem, on);
	fence(m);
	return log_take(m, e);
}

static uint64_t left(struct leave *m)
{
	uint64_t n = 0;
	count_bits(m, &n);
	for (unsigned i = 0; i < m->vm->guest->spec->ndisks; i++)
		n += blk_changed_count(m->vm->disk[i]) * BLK_PIECE;
	atomic_store(&m->left, n);
	return n;
}

/* ---- in order */
static int file_fd(const struct leave *m, unsigned n)
{
	const struct board *b = m->vm->board;
	const int fd[] = {b->kernel.fd, b->initrd.fd, b->firmware.fd, b->vars};
	_Static_assert(COUNT(fd) == HELLO_FILES, "one each");
	return fd[n];
}

static uint64_t file_length(const struct leave *m, unsigned n)
{
	struct stat st;
	int fd = file_fd(m, n);
	return fd < 0 || fstat(fd, &st) ? 0 : (uint64_t)st.st_size;
}

static int hello(struct leave *m, struct err *e)
{
	auto_buf struct buf b = {0};
	const struct guest *g = m->vm->guest;
	struct hello h = {.record = {.created = g->home->created, .spec = *g->spec}};
	(void)snprintf(h.name, sizeof(h.name), "%s", g->name);
	(void)snprintf(h.record.id, sizeof(h.record.id), "%s", g->spec->id ? g->spec->id : "");
	for (unsigned i = 0; i < HELLO_FILES; i++) h.file[i] = file_length(m, i);
	for (unsigned i = 0; i < g->spec->ndisks; i++) h.disk[i] = blk_info(m->vm->disk[i]).size;
	hello_format(&h, &b);
	int r = link_send(m->link, LINK_HELLO, LINK_VERSION, b.at, b.len, e);
	return r ? r : link_expect(m->link, LINK_OK, BUILD_SECONDS, e);
}

static int file_send(struct leave *m, unsigned n, struct err *e)
{
	int r = 0, fd = file_fd(m, n);
	uint64_t size = file_length(m, n);
	for (uint64_t at = 0; r == 0 && at < size;) {
		ssize_t k = pread(fd, m->buf, LINK_MAX, (off_t)at);
		if (k <= 0) return fail(e, -EIO, "%s: it cannot be read again", hello_files[n]);
		r = link_send(m->link, LINK_FILE, (uint64_t)n << 48 | at, m->buf, (size_t)k, e);
		at += (uint64_t)k;
	}
	return r;
}

static int files(struct leave *m, struct err *e)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < HELLO_FILES; i++) r = file_send(m, i, e);
	if (r == 0) r = link_send(m->link, LINK_BUILD, 0, NULL, 0, e);
	return r ? r : link_expect(m->link, LINK_OK, BUILD_SECONDS, e);
}

static int changes(struct leave *m, struct err *e)
{
	int r = memory_changed(m, e);
	return r ? r : disks_changed(m, e);
}

static void note_rate(struct leave *m, uint64_t sent, uint64_t since)
{
	uint64_t ns = now_ns() - since;
	sent = link_sent(m->link) - sent;
	if (sent > LINK_MAX && ns)
		atomic_store(&m->rate, (uint64_t)((unsigned __int128)sent * SECOND / ns));
}

/* What is left would take no longer than it may stand; or it gets no less. */
static bool enough(struct leave *m, uint64_t least, unsigned stale)
{
	uint64_t n = atomic_load(&m->left), rate = atomic_load(&m->rate);
	(void)least;
	return n / 1000 * 1000 <= rate / 1000 * m->how.stand_ms || stale >= STALE;
}

static int rounds(struct leave *m, struct err *e)
{
	uint64_t least = UINT64_MAX;
	unsigned stale = 0;
	for (unsigned i = 1; i <= ROUNDS; i++) {
		int r = log_take(m, e);
		if (r) return r;
		uint64_t n = left(m), sent = link_sent(m->link), since = now_ns();
		stale = n < least - least / 8 ? 0 : stale + 1;
		if (n < least) least = n;
		if (enough(m, least, stale)) return 0;
		atomic_store(&m->round, i);
		r = changes(m, e);
		if (r) return r;
		note_rate(m, sent, since);
	}
	return 0;
}

static int bulk(struct leave *m, struct err *e)
{
	gmem_fetch(m->vm->mem);
	int r = track(m, true, e);
	atomic_store(&m->phase, PHASE_BULK);
	uint64_t sent = link_sent(m->link), since = now_ns();
	if (r == 0) r = disks_all(m, e);
	if (r == 0) r = memory_all(m, e);
	note_rate(m, sent, since);
	return r;
}

static int part_send(struct leave *m, const struct vm_part *p, const struct buf *state,
		     struct err *e)
{
	size_t name = strlen(p->name) + 1, at = 0, n;
	int r = 0;
	memcpy(m->buf, p->name, name);
	do {
		n = state->len - at < LINK_MAX - name ? state->len - at : LINK_MAX - name;
		if (n) memcpy(m->buf + name, state->at + at, n);
		r = link_send(m->link, LINK_PART, VM_PART_VERSION, m->buf, name + n, e);
		at += n;
	} while (r == 0 && at < state->len);
	return r;
}

static int parts_send(struct leave *m, struct err *e)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < m->nparts; i++)
		r = part_send(m, &m->part[i], &m->state[i], e);
	return r;
}

static int stand(struct leave *m, struct err *e)
{
	atomic_store(&m->phase, PHASE_STANDS);
	int r = on_loop(m, step_stand, e);
	if (r == 0) r = changes(m, e);
	if (r == 0) r = parts_send(m, e);
	if (r == 0) r = link_send(m->link, LINK_END, 0, NULL, 0, e);
	return r ? r : link_expect(m->link, LINK_READY, READY_SECONDS, e);
}

/* 0: the other side has it. -EREMOTEIO: it says that it never will. Else nobody knows. */
static int hand_over(struct leave *m, struct err *e)
{
	int r = link_send(m->link, LINK_GO, 0, NULL, 0, e);
	if (r == 0) r = link_expect(m->link, LINK_STARTED, STARTED_SECONDS, e);
	atomic_store(&m->stood_ns, now_ns() - m->stood_at);
	return r;
}

static void end(struct leave *m, enum end how, const struct err *why)
{
	(void)pthread_mutex_lock(&m->lock);
	m->end = how;
	if (why) m->why = *why;
	(void)pthread_mutex_unlock(&m->lock);
	atomic_store(&m->phase, PHASE_END);
}

static void stay(struct leave *m, int (*step)(struct leave *m, struct err *e), struct err *why)
{
	link_refuse(m->link, why);
	(void)track(m, false, NULL);
	(void)on_loop(m, step, NULL);
	end(m, END_FAILED, why);
}

static int prepare(struct leave *m, struct err *e)
{
	int r = hello(m, e);
	if (r == 0) r = files(m, e);
	if (r == 0) r = bulk(m, e);
	atomic_store(&m->phase, PHASE_ROUNDS);
	if (r == 0) r = rounds(m, e);
	if (r == 0) r = stand(m, e);
	return r ? r : on_loop(m, step_leave, e);
}

static void *leave_main(void *ctx)
{
	struct leave *m = ctx;
	struct err why = {0};
	jail_thread(JAIL_MOVE);
	int r = prepare(m, &why);
	if (r) {
		stay(m, step_go_on, &why);
	} else {
		atomic_store(&m->phase, PHASE_GONE);
		r = hand_over(m, &why);
		if (r == -EREMOTEIO)
			stay(m, step_stay, &why);
		else
			end(m, r ? END_DOUBT : END_MOVED, r ? &why : NULL);
		if (r == 0) (void)on_loop(m, step_moved, NULL);
	}
	link_hang_up(m->link);
	return NULL;
}

/* ---- from outside */
static bool is_over(struct leave *m) { return atomic_load(&m->phase) == PHASE_END; }

static enum end ended(struct leave *m)
{
	(void)pthread_mutex_lock(&m->lock);
	enum end how = m->end;
	(void)pthread_mutex_unlock(&m->lock);
	return how;
}

void leave_free(struct leave *m)
{
	if (!m) return;
	link_stop(m->link);
	(void)pthread_mutex_lock(&m->lock);
	m->quit = true;
	(void)pthread_cond_broadcast(&m->changed);
	(void)pthread_mutex_unlock(&m->lock);
	(void)pthread_join(m->thread, NULL);
	link_free(m->link);
	for (unsigned i = 0; i < VM_PARTS; i++) buf_done(&m->state[i]);
	(void)pthread_cond_destroy(&m->changed);
	(void)pthread_mutex_destroy(&m->lock);
	free(m->bits);
	free(m);
}

bool vm_is_leaving(const struct vm *vm)
{
	return vm->leave && (!is_over(vm->leave) || ended(vm->leave) == END_DOUBT);
}

static int can(struct vm *vm, struct err *e)
{
	if (vm->leave && !is_over(vm->leave)) return fail(e, -EBUSY, "it is on its way already");
	if (vm->leave && ended(vm->leave) == END_DOUBT)
		return fail(e, -EBUSY, "it may have been handed over already, %s",
			    vm->leave->how.to);
	if (vm->paused) return fail(e, -EBUSY, "it is paused; resume it first");
	return vm_can_save(vm, e);
}

static struct leave *leave_new(struct vm *vm, struct link *l, const struct move_how *how)
{
	struct leave *m = calloc(1, sizeof(*m));
	struct gmem_region g;
	uint64_t most = 0;
	must(m);
	for (unsigned i = 0; gmem_region(vm->mem, i, &g); i++)
		if (g.len > most) most = g.len;
	m->vm = vm;
	m->how = *how;
	m->link = l;
	m->bits = calloc(most / PAGE / 64 + 1, sizeof(*m->bits));
	must(m->bits && !pthread_mutex_init(&m->lock, NULL));
	must(!pthread_cond_init(&m->changed, NULL));
	link_cap(l, how->cap);
	return m;
}

int vm_move(struct guest *g, struct link *l, const struct move_how *how, struct err *e)
{
	struct vm *vm = g->own;
	int r = can(vm, e);
	if (r) return r;
	leave_free(vm->leave);
	struct leave *m = vm->leave = leave_new(vm, l, how);
	must(!pthread_create(&m->thread, NULL, leave_main, m));
	return 0;
}

static void put(struct json_object *o, const char *key, struct json_object *v)
{
	must(v && !json_object_object_add(o, key, v));
}

static void put_number(struct json_object *o, const char *key, uint64_t n)
{
	put(o, key, json_object_new_int64((int64_t)n));
}

void vm_move_status(struct guest *g, struct json_object *to)
{
	static const char *const ends[] = {"", "moved", "failed", "doubt"};
	struct leave *m = ((struct vm *)g->own)->leave;
	if (!m) return;
	bool over = is_over(m);
	put(to, "phase", json_object_new_string(over ? ends[ended(m)] : phases[m->phase]));
	put(to, "to", json_object_new_string(m->how.to));
	put_number(to, "round", m->round);
	put_number(to, "sent", link_sent(m->link));
	put_number(to, "left", m->left);
	put_number(to, "rate", m->rate);
	put_number(to, "stood_ms", m->stood_ns / 1000000);
	if (over && m->why.code) put(to, "why", json_object_new_string(m->why.msg));
}

int vm_move_settle(struct guest *g, bool there, struct err *e)
{
	struct leave *m = ((struct vm *)g->own)->leave;
	if (!m || !is_over(m) || ended(m) != END_DOUBT)
		return fail(e, -EINVAL, "settle: there is no doubt where it is");
	if (there) return step_moved(m, e);
	end(m, END_FAILED, NULL);
	return step_stay(m, e);
}
