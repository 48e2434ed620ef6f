#include "base/buf.h"
#include "base/test.h"
#include "guest/stream.h"
#include <errno.h>
#include <string.h>

TEST(frames_come_back_as_they_went)
{
	static char big[STREAM_MAX + 1];
	auto_buf struct buf b = {0};
	struct frame f;
	frame_add(&b, STREAM_INPUT, "keys", 4);
	frame_add(&b, STREAM_END, "", 0);
	frame_add(&b, STREAM_OUTPUT, big, sizeof(big));
	for (size_t n = 0; n < 9; n++) CHECK(frame_parse(&f, b.at, n) == 0);
	CHECK(frame_parse(&f, b.at, b.len) == 9 && f.type == 'i' && f.len == 4);
	CHECK(!memcmp(f.at, "keys", 4));
	CHECK(frame_parse(&f, b.at + 9, b.len - 9) == 5 && f.type == 'x' && !f.len);
	CHECK(frame_parse(&f, b.at + 14, b.len - 14) == STREAM_HEAD + STREAM_MAX);
	CHECK(frame_parse(&f, b.at + b.len - 6, 6) == 6 && f.type == 'o' && f.len == 1);
	CHECK(frame_parse(&f, "o\1\x40\0\0", 5) == -EPROTO);
	CHECK(frame_parse(&f, "o\377\377\377\377", 5) == -EPROTO);
}
