#include "base/test.h"
#include "net/fdb.h"
#include <string.h>

static struct fdb f;

static const uint8_t *mac(unsigned n)
{
	static uint8_t m[6];
	m[0] = 2;
	memcpy(m + 2, &n, 4);
	return m;
}

static void begin(void)
{
	memset(&f, 0, sizeof(f));
	f.seed = 7;
}

TEST(fdb_learns_moves_and_forgets)
{
	begin();
	CHECK(fdb_find(&f, mac(1), 10) == FDB_NONE);
	fdb_learn(&f, mac(1), 3, 10);
	CHECK(fdb_find(&f, mac(1), 10) == 3);
	fdb_learn(&f, mac(1), 4, 20);
	CHECK(fdb_find(&f, mac(1), 20) == 4 && f.of_port[3] == 0 && f.of_port[4] == 1);
	CHECK(fdb_find(&f, mac(1), 19 + FDB_AGE) == 4);
	CHECK(fdb_find(&f, mac(1), 20 + FDB_AGE) == FDB_NONE);
	fdb_learn(&f, mac(2), 4, 20);
	fdb_forget(&f, 4);
	CHECK(fdb_find(&f, mac(2), 20) == FDB_NONE && f.of_port[4] == 0);
}

TEST(fdb_fixed_ones_stay)
{
	begin();
	CHECK(fdb_fix(&f, mac(1), 1));
	CHECK(!fdb_fix(&f, mac(1), 2));
	fdb_learn(&f, mac(1), 2, 5);
	CHECK(fdb_find(&f, mac(1), 5 + 10 * FDB_AGE) == 1);
	fdb_forget(&f, 1);
	CHECK(fdb_find(&f, mac(1), 5) == FDB_NONE);
}

TEST(fdb_takes_a_card_any_number_of_times)
{
	begin();
	for (unsigned i = 0; i < 20; i++) {
		CHECK(fdb_fix(&f, mac(1), 1) && fdb_find(&f, mac(1), 5) == 1);
		fdb_forget(&f, 1);
	}
	CHECK(f.of_port[1] == 0);
}

TEST(fdb_flooded_with_addresses)
{
	begin();
	unsigned victims = 100, found = 0;
	for (unsigned i = 0; i < victims; i++) fdb_learn(&f, mac(1000000 + i), 1, 5);
	CHECK(fdb_fix(&f, mac(2000000), 2));
	for (unsigned i = 0; i < 100000; i++) fdb_learn(&f, mac(i), 9, 6 + i);
	for (unsigned i = 0; i < victims; i++) found += fdb_find(&f, mac(1000000 + i), 100010) == 1;
	CHECK(found == victims);
	CHECK(fdb_find(&f, mac(2000000), 100010) == 2);
	CHECK(f.of_port[9] <= FDB_QUOTA);
	fdb_learn(&f, mac(3000000), 3, 100010); /* a newcomer */
	CHECK(fdb_find(&f, mac(3000000), 100010) == 3);
	CHECK(fdb_find(&f, mac(99999), 100010) == 9 || f.of_port[9] == FDB_QUOTA);
}
