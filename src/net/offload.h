#ifndef NET_OFFLOAD_H
#define NET_OFFLOAD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* Frames that are not finished: the TCP or UDP checksum is still to be made, or they are several
 * TCP segments in one (virtio 1.2 §5.1.6.2). So they go from guest to guest; whoever leads out of
 * here finishes them. What is said of a frame is as hostile as the frame. */
enum offload_kind {
	OFFLOAD_NONE,  /* a finished frame */
	OFFLOAD_VALID, /* one whose checksums are known to be right */
	OFFLOAD_CSUM,  /* checksum to be made; in its place is the sum of the pseudo header */
	OFFLOAD_TCP4,  /* the same, and to be cut */
	OFFLOAD_TCP6,
	OFFLOAD_KINDS
};
struct offload {
	uint8_t kind;
	uint16_t l4, size; /* where TCP or UDP begins; bytes of each segment but the last */
};
enum {
	OFFLOAD_FRAME = 65550, /* the longest such frame */
	OFFLOAD_LEAST = 48,    /* the smallest segments: Linux's TCP_MIN_MSS */
};
/* Whether that can be so of that frame. Only of TCP and UDP right behind an IPv4 or IPv6 header,
 * whole, with lengths that agree; segments and their headers fit a usual frame. */
bool offload_check(const struct offload *o, const uint8_t *frame, size_t len);
/* Of a frame that offload_check() let pass: make its checksums as if it were one segment. */
void offload_finish(const struct offload *o, uint8_t *frame, size_t len);
/* The number of frames it becomes, and number n of them at to, which has room for ETH_MAX; its
 * length. For kinds that are not cut it is one, which is the whole frame: no more than ETH_MAX. */
unsigned offload_frames(const struct offload *o, const uint8_t *frame, size_t len);
size_t offload_frame(const struct offload *o, const uint8_t *frame, size_t len, unsigned n,
		     uint8_t *to);
/* Where in its TCP or UDP header the checksum is, and how long all headers are. */
unsigned offload_sum_at(const struct offload *o, const uint8_t *frame);
unsigned offload_headers(const struct offload *o, const uint8_t *frame);
static inline bool offload_is_cut(const struct offload *o) { return o->kind >= OFFLOAD_TCP4; }

/* The same in front of a frame on a socket. Hostile: _read gives a kind that is none, too. */
enum { OFFLOAD_HEAD = 8 };
void offload_write(const struct offload *o, uint8_t to[OFFLOAD_HEAD]);
struct offload offload_read(const uint8_t from[OFFLOAD_HEAD]);

/* Ones' complement sum of bytes, as a start for more or ~ as a checksum (RFC 1071). */
uint32_t sum_add(uint32_t sum, const uint8_t *p, size_t n);
uint16_t sum_fold(uint32_t sum);
#endif
