/* A CD or DVD drive behind SATA: packets of MMC-5 in ATA commands. The disc is an image that is
 * only read; what a guest can do to it is to open the tray, which stays open over resets until it
 * closes it again: an installer that ends with eject has its guest start from the disk then. */
#include "base/state.h"
#include "base/types.h"
#include "dev/ahci.h"
#include <string.h>

enum { /* ACS 7 */
       DEVICE_RESET = 0x08,
       READ_SECTORS = 0x20,
       DIAGNOSE = 0x90,
       PACKET = 0xa0,
       IDENTIFY_PACKET = 0xa1,
       STANDBY_NOW = 0xe0,
       IDLE_NOW = 0xe1,
       STANDBY = 0xe2,
       IDLE = 0xe3,
       CHECK_POWER = 0xe5,
       SLEEP = 0xe6,
       IDENTIFY = 0xec,
       SET_FEATURES = 0xef
};
enum { /* MMC 6 */
       TEST_UNIT_READY = 0x00,
       REQUEST_SENSE = 0x03,
       INQUIRY = 0x12,
       START_STOP = 0x1b,
       PREVENT_ALLOW = 0x1e,
       READ_10 = 0x28,
       SEEK_10 = 0x2b,
       SYNCHRONIZE = 0x35,
       GET_CONFIGURATION = 0x46,
       GET_EVENT = 0x4a,
       REPORT_LUNS = 0xa0,
       READ_12 = 0xa8,
       SET_SPEED = 0xbb,
       READ_CD = 0xbe
};
enum { NOT_READY = 2, MEDIUM_ERROR = 3, ILLEGAL = 5, ATTENTION = 6 }; /* SPC 4.5.6: sense keys */
enum {
	SENSE_LEN = 18,
	COMPLETE = 3,
	SIGNATURE = 0xeb1401,
	ACTIVE = 0xff,
	ENDS_RESET = 0x29,
	CHANGED = 0x28
};
enum { EVENT_EJECT = 1, EVENT_NEW = 2, EVENT_REMOVED = 3 };

/* ---- sense */

static unsigned check(struct ahci_port *p, unsigned key, unsigned code, unsigned qualifier)
{
	p->cd.sense[0] = (uint8_t)key;
	p->cd.sense[1] = (uint8_t)code;
	p->cd.sense[2] = (uint8_t)qualifier;
	return key << 4 | AHCI_ABORT;
}
static unsigned no_such_command(struct ahci_port *p) { return check(p, ILLEGAL, 0x20, 0); }
static unsigned bad_field(struct ahci_port *p) { return check(p, ILLEGAL, 0x24, 0); }
static unsigned no_medium(struct ahci_port *p) { return check(p, NOT_READY, 0x3a, 2); }

static unsigned attend(struct ahci_port *p)
{
	unsigned r = check(p, ATTENTION, p->cd.attention[0], p->cd.attention[1]);
	p->cd.attention[0] = 0;
	return r;
}
static unsigned give(struct ahci_slot *s, const void *from, uint32_t n)
{
	enum { DMA = 1 };
	unsigned r = ahci_prd_give(s, from, n);
	s->pio_in = s->moved && !(s->fis[3] & DMA);
	return r;
}
static unsigned request_sense(struct ahci_port *p, struct ahci_slot *s)
{
	struct ahci_cd *c = &p->cd;
	uint8_t to[SENSE_LEN] = {0x70};
	if (!c->sense[0] && c->attention[0]) (void)attend(p);
	to[2] = c->sense[0];
	to[7] = SENSE_LEN - 8;
	to[12] = c->sense[1];
	to[13] = c->sense[2];
	memset(c->sense, 0, sizeof(c->sense));
	return give(s, to, s->cdb[4] < SENSE_LEN ? s->cdb[4] : SENSE_LEN);
}

/* ---- the medium */

static unsigned read_sectors(struct ahci_port *p, struct ahci_slot *s, uint64_t at, uint64_t n)
{
	enum { DMA = 1 };
	if (at > p->sectors || n > p->sectors - at) return check(p, ILLEGAL, 0x21, 0);
	s->off = at * AHCI_CD_SECTOR;
	s->left = n * AHCI_CD_SECTOR;
	s->pio_in = n && !(s->fis[3] & DMA);
	s->b.op = BLK_READ;
	return ahci_port_data(s);
}
/* MMC 6.20: only what is in a data sector is there to be read, nothing of what is around it. */
static unsigned read_cd(struct ahci_port *p, struct ahci_slot *s)
{
	enum { ANY = 0, MODE_1 = 2, USER_DATA = 0x10, PARTS = 0xf8, SUBCHANNEL = 7 };
	unsigned type = s->cdb[1] >> 2 & 7, parts = s->cdb[9] & PARTS;
	if (type != ANY && type != MODE_1) return check(p, ILLEGAL, 0x64, 0);
	if (!parts) return AHCI_OK;
	if (parts != USER_DATA || s->cdb[10] & SUBCHANNEL) return bad_field(p);
	return read_sectors(p, s, ahci_cd_number(s->cdb + 2, 4), ahci_cd_number(s->cdb + 6, 3));
}
static unsigned start_stop(struct ahci_port *p, const struct ahci_slot *s)
{
	enum { START = 1, LOAD_EJECT = 2, POWER = 0xf0 };
	struct ahci_cd *c = &p->cd;
	bool start = s->cdb[4] & START;
	if (s->cdb[4] & POWER || !(s->cdb[4] & LOAD_EJECT) || c->open == !start) return AHCI_OK;
	if (!start && c->locked) return check(p, ILLEGAL, 0x53, 2);
	c->open = !start;
	c->event = start ? EVENT_NEW : EVENT_REMOVED;
	c->attention[0] = start ? CHANGED : 0;
	c->attention[1] = 0;
	return AHCI_OK;
}
static unsigned with_medium(struct ahci_port *p, struct ahci_slot *s)
{
	const uint8_t *c = s->cdb;
	if (p->cd.open) return no_medium(p);
	switch (c[0]) {
	case READ_10: return read_sectors(p, s, ahci_cd_number(c + 2, 4), ahci_cd_number(c + 7, 2));
	case READ_12: return read_sectors(p, s, ahci_cd_number(c + 2, 4), ahci_cd_number(c + 6, 4));
	case READ_CD: return read_cd(p, s);
	case SEEK_10:
		return ahci_cd_number(c + 2, 4) < p->sectors ? AHCI_OK : check(p, ILLEGAL, 0x21, 0);
	default: return AHCI_OK; /* TEST_UNIT_READY */
	}
}

/* ---- packets */

static unsigned tell(struct ahci_port *p, struct ahci_slot *s)
{
	uint8_t to[AHCI_CD_ANSWER] = {0};
	int n = ahci_cd_tell(p, s->cdb, to);
	if (n == -1) return no_such_command(p);
	if (n == -2) return bad_field(p);
	return n < 0 ? no_medium(p) : give(s, to, (uint32_t)n);
}
static bool may_come_first(uint8_t op) /* SPC 5.8.7 */
{
	return op == INQUIRY || op == REQUEST_SENSE || op == REPORT_LUNS ||
	       op == GET_CONFIGURATION || op == GET_EVENT;
}
static unsigned packet(struct ahci_port *p, struct ahci_slot *s)
{
	uint8_t op = s->cdb[0];
	if (p->cd.attention[0] && !may_come_first(op)) return attend(p);
	if (op == REQUEST_SENSE) return request_sense(p, s);
	if (op != INQUIRY) memset(p->cd.sense, 0, sizeof(p->cd.sense));
	switch (op) {
	case TEST_UNIT_READY:
	case SEEK_10:
	case READ_10:
	case READ_12:
	case READ_CD: return with_medium(p, s);
	case START_STOP: return start_stop(p, s);
	case PREVENT_ALLOW: p->cd.locked = s->cdb[4] & 1; return AHCI_OK;
	case SYNCHRONIZE:
	case SET_SPEED: return AHCI_OK;
	default: return tell(p, s);
	}
}

/* ---- as an ATA device */

static unsigned identify(const struct ahci_port *p, struct ahci_slot *s)
{
	enum { PACKETS = 1 << 4, RESET = 1 << 9 };
	uint16_t w[256] = {0};
	ahci_identify(p, w, "Lodge SATA CD-ROM");
	w[0] = 0x85c0; /* packets of 12 bytes, CD-ROM, removable, DRQ within 50 us */
	w[82] = w[85] = PACKETS | RESET;
	ahci_identify_sum(w);
	s->pio_in = true;
	return ahci_prd_give(s, w, sizeof(w));
}
static unsigned sign(struct ahci_slot *s)
{
	s->lba = SIGNATURE;
	s->count = 1;
	return AHCI_OK;
}
unsigned ahci_cd_begin(struct ahci_port *p, struct ahci_slot *s)
{
	switch (s->fis[2]) {
	case PACKET: s->count = COMPLETE; return packet(p, s);
	case IDENTIFY_PACKET: return identify(p, s);
	case DEVICE_RESET: ahci_cd_reset(p, false); return sign(s);
	case DIAGNOSE: return sign(s);
	case IDENTIFY:
	case READ_SECTORS: (void)sign(s); return AHCI_ABORT;
	case CHECK_POWER: s->count = ACTIVE; return AHCI_OK;
	case SET_FEATURES:
	case STANDBY_NOW:
	case STANDBY:
	case IDLE_NOW:
	case IDLE:
	case SLEEP: return AHCI_OK;
	default: return AHCI_ABORT;
	}
}
unsigned ahci_cd_done(struct ahci_port *p, struct ahci_slot *s, int res)
{
	return res ? check(p, MEDIUM_ERROR, 0x11, 0) : ahci_port_data(s);
}
void ahci_cd_reset(struct ahci_port *p, bool hard)
{
	memset(p->cd.sense, 0, sizeof(p->cd.sense));
	if (!hard) return;
	p->cd.locked = false;
	p->cd.attention[0] = ENDS_RESET;
	p->cd.attention[1] = 0;
}
/* Events, and what is to be told first: MMC 6.6.2.4.1, SPC 4.5.6: 28/00, it may have changed. */
bool ahci_cd_may_open(struct ahci_port *p, bool force)
{
	struct ahci_cd *c = &p->cd;
	if (c->open || !c->locked || force) return true;
	c->event = EVENT_EJECT;
	return false;
}
void ahci_cd_opens(struct ahci_port *p)
{
	p->cd.open = true;
	p->cd.locked = false;
	p->cd.event = EVENT_REMOVED;
	p->cd.attention[0] = 0;
}
void ahci_cd_closes(struct ahci_port *p)
{
	p->cd.open = p->cd.locked = false;
	p->cd.event = EVENT_NEW;
	p->cd.attention[0] = CHANGED;
	p->cd.attention[1] = 0;
}
void ahci_cd_state(struct ahci_port *p, struct state *s)
{
	STATE(s, &p->cd, open);
	STATE(s, &p->cd, locked);
	STATE(s, &p->cd, sense);
	STATE(s, &p->cd, attention);
	STATE(s, &p->cd, event);
}
