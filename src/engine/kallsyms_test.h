#ifndef ENGINE_KALLSYMS_TEST_H
#define ENGINE_KALLSYMS_TEST_H
#include "base/buf.h"
#include "base/types.h"
#include <stdbool.h>
#include <stdio.h>
/* For tests: what scripts/kallsyms.c would write for `count` functions, f0 to fN, 16 bytes apart
 * from KALLSYMS_BASE on, among other bytes; long names are coded by tokens of several letters. */
#define KALLSYMS_BASE 0xffffffff80000000ull

static inline void kallsyms_pad(struct buf *b)
{
	while (b->len & 7) buf_add(b, "", 1);
}
static inline void kallsyms_number(struct buf *b, uint64_t v, unsigned len)
{
	uint8_t at[8];
	store_le(at, v, len);
	buf_add(b, at, len);
}
static inline void kallsyms_offsets(struct buf *b, unsigned count)
{
	for (unsigned i = 0; i < count; i++) kallsyms_number(b, 16 * i, 4);
	kallsyms_pad(b);
	kallsyms_number(b, KALLSYMS_BASE, 8);
}
static inline void kallsyms_tokens(struct buf *b)
{
	uint16_t index[256];
	size_t from = b->len;
	for (unsigned i = 0; i < 256; i++) {
		char c = (char)i;
		index[i] = (uint16_t)(b->len - from);
		buf_add(b, i == 128 ? "_long_name" : &c, i == 128 ? 10 : i > 32 && i < 127);
		buf_add(b, "", 1);
	}
	kallsyms_pad(b);
	buf_add(b, index, sizeof(index));
}
/* The last name is longer than one byte can say. */
static inline void kallsyms_names(struct buf *b, unsigned count, uint32_t *marker)
{
	size_t from = b->len;
	for (unsigned i = 0; i < count; i++) {
		char name[16];
		size_t n = (size_t)snprintf(name, sizeof(name), "%cf%u\x80", i % 7 ? 't' : 'T', i);
		if (!(i & 255)) marker[i / 256] = (uint32_t)(b->len - from);
		size_t more = i == count - 1 ? 150 : 0;
		if (more) kallsyms_number(b, 0x80 | ((n + more) & 0x7f), 1);
		kallsyms_number(b, more ? (n + more) >> 7 : n, 1);
		buf_add(b, name, n);
		while (more--) buf_add(b, "x", 1);
	}
	kallsyms_pad(b);
}
/* order: as kernels of 6.2 have it, with three bytes for each name. */
static inline void kallsyms_image_as(struct buf *b, unsigned count, bool old, bool order)
{
	uint32_t marker[64];
	for (unsigned i = 0; i < 1000; i++) kallsyms_number(b, i * 0x9e3779b97f4a7c15u, 8);
	if (old) kallsyms_offsets(b, count);
	kallsyms_number(b, count, 4);
	kallsyms_pad(b);
	kallsyms_names(b, count, marker);
	for (unsigned i = 0; i < (count + 255) / 256; i++) kallsyms_number(b, marker[i], 4);
	kallsyms_pad(b);
	for (unsigned i = 0; order && i < count; i++) kallsyms_number(b, i * 0x9e37u + 1, 3);
	kallsyms_pad(b);
	kallsyms_tokens(b);
	if (!old) kallsyms_offsets(b, count);
	for (unsigned i = 0; i < 100; i++) kallsyms_number(b, i, 8);
}
static inline void kallsyms_image(struct buf *b, unsigned count, bool old)
{
	kallsyms_image_as(b, count, old, false);
}
#endif
