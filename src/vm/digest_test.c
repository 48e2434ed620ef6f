#include "base/test.h"
#include "vm/digest.h"
#include <string.h>

TEST(digest_tells_any_byte_and_where_it_is)
{
	uint8_t p[200] = {0};
	uint64_t none = digest_bytes(p, sizeof(p), 0), last = none;
	CHECK(digest_bytes(p, sizeof(p), 1) != none && digest_bytes(p, 199, 0) != none);
	CHECK(digest_bytes(p, 0, 0) != digest_bytes(p, 1, 0));
	for (unsigned i = 0; i < sizeof(p); i++) {
		p[i] = 1;
		uint64_t now = digest_bytes(p, sizeof(p), 0);
		CHECK(now != none && now != last);
		last = now;
		p[i] = 0;
	}
	CHECK(digest_bytes(p, sizeof(p), 0) == none);
}

TEST(digest_of_all_depends_on_each_and_its_place)
{
	struct vm_digest a = {3, {1, 2, 3}}, b = {3, {1, 3, 2}}, c = {2, {1, 2}};
	CHECK(vm_digest_all(&a) == vm_digest_all(&a) && vm_digest_all(&a) != vm_digest_all(&b));
	CHECK(vm_digest_all(&a) != vm_digest_all(&c));
}
