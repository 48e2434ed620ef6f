/* virtio balloon (1.2 §5.5): pages that the guest gives away, or tells are free, go back to the
 * host at once, before the guest hears that they were taken; nothing has to be done when it takes
 * them again, as guest memory stays mapped and is zeroes then. So a page is never given back that
 * the guest has taken up again, whatever it does.
 *
 * Linux reports what is free by and by, 256 MiB in 2 s. So when a report was full, and gave
 * something back, the guest is asked for hints (5.5.6.6): all that it has, at once. A driver may
 * take a hinted page again without a word; therefore only that one is given back which has just
 * been told, while its CPU waits for this, and a driver that tells several at a time is not asked
 * again. */
#include "base/loop.h"
#include "base/state.h"
#include "dev/dev.h"
#include "hw/gmem.h"
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

enum { F_STATS = 1, F_DEFLATE_ON_OOM = 2, F_HINT = 3, F_PAGE_POISON = 4, F_REPORTING = 5 };
enum { INFLATE, DEFLATE, STATS, HINTS, QUEUES = 5, QUEUE = 128 };
enum { HINT_STOP = 0, HINT_DONE = 1, HINT_FIRST = 2, REPORT_FULL = 32 }; /* blocks; 5.5.6.6 */
enum { PAGE = 4096, PFNS = 256, PFNS_MAX = 16384 }; /* what a request has more is not given back */
enum { SWAP_IN, SWAP_OUT, MAJOR, MINOR, FREE, TOTAL, AVAILABLE, CACHES, TAGS, STATS_MAX = 64 };

struct config { /* 5.5.4 */
	le32 num_pages, actual, hint_id, poison;
};
struct stat { /* 5.5.6.3 */
	le16 tag;
	le64 value;
} __attribute__((packed));

struct vballoon {
	struct virtio_dev v;
	struct vreq q, held_q;
	uint32_t target, actual, poison; /* pages; actual is what the guest says */
	bool held; /* held_q is its statistics: returned when new ones are wanted */
	uint64_t known, value[TAGS]; /* a bit a tag */
	uint64_t returned;	     /* bytes, ever */
	uint32_t hint_id;	     /* of the round that is wanted; DONE: none is */
	bool hinting;		     /* the guest has begun that round */
	bool hint_never;	     /* its driver tells several at a time */
};

/* ---- pages given away */
static int by_number(const void *a, const void *b)
{
	uint32_t x, y;
	memcpy(&x, a, 4);
	memcpy(&y, b, 4);
	return x < y ? -1 : x > y;
}

static void discard(struct vballoon *b, gpa_t at, uint64_t len)
{
	if (gmem_discard(b->v.mem, at, len)) b->returned += len;
}

/* Neighbours together: a call to the host for each page would take longer than the rest. */
static void discard_pages(struct vballoon *b, uint32_t *pfn, unsigned n)
{
	qsort(pfn, n, sizeof(*pfn), by_number);
	for (unsigned i = 0, run; i < n; i += run) {
		for (run = 1; i + run < n && pfn[i + run] - pfn[i + run - 1] <= 1; run++) {
		}
		uint64_t pages = pfn[i + run - 1] - (uint64_t)pfn[i] + 1;
		discard(b, (gpa_t)pfn[i] * PAGE, pages * PAGE);
	}
}

static void inflate(struct vballoon *b)
{
	uint32_t pfn[PFNS];
	for (uint32_t off = 0; off < PFNS_MAX * sizeof(*pfn);) {
		uint32_t got = vreq_get(&b->q, off, pfn, sizeof(pfn));
		unsigned n = got / sizeof(*pfn);
		if (!n) return;
		for (unsigned i = 0; i < n; i++) pfn[i] = (uint32_t)load_le(&pfn[i], 4);
		discard_pages(b, pfn, n);
		off += got;
	}
}

/* ---- pages that are free: they are to keep what they hold, or to hold the poison (5.5.6.7), which
 * holes do not */
static bool poisoned(const struct vballoon *b)
{
	return b->poison && virtio_has(&b->v, F_PAGE_POISON);
}

static void hints_set(struct vballoon *b, uint32_t id)
{
	b->hint_id = id;
	b->hinting = false;
	virtio_config_changed(&b->v);
}

/* A number that a guest which was restored has not heard of before. */
static void hints_want(struct vballoon *b)
{
	if (!virtio_has(&b->v, F_HINT) || b->hint_never || b->hinting) return;
	uint32_t id = (uint32_t)(now_ns() / 1000000);
	hints_set(b, id < HINT_FIRST ? HINT_FIRST : id);
}

/* What is returned after a round is reported once more, as all that is freed; hence the look at
 * whether anything came back. */
static void report(struct vballoon *b)
{
	uint64_t before = 0, len = 0;
	bool full = b->q.nin >= REPORT_FULL;
	if (poisoned(b)) return;
	if (full) before = gmem_resident(b->v.mem);
	for (unsigned i = b->q.nout; i < b->q.nout + b->q.nin; i++) {
		discard(b, b->q.gpa[i], b->q.iov[i].iov_len);
		len += b->q.iov[i].iov_len;
	}
	if (full && gmem_resident(b->v.mem) + len / 2 < before) hints_want(b);
}

/* The round's number when it begins, STOP when there are no more pages. */
static void hint_word(struct vballoon *b)
{
	le32 word;
	if (vreq_get(&b->q, 0, &word, sizeof(word)) != sizeof(word)) return;
	uint32_t id = le32_get(word);
	if (id >= HINT_FIRST)
		b->hinting = id == b->hint_id;
	else if (id == HINT_STOP && b->hinting)
		hints_set(b, HINT_DONE);
}

static void hint(struct vballoon *b)
{
	bool late = virtq_want(&b->v.vq[HINTS], true);
	b->hint_never |= late;
	if (b->q.nout)
		hint_word(b);
	else if (b->q.nin && b->hinting && !b->hint_never && !poisoned(b))
		discard(b, b->q.gpa[0], b->q.iov[0].iov_len);
}

static void deflate(struct vballoon *b) { (void)b; }

static void serve(struct vballoon *b, unsigned queue, void (*one)(struct vballoon *b))
{
	struct virtq *vq = &b->v.vq[queue];
	do {
		(void)virtq_want(vq, false);
		while (virtq_pop(vq, &b->q) == 1) {
			one(b);
			virtq_push(vq, &b->q, 0);
		}
	} while (virtq_want(vq, true));
	virtq_kick(vq);
}

/* ---- statistics: the driver gives a buffer, and gets it back when new ones are wanted */
static void stats_read(struct vballoon *b)
{
	struct stat s;
	b->known = 0;
	for (unsigned i = 0; i < STATS_MAX; i++) {
		uint32_t at = i * (uint32_t)sizeof(s);
		if (vreq_get(&b->held_q, at, &s, sizeof(s)) != sizeof(s)) return;
		uint16_t tag = (uint16_t)load_le(&s.tag, 2);
		if (tag >= TAGS) continue;
		b->value[tag] = load_le(&s.value, 8);
		b->known |= 1ull << tag;
	}
}

static void stats_take(struct vballoon *b)
{
	struct virtq *vq = &b->v.vq[STATS];
	do {
		if (virtq_pop(vq, &b->held_q) != 1) continue;
		b->held = true;
		stats_read(b);
	} while (!b->held && virtq_want(vq, true));
	(void)virtq_want(vq, true);
}

static void stats_want(struct vballoon *b)
{
	struct virtq *vq = &b->v.vq[STATS];
	if (!virtio_live(&b->v) || !b->held) return;
	b->held = false;
	virtq_push(vq, &b->held_q, 0);
	(void)virtq_want(vq, true);
	virtq_kick(vq);
}

/* ---- the device */

/* Queues of features that were not agreed on are left out by some drivers, and by others only not
 * used: the last ones, whichever, are for reports. */
static void balloon_notify(struct virtio_dev *v, unsigned queue)
{
	struct vballoon *b = (struct vballoon *)v;
	if (queue == INFLATE)
		serve(b, queue, inflate);
	else if (queue == DEFLATE)
		serve(b, queue, deflate);
	else if (queue == STATS && virtio_has(v, F_STATS)) {
		if (!b->held) stats_take(b);
	} else if (queue == HINTS && virtio_has(v, F_HINT))
		serve(b, queue, hint);
	else if (virtio_has(v, F_REPORTING))
		serve(b, queue, report);
}

static void balloon_activate(struct virtio_dev *v)
{
	if (virtio_has(v, F_STATS)) stats_take((struct vballoon *)v);
}

static void balloon_reset(struct virtio_dev *v)
{
	struct vballoon *b = (struct vballoon *)v;
	b->actual = b->poison = 0;
	b->held = b->hinting = b->hint_never = false;
	b->hint_id = HINT_DONE;
	b->known = 0;
}

static void balloon_pause(struct virtio_dev *v)
{
	struct vballoon *b = (struct vballoon *)v;
	if (b->held) virtq_unpop(&v->vq[STATS]);
	b->held = false;
	if (b->hint_id >= HINT_FIRST) hints_set(b, HINT_DONE);
}

static void balloon_resume(struct virtio_dev *v)
{
	if (virtio_live(v)) balloon_activate(v);
}

static void balloon_state(struct virtio_dev *v, struct state *s)
{
	struct vballoon *b = (struct vballoon *)v;
	STATE(s, b, target);
	STATE(s, b, actual);
	STATE(s, b, poison);
}

static void balloon_config_read(struct virtio_dev *v, unsigned off, void *buf, unsigned len)
{
	const struct vballoon *b = (struct vballoon *)v;
	struct config f = {.num_pages = le32_of(b->target),
			   .actual = le32_of(b->actual),
			   .hint_id = le32_of(b->hint_id),
			   .poison = le32_of(b->poison)};
	memcpy(buf, (char *)&f + off, len);
}

static void balloon_config_write(struct virtio_dev *v, unsigned off, const void *buf, unsigned len)
{
	struct vballoon *b = (struct vballoon *)v;
	if (len != sizeof(le32)) return;
	if (off == offsetof(struct config, actual)) b->actual = (uint32_t)load_le(buf, 4);
	if (off == offsetof(struct config, poison)) b->poison = (uint32_t)load_le(buf, 4);
}

static void balloon_free(struct virtio_dev *v)
{
	virtio_done(v);
	free(v);
}

static const struct virtio_ops balloon_ops = {
	.name = "balloon",
	.id = 5,
	.nqueues = QUEUES,
	.queue_max = QUEUE,
	.features = 1 << F_STATS | 1 << F_DEFLATE_ON_OOM | 1 << F_HINT | 1 << F_PAGE_POISON |
		    1 << F_REPORTING,
	.config_len = sizeof(struct config),
	.config_read = balloon_config_read,
	.config_write = balloon_config_write,
	.activate = balloon_activate,
	.notify = balloon_notify,
	.reset = balloon_reset,
	.pause = balloon_pause,
	.resume = balloon_resume,
	.state = balloon_state,
	.free = balloon_free,
};

int virtio_balloon_new(struct virtio_dev **out, struct gmem *mem, struct err *e)
{
	struct vballoon *b = calloc(1, sizeof(*b));
	if (!b) return fail(e, -ENOMEM, "balloon: out of memory");
	b->hint_id = HINT_DONE;
	virtio_init(&b->v, &balloon_ops, mem);
	*out = &b->v;
	return 0;
}

void virtio_balloon_target(struct virtio_dev *v, uint64_t bytes)
{
	struct vballoon *b = (struct vballoon *)v;
	virtio_lock(v);
	uint64_t pages = bytes / PAGE;
	b->target = pages < UINT32_MAX ? (uint32_t)pages : UINT32_MAX;
	virtio_config_changed(v);
	virtio_unlock(v);
}

/* What is free for use is not used; nor is what the balloon has, which such a guest, that may take
 * it back, counts as used. */
static uint64_t used(const struct vballoon *b)
{
	uint64_t need = 1ull << TOTAL | 1ull << AVAILABLE;
	if ((b->known & need) != need) return 0;
	uint64_t rest = b->value[AVAILABLE];
	if (virtio_has(&b->v, F_DEFLATE_ON_OOM)) rest += (uint64_t)b->actual * PAGE;
	return b->value[TOTAL] > rest ? b->value[TOTAL] - rest : 0;
}

void virtio_balloon_look(struct virtio_dev *v, struct balloon_report *to)
{
	struct vballoon *b = (struct vballoon *)v;
	virtio_lock(v);
	*to = (struct balloon_report){.driven = virtio_live(v),
				      .target = (uint64_t)b->target * PAGE,
				      .actual = (uint64_t)b->actual * PAGE,
				      .returned = b->returned,
				      .used = used(b)};
	stats_want(b);
	virtio_unlock(v);
}
