#ifndef DEV_NVME_H
#define DEV_NVME_H
#include "blk/blk.h"
#include "dev/dev.h"
#include "dev/meter.h"
#include "hw/gmem.h"
#include "hw/pci.h"
#include <stdbool.h>
#include <stdint.h>
/* Inside the NVMe controller (nvme.c, nvme_admin.c, nvme_io.c). Section numbers are of the NVM
 * Express Base Specification, revision 1.4. All state is under the device's lock; completions of
 * the disk come by other threads and take it. */
enum {
	NVME_PAGE = 4096,    /* the only memory page size offered */
	NVME_QUEUES = 9,     /* the admin queue and 8 others, of either kind */
	NVME_ENTRIES = 1024, /* at most, in a queue */
	NVME_SLOTS = 128,    /* commands at work */
	NVME_MDTS = 7,	     /* most of one command: 2^7 pages */
	NVME_MOST = NVME_PAGE << NVME_MDTS,
	NVME_IOV = (1 << NVME_MDTS) + 1,
	NVME_EVENTS = 4, /* AERL + 1 */
	NVME_RANGES = 256,
	NVME_FEATURES = 0x0c,
};
/* 4.6.1: status code type in bits 10:8, code in bits 7:0; bit 14: do not retry. */
enum nvme_status {
	NVME_OK = 0,
	NVME_LATER = 0xffff, /* ours: it is at work */
	NVME_DNR = 1 << 14,
	NVME_INVALID_OPCODE = NVME_DNR | 0x01,
	NVME_INVALID_FIELD = NVME_DNR | 0x02,
	NVME_TRANSFER_ERROR = 0x04,
	NVME_INTERNAL_ERROR = 0x06,
	NVME_INVALID_NAMESPACE = NVME_DNR | 0x0b,
	NVME_SEQUENCE_ERROR = NVME_DNR | 0x0c,
	NVME_BAD_PRP = NVME_DNR | 0x13,
	NVME_OUT_OF_RANGE = NVME_DNR | 0x80,
	NVME_NO_CQ = NVME_DNR | 0x100,
	NVME_BAD_QUEUE = NVME_DNR | 0x101,
	NVME_BAD_SIZE = NVME_DNR | 0x102,
	NVME_TOO_MANY_EVENTS = NVME_DNR | 0x105,
	NVME_BAD_VECTOR = NVME_DNR | 0x108,
	NVME_BAD_LOG = NVME_DNR | 0x109,
	NVME_BAD_DELETION = NVME_DNR | 0x10c,
	NVME_NOT_SAVEABLE = NVME_DNR | 0x10d,
	NVME_READ_ONLY = NVME_DNR | 0x182,
};
struct nvme_cmd { /* figure 104 */
	uint8_t opcode, flags;
	le16 cid;
	le32 nsid, cdw2, cdw3;
	le64 mptr, prp[2];
	le32 cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
_Static_assert(sizeof(struct nvme_cmd) == 64, "figure 104");

struct nvme_sq {
	gpa_t at;
	uint32_t size, head, tail; /* size 0: there is none */
	uint16_t cq;
	unsigned inflight;
	bool deleting; /* when inflight is 0; answered then: */
	uint16_t deleted_by;
};
struct nvme_cq {
	gpa_t at;
	uint32_t size, head, tail;
	uint32_t promised; /* entries that commands at work will need */
	bool phase, interrupts;
	uint16_t vector;
};
struct nvme_slot {
	struct nvme *of;
	struct nvme_slot *next; /* free */
	struct nvme_cmd cmd;
	uint16_t sq;
	bool flushing;	  /* a write has been done, and is made to last */
	unsigned range;	  /* of DSM: the next one */
	unsigned nranges; /* of them */
	struct blk_req b;
	struct iovec iov[NVME_IOV];
	gpa_t at[NVME_IOV]; /* where those are */
	struct nvme_range {
		le32 attributes, blocks;
		le64 lba;
	} ranges[NVME_RANGES];
};
struct nvme {
	struct pci_func f;
	struct device regs;
	struct gmem *mem;
	struct blk *disk;
	struct blk_info info;
	uint64_t blocks;
	unsigned shift; /* a block is 1 << shift bytes */
	char serial[20];
	uint32_t cc, csts, aqa, masked;
	uint64_t asq, acq;
	struct nvme_sq sq[NVME_QUEUES];
	struct nvme_cq cq[NVME_QUEUES];
	uint32_t feature[NVME_FEATURES];
	uint16_t event_cid[NVME_EVENTS];
	unsigned events; /* requests for one that wait */
	uint32_t event;	 /* what has happened and has not been told; 0: nothing */
	bool event_told; /* and the log page has not been read since: no more of its kind */
	bool resetting;	 /* until nothing is at work */
	bool in_order;	 /* one at a time, and the driver waits */
	bool paused;	 /* no command is begun */
	bool ending;	 /* shut down, once nothing is at work, by: */
	struct meter meter;
	struct blk_req last;
	unsigned inflight;
	pthread_cond_t idle; /* inflight became 0 */
	struct nvme_slot *free, slot[NVME_SLOTS];
};

/* nvme_io.c: where `len` bytes are that a command's PRPs name (4.3), as pieces of host memory in
 * s->iov and s->at: how many, or -status. write: the device writes there. */
int nvme_prps(struct nvme *n, struct nvme_slot *s, uint32_t len, bool write);
/* Bytes to or from there at once, up to a page. */
unsigned nvme_give(struct nvme *n, struct nvme_slot *s, const void *from, uint32_t len);
unsigned nvme_take(struct nvme *n, struct nvme_slot *s, void *to, uint32_t len);
/* A command of an I/O queue; what the disk is done with. Status, or NVME_LATER. */
unsigned nvme_io(struct nvme *n, struct nvme_slot *s);
unsigned nvme_io_done(struct nvme *n, struct nvme_slot *s, int res);
/* nvme_admin.c: *result is dword 0 of the completion. */
unsigned nvme_admin(struct nvme *n, struct nvme_slot *s, uint32_t *result);
void nvme_features_reset(struct nvme *n);
bool nvme_features_are_possible(const struct nvme *n);
/* nvme.c */
void nvme_sq_gone(struct nvme *n, unsigned q); /* if it is to go and nothing of it is at work */
void nvme_event_wanted(struct nvme *n, uint16_t cid);
#endif
