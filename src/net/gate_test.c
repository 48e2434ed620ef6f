#include "net/nic_test.h"

struct told {
	unsigned n, taken, came;
	size_t len;
};
static void tell(void *ctx, const void *frame, size_t n, bool taken)
{
	struct told *t = ctx;
	t->len = n;
	t->n++;
	t->taken += taken;
	CHECK(*(const uint8_t *)frame == 0xab);
}
static void come(void *ctx) { ((struct told *)ctx)->came++; }

static const uint8_t frame[1500] = {0xab, 1, 2};
static bool send_from(struct nic *n, size_t len)
{
	const struct iovec iov[] = {{(void *)(uintptr_t)frame, 10},
				    {(void *)(uintptr_t)(frame + 10), len - 10}};
	return port_send(&n->port, iov, 2);
}

struct cable {
	struct nic near, far;
	struct told told;
	struct gate *gate;
};
static void cable_make(struct cable *c)
{
	*c = (struct cable){0};
	nic_init(&c->near, 1);
	nic_init(&c->far, 2);
	CHECK(!gate_new(&c->gate, &c->near.port, come, &c->told, NULL));
	port_wire(gate_far(c->gate), &c->far.port);
}

TEST(gate_holds_frames_until_it_is_their_turn)
{
	struct cable c;
	cable_make(&c);
	CHECK(send_from(&c.far, 60) && send_from(&c.far, 1500));
	CHECK(!c.near.n && c.told.came == 1);
	gate_pass(c.gate, tell, &c.told);
	CHECK(c.near.n == 2 && c.near.len == 1500 && c.told.n == 2 && c.told.taken == 2);
	CHECK(send_from(&c.near, 70) && c.far.n == 1 && c.far.len == 70);
	gate_free(c.gate);
}

/* What is refused is told of once, and offered again when there is room, not before. */
TEST(gate_waits_for_a_card_that_has_no_room)
{
	struct cable c;
	cable_make(&c);
	c.near.full = true;
	CHECK(send_from(&c.far, 60));
	for (unsigned i = 0; i < 3; i++) gate_pass(c.gate, tell, &c.told);
	CHECK(c.near.refused == 1 && c.told.n == 1 && c.told.taken == 0);
	c.near.full = false;
	gate_pass(c.gate, tell, &c.told);
	CHECK(c.told.n == 1);
	port_ready(&c.near.port);
	gate_pass(c.gate, tell, &c.told);
	CHECK(c.near.n == 1 && c.told.n == 2 && c.told.taken == 1);
	gate_free(c.gate);
}

TEST(gate_never_tells_a_card_that_there_was_no_room)
{
	struct cable c;
	cable_make(&c);
	c.far.full = true;
	CHECK(send_from(&c.near, 60) && c.far.refused >= 1 && !c.far.n);
	gate_free(c.gate);
}

TEST(gate_is_bounded_and_says_when_there_is_room)
{
	struct cable c;
	unsigned n = 0;
	cable_make(&c);
	while (n < 100000 && send_from(&c.far, 60)) n++;
	CHECK(n > 100 && n < 10000 && !c.far.readies);
	gate_pass(c.gate, tell, &c.told);
	CHECK(c.near.n == n && c.far.readies == 1);
	gate_free(c.gate);
}

TEST(gate_takes_frames_from_a_recording)
{
	struct told t = {0};
	struct nic near;
	struct gate *g;
	nic_init(&near, 1);
	CHECK(!gate_new(&g, &near.port, come, &t, NULL));
	CHECK(gate_put(g, frame, 100) && near.n == 1 && near.len == 100);
	near.full = true;
	CHECK(!gate_put(g, frame, 100));
	const struct iovec iov = {(void *)(uintptr_t)frame, 60};
	CHECK(port_send(&near.port, &iov, 1)); /* to nobody */
	gate_free(g);
}
