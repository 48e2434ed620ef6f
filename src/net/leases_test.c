#include "base/buf.h"
#include "base/test.h"
#include "net/leases.h"
#include <errno.h>
#include <string.h>

static struct leases l, m;

static const uint8_t *mac(unsigned n)
{
	static uint8_t at[6];
	at[0] = 2;
	memcpy(at + 2, &n, 4);
	return at;
}

static void begin(const char *subnet)
{
	memset(&l, 0, sizeof(l));
	CHECK(!subnet_parse(&l.subnet, subnet, NULL));
	m = l;
}

TEST(leases_same_guest_same_address)
{
	begin("10.89.0.0/24");
	struct lease *a = lease_take(&l, mac(1), "web", 0), *b = lease_take(&l, mac(2), "db", 0);
	CHECK(a && b && a->ip != b->ip && subnet_has(&l.subnet, a->ip));
	uint32_t ip = a->ip;
	CHECK(!lease_take(&l, mac(1), "other", 0)); /* that card is here */
	CHECK(lease_named(&l, "web") == a && lease_of(&l, ip) == a);
	lease_leave(a);
	CHECK(!lease_named(&l, "web") && !lease_of(&l, ip));
	a = lease_take(&l, mac(7), "web", 0); /* with another card */
	CHECK(a && a->ip == ip);
	lease_leave(a);
	a = lease_take(&l, mac(8), "", ip);
	CHECK(a && a->ip != ip); /* it is web's */
	uint32_t was = a->ip;
	lease_leave(a);
	a->ip = 0;
	a = lease_take(&l, mac(9), "", was);
	CHECK(a && a->ip == was);
	CHECK((a = lease_take(&l, mac(10), "", l.subnet.net + 1)) && a->ip != l.subnet.net + 1);
}

TEST(leases_kept_as_text)
{
	auto_buf struct buf b = {0};
	begin("10.89.0.0/24");
	uint32_t ip = lease_take(&l, mac(1), "web", 0)->ip;
	(void)lease_take(&l, mac(2), "", 0);
	leases_format(&l, &b);
	leases_parse(&m, b.at, b.len);
	struct lease *a = lease_take(&m, mac(3), "web", 0);
	CHECK(a && a->ip == ip);
	unsigned n = 0;
	for (unsigned i = 0; i < LEASES; i++) n += m.at[i].ip != 0;
	CHECK(n == 1);
	static const char junk[] = "\n\n10.89.0.77 zz\n10.1.0.77 02:00:00:00:00:01 1 far\n"
				   "10.89.0.1 02:00:00:00:00:02 1 gateway\n"
				   "10.89.0.78 02:00:00:00:00:03 1 WEB\"\n"
				   "10.89.0.79 02:00:00:00:00:04 1 good";
	begin("10.89.0.0/24");
	leases_parse(&l, junk, strlen(junk));
	for (unsigned i = n = 0; i < LEASES; i++) n += l.at[i].ip != 0;
	CHECK(n == 1 && l.at[0].ip == l.subnet.net + 79);
}

TEST(leases_bounded)
{
	begin("10.89.0.0/29"); /* .3 to .6 */
	struct lease *a[4];
	for (unsigned i = 0; i < 4; i++) CHECK((a[i] = lease_take(&l, mac(i), "", 0)));
	CHECK(!lease_take(&l, mac(4), "", 0));
	uint32_t ip = a[2]->ip;
	lease_leave(a[2]);
	struct lease *b = lease_take(&l, mac(4), "", 0);
	CHECK(b && b->ip == ip);
	begin("10.0.0.0/8");
	for (unsigned i = 0; i < 3 * LEASES; i++) {
		struct lease *n = lease_take(&l, mac(i), "", 0);
		CHECK(n);
		if (n) lease_leave(n);
	}
	for (unsigned i = 0; i < LEASES; i++) CHECK(lease_take(&l, mac(10000 + i), "", 0));
	CHECK(!lease_take(&l, mac(5), "", 0));
}

TEST(subnet_as_text)
{
	struct subnet s;
	struct err e = {0};
	char text[SUBNET_TEXT];
	CHECK(!subnet_parse(&s, "192.168.7.9/20", NULL) && s.net == 0xc0a80000 && s.bits == 20);
	subnet_text(text, &s);
	CHECK(!strcmp(text, "192.168.0.0/20") && subnet_broadcast(&s) == 0xc0a80fff);
	static const char *const bad[] = {
		"",	      "10.0.0.0",    "10.0.0.0/",    "10.0.0.0/30",
		"10.0.0.0/7", "10.0.0.0/2x", "127.0.0.0/24", "224.0.0.0/24",
		"1.2.3/24",   "0.0.0.0/8",   "10.0.0.0/024", "fe80::/64"};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(subnet_parse(&s, bad[i], &e) == -EINVAL && strstr(e.msg, "subnet"));
	}
}

TEST(subnet_that_is_free)
{
	struct subnet taken[256], s;
	unsigned n = 0;
	while (n < 256 && !subnet_free(&s, taken, n, NULL)) {
		for (unsigned i = 0; i < n; i++) CHECK(!subnet_touches(&s, &taken[i]));
		taken[n++] = s;
	}
	CHECK(n > 200 && subnet_free(&s, taken, n, NULL) == -ENOSPC);
}
