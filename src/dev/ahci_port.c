/* A port of the AHCI controller. A command is copied out of its table and has a slot while it is at
 * work. Whatever ends commands early (ST cleared, COMRESET, a reset) only drops them: the disk may
 * still be reading into the guest's memory, so CR, the link or HR say that it is not over yet, and
 * nothing is begun, until the last one is done. */
#include "base/state.h"
#include "base/types.h"
#include "blk/dirty.h"
#include "dev/ahci.h"
#include <string.h>

enum { /* AHCI 3.3 */
       REG_CLB = 0x00,
       REG_CLBU = 0x04,
       REG_FB = 0x08,
       REG_FBU = 0x0c,
       REG_IS = 0x10,
       REG_IE = 0x14,
       REG_CMD = 0x18,
       REG_TFD = 0x20,
       REG_SIG = 0x24,
       REG_SSTS = 0x28,
       REG_SCTL = 0x2c,
       REG_SERR = 0x30,
       REG_SACT = 0x34,
       REG_CI = 0x38
};
enum {
	IS_DHR = 1 << 0, /* a FIS of that kind has come */
	IS_PIO = 1 << 1,
	IS_SDB = 1 << 3,
	IS_CONNECT = 1 << 6, /* what PxSERR.DIAG.X says */
	IS_OVERFLOW = 1 << 24,
	IS_INTERFACE = 1 << 27,
	IS_MEMORY = 1 << 29,
	IS_TASK_FILE = 1 << 30,
	IS_WRITABLE = (int)0xfdc000afu,
	IE_WRITABLE = (int)0xfdc000ffu,
};
enum {
	CMD_ST = 1 << 0,
	CMD_SUD_POD = 3 << 1,
	CMD_CLO = 1 << 3,
	CMD_FRE = 1 << 4,
	CMD_CCS = 8,
	CMD_FR = 1 << 14,
	CMD_CR = 1 << 15,
	CMD_ATAPI = 3 << 24, /* and its LED */
	CMD_WRITABLE = CMD_ST | CMD_FRE | CMD_ATAPI
};
enum { SERR_X = 1 << 26, SCTL_DET = 15, DET_RESET = 1, DET_OFF = 4 };
enum { SSTS_LINK = 0x133, SSTS_OFF = 4 };					/* 6 Gb/s, active */
enum { HEADER = 32, HEADER_CDB = 1 << 5, TABLE_CDB = 0x40, TABLE_PRDT = 0x80 }; /* AHCI 4.2 */
enum { FIS_D2H = 0x34, FIS_H2D = 0x27, FIS_PIO = 0x5f, FIS_SDB = 0xa1 };	/* SATA 10.5 */
enum { RX_PIO = 0x20, RX_D2H = 0x40, RX_SDB = 0x58 };
enum { FIS_I = 0x40, FIS_D = 0x20, FIS_COMMAND = 0x80, CONTROL_SRST = 4 };
enum { TFD_NOTHING = 0x7f, SIG_NOTHING = -1, SIG_DISK = 0x101, DIAGNOSED = 1 };
#define SIG_CD 0xeb140101u

static struct gmem *mem_of(const struct ahci_port *p) { return p->of->mem; }
static uint32_t bit_of(const struct ahci_slot *s) { return 1u << s->n; }

/* ---- what the guest hears */

bool ahci_port_speaks(const struct ahci_port *p) { return ahci_port_read(p, REG_IS) & p->ie; }
static void tell(struct ahci_port *p, uint32_t is)
{
	p->is |= is;
	ahci_pin_follow(p->of);
}
static void halt(struct ahci_port *p, uint32_t is)
{
	p->halted = true;
	tell(p, is);
}
/* Its type and status come last, with all that stands behind them. */
static bool deliver(struct gmem *mem, gpa_t at, const uint8_t *fis, unsigned n)
{
	uint32_t *first = gmem_ptr(mem, at, n, true);
	if (!first || !gmem_write(mem, at + 4, fis + 4, n - 4)) return false;
	__atomic_store_n(first, (uint32_t)load_le(fis, 4), __ATOMIC_RELEASE);
	gmem_dirty(mem, at, n);
	return true;
}
static void receive(struct ahci_port *p, unsigned at, const uint8_t *fis, unsigned n, uint32_t is)
{
	if (p->cmd & CMD_FRE && !deliver(mem_of(p), p->fb + at, fis, n))
		halt(p, IS_MEMORY);
	else
		tell(p, fis[1] & FIS_I ? is : 0);
}
static void put_lba(uint8_t *fis, uint64_t lba)
{
	store_le(fis + 4, lba & 0xffffff, 2);
	fis[6] = (uint8_t)(lba >> 16);
	fis[8] = (uint8_t)(lba >> 24);
	store_le(fis + 9, lba >> 32 & 0xffff, 2);
}
static void receive_d2h(struct ahci_port *p, const struct ahci_slot *s)
{
	uint8_t fis[20] = {FIS_D2H, FIS_I, (uint8_t)p->tfd, (uint8_t)(p->tfd >> 8)};
	put_lba(fis, s->lba);
	fis[7] = s->fis[7];
	store_le(fis + 12, s->count, 2);
	receive(p, RX_D2H, fis, sizeof(fis), IS_DHR);
}
static void receive_pio(struct ahci_port *p, const struct ahci_slot *s)
{
	uint8_t fis[20] = {FIS_PIO, FIS_I | FIS_D, STATUS_READY | STATUS_DRQ};
	put_lba(fis, s->lba);
	fis[7] = s->fis[7];
	store_le(fis + 12, s->count, 2);
	fis[15] = STATUS_READY;
	store_le(fis + 16, s->moved & 0xffff, 2);
	receive(p, RX_PIO, fis, sizeof(fis), IS_PIO);
}
static void receive_sdb(struct ahci_port *p, uint32_t done)
{
	uint8_t fis[8] = {FIS_SDB, FIS_I, (uint8_t)p->tfd & 0x77, (uint8_t)(p->tfd >> 8)};
	store_le(fis + 4, done, 4);
	receive(p, RX_SDB, fis, sizeof(fis), IS_SDB);
}

/* ---- the link and the drive's first words: SATA 11.3, AHCI 10.1.2 */

static void announce(struct ahci_port *p)
{
	if (!p->waiting || !(p->cmd & CMD_FRE)) return;
	uint32_t sig = p->is_cd ? SIG_CD : (uint32_t)SIG_DISK;
	p->waiting = false;
	p->sig = sig;
	p->tfd = DIAGNOSED << 8 | (p->is_cd ? 0u : (unsigned)STATUS_READY);
	uint8_t fis[20] = {FIS_D2H, 0, (uint8_t)p->tfd, DIAGNOSED};
	fis[4] = (uint8_t)(sig >> 8);
	fis[5] = (uint8_t)(sig >> 16);
	fis[6] = (uint8_t)(sig >> 24);
	fis[12] = (uint8_t)sig;
	receive(p, RX_D2H, fis, sizeof(fis), 0);
}
static void drive_reset(struct ahci_port *p, bool hard)
{
	if (hard) { /* what SET FEATURES and its like say outlives SRST: ACS 7.48 */
		p->cache = true;
		p->multiple = 0;
	}
	if (p->is_cd) ahci_cd_reset(p, hard);
	p->srst = false;
	p->waiting = true;
	p->tfd = STATUS_BUSY;
}
static void link_up(struct ahci_port *p)
{
	p->comreset = false;
	p->link = true;
	p->serr |= SERR_X;
	drive_reset(p, true);
	announce(p);
	tell(p, 0);
}
static void link_down(struct ahci_port *p)
{
	ahci_port_drop(p);
	p->ci = p->sact = 0;
	p->link = p->waiting = false;
	p->tfd = TFD_NOTHING;
	p->sig = (uint32_t)SIG_NOTHING;
}
static void write_sctl(struct ahci_port *p, uint32_t val)
{
	unsigned was = p->sctl & SCTL_DET, det = val & SCTL_DET;
	p->sctl = val & 0xfff;
	if (det == was) return;
	p->comreset = !det;
	link_down(p);
	if (p->comreset && !p->stopping) link_up(p);
}
void ahci_port_reset(struct ahci_port *p, bool cold)
{
	if (cold) p->clb = p->fb = 0; /* AHCI 10.4.3 */
	p->is = p->ie = p->cmd = p->sctl = p->serr = p->sact = p->ci = 0;
	p->halted = p->stopping = p->comreset = false;
	p->current = 0;
	p->sig = (uint32_t)SIG_NOTHING;
	p->link = true;
	p->serr = SERR_X;
	drive_reset(p, true);
}
void ahci_port_drop(struct ahci_port *p)
{
	for (unsigned n = 0; n < AHCI_SLOTS; n++) p->slot[n].dropped |= p->slot[n].busy;
	p->stopping = p->inflight != 0;
}

/* ---- answers */

static void answer_queued(struct ahci_port *p, struct ahci_slot *s, unsigned error)
{
	if (error) {
		ahci_disk_failed(p, s, error);
		p->tfd = error << 8 | STATUS_READY | STATUS_ERROR;
		ahci_port_drop(p); /* all others fail with it: SATA 13.6.4.4 */
		receive_sdb(p, 0);
		halt(p, IS_TASK_FILE);
		return;
	}
	p->sact &= ~bit_of(s);
	receive_sdb(p, bit_of(s));
}
static void answer(struct ahci_port *p, struct ahci_slot *s, unsigned error)
{
	uint8_t moved[4];
	store_le(moved, s->moved, 4);
	if (error == AHCI_BUS_ERROR) {
		halt(p, IS_MEMORY);
		return;
	}
	if (s->overflow) tell(p, IS_OVERFLOW);
	if (s->queued) {
		answer_queued(p, s, error);
		return;
	}
	(void)gmem_write(mem_of(p), s->header + 4, moved, 4);
	p->tfd = error ? error << 8 | STATUS_READY | STATUS_ERROR : (unsigned)STATUS_READY;
	if (!error) p->ci &= ~bit_of(s);
	if (s->pio_in && !error) receive_pio(p, s);
	if (!s->pio_in || error || p->is_cd) receive_d2h(p, s);
	if (error) halt(p, IS_TASK_FILE);
}
static void finish(struct ahci_port *p, struct ahci_slot *s, unsigned error)
{
	s->busy = false;
	p->inflight--;
	p->of->inflight--;
	if (s->queued) p->queued--;
	if (!s->dropped) answer(p, s, error);
}

/* ---- commands: AHCI 5.3, 5.5 */

static uint32_t could_begin(const struct ahci_port *p)
{
	uint32_t busy = 0;
	for (unsigned n = 0; n < AHCI_SLOTS; n++) busy |= p->slot[n].busy ? 1u << n : 0;
	return p->ci & ~busy;
}
static bool may_begin(const struct ahci_port *p)
{
	const struct ahci *a = p->of;
	bool up = p->cmd & CMD_ST && p->link && !p->waiting && !p->halted && !p->stopping;
	return up && !a->paused && !a->held && !a->resetting && !(a->in_order && a->inflight) &&
	       !(p->tfd & (STATUS_BUSY | STATUS_DRQ)) && p->inflight == p->queued;
}
static bool is_queued(const struct ahci_port *p, const struct ahci_slot *s)
{
	enum { READ_FPDMA = 0x60, WRITE_FPDMA };
	return !p->is_cd && (s->fis[2] == READ_FPDMA || s->fis[2] == WRITE_FPDMA);
}
/* A FIS that writes the control register: the end of SRST is the drive's reset. */
static void control(struct ahci_port *p, const struct ahci_slot *s)
{
	bool srst = s->fis[15] & CONTROL_SRST;
	p->ci &= ~bit_of(s);
	if (p->srst && !srst) {
		drive_reset(p, false);
		announce(p);
	}
	p->srst = srst;
}
static bool fetch(struct ahci_port *p, struct ahci_slot *s)
{
	uint8_t h[HEADER];
	s->header = p->clb + (uint64_t)s->n * HEADER;
	if (!gmem_read(mem_of(p), s->header, h, HEADER)) return false;
	gpa_t table = load_le(h + 8, 8) & ~127ull;
	s->prds = (uint32_t)load_le(h + 2, 2);
	s->prdt = table + TABLE_PRDT;
	memset(s->cdb, 0, sizeof(s->cdb));
	return gmem_read(mem_of(p), table, s->fis, sizeof(s->fis)) &&
	       (!(load_le(h, 2) & HEADER_CDB) ||
		gmem_read(mem_of(p), table + TABLE_CDB, s->cdb, sizeof(s->cdb)));
}
static void clear(struct ahci_slot *s)
{
	s->dropped = s->queued = s->pio_in = s->lasting = s->flushed = s->overflow = false;
	s->rest_len = s->moved = 0;
	s->off = s->left = 0;
	s->range = 0;
	s->niov = s->used = 0;
	s->b.niov = 0;
}
static void execute(struct ahci_port *p, struct ahci_slot *s)
{
	s->lba = load_le(s->fis + 4, 2) | (uint64_t)s->fis[6] << 16 | (uint64_t)s->fis[8] << 24 |
		 load_le(s->fis + 9, 2) << 32;
	s->count = (uint16_t)load_le(s->fis + 12, 2);
	s->queued = is_queued(p, s);
	s->busy = true;
	p->inflight++;
	p->of->inflight++;
	p->current = s->n;
	if (s->queued) {
		p->queued++;
		p->ci &= ~bit_of(s); /* the drive has taken it: AHCI 5.5.2 */
	} else {
		p->tfd = STATUS_READY | STATUS_BUSY;
	}
	unsigned r = p->is_cd ? ahci_cd_begin(p, s) : ahci_disk_begin(p, s);
	if (r != AHCI_LATER) finish(p, s, r);
}
/* False: it has to wait. */
static bool begin(struct ahci_port *p, struct ahci_slot *s)
{
	clear(s);
	if (!fetch(p, s)) {
		halt(p, IS_MEMORY);
		return false;
	}
	if (p->inflight && !is_queued(p, s)) return false;
	if (s->fis[0] != FIS_H2D || (p->srst && s->fis[1] & FIS_COMMAND)) {
		halt(p, IS_INTERFACE);
		return false;
	}
	bool command = s->fis[1] & FIS_COMMAND;
	if (command && !meter_begin(&p->meter, 1)) return false;
	if (command)
		execute(p, s);
	else
		control(p, s);
	return true;
}
void ahci_port_run(struct ahci_port *p)
{
	uint32_t which;
	for (unsigned k = 0; k < AHCI_SLOTS && may_begin(p) && (which = could_begin(p)); k++)
		if (!begin(p, &p->slot[__builtin_ctz(which)])) return;
}

/* ---- the disk */

unsigned ahci_port_submit(struct ahci_slot *s)
{
	if (s->b.op == BLK_READ || s->b.op == BLK_WRITE) meter_moved(&s->of->meter, s->b.len);
	blk_submit(s->of->disk, &s->b);
	return AHCI_LATER;
}
unsigned ahci_port_data(struct ahci_slot *s)
{
	bool read = s->b.op == BLK_READ;
	uint64_t most = s->left < AHCI_PIECE ? s->left : AHCI_PIECE;
	if (!s->left) return AHCI_OK;
	int64_t got = ahci_prd_gather(s, most, AHCI_SECTOR, read);
	if (got < 0) return AHCI_BUS_ERROR;
	if (!got && !read) return AHCI_ABORT;
	s->overflow |= !got;
	if (!got) return AHCI_OK;
	s->b.off = s->off;
	s->b.len = (uint64_t)got;
	s->b.niov = (int)s->used;
	return ahci_port_submit(s);
}
static void note_changes(struct ahci_slot *s)
{
	const struct blk_req *b = &s->b;
	if (b->op == BLK_READ)
		for (unsigned i = 0; i < s->used; i++)
			gmem_dirty(mem_of(s->of), s->at[i], s->iov[i].iov_len);
	else if (b->op != BLK_FLUSH)
		blk_changed(s->of->disk, b->off, b->len);
}
static unsigned go_on(struct ahci_port *p, struct ahci_slot *s, int res)
{
	bool moves = s->b.op == BLK_READ || s->b.op == BLK_WRITE;
	if (moves && !res) {
		s->moved += (uint32_t)s->b.len;
		s->off += s->b.len;
		s->left -= s->b.len;
	}
	return p->is_cd ? ahci_cd_done(p, s, res) : ahci_disk_done(p, s, res);
}
static void blk_done(struct blk_req *b, int res)
{
	struct ahci_slot *s = container_of(b, struct ahci_slot, b);
	struct ahci_port *p = s->of;
	struct ahci *a = p->of;
	device_lock(&a->regs);
	note_changes(s);
	unsigned r = s->dropped ? (unsigned)AHCI_OK : go_on(p, s, res);
	if (r != AHCI_LATER) finish(p, s, r);
	if (p->stopping && !p->inflight) {
		p->stopping = false;
		if (p->comreset) link_up(p);
	}
	ahci_settle(a);
	ahci_port_run(p);
	if (!a->inflight) (void)pthread_cond_broadcast(&a->idle);
	device_unlock(&a->regs);
}
void ahci_port_init(struct ahci_port *p, struct ahci *a, unsigned n)
{
	p->of = a;
	p->n = n;
	for (unsigned i = 0; i < AHCI_SLOTS; i++) {
		p->slot[i].of = p;
		p->slot[i].n = (uint8_t)i;
		p->slot[i].b.done = blk_done;
		p->slot[i].b.iov = p->slot[i].iov;
	}
}

/* ---- registers */

static uint32_t status(const struct ahci_port *p)
{
	unsigned det = p->sctl & SCTL_DET;
	return p->link ? (uint32_t)SSTS_LINK : det == DET_OFF ? (uint32_t)SSTS_OFF : 0;
}
static uint32_t command(const struct ahci_port *p)
{
	bool runs = p->cmd & CMD_ST || p->stopping;
	return p->cmd | CMD_SUD_POD | (uint32_t)p->current << CMD_CCS |
	       (p->cmd & CMD_FRE ? (uint32_t)CMD_FR : 0) | (runs ? (uint32_t)CMD_CR : 0);
}
uint32_t ahci_port_read(const struct ahci_port *p, unsigned off)
{
	switch (off) {
	case REG_CLB: return (uint32_t)p->clb;
	case REG_CLBU: return (uint32_t)(p->clb >> 32);
	case REG_FB: return (uint32_t)p->fb;
	case REG_FBU: return (uint32_t)(p->fb >> 32);
	case REG_IS: return p->is | (p->serr & SERR_X ? (uint32_t)IS_CONNECT : 0);
	case REG_IE: return p->ie;
	case REG_CMD: return command(p);
	case REG_TFD: return p->tfd;
	case REG_SIG: return p->sig;
	case REG_SSTS: return status(p);
	case REG_SCTL: return p->sctl;
	case REG_SERR: return p->serr;
	case REG_SACT: return p->sact;
	case REG_CI: return p->ci;
	default: return 0;
	}
}
static void write_cmd(struct ahci_port *p, uint32_t val)
{
	uint32_t was = p->cmd;
	p->cmd = val & CMD_WRITABLE;
	if (val & CMD_CLO && !(was & CMD_ST)) p->tfd &= ~(uint32_t)(STATUS_BUSY | STATUS_DRQ);
	announce(p);
	if (was & CMD_ST && !(val & CMD_ST)) {
		ahci_port_drop(p);
		p->ci = p->sact = 0;
		p->halted = false;
		p->current = 0;
		/* What it was doing is over for the drive. */
		if (p->link && !p->waiting) p->tfd &= ~(uint32_t)(STATUS_BUSY | STATUS_DRQ);
	}
}
static void write_half(uint64_t *reg, bool high, uint32_t val, uint32_t align)
{
	unsigned by = high ? 32 : 0;
	*reg = (*reg & ~(0xffffffffull << by)) | (uint64_t)val << by;
	*reg &= ~(uint64_t)(align - 1);
}
void ahci_port_write(struct ahci_port *p, unsigned off, uint32_t val)
{
	switch (off) {
	case REG_CLB:
	case REG_CLBU: write_half(&p->clb, off == REG_CLBU, val, 1024); return;
	case REG_FB:
	case REG_FBU: write_half(&p->fb, off == REG_FBU, val, 256); return;
	case REG_IS: p->is &= ~(val & (uint32_t)IS_WRITABLE); break;
	case REG_IE: p->ie = val & (uint32_t)IE_WRITABLE; break;
	case REG_CMD: write_cmd(p, val); break;
	case REG_SCTL: write_sctl(p, val); break;
	case REG_SERR: p->serr &= ~val; break;
	case REG_SACT: p->sact |= p->cmd & CMD_ST ? val : 0; return;
	case REG_CI: p->ci |= p->cmd & CMD_ST ? val : 0; break;
	default: return;
	}
	ahci_pin_follow(p->of);
	ahci_port_run(p);
}

/* ---- state */

static bool is_possible(const struct ahci_port *p)
{
	return !(p->clb & 1023) && !(p->fb & 255) && !(p->cmd & ~(uint32_t)CMD_WRITABLE) &&
	       !(p->ie & ~(uint32_t)IE_WRITABLE) && !(p->is & ~(uint32_t)IS_WRITABLE) &&
	       p->current < AHCI_SLOTS && p->multiple <= 16;
}
void ahci_port_state(struct ahci_port *p, struct state *s)
{
	uint64_t size = p->info.size;
	STATE(s, p, clb);
	STATE(s, p, fb);
	STATE(s, p, is);
	STATE(s, p, ie);
	STATE(s, p, cmd);
	STATE(s, p, tfd);
	STATE(s, p, sig);
	STATE(s, p, sctl);
	STATE(s, p, serr);
	STATE(s, p, sact);
	STATE(s, p, ci);
	STATE(s, p, link);
	STATE(s, p, waiting);
	STATE(s, p, halted);
	STATE(s, p, srst);
	STATE(s, p, current);
	STATE(s, p, cache);
	STATE(s, p, multiple);
	STATE(s, p, error_log);
	state_bytes(s, "size", &size, sizeof(size));
	(void)state_need(s, size == p->info.size, "size of the drive");
	(void)state_need(s, is_possible(p), "registers of a port");
	if (p->is_cd) ahci_cd_state(p, s);
}
