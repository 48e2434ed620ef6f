#include "net/frames_test.h"
#include "net/nic_test.h"
#include <errno.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a network namespace of its own, so that nothing of the host's is touched; where none can be
 * had, or no tap, that is said. */
static bool in_namespace(void (*fn)(void))
{
	pid_t pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNET) || access("/dev/net/tun", R_OK | W_OK)) _exit(77);
		fn();
		_exit(1);
	}
	int st = 0;
	(void)waitpid(pid, &st, 0);
	if (WIFEXITED(st) && WEXITSTATUS(st) == 77)
		printf("tap: skipped, no network namespace, no /dev/net/tun or no bridges here\n");
	else
		return WIFEXITED(st) && WEXITSTATUS(st) == 0;
	return true;
}

#define NEED(x) ((x) ? (void)0 : (fprintf(stderr, "line %d: %s\n", __LINE__, #x), _exit(2)))

static int tap_at(struct port **out, const char *tap, const char *bridge, struct err *e)
{
	int fd, r = tap_open(&fd, tap, bridge, e);
	return r ? r : tap_new(out, fd, e);
}

static void frames_both_ways(void)
{
	static struct nic n;
	struct port *p = NULL;
	struct err e = {0};
	static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	nic_init(&n, 1);
	int r = tap_at(&p, "lodgetest", NULL, &e);
	if (r == -EPERM || r == -ENOENT || r == -EACCES) _exit(77);
	NEED(r == 0);
	port_wire(&n.port, p);
	port_ready(&n.port);
	NEED(nic_wait(&n, &n.n, 1)); /* the host's own: it is up, and looks for neighbours */
	struct ifreq q = {.ifr_name = "lodgetest"};
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	struct made f = made_arp(all, n.port.mac, 1, n.port.mac, 0, 1);
	NEED(port_send(&n.port, &(struct iovec){f.at, f.len}, 1));
	NEED(!ioctl(s, SIOCGIFFLAGS, &q) && (q.ifr_flags & IFF_UP));
	unsigned long got = 0;
	FILE *dev = fopen("/proc/net/dev", "r");
	char line[256];
	while (dev && fgets(line, sizeof(line), dev)) (void)sscanf(line, " lodgetest: %lu", &got);
	NEED(got == f.len);
	struct port *again = NULL;
	NEED(tap_at(&again, "lodgetest", NULL, &e) == -EBUSY);
	NEED(tap_at(&again, "a-name-that-is-too-long", NULL, &e) == -EINVAL);
	NEED(tap_at(&again, NULL, "nobridge", &e) < 0 && strstr(e.msg, "nobridge"));
	port_free(p);
	NEED(!if_nametoindex("lodgetest"));
	_exit(0);
}

TEST(tap_carries_frames) { CHECK(in_namespace(frames_both_ways)); }

static void in_a_bridge(void)
{
	struct port *p = NULL;
	struct err e = {0};
	struct ifreq r = {.ifr_name = "br0"};
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	if (ioctl(s, SIOCBRADDBR, "br0")) _exit(77);
	NEED(tap_at(&p, NULL, "br0", &e) == 0);
	r.ifr_ifindex = (int)if_nametoindex("lodge0");
	NEED(r.ifr_ifindex && !ioctl(s, SIOCBRDELIF, &r)); /* it was in there */
	port_free(p);
	_exit(0);
}

TEST(tap_in_a_bridge) { CHECK(in_namespace(in_a_bridge)); }
