#ifndef DEV_AHCI_H
#define DEV_AHCI_H
#include "blk/blk.h"
#include "dev/dev.h"
#include "dev/meter.h"
#include "hw/gmem.h"
#include "hw/pci.h"
#include <stdbool.h>
#include <stdint.h>
/* Inside the AHCI controller: ahci.c (the controller), ahci_port.c (a port of it, and the commands
 * that come by it), ahci_prd.c (where their data is), ahci_disk.c, ahci_cd.c and ahci_cd_tell.c
 * (the drives). Sections: "AHCI" of the Serial ATA AHCI specification 1.3.1, "SATA" of Serial ATA
 * 3.2, "ACS" of ATA8-ACS, "MMC" of MMC-5, "SPC" of SPC-3. All state is under the device's lock;
 * completions of the disk come by other threads and take it. */
struct state;
enum {
	AHCI_SLOTS = 32,
	AHCI_SECTOR = 512,
	AHCI_CD_SECTOR = 2048,
	AHCI_IOV = AHCI_SECTOR / 2, /* no piece is shorter than 2 bytes: one sector always fits */
	AHCI_PIECE = 1 << 20,	    /* bytes that a request has at most */
};
/* What has become of a command: the error register of its drive, or one of these. */
enum {
	AHCI_OK = 0,
	AHCI_ABORT = 0x04, /* ACS 6.2 */
	AHCI_NO_ID = 0x10, /* there is no such sector */
	AHCI_UNREADABLE = 0x40,
	AHCI_LATER = 0x100, /* it is at work */
	AHCI_BUS_ERROR	    /* its data is not in memory */
};
enum { STATUS_BUSY = 0x80, STATUS_READY = 0x50, STATUS_DRQ = 0x08, STATUS_ERROR = 0x01 };

struct ahci_slot { /* a command, while it is at work */
	struct ahci_port *of;
	uint8_t n;
	bool busy, dropped;    /* dropped: nobody waits for its answer any more */
	bool queued, pio_in;   /* how it is answered */
	bool lasting, flushed; /* it has to be on the host's disk; it is */
	bool overflow;	       /* there was not enough room for its data */
	uint8_t fis[20], cdb[16];
	gpa_t header;
	gpa_t prdt; /* the next entry; how many are left */
	uint32_t prds;
	gpa_t rest; /* of the last entry, what has not been used */
	uint32_t rest_len;
	uint32_t moved;	    /* bytes */
	uint64_t off, left; /* of the disk, in bytes */
	uint64_t lba;	    /* registers of the answer */
	uint16_t count;
	uint8_t range, ranges[AHCI_SECTOR]; /* of TRIM: the next one */
	struct blk_req b;
	unsigned niov, used; /* pieces of memory that are known; that this request has */
	struct iovec iov[AHCI_IOV + 1];
	gpa_t at[AHCI_IOV + 1]; /* where those are */
};
struct ahci_cd {
	bool open, locked;    /* the tray */
	uint8_t sense[3];     /* key, code, qualifier */
	uint8_t attention[2]; /* code and qualifier of what is to be told first; 0: nothing */
	uint8_t event;	      /* MMC 6.6.2.4.1: of the medium, not told yet */
};
struct ahci_port {
	struct ahci *of;
	unsigned n;
	/* AHCI 3.3 */
	uint64_t clb, fb;
	uint32_t is, ie, cmd, tfd, sig, sctl, serr, sact, ci;
	bool link;     /* to the drive */
	bool waiting;  /* its first FIS, for the guest to receive */
	bool halted;   /* by an error, until ST is cleared */
	bool stopping; /* until what was dropped is done */
	bool comreset; /* the link comes back then */
	bool srst;     /* the drive is held in reset */
	uint8_t current;
	unsigned inflight, queued; /* commands at work; those of them */
	struct ahci_slot slot[AHCI_SLOTS];
	/* the drive */
	struct blk *disk;
	struct blk_info info;
	uint64_t sectors; /* of its own size */
	char serial[20];
	bool is_cd;
	bool cache;			/* writes need not last */
	uint8_t multiple;		/* sectors */
	uint8_t error_log[AHCI_SECTOR]; /* ACS, annex A.14: what a queued command failed of */
	struct ahci_cd cd;
	struct meter meter;
};
struct ahci {
	struct pci_func f;
	struct device regs;
	struct gmem *mem;
	uint32_t ghc, is;
	bool in_order;	/* one at a time, and the driver waits */
	bool resetting; /* until nothing is at work */
	bool paused;	/* nothing more is begun */
	bool held;	/* the same, while a disc is changed */
	unsigned inflight, nports;
	pthread_cond_t idle; /* inflight became 0 */
	struct ahci_port *port[AHCI_PORTS];
};

/* ahci.c: the pin follows what ports have to say; done with all that was dropped? */
void ahci_pin_follow(struct ahci *a);
void ahci_settle(struct ahci *a);
/* ahci_port.c */
void ahci_port_init(struct ahci_port *p, struct ahci *a, unsigned n);
uint32_t ahci_port_read(const struct ahci_port *p, unsigned off);
void ahci_port_write(struct ahci_port *p, unsigned off, uint32_t val);
void ahci_port_run(struct ahci_port *p);
bool ahci_port_speaks(const struct ahci_port *p); /* an interrupt that the guest wants */
void ahci_port_drop(struct ahci_port *p);	  /* all that is at work */
void ahci_port_reset(struct ahci_port *p, bool cold);
void ahci_port_state(struct ahci_port *p, struct state *s);
/* For drives: have the disk do what s->b says, or what is next of off and left. */
unsigned ahci_port_submit(struct ahci_slot *s);
unsigned ahci_port_data(struct ahci_slot *s);
/* ahci_prd.c: the next pieces of memory that a command's PRDT names, up to `most` bytes, a multiple
 * of `unit`, as s->iov, s->used of them: how many bytes, 0: it has ended; -1: not in memory.
 * write: the device writes there. */
int64_t ahci_prd_gather(struct ahci_slot *s, uint64_t most, uint32_t unit, bool write);
/* Bytes to or from there at once; s->moved says how many. OK, or BUS_ERROR. */
unsigned ahci_prd_give(struct ahci_slot *s, const void *from, uint32_t n);
unsigned ahci_prd_take(struct ahci_slot *s, void *to, uint32_t n);
/* The drives. _done: what the disk has done of s->b. _reset: hard, or by software. */
unsigned ahci_disk_begin(struct ahci_port *p, struct ahci_slot *s);
unsigned ahci_disk_done(struct ahci_port *p, struct ahci_slot *s, int res);
void ahci_disk_failed(struct ahci_port *p, const struct ahci_slot *s, unsigned error);
/* What both kinds of drives say of themselves: ACS 7.16, 7.17. */
void ahci_identify(const struct ahci_port *p, uint16_t w[256], const char *model);
void ahci_identify_sum(uint16_t w[256]);
void ahci_cd_reset(struct ahci_port *p, bool hard);
unsigned ahci_cd_begin(struct ahci_port *p, struct ahci_slot *s);
unsigned ahci_cd_done(struct ahci_port *p, struct ahci_slot *s, int res);
bool ahci_cd_may_open(struct ahci_port *p, bool force); /* false: the guest is asked to let go */
void ahci_cd_opens(struct ahci_port *p);
void ahci_cd_closes(struct ahci_port *p); /* with another disc in it */
void ahci_cd_state(struct ahci_port *p, struct state *s);
/* ahci_cd_tell.c: commands that only tell something. Their answer to s->cdb goes to `to`, which is
 * all zero: its length, not more than the guest has room for; -1: there is no such command, -2: no
 * such answer, -3: not without a medium. */
enum { AHCI_CD_ANSWER = 2560 };
int ahci_cd_tell(struct ahci_port *p, const uint8_t cdb[16], uint8_t to[AHCI_CD_ANSWER]);
uint32_t ahci_cd_number(const uint8_t *p, unsigned len); /* big-endian, as all of it */
#endif
