/* The split ring from the driver's side: first that it works, then every way to attack it. */
#include "base/test.h"
#include "hw/virtio_echo_test.h"
#include "hw/virtq.h"

enum { IND = 1 << VIRTIO_F_INDIRECT, EVT = 1 << VIRTIO_F_EVENT_IDX };
struct rig {
	struct vdrv d;
	struct echo *e;
	gpa_t out, in;
};

static void rig_init(struct rig *r, uint64_t features, uint16_t size)
{
	vdrv_init(&r->d);
	r->e = echo_new(r->d.mem);
	CHECK(vdrv_start(&r->d, &r->e->v, features, size));
	r->out = vdrv_alloc(&r->d, 4096);
	r->in = vdrv_alloc(&r->d, 4096);
	memcpy(vdrv_at(&r->d, r->out, 16), "0123456789abcdef", 16);
}
static bool rig_is_broken(struct rig *r)
{
	return r->e->v.status & VIRTIO_NEEDS_RESET && !r->e->v.live && r->d.config_irqs == 1;
}
/* An honest request must still work; false once broken. */
static bool rig_echoes(struct rig *r)
{
	uint16_t head, got;
	uint32_t len = 0;
	struct vdrv_buf b[] = {{r->out, 16, false}, {r->in, 16, true}};
	memset(vdrv_at(&r->d, r->in, 16), 0, 16);
	head = vdrv_add(&r->d, 0, b, 2);
	vdrv_notify(&r->d, 0);
	return vdrv_used(&r->d, 0, &got, &len) && got == head && len == 16 &&
	       !memcmp(vdrv_at(&r->d, r->in, 16), "0123456789abcdef", 16);
}
/* Offer this chain from descriptor 0 on; what became of it. */
static int rig_try(struct rig *r, const struct vdrv_desc *t, unsigned n)
{
	memcpy(r->d.q[0].desc, t, n * sizeof(*t));
	vdrv_offer(&r->d, 0, 0);
	unsigned before = r->e->n;
	vdrv_notify(&r->d, 0);
	return rig_is_broken(r) ? -1 : r->e->n > before;
}
static bool rig_breaks(const struct vdrv_desc *t, unsigned n, uint64_t features)
{
	struct rig r;
	rig_init(&r, features, 8);
	bool ok = rig_try(&r, t, n) == -1 && !rig_echoes(&r);
	vdrv_reset(&r.d);
	ok = ok && vdrv_start(&r.d, &r.e->v, features, 8) && rig_echoes(&r); /* and recovers */
	vdrv_done(&r.d);
	return ok;
}
#define BREAKS(features, ...)                                                                      \
	rig_breaks((struct vdrv_desc[]){__VA_ARGS__}, COUNT(((struct vdrv_desc[]){__VA_ARGS__})),  \
		   features)
enum { N = 1, W = 2, I = 4, RAM = VDRV_RAM + (1 << 20) };

TEST(virtq_echoes_for_several_rounds)
{
	for (unsigned f = 0; f < 4; f++) {
		struct rig r;
		rig_init(&r, (f & 1 ? IND : 0) | (f & 2 ? EVT : 0), 4);
		for (int i = 0; i < 100; i++) CHECK(rig_echoes(&r));
		vdrv_done(&r.d);
	}
}
TEST(virtq_indices_wrap_at_65536)
{
	struct rig r;
	rig_init(&r, EVT, 4);
	unsigned bad = 0;
	for (unsigned i = 0; i < 70000; i++) {
		uint16_t *used_event = &r.d.q[0].avail[2 + 4];
		*used_event = r.d.q[0].used_seen;
		bad += !rig_echoes(&r);
	}
	CHECK(!bad);
	CHECK(r.d.queue_irqs[0] == 70000);
	vdrv_done(&r.d);
}
TEST(virtq_framing_has_no_meaning)
{
	struct rig r;
	uint16_t head;
	uint32_t len;
	rig_init(&r, 0, 16);
	struct vdrv_buf b[] = {{r.out, 1, 0},	   {r.out + 1, 6, 0}, {r.out + 7, 9, 0},
			       {r.in + 100, 3, 1}, {r.in + 1, 12, 1}, {r.in, 1, 1}};
	(void)vdrv_add(&r.d, 0, b, COUNT(b));
	vdrv_notify(&r.d, 0);
	CHECK(vdrv_used(&r.d, 0, &head, &len) && len == 16);
	CHECK(!memcmp(vdrv_at(&r.d, r.in + 100, 3), "012", 3));
	CHECK(!memcmp(vdrv_at(&r.d, r.in, 13), "f3456789abcde", 13));
	vdrv_done(&r.d);
}
TEST(virtq_slices_parts_exactly)
{
	char m[64];
	struct iovec v[4];
	struct vreq q = {.iov = {{m, 4}, {m + 10, 6}, {m + 20, 5}, {m + 40, 1}},
			 .nout = 2,
			 .nin = 2,
			 .out_len = 10,
			 .in_len = 6};
	CHECK(vreq_slice(&q, false, 0, 10, v, 4) == 2 && v[1].iov_len == 6);
	CHECK(vreq_slice(&q, false, 3, 2, v, 4) == 2 && v[0].iov_base == m + 3 &&
	      v[1].iov_len == 1);
	CHECK(vreq_slice(&q, false, 4, 6, v, 1) == 1 && v[0].iov_base == m + 10);
	CHECK(vreq_slice(&q, false, 3, 2, v, 1) == -1);
	CHECK(vreq_slice(&q, false, 0, 11, v, 4) == -1);
	CHECK(vreq_slice(&q, true, 5, 1, v, 4) == 1 && v[0].iov_base == m + 40);
	CHECK(vreq_slice(&q, true, 6, 0, v, 4) == 0);
	CHECK(vreq_slice(&q, true, 0, 0, v, 0) == 0);
	CHECK(vreq_slice(&q, true, UINT32_MAX, UINT32_MAX, v, 4) == -1);
}
TEST(virtq_unpop_gives_the_same_again)
{
	struct rig r;
	struct vreq q;
	rig_init(&r, 0, 4);
	uint16_t head = vdrv_add(&r.d, 0, &(struct vdrv_buf){r.out, 5, 0}, 1);
	CHECK(virtq_pop(&r.e->v.vq[0], &q) == 1 && q.head == head && q.out_len == 5);
	CHECK(virtq_pop(&r.e->v.vq[0], &q) == 0);
	virtq_unpop(&r.e->v.vq[0]);
	CHECK(virtq_pop(&r.e->v.vq[0], &q) == 1 && q.head == head && q.out_len == 5);
	vdrv_done(&r.d);
}
TEST(virtq_marks_what_it_writes_dirty)
{
	struct rig r;
	uint64_t bits[VDRV_LEN / 4096 / 64];
	rig_init(&r, 0, 4);
	r.in = (vdrv_alloc(&r.d, 16384) + 8191) & ~4095ull;
	gmem_track(r.d.mem, true);
	CHECK(rig_echoes(&r));
	CHECK(gmem_dirty_take(r.d.mem, r.in, 4096, bits));
	CHECK(gmem_dirty_take(r.d.mem, r.e->v.vq[0].used & ~4095ull, 4096, bits));
	CHECK(!gmem_dirty_take(r.d.mem, VDRV_RAM, VDRV_LEN, bits));
	vdrv_done(&r.d);
}

/* Interrupt and notification suppression (2.7.7, 2.7.10). */
TEST(virtq_flag_suppresses_interrupts)
{
	struct rig r;
	rig_init(&r, 0, 4);
	CHECK(rig_echoes(&r) && r.d.queue_irqs[0] == 1);
	r.d.q[0].avail[0] = 1;
	CHECK(rig_echoes(&r) && r.d.queue_irqs[0] == 1);
	vdrv_done(&r.d);
}
TEST(virtq_event_index_overrules_the_flag)
{
	struct rig r;
	rig_init(&r, EVT, 4);
	r.d.q[0].avail[0] = 1; /* must be ignored (2.7.7.2) */
	CHECK(rig_echoes(&r) && r.d.queue_irqs[0] == 1);
	CHECK(rig_echoes(&r) && r.d.queue_irqs[0] == 1);
	r.d.q[0].avail[2 + 4] = 3;
	CHECK(rig_echoes(&r) && r.d.queue_irqs[0] == 1);
	CHECK(rig_echoes(&r) && r.d.queue_irqs[0] == 2);
	CHECK(rig_echoes(&r) && r.d.queue_irqs[0] == 2);
	vdrv_done(&r.d);
}
TEST(virtq_event_index_counts_a_batch_once)
{
	struct rig r;
	rig_init(&r, EVT, 8);
	r.d.q[0].avail[2 + 8] = 2;
	struct vdrv_buf b = {r.out, 4, false};
	for (int i = 0; i < 5; i++) (void)vdrv_add(&r.d, 0, &b, 1);
	vdrv_notify(&r.d, 0);
	CHECK(r.e->n == 5 && r.d.queue_irqs[0] == 1);
	vdrv_done(&r.d);
}
TEST(virtq_asks_for_notifications)
{
	struct rig r;
	rig_init(&r, 0, 4);
	CHECK(!virtq_want(&r.e->v.vq[0], false) && r.d.q[0].used[0] == 1);
	(void)vdrv_add(&r.d, 0, &(struct vdrv_buf){r.out, 4, 0}, 1);
	CHECK(virtq_want(&r.e->v.vq[0], true) && r.d.q[0].used[0] == 0);
	vdrv_done(&r.d);
	rig_init(&r, EVT, 4);
	CHECK(rig_echoes(&r));
	CHECK(!virtq_want(&r.e->v.vq[0], true) && r.d.q[0].used[2 + 4 * 4] == 1);
	(void)vdrv_add(&r.d, 0, &(struct vdrv_buf){r.out, 4, 0}, 1);
	(void)vdrv_add(&r.d, 0, &(struct vdrv_buf){r.out, 4, 0}, 1);
	CHECK(virtq_want(&r.e->v.vq[0], true) && r.d.q[0].used[2 + 4 * 4] == 3);
	vdrv_done(&r.d);
}
TEST(virtq_no_interrupt_without_something_new)
{
	struct rig r;
	rig_init(&r, 0, 4);
	for (int i = 0; i < 1000; i++) {
		vdrv_notify(&r.d, 0);
		virtq_kick(&r.e->v.vq[0]);
	}
	CHECK(r.d.queue_irqs[0] == 0);
	CHECK(rig_echoes(&r) && r.d.queue_irqs[0] == 1);
	virtq_kick(&r.e->v.vq[0]);
	CHECK(r.d.queue_irqs[0] == 1);
	vdrv_done(&r.d);
}

/* Attack 1: impossible sizes and queues. */
TEST(attack_1_queue_size)
{
	uint16_t bad[] = {0, 3, 32769, 32768, 128, 65535};
	for (unsigned i = 0; i < COUNT(bad); i++) {
		struct vdrv d;
		vdrv_init(&d);
		struct echo *e = echo_new(d.mem);
		CHECK(vdrv_handshake(&d, &e->v, 0));
		vdrv_queue_start(&d, 0, bad[i]);
		CHECK(!e->v.vq[0].enabled && e->v.status & VIRTIO_NEEDS_RESET);
		virtio_set_status(&e->v, VIRTIO_DRIVER_OK);
		CHECK(!e->v.live && !e->activations && d.config_irqs == 0);
		vdrv_done(&d);
	}
}
TEST(attack_1_enable_twice_and_after_driver_ok)
{
	struct rig r;
	rig_init(&r, 0, 8);
	CHECK(rig_echoes(&r));
	virtio_enable_queue(&r.e->v, 0);
	virtio_enable_queue(&r.e->v, 1);
	virtio_enable_queue(&r.e->v, 7);
	virtio_enable_queue(&r.e->v, 65535);
	CHECK(rig_echoes(&r));
	vdrv_done(&r.d);
}
TEST(attack_1_notify_of_absent_queue)
{
	struct rig r;
	rig_init(&r, 0, 8);
	for (unsigned q = 2; q < 20; q++) vdrv_notify(&r.d, q);
	vdrv_notify(&r.d, 0x7fffffff);
	vdrv_notify(&r.d, 0xffffffff);
	CHECK(rig_echoes(&r));
	vdrv_done(&r.d);
}

/* Attack 2: impossible rings. */
static bool ring_refused(gpa_t desc, gpa_t avail, gpa_t used)
{
	struct vdrv d;
	vdrv_init(&d);
	struct echo *e = echo_new(d.mem);
	CHECK(vdrv_handshake(&d, &e->v, 0));
	e->v.vq[0].size = 64;
	e->v.vq[0].desc = desc;
	e->v.vq[0].avail = avail;
	e->v.vq[0].used = used;
	virtio_enable_queue(&e->v, 0);
	virtio_set_status(&e->v, VIRTIO_DRIVER_OK);
	vdrv_notify(&d, 0);
	bool refused = !e->v.vq[0].enabled && !e->v.live && e->v.status & VIRTIO_NEEDS_RESET;
	vdrv_done(&d);
	return refused;
}
TEST(attack_2_ring_addresses)
{
	gpa_t end = VDRV_RAM + VDRV_LEN;
	gpa_t bad[] = {0,
		       VDRV_RAM - 2,
		       end - 1,
		       end,
		       0x10000000,
		       0x8000000000000000,
		       0xfffffffffffffff0,
		       end - 64};
	gpa_t a = VDRV_RAM, b = VDRV_RAM + 4096, c = VDRV_RAM + 8192;
	CHECK(!ring_refused(a, b, c));
	for (unsigned i = 0; i < COUNT(bad); i++) {
		CHECK(ring_refused(bad[i], b, c));
		CHECK(ring_refused(a, bad[i], c));
		CHECK(ring_refused(a, b, bad[i]));
	}
	CHECK(ring_refused(a + 8, b, c) && ring_refused(a + 1, b, c));
	CHECK(ring_refused(a, b + 1, c) && ring_refused(a, b, c + 2));
}
TEST(attack_2_rings_end_at_the_last_byte)
{
	gpa_t end = VDRV_RAM + VDRV_LEN, a = VDRV_RAM, b = VDRV_RAM + 4096, c = VDRV_RAM + 8192;
	CHECK(!ring_refused(end - 1024, b, c) && ring_refused(end - 1008, b, c));
	CHECK(!ring_refused(a, end - 134, c) && ring_refused(a, end - 132, c));
	CHECK(!ring_refused(a, b, end - 520) && ring_refused(a, b, end - 516));
}
TEST(attack_2_rings_overlap_each_other)
{
	gpa_t a = VDRV_RAM, b = VDRV_RAM + 4096;
	CHECK(ring_refused(a, b, a));
	CHECK(ring_refused(a, b, a + 1020));
	CHECK(ring_refused(a, b, b));
	CHECK(ring_refused(a, b, b + 132));
	CHECK(!ring_refused(a, b, a + 1024));
}
TEST(attack_2_buffer_overlaps_its_rings)
{
	struct rig r;
	rig_init(&r, 0, 8);
	struct virtq *vq = &r.e->v.vq[0];
	for (int i = 0; i < 200 && r.e->v.live; i++) {
		gpa_t at[] = {vq->desc, vq->avail, vq->used};
		struct vdrv_buf b[] = {{r.out, 16, 0}, {at[i % 3], 64, 1}};
		(void)vdrv_add(&r.d, 0, b, 2);
		vdrv_notify(&r.d, 0);
	}
	CHECK(r.e->n);
	vdrv_reset(&r.d);
	CHECK(vdrv_start(&r.d, &r.e->v, 0, 8) && rig_echoes(&r));
	vdrv_done(&r.d);
}

/* Attack 3: impossible chains. */
TEST(attack_3_next_beyond_the_table)
{
	CHECK(BREAKS(0, {RAM, 4, N, 8}));
	CHECK(BREAKS(0, {RAM, 4, N, 65535}));
}
TEST(attack_3_head_beyond_the_table)
{
	struct rig r;
	rig_init(&r, 0, 8);
	vdrv_offer(&r.d, 0, 8);
	vdrv_notify(&r.d, 0);
	CHECK(rig_is_broken(&r) && r.e->n == 0);
	vdrv_done(&r.d);
}
TEST(attack_3_loops)
{
	CHECK(BREAKS(0, {RAM, 4, N, 0}));
	CHECK(BREAKS(0, {RAM, 4, N, 1}, {RAM, 4, N, 0}));
	CHECK(BREAKS(0, {RAM, 0, N, 1}, {RAM, 0, N, 0})); /* of nothing */
}
TEST(attack_3_chain_longer_than_the_queue)
{
	struct vdrv_desc t[8];
	for (uint16_t i = 0; i < 8; i++)
		t[i] = (struct vdrv_desc){RAM, 1, N, (uint16_t)((i + 1) % 8)};
	CHECK(rig_breaks(t, 8, 0));
	t[7].flags = 0;
	struct rig r;
	rig_init(&r, 0, 8);
	CHECK(rig_try(&r, t, 8) == 1);
	vdrv_done(&r.d);
}
TEST(attack_3_readable_after_writable) { CHECK(BREAKS(0, {RAM, 4, N | W, 1}, {RAM, 4, 0, 0})); }
TEST(attack_3_buffers_outside_memory)
{
	gpa_t end = VDRV_RAM + VDRV_LEN;
	CHECK(BREAKS(0, {0, 1, 0, 0}));
	CHECK(BREAKS(0, {end - 1, 2, 0, 0}));
	CHECK(BREAKS(0, {VDRV_RAM - 1, 2, W, 0}));
	CHECK(BREAKS(0, {UINT64_MAX, 2, 0, 0}));
	CHECK(BREAKS(0, {0x8000000000000000, 1, 0, 0}));
	CHECK(BREAKS(0, {RAM, UINT32_MAX, 0, 0}));
}
TEST(attack_3_four_gigabytes)
{
	struct gmem *m = gmem_new();
	CHECK(gmem_add(m, 0, 4 * GIB, 0, NULL) == 0);
	struct echo *e = echo_new(m);
	struct virtq *vq = &e->v.vq[0];
	struct vdrv_desc t[2] = {{0, UINT32_MAX, N | W, 1}, {0, 1, W, 0}};
	struct vreq q;
	e->v.live = true;
	vq->desc = 4096;
	vq->avail = 8192;
	vq->used = 16384;
	CHECK(virtq_enable(vq));
	CHECK(gmem_write(m, 4096, t, sizeof(t)) && gmem_write(m, 8192, "\0\0\1\0\0\0", 6));
	CHECK(virtq_pop(vq, &q) == -1 && e->v.status & VIRTIO_NEEDS_RESET);
	virtio_reset(&e->v);
	e->v.live = true;
	vq->desc = 4096;
	vq->avail = 8192;
	vq->used = 16384;
	t[0].flags = W;
	CHECK(virtq_enable(vq) && gmem_write(m, 4096, t, sizeof(t)));
	CHECK(virtq_pop(vq, &q) == 1 && q.in_len == UINT32_MAX);
	echo_free(&e->v);
	gmem_free(m);
}
TEST(attack_3_zero_length_descriptors_are_nothing)
{
	struct rig r;
	rig_init(&r, 0, 8);
	struct vdrv_desc t[] = {
		{0, 0, N, 1}, {r.out, 4, N, 2}, {~0ull, 0, N | W, 3}, {r.in, 4, W, 0}};
	CHECK(rig_try(&r, t, 4) == 1);
	CHECK(!memcmp(vdrv_at(&r.d, r.in, 4), "0123", 4));
	vdrv_done(&r.d);
}
/* Chains through an indirect table at RAM. */
static int indirect_try(const struct vdrv_desc *ring, unsigned n, const struct vdrv_desc *table,
			unsigned entries, uint64_t features)
{
	struct rig r;
	rig_init(&r, features, 8);
	memcpy(vdrv_at(&r.d, RAM, 16ul * entries), table, 16ul * entries);
	int got = rig_try(&r, ring, n);
	vdrv_done(&r.d);
	return got;
}
TEST(virtq_indirect_tables_work)
{
	struct vdrv_desc t[] = {{RAM, 4, N, 2}, {0, 9, I, 9}, {RAM, 4, W, 0}};
	CHECK(indirect_try(&(struct vdrv_desc){RAM, 48, I, 0}, 1, t, 3, IND) == 1);
	struct vdrv_desc ring[] = {{RAM, 4, N, 1}, {RAM, 48, I, 0}}; /* 2.7.5.3.2 */
	CHECK(indirect_try(ring, 2, t, 3, IND) == 1);
}
TEST(attack_3_indirect_not_negotiated)
{
	struct vdrv_desc t[] = {{RAM, 4, 0, 0}};
	CHECK(indirect_try(&(struct vdrv_desc){RAM, 16, I, 0}, 1, t, 1, 0) == -1);
	CHECK(indirect_try(&(struct vdrv_desc){RAM, 16, I, 0}, 1, t, 1, IND) == 1);
}
TEST(attack_3_indirect_inside_indirect)
{
	struct vdrv_desc t[] = {{RAM + 16, 16, I, 0}, {RAM, 4, 0, 0}}, self[] = {{RAM, 16, I, 0}};
	CHECK(indirect_try(&(struct vdrv_desc){RAM, 16, I, 0}, 1, t, 2, IND) == -1);
	CHECK(indirect_try(&(struct vdrv_desc){RAM + 16, 16, I, 0}, 1, t, 2, IND) == 1);
	CHECK(indirect_try(&(struct vdrv_desc){RAM, 16, I, 0}, 1, self, 1, IND) == -1);
}
TEST(attack_3_indirect_with_next)
{
	struct vdrv_desc t[] = {{RAM, 4, 0, 0}}, ring[] = {{RAM, 16, I | N, 1}, {RAM, 4, 0, 0}};
	CHECK(indirect_try(ring, 2, t, 1, IND) == -1);
}
TEST(attack_3_indirect_lengths)
{
	struct vdrv_desc t[] = {{RAM, 4, 0, 0}};
	uint32_t bad[] = {0, 1, 15, 17, 24, 0xfffffff0, 0xffffffff, VDRV_LEN};
	for (unsigned i = 0; i < COUNT(bad); i++)
		CHECK(indirect_try(&(struct vdrv_desc){RAM, bad[i], I, 0}, 1, t, 1, IND) == -1);
	CHECK(indirect_try(&(struct vdrv_desc){VDRV_RAM - 16, 16, I, 0}, 1, t, 1, IND) == -1);
	CHECK(indirect_try(&(struct vdrv_desc){RAM, 8 << 20, I, 0}, 1, t, 1, IND) == 1);
}
TEST(attack_3_write_flag_on_indirect_is_ignored)
{
	struct vdrv_desc t[] = {{RAM, 4, N, 1}, {RAM, 4, W, 0}};
	CHECK(indirect_try(&(struct vdrv_desc){RAM, 32, I | W, 0}, 1, t, 2, IND) == 1);
}
TEST(attack_3_indirect_loops_and_overruns)
{
	struct vdrv_desc loop[] = {{RAM, 4, N, 1}, {RAM, 4, N, 0}}, far[] = {{RAM, 4, N, 1}};
	CHECK(indirect_try(&(struct vdrv_desc){RAM, 32, I, 0}, 1, loop, 2, IND) == -1);
	CHECK(indirect_try(&(struct vdrv_desc){RAM, 16, I, 0}, 1, far, 1, IND) == -1);
}
TEST(attack_3_more_segments_than_fit)
{
	struct vdrv_desc t[VREQ_IOV + 1];
	for (uint16_t i = 0; i < VREQ_IOV + 1; i++)
		t[i] = (struct vdrv_desc){RAM, 1, N, (uint16_t)(i + 1)};
	struct vdrv_desc all = {RAM, sizeof(t), I, 0};
	t[VREQ_IOV].flags = 0;
	CHECK(indirect_try(&all, 1, t, VREQ_IOV + 1, IND) == -1);
	t[VREQ_IOV - 1].flags = 0;
	CHECK(indirect_try(&all, 1, t, VREQ_IOV + 1, IND) == 1);
}

/* Attack 4: the index runs ahead, the guest writes while we read. */
TEST(attack_4_avail_index_jump)
{
	uint16_t jump[] = {9, 100, 32768, 65535};
	for (unsigned i = 0; i < COUNT(jump); i++) {
		struct rig r;
		rig_init(&r, 0, 8);
		r.d.q[0].avail[1] = jump[i];
		vdrv_notify(&r.d, 0);
		CHECK(rig_is_broken(&r) && r.e->n == 0);
		vdrv_done(&r.d);
	}
}
TEST(attack_4_same_head_for_ever)
{
	struct rig r;
	rig_init(&r, 0, 8);
	r.e->hold = true; /* nothing comes back: at most a ring full may be out */
	for (int i = 0; i < 20; i++) {
		r.d.q[0].desc[0] = (struct vdrv_desc){r.out, 4, 0, 0};
		vdrv_offer(&r.d, 0, 0);
		vdrv_notify(&r.d, 0);
	}
	CHECK(r.e->n == 8 && rig_is_broken(&r));
	vdrv_done(&r.d);
}
TEST(attack_4_a_popped_request_is_a_private_copy)
{
	struct rig r;
	rig_init(&r, 0, 8);
	r.e->hold = true;
	struct vdrv_buf b[] = {{r.out, 16, 0}, {r.in, 16, 1}};
	uint16_t head = vdrv_add(&r.d, 0, b, 2), got;
	uint32_t len;
	vdrv_notify(&r.d, 0);
	memset(r.d.q[0].desc, 0xff, 8 * sizeof(struct vdrv_desc));
	r.d.q[0].avail[2] = 0xffff;
	echo_release(r.e, 0);
	CHECK(vdrv_used(&r.d, 0, &got, &len) && got == head && len == 16);
	CHECK(!memcmp(vdrv_at(&r.d, r.in, 16), "0123456789abcdef", 16));
	vdrv_done(&r.d);
}
struct race {
	struct vdrv_desc *t;
	atomic_bool stop;
};
static void *race_run(void *ctx)
{
	struct race *r = ctx;
	while (!atomic_load(&r->stop)) {
		__atomic_store_n(&r->t->addr, 0xfffffffffffffff0, __ATOMIC_RELAXED);
		__atomic_store_n(&r->t->len, 0x7fffffff, __ATOMIC_RELAXED);
		__atomic_store_n(&r->t->addr, VDRV_RAM + 4096, __ATOMIC_RELAXED);
		__atomic_store_n(&r->t->len, 16, __ATOMIC_RELAXED);
	}
	return NULL;
}
TEST(attack_4_descriptor_changed_while_it_is_read)
{
	struct rig r;
	struct vreq q;
	pthread_t t;
	unsigned bad = 0;
	rig_init(&r, 0, 8);
	struct race race = {.t = r.d.q[0].desc};
	r.d.q[0].desc[0] = (struct vdrv_desc){VDRV_RAM + 4096, 16, W, 0};
	CHECK(pthread_create(&t, NULL, race_run, &race) == 0);
	for (int i = 0; i < 20000; i++) {
		vdrv_offer(&r.d, 0, 0);
		if (virtq_pop(&r.e->v.vq[0], &q) == 1) {
			char *p = q.iov[0].iov_base, *ram = vdrv_at(&r.d, VDRV_RAM, VDRV_LEN);
			bad += p < ram || p + q.iov[0].iov_len > ram + VDRV_LEN;
			virtq_push(&r.e->v.vq[0], &q, 0);
		} else {
			vdrv_reset(&r.d);
			r.d.next = VDRV_RAM + 8192;
			CHECK(vdrv_start(&r.d, &r.e->v, 0, 8));
			r.d.q[0].desc[0].flags = W;
		}
	}
	atomic_store(&race.stop, true);
	(void)pthread_join(t, NULL);
	CHECK(!bad);
	vdrv_done(&r.d);
}

/* Attack 5 as far as it is the queue's: parts too short for what a device wants. */
TEST(attack_5_short_parts)
{
	struct rig r;
	struct vreq q;
	char b[32];
	rig_init(&r, 0, 8);
	struct vdrv_buf s[] = {{r.out, 3, 0}, {r.in, 1, 1}};
	(void)vdrv_add(&r.d, 0, s, 2);
	CHECK(virtq_pop(&r.e->v.vq[0], &q) == 1);
	CHECK(vreq_get(&q, 0, b, 16) == 3 && !memcmp(b, "012", 3));
	CHECK(vreq_get(&q, 3, b, 16) == 0 && vreq_get(&q, UINT32_MAX, b, 16) == 0);
	CHECK(vreq_put(&r.e->v.vq[0], &q, 0, "xy", 2) == 1);
	CHECK(vreq_put(&r.e->v.vq[0], &q, 1, "xy", 2) == 0);
	CHECK(*(char *)vdrv_at(&r.d, r.in + 1, 1) == 0);
	CHECK(*(char *)vdrv_at(&r.d, r.out, 1) == '0');
	vdrv_done(&r.d);
}

/* Attack 6: DMA reaches memory only; ROM is not written. */
TEST(attack_6_dma_to_rom_or_mmio_is_refused)
{
	struct rig r;
	for (unsigned write = 0; write < 2; write++) {
		rig_init(&r, 0, 8);
		CHECK(gmem_add(r.d.mem, 0x1000, 0x1000, GMEM_ROM, NULL) == 0);
		struct vdrv_desc t = {0x1000, 16, write ? W : 0, 0};
		CHECK(rig_try(&r, &t, 1) == (write ? -1 : 1));
		vdrv_done(&r.d);
	}
	CHECK(BREAKS(0, {0x10000000, 4, W, 0})); /* where a board has its UART */
}

/* Attack 7: reset and the order of things. */
TEST(attack_7_late_completion_after_reset)
{
	struct rig r;
	rig_init(&r, 0, 8);
	r.e->hold = true;
	struct vdrv_buf b[] = {{r.out, 16, 0}, {r.in, 16, 1}};
	(void)vdrv_add(&r.d, 0, b, 2);
	vdrv_notify(&r.d, 0);
	struct vreq old = r.e->held;
	vdrv_reset(&r.d);
	virtq_push(&r.e->v.vq[0], &old, 16);
	CHECK(r.d.q[0].used[1] == 0);
	CHECK(vdrv_start(&r.d, &r.e->v, 0, 8));
	virtq_push(&r.e->v.vq[0], &old, 16); /* nor into the queue's next life */
	virtq_kick(&r.e->v.vq[0]);
	CHECK(r.d.q[0].used[1] == 0 && r.d.queue_irqs[0] == 0);
	r.e->hold = false;
	CHECK(rig_echoes(&r));
	vdrv_done(&r.d);
}
TEST(attack_7_late_completion_after_breaking)
{
	struct rig r;
	rig_init(&r, 0, 8);
	r.e->hold = true;
	struct vdrv_buf b[] = {{r.out, 16, 0}, {r.in, 16, 1}};
	(void)vdrv_add(&r.d, 0, b, 2);
	vdrv_notify(&r.d, 0);
	r.d.q[0].avail[1] = 1000;
	vdrv_notify(&r.d, 0);
	CHECK(rig_is_broken(&r));
	echo_release(r.e, 0);
	CHECK(r.d.q[0].used[1] == 0 && r.d.queue_irqs[0] == 0);
	vdrv_done(&r.d);
}
TEST(attack_7_reset_zeroes_indices)
{
	struct rig r;
	rig_init(&r, 0, 8);
	for (int i = 0; i < 5; i++) CHECK(rig_echoes(&r));
	vdrv_reset(&r.d);
	CHECK(r.e->v.status == 0 && !r.e->v.live && r.e->resets == 2);
	CHECK(!r.e->v.vq[0].enabled && r.e->v.vq[0].size == ECHO_SIZE);
	vdrv_notify(&r.d, 0);
	CHECK(vdrv_start(&r.d, &r.e->v, 0, 8) && rig_echoes(&r));
	vdrv_done(&r.d);
}

/* Attack 9: floods, and a driver on another thread that takes part in the suppression dance. */
struct flood {
	struct vdrv *d;
	gpa_t out, in;
	unsigned done, notified;
};
static void *flood_run(void *ctx)
{
	struct flood *f = ctx;
	struct vdrv_queue *q = &f->d->q[0];
	struct vdrv_buf b[] = {{f->out, 8, 0}, {f->in, 8, 1}};
	unsigned out = 0;
	uint16_t head;
	uint32_t len;
	while (f->done < 20000) {
		while (out < 4 && f->done + out < 20000) {
			uint16_t old = q->avail_idx;
			(void)vdrv_add(f->d, 0, b, 2);
			out++;
			uint16_t event = __atomic_load_n(&q->used[2 + 4 * 8], __ATOMIC_SEQ_CST);
			if ((uint16_t)(q->avail_idx - event - 1) >= (uint16_t)(q->avail_idx - old))
				continue;
			f->notified++;
			vdrv_notify(f->d, 0);
		}
		for (; vdrv_used(f->d, 0, &head, &len); out--) f->done++;
	}
	return NULL;
}
TEST(attack_9_no_lost_wakeup_under_flood)
{
	struct rig r;
	pthread_t t;
	rig_init(&r, EVT, 8);
	struct flood f = {.d = &r.d, .out = r.out, .in = r.in};
	CHECK(pthread_create(&t, NULL, flood_run, &f) == 0);
	for (int i = 0; i < 20000; i++) { /* a back end that comes by on its own */
		virtio_lock(&r.e->v);
		if (i % 3 == 0) echo_notify(&r.e->v, 0);
		virtio_unlock(&r.e->v);
	}
	(void)pthread_join(t, NULL);
	CHECK(f.done == 20000 && r.e->n == 20000 && r.e->v.live);
	vdrv_done(&r.d);
}
