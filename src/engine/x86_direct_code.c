/* What in a page of code the host's CPU may not execute by itself: any place from which the bytes,
 * read as an instruction, are one that tells of the host instead of the guest, or moves state that
 * is laid out as the host has it (SDM 3, 26.1.2 and 26.1.3, those that user code may execute).
 * Reading the TSC faults there, as most others do; verr, verw, lar find what Linux has everywhere.
 * One that lies across two pages is not looked for: chance puts one there in a hundred thousand
 * pages, and all that a guest could learn by it is a register of the host's that it should not see.
 */
#include "engine/x86_direct.h"
#include <cpuid.h>
#include <string.h>

enum { ESCAPE = 0x0f, REP = 0xf3 };
static bool is_reg(uint8_t modrm) { return modrm >> 6 == 3; }
static unsigned which(uint8_t modrm) { return modrm >> 3 & 7; }
/* Do sgdt, sidt, sldt, str and smsw fault in user code (and Linux answers them with constants)? */
static bool has_umip(void)
{
	enum { LEAF = 7, UMIP = 1 << 2 };
	unsigned a, b, c = 0, d;
	return __get_cpuid_count(LEAF, 0, &a, &b, &c, &d) && c & UMIP;
}
static bool is_table_read(uint8_t op, uint8_t modrm)
{
	return op == 0 ? which(modrm) <= 1
		       : which(modrm) == 4 || (!is_reg(modrm) && which(modrm) <= 1);
}
/* rdpid: f3 and perhaps REX before it; rdseed has none. */
static bool is_rdpid(const uint8_t *page, unsigned at, uint8_t modrm)
{
	if (!is_reg(modrm) || which(modrm) != 7) return false;
	return at < 2 || page[at - 1] == REP || page[at - 2] == REP;
}
static bool tells(const uint8_t *page, unsigned at, bool umip)
{
	enum { SYSENTER = 0x34, CPUID = 0xa2, XGETBV = 0xd0, LSL = 3 };
	if (at + 2 >= X86_PAGE) return false;
	uint8_t op = page[at + 1], modrm = page[at + 2];
	switch (op) {
	case SYSENTER: /* the host's own, which forgets rip */
	case CPUID: return true;
	case 0: return !umip && is_table_read(op, modrm);
	case 1: return modrm == XGETBV || (!umip && is_table_read(op, modrm));
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
unsigned x86_code_spots(const uint8_t *page, uint16_t *spot, unsigned room)
{
	const uint8_t *end = page + X86_PAGE, *p = page;
	bool umip = has_umip();
	unsigned n = 0;
	for (; (p = memchr(p, ESCAPE, (size_t)(end - p))); p++) {
		unsigned at = (unsigned)(p - page);
		if (!tells(page, at, umip)) continue;
		do {
			if (n < room) spot[n] = (uint16_t)at;
			n++;
		} while (at && is_prefix(page[--at]));
	}
	return n;
}
