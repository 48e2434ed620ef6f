/* What the NAT's process reads from its monitor: packets that are a frame and what is said of it.
 * They go on into libslirp, in a network where there is nothing. Input: packets, each behind its
 * length (2 bytes). */
#include "base/jail.h"
#include "base/types.h"
#include "net/lan_wire.h"
#include "net/nat_impl.h"
#include <sched.h>
#include <stdlib.h>

static bool sink(struct port *p, const struct iovec *iov, int n)
{
	return (void)p, (void)iov, (void)n, true;
}
static bool sink_large(struct port *p, const struct offload *o, const uint8_t *frame, size_t len)
{
	must(offload_check(o, frame, len));
	return (void)p, true;
}
static void none(struct port *p) { (void)p; }

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const struct port_ops ops = {"sink", sink, NULL, none, sink_large, NULL};
	static struct port *nat, card = {.ops = &ops};
	if (!nat) {
		if (jail_unshare(CLONE_NEWNET, 0)) abort();
		must(!nat_make(&nat, NULL, NULL, 0, NULL));
		port_wire(nat, &card);
	}
	while (n > 2) {
		size_t len = (size_t)p[0] | (size_t)p[1] << 8;
		p += 2, n -= 2;
		if (len > n) len = n;
		uint8_t *copy = malloc(len + !len);
		must(copy);
		memcpy(copy, p, len);
		nat_packet((struct nat *)nat, copy, len);
		free(copy);
		p += len, n -= len;
	}
	return 0;
}
