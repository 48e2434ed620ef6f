#include "base/test.h"
#include "net/subnet.h"
#include <stddef.h>

TEST(attack_subnet_cards_that_are_none)
{
	static const char *const bad[] = {"",
					  "/",
					  "10.0.0.5",
					  "10.0.0.5/",
					  "10.0.0.5/0",
					  "10.0.0.5/31",
					  "10.0.0.5/024",
					  "10.0.0.5/24x",
					  "10.0.0.5/24,",
					  "10.0.0.5/24,10.0.0.1,10.0.0.2",
					  "10.0.0.0/24",
					  "10.0.0.255/24",
					  "10.0.0.5/24,10.0.1.1",
					  "0.0.0.0/8",
					  "1000000000000000.0.0.5/24",
					  "10.0.0.5/24,1000000000000000000000"};
	struct ip4_card c;
	struct err e;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(ip4_card_parse(&c, bad[i], &e));
	CHECK(!ip4_card_parse(&c, "10.0.0.5/24", &e) && c.ip == 0x0a000005 &&
	      c.mask == 0xffffff00 && !c.gateway);
	CHECK(!ip4_card_parse(&c, "10.1.0.0/8,10.255.255.254", &e) && c.ip == 0x0a010000 &&
	      c.mask == 0xff000000 && c.gateway == 0x0afffffe);
}
