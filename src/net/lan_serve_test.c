#include "base/buf.h"
#include "base/file.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/text.h"
#include "net/frames_test.h"
#include "net/lan_serve.h"
#include "net/lan_wire.h"
#include "net/nic_test.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

/* A switch on a thread of its own, with guests' ends plugged into it. */
static struct host {
	char dir[64];
	struct lan_conf conf;
	struct loop *loop;
	struct lan_serve *serve;
	pthread_t thread;
	bool ended;
} h;
static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static void *run(void *ctx) { return (void)ctx, (void)loop_run(h.loop), NULL; }

static void on_end(void *ctx)
{
	__atomic_store_n((bool *)ctx, true, __ATOMIC_RELEASE);
	loop_stop(h.loop, 0);
}

static void serve(void)
{
	struct err e = {0};
	CHECK(!loop_new(&h.loop, &e));
	CHECK(!lan_serve_open(&h.serve, h.dir, &h.conf, h.loop, on_end, &h.ended, &e));
	CHECK(!pthread_create(&h.thread, NULL, run, NULL));
}

static void serve_end(void)
{
	loop_stop(h.loop, 0);
	(void)pthread_join(h.thread, NULL);
	lan_serve_close(h.serve);
	loop_free(h.loop);
}

static void begin(bool nat)
{
	h = (struct host){.dir = "/tmp/lodge-lan.XXXXXX"};
	h.conf = (struct lan_conf){.name = "lan", .nat = nat, .guard = true};
	CHECK(mkdtemp(h.dir) && !subnet_parse(&h.conf.subnet, "10.89.0.0/24", NULL));
	serve();
}

static void end(void)
{
	serve_end();
	(void)dir_remove(h.dir, NULL);
}

static int plug_with(struct port **out, struct nic *n, const char *name,
		     const struct nat_forward *f, struct err *e)
{
	struct lan_how how = {
		.dir = h.dir, .network = "lan", .guest = name, .forward = f, .nforward = f != NULL};
	memcpy(how.mac, n->port.mac, 6);
	int r = lan_port_new(out, &how, e);
	if (!r) port_wire(&n->port, *out);
	if (!r) port_ready(&n->port);
	return r;
}

static struct port *plug(struct nic *n, uint8_t mac, const char *name)
{
	struct port *p = NULL;
	struct err e = {0};
	nic_init(n, mac);
	CHECK(!plug_with(&p, n, name, NULL, &e));
	return p;
}

static uint32_t ip_of(const char *name)
{
	auto_buf struct buf b = {0};
	char want[80];
	struct in_addr a = {0};
	CHECK(!lan_ask(h.dir, &b, NULL));
	(void)snprintf(want, sizeof(want), "\"name\": \"%s\"", name);
	const char *at = b.at ? strstr(b.at, want) : NULL;
	at = at ? strstr(at, "\"ip\": \"") : NULL;
	char text[IP4_TEXT] = "";
	if (at) (void)sscanf(at + 7, "%15[0-9.]", text);
	CHECK(inet_pton(AF_INET, text, &a) == 1);
	return ntohl(a.s_addr);
}

static bool send_to(struct nic *from, const struct nic *to, uint32_t src)
{
	struct made f = made_udp4(to->port.mac, from->port.mac, src, 1, 5, 6, "hello", 5);
	struct iovec v[2] = {{f.at, 20}, {f.at + 20, f.len - 20}};
	return port_send(&from->port, v, 2);
}

/* The other card takes none such: it gets three of it. */
static void send_large(struct nic *from, const struct nic *to, uint32_t src)
{
	static uint8_t f[54 + 3600];
	const struct offload o = {OFFLOAD_TCP4, 34, 1460};
	struct made m = made_ip4(to->port.mac, from->port.mac, src, 1, 6, "", 0);
	memcpy(f, m.at, m.len);
	be16_put(f + 16, sizeof(f) - 14);
	f[46] = 0x50;
	CHECK(offload_check(&o, f, sizeof(f)) && port_send_large(&from->port, &o, f, sizeof(f)));
}

TEST(lan_serve_carries_frames)
{
	static struct nic a, b;
	begin(false);
	struct port *pa = plug(&a, 1, "a"), *pb = plug(&b, 2, "b");
	uint32_t ip = ip_of("a");
	CHECK(send_to(&a, &b, ip) && nic_wait(&b, &b.n, 1) && b.len == 47);
	CHECK(send_to(&a, &b, ip + 1) && send_to(&a, &b, ip) && nic_wait(&b, &b.n, 2));
	CHECK(!nic_count(&a, &a.n) && nic_count(&b, &b.n) == 2);
	send_large(&a, &b, ip);
	CHECK(nic_wait(&b, &b.n, 5) && b.len == 54 + 3600 - 2 * 1460);
	port_free(pa);
	port_free(pb);
	auto_buf struct buf asked = {0};
	for (unsigned i = 0; i < 2000 && !__atomic_load_n(&h.ended, __ATOMIC_ACQUIRE); i++) {
		(void)lan_ask(h.dir, &asked, NULL); /* does not keep it */
		(void)usleep(10000);
	}
	CHECK(h.ended);
	end();
}

/* Its card takes nothing: that is its own loss, and once it does again it gets what comes. */
TEST(lan_serve_slow_guest_stalls_nobody)
{
	static struct nic a, b, slow;
	begin(false);
	struct port *pa = plug(&a, 1, "a"), *pb = plug(&b, 2, "b"), *ps = plug(&slow, 3, "slow");
	uint32_t ip = ip_of("a");
	slow.full = true;
	for (unsigned i = 0; i < 5000; i++)
		while (!send_to(&a, &slow, ip)) (void)usleep(100);
	CHECK(send_to(&a, &b, ip) && nic_wait(&b, &b.n, 1));
	(void)pthread_mutex_lock(&slow.mutex);
	slow.full = false;
	(void)pthread_mutex_unlock(&slow.mutex);
	port_ready(&slow.port);
	CHECK(nic_wait(&slow, &slow.n, 10) && nic_count(&slow, &slow.n) < 5000);
	port_free(pa);
	port_free(pb);
	port_free(ps);
	end();
}

static void stand_still(void *gate)
{
	(void)pthread_mutex_lock(gate);
	(void)pthread_mutex_unlock(gate);
}

/* A switch that does not read: the card is refused, and told when there is room. */
TEST(lan_serve_card_waits_for_room)
{
	static struct nic a, b;
	static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	begin(false);
	struct port *pa = plug(&a, 1, "a"), *pb = plug(&b, 2, "b");
	uint32_t ip = ip_of("a");
	unsigned sent = 0;
	(void)pthread_mutex_lock(&gate);
	loop_post(h.loop, stand_still, &gate);
	while (sent < 100000 && send_to(&a, &b, ip)) sent++;
	CHECK(sent > 10 && sent < 100000 && !nic_count(&a, &a.readies));
	(void)pthread_mutex_unlock(&gate);
	CHECK(nic_wait(&a, &a.readies, 1) && send_to(&a, &b, ip));
	port_free(pa);
	port_free(pb);
	end();
}

TEST(lan_serve_heals_and_keeps_addresses)
{
	static struct nic a, b;
	begin(false);
	struct port *pa = plug(&a, 1, "a"), *pb = plug(&b, 2, "");
	uint32_t ip = ip_of("a"), ip_b = ip_of("");
	serve_end();
	serve();
	for (unsigned i = 0; i < 100 && !nic_count(&b, &b.n); i++) {
		(void)send_to(&a, &b, ip);
		(void)usleep(100000);
	}
	CHECK(nic_count(&b, &b.n) && ip_of("a") == ip && ip_of("") == ip_b);
	port_free(pa);
	port_free(pb);
	end();
}

TEST(lan_serve_one_at_most)
{
	struct lan_serve *s = NULL;
	struct loop *l;
	struct err e = {0};
	begin(false);
	CHECK(!loop_new(&l, NULL));
	CHECK(lan_serve_open(&s, h.dir, &h.conf, l, NULL, NULL, &e) == -EBUSY);
	CHECK(strstr(e.msg, "runs already"));
	loop_free(l);
	end();
}

/* Who waits for the lock does not wait for the end of one who serves by then. */
TEST(lan_serve_two_start_at_once)
{
	struct lan_serve *s = NULL;
	struct sockaddr_un at;
	struct loop *l;
	struct err e = {0};
	char dir[] = "/tmp/lodge-lan.XXXXXX";
	CHECK(mkdtemp(dir) && !loop_new(&l, NULL));
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int lock = openat(dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	lan_address(&at, dirfd);
	CHECK(!flock(lock, LOCK_EX) && !bind(fd, (struct sockaddr *)&at, sizeof(at)) &&
	      !listen(fd, 1));
	CHECK(lan_serve_open(&s, dir, &h.conf, l, NULL, NULL, &e) == -EBUSY);
	int came = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	CHECK(came >= 0 && faccessat(dirfd, LAN_SOCKET, F_OK, 0) == 0);
	(void)close(came);
	(void)close(fd);
	(void)close(lock);
	(void)close(dirfd);
	loop_free(l);
	(void)dir_remove(dir, NULL);
}

static void *remove_later(void *ctx)
{
	(void)usleep(50000);
	(void)dir_remove(h.dir, NULL);
	return (void)close(*(int *)ctx), NULL;
}

TEST(lan_serve_of_a_removed_network)
{
	struct lan_serve *s = NULL;
	pthread_t thread;
	struct loop *l;
	struct err e = {0};
	begin(false);
	serve_end();
	auto_mem char *path = text_format("%s/lock", h.dir);
	int lock = open(path, O_RDWR | O_CLOEXEC);
	CHECK(!flock(lock, LOCK_EX) && !loop_new(&l, NULL));
	CHECK(!pthread_create(&thread, NULL, remove_later, &lock));
	CHECK(lan_serve_open(&s, h.dir, &h.conf, l, NULL, NULL, &e) == -ENOENT);
	CHECK(!strstr(e.msg, "socket"));
	(void)pthread_join(thread, NULL);
	loop_free(l);
}

TEST(lan_serve_refuses_cards)
{
	static struct nic a, b;
	struct port *p = NULL;
	struct err e = {0};
	struct nat_forward f = {.host_port = 1, .guest_port = 2};
	begin(false);
	struct port *pa = plug(&a, 1, "a");
	nic_init(&b, 1);
	CHECK(plug_with(&p, &b, "b", NULL, &e) == -EBUSY && strstr(e.msg, "taken"));
	nic_init(&b, 2);
	CHECK(plug_with(&p, &b, "b", &f, &e) == -EINVAL && strstr(e.msg, "isolated"));
	port_free(pa);
	end();
	CHECK(plug_with(&p, &b, "b", NULL, &e) == -ENOENT);
}

static int free_tcp_port(uint16_t *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&at, n) &&
	      !getsockname(fd, (struct sockaddr *)&at, &n));
	*port = ntohs(at.sin_port);
	return fd;
}

/* A connection to a published port asks for the guest by ARP, and comes as a SYN. */
TEST(lan_serve_publishes)
{
	static struct nic a, b;
	struct port *pa = NULL, *pb = NULL;
	struct err e = {0};
	struct nat_forward f = {.guest_port = 80};
	int fd = free_tcp_port(&f.host_port);
	begin(true);
	nic_init(&a, 1);
	nic_init(&b, 2);
	CHECK(!listen(fd, 1) && plug_with(&pa, &a, "a", &f, &e) == -EADDRINUSE);
	(void)close(fd);
	CHECK(!plug_with(&pa, &a, "a", &f, &e));
	CHECK(plug_with(&pb, &b, "b", &f, &e) == -EADDRINUSE && strstr(e.msg, "is taken"));
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(f.host_port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	(void)connect(fd, (struct sockaddr *)&to, sizeof(to));
	CHECK(nic_wait(&a, &a.n, 1) && be16_at(a.last + 12) == 0x0806 &&
	      be32_at(a.last + 38) == ip_of("a"));
	(void)close(fd);
	port_free(pa);
	for (unsigned i = 0; i < 100 && plug_with(&pb, &b, "b", &f, &e); i++) (void)usleep(20000);
	CHECK(pb); /* its port is free again */
	port_free(pb);
	end();
}

TEST(lan_serve_gateway_answers)
{
	static struct nic a;
	begin(true);
	struct port *p = plug(&a, 1, "a");
	uint32_t ip = ip_of("a"), gate = h.conf.subnet.net + 1;
	struct made f = made_arp(all, a.port.mac, 1, a.port.mac, ip, gate);
	CHECK(port_send(&a.port, &(struct iovec){f.at, f.len}, 1) && nic_wait(&a, &a.n, 1));
	CHECK(be16_at(a.last + 12) == 0x0806 && be32_at(a.last + 28) == gate);
	port_free(p);
	end();
}

static int raw_socket(void)
{
	struct sockaddr_un at;
	int dirfd = open(h.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	lan_address(&at, dirfd);
	CHECK(!connect(fd, (struct sockaddr *)&at, sizeof(at)));
	(void)close(dirfd);
	return fd;
}

TEST(lan_serve_hostile_hellos)
{
	struct lan_hello x;
	struct lan_welcome w;
	char junk[8192] = "lodgelam";
	begin(false);
	for (size_t n = 0; n < sizeof(junk); n = n * 2 + 1) {
		int fd = raw_socket();
		(void)send(fd, junk, n, MSG_NOSIGNAL);
		CHECK(recv(fd, junk + 100, 1, 0) <= 0);
		(void)close(fd);
	}
	lan_hello_make(&x, LAN_JOIN);
	CHECK(lan_hello_read(&x, &x, sizeof(x)));
	memset(x.name, 'a', sizeof(x.name));
	CHECK(!lan_hello_read(&x, &x, sizeof(x)));
	x.name[5] = 0;
	CHECK(lan_hello_read(&x, &x, sizeof(x)));
	x.name[4] = '"';
	CHECK(!lan_hello_read(&x, &x, sizeof(x)));
	x.name[4] = 0;
	x.nforward = 1;
	CHECK(!lan_hello_read(&x, &x, sizeof(x)));
	lan_hello_make(&x, LAN_JOIN);
	x.version = le32_of(LAN_VERSION + 1);
	int fd = raw_socket();
	CHECK(send(fd, &x, sizeof(x), 0) == sizeof(x) && recv(fd, &w, sizeof(w), 0) == sizeof(w));
	CHECK(le32_get(w.code) == EPROTO && strstr(w.words, "another version"));
	(void)close(fd);
	int idle[20];
	for (unsigned i = 0; i < 20; i++) idle[i] = raw_socket(); /* say nothing */
	auto_buf struct buf b = {0};
	CHECK(!lan_ask(h.dir, &b, NULL) && b.len);
	for (unsigned i = 0; i < 20; i++) (void)close(idle[i]);
	end();
}

TEST(lan_serve_survives_frames_of_any_size)
{
	struct lan_hello x;
	struct lan_welcome w;
	static char big[70000];
	begin(false);
	lan_hello_make(&x, LAN_JOIN);
	x.mac[0] = 2;
	int fd = raw_socket();
	CHECK(send(fd, &x, sizeof(x), 0) == sizeof(x) && recv(fd, &w, sizeof(w), 0) == sizeof(w));
	CHECK(!w.code.raw && w.ip.raw);
	for (size_t n = 1; n <= sizeof(big); n = n * 3 + 1)
		CHECK(send(fd, big, n, 0) == (ssize_t)n);
	auto_buf struct buf b = {0};
	CHECK(!lan_ask(h.dir, &b, NULL) && strstr(b.at, "\"guests\": [{"));
	(void)close(fd);
	end();
}
