/* By what SeaBIOS and OVMF know a PC of the q35 kind, which they set up before anything else: the
 * identity of its host bridge (Intel 3 Series Express Chipset Family, datasheet 316966, 5.1) and of
 * the LPC bridge in slot 31 (Intel I/O Controller Hub 9, datasheet 316972, 13.1), with those of
 * their registers that firmware writes. They keep what is written and do nothing: memory below 1
 * MiB is always RAM, and what they would move lies where firmware puts it. */
#include "dev/pc.h"
#include <errno.h>
#include <stdlib.h>

enum { INTEL = 0x8086, MCH = 0x29c0, ICH9_LPC = 0x2918, LPC_SLOT = 31 };
enum { HOST_BRIDGE = 0x06000002, ISA_BRIDGE = 0x06010002 }; /* class, revision 2 */
enum { COMMAND = 0x04, ALWAYS_ON = 7 /* I/O, memory, bus master */, PMBASE = 0x40, IO_SPACE = 1 };

struct span { /* of config space, to be written */
	uint8_t at, len;
};
static const struct span mch[] = {
	{0x60, 8} /* PCIEXBAR */, {0x90, 7} /* PAM */, {0x9d, 2} /* SMRAM */};
static const struct span lpc[] = {{PMBASE, 4}, {0x44, 1}, /* ACPI control */
				  {0x60, 4},		  /* PIRQ routing, A to D */
				  {0x68, 4},		  /* E to H */
				  {0x80, 16},		  /* what is decoded */
				  {0xa0, 4},		  /* power management */
				  {0xdc, 1},		  /* flash */
				  {0xf0, 4}};		  /* RCBA */

static void open_up(struct pci_func *f, const struct span *s, size_t n)
{
	for (size_t i = 0; i < n; i++) memset(f->wmask + s[i].at, 0xff, s[i].len);
}

static void lpc_free(struct pci_func *f)
{
	pci_func_done(f);
	free(f);
}

static const struct pci_func_ops lpc_ops = {.name = "lpc", .free = lpc_free};

int q35_new(struct pci_host *h, struct err *e)
{
	struct pci_func *bridge = pci_host_bridge(h), *f = calloc(1, sizeof(*f));
	if (!f) return fail(e, -ENOMEM, "q35: out of memory");
	pci_func_rename(bridge, INTEL, MCH, HOST_BRIDGE);
	open_up(bridge, mch, sizeof(mch) / sizeof(mch[0]));
	pci_func_init(f, &lpc_ops, INTEL, ICH9_LPC, ISA_BRIDGE, 0x1af4, 0x1100);
	open_up(f, lpc, sizeof(lpc) / sizeof(lpc[0]));
	f->config[COMMAND] = ALWAYS_ON; /* 13.1.3 */
	f->wmask[COMMAND] &= (uint8_t)~ALWAYS_ON;
	f->config[PMBASE] = IO_SPACE;
	f->wmask[PMBASE] = 0x80; /* a block of 128 ports */
	return pci_plug(h, f, LPC_SLOT, e);
}
