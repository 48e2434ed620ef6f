/* Frames: small enough that whoever receives one has room for it. */
#include "guest/stream.h"
#include "base/buf.h"
#include "base/types.h"
#include <errno.h>

ssize_t frame_parse(struct frame *out, const void *p, size_t n)
{
	const uint8_t *at = p;
	if (n < STREAM_HEAD) return 0;
	uint32_t len = (uint32_t)load_le(at + 1, 4);
	if (len > STREAM_MAX) return -EPROTO;
	if (n - STREAM_HEAD < len) return 0;
	*out = (struct frame){.type = (char)at[0], .at = at + STREAM_HEAD, .len = len};
	return (ssize_t)len + STREAM_HEAD;
}

void frame_add(struct buf *to, char type, const void *p, size_t n)
{
	do {
		uint8_t head[STREAM_HEAD] = {(uint8_t)type};
		size_t len = n < STREAM_MAX ? n : STREAM_MAX;
		store_le(head + 1, len, 4);
		buf_add(to, head, sizeof(head));
		if (len) buf_add(to, p, len);
		p = (const uint8_t *)p + len;
		n -= len;
	} while (n);
}
