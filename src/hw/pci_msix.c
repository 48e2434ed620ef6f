/* MSI-X: a table of messages and a pending bit for each (PCI Local Bus 3.0 §6.8.2). One rule
 * covers masking: raising a vector only sets its pending bit, and a pending bit is delivered as
 * soon as nothing masks it, whichever of the two happens last. */
#include "base/state.h"
#include "base/types.h"
#include "hw/pci.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
	CAP_MSIX = 0x11,
	CONTROL = 2, /* in the capability */
	CONTROL_ON = 1 << 15,
	CONTROL_MASK = 1 << 14,
	ENTRY = 16,
	ENTRY_DATA = 8,
	ENTRY_CONTROL = 12,
	VECTORS = 128,
	PBA = VECTORS * ENTRY,
	BAR_LEN = 4096
};
struct pci_msix {
	struct device dev; /* its lock guards everything here */
	struct pci_func *f;
	unsigned n, cap;
	atomic_bool on;
	bool masked;
	uint8_t table[VECTORS * ENTRY];
	uint8_t pending[VECTORS / 8];
};

static void vector_deliver(struct pci_msix *m, unsigned v)
{
	const uint8_t *t = m->table + v * ENTRY;
	uint8_t bit = (uint8_t)(1u << v % 8);
	if (!(m->pending[v / 8] & bit) || !m->on || m->masked || t[ENTRY_CONTROL] & 1) return;
	m->pending[v / 8] &= (uint8_t)~bit;
	pci_host_msi(m->f->host, load_le(t, 8), (uint32_t)load_le(t + ENTRY_DATA, 4));
}

static uint64_t msix_read(struct device *d, uint64_t off, unsigned len)
{
	struct pci_msix *m = (struct pci_msix *)d;
	uint64_t v = 0;
	for (unsigned i = 0; i < len; i++) {
		uint64_t at = off + i, byte = 0;
		if (at < m->n * ENTRY)
			byte = m->table[at];
		else if (at >= PBA && at - PBA < sizeof(m->pending))
			byte = m->pending[at - PBA];
		v |= byte << 8 * i;
	}
	return v;
}

static void msix_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct pci_msix *m = (struct pci_msix *)d;
	for (unsigned i = 0; i < len && off + i < m->n * ENTRY; i++) {
		unsigned in_entry = (unsigned)(off + i) % ENTRY;
		uint8_t keep = in_entry == ENTRY_CONTROL ? 1 : in_entry > ENTRY_CONTROL ? 0 : 0xff;
		m->table[off + i] = (uint8_t)(val >> 8 * i) & keep;
	}
	for (uint64_t v = off / ENTRY; v < m->n && v <= (off + len - 1) / ENTRY; v++)
		vector_deliver(m, (unsigned)v);
}

static const struct device_ops msix_ops = {.name = "msix", .read = msix_read, .write = msix_write};

void pci_add_msix(struct pci_func *f, unsigned bar, unsigned vectors)
{
	struct pci_msix *m = calloc(1, sizeof(*m));
	uint8_t cap[12] = {0};
	must(m && vectors && vectors <= VECTORS && !f->msix);
	device_init(&m->dev, &msix_ops, "msix");
	m->f = f;
	m->n = vectors;
	f->msix = m;
	store_le(cap + CONTROL, vectors - 1, 2);
	store_le(cap + 4, bar, 4);
	store_le(cap + 8, PBA | bar, 4);
	m->cap = pci_add_cap(f, CAP_MSIX, cap, sizeof(cap));
	store_le(f->wmask + m->cap + CONTROL, CONTROL_ON | CONTROL_MASK, 2);
	pci_add_bar(f, bar, &m->dev, BAR_LEN, false);
	pci_msix_reset(f);
}

unsigned pci_msix_vectors(const struct pci_func *f) { return f->msix ? f->msix->n : 0; }

bool pci_msix_on(const struct pci_func *f) { return f->msix && f->msix->on; }

void pci_msix_control(struct pci_func *f)
{
	struct pci_msix *m = f->msix;
	if (!m) return;
	uint64_t control = load_le(f->config + m->cap + CONTROL, 2);
	device_lock(&m->dev);
	m->on = control & CONTROL_ON;
	m->masked = control & CONTROL_MASK;
	for (unsigned v = 0; v < m->n; v++) vector_deliver(m, v);
	device_unlock(&m->dev);
}

void pci_msix_send(struct pci_func *f, unsigned vector)
{
	struct pci_msix *m = f->msix;
	if (!m || vector >= m->n) return;
	device_lock(&m->dev);
	if (m->on) {
		m->pending[vector / 8] |= (uint8_t)(1u << vector % 8);
		vector_deliver(m, vector);
	}
	device_unlock(&m->dev);
}

void pci_msix_reset(struct pci_func *f)
{
	struct pci_msix *m = f->msix;
	if (!m) return;
	device_lock(&m->dev);
	m->on = m->masked = false;
	memset(m->table, 0, sizeof(m->table));
	memset(m->pending, 0, sizeof(m->pending));
	for (unsigned v = 0; v < m->n; v++) m->table[v * ENTRY + ENTRY_CONTROL] = 1;
	device_unlock(&m->dev);
}

void pci_msix_state(struct pci_func *f, struct state *s)
{
	struct pci_msix *m = f->msix;
	if (!m) return;
	device_lock(&m->dev);
	state_bytes(s, "table", m->table, m->n * ENTRY);
	STATE(s, m, pending);
	uint64_t control = load_le(f->config + m->cap + CONTROL, 2);
	m->on = control & CONTROL_ON;
	m->masked = control & CONTROL_MASK;
	for (unsigned v = 0; s->loading && v < m->n; v++)
		store_le(m->table + v * ENTRY + ENTRY_CONTROL,
			 m->table[v * ENTRY + ENTRY_CONTROL] & 1, 4);
	device_unlock(&m->dev);
}

void pci_msix_free(struct pci_func *f)
{
	if (!f->msix) return;
	device_done(&f->msix->dev);
	free(f->msix);
	f->msix = NULL;
}
