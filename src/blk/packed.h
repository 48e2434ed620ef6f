#ifndef BLK_PACKED_H
#define BLK_PACKED_H
#include "blk/impl.h"
#include <pthread.h>
/* Compressed units of an image. The last one unpacked is kept: reads come in small pieces. */
enum packing { PACKING_DEFLATE, PACKING_ZLIB, PACKING_ZSTD }; /* deflate: without zlib's header */
#define PACKED_NONE UINT64_MAX
struct packed {
	pthread_mutex_t mutex; /* guards the rest; taken inside */
	enum packing how;
	uint64_t at; /* of what is in out, or PACKED_NONE */
	uint32_t unit, in_room;
	uint8_t *in, *out;
};
/* unit: bytes that each unpacks to. Nothing is allocated before it is wanted. */
void packed_init(struct packed *p, enum packing how, uint32_t unit);
void packed_done(struct packed *p);
void packed_forget(struct packed *p); /* places in the file are going to be used again */
/* Read q, whose bytes are in x; what comes out shorter than a unit is followed by zeroes if
 * ragged. -EIO: damaged. */
int packed_read(struct packed *p, int fd, const struct extent *x, bool ragged,
		const struct blk_req *q);
/* Compress unit bytes into room bytes; 0: it does not become smaller than room. */
uint32_t packed_make(enum packing how, const void *unit, uint32_t len, void *to, uint32_t room);
#endif
