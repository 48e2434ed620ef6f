#ifndef HW_VIRTQ_H
#define HW_VIRTQ_H
#include "base/types.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
/* The device's side of a split virtqueue (virtio 1.2 §2.7), with indirect descriptors and event
 * index. Everything in it is read from guest memory once, into a private copy, and checked. */
struct gmem;
struct state;
struct virtio_dev;
enum { VREQ_IOV = 130 }; /* 128 data segments, a header and a status byte */
/* One descriptor chain, walked, checked and mapped: iov[0..nout) is readable by the device,
 * iov[nout..nout+nin) writable. Framing carries no meaning (2.7.4): use vreq_get/vreq_put. */
struct vreq {
	struct iovec iov[VREQ_IOV];
	gpa_t gpa[VREQ_IOV]; /* for gmem_dirty() */
	uint16_t nout, nin, head;
	uint32_t out_len, in_len; /* bytes in all; a chain of 4 GiB or more is broken */
	uint32_t epoch;		  /* which life of the queue it came from */
};
struct virtq {
	struct virtio_dev *dev;
	unsigned index;
	/* as the driver set them, through the transport; frozen while enabled */
	uint16_t size;
	bool enabled;
	gpa_t desc, avail, used;
	/* private */
	unsigned char *desc_at, *avail_at, *used_at; /* the rings, mapped when enabled */
	uint16_t next_avail, next_used, kicked_used, in_flight;
	uint32_t epoch; /* counts resets: a chain popped before one is never pushed after it */
};
/* For transports: check what the driver set and map the rings; false (not enabled) when the size
 * or an address is impossible. Reset: back to power-on with the size the device offers. */
bool virtq_enable(struct virtq *vq);
void virtq_reset(struct virtq *vq);
void virtq_state(struct virtq *vq, struct state *s); /* nothing is out */
/* 1: *q is a request. 0: none, or the device is not live. -1: the guest broke the ring just now;
 * virtio_broken() has been called. At most vq->size chains are out at a time. Drain like this:
 *	do virtq_want(vq, false), pop until 0; while (virtq_want(vq, true));  */
int virtq_pop(struct virtq *vq, struct vreq *q);
/* A chain that was out when the queue was saved, by its head; false: there is none such. */
bool virtq_again(struct virtq *vq, uint16_t head, struct vreq *q);
void virtq_unpop(struct virtq *vq); /* give back the last one popped: not yet wanted */
/* Return a chain; written = bytes really written into its writable part (2.7.8.2). Does nothing
 * when the device was reset or broke since the pop. */
void virtq_push(struct virtq *vq, const struct vreq *q, uint32_t written);
/* The same for several that the driver is to see at once: fill in each, then show them, without
 * letting go of the lock between. */
void virtq_fill(struct virtq *vq, const struct vreq *q, uint32_t written);
void virtq_show(struct virtq *vq);
void virtq_kick(struct virtq *vq); /* after pushing: interrupt the guest if it asked to be */
unsigned virtq_waiting(const struct virtq *vq); /* chains that could be popped, if they are good */
/* Ask for (or decline) notifications of new buffers; returns true when buffers came meanwhile. */
bool virtq_want(struct virtq *vq, bool on);

/* Copy to and from a chain across its segments; bytes copied, fewer than n at the end of the
 * part. vreq_put marks the memory dirty. */
uint32_t vreq_get(const struct vreq *q, uint32_t off, void *to, uint32_t n);
uint32_t vreq_put(const struct virtq *vq, const struct vreq *q, uint32_t off, const void *from,
		  uint32_t n);
/* The part [off, off+n) of the readable (in = false) or writable part as iovecs into out[max];
 * their count, or -1 when it is not all there. */
int vreq_slice(const struct vreq *q, bool in, uint32_t off, uint32_t n, struct iovec *out, int max);
void vreq_dirty(const struct virtq *vq, const struct vreq *q); /* after writing through iov */
#endif
