#ifndef HW_VIRTIO_H
#define HW_VIRTIO_H
#include "base/err.h"
#include "hw/virtq.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
/* A virtio device as its transport sees it, and its transport as the device sees it: neither
 * knows the other's kind (Virtual I/O Device 1.2).
 * Locking: the transport holds dev->mutex whenever it calls an op. A back end on another thread
 * takes virtio_lock(), asks virtio_live(), and may then use the queues until it unlocks. */
struct gmem;
struct state;
struct virtio_dev;
struct virtio_ops {
	const char *name;
	uint16_t id;	    /* virtio device type (5.x) */
	uint16_t nqueues;   /* at most VIRTIO_QUEUES */
	uint16_t queue_max; /* power of two, at most 32768; 256 is usual */
	uint64_t features;  /* device bits; the transport adds VERSION_1, INDIRECT, EVENT_IDX */
	uint16_t config_len;
	/* off+len <= config_len is checked by the transport. */
	void (*config_read)(struct virtio_dev *v, unsigned off, void *buf, unsigned len);
	void (*config_write)(struct virtio_dev *v, unsigned off, const void *buf, unsigned len);
	bool (*accepts)(struct virtio_dev *v, uint64_t acked); /* NULL: any subset is fine */
	void (*activate)(struct virtio_dev *v); /* DRIVER_OK: the queues may be used */
	void (*notify)(struct virtio_dev *v, unsigned queue);
	/* Back to power-on. When it returns nothing of this device touches guest memory any more:
	 * i/o in flight has been waited for (waiting may drop and retake the mutex). */
	void (*reset)(struct virtio_dev *v);
	/* vCPUs stand. pause: finish what is in flight, take nothing more in, give nothing more
	 * out; no request is then half done. NULL: it never does anything by itself. */
	void (*pause)(struct virtio_dev *v);
	void (*resume)(struct virtio_dev *v);
	void (*state)(struct virtio_dev *v, struct state *s); /* paused: of its own, queues aside */
	void (*free)(struct virtio_dev *v); /* accepts a half-built device; calls virtio_done() */
};
enum { VIRTIO_QUEUES = 8 };
enum {
	VIRTIO_F_INDIRECT = 28,
	VIRTIO_F_EVENT_IDX = 29,
	VIRTIO_F_VERSION_1 = 32
};		    /* feature bit numbers */
struct virtio_dev { /* embedded first in the device's own struct */
	const struct virtio_ops *ops;
	struct gmem *mem;
	pthread_mutex_t mutex;
	uint64_t acked; /* features; valid from FEATURES_OK */
	bool live;	/* DRIVER_OK and neither reset nor broken */
	struct virtq vq[VIRTIO_QUEUES];
	/* private */
	uint64_t wanted; /* features the driver wrote, before FEATURES_OK */
	uint8_t status, generation;
	bool config_new;       /* changed since the generation was last read */
	unsigned times_broken; /* so that a guest cannot fill the log */
	struct virtio_wires {  /* set by the transport, used through virtq_kick() and friends */
		void (*queue)(void *transport, unsigned queue); /* used buffer notification */
		void (*config)(void *transport);		/* configuration change */
		void *transport;
	} wires;
};
void virtio_init(struct virtio_dev *v, const struct virtio_ops *ops, struct gmem *mem);
void virtio_done(struct virtio_dev *v);
static inline void virtio_lock(struct virtio_dev *v) { (void)pthread_mutex_lock(&v->mutex); }
static inline void virtio_unlock(struct virtio_dev *v) { (void)pthread_mutex_unlock(&v->mutex); }
static inline bool virtio_live(const struct virtio_dev *v) { return v->live; }
static inline bool virtio_has(const struct virtio_dev *v, unsigned bit)
{
	return v->acked >> bit & 1;
}
void virtio_config_changed(struct virtio_dev *v); /* new generation and a config interrupt */
/* The guest broke its promises: no more requests until it resets the device (2.1.2). */
void virtio_broken(struct virtio_dev *v, const char *why);

/* For transports; mutex held. Any value in any order is safe. Status bits: 2.1. */
enum virtio_status {
	VIRTIO_ACKNOWLEDGE = 1,
	VIRTIO_DRIVER = 2,
	VIRTIO_DRIVER_OK = 4,
	VIRTIO_FEATURES_OK = 8,
	VIRTIO_NEEDS_RESET = 64,
	VIRTIO_FAILED = 128
};
uint64_t virtio_offered(const struct virtio_dev *v);
void virtio_want_features(struct virtio_dev *v, unsigned word, uint32_t bits);
void virtio_set_status(struct virtio_dev *v, uint8_t status); /* 0 resets, and waits for it */
uint8_t virtio_generation(struct virtio_dev *v);	      /* reading it starts a new one */
void virtio_config_get(struct virtio_dev *v, uint64_t off, void *buf, unsigned len);
void virtio_config_set(struct virtio_dev *v, uint64_t off, const void *buf, unsigned len);
void virtio_enable_queue(struct virtio_dev *v, unsigned queue);
void virtio_notify(struct virtio_dev *v, unsigned queue);
void virtio_reset(struct virtio_dev *v);
void virtio_pause(struct virtio_dev *v);
void virtio_resume(struct virtio_dev *v);
/* Between the two: of the device, its queues, what was negotiated. The memory they lie in is there
 * before. */
void virtio_state(struct virtio_dev *v, struct state *s);

/* The PCI transport (modern only, 4.1): makes a function around v and plugs it in. The host
 * bridge owns the function, the function owns v. On failure v is freed too. */
struct pci_host;
int virtio_pci_new(struct pci_host *h, struct virtio_dev *v, int slot, struct err *e);
#endif
