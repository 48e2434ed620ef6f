#include "base/loop.h"
#include "base/types.h"
#include "net/nic_test.h"

enum { FRAME = 1000 };
static struct nic a, b;
static const uint8_t frame[FRAME];

static bool tell(struct nic *n)
{
	return port_send(&n->port, &(struct iovec){(void *)frame, FRAME}, 1);
}

static void *run(void *l) { return (void)loop_run(l), NULL; }

/* What is refused is told so, and told again; and in a known time no more than the rate and one
 * burst went through. */
TEST(rate_holds_back_and_calls)
{
	struct loop *l;
	struct rate *r;
	pthread_t t;
	nic_init(&a, 1);
	nic_init(&b, 2);
	CHECK(!loop_new(&l, NULL) && !rate_new(&r, l, 8000000, &a.port, &b.port, NULL));
	CHECK(!pthread_create(&t, NULL, run, l));
	uint64_t began = now_ns();
	unsigned sent = 0, readies = 0;
	while (sent < 100) {
		if (tell(&a)) {
			sent++;
			continue;
		}
		CHECK(nic_wait(&a, &a.readies, ++readies));
		readies = nic_count(&a, &a.readies);
	}
	uint64_t most = (now_ns() - began) / 1000 + 33 * 1024; /* 1 MB/s is a byte a microsecond */
	CHECK(b.n == 100 && a.readies > 0 && 100 * FRAME <= most);
	sent = 0;
	while (sent < 100 && tell(&b)) sent++;
	CHECK(sent > 10 && sent < 100 && a.n == sent);
	uint64_t out, in;
	port_moved(&b.port, &out, &in);
	CHECK(out == sent * FRAME && in == 100 * FRAME); /* what was refused is not in it */
	loop_stop(l, 0);
	(void)pthread_join(t, NULL);
	rate_free(r);
	loop_free(l);
}

/* The far side has no room: that is its word, not the bucket's. */
TEST(rate_passes_refusals_on)
{
	struct loop *l;
	struct rate *r;
	nic_init(&a, 1);
	nic_init(&b, 2);
	CHECK(!loop_new(&l, NULL) && !rate_new(&r, l, 8000000, &a.port, &b.port, NULL));
	b.full = true;
	for (unsigned i = 0; i < 1000; i++) CHECK(!tell(&a));
	CHECK(b.refused == 1000);
	b.full = false;
	port_ready(&b.port);
	CHECK(a.readies == 1 && tell(&a) && b.n == 1);
	port_down(&b.port);
	CHECK(a.downs == 1 && !b.downs);
	rate_free(r);
	loop_free(l);
}
