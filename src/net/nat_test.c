#include "base/test.h"
#include "base/types.h"
#include "net/port.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A network card without a computer: keeps the frames it is given. */
enum { KEEP = 256, FRAME = 2048, PATIENCE_S = 20 };
struct nic {
	struct port port;
	pthread_mutex_t mutex;
	pthread_cond_t came;
	unsigned n;
	bool full; /* refuses everything */
	bool hold; /* keeps whoever delivers waiting */
	unsigned refused, readies;
	struct {
		size_t len;
		uint8_t at[FRAME];
	} got[KEEP];
};

static bool nic_deliver(struct port *p, const struct iovec *iov, int niov)
{
	struct nic *n = (struct nic *)p;
	(void)pthread_mutex_lock(&n->mutex);
	while (n->hold) (void)pthread_cond_wait(&n->came, &n->mutex);
	bool took = !n->full;
	n->refused += n->full;
	if (took && n->n < KEEP) {
		size_t at = 0;
		for (int i = 0; i < niov && at + iov[i].iov_len <= FRAME; at += iov[i++].iov_len)
			memcpy(n->got[n->n].at + at, iov[i].iov_base, iov[i].iov_len);
		n->got[n->n++].len = at;
	}
	(void)pthread_cond_broadcast(&n->came);
	(void)pthread_mutex_unlock(&n->mutex);
	return took;
}

static void nic_ready(struct port *p)
{
	struct nic *n = (struct nic *)p;
	(void)pthread_mutex_lock(&n->mutex);
	n->readies++;
	(void)pthread_cond_broadcast(&n->came);
	(void)pthread_mutex_unlock(&n->mutex);
}

static void nic_free(struct port *p) { (void)p; }
static const struct port_ops nic_ops = {"nic", nic_deliver, nic_ready, nic_free, NULL, NULL};

/* On a thread of ours, or in a process of its own. */
static bool apart;
#define BOTH(name)                                                                                 \
	static void do_##name(void);                                                               \
	TEST(name)                                                                                 \
	{                                                                                          \
		apart = false;                                                                     \
		do_##name();                                                                       \
	}                                                                                          \
	TEST(name##_in_a_process)                                                                  \
	{                                                                                          \
		apart = true;                                                                      \
		do_##name();                                                                       \
	}                                                                                          \
	static void do_##name(void)

static int nat_open(struct port **out, const struct nat_forward *f, unsigned nf, struct err *e)
{
	struct nat_process *p = NULL;
	if (!apart) return nat_new(out, NULL, f, nf, e);
	int r = nat_process_new(&p, f, nf, -1, e);
	if (r == 0) r = nat_process_plug(out, p, e);
	if (r) nat_process_free(p);
	return r;
}

static struct port *plug(struct nic *n, const struct nat_forward *f, unsigned nf)
{
	struct port *nat = NULL;
	memset(n, 0, sizeof(*n));
	n->port.ops = &nic_ops;
	(void)pthread_mutex_init(&n->mutex, NULL);
	(void)pthread_cond_init(&n->came, NULL);
	CHECK(nat_open(&nat, f, nf, NULL) == 0);
	port_wire(&n->port, nat);
	return nat;
}

static bool wait_for(struct nic *n, bool (*want)(struct nic *n))
{
	struct timespec until;
	bool ok;
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	(void)pthread_mutex_lock(&n->mutex);
	while (!(ok = want(n)) && !pthread_cond_timedwait(&n->came, &n->mutex, &until)) continue;
	(void)pthread_mutex_unlock(&n->mutex);
	return ok;
}

static void tell(struct nic *n, const void *frame, size_t len)
{
	struct iovec v[2] = {{(void *)frame, 5}, {(char *)frame + 5, len - 5}};
	bool took = port_send(&n->port, v, 2);
	for (int i = 0; i < 1000 && !took; i++) {
		(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		took = port_send(&n->port, v, 2);
	}
	CHECK(took);
}

static const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56}, gw[4] = {10, 0, 2, 2};
static const uint8_t me[4] = {10, 0, 2, 15};

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}
static unsigned get16(const uint8_t *p) { return (unsigned)(p[0] << 8 | p[1]); }

static uint32_t sum(const uint8_t *p, size_t n, uint32_t s)
{
	for (size_t i = 0; i + 1 < n; i += 2) s += get16(p + i);
	if (n % 2) s += (uint32_t)p[n - 1] << 8;
	return s;
}
static unsigned fold(uint32_t s)
{
	while (s >> 16) s = (s & 0xffff) + (s >> 16);
	return ~s & 0xffff;
}

static size_t ether(uint8_t *f, unsigned type)
{
	memset(f, 0xff, 6);
	memcpy(f + 6, mac, 6);
	put16(f + 12, type);
	return 14;
}

static size_t arp_request(uint8_t *f)
{
	static const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0, 1};
	size_t n = ether(f, 0x0806);
	memcpy(f + n, head, 8);
	memcpy(f + n + 8, mac, 6);
	memcpy(f + n + 14, me, 4);
	memset(f + n + 18, 0, 6);
	memcpy(f + n + 24, gw, 4);
	return n + 28;
}

static size_t ip4(uint8_t *f, unsigned proto, size_t payload, const uint8_t src[4],
		  const uint8_t dst[4])
{
	uint8_t *h = f + ether(f, 0x0800);
	memset(h, 0, 20);
	h[0] = 0x45;
	put16(h + 2, (unsigned)(20 + payload));
	h[8] = 64;
	h[9] = (uint8_t)proto;
	memcpy(h + 12, src, 4);
	memcpy(h + 16, dst, 4);
	put16(h + 10, fold(sum(h, 20, 0)));
	return 34;
}

static size_t dhcp_discover(uint8_t *f)
{
	static const uint8_t none[4], all[4] = {255, 255, 255, 255};
	static const uint8_t options[] = {99, 130, 83, 99, 53, 1, 1, 255};
	uint8_t *u = f + ip4(f, 17, 8 + 300, none, all), *d = u + 8;
	memset(u, 0, 308);
	put16(u, 68);
	put16(u + 2, 67);
	put16(u + 4, 308);
	d[0] = 1;
	d[1] = 1;
	d[2] = 6;
	memcpy(d + 28, mac, 6);
	memcpy(d + 236, options, sizeof(options));
	return 34 + 308;
}

static size_t tcp_to(uint8_t *f, const uint8_t dst[4], uint16_t from, uint16_t to, uint32_t seq,
		     uint32_t ack, uint8_t flags)
{
	uint8_t *t = f + ip4(f, 6, 20, me, dst);
	memset(t, 0, 20);
	put16(t, from);
	put16(t + 2, to);
	put16(t + 4, seq >> 16);
	put16(t + 6, seq & 0xffff);
	put16(t + 8, ack >> 16);
	put16(t + 10, ack & 0xffff);
	t[12] = 0x50;
	t[13] = flags;
	put16(t + 14, 8192);
	put16(t + 16, fold(sum(t, 20, sum(t - 8, 8, 6 + 20))));
	return 54;
}
static size_t tcp_segment(uint8_t *f, uint16_t from, uint16_t to, uint32_t seq, uint32_t ack,
			  uint8_t flags)
{
	return tcp_to(f, gw, from, to, seq, ack, flags);
}

static uint8_t *got_if(struct nic *n, unsigned type, unsigned proto, size_t min)
{
	for (unsigned i = 0; i < n->n; i++) {
		uint8_t *f = n->got[i].at;
		if (n->got[i].len >= min && get16(f + 12) == type && (!proto || f[23] == proto))
			return f;
	}
	return NULL;
}

static bool arp_came(struct nic *n) { return got_if(n, 0x0806, 0, 42); }
static bool offer_came(struct nic *n) { return got_if(n, 0x0800, 17, 34 + 8 + 244); }
static bool tcp_came(struct nic *n) { return got_if(n, 0x0800, 6, 54); }
static bool was_refused(struct nic *n) { return n->refused > 0; }

BOTH(nat_answers_arp_and_dhcp)
{
	static struct nic n;
	struct port *nat = plug(&n, NULL, 0);
	uint8_t f[FRAME], *a;
	tell(&n, f, arp_request(f));
	CHECK(wait_for(&n, arp_came));
	a = got_if(&n, 0x0806, 0, 42);
	CHECK(a && get16(a + 20) == 2 && !memcmp(a + 28, gw, 4) && !memcmp(a, mac, 6));
	tell(&n, f, dhcp_discover(f));
	CHECK(wait_for(&n, offer_came));
	a = got_if(&n, 0x0800, 17, 286);
	CHECK(a && a[34 + 8] == 2 && !memcmp(a + 34 + 8 + 16, me, 4));
	port_free(nat);
}

static int listener(uint16_t *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, len) == 0 && listen(fd, 4) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	*port = ntohs(a.sin_port);
	return fd;
}

BOTH(nat_reaches_a_listener_on_loopback)
{
	static struct nic n;
	uint16_t to;
	int l = listener(&to), c;
	struct port *nat = plug(&n, NULL, 0);
	uint8_t f[FRAME], *a;
	tell(&n, f, arp_request(f));
	tell(&n, f, tcp_segment(f, 40000, to, 1000, 0, 2));
	CHECK(wait_for(&n, tcp_came));
	a = got_if(&n, 0x0800, 6, 54);
	CHECK(a && (a[34 + 13] & 0x12) == 0x12 && get16(a + 34) == to);
	CHECK(a && load_le(a + 34 + 8, 4) == htonl(1001));
	CHECK((c = accept(l, NULL, NULL)) >= 0);
	(void)close(c);
	(void)close(l);
	port_free(nat);
}

/* Neither the host's own addresses nor those of its link: not answered, not even refused. */
BOTH(nat_refuses_addresses_of_the_host_and_its_link)
{
	static const uint8_t local[][4] = {
		{127, 0, 0, 1}, {127, 255, 255, 254}, {0, 0, 0, 0}, {169, 254, 169, 254}};
	static struct nic n;
	uint16_t to;
	int l = listener(&to);
	CHECK(fcntl(l, F_SETFL, O_NONBLOCK) == 0);
	struct port *nat = plug(&n, NULL, 0);
	uint8_t f[FRAME];
	tell(&n, f, arp_request(f));
	CHECK(wait_for(&n, arp_came));
	n.n = 0;
	for (uint16_t i = 0; i < COUNT(local); i++)
		tell(&n, f, tcp_to(f, local[i], 40000 + i, to, 1000, 0, 2));
	tell(&n, f, arp_request(f)); /* answered: all before it was looked at */
	CHECK(wait_for(&n, arp_came));
	CHECK(!tcp_came(&n) && accept(l, NULL, NULL) < 0 && errno == EAGAIN);
	tell(&n, f, tcp_segment(f, 40010, to, 1000, 0, 2)); /* the gateway stands for it */
	CHECK(wait_for(&n, tcp_came));
	(void)close(l);
	port_free(nat);
}

/* A guest that connects and connects gets half of our descriptors and no more. */
BOTH(nat_limits_the_guests_sockets)
{
	static struct nic n;
	struct rlimit old, low;
	uint16_t to;
	int l = listener(&to), c, got = 0;
	CHECK(listen(l, 128) == 0 && fcntl(l, F_SETFL, O_NONBLOCK) == 0);
	CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
	low = old;
	low.rlim_cur = 80;
	CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
	struct port *nat = plug(&n, NULL, 0);
	CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
	uint8_t f[FRAME];
	for (uint16_t i = 0; i < 100; i++) tell(&n, f, tcp_segment(f, 20000 + i, to, 1, 0, 2));
	tell(&n, f, arp_request(f)); /* answered: all before it was looked at */
	CHECK(wait_for(&n, arp_came));
	for (; (c = accept(l, NULL, NULL)) >= 0; got++) (void)close(c);
	CHECK(got > 0 && got <= 40);
	(void)close(l);
	port_free(nat);
}

BOTH(nat_keeps_frames_for_a_guest_without_room)
{
	static struct nic n;
	struct port *nat = plug(&n, NULL, 0);
	uint8_t f[FRAME];
	n.full = true;
	tell(&n, f, arp_request(f));
	CHECK(wait_for(&n, was_refused));
	(void)pthread_mutex_lock(&n.mutex);
	n.full = false;
	(void)pthread_mutex_unlock(&n.mutex);
	port_ready(&n.port);
	CHECK(wait_for(&n, arp_came));
	port_free(nat);
}

static bool is_ready_again(struct nic *n) { return n->readies > 0; }

TEST(nat_says_when_it_has_room_again)
{
	static struct nic n;
	struct port *nat = plug(&n, NULL, 0);
	uint8_t f[FRAME];
	struct iovec v = {f, arp_request(f)};
	int refused = 0;
	n.hold = true;
	for (int i = 0; i < 1000 && !refused; i++) refused = !port_send(&n.port, &v, 1);
	CHECK(refused && n.readies == 0);
	(void)pthread_mutex_lock(&n.mutex);
	n.hold = false;
	(void)pthread_cond_broadcast(&n.came);
	(void)pthread_mutex_unlock(&n.mutex);
	CHECK(wait_for(&n, is_ready_again));
	port_free(nat);
}

BOTH(nat_survives_nonsense)
{
	static struct nic n;
	struct port *nat = plug(&n, NULL, 0);
	static uint8_t f[65536];
	uint32_t dice = 1;
	for (int i = 0; i < 2000; i++) {
		size_t len = i % 7 ? (size_t)(dice >> 8) % 1600 + 6 : sizeof(f);
		for (size_t k = 14; k < len && k < 80; k++)
			f[k] = (uint8_t)((dice = dice * 1664525 + 1013904223) >> 24);
		(void)ether(f, i % 2 ? 0x0800 : dice >> 16);
		(void)port_send(&n.port, &(struct iovec){f, len}, 1);
	}
	tell(&n, f, arp_request(f));
	CHECK(wait_for(&n, arp_came));
	port_free(nat);
}

BOTH(nat_forward_reaches_the_guest)
{
	static struct nic n;
	uint16_t at;
	(void)close(listener(&at));
	struct nat_forward fwd = {.host_port = at, .guest_port = 22};
	struct port *nat = plug(&n, &fwd, 1);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(at)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	uint8_t f[FRAME];
	tell(&n, f, arp_request(f)); /* libslirp learns where the guest is */
	int c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(connect(c, (struct sockaddr *)&a, sizeof(a)) == 0);
	CHECK(wait_for(&n, tcp_came));
	uint8_t *t = got_if(&n, 0x0800, 6, 54);
	CHECK(t && t[34 + 13] == 2 && get16(t + 36) == 22 && !memcmp(t + 30, me, 4));
	(void)close(c);
	port_free(nat);
}

BOTH(nat_says_what_is_wrong_with_a_port)
{
	struct err e = {0};
	struct port *nat = NULL;
	struct nat_forward f = {.guest_port = 22};
	int l = listener(&f.host_port);
	char words[64];
	(void)snprintf(words, sizeof(words), "port %u is taken on 127.0.0.1", f.host_port);
	CHECK(nat_open(&nat, &f, 1, &e) == -EADDRINUSE && !strcmp(e.msg, words));
	(void)close(l);
	(void)strcpy(f.host, "192.0.2.77");
	CHECK(nat_open(&nat, &f, 1, &e) == -EADDRNOTAVAIL && strstr(e.msg, "192.0.2.77 is not"));
	(void)strcpy(f.host, "somewhere");
	CHECK(nat_open(&nat, &f, 1, &e) == -EINVAL && strstr(e.msg, "somewhere"));
}

static bool parses(const char *text, bool udp, const char *host, unsigned from, unsigned to)
{
	struct nat_forward f;
	return nat_forward_parse(&f, text, NULL) == 0 && f.udp == udp && !strcmp(f.host, host) &&
	       f.host_port == from && f.guest_port == to;
}

TEST(forward_parses_what_people_write)
{
	CHECK(parses("8080:80", false, "", 8080, 80));
	CHECK(parses("127.0.0.1:8080:80", false, "127.0.0.1", 8080, 80));
	CHECK(parses("255.255.255.255:1:65535/tcp", false, "255.255.255.255", 1, 65535));
	CHECK(parses("53:53/udp", true, "", 53, 53));
	CHECK(parses("udp:53:53", true, "", 53, 53));
	CHECK(parses("tcp:0.0.0.0:2222:22/tcp", false, "0.0.0.0", 2222, 22));
}

static bool refuses(const char *text, const char *why)
{
	struct nat_forward f = {.host_port = 7};
	struct err e = {0};
	return nat_forward_parse(&f, text, &e) == -EINVAL && strstr(e.msg, why) && f.host_port == 7;
}

TEST(forward_refuses_the_rest)
{
	CHECK(refuses("", "needs two ports") && refuses("80", "needs two ports"));
	CHECK(refuses(":", "a port is") && refuses("8080:", "a port is"));
	CHECK(refuses("0:80", "a port is") && refuses("80:65536", "a port is"));
	CHECK(refuses("99999999999999999999:80", "a port is"));
	CHECK(refuses("4294967376:80", "a port is") && refuses("000080:80", "a port is"));
	CHECK(refuses("80x:80", "a port is") && refuses("x:80", "a port is"));
	CHECK(refuses("-1:80", "a port is") && refuses(" 80:80", "a port is"));
	CHECK(refuses("8000-8010:80", "a port is") && refuses("+80:80", "a port is"));
	CHECK(refuses("[::1]:8080:80", "IPv6") && refuses("a:b:c:d", "too many colons"));
	CHECK(refuses(":::::::", "too many colons") && refuses("localhost:1:2", "numeric IPv4"));
	CHECK(refuses(":8080:80", "numeric IPv4") && refuses("1.2.3:1:2", "numeric IPv4"));
	CHECK(refuses("8080:80/sctp", "tcp or udp") && refuses("1:2/", "tcp or udp"));
	CHECK(refuses("tcp:1:2/udp", "both") && refuses("udp:1:2/tcp", "both"));
	char big[1000];
	memset(big, '1', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	CHECK(refuses(big, "too long"));
}

static unsigned descriptors(unsigned limit)
{
	unsigned n = 0;
	for (int fd = 0; fd < (int)limit; fd++) n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* One half of a UDP datagram from port `from`, 8 bytes of it. */
static size_t udp_half(uint8_t *f, uint16_t from, bool second)
{
	uint8_t *u = f + ip4(f, 17, 8, me, gw), *h = f + 14;
	memset(u, 0, 8);
	if (!second) {
		put16(u, from);
		put16(u + 2, 9);
		put16(u + 4, 16);
	}
	put16(h + 4, from);
	put16(h + 6, second ? 1 : 0x2000);
	put16(h + 10, 0);
	put16(h + 10, fold(sum(h, 20, 0)));
	return 42;
}

TEST(nat_leaves_descriptors_to_the_rest_of_us)
{
	enum { LIMIT = 64, MANY = 100 };
	static struct nic n;
	struct rlimit before, few;
	CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
	few = before;
	few.rlim_cur = LIMIT;
	CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
	struct port *nat = plug(&n, NULL, 0);
	uint8_t f[FRAME];
	unsigned had = descriptors(LIMIT);
	for (uint16_t i = 0; i < MANY; i++) {
		tell(&n, f, udp_half(f, (uint16_t)(50000 + i), false));
		tell(&n, f, udp_half(f, (uint16_t)(50000 + i), true));
	}
	tell(&n, f, arp_request(f));
	CHECK(wait_for(&n, arp_came));
	CHECK(descriptors(LIMIT) > had && descriptors(LIMIT) <= had + LIMIT / 2);
	port_free(nat);
	CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
}
