/* What every virtio device does alike, whatever carries its registers: the status machine,
 * feature negotiation, the generation count, breaking and reset (2.1 to 2.6). */
#include "hw/virtio.h"
#include "base/log.h"
#include "base/state.h"

enum { DRIVER_BITS = 0xff & ~VIRTIO_NEEDS_RESET, BROKEN_LOGGED = 4 };

void virtio_init(struct virtio_dev *v, const struct virtio_ops *ops, struct gmem *mem)
{
	must(ops->nqueues <= VIRTIO_QUEUES);
	v->ops = ops;
	v->mem = mem;
	must(pthread_mutex_init(&v->mutex, NULL) == 0);
	for (unsigned i = 0; i < VIRTIO_QUEUES; i++) {
		v->vq[i].dev = v;
		v->vq[i].index = i;
		virtq_reset(&v->vq[i]);
	}
}

void virtio_done(struct virtio_dev *v) { (void)pthread_mutex_destroy(&v->mutex); }

uint64_t virtio_offered(const struct virtio_dev *v)
{
	return v->ops->features | 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_INDIRECT |
	       1ull << VIRTIO_F_EVENT_IDX;
}

void virtio_want_features(struct virtio_dev *v, unsigned word, uint32_t bits)
{
	if (v->status & VIRTIO_FEATURES_OK) return;
	if (word < 2) {
		unsigned shift = word * 32;
		v->wanted = (v->wanted & ~(0xffffffffull << shift)) | (uint64_t)bits << shift;
	}
}

static bool features_ok(const struct virtio_dev *v)
{
	if (v->wanted & ~virtio_offered(v)) return false;
	if (!(v->wanted >> VIRTIO_F_VERSION_1 & 1)) return false; /* 6.1 */
	return !v->ops->accepts || v->ops->accepts((struct virtio_dev *)v, v->wanted);
}

static void go_live(struct virtio_dev *v)
{
	v->status |= VIRTIO_DRIVER_OK;
	v->live = true;
	if (v->ops->activate) v->ops->activate(v);
}

void virtio_set_status(struct virtio_dev *v, uint8_t status)
{
	if (!status) {
		virtio_reset(v);
		return;
	}
	uint8_t fresh = (uint8_t)(status & DRIVER_BITS & ~v->status);
	v->status |= fresh & (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FAILED);
	if (fresh & VIRTIO_FEATURES_OK && features_ok(v)) {
		v->acked = v->wanted;
		v->status |= VIRTIO_FEATURES_OK;
	}
	if (fresh & VIRTIO_DRIVER_OK && v->status & VIRTIO_FEATURES_OK &&
	    !(v->status & VIRTIO_NEEDS_RESET))
		go_live(v);
}

void virtio_reset(struct virtio_dev *v)
{
	v->live = false;
	if (v->ops->reset) v->ops->reset(v);
	for (unsigned i = 0; i < VIRTIO_QUEUES; i++) virtq_reset(&v->vq[i]);
	v->acked = v->wanted = 0;
	v->status = 0;
}

void virtio_pause(struct virtio_dev *v)
{
	virtio_lock(v);
	if (v->ops->pause) v->ops->pause(v);
	virtio_unlock(v);
}

void virtio_resume(struct virtio_dev *v)
{
	virtio_lock(v);
	if (v->ops->resume) v->ops->resume(v);
	virtio_unlock(v);
}

/* What a driver can bring about, and nothing else. */
static bool is_possible(const struct virtio_dev *v)
{
	const uint8_t known = VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK |
			      VIRTIO_FEATURES_OK | VIRTIO_NEEDS_RESET | VIRTIO_FAILED;
	if (v->status & ~known) return false;
	if (!(v->status & VIRTIO_FEATURES_OK)) return !v->acked && !(v->status & VIRTIO_DRIVER_OK);
	return v->acked == v->wanted && features_ok(v);
}

void virtio_state(struct virtio_dev *v, struct state *s)
{
	virtio_lock(v);
	if (s->loading) virtio_reset(v);
	STATE(s, v, wanted);
	STATE(s, v, acked);
	STATE(s, v, status);
	STATE(s, v, generation);
	STATE(s, v, config_new);
	bool good = state_need(s, is_possible(v), "negotiation");
	for (unsigned i = 0; good && i < v->ops->nqueues; i++) virtq_state(&v->vq[i], s);
	if (good && v->ops->state) v->ops->state(v, s);
	if (s->loading && !state_ok(s)) virtio_reset(v);
	v->live = (v->status & (VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET)) == VIRTIO_DRIVER_OK;
	virtio_unlock(v);
}

uint8_t virtio_generation(struct virtio_dev *v)
{
	if (v->config_new) v->generation++;
	v->config_new = false;
	return v->generation;
}

static unsigned config_clip(const struct virtio_dev *v, uint64_t off, unsigned len)
{
	uint16_t have = v->ops->config_len;
	if (off >= have) return 0;
	return len < have - off ? len : (unsigned)(have - off);
}

void virtio_config_get(struct virtio_dev *v, uint64_t off, void *buf, unsigned len)
{
	unsigned n = config_clip(v, off, len);
	memset(buf, 0, len);
	if (n && v->ops->config_read) v->ops->config_read(v, (unsigned)off, buf, n);
}

void virtio_config_set(struct virtio_dev *v, uint64_t off, const void *buf, unsigned len)
{
	unsigned n = config_clip(v, off, len);
	if (n && v->ops->config_write) v->ops->config_write(v, (unsigned)off, buf, n);
}

void virtio_enable_queue(struct virtio_dev *v, unsigned queue)
{
	if (queue >= v->ops->nqueues || v->status & VIRTIO_DRIVER_OK) return;
	if (!virtq_enable(&v->vq[queue])) virtio_broken(v, "a queue of impossible size or place");
}

void virtio_notify(struct virtio_dev *v, unsigned queue)
{
	if (queue >= v->ops->nqueues || !v->live || !v->vq[queue].enabled) return;
	if (v->ops->notify) v->ops->notify(v, queue);
}

void virtio_config_changed(struct virtio_dev *v)
{
	v->config_new = true;
	if (v->live && v->wires.config) v->wires.config(v->wires.transport);
}

void virtio_broken(struct virtio_dev *v, const char *why)
{
	if (v->status & VIRTIO_NEEDS_RESET) return;
	bool tell = v->live;
	v->live = false;
	v->status |= VIRTIO_NEEDS_RESET;
	if (v->times_broken++ < BROKEN_LOGGED)
		log_warn("%s: stopped until the guest resets it: %s", v->ops->name, why);
	if (tell && v->wires.config) v->wires.config(v->wires.transport);
}
