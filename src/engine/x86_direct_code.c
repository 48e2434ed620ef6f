/* What in a page of code the host's CPU may not execute by itself: any place from which the bytes,
 * read as an instruction, are one that tells of the host instead of the guest, or moves state that
 * is laid out as the host has it (SDM 3, 26.1.2 and 26.1.3, those that user code may execute).
 * Reading the TSC faults there, as most others do; verr, verw, lar find what Linux has everywhere,
 * and so do sldt, str and smsw, where they do not fault. */
#include "engine/x86_direct.h"
#include <cpuid.h>
#include <string.h>

enum { ESCAPE = 0x0f, REP = 0xf3 };
static bool is_reg(uint8_t modrm) { return modrm >> 6 == 3; }
static unsigned which(uint8_t modrm) { return modrm >> 3 & 7; }
/* Do sgdt and sidt fault in user code (and Linux answers them with constants)? */
static bool has_umip(void)
{
	enum { LEAF = 7, UMIP = 1 << 2, ASKED = 1, HAS = 2 };
	static _Atomic unsigned known; /* in a guest cpuid takes as long as a thousand others */
	if (!known) {
		unsigned a, b, c = 0, d;
		bool has = __get_cpuid_count(LEAF, 0, &a, &b, &c, &d) && c & UMIP;
		known = has ? ASKED | HAS : ASKED;
	}
	return known & HAS;
}
static bool is_table_read(uint8_t modrm) { return !is_reg(modrm) && which(modrm) <= 1; }
/* rdpid: f3 and perhaps REX before it; rdseed has none. */
static bool is_rdpid(const uint8_t *page, unsigned at, uint8_t modrm)
{
	if (!is_reg(modrm) || which(modrm) != 7) return false;
	return at < 2 || page[at - 1] == REP || page[at - 2] == REP;
}
/* Two bytes behind it are there. */
static bool tells(const uint8_t *page, unsigned at, bool umip)
{
	enum { SYSENTER = 0x34, CPUID = 0xa2, XGETBV = 0xd0, LSL = 3 };
	uint8_t op = page[at + 1], modrm = page[at + 2];
	switch (op) {
	case SYSENTER: /* the host's own, which forgets rip */
	case CPUID: return true;
	case 1: return modrm == XGETBV || (!umip && is_table_read(modrm));
	case LSL: return is_reg(modrm); /* Linux tells the number of the CPU by it */
	case 0xae:			/* xsave, xrstor, xsaveopt */
		return !is_reg(modrm) && which(modrm) >= 4 && which(modrm) <= 6;
	case 0xc7: /* xrstors, xsavec, xsaves */
		return (!is_reg(modrm) && which(modrm) >= 3 && which(modrm) <= 5) ||
		       is_rdpid(page, at, modrm);
	default: return false;
	}
}
static bool is_prefix(uint8_t b)
{
	enum { REX = 0x40, REX_MASK = 0xf0 };
	static const uint8_t other[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
					0x66, 0x67, 0xf0, 0xf2, REP};
	return (b & REX_MASK) == REX || memchr(other, b, sizeof(other));
}
/* One at `at`, and wherever a prefix of it could be its beginning; that may be in another page. */
static unsigned note(const uint8_t *page, unsigned at, uint16_t *spot, unsigned room, unsigned n)
{
	enum { ANYWHERE = X86_PAGE };
	do {
		if (n < room) spot[n] = (uint16_t)at;
		n++;
		if (!at) return n + ANYWHERE;
	} while (is_prefix(page[--at]));
	return n;
}
/* The last bytes of a page and the first of the next, as far as tells() reads either way. */
enum { LAST = 4, FIRST = 2 }; /* f3 REX 0f c7, and 0f with two behind it */
static void across(uint8_t both[LAST + FIRST], const uint8_t *page, const uint8_t *next)
{
	memcpy(both, page + X86_PAGE - LAST, LAST);
	memcpy(both + LAST, next, FIRST);
}
static const uint8_t nothing[FIRST];
unsigned x86_code_spots(const uint8_t *page, uint16_t *spot, unsigned room)
{
	const uint8_t *end = page + X86_PAGE - FIRST, *p = page;
	uint8_t both[LAST + FIRST];
	bool umip = has_umip();
	unsigned n = 0;
	for (; (p = memchr(p, ESCAPE, (size_t)(end - p))); p++)
		if (tells(page, (unsigned)(p - page), umip))
			n = note(page, (unsigned)(p - page), spot, room, n);
	across(both, page, nothing);
	for (unsigned k = LAST - FIRST; k < LAST; k++)
		if (both[k] == ESCAPE && tells(both, k, umip))
			n = note(page, X86_PAGE - LAST + k, spot, room, n);
	return n;
}
bool x86_code_joins_plainly(const uint8_t *page, const uint8_t *next)
{
	uint8_t both[LAST + FIRST], alone[LAST + FIRST];
	bool umip = has_umip();
	across(both, page, next);
	across(alone, page, nothing);
	for (unsigned k = LAST - FIRST; k < LAST; k++)
		if (both[k] == ESCAPE && tells(both, k, umip) && !tells(alone, k, umip))
			return false;
	return true;
}
