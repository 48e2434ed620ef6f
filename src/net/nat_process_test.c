#include "base/usage.h"
#include "net/frames_test.h"
#include "net/nat_impl.h"
#include "net/nic_test.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* nat_test.c has what a NAT does in either shape; here is what only a process has. */
static struct nat_process *process;

static struct port *plug(struct nic *n, const struct nat_forward *f, int keep)
{
	struct port *p = NULL;
	struct err e = {0};
	nic_init(n, 1);
	CHECK(!nat_process_new(&process, f, f != NULL, keep, &e));
	CHECK(!nat_process_plug(&p, process, &e));
	port_wire(&n->port, p);
	return p;
}

static bool ask(struct nic *n)
{
	static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct made f = made_arp(all, n->port.mac, 1, n->port.mac, 0x0a00020f, 0x0a000202);
	return port_send(&n->port, &(struct iovec){f.at, f.len}, 1);
}

static int listener(uint16_t *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!bind(l, (struct sockaddr *)&a, n) && !listen(l, 1));
	CHECK(!getsockname(l, (struct sockaddr *)&a, &n));
	*port = ntohs(a.sin_port);
	return l;
}

static int call(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	a.sin_port = htons(port);
	int c = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!connect(c, (struct sockaddr *)&a, sizeof(a)));
	return c;
}

/* Killed, it is missed: the card has no link, frames are lost, and nobody waits. */
TEST(nat_process_that_dies_takes_the_link_with_it)
{
	static struct nic n;
	struct port *p = plug(&n, NULL, -1);
	CHECK(ask(&n) && nic_wait(&n, &n.n, 1));
	CHECK(!kill(nat_process_pid(process), SIGKILL));
	CHECK(nic_wait(&n, &n.downs, 1));
	for (int i = 0; i < 1000; i++) CHECK(ask(&n));
	CHECK(nic_count(&n, &n.downs) == 1);
	port_free(p);
}

/* A card that is not there yet hears it once it is. */
TEST(nat_process_that_died_early)
{
	static struct nic n;
	struct port *p = plug(&n, NULL, -1);
	CHECK(!kill(nat_process_pid(process), SIGKILL));
	CHECK(!nic_count(&n, &n.downs));
	port_ready(&n.port);
	CHECK(nic_wait(&n, &n.downs, 1));
	port_free(p);
}

/* It goes with its port, before that is freed: its ports may be published again, and what it kept
 * is let go. */
TEST(nat_process_ends_with_its_port)
{
	static struct nic n;
	struct nat_forward f = {.guest_port = 22};
	int ends[2], l = listener(&f.host_port);
	(void)close(l);
	for (int i = 0; i < 3; i++) {
		CHECK(!pipe2(ends, O_CLOEXEC));
		struct port *p = plug(&n, &f, ends[1]);
		int pid = nat_process_pid(process);
		(void)close(ends[1]);
		struct pollfd w = {.fd = ends[0]};
		CHECK(!poll(&w, 1, 0));
		port_free(p);
		CHECK(kill(pid, 0) < 0 && errno == ESRCH);
		CHECK(poll(&w, 1, 0) == 1 && w.revents & POLLHUP);
		(void)close(ends[0]);
	}
}

/* Nobody is let in before the guest is there: connections wait in the host's queue. */
TEST(nat_process_waits_for_the_guest)
{
	static struct nic n;
	struct nat_forward f = {.guest_port = 22};
	int l = listener(&f.host_port);
	(void)close(l);
	struct port *p = plug(&n, &f, -1);
	int c = call(f.host_port);
	struct pollfd w = {.fd = c, .events = POLLIN};
	CHECK(!poll(&w, 1, 100) && !nic_count(&n, &n.n));
	port_ready(&n.port); /* a silent guest, such as one that was restored */
	CHECK(nic_wait(&n, &n.n, 1));
	(void)close(c);
	port_free(p);
}

/* What it works is ours, and stays so when it has gone. */
TEST(nat_process_is_counted)
{
	enum { SOME = 200 };
	static struct nic n;
	struct port *p = plug(&n, NULL, -1);
	for (unsigned i = 1; i <= SOME; i++) CHECK(ask(&n) && nic_wait(&n, &n.n, i));
	struct timespec t;
	clockid_t id;
	CHECK(!clock_getcpuclockid(nat_process_pid(process), &id) && !clock_gettime(id, &t));
	uint64_t its = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec, own = 0;
	CHECK(its > 0 && usage_ns() >= its);
	port_free(p);
	CHECK(!clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t));
	own = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	CHECK(usage_ns() >= own + its);
}
