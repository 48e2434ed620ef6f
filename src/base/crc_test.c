#include "base/crc.h"
#include "base/test.h"
#include <string.h>

/* RFC 3720, B.4 */
TEST(crc_of_what_the_standard_says)
{
	uint8_t b[32];
	memset(b, 0, sizeof(b));
	CHECK(crc32c(0, b, 32) == 0x8a9136aa);
	memset(b, 0xff, sizeof(b));
	CHECK(crc32c(0, b, 32) == 0x62a8ab43);
	for (unsigned i = 0; i < 32; i++) b[i] = (uint8_t)i;
	CHECK(crc32c(0, b, 32) == 0x46dd794e);
	CHECK(crc32c(crc32c(0, b, 5), b + 5, 27) == 0x46dd794e);
}
