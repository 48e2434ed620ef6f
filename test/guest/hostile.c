/* A guest that means harm: two harts write random values of every size to every register of every
 * device, and drive virtio queues with rings full of lies. That it comes to its end is the test:
 * the monitor neither crashed nor hung. SECONDS says how long. */
#include "rt.h"

#ifndef SECONDS
#define SECONDS 3
#endif
enum { SLOTS = 32, BAR_STEP = 0x100000, QUEUE = 64, STATUS_OK = 15 };
#define ECAM	 0x30000000ul
#define WINDOW	 0x40000000ul
#define YARD	 0x82000000ul /* rings and buffers; our own code is far below */
#define YARD_LEN 0x1000000ul
static volatile u64 finished, writes;

static u64 rnd(void)
{
	static u64 state[HARTS] = {0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9};
	u64 x = state[hart()];
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return state[hart()] = x;
}

/* Numbers that are wrong in interesting ways more often than chance would have it. */
static u64 number(void)
{
	static const u64 edge[] = {
		0,	1,	2,	    3,		0x7f,	    0x80,      0xff, 0x7fff,
		0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 1ul << 63, ~0ul, ~0ul - 4095};
	u64 r = rnd();
	switch (r & 7) {
	case 0: return edge[r >> 8 & 15];
	case 1: return 1ul << (r >> 8 & 63);
	case 2: return r >> 56;
	case 3: return YARD + (r >> 8) % YARD_LEN;
	default: return r >> (r >> 3 & 31);
	}
}

static void poke(u64 at, u64 v)
{
	u64 r = rnd();
	at += r >> 8 & 7;
	switch (r & 7) {
	case 0: *(volatile u8 *)at = (u8)v; break;
	case 1: *(volatile u16 *)(at & ~1ul) = (u16)v; break;
	case 2: *(volatile u32 *)(at & ~3ul) = (u32)v; break;
	case 3: *(volatile u64 *)(at & ~7ul) = v; break;
	case 4: (void)*(volatile u8 *)at; break;
	case 5: (void)*(volatile u16 *)(at & ~1ul); break;
	case 6: (void)*(volatile u32 *)(at & ~3ul); break;
	default: (void)*(volatile u64 *)(at & ~7ul); break;
	}
	writes++;
}

static void any_register(void)
{
	static const struct {
		u64 at, len;
	} all[] = {{0x101000, 0x1000},
		   {CLINT, 0x10000},
		   {PLIC, 0x3000},
		   {PLIC + 0x200000, 0x20000},
		   {PLIC, 0x600000},
		   {UART, 8},
		   {UART, 0x100},
		   {ECAM, 0x100000},
		   {WINDOW, SLOTS * BAR_STEP},
		   {0x1000, 0xf000},
		   {0, 0x80000000}};
	u64 r = rnd(), i = r % (sizeof(all) / sizeof(all[0]));
	u64 at = all[i].at + ((r >> 8) % all[i].len & ~7ul);
	if (at >> 12 != FINISHER >> 12) poke(at, number());
}

/* A virtio function: where its parts are (virtio 1.2, 4.1.4). */
struct dev {
	u64 config, common, notify, isr, device;
	u32 step;
};
static struct dev devs[SLOTS];
static unsigned ndevs;

static void map_bars(u64 config, u64 at)
{
	for (u64 bar = 0x10; bar < 0x28; bar += 4) {
		REG32(config + bar) = ~0u;
		u32 v = REG32(config + bar);
		if (!v || v & 1) continue;
		REG32(config + bar) = (u32)at;
		if (v & 4) REG32(config + (bar += 4)) = 0;
		at += BAR_STEP / 8;
	}
	*(volatile u16 *)(config + 4) = 6;
}

static void look(u64 config)
{
	struct dev d = {.config = config};
	if ((REG32(config) & 0xffff) != 0x1af4) return;
	for (u64 cap = REG8(config + 0x34), n = 0; cap && n < 48;
	     cap = REG8(config + cap + 1), n++) {
		if (REG8(config + cap) != 9) continue;
		u64 at = (REG32(config + 0x10 + 4 * REG8(config + cap + 4)) & ~15ul) +
			 REG32(config + cap + 8);
		switch (REG8(config + cap + 3)) {
		case 1: d.common = at; break;
		case 2: d.notify = at, d.step = REG32(config + cap + 16); break;
		case 3: d.isr = at; break;
		case 4: d.device = at; break;
		}
	}
	if (d.common && d.notify) devs[ndevs++] = d;
}

static void find_devices(void)
{
	ndevs = 0;
	for (u64 s = 0; s < SLOTS; s++) {
		u64 config = ECAM + (s << 15);
		if (REG32(config) == ~0u) continue;
		map_bars(config, WINDOW + s * BAR_STEP);
		look(config);
	}
}

/* Rings: descriptors that may be fine, may loop, may point anywhere but at us. */
static u64 bad_address(void)
{
	static const u64 odd[] = {0, UART, ECAM, WINDOW, 0x83ffffff, 0x84000000, 1ul << 63, ~0ul};
	u64 r = rnd();
	return r & 3 ? YARD + (r >> 8) % YARD_LEN : odd[r >> 8 & 7];
}
static void fill_rings(u64 desc, u64 avail)
{
	for (u64 i = 0; i < QUEUE; i++) {
		u64 d = desc + 16 * i, r = rnd();
		REG64(d) = bad_address();
		REG32(d + 8) = r & 1 ? (u32)(r >> 8 & 0x1fff) : (u32)number();
		REG32(d + 12) = (u32)((r >> 32 & 7) | (r & 16 ? i + 1 : r >> 40 & 127) << 16);
	}
	REG32(avail) = (u32)(rnd() & 1) | (rnd() & 7 ? QUEUE / 2 : (u32)rnd()) << 16;
	for (u64 i = 0; i < QUEUE; i++)
		*(volatile u16 *)(avail + 4 + 2 * i) = (u16)(rnd() % (QUEUE + 2));
	/* Headers that mean something to a block device, often enough. */
	for (int i = 0; i < 64; i++) REG64(YARD + (rnd() % YARD_LEN & ~7ul)) = number() & 31;
}

static void set_queue(const struct dev *d, u16 q)
{
	u64 desc = YARD + (rnd() % (YARD_LEN / 2) & ~4095ul), avail = desc + 4096,
	    used = desc + 8192;
	*(volatile u16 *)(d->common + 22) = q;
	*(volatile u16 *)(d->common + 24) = rnd() & 7 ? QUEUE : (u16)number();
	*(volatile u16 *)(d->common + 26) = (u16)number();
	REG64(d->common + 32) = rnd() & 15 ? desc : bad_address();
	REG64(d->common + 40) = rnd() & 15 ? avail : bad_address();
	REG64(d->common + 48) = rnd() & 15 ? used : bad_address();
	fill_rings(desc, avail);
	*(volatile u16 *)(d->common + 28) = 1;
}

static void drive(void)
{
	if (!ndevs) return;
	const struct dev *d = &devs[rnd() % ndevs];
	if (!(rnd() & 15)) map_bars(d->config, WINDOW + ((d->config - ECAM) >> 15) * BAR_STEP);
	REG8(d->common + 20) = 0;
	REG8(d->common + 20) = 3;
	for (u32 i = 0; i < 2; i++) {
		REG32(d->common) = REG32(d->common + 8) = i;
		u32 offered = REG32(d->common + 4);
		REG32(d->common + 12) =
			rnd() & 7 ? (i ? offered | 1 : offered & (u32)rnd()) : (u32)rnd();
	}
	REG8(d->common + 20) = 11;
	u16 n = *(volatile u16 *)(d->common + 18);
	for (u16 q = 0; q < n && q < 8; q++) set_queue(d, q);
	REG8(d->common + 20) = STATUS_OK;
	for (u16 q = 0; q <= n && q < 8; q++) *(volatile u16 *)(d->notify + q * d->step) = q;
	for (int i = 0; i < 8; i++) {
		u64 r = rnd();
		if (r & 1) poke(d->common + (r >> 8) % 56, number());
		if (r & 2) poke(d->device + (r >> 16) % 64, number());
		if (r & 4) poke(d->notify + (r >> 24) % 64, number());
		if (r & 8) (void)REG8(d->isr);
		if (r & 16) poke(d->config + (r >> 32) % 256, number());
	}
	writes += 100;
}

static void rampage(void)
{
	u64 end = csr_read(time) + SECONDS * 10000000ul;
	while (csr_read(time) < end) {
		for (int i = 0; i < 200; i++) any_register();
		for (int i = 0; i < 4; i++) drive();
		if (hart() == 0) find_devices();
	}
	__sync_fetch_and_add(&finished, 1);
}

int main(u64 id, u64 tree)
{
	(void)id, (void)tree;
	csr_write(mie, 0);
	find_devices();
	unsigned found = ndevs;
	second_run(rampage);
	rampage();
	while (finished != 2) {
	}
	REG8(UART + 3) = 3;
	REG8(UART + 1) = 0;
	REG8(UART + 4) = 0;
	REG8(UART + 2) = 7;
	put("\n");
	check("there were devices to attack", found >= 1);
	check("it was much", writes > 1000 * SECONDS);
	check("I am still here", 1);
	return 0;
}
