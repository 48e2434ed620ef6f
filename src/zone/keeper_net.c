/* A zone's network cards: taps in its network namespace, made and configured by a process of ours
 * that has entered that and nothing else of the zone's. */
#include "base/buf.h"
#include "base/file.h"
#include "base/pass.h"
#include "net/port.h"
#include "net/subnet.h"
#include "zone/keeper.h"
#include "zone/sys.h"
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- inside */
static void address_put(struct sockaddr *to, uint32_t ip)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(ip)};
	memcpy(to, &in, sizeof(in));
}

static int card_up(int s, const char *name, bool up)
{
	struct ifreq q = {0};
	(void)snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", name);
	if (ioctl(s, SIOCGIFFLAGS, &q)) return -1;
	q.ifr_flags = (short)(up ? q.ifr_flags | IFF_UP : q.ifr_flags & ~IFF_UP);
	return ioctl(s, SIOCSIFFLAGS, &q);
}

static int card_set(const char *name, const struct keeper_net *n, struct err *e)
{
	struct ifreq q = {0};
	struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY, .rt_dev = (char *)name};
	auto_fd int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	(void)snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", name);
	q.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(q.ifr_hwaddr.sa_data, n->mac, 6);
	/* While it is down: an address of IPv6 comes from that one when it goes up. */
	if (s < 0 || card_up(s, name, false) || ioctl(s, SIOCSIFHWADDR, &q) ||
	    card_up(s, name, true))
		return fail(e, -errno, "%s: %s", name, strerror(errno));
	address_put(&q.ifr_addr, n->ip);
	if (n->ip && ioctl(s, SIOCSIFADDR, &q))
		return fail(e, -errno, "%s: its address: %s", name, strerror(errno));
	address_put(&q.ifr_netmask, n->mask);
	if (n->ip && ioctl(s, SIOCSIFNETMASK, &q))
		return fail(e, -errno, "%s: its network: %s", name, strerror(errno));
	address_put(&route.rt_gateway, n->gateway);
	address_put(&route.rt_dst, 0);
	address_put(&route.rt_genmask, 0);
	if (n->gateway && ioctl(s, SIOCADDRT, &route) && errno != EEXIST)
		return fail(e, -errno, "%s: its way out: %s", name, strerror(errno));
	return 0;
}

static int card_make(int user, int net, const struct keeper_net *n, int *tap, struct err *e)
{
	char name[16];
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if ((user >= 0 && setns(user, CLONE_NEWUSER)) || setns(net, CLONE_NEWNET))
		return fail(e, -errno, "entering the zone's network: %s", strerror(errno));
	(void)snprintf(name, sizeof(name), "eth%u", n->n % KEEPER_NETS);
	int r = tap_open(tap, name, NULL, e);
	return r ? r : card_set(name, n, e);
}

int keeper_net_make(int user, int net, const struct keeper_net *n, int *tap, struct err *e)
{
	struct err said = {0};
	int ends[2], fd = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return fail(e, -errno, "socketpair: %s", strerror(errno));
	auto_fd int ours = ends[0], theirs = ends[1];
	int pid = sys_clone(0, SIGCHLD, NULL, -1);
	if (!pid) {
		said.code = card_make(user, net, n, &fd, &said);
		_exit(!pass_send(theirs, &said, sizeof(said), fd));
	}
	if (pid < 0) return fail(e, -errno, "fork: %s", strerror(errno));
	(void)close(give_fd(&theirs));
	bool heard = pass_receive(ours, &said, sizeof(said), tap) == sizeof(said);
	(void)waitpid(pid, NULL, 0);
	if (!heard) return fail(e, -EPIPE, "the zone's network could not be made");
	said.msg[sizeof(said.msg) - 1] = 0;
	return said.code ? fail(e, said.code, "%s", said.msg) : 0;
}

/* ---- what it is told of it */
static int file_put(int folder, const char *name, const struct buf *b, struct err *e)
{
	auto_fd int fd =
		openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0 || fchmod(fd, 0644) || (b->len && write(fd, b->at, b->len) != (ssize_t)b->len))
		return fail(e, -errno, "the zone's %s: %s", name, strerror(errno));
	return 0;
}

static void hosts_add(struct buf *b, const char *hostname, const struct keeper_net *n)
{
	char ip[IP4_TEXT];
	ip4_text(ip, n && n->ip ? n->ip : 0x7f000001);
	buf_fmt(b, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n%s\t%s\n", ip,
		hostname);
}

int keeper_files(int folder, const char *hostname, const struct keeper_net *n, bool host,
		 struct err *e)
{
	auto_buf struct buf hosts = {0}, name = {0}, resolv = {0}, resolved = {0}, none = {0};
	char dns[IP4_TEXT];
	if (n && n->n) return 0; /* the first card's are what holds */
	hosts_add(&hosts, hostname, n);
	buf_fmt(&name, "%s\n", hostname);
	if (host || (n && n->ip && !n->dns))
		(void)file_read(&resolv, "/etc/resolv.conf", 1 << 16, NULL);
	if (n && n->dns) {
		ip4_text(dns, n->dns);
		buf_fmt(&resolv, "nameserver %s\n", dns);
		buf_fmt(&resolved, "[Resolve]\nDNS=%s\n", dns);
		if (*n->search) buf_fmt(&resolv, "search %.63s\n", n->search);
		if (*n->search) buf_fmt(&resolved, "Domains=%.63s\n", n->search);
	}
	int r = file_put(folder, "hosts", &hosts, e);
	if (!r) r = file_put(folder, "hostname", &name, e);
	if (!r) r = file_put(folder, "resolved.conf", &resolved, e);
	if (!r) r = file_put(folder, "fstab", &none, e);
	return r ? r : file_put(folder, "resolv.conf", &resolv, e);
}
