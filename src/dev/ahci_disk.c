/* A SATA disk: the commands of ATA8-ACS that firmware and drivers give, and NCQ. */
#include "base/types.h"
#include "dev/ahci.h"
#include <stdio.h>
#include <string.h>

enum { /* ACS 7 */
       NOP = 0x00,
       DATA_SET = 0x06,
       READ = 0x20,
       READ_EXT = 0x24,
       READ_DMA_EXT = 0x25,
       NATIVE_MAX_EXT = 0x27,
       READ_MULTIPLE_EXT = 0x29,
       READ_LOG_EXT = 0x2f,
       WRITE = 0x30,
       WRITE_EXT = 0x34,
       WRITE_DMA_EXT = 0x35,
       WRITE_MULTIPLE_EXT = 0x39,
       WRITE_DMA_FUA_EXT = 0x3d,
       VERIFY = 0x40,
       VERIFY_EXT = 0x42,
       READ_LOG_DMA_EXT = 0x47,
       READ_FPDMA = 0x60,
       WRITE_FPDMA = 0x61,
       DIAGNOSE = 0x90,
       READ_MULTIPLE = 0xc4,
       WRITE_MULTIPLE = 0xc5,
       SET_MULTIPLE = 0xc6,
       READ_DMA = 0xc8,
       WRITE_DMA = 0xca,
       WRITE_MULTIPLE_FUA_EXT = 0xce,
       STANDBY_NOW = 0xe0,
       IDLE_NOW = 0xe1,
       STANDBY = 0xe2,
       IDLE = 0xe3,
       CHECK_POWER = 0xe5,
       SLEEP = 0xe6,
       FLUSH = 0xe7,
       FLUSH_EXT = 0xea,
       IDENTIFY = 0xec,
       SET_FEATURES = 0xef,
       NATIVE_MAX = 0xf8
};
enum { LBA = 0x40, FUA = 0x80 }; /* device register */
enum { MULTIPLE_MOST = 16, TRIM_BLOCKS = 8, LOG_DIRECTORY = 0, LOG_NCQ = 0x10 };
enum { ACTIVE = 0xff };

/* ---- what it says of itself */

/* ACS 3.4.9: two characters a word, the first in its upper half. */
static void text(uint16_t *w, unsigned words, const char *s)
{
	size_t n = strnlen(s, 2 * words);
	for (unsigned i = 0; i < 2 * words; i++) {
		unsigned c = i < n ? (uint8_t)s[i] : ' ';
		w[i / 2] = (uint16_t)(i & 1 ? w[i / 2] | c : c << 8);
	}
}
void ahci_identify(const struct ahci_port *p, uint16_t w[256], const char *model)
{
	char serial[sizeof(p->serial) + 1] = {0};
	memcpy(serial, p->serial, sizeof(p->serial));
	text(w + 10, 10, serial);
	text(w + 23, 4, "1");
	text(w + 27, 20, model);
	w[49] = 1 << 8 | 1 << 9 | 3 << 10; /* DMA, LBA, IORDY */
	w[50] = 1 << 14;
	w[53] = 6;					/* 64 to 70 and 88 are valid */
	w[63] = 7;					/* multiword DMA */
	w[64] = 3;					/* PIO 3 and 4 */
	for (unsigned i = 65; i <= 68; i++) w[i] = 120; /* ns a cycle */
	w[76] = 7 << 1;					/* SATA 1 to 3 */
	w[80] = 0x1f0;					/* ATA 4 to 8 */
	w[83] = w[84] = w[87] = 1 << 14;
	w[88] = 0x203f;	 /* UDMA 5 of 0 to 5 */
	w[222] = 0x1020; /* serial */
}
void ahci_identify_sum(uint16_t w[256])
{
	uint8_t sum = 0xa5;
	w[255] = 0xa5;
	for (unsigned i = 0; i < 255; i++) sum = (uint8_t)(sum + w[i] + (w[i] >> 8));
	w[255] |= (uint16_t)((uint8_t)-sum << 8);
}
/* The geometry that nobody uses: ACS's predecessors say how it follows from the size. */
static void geometry(const struct ahci_port *p, uint16_t w[256])
{
	enum { HEADS = 16, TRACK = 63, CYLINDERS = 16383 };
	uint64_t all = p->sectors / (HEADS * TRACK), n = all < CYLINDERS ? all : CYLINDERS;
	w[1] = w[54] = (uint16_t)n;
	w[3] = w[55] = HEADS;
	w[6] = w[56] = TRACK;
	store_le(&w[57], n * HEADS * TRACK, 4);
}
static uint64_t world_wide_name(const struct ahci_port *p)
{
	uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
	for (unsigned i = 0; i < sizeof(p->serial); i++)
		hash = (hash ^ (uint8_t)p->serial[i]) * 0x100000001b3;
	return 5ull << 60 | hash >> 4;
}
static unsigned identify(const struct ahci_port *p, struct ahci_slot *s)
{
	enum { POWER = 1 << 3, CACHE = 1 << 5, AHEAD = 1 << 6, NOP_SET = 1 << 14 };
	enum { LBA48 = 1 << 10, FLUSHES = 3 << 12, LOGS = 1 << 5, FUA_SET = 1 << 6, WWN = 1 << 8 };
	const uint64_t most28 = 0x0fffffff;
	uint16_t w[256] = {0};
	ahci_identify(p, w, "Lodge SATA disk");
	w[0] = 1 << 6;
	geometry(p, w);
	w[47] = 0x8000 | MULTIPLE_MOST;
	w[53] |= 1;
	w[59] = p->multiple ? 0x100 | p->multiple : 0;
	store_le(&w[60], p->sectors < most28 ? p->sectors : most28, 4);
	w[75] = AHCI_SLOTS - 1;
	w[76] |= 1 << 8;
	w[82] = POWER | CACHE | AHEAD | NOP_SET;
	w[83] |= LBA48 | FLUSHES;
	w[84] |= LOGS | FUA_SET | WWN;
	w[85] = (uint16_t)(w[82] & (p->cache ? ~0 : ~CACHE));
	w[86] = LBA48 | FLUSHES;
	w[87] = w[84];
	store_le(&w[100], p->sectors, 8);
	w[105] = TRIM_BLOCKS;
	w[106] = 1 << 14;
	for (unsigned i = 0; i < 4; i++)
		w[108 + i] = (uint16_t)(world_wide_name(p) >> (48 - 16 * i));
	w[169] = p->info.discard;
	w[217] = 1; /* it does not turn */
	ahci_identify_sum(w);
	s->pio_in = true;
	return ahci_prd_give(s, w, sizeof(w));
}

/* ---- logs: ACS annex A */

void ahci_disk_failed(struct ahci_port *p, const struct ahci_slot *s, unsigned error)
{
	uint8_t *log = p->error_log, sum = 0;
	memset(log, 0, AHCI_SECTOR);
	log[0] = s->n;
	log[2] = STATUS_READY | STATUS_ERROR;
	log[3] = (uint8_t)error;
	store_le(log + 4, s->lba & 0xffffff, 4);
	log[7] = s->fis[7];
	store_le(log + 8, s->lba >> 24, 2);
	log[10] = (uint8_t)(s->lba >> 40);
	for (unsigned i = 0; i < AHCI_SECTOR - 1; i++) sum = (uint8_t)(sum + log[i]);
	log[AHCI_SECTOR - 1] = (uint8_t)-sum;
}
static unsigned read_log(struct ahci_port *p, struct ahci_slot *s, bool pio)
{
	uint8_t page[AHCI_SECTOR] = {0};
	unsigned log = s->lba & 0xff, first = s->lba >> 8 & 0xff;
	if (s->count != 1 || first) return AHCI_ABORT;
	s->pio_in = pio;
	if (log == LOG_NCQ) return ahci_prd_give(s, p->error_log, AHCI_SECTOR);
	if (log != LOG_DIRECTORY) return AHCI_ABORT;
	page[0] = page[2 * LOG_NCQ] = 1; /* version; how many pages it has */
	return ahci_prd_give(s, page, AHCI_SECTOR);
}

/* ---- reading and writing */

static bool is_long(uint8_t op)
{
	switch (op) {
	case READ_EXT:
	case READ_DMA_EXT:
	case READ_MULTIPLE_EXT:
	case WRITE_EXT:
	case WRITE_DMA_EXT:
	case WRITE_MULTIPLE_EXT:
	case WRITE_DMA_FUA_EXT:
	case WRITE_MULTIPLE_FUA_EXT:
	case VERIFY_EXT:
	case NATIVE_MAX_EXT:
	case FLUSH_EXT:
	case READ_FPDMA:
	case WRITE_FPDMA: return true;
	default: return false;
	}
}
static unsigned place(const struct ahci_port *p, struct ahci_slot *s)
{
	bool wide = is_long(s->fis[2]);
	uint64_t n = s->queued ? s->fis[3] | (uint64_t)s->fis[11] << 8
			       : s->count & (wide ? 0xffffu : 0xffu);
	if (!(s->fis[7] & LBA)) return AHCI_ABORT; /* by cylinder and head */
	if (!wide) s->lba = (s->lba & 0xffffff) | (uint64_t)(s->fis[7] & 15) << 24;
	if (!n) n = wide ? 0x10000 : 0x100;
	if (s->lba > p->sectors || n > p->sectors - s->lba) return AHCI_NO_ID;
	s->off = s->lba * AHCI_SECTOR;
	s->left = n * AHCI_SECTOR;
	return AHCI_OK;
}
static unsigned data(struct ahci_port *p, struct ahci_slot *s, bool write)
{
	unsigned r = place(p, s);
	if (r) return r;
	if (write && p->info.readonly) return AHCI_ABORT;
	s->b.op = write ? BLK_WRITE : BLK_READ;
	return ahci_port_data(s);
}
static unsigned data_pio(struct ahci_port *p, struct ahci_slot *s, bool write)
{
	s->pio_in = !write;
	return data(p, s, write);
}
static unsigned data_multiple(struct ahci_port *p, struct ahci_slot *s, bool write)
{
	return p->multiple ? data_pio(p, s, write) : (unsigned)AHCI_ABORT;
}
static unsigned data_queued(struct ahci_port *p, struct ahci_slot *s, bool write)
{
	if (s->fis[12] >> 3 != s->n) return AHCI_ABORT; /* AHCI 5.6.4: a slot's number is its tag */
	s->lasting = write && s->fis[7] & FUA;
	return data(p, s, write);
}
static unsigned write_lasting(struct ahci_port *p, struct ahci_slot *s)
{
	s->lasting = true;
	return data(p, s, true);
}
static unsigned verify(const struct ahci_port *p, struct ahci_slot *s)
{
	unsigned r = place(p, s);
	s->left = 0;
	return r;
}
static unsigned flush(const struct ahci_port *p, struct ahci_slot *s)
{
	if (p->info.readonly) return AHCI_OK;
	s->flushed = true;
	s->b.op = BLK_FLUSH;
	s->b.off = s->b.len = 0;
	s->b.niov = 0;
	return ahci_port_submit(s);
}

/* ---- TRIM: ACS 7.10. A block of ranges at a time, of it one after the other. */

static unsigned trim_next(struct ahci_port *p, struct ahci_slot *s)
{
	enum { ENTRY = 8, ENTRIES = AHCI_SECTOR / ENTRY };
	for (; s->left; s->left -= AHCI_SECTOR, s->range = 0) {
		if (!s->range) {
			unsigned r = ahci_prd_take(s, s->ranges, AHCI_SECTOR);
			if (r) return r;
		}
		while (s->range < ENTRIES) {
			uint64_t v = load_le(s->ranges + ENTRY * s->range++, ENTRY);
			uint64_t at = v & 0xffffffffffff, n = v >> 48;
			if (!n || !p->info.discard) continue;
			if (at > p->sectors || n > p->sectors - at) return AHCI_NO_ID;
			s->b.op = BLK_DISCARD;
			s->b.off = at * AHCI_SECTOR;
			s->b.len = n * AHCI_SECTOR;
			s->b.niov = 0;
			return ahci_port_submit(s);
		}
	}
	return AHCI_OK;
}
static unsigned trim(struct ahci_port *p, struct ahci_slot *s)
{
	enum { TRIM = 1 };
	if (!(s->fis[3] & TRIM) || !s->count || s->count > TRIM_BLOCKS) return AHCI_ABORT;
	if (p->info.readonly) return AHCI_ABORT;
	s->left = s->count * (uint64_t)AHCI_SECTOR;
	return trim_next(p, s);
}

/* ---- the rest */

static unsigned set_features(struct ahci_port *p, const struct ahci_slot *s)
{
	enum { CACHE_ON = 0x02, MODE = 0x03, AHEAD_OFF = 0x55, CACHE_OFF = 0x82, AHEAD_ON = 0xaa };
	enum { KEEP = 0x66, REVERT = 0xcc };
	switch (s->fis[3]) {
	case CACHE_ON:
	case CACHE_OFF: p->cache = s->fis[3] == CACHE_ON; return AHCI_OK;
	case MODE:
	case AHEAD_OFF:
	case AHEAD_ON:
	case KEEP:
	case REVERT: return AHCI_OK;
	default: return AHCI_ABORT;
	}
}
static unsigned set_multiple(struct ahci_port *p, const struct ahci_slot *s)
{
	unsigned n = s->count & 0xff;
	if (n > MULTIPLE_MOST || n & (n - 1)) return AHCI_ABORT;
	p->multiple = (uint8_t)n;
	return AHCI_OK;
}
static unsigned native_max(const struct ahci_port *p, struct ahci_slot *s)
{
	const uint64_t most = is_long(s->fis[2]) ? 0xffffffffffff : 0x0fffffff;
	uint64_t last = p->sectors - 1;
	s->lba = last < most ? last : most;
	if (!is_long(s->fis[2])) {
		s->fis[7] = (uint8_t)((s->fis[7] & 0xf0) | s->lba >> 24);
		s->lba &= 0xffffff;
	}
	return AHCI_OK;
}
static unsigned diagnose(struct ahci_slot *s)
{
	s->lba = 1; /* what a disk is known by */
	s->count = 1;
	return AHCI_OK;
}
static unsigned other(struct ahci_port *p, struct ahci_slot *s)
{
	switch (s->fis[2]) {
	case IDENTIFY: return identify(p, s);
	case SET_FEATURES: return set_features(p, s);
	case SET_MULTIPLE: return set_multiple(p, s);
	case NATIVE_MAX:
	case NATIVE_MAX_EXT: return native_max(p, s);
	case VERIFY:
	case VERIFY_EXT: return verify(p, s);
	case READ_LOG_EXT:
	case READ_LOG_DMA_EXT: return read_log(p, s, s->fis[2] == READ_LOG_EXT);
	case DIAGNOSE: return diagnose(s);
	case STANDBY_NOW:
	case STANDBY:
	case SLEEP: return flush(p, s);
	case CHECK_POWER: s->count = ACTIVE; return AHCI_OK;
	case IDLE_NOW:
	case IDLE: return AHCI_OK;
	default: return AHCI_ABORT;
	}
}
unsigned ahci_disk_begin(struct ahci_port *p, struct ahci_slot *s)
{
	switch (s->fis[2]) {
	case READ_DMA:
	case READ_DMA_EXT: return data(p, s, false);
	case WRITE_DMA:
	case WRITE_DMA_EXT: return data(p, s, true);
	case READ_FPDMA: return data_queued(p, s, false);
	case WRITE_FPDMA: return data_queued(p, s, true);
	case WRITE_DMA_FUA_EXT:
	case WRITE_MULTIPLE_FUA_EXT: return write_lasting(p, s);
	case READ:
	case READ_EXT: return data_pio(p, s, false);
	case WRITE:
	case WRITE_EXT: return data_pio(p, s, true);
	case READ_MULTIPLE:
	case READ_MULTIPLE_EXT: return data_multiple(p, s, false);
	case WRITE_MULTIPLE:
	case WRITE_MULTIPLE_EXT: return data_multiple(p, s, true);
	case FLUSH:
	case FLUSH_EXT: return flush(p, s);
	case DATA_SET: return trim(p, s);
	default: return other(p, s);
	}
}
static unsigned failed(struct ahci_slot *s)
{
	s->lba = s->b.off / AHCI_SECTOR;
	return s->b.op == BLK_READ ? AHCI_UNREADABLE : AHCI_ABORT;
}
unsigned ahci_disk_done(struct ahci_port *p, struct ahci_slot *s, int res)
{
	if (res) return failed(s);
	if (s->b.op == BLK_DISCARD) return trim_next(p, s);
	if (s->b.op == BLK_FLUSH) return AHCI_OK;
	unsigned r = ahci_port_data(s);
	if (!r && s->b.op == BLK_WRITE && !s->flushed && (s->lasting || !p->cache))
		return flush(p, s);
	return r;
}
