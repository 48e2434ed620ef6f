/* AHCI controller, as Intel's I/O Controller Hub 9 has one (datasheet 316972, 14): its registers,
 * its pin, being reset, paused and kept. Ports and drives are elsewhere. It has ports for the
 * drives that it was given and no more; no legacy mode, no port multipliers, no messages: drivers
 * go by the pin. */
#include "dev/ahci.h"
#include "base/state.h"
#include "base/types.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { /* AHCI 3.1 */
       REG_CAP = 0x00,
       REG_GHC = 0x04,
       REG_IS = 0x08,
       REG_PI = 0x0c,
       REG_VS = 0x10,
       PORTS = 0x100,
       PORT_LEN = 0x80,
       BAR_LEN = 0x1000,
       BAR_REGS = 5
};
enum { GHC_HR = 1, GHC_IE = 2, GHC_AE = (int)0x80000000u };
enum { VERSION = 0x00010301 };
/* AHCI 3.1.1: 64-bit addresses, NCQ, CLO, AHCI only, 6 Gb/s, 32 slots. */
#define CAP (1u << 31 | 1u << 30 | 1u << 24 | 3u << 20 | 1u << 18 | (AHCI_SLOTS - 1u) << 8)

void ahci_pin_follow(struct ahci *a)
{
	for (unsigned n = 0; n < a->nports; n++)
		if (ahci_port_speaks(a->port[n])) a->is |= 1u << n;
	pci_intx(&a->f, a->ghc & GHC_IE && a->is);
}

/* ---- being reset */

static void reset(struct ahci *a, bool cold)
{
	a->resetting = false;
	a->ghc = (uint32_t)GHC_AE;
	a->is = 0;
	for (unsigned n = 0; n < a->nports; n++) ahci_port_reset(a->port[n], cold);
	pci_intx(&a->f, 0);
}
void ahci_settle(struct ahci *a)
{
	if (a->resetting && !a->inflight) reset(a, false);
}
static void drop(struct ahci *a)
{
	a->resetting = true;
	for (unsigned n = 0; n < a->nports; n++) ahci_port_drop(a->port[n]);
}
static void wait_idle(struct ahci *a)
{
	while (a->inflight) (void)pthread_cond_wait(&a->idle, &a->regs.mutex);
}

/* ---- registers */

static struct ahci_port *port_at(struct ahci *a, uint64_t off)
{
	uint64_t n = (off - PORTS) / PORT_LEN;
	return off >= PORTS && n < a->nports ? a->port[n] : NULL;
}
static uint32_t read_dword(struct ahci *a, uint64_t off)
{
	struct ahci_port *p = port_at(a, off);
	if (p) return ahci_port_read(p, off % PORT_LEN);
	switch (off) {
	case REG_CAP: return CAP | (a->nports ? a->nports - 1 : 0);
	case REG_GHC: return a->ghc | (a->resetting ? (uint32_t)GHC_HR : 0);
	case REG_IS: return a->is;
	case REG_PI: return (1u << a->nports) - 1;
	case REG_VS: return VERSION;
	default: return 0;
	}
}
static uint64_t regs_read(struct device *d, uint64_t off, unsigned len)
{
	struct ahci *a = container_of(d, struct ahci, regs);
	uint64_t at = off & ~3ull, v = read_dword(a, at);
	if (off + len > at + 4) v |= (uint64_t)read_dword(a, at + 4) << 32;
	return v >> 8 * (off & 3);
}
static void write_dword(struct ahci *a, uint64_t off, uint32_t val)
{
	struct ahci_port *p = port_at(a, off);
	if (p && !a->resetting) ahci_port_write(p, off % PORT_LEN, val);
	if (off == REG_IS) a->is &= ~val;
	if (off == REG_GHC && !a->resetting) {
		a->ghc = (uint32_t)GHC_AE | (val & GHC_IE);
		if (val & GHC_HR) drop(a);
		ahci_settle(a);
	}
	if (off < PORTS) ahci_pin_follow(a);
	if (a->in_order) wait_idle(a);
}
/* AHCI 3: by 4 or 8 bytes, aligned; what else comes does nothing. */
static void regs_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct ahci *a = container_of(d, struct ahci, regs);
	if (len < 4 || off & 3) return;
	write_dword(a, off, (uint32_t)val);
	if (len == 8) write_dword(a, off + 4, (uint32_t)(val >> 32));
}
static const struct device_ops regs_ops = {.name = "ahci", .read = regs_read, .write = regs_write};

/* ---- PCI */

static void func_reset(struct pci_func *f)
{
	struct ahci *a = (struct ahci *)f;
	device_lock(&a->regs);
	drop(a);
	wait_idle(a);
	reset(a, true);
	device_unlock(&a->regs);
}
static void func_pause(struct pci_func *f)
{
	struct ahci *a = (struct ahci *)f;
	device_lock(&a->regs);
	a->paused = true;
	wait_idle(a);
	device_unlock(&a->regs);
}
static void func_resume(struct pci_func *f)
{
	struct ahci *a = (struct ahci *)f;
	device_lock(&a->regs);
	a->paused = false;
	for (unsigned n = 0; n < a->nports; n++) ahci_port_run(a->port[n]);
	device_unlock(&a->regs);
}
static void func_state(struct pci_func *f, struct state *s)
{
	struct ahci *a = (struct ahci *)f;
	uint32_t kinds = 0, own;
	device_lock(&a->regs);
	for (unsigned n = 0; n < a->nports; n++) kinds |= (a->port[n]->is_cd ? 3u : 1u) << 2 * n;
	own = kinds;
	state_bytes(s, "drives", &kinds, sizeof(kinds));
	(void)state_need(s, kinds == own, "drives of a controller");
	STATE(s, a, ghc);
	STATE(s, a, is);
	(void)state_need(s, (a->ghc | GHC_IE) == ((uint32_t)GHC_AE | GHC_IE), "GHC");
	for (unsigned n = 0; state_ok(s) && n < a->nports; n++) ahci_port_state(a->port[n], s);
	device_unlock(&a->regs);
}
static void func_free(struct pci_func *f)
{
	struct ahci *a = (struct ahci *)f;
	device_lock(&a->regs);
	drop(a);
	wait_idle(a);
	device_unlock(&a->regs);
	for (unsigned n = 0; n < a->nports; n++) {
		meter_done(&a->port[n]->meter);
		blk_unref(a->port[n]->disk);
		free(a->port[n]);
	}
	pci_func_done(f);
	(void)pthread_cond_destroy(&a->idle);
	device_done(&a->regs);
	free(a);
}
static const struct pci_func_ops func_ops = {.name = "ahci",
					     .reset = func_reset,
					     .pause = func_pause,
					     .resume = func_resume,
					     .state = func_state,
					     .free = func_free};

int ahci_new(struct ahci **out, struct pci_host *h, struct gmem *mem, bool in_order, struct err *e)
{
	struct ahci *a = calloc(1, sizeof(*a));
	if (!a) return fail(e, -ENOMEM, "ahci: out of memory");
	a->mem = mem;
	a->in_order = in_order;
	must(!pthread_cond_init(&a->idle, NULL));
	device_init(&a->regs, &regs_ops, "ahci");
	pci_func_init(&a->f, &func_ops, 0x8086, 0x2922, 0x01060102, 0x1af4, 0x1100);
	pci_add_bar(&a->f, BAR_REGS, &a->regs, BAR_LEN, false);
	reset(a, true);
	int r = pci_plug(h, &a->f, -1, e);
	if (r < 0) func_free(&a->f);
	*out = r < 0 ? NULL : a;
	return r;
}
static void meter_again(void *ctx)
{
	struct ahci_port *p = ctx;
	device_lock(&p->of->regs);
	ahci_port_run(p);
	device_unlock(&p->of->regs);
}
int ahci_limit(struct ahci *a, unsigned port, struct loop *l, uint64_t bytes, uint64_t ops,
	       struct err *e)
{
	struct ahci_port *p = a->port[port];
	int r = bytes || ops ? meter_timer(&p->meter, l, meter_again, p, e) : 0;
	if (r < 0) return r;
	device_lock(&a->regs);
	meter_limits(&p->meter, bytes, ops);
	ahci_port_run(p);
	device_unlock(&a->regs);
	return 0;
}

/* With the lock: nothing is at work from here to medium_end(). */
static int medium_begin(struct ahci_port *p, bool force, struct err *e)
{
	if (!p->is_cd) return fail(e, -ENODEV, "it is no CD drive");
	if (!ahci_cd_may_open(p, force))
		return fail(e, -EBUSY,
			    "the guest has locked the tray, and is asked to let go: try again, or "
			    "--force");
	p->of->held = true;
	wait_idle(p->of);
	return 0;
}
static void medium_end(struct ahci *a)
{
	a->held = false;
	for (unsigned n = 0; n < a->nports; n++) ahci_port_run(a->port[n]);
}
int ahci_eject(struct ahci *a, unsigned port, bool force, struct err *e)
{
	struct ahci_port *p = a->port[port];
	device_lock(&a->regs);
	int r = p->cd.open ? fail(e, -EALREADY, "the tray is open already")
			   : medium_begin(p, force, e);
	if (!r) {
		ahci_cd_opens(p);
		medium_end(a);
	}
	device_unlock(&a->regs);
	return r;
}
int ahci_insert(struct ahci *a, unsigned port, int fd, bool force, struct err *e)
{
	struct ahci_port *p = a->port[port];
	device_lock(&a->regs);
	int r = medium_begin(p, force, e);
	if (!r) {
		r = blk_change(p->disk, fd, e);
		if (!r) {
			p->info = blk_info(p->disk);
			p->sectors = p->info.size / AHCI_CD_SECTOR;
			ahci_cd_closes(p);
		}
		medium_end(a);
	}
	device_unlock(&a->regs);
	return r;
}

struct pci_func *ahci_func(struct ahci *a) { return &a->f; }

static void give(struct ahci_port *p, struct blk *disk)
{
	p->disk = disk;
	p->info = blk_info(disk);
	p->sectors = p->info.size / (p->is_cd ? AHCI_CD_SECTOR : AHCI_SECTOR);
}
void ahci_disk(struct ahci *a, unsigned port, struct blk *disk) { give(a->port[port], disk); }

int ahci_add(struct ahci *a, struct blk *disk, bool is_cd, const char *serial, struct err *e)
{
	struct ahci_port *p = a->nports < AHCI_PORTS ? calloc(1, sizeof(*p)) : NULL;
	if (!p) {
		blk_unref(disk);
		return a->nports < AHCI_PORTS
			       ? fail(e, -ENOMEM, "ahci: out of memory")
			       : fail(e, -ENOSPC, "ahci: more than %d drives", AHCI_PORTS);
	}
	ahci_port_init(p, a, a->nports);
	p->is_cd = is_cd;
	if (disk) give(p, disk);
	memset(p->serial, ' ', sizeof(p->serial));
	memcpy(p->serial, serial, strnlen(serial, sizeof(p->serial)));
	ahci_port_reset(p, true);
	a->port[a->nports] = p;
	return (int)a->nports++;
}
