/* Any accesses to the registers, the config window and the guest memory of a virtio function,
 * by a driver that first set the device up (or not); and its state loaded again with other bits.
 * Whatever happened, a reset and an honest driver must find it working. Input: how to start, then
 * steps. */
#include "base/buf.h"
#include "base/state.h"
#include "hw/pci_rig_test.h"
#include "hw/virtio_echo_test.h"

enum { REGS = RIG_MEM32, NOTIFY = REGS + 0x3000, RAM = 0x10000, SIZE = 8, STATUS = 20 };
enum { DESC = 0x1000, AVAIL = 0x2000, USED = 0x3000, OUT = 0x4000, IN = 0x5000 };
struct step {
	uint8_t what;
	uint16_t off;
	uint32_t val;
} __attribute__((packed));
struct rig {
	struct pci_rig p;
	struct gmem *mem;
	uint8_t *ram;
	struct echo *e;
};

static void put(struct rig *r, unsigned off, uint64_t val, unsigned len)
{
	bus_write(r->p.bus, REGS + off, val, len);
}
static void mem_put(struct rig *r, unsigned at, uint64_t val, unsigned len)
{
	store_le(r->ram + at, val, len);
}

static void drive(struct rig *r)
{
	static const uint32_t regs[][3] = {{STATUS, 3, 1},  {8, 1, 4},	    {12, 1, 4},
					   {STATUS, 11, 1}, {22, 0, 2},	    {24, SIZE, 2},
					   {32, DESC, 8},   {40, AVAIL, 8}, {48, USED, 8},
					   {28, 1, 2},	    {STATUS, 15, 1}};
	pci_set(&r->p, 1, 0x10, REGS, 8);
	pci_set(&r->p, 1, 4, 6, 2);
	put(r, STATUS, 0, 1);
	memset(r->ram, 0, 0x8000);
	for (unsigned i = 0; i < COUNT(regs); i++) put(r, regs[i][0], regs[i][1], regs[i][2]);
}

static void offer_echo(struct rig *r)
{
	memcpy(r->ram + OUT, "ping", 4);
	mem_put(r, DESC, OUT, 8);
	mem_put(r, DESC + 8, 4 | 1ull << 32 | 1ull << 48, 8);
	mem_put(r, DESC + 16, IN, 8);
	mem_put(r, DESC + 24, 4 | 2ull << 32, 8);
	mem_put(r, AVAIL + 2, 1, 2);
	put(r, 0x3000, 0, 2);
}

static void reload(struct rig *r, const struct step *s)
{
	auto_buf struct buf b = {0};
	struct state out = {.b = &b}, in = {.b = &b, .loading = true};
	pci_host_pause(r->p.h);
	pci_host_state(r->p.h, &out);
	must(!state_end(&out, NULL));
	b.at[s->off % b.len] ^= (char)s->val;
	pci_host_state(r->p.h, &in);
	must(!state_end(&in, NULL) || s->val & 0xff);
	pci_host_resume(r->p.h);
}

static void step(struct rig *r, const struct step *s)
{
	unsigned len = 1u << (s->what >> 3) % 4;
	switch (s->what % 8) {
	case 0: put(r, s->off % 64, s->val, len); break;
	case 1: put(r, s->off % 0x4000, s->val, len); break;
	case 2: (void)bus_read(r->p.bus, REGS + s->off % 0x4000, len); break;
	case 3: mem_put(r, 0x1000 + s->off % 0x5000, s->val, len); break;
	case 4: mem_put(r, DESC + s->off % 0x100 / 4 * 4, s->val, 4); break;
	case 5: mem_put(r, AVAIL + 2, s->val % 32, 2); break;
	case 6: put(r, 0x3000 + s->off % 2 * 4, 0, 2); break;
	case 7:
		if (s->what & 128)
			reload(r, s);
		else
			pci_set(&r->p, 1, 0x40 + s->off % 0x80, s->val, len);
		break;
	}
}

static void open_rig(struct rig *r, bool msi)
{
	log_level_set(LOG_ERROR);
	pci_rig_init(&r->p, msi);
	r->mem = gmem_new();
	must(!gmem_add(r->mem, 0, RAM, 0, NULL));
	r->ram = gmem_host(r->mem, 0, RAM);
	r->e = echo_new(r->mem);
	must(!virtio_pci_new(r->p.h, &r->e->v, 1, NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rig r;
	struct step s;
	if (!size) return 0;
	open_rig(&r, *data & 1);
	drive(&r);
	if (*data++ & 2) put(&r, STATUS, 0, 1);
	for (size--; size >= sizeof(s) && size < 4096; data += sizeof(s), size -= sizeof(s)) {
		memcpy(&s, data, sizeof(s));
		step(&r, &s);
		must(!r.e->v.live || (r.e->v.status & 0x4c) == 0x0c);
	}
	drive(&r);
	must(r.e->v.live);
	offer_echo(&r);
	must(load_le(r.ram + USED + 2, 2) == 1 && !memcmp(r.ram + IN, "ping", 4));
	pci_rig_done(&r.p);
	gmem_free(r.mem);
	return 0;
}
