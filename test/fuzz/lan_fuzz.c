/* Guests of one network that send whatever they like: a run of frames, each by one of three ports
 * or the uplink. What comes out of a guest's port is the guest's own, or nothing; the network's own
 * answers go to who asked. The first byte says whether there is a guard, a NAT, and how sources and
 * lengths are made good, so that more than the first check is reached; and whether something is
 * said of each frame: what is unfinished must become frames like others. A frame's first byte also
 * has its guest leave and come again, and makes it a long TCP segment that is to be cut. */
#include "base/buf.h"
#include "net/frame.h"
#include "net/lan.h"
#include <stdlib.h>

static struct lan lan;
static int port[4]; /* the last is the uplink */
static unsigned from;
static size_t max_len;

static struct offload said;

/* What is unfinished can be finished, and is then frames like others; cut, its pieces are no more
 * than it was. */
static void finish(const uint8_t *frame, size_t len)
{
	uint8_t piece[ETH_MAX];
	size_t all = 0, head = said.kind > OFFLOAD_VALID ? offload_headers(&said, frame) : 0;
	unsigned n = offload_frames(&said, frame, len);
	must(len <= OFFLOAD_FRAME && n > 0);
	for (unsigned i = 0; i < n; i++) {
		size_t k = offload_frame(&said, frame, len, i, piece);
		must(k <= ETH_MAX && k >= head);
		all += k - head;
	}
	must(all == len - head);
}

static void on_forward(void *ctx, unsigned to, const uint8_t *frame, size_t len)
{
	(void)ctx;
	must(to < lan.nports && lan.port[to].used && to != from);
	finish(frame, len);
	const struct guard *g = &lan.port[from].id;
	if (!lan.conf.guard || lan.port[from].trusted) return;
	must(mac_same(frame + 6, g->mac));
	unsigned type = be16_at(frame + 12);
	must(type == ETH_ARP || type == ETH_IP4 || type == ETH_IP6);
	if (type == ETH_ARP) must(mac_same(frame + 22, g->mac));
	if (type == ETH_IP4) must(be32_at(frame + 26) == g->ip);
	if (type == ETH_IP6 && frame[20] == PROTO_ICMP6) must(frame[54] != 134 && frame[54] != 137);
}

static void on_answer(void *ctx, unsigned to, const uint8_t *frame, size_t len)
{
	(void)ctx;
	must(to == from && len >= ETH_HEAD && len <= ETH_MAX);
	for (size_t i = 0; i < len; i++) max_len += frame[i];
}

static const struct lan_ops ops = {on_forward, on_answer};

static void plug(unsigned i)
{
	static const char *const name[3] = {"a", "web", ""};
	uint8_t mac[6] = {0x52, 0x54, 0, 0, 0, (uint8_t)i};
	port[i] = lan_plug(&lan, mac, name[i], lan.conf.subnet.net + 10 + i, NULL);
	must(port[i] >= 0);
}

static void begin(uint8_t how)
{
	struct lan_conf c = {.name = "lan", .nat = how & 1, .guard = !(how & 2)};
	must(!subnet_parse(&c.subnet, "10.89.0.0/24", NULL));
	lan_init(&lan, &c, &ops, NULL);
	for (unsigned i = 0; i < 3; i++) plug(i);
	port[3] = lan_uplink(&lan, NULL);
}

/* Of a guest that knows who it is. */
static void make_good(uint8_t *f, size_t len, unsigned p)
{
	const struct guard *g = &lan.port[p].id;
	if (len < 34) return;
	memcpy(f + 6, g->mac, 6);
	if (be16_at(f + 12) == ETH_IP4) be32_put(f + 26, f[26] & 1 ? g->ip : 0);
	if (be16_at(f + 12) == ETH_ARP) {
		memcpy(f + 22, g->mac, 6);
		be32_put(f + 28, g->ip);
	}
	if (be16_at(f + 12) == ETH_IP6 && len > 48) memcpy(f + 22, "\xfe\x80\0\0\0\0\0\0", 8);
	if (len > 320 && f[23] == PROTO_UDP && f[37] == 67) memcpy(f + 70, g->mac, 6);
}

/* A packet that is as long as it says. */
static void agree(uint8_t *f, size_t len)
{
	if (len < 54) return;
	if (be16_at(f + 12) == ETH_IP4) be16_put(f + 16, (unsigned)len - 14);
	if (be16_at(f + 12) == ETH_IP6) be16_put(f + 18, (unsigned)len - 54);
}

/* TCP from one end of the frame to the other, over the IP that it names, of which no more is known
 * than what it says there. */
static void unfinished(uint8_t *f, size_t len)
{
	bool six = said.size & 1;
	size_t l4 = six ? 54 : 34;
	if (len < l4 + 20) return;
	be16_put(f + 12, six ? ETH_IP6 : ETH_IP4);
	f[14] = six ? 0x60 : 0x45;
	f[six ? 20 : 23] = 6;
	if (!six) be16_put(f + 20, 0);
	f[l4 + 12] |= 0x50;
	agree(f, len);
	said.kind = six ? OFFLOAD_TCP6 : OFFLOAD_TCP4;
	said.l4 = (uint16_t)l4;
}

static void send(uint8_t how, uint8_t first, uint8_t *f, size_t len, uint64_t now)
{
	unsigned who = first & 3;
	if (first & 4 && who < 3) {
		lan_unplug(&lan, (unsigned)port[who]);
		plug(who);
	}
	if (how & 16) agree(f, len);
	if (how & 8 && first & 8) unfinished(f, len);
	if (how & 4 && who < 3) make_good(f, len, (unsigned)port[who]);
	from = (unsigned)port[who];
	lan_input(&lan, from, &said, f, len, now);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct buf b = {0};
	if (!n) return 0;
	uint8_t how = *p++;
	begin(how);
	for (n--; n >= 3;) {
		uint8_t first = p[0];
		size_t len = be16_at(p + 1) & 2047, all = first & 16 ? len * 32 : len;
		p += 3, n -= 3;
		said = (struct offload){0};
		if (how & 8 && n >= 4) {
			said = (struct offload){p[0], p[1], (uint16_t)be16_at(p + 2)};
			p += 4, n -= 4;
		}
		if (len > n) len = n;
		if (!(first & 16)) all = len;
		uint8_t *f = calloc(1, all + 1);
		must(f);
		memcpy(f, p, len);
		send(how, first, f, all, n);
		free(f);
		p += len, n -= len;
	}
	lan_describe(&lan, &b);
	buf_done(&b);
	return 0;
}
