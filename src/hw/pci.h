#ifndef HW_PCI_H
#define HW_PCI_H
#include "base/err.h"
#include "hw/bus.h"
#include <stdbool.h>
#include <stdint.h>
/* A PCI Express host bridge with ECAM (one bus, 32 slots, function 0 of each) and the functions
 * plugged into it (PCI Express Base 5.0 §7.2.2, PCI Local Bus 3.0 §6). The bridge itself sits in
 * slot 0. BARs and command registers are zero after reset: the guest assigns addresses. */
struct pci_host;
struct state;
struct pci_windows { /* where the board lets BARs live, as its device tree says */
	uint64_t mem32, mem32_len, mem64, mem64_len;
};
/* msi may be NULL: then functions are built without MSI-X and use INTx only. intx: pins A..D of
 * slot 0; slot s pin p uses intx[(s + p) % 4]. */
struct pci_msi {
	void (*send)(void *ctx, uint64_t addr, uint32_t data); /* any thread */
	void *ctx;
};
int pci_host_new(struct pci_host **out, struct bus *mmio, const struct pci_windows *w,
		 const struct irq intx[4], const struct pci_msi *msi, struct err *e);
struct device *pci_host_ecam(struct pci_host *h);     /* for the board to map; 1 MiB for one bus */
struct pci_func *pci_host_bridge(struct pci_host *h); /* for a board whose firmware wants another */
void pci_host_reset(struct pci_host *h);	      /* and every function in it */
/* vCPUs stand: every function finishes what is in flight, and goes on; between the two: all there
 * is of the bridge and its functions, which must be the same ones. */
void pci_host_pause(struct pci_host *h);
void pci_host_resume(struct pci_host *h);
void pci_host_state(struct pci_host *h, struct state *s);
void pci_host_free(struct pci_host *h); /* frees its functions too */
bool pci_host_has_msi(const struct pci_host *h);

enum { PCI_BARS = 6, PCI_CONFIG = 4096 };
struct pci_func;
struct pci_func_ops {
	const char *name;
	/* Device-specific config space hooks, called under the ecam lock; may be NULL. */
	void (*config_read)(struct pci_func *f, unsigned off, unsigned len); /* refresh config[] */
	void (*config_written)(struct pci_func *f, unsigned off, unsigned len);
	void (*reset)(struct pci_func *f);
	void (*free)(struct pci_func *f); /* calls pci_func_done() */
	/* May be NULL, all of them: vCPUs stand */
	void (*pause)(struct pci_func *f);
	void (*resume)(struct pci_func *f);
	/* Of what is behind it; config space, MSI-X and the pin are seen to. */
	void (*state)(struct pci_func *f, struct state *s);
};
struct pci_func { /* embedded first in the function's own struct */
	const struct pci_func_ops *ops;
	struct pci_host *host;
	int slot;
	uint8_t config[PCI_CONFIG];
	uint8_t wmask[PCI_CONFIG]; /* which config bits the guest may write */
	struct pci_bar {
		struct device *dev; /* what answers behind it; NULL: no such BAR */
		uint64_t len;	    /* a power of two */
		bool is64;
		uint64_t mapped; /* bus address now, UINT64_MAX: not mapped */
	} bar[PCI_BARS];
	struct pci_msix *msix; /* NULL: none */
	/* private */
	bool intx, intx_off, intx_driven; /* under the host's wire lock */
	unsigned cap_last, cap_end;
};
void pci_func_init(struct pci_func *f, const struct pci_func_ops *ops, uint16_t vendor,
		   uint16_t device, uint32_t class_rev, uint16_t subvendor, uint16_t subdevice);
void pci_func_done(struct pci_func *f);
void pci_func_rename(struct pci_func *f, uint16_t vendor, uint16_t device, uint32_t class_rev);
/* Append a capability: body is all len bytes of it, of which the first two are filled in here;
 * its config offset. What of it the guest may write is then said in wmask. */
unsigned pci_add_cap(struct pci_func *f, uint8_t id, const void *body, unsigned len);
void pci_add_bar(struct pci_func *f, unsigned n, struct device *dev, uint64_t len, bool is64);
/* The capability and a 4 KiB BAR of its own for table and PBA. Ask pci_host_has_msi() first. */
void pci_add_msix(struct pci_func *f, unsigned bar, unsigned vectors);
unsigned pci_msix_vectors(const struct pci_func *f); /* 0: no MSI-X */
/* What a guest would get from a BAR of this function; all ones where there is none. */
uint64_t pci_bar_read(struct pci_func *f, unsigned bar, uint64_t off, unsigned len);
void pci_bar_write(struct pci_func *f, unsigned bar, uint64_t off, uint64_t val, unsigned len);
/* Plug in: the host owns f from here. slot -1: the first free one. */
int pci_plug(struct pci_host *h, struct pci_func *f, int slot, struct err *e);
int pci_free_slot(const struct pci_host *h); /* that first one; -1: there is none */
/* Any thread. The line form is INTx (a level); the vector form is MSI-X (an edge). */
void pci_intx(struct pci_func *f, int level);
bool pci_msix_on(const struct pci_func *f);
void pci_msix_send(struct pci_func *f, unsigned vector);
/* Between pci.c and pci_msix.c: the control word was written; where messages go. */
void pci_msix_control(struct pci_func *f);
void pci_msix_reset(struct pci_func *f);
void pci_msix_state(struct pci_func *f, struct state *s); /* config space is there */
void pci_msix_free(struct pci_func *f);
void pci_host_msi(struct pci_host *h, uint64_t addr, uint32_t data);
#endif
