/* What a CD or DVD drive tells of itself and of its disc: one track of data, complete. All numbers
 * are big-endian. */
#include "base/types.h"
#include "dev/ahci.h"
#include <string.h>

enum { MINUTE = 60, FRAMES = 75, PREGAP = 150 };
enum { CD_MOST = 450000, CD_ROM = 0x08, DVD_ROM = 0x10 }; /* sectors; profiles */
enum { NO_ANSWER = -2, NEEDS_MEDIUM = -3 };
enum { TRACK_1 = 1, LEAD_OUT = 0xaa, DATA_TRACK = 0x14, MSF = 2 };
enum { SPEED = 0x1600 }; /* KB/s */

uint32_t ahci_cd_number(const uint8_t *p, unsigned len)
{
	uint32_t v = 0;
	for (unsigned i = 0; i < len; i++) v = v << 8 | p[i];
	return v;
}
static void put(uint8_t *to, uint64_t v, unsigned len)
{
	for (unsigned i = 0; i < len; i++) to[i] = (uint8_t)(v >> 8 * (len - 1 - i));
}
static void text(uint8_t *to, const char *s, unsigned n)
{
	memset(to, ' ', n);
	memcpy(to, s, strnlen(s, n));
}
static bool is_dvd(const struct ahci_port *p) { return p->sectors > CD_MOST; }
static unsigned profile(const struct ahci_port *p)
{
	return p->cd.open ? 0 : is_dvd(p) ? DVD_ROM : CD_ROM;
}
static void put_msf(uint8_t *to, uint64_t sector) /* MMC 4.2.4 */
{
	sector += PREGAP;
	to[0] = (uint8_t)(sector / FRAMES / MINUTE);
	to[1] = (uint8_t)(sector / FRAMES % MINUTE);
	to[2] = (uint8_t)(sector % FRAMES);
}
static void put_place(uint8_t to[4], uint64_t sector, bool msf)
{
	if (msf)
		put_msf(to + 1, sector);
	else
		put(to, sector, 4);
}

/* ---- SPC 6.4 */

static int vital(const struct ahci_port *p, unsigned page, uint8_t *to)
{
	enum { PAGES, SERIAL = 0x80, NAMES = 0x83 };
	to[0] = 5;
	to[1] = (uint8_t)page;
	switch (page) {
	case PAGES:
		to[3] = 3;
		to[5] = SERIAL;
		to[6] = NAMES;
		break;
	case SERIAL:
		to[3] = sizeof(p->serial);
		memcpy(to + 4, p->serial, sizeof(p->serial));
		break;
	case NAMES:
		to[3] = 4 + sizeof(p->serial);
		to[4] = 2; /* ASCII, of the vendor's own */
		to[7] = sizeof(p->serial);
		memcpy(to + 8, p->serial, sizeof(p->serial));
		break;
	default: return NO_ANSWER;
	}
	return 4 + to[3];
}
static int inquiry(struct ahci_port *p, const uint8_t *c, uint8_t *to)
{
	enum { VITAL = 1, LEN = 36 };
	if (c[1] & VITAL) return vital(p, c[2], to);
	if (c[2]) return NO_ANSWER;
	to[0] = 5; /* CD or DVD */
	to[1] = 0x80;
	to[2] = 5; /* SPC-3 */
	to[3] = 0x32;
	to[4] = LEN - 5;
	text(to + 8, "LODGE", 8);
	text(to + 16, "CD-ROM", 16);
	text(to + 32, "1", 4);
	return LEN;
}
static int report_luns(struct ahci_port *p, const uint8_t *c, uint8_t *to)
{
	(void)p, (void)c;
	put(to, 8, 4);
	return 16;
}

/* ---- mode pages: MMC 7 */

static unsigned page_errors(const struct ahci_port *p, uint8_t *to)
{
	(void)p;
	to[3] = 5; /* tries */
	return 12;
}
static unsigned page_power(const struct ahci_port *p, uint8_t *to)
{
	(void)p, (void)to;
	return 12;
}
static unsigned page_audio(const struct ahci_port *p, uint8_t *to)
{
	(void)p;
	to[2] = 4;
	return 16;
}
static unsigned page_capabilities(const struct ahci_port *p, uint8_t *to)
{
	enum { LOCKS = 1, LOCKED = 2, EJECTS = 8, TRAY = 1 << 5 };
	to[2] = 0x3b; /* reads CD-R, CD-RW, DVD-ROM, DVD-R */
	to[4] = 0x70; /* sessions, mode 2 */
	to[6] = (uint8_t)(LOCKS | EJECTS | TRAY | (p->cd.locked ? LOCKED : 0));
	put(to + 8, SPEED, 2);
	put(to + 12, 512, 2); /* KiB of buffer */
	put(to + 14, SPEED, 2);
	return 22;
}
static const struct page {
	uint8_t code;
	unsigned (*fill)(const struct ahci_port *p, uint8_t *to);
} pages[] = {
	{0x01, page_errors}, {0x0e, page_audio}, {0x1a, page_power}, {0x2a, page_capabilities}};

static int modes(const struct ahci_port *p, const uint8_t *c, uint8_t *to, unsigned head)
{
	enum { CHANGEABLE = 1, SAVED = 3, ALL = 0x3f, NO_SUBPAGE = 0, ALL_SUBPAGES = 0xff };
	unsigned want = c[2] & 0x3f, how = c[2] >> 6, n = head;
	if (how == SAVED || (c[3] != NO_SUBPAGE && c[3] != ALL_SUBPAGES)) return NO_ANSWER;
	for (unsigned k = 0; k < COUNT(pages); k++) {
		if (want != ALL && want != pages[k].code) continue;
		unsigned len = pages[k].fill(p, to + n);
		if (how == CHANGEABLE) memset(to + n, 0, len); /* nothing is */
		to[n] = pages[k].code;
		to[n + 1] = (uint8_t)(len - 2);
		n += len;
	}
	return n == head ? NO_ANSWER : (int)n;
}
static int mode_sense_6(struct ahci_port *p, const uint8_t *c, uint8_t *to)
{
	int n = modes(p, c, to, 4);
	if (n > 0) to[0] = (uint8_t)(n - 1);
	return n;
}
static int mode_sense_10(struct ahci_port *p, const uint8_t *c, uint8_t *to)
{
	enum { DATA_120 = 0x01, OPEN = 0x71 };
	int n = modes(p, c, to, 8);
	if (n > 0) put(to, (unsigned)n - 2, 2);
	to[2] = p->cd.open ? OPEN : DATA_120;
	return n;
}

/* ---- the disc */

static int capacity(struct ahci_port *p, const uint8_t *c, uint8_t *to)
{
	(void)c;
	put(to, p->sectors ? p->sectors - 1 : 0, 4);
	put(to + 4, AHCI_CD_SECTOR, 4);
	return 8;
}
static uint8_t *put_track(uint8_t *to, unsigned track, uint64_t at, bool msf)
{
	to[1] = DATA_TRACK;
	to[2] = (uint8_t)track;
	put_place(to + 4, at, msf);
	return to + 8;
}
/* MMC 6.26.3.4: an entry each for the first and the last track, the lead-out, and the track. */
static uint8_t *put_raw(uint8_t *to, unsigned point, uint64_t at, unsigned number)
{
	to[0] = 1; /* session */
	to[1] = DATA_TRACK;
	to[3] = (uint8_t)point;
	if (number)
		to[8] = (uint8_t)number;
	else
		put_msf(to + 8, at);
	return to + 11;
}
static int toc(struct ahci_port *p, const uint8_t *c, uint8_t *to)
{
	enum { TRACKS, SESSIONS, RAW };
	bool msf = c[1] & MSF;
	unsigned format = c[2] & 15 ? c[2] & 15u : c[9] >> 6;
	uint8_t *end = to + 4;
	to[2] = to[3] = TRACK_1;
	switch (format) {
	case TRACKS:
		if (c[6] > TRACK_1 && c[6] != LEAD_OUT) return NO_ANSWER;
		if (c[6] <= TRACK_1) end = put_track(end, TRACK_1, 0, msf);
		end = put_track(end, LEAD_OUT, p->sectors, msf);
		break;
	case SESSIONS: end = put_track(end, TRACK_1, 0, msf); break;
	case RAW:
		end = put_raw(end, 0xa0, 0, TRACK_1);
		end = put_raw(end, 0xa1, 0, TRACK_1);
		end = put_raw(end, 0xa2, p->sectors, 0);
		end = put_raw(end, TRACK_1, 0, 0);
		break;
	default: return NO_ANSWER;
	}
	put(to, (uint64_t)(end - to) - 2, 2);
	return (int)(end - to);
}
static int disc_information(struct ahci_port *p, const uint8_t *c, uint8_t *to)
{
	enum { COMPLETE = 0x0e, LEN = 34 };
	(void)p;
	if (c[1] & 7) return NO_ANSWER;
	put(to, LEN - 2, 2);
	to[2] = COMPLETE;
	to[3] = to[4] = to[5] = to[6] = 1;
	to[7] = 0x20;		  /* for anybody's use */
	memset(to + 16, 0xff, 8); /* nothing can be added */
	return LEN;
}
static int track_information(struct ahci_port *p, const uint8_t *c, uint8_t *to)
{
	enum { BY_SECTOR, BY_TRACK, BY_SESSION, MODE_1 = 1, DATA = 4, LEN = 36 };
	uint32_t number = ahci_cd_number(c + 2, 4), by = c[1] & 3;
	if (by == BY_SECTOR ? number >= p->sectors : number != TRACK_1) return NO_ANSWER;
	put(to, LEN - 2, 2);
	to[2] = to[3] = TRACK_1;
	to[5] = DATA;
	to[6] = MODE_1;
	put(to + 24, p->sectors, 4);
	return LEN;
}
static int subchannel(struct ahci_port *p, const uint8_t *c, uint8_t *to)
{
	enum { WANTED = 0x40, POSITION = 1, NO_AUDIO = 0x15 };
	bool msf = c[1] & MSF;
	to[1] = NO_AUDIO;
	if (!(c[2] & WANTED)) return 4;
	if (c[3] != POSITION) return NO_ANSWER;
	(void)p;
	put(to + 2, 12, 2);
	to[4] = POSITION;
	to[5] = DATA_TRACK;
	to[6] = to[7] = TRACK_1;
	put_place(to + 8, 0, msf);
	put_place(to + 12, 0, msf);
	return 16;
}
static int mechanism(struct ahci_port *p, const uint8_t *c, uint8_t *to)
{
	enum { OPEN = 1 << 4 };
	(void)c;
	to[1] = p->cd.open ? OPEN : 0;
	to[5] = 1; /* slots, of which there is a table of no length */
	return 8;
}
/* MMC 6.22.3: layer 0 of a DVD-ROM; its copyright: none; which of these there are. */
static int dvd_structure(struct ahci_port *p, const uint8_t *c, uint8_t *to)
{
	enum { PHYSICAL, COPYRIGHT, MAKER = 4, LIST = 0xff, FIRST = 0x30000 };
	static const uint8_t kinds[] = {PHYSICAL, COPYRIGHT, MAKER};
	int n = 4;
	if (c[7] == LIST) {
		for (unsigned i = 0; i < COUNT(kinds); i++, n += 4) {
			to[n] = kinds[i];
			to[n + 1] = 0x40; /* can be read */
			put(to + n + 2, kinds[i] == COPYRIGHT ? 8 : 2052, 2);
		}
	} else if (!is_dvd(p) || c[6]) {
		return NO_ANSWER;
	} else if (c[7] == PHYSICAL) {
		to[4] = 0x01; /* DVD-ROM, version 1 */
		to[5] = 0x0f; /* 120 mm, any rate */
		to[6] = 0x01; /* one layer, embossed */
		put(to + 9, FIRST, 3);
		put(to + 13, FIRST + p->sectors - 1, 3);
		n = 2052;
	} else if (c[7] == COPYRIGHT) {
		n = 8;
	} else if (c[7] == MAKER) {
		n = 2052;
	} else {
		return NO_ANSWER;
	}
	put(to, (unsigned)n - 2, 2);
	return n;
}

/* ---- features and events: MMC 5.3, 6.5, 6.6 */

struct feature {
	uint16_t code;
	uint8_t flags; /* version, persistent, current */
	uint8_t len;
	uint8_t data[8];
};
enum { ALWAYS = 3, FEATURE_PROFILES = 0, FEATURE_CD_READ = 0x1e, FEATURE_DVD_READ = 0x1f };
static const struct feature features[] = {
	{FEATURE_PROFILES, ALWAYS, 8, {0, DVD_ROM, 0, 0, 0, CD_ROM, 0, 0}},
	{0x01, 2 << 2 | ALWAYS, 8, {0, 0, 0, 7, 1}},	     /* core: SATA */
	{0x02, 1 << 2 | ALWAYS, 4, {2}},		     /* events, polled for */
	{0x03, ALWAYS, 4, {0x29}},			     /* tray, ejects, locks */
	{0x10, 0, 8, {0, 0, AHCI_CD_SECTOR >> 8, 0, 0, 16}}, /* random reads */
	{FEATURE_CD_READ, 2 << 2, 4, {0}},
	{FEATURE_DVD_READ, 1 << 2, 4, {0}},
	{0x100, ALWAYS, 0, {0}}, /* power */
	{0x105, ALWAYS, 0, {0}}, /* timeouts */
};
static bool is_current(const struct ahci_port *p, const struct feature *f)
{
	unsigned now = profile(p);
	if (f->code == FEATURE_CD_READ) return now == CD_ROM;
	if (f->code == FEATURE_DVD_READ) return now == DVD_ROM;
	return f->flags & 1 || now;
}
static uint8_t *put_feature(const struct ahci_port *p, const struct feature *f, uint8_t *to)
{
	put(to, f->code, 2);
	to[2] = (uint8_t)(f->flags | is_current(p, f));
	to[3] = f->len;
	memcpy(to + 4, f->data, f->len);
	if (f->code == FEATURE_PROFILES) {
		to[6] = profile(p) == DVD_ROM;
		to[10] = profile(p) == CD_ROM;
	}
	return to + 4 + f->len;
}
static int configuration(struct ahci_port *p, const uint8_t *c, uint8_t *to)
{
	enum { ALL, CURRENT, ONE };
	unsigned how = c[1] & 3, from = ahci_cd_number(c + 2, 2);
	uint8_t *end = to + 8;
	if (how > ONE) return NO_ANSWER;
	put(to + 6, profile(p), 2);
	for (unsigned i = 0; i < COUNT(features); i++) {
		const struct feature *f = &features[i];
		if (f->code < from || (how == ONE && f->code != from)) continue;
		if (how != CURRENT || is_current(p, f)) end = put_feature(p, f, end);
	}
	put(to, (uint64_t)(end - to) - 4, 4);
	return (int)(end - to);
}
static int event(struct ahci_port *p, const uint8_t *c, uint8_t *to)
{
	enum { POLLED = 1, MEDIA = 4, NONE = 0x80, OPEN = 1, PRESENT = 2 };
	if (!(c[1] & POLLED)) return NO_ANSWER;
	to[3] = 1 << MEDIA;
	if (!(c[4] & 1 << MEDIA)) {
		put(to, 2, 2);
		to[2] = NONE;
		return 4;
	}
	put(to, 6, 2);
	to[2] = MEDIA;
	to[4] = p->cd.event;
	to[5] = p->cd.open ? OPEN : PRESENT;
	p->cd.event = 0;
	return 8;
}

int ahci_cd_tell(struct ahci_port *p, const uint8_t cdb[16], uint8_t to[AHCI_CD_ANSWER])
{
	static const struct {
		uint8_t opcode, at, len; /* where the command says how much room there is */
		bool medium;
		int (*tell)(struct ahci_port *p, const uint8_t *c, uint8_t *to);
	} table[] = {{0x12, 3, 2, false, inquiry},
		     {0x1a, 4, 1, false, mode_sense_6},
		     {0x25, 0, 0, true, capacity},
		     {0x42, 7, 2, true, subchannel},
		     {0x43, 7, 2, true, toc},
		     {0x46, 7, 2, false, configuration},
		     {0x4a, 7, 2, false, event},
		     {0x51, 7, 2, true, disc_information},
		     {0x52, 7, 2, true, track_information},
		     {0x5a, 7, 2, false, mode_sense_10},
		     {0xa0, 6, 4, false, report_luns},
		     {0xad, 8, 2, true, dvd_structure},
		     {0xbd, 8, 2, false, mechanism}};
	for (unsigned i = 0; i < COUNT(table); i++) {
		if (table[i].opcode != cdb[0]) continue;
		if (table[i].medium && p->cd.open) return NEEDS_MEDIUM;
		int n = table[i].tell(p, cdb, to);
		uint32_t most = table[i].len ? ahci_cd_number(cdb + table[i].at, table[i].len)
					     : AHCI_CD_ANSWER;
		return n > 0 && (uint32_t)n > most ? (int)most : n;
	}
	return -1;
}
