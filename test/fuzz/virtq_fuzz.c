/* A ring of any bytes, changed by any stores between the device's steps. What comes out of
 * virtq_pop() must lie in memory and add up, no more than a ringful may be out, and nothing may
 * be written but the used ring. Input: features and size, a count, that many steps, memory. */
#include "hw/virtio_echo_test.h"

enum { RAM = 64 * 1024, DESC = 0, AVAIL = 0x400, USED = 0x800, STEPS = 64 };
struct step {
	uint8_t what;
	uint16_t at, val;
} __attribute__((packed));
static struct gmem *mem;
static uint8_t *ram, before[RAM];
static struct echo *dev;
static struct vreq held[64];
static unsigned nheld;

static void start(uint8_t how)
{
	struct virtq *vq = &dev->v.vq[0];
	virtio_reset(&dev->v);
	dev->v.acked = (uint64_t)(how >> 6) << VIRTIO_F_INDIRECT;
	dev->v.live = true;
	vq->size = (uint16_t)(1 << how % 7);
	vq->desc = DESC;
	vq->avail = AVAIL;
	vq->used = USED;
	must(virtq_enable(vq));
	nheld = 0;
}

static void check(const struct vreq *q)
{
	uint64_t out = 0, in = 0;
	must(q->nout + q->nin <= VREQ_IOV && q->head < dev->v.vq[0].size);
	for (unsigned i = 0; i < (unsigned)(q->nout + q->nin); i++) {
		must(q->iov[i].iov_len && q->gpa[i] < RAM && q->iov[i].iov_len <= RAM - q->gpa[i]);
		must(q->iov[i].iov_base == ram + q->gpa[i]);
		*(i < q->nout ? &out : &in) += q->iov[i].iov_len;
	}
	must(out == q->out_len && in == q->in_len);
}

static void pop(void)
{
	struct virtq *vq = &dev->v.vq[0];
	struct vreq q;
	bool live = dev->v.live;
	int r = virtq_pop(vq, &q);
	if (r < 0) must(live && !dev->v.live && dev->v.status & VIRTIO_NEEDS_RESET);
	if (r <= 0) return;
	check(&q);
	must(nheld < vq->size);
	held[nheld++] = q;
}

static void push(uint16_t written)
{
	if (!nheld) return;
	struct vreq *q = &held[--nheld];
	virtq_push(&dev->v.vq[0], q, written < q->in_len ? written : q->in_len);
}

static void use(uint16_t off, uint16_t n)
{
	struct iovec v[VREQ_IOV];
	static uint8_t b[65536];
	if (!nheld) return;
	struct vreq *q = &held[nheld - 1];
	uint32_t got = vreq_get(q, off, b, n);
	must(got <= n && (off >= q->out_len ? !got : got <= q->out_len - off));
	int k = vreq_slice(q, n & 1, off, n, v, VREQ_IOV);
	must((k >= 0) == (n == 0 || (uint32_t)off + n <= (n & 1 ? q->in_len : q->out_len)));
	for (int i = 0; i < k; i++) must(v[i].iov_len);
}

static void step(const struct step *s, uint8_t how)
{
	struct virtq *vq = &dev->v.vq[0];
	switch (s->what % 8) {
	case 0: pop(); break;
	case 1: push(s->val); break;
	case 2: virtq_kick(vq); break;
	case 3: (void)virtq_want(vq, s->val & 1); break;
	case 4: use(s->at, s->val); break;
	case 5: /* the guest offers one more */
		store_le(ram + AVAIL + 2, load_le(ram + AVAIL + 2, 2) + 1, 2);
		store_le(before + AVAIL + 2, load_le(ram + AVAIL + 2, 2), 2);
		break;
	case 6: /* or stores what it likes */
		if (s->at >= RAM - 1) break;
		store_le(ram + s->at, s->val, 2);
		store_le(before + s->at, s->val, 2);
		break;
	case 7:
		if (s->val % 16 == 0) start(how);
		break;
	}
}

static void open_once(void)
{
	if (mem) return;
	log_level_set(LOG_ERROR);
	mem = gmem_new();
	must(!gmem_add(mem, 0, RAM, 0, NULL));
	ram = gmem_host(mem, 0, RAM);
	dev = echo_new(mem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2) return 0;
	open_once();
	uint8_t how = data[0], n = data[1] % STEPS;
	data += 2;
	size -= 2;
	size_t steps = sizeof(struct step) * n < size ? n : size / sizeof(struct step);
	const uint8_t *image = data + steps * sizeof(struct step);
	size_t left = (size_t)(data + size - image);
	memset(ram, 0, RAM);
	memcpy(ram, image, left < RAM ? left : RAM);
	memcpy(before, ram, RAM);
	start(how);
	for (size_t i = 0; i < steps; i++) {
		struct step s;
		memcpy(&s, data + i * sizeof(s), sizeof(s));
		step(&s, how);
	}
	size_t used = 6 + 8u * dev->v.vq[0].size;
	must(!memcmp(ram, before, USED) &&
	     !memcmp(ram + USED + 6 + 8 * 64, before + USED + 6 + 8 * 64, RAM - USED - 6 - 8 * 64));
	must(!memcmp(ram + USED + used, before + USED + used, 6 + 8 * 64 - used));
	return 0;
}
