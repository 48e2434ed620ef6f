/* A whole driver over the PCI registers, and then everything it should not do. */
#include "base/test.h"
#include "hw/pci_rig_test.h"
#include "hw/virtio_echo_test.h"

enum {
	REGS = RIG_MEM32, /* the 64-bit BAR 0 goes into the low window here */
	ISR = REGS + 0x1000,
	CONFIG = REGS + 0x2000,
	NOTIFY = REGS + 0x3000,
	TABLE = RIG_MEM32 + 0x10000,
	/* 4.1.4.3 */
	DEV_SEL = 0,
	DEV_FEAT = 4,
	DRV_SEL = 8,
	DRV_FEAT = 12,
	CFG_VEC = 16,
	NQUEUES = 18,
	STATUS = 20,
	GENERATION = 21,
	Q_SEL = 22,
	Q_SIZE = 24,
	Q_VEC = 26,
	Q_ENABLE = 28,
	Q_OFF = 30,
	Q_DESC = 32,
	Q_AVAIL = 40,
	Q_USED = 48,
	ACK = 1,
	DRV = 2,
	LIVE = 4,
	FEAT = 8,
	NEEDS_RESET = 64
};
struct rig {
	struct pci_rig p;
	struct vdrv d; /* for its memory and rings */
	struct echo *e;
	gpa_t out, in;
};

static uint64_t get(struct rig *r, unsigned off, unsigned len)
{
	return bus_read(r->p.bus, REGS + off, len);
}
static void put(struct rig *r, unsigned off, uint64_t val, unsigned len)
{
	bus_write(r->p.bus, REGS + off, val, len);
}
static void rig_init(struct rig *r, bool msi)
{
	pci_rig_init(&r->p, msi);
	vdrv_init(&r->d);
	r->e = echo_new(r->d.mem);
	CHECK(virtio_pci_new(r->p.h, &r->e->v, -1, NULL) == 0);
	pci_set(&r->p, 1, 0x10, REGS, 8);
	pci_set(&r->p, 1, 0x18, TABLE, 4);
	pci_set(&r->p, 1, 4, 6, 2);
	r->out = vdrv_alloc(&r->d, 4096);
	r->in = vdrv_alloc(&r->d, 4096);
	memcpy(vdrv_at(&r->d, r->out, 16), "0123456789abcdef", 16);
}
static void rig_done(struct rig *r)
{
	pci_rig_done(&r->p);
	gmem_free(r->d.mem);
}
static uint64_t negotiate(struct rig *r, uint64_t features)
{
	put(r, STATUS, 0, 1);
	put(r, STATUS, ACK, 1);
	put(r, STATUS, ACK | DRV, 1);
	for (unsigned i = 0; i < 2; i++) {
		put(r, DRV_SEL, i, 4);
		put(r, DRV_FEAT, (uint32_t)(features >> 32 * i), 4);
	}
	put(r, STATUS, ACK | DRV | FEAT, 1);
	return get(r, STATUS, 1);
}
static void queue_up(struct rig *r, unsigned q, uint16_t size)
{
	gpa_t at[3];
	vdrv_rings(&r->d, q, size, at);
	put(r, Q_SEL, q, 2);
	put(r, Q_SIZE, size, 2);
	for (unsigned i = 0; i < 3; i++) {
		put(r, Q_DESC + 8 * i, (uint32_t)at[i], 4);
		put(r, Q_DESC + 8 * i + 4, at[i] >> 32, 4);
	}
	put(r, Q_ENABLE, 1, 2);
}
#define V1 (1ull << VIRTIO_F_VERSION_1)
static void drive(struct rig *r)
{
	CHECK(negotiate(r, V1) == (ACK | DRV | FEAT));
	queue_up(r, 0, 8);
	queue_up(r, 1, 8);
	put(r, STATUS, ACK | DRV | FEAT | LIVE, 1);
	CHECK(r->e->v.live);
}
static bool echoes(struct rig *r, unsigned q)
{
	struct vdrv_buf b[] = {{r->out, 16, false}, {r->in, 16, true}};
	uint16_t head = vdrv_add(&r->d, q, b, 2), got;
	uint32_t len = 0;
	memset(vdrv_at(&r->d, r->in, 16), 0, 16);
	bus_write(r->p.bus, NOTIFY + 4 * q, q, 2);
	return vdrv_used(&r->d, q, &got, &len) && got == head && len == 16 &&
	       !memcmp(vdrv_at(&r->d, r->in, 16), "0123456789abcdef", 16);
}

TEST(virtio_pci_function_is_as_4_1_2_says)
{
	struct rig r;
	rig_init(&r, true);
	CHECK(pci_cfg(&r.p, 1, 0, 4) == ((0x1040 + 42) << 16 | 0x1af4));
	CHECK(pci_cfg(&r.p, 1, 8, 1) >= 1 && pci_cfg(&r.p, 1, 0x2e, 2) >= 0x40);
	unsigned seen = 0, at;
	for (unsigned n = 0; (at = pci_find_cap(&r.p, 1, 9, n)); n++) {
		unsigned type = (unsigned)pci_cfg(&r.p, 1, at + 3, 1);
		CHECK(at % 4 == 0 && pci_cfg(&r.p, 1, at + 4, 1) == 0);
		CHECK(pci_cfg(&r.p, 1, at + 2, 1) == (type == 2 || type == 5 ? 20 : 16));
		seen |= 1u << type;
	}
	CHECK(seen == 0x3e);
	CHECK(pci_find_cap(&r.p, 1, 0x11, 0));
	CHECK(get(&r, NQUEUES, 2) == 2);
	rig_done(&r);
}
TEST(virtio_pci_without_messages_has_no_msix)
{
	struct rig r;
	rig_init(&r, false);
	CHECK(!pci_find_cap(&r.p, 1, 0x11, 0) && pci_find_cap(&r.p, 1, 9, 0));
	drive(&r);
	put(&r, CFG_VEC, 0, 2);
	CHECK(get(&r, CFG_VEC, 2) == 0xffff);
	rig_done(&r);
}
TEST(virtio_pci_echoes_with_intx)
{
	struct rig r;
	rig_init(&r, false);
	drive(&r);
	for (unsigned i = 0; i < 30; i++) {
		CHECK(echoes(&r, i % 2) && r.p.line[1] == 1);
		CHECK(bus_read(r.p.bus, ISR, 1) == 1 && r.p.line[1] == 0);
		CHECK(bus_read(r.p.bus, ISR, 1) == 0);
	}
	rig_done(&r);
}
TEST(virtio_pci_echoes_with_msix)
{
	struct rig r;
	rig_init(&r, true);
	unsigned cap = pci_find_cap(&r.p, 1, 0x11, 0);
	pci_set(&r.p, 1, cap + 2, 0x8000, 2);
	for (uint64_t v = 0; v < 3; v++) {
		bus_write(r.p.bus, TABLE + 16 * v, 0x28000000, 8);
		bus_write(r.p.bus, TABLE + 16 * v + 8, v, 8);
	}
	CHECK(negotiate(&r, V1) & FEAT);
	queue_up(&r, 0, 8);
	put(&r, Q_VEC, 2, 2);
	put(&r, CFG_VEC, 1, 2);
	CHECK(get(&r, Q_VEC, 2) == 2 && get(&r, CFG_VEC, 2) == 1);
	put(&r, STATUS, ACK | DRV | FEAT | LIVE, 1);
	CHECK(echoes(&r, 0) && r.p.sent == 1 && r.p.data == 2);
	CHECK(r.p.line[1] == 0 && bus_read(r.p.bus, ISR, 1) == 0);
	virtio_config_changed(&r.e->v);
	CHECK(r.p.sent == 2 && r.p.data == 1);
	rig_done(&r);
}
TEST(attack_8_msix_vector_out_of_range)
{
	struct rig r;
	rig_init(&r, true);
	drive(&r);
	put(&r, Q_SEL, 0, 2);
	for (uint64_t v = 3; v < 0x10000; v += 97) {
		put(&r, CFG_VEC, v, 2);
		put(&r, Q_VEC, v, 2);
		CHECK(get(&r, CFG_VEC, 2) == 0xffff && get(&r, Q_VEC, 2) == 0xffff);
	}
	put(&r, Q_SEL, 100, 2);
	put(&r, Q_VEC, 0, 2);
	CHECK(get(&r, Q_VEC, 2) == 0xffff);
	rig_done(&r);
}
TEST(virtio_pci_64_bit_fields_by_halves)
{
	struct rig r;
	rig_init(&r, false);
	put(&r, Q_DESC, 0x1122334455667788, 8);
	CHECK(get(&r, Q_DESC, 8) == 0x1122334455667788);
	CHECK(get(&r, Q_DESC, 4) == 0x55667788 && get(&r, Q_DESC + 4, 4) == 0x11223344);
	put(&r, Q_USED + 4, 0xaabbccdd, 4);
	CHECK(get(&r, Q_USED, 8) == 0xaabbccdd00000000);
	put(&r, Q_USED, 1, 4);
	CHECK(get(&r, Q_USED, 8) == 0xaabbccdd00000001);
	rig_done(&r);
}
TEST(attack_8_register_access_of_every_size)
{
	struct rig r;
	rig_init(&r, true);
	for (uint64_t val = 0; val < 3; val++)
		for (unsigned len = 1; len <= 8; len *= 2)
			for (unsigned off = 0; off < 0x4000; off += 1) {
				put(&r, off, val * 0x5555555555555555, len);
				(void)get(&r, off, len);
			}
	put(&r, Q_DESC, 0, 8);
	put(&r, Q_DESC + 2, ~0ull, 4); /* fits no field */
	put(&r, Q_DESC + 1, ~0ull, 1);
	put(&r, Q_DESC + 4, ~0ull, 8);
	put(&r, Q_DESC - 4, ~0ull, 8);
	CHECK(get(&r, Q_DESC, 8) == 0);
	CHECK(get(&r, 60, 8) == 0 && get(&r, 52, 8) == get(&r, 52, 4));
	put(&r, STATUS, 0, 1);
	drive(&r);
	CHECK(echoes(&r, 1));
	rig_done(&r);
}
TEST(attack_8_device_config_past_its_end)
{
	struct rig r;
	rig_init(&r, false);
	memcpy(r.e->cfg, "abcdefghijkl", 12);
	CHECK(bus_read(r.p.bus, CONFIG, 1) == 'a' && bus_read(r.p.bus, CONFIG + 3, 2) == 0x6564);
	CHECK(bus_read(r.p.bus, CONFIG + 8, 8) == 0x6c6b6a69);
	CHECK(bus_read(r.p.bus, CONFIG + 12, 4) == 0 && bus_read(r.p.bus, CONFIG + 4095, 1) == 0);
	bus_write(r.p.bus, CONFIG + 10, 0x4444434241, 8);
	CHECK(!memcmp(r.e->cfg, "abcdefghijAB", 12) && r.e->config_writes == 1);
	bus_write(r.p.bus, CONFIG + 12, 0, 8);
	CHECK(r.e->config_writes == 1);
	rig_done(&r);
}
TEST(virtio_generation_moves_when_config_changed)
{
	struct rig r;
	rig_init(&r, false);
	drive(&r);
	uint64_t a = get(&r, GENERATION, 1);
	CHECK(get(&r, GENERATION, 1) == a);
	for (unsigned i = 0; i < 256; i++) virtio_config_changed(&r.e->v); /* 8 bits wrap */
	CHECK(r.p.line[1] == 1 && bus_read(r.p.bus, ISR, 1) == 2);
	uint64_t b = get(&r, GENERATION, 1);
	CHECK(b != a && get(&r, GENERATION, 1) == b && get(&r, STATUS, 2) >> 8 == b);
	rig_done(&r);
}

TEST(virtio_features_offered_and_accepted)
{
	struct rig r;
	rig_init(&r, false);
	CHECK(get(&r, DEV_FEAT, 4) == (1u << 28 | 1u << 29 | 1u << ECHO_BIT));
	put(&r, DEV_SEL, 1, 4);
	CHECK(get(&r, DEV_FEAT, 4) == 1);
	put(&r, DEV_SEL, 2, 4);
	CHECK(get(&r, DEV_FEAT, 4) == 0);
	put(&r, DEV_SEL, 0xffffffff, 4);
	CHECK(get(&r, DEV_FEAT, 4) == 0);
	CHECK(negotiate(&r, V1 | 1 << ECHO_BIT | 1 << 29) & FEAT);
	CHECK(virtio_has(&r.e->v, ECHO_BIT) && !virtio_has(&r.e->v, 28));
	put(&r, DRV_SEL, 0, 4); /* frozen from here */
	put(&r, DRV_FEAT, 0, 4);
	CHECK(virtio_has(&r.e->v, ECHO_BIT) && get(&r, DRV_FEAT, 4));
	rig_done(&r);
}
TEST(attack_7_features_not_offered)
{
	struct rig r;
	rig_init(&r, false);
	CHECK(negotiate(&r, V1 | 1) == (ACK | DRV));
	CHECK(negotiate(&r, V1 | 1ull << 34) == (ACK | DRV));
	CHECK(negotiate(&r, 1 << ECHO_BIT) == (ACK | DRV)); /* no VERSION_1 */
	CHECK(negotiate(&r, ~0ull) == (ACK | DRV));
	r.e->refuse = true;
	CHECK(negotiate(&r, V1 | 1 << ECHO_BIT) == (ACK | DRV));
	CHECK(negotiate(&r, V1) == (ACK | DRV | FEAT));
	rig_done(&r);
}
TEST(attack_7_driver_ok_without_features_ok)
{
	struct rig r;
	rig_init(&r, false);
	put(&r, STATUS, LIVE, 1);
	CHECK(get(&r, STATUS, 1) == 0 && !r.e->v.live && !r.e->activations);
	put(&r, STATUS, ACK | DRV | LIVE, 1);
	CHECK(get(&r, STATUS, 1) == (ACK | DRV));
	queue_up(&r, 0, 8);
	bus_write(r.p.bus, NOTIFY, 0, 2);
	CHECK(!echoes(&r, 0) && r.e->n == 0);
	rig_done(&r);
}
TEST(attack_7_nothing_before_driver_ok)
{
	struct rig r;
	rig_init(&r, false);
	CHECK(negotiate(&r, V1) & FEAT);
	queue_up(&r, 0, 8);
	CHECK(!echoes(&r, 0) && r.e->n == 0 && r.d.q[0].used[1] == 0);
	virtio_config_changed(&r.e->v);
	CHECK(r.p.edges == 0);
	rig_done(&r);
}
TEST(attack_7_status_bits_cannot_be_taken_back)
{
	struct rig r;
	rig_init(&r, false);
	drive(&r);
	put(&r, STATUS, ACK, 1);
	CHECK(get(&r, STATUS, 1) == (ACK | DRV | FEAT | LIVE) && r.e->v.live);
	put(&r, STATUS, ACK | DRV | FEAT | LIVE, 1);
	CHECK(r.e->activations == 1);
	put(&r, STATUS, 0xff, 1); /* NEEDS_RESET is not the driver's to set */
	CHECK(!(get(&r, STATUS, 1) & NEEDS_RESET) && echoes(&r, 0));
	rig_done(&r);
}
TEST(attack_7_reset_is_power_on)
{
	struct rig r;
	rig_init(&r, false);
	drive(&r);
	CHECK(echoes(&r, 0) && r.p.line[1] == 1);
	put(&r, STATUS, 0, 1);
	CHECK(get(&r, STATUS, 1) == 0 && r.p.line[1] == 0 && bus_read(r.p.bus, ISR, 1) == 0);
	CHECK(get(&r, Q_SEL, 2) == 0 && get(&r, Q_SIZE, 2) == ECHO_SIZE &&
	      get(&r, Q_ENABLE, 2) == 0);
	CHECK(get(&r, Q_DESC, 8) == 0 && get(&r, DRV_FEAT, 4) == 0);
	CHECK(!echoes(&r, 0));
	drive(&r);
	CHECK(echoes(&r, 0) && echoes(&r, 1));
	rig_done(&r);
}

/* A reset that has to wait for i/o in flight. */
struct slow {
	struct virtio_dev v;
	pthread_cond_t idle;
	bool busy, waiting;
	struct vreq q;
};
static void slow_notify(struct virtio_dev *v, unsigned queue)
{
	struct slow *s = (struct slow *)v;
	s->busy = virtq_pop(&v->vq[queue], &s->q) == 1;
}
static void slow_reset(struct virtio_dev *v)
{
	struct slow *s = (struct slow *)v;
	for (s->waiting = true; s->busy;) (void)pthread_cond_wait(&s->idle, &v->mutex);
}
static void slow_free(struct virtio_dev *v)
{
	(void)pthread_cond_destroy(&((struct slow *)v)->idle);
	virtio_done(v);
	free(v);
}
static const struct virtio_ops slow_ops = {.name = "slow",
					   .id = 42,
					   .nqueues = 1,
					   .queue_max = 8,
					   .notify = slow_notify,
					   .reset = slow_reset,
					   .free = slow_free};
struct two_harts {
	struct rig r;
	struct slow *s;
	uint64_t status;
	atomic_bool reading;
};
static void *hart_resets(void *ctx)
{
	struct two_harts *t = ctx;
	put(&t->r, STATUS, 0, 1);
	return NULL;
}
static void *hart_reads(void *ctx)
{
	struct two_harts *t = ctx;
	atomic_store(&t->reading, true);
	t->status = get(&t->r, STATUS, 1);
	CHECK(!t->s->busy); /* 0 is read only after the last i/o */
	return NULL;
}
TEST(attack_7_status_reads_0_only_once_reset_is_complete)
{
	struct two_harts t = {.s = calloc(1, sizeof(struct slow)), .status = 99};
	struct rig *r = &t.r;
	pthread_t a, b;
	must(t.s);
	pci_rig_init(&r->p, false);
	vdrv_init(&r->d);
	virtio_init(&t.s->v, &slow_ops, r->d.mem);
	must(pthread_cond_init(&t.s->idle, NULL) == 0);
	CHECK(virtio_pci_new(r->p.h, &t.s->v, -1, NULL) == 0);
	pci_set(&r->p, 1, 0x10, REGS, 8);
	pci_set(&r->p, 1, 4, 6, 2);
	CHECK(negotiate(r, V1) & FEAT);
	queue_up(r, 0, 8);
	put(r, STATUS, ACK | DRV | FEAT | LIVE, 1);
	gpa_t in = vdrv_alloc(&r->d, 64);
	(void)vdrv_add(&r->d, 0, &(struct vdrv_buf){in, 8, true}, 1);
	t.s->waiting = false;
	bus_write(r->p.bus, NOTIFY, 0, 2);
	CHECK(t.s->busy);
	CHECK(!pthread_create(&a, NULL, hart_resets, &t));
	for (bool waiting = false; !waiting;) {
		virtio_lock(&t.s->v);
		waiting = t.s->waiting;
		virtio_unlock(&t.s->v);
	}
	CHECK(!pthread_create(&b, NULL, hart_reads, &t));
	while (!atomic_load(&t.reading)) (void)0;
	virtio_lock(&t.s->v); /* the i/o ends */
	CHECK(!virtio_live(&t.s->v));
	virtq_push(&t.s->v.vq[0], &t.s->q, 0);
	virtq_kick(&t.s->v.vq[0]);
	t.s->busy = false;
	(void)pthread_cond_broadcast(&t.s->idle);
	virtio_unlock(&t.s->v);
	(void)pthread_join(a, NULL);
	(void)pthread_join(b, NULL);
	CHECK(t.status == 0 && r->d.q[0].used[1] == 0 && r->p.edges == 0);
	pci_rig_done(&r->p);
	gmem_free(r->d.mem);
}

TEST(attack_1_queue_select_beyond)
{
	struct rig r;
	rig_init(&r, false);
	CHECK(negotiate(&r, V1) & FEAT);
	for (uint64_t q = 2; q <= 0xffff; q += 1021) {
		put(&r, Q_SEL, q, 2);
		CHECK(get(&r, Q_SIZE, 2) == 0);
		put(&r, Q_SIZE, 8, 2);
		put(&r, Q_DESC, VDRV_RAM, 8);
		put(&r, Q_ENABLE, 1, 2);
		CHECK(get(&r, Q_ENABLE, 2) == 0 && get(&r, Q_DESC, 8) == 0);
	}
	CHECK(get(&r, STATUS, 1) == (ACK | DRV | FEAT));
	rig_done(&r);
}
TEST(attack_1_queue_changed_after_driver_ok)
{
	struct rig r;
	rig_init(&r, false);
	drive(&r);
	put(&r, Q_SEL, 0, 2);
	uint64_t desc = get(&r, Q_DESC, 8);
	put(&r, Q_SIZE, 32768, 2);
	put(&r, Q_DESC, 0xdeadbeef000, 8);
	put(&r, Q_USED, 1, 4);
	put(&r, Q_ENABLE, 1, 2);
	put(&r, Q_ENABLE, 0, 2);
	CHECK(get(&r, Q_SIZE, 2) == 8 && get(&r, Q_DESC, 8) == desc && get(&r, Q_ENABLE, 2) == 1);
	CHECK(echoes(&r, 0));
	rig_done(&r);
}
TEST(attack_1_queue_changed_while_enabled)
{
	struct rig r;
	rig_init(&r, false);
	CHECK(negotiate(&r, V1) & FEAT);
	queue_up(&r, 0, 8);
	put(&r, Q_SIZE, 4, 2);
	put(&r, Q_AVAIL, VDRV_RAM, 8);
	CHECK(get(&r, Q_SIZE, 2) == 8 && get(&r, Q_AVAIL, 8) != VDRV_RAM);
	rig_done(&r);
}
TEST(attack_1_queue_set_up_after_driver_ok)
{
	struct rig r;
	rig_init(&r, false);
	CHECK(negotiate(&r, V1) & FEAT);
	queue_up(&r, 0, 8);
	put(&r, STATUS, ACK | DRV | FEAT | LIVE, 1);
	queue_up(&r, 1, 8);
	CHECK(get(&r, Q_SIZE, 2) == ECHO_SIZE && get(&r, Q_DESC, 8) == 0);
	CHECK(get(&r, Q_ENABLE, 2) == 0 && !echoes(&r, 1) && echoes(&r, 0));
	rig_done(&r);
}
TEST(attack_1_impossible_queue_over_pci)
{
	struct rig r;
	rig_init(&r, false);
	CHECK(negotiate(&r, V1) & FEAT);
	queue_up(&r, 0, 8);
	put(&r, Q_SEL, 1, 2);
	put(&r, Q_SIZE, 3, 2);
	put(&r, Q_ENABLE, 1, 2);
	CHECK(get(&r, Q_ENABLE, 2) == 0 && get(&r, STATUS, 1) == (ACK | DRV | FEAT | NEEDS_RESET));
	put(&r, STATUS, ACK | DRV | FEAT | LIVE, 1);
	CHECK(!(get(&r, STATUS, 1) & LIVE) && r.p.edges == 0);
	rig_done(&r);
}
TEST(attack_1_notify_of_absent_queue_over_pci)
{
	struct rig r;
	rig_init(&r, false);
	drive(&r);
	for (unsigned off = 8; off < 4096; off += 2) bus_write(r.p.bus, NOTIFY + off, 0xffff, 2);
	CHECK(r.e->n == 0 && echoes(&r, 1));
	rig_done(&r);
}
TEST(virtio_needs_reset_tells_the_driver)
{
	struct rig r;
	rig_init(&r, false);
	drive(&r);
	r.d.q[0].avail[1] = 999;
	bus_write(r.p.bus, NOTIFY, 0, 2);
	CHECK(get(&r, STATUS, 1) == (ACK | DRV | FEAT | LIVE | NEEDS_RESET));
	CHECK(r.p.line[1] == 1 && bus_read(r.p.bus, ISR, 1) == 2);
	CHECK(!echoes(&r, 1) && r.p.edges == 2); /* the other queue has stopped too */
	drive(&r);
	CHECK(echoes(&r, 0));
	rig_done(&r);
}

/* The configuration access window (4.1.4.9). */
static unsigned window_of(struct rig *r)
{
	for (unsigned n = 0, at; (at = pci_find_cap(&r->p, 1, 9, n)); n++)
		if (pci_cfg(&r->p, 1, at + 3, 1) == 5) return at;
	return 0;
}
static void window_aim(struct rig *r, uint64_t bar, uint64_t off, uint64_t len)
{
	unsigned at = window_of(r);
	pci_set(&r->p, 1, at + 4, bar, 1);
	pci_set(&r->p, 1, at + 8, off, 4);
	pci_set(&r->p, 1, at + 12, len, 4);
}
TEST(virtio_pci_window_reaches_the_registers)
{
	struct rig r;
	rig_init(&r, true);
	unsigned at = window_of(&r);
	pci_set(&r.p, 1, 4, 0, 2); /* even with memory disabled */
	window_aim(&r, 0, NQUEUES, 2);
	CHECK(pci_cfg(&r.p, 1, at + 16, 2) == 2);
	window_aim(&r, 0, STATUS, 1);
	pci_set(&r.p, 1, at + 16, 3, 1);
	CHECK(r.e->v.status == 3 && pci_cfg(&r.p, 1, at + 16, 1) == 3);
	window_aim(&r, 0, Q_DESC, 4);
	pci_set(&r.p, 1, at + 16, 0x12345678, 4);
	CHECK(r.e->v.vq[0].desc == 0x12345678);
	window_aim(&r, 2, 12, 4);
	CHECK(pci_cfg(&r.p, 1, at + 16, 4) == 1); /* an MSI-X entry, masked */
	rig_done(&r);
}
TEST(attack_8_window_of_impossible_length_or_bar)
{
	struct rig r;
	rig_init(&r, false);
	unsigned at = window_of(&r);
	uint64_t len[] = {0, 3, 8, 5, 0x80000000, 0xffffffff}, bar[] = {1, 2, 5, 6, 255};
	uint64_t off[] = {0x4000, 0xffffffff, 0xfffffffc, 0x80000000, 0x3ffd};
	uint64_t behind = pci_cfg(&r.p, 1, at + 20, 8);
	put(&r, STATUS, 3, 1);
	memset(r.e->cfg, 0xee, 12);
	window_aim(&r, 0, 0x2000, 8);
	(void)pci_cfg(&r.p, 1, at + 16, 4);
	CHECK(pci_cfg(&r.p, 1, at + 20, 8) == behind);
	for (unsigned i = 0; i < COUNT(len); i++) {
		window_aim(&r, 0, STATUS, len[i]);
		pci_set(&r.p, 1, at + 16, 0, 4);
		(void)pci_cfg(&r.p, 1, at + 16, 4);
	}
	for (unsigned i = 0; i < COUNT(bar); i++) {
		window_aim(&r, bar[i], STATUS, 1);
		pci_set(&r.p, 1, at + 16, 0, 4);
		CHECK(pci_cfg(&r.p, 1, at + 16, 1) == 0xff);
	}
	for (unsigned i = 0; i < COUNT(off); i++) {
		window_aim(&r, 0, off[i], 4);
		pci_set(&r.p, 1, at + 16, 0, 4);
		(void)pci_cfg(&r.p, 1, at + 16, 4);
	}
	CHECK(get(&r, STATUS, 1) == 3);
	window_aim(&r, 0, STATUS, 1);
	pci_set(&r.p, 1, at + 12, 0, 8); /* over the data, length 0 at the same time */
	CHECK(get(&r, STATUS, 1) == 3);
	rig_done(&r);
}
TEST(virtio_pci_slot_taken_frees_the_device)
{
	struct rig r;
	rig_init(&r, false);
	CHECK(virtio_pci_new(r.p.h, &echo_new(r.d.mem)->v, 1, NULL) < 0);
	rig_done(&r);
}
TEST(virtio_pci_survives_host_reset)
{
	struct rig r;
	rig_init(&r, false);
	drive(&r);
	CHECK(echoes(&r, 0) && r.p.line[1] == 1);
	pci_host_reset(r.p.h);
	CHECK(r.p.line[1] == 0 && r.e->v.status == 0 && get(&r, STATUS, 1) == 0xff);
	pci_set(&r.p, 1, 0x10, REGS, 8);
	pci_set(&r.p, 1, 4, 6, 2);
	drive(&r);
	CHECK(echoes(&r, 0));
	rig_done(&r);
}
