#ifndef NET_MERGE_H
#define NET_MERGE_H
#include "net/offload.h"
/* TCP segments over IPv4 that follow each other, made one large frame: the way back from
 * offload_frame(). Only what can be cut into the same frames again is put together, but for
 * acknowledgements alone: the last of several is left. */
struct merge {
	struct offload offload; /* of what is in frame[] */
	unsigned n;		/* segments in it; 0: none */
	size_t len;
	bool last; /* nothing may follow */
	uint8_t frame[OFFLOAD_FRAME];
};
/* False: it does not fit behind what is there; take that out (n = 0) and try again. Then false
 * means that it is nothing to be put together. */
bool merge_add(struct merge *m, const uint8_t *frame, size_t len);
#endif
