/* What all boards have: checks, boot files, a console, PCI with virtio functions. */
#include "vm/board.h"
#include "blk/blk.h"
#include "dev/dev.h"
#include "fs/share.h"
#include "guest/guest.h"
#include "guest/network.h"
#include "guest/stats.h"
#include "net/port.h"
#include "vm/keys.h"
#include "vm/move.h"
#include "vm/turns.h"
#include "vm/vm.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#define MEMORY_MIN  (16 * MIB)
#define MEMORY_MAX  (512 * GIB)
#define MEMORY_STEP (2 * MIB)
enum { APPEND_MAX = 64 * 1024 };
_Static_assert((int)BOARD_NETS == (int)SPEC_NETS, "a cable for each network");

/* What can be asked for */

static int check_memory(uint64_t n, struct err *e)
{
	if (n < MEMORY_MIN)
		return fail(e, -EINVAL, "memory: %llu KiB is too small, the least is %llu MiB",
			    (unsigned long long)(n / KIB), MEMORY_MIN / MIB);
	if (n > MEMORY_MAX)
		return fail(e, -EINVAL, "memory: %llu GiB is too large, the most is %llu GiB",
			    (unsigned long long)(n / GIB), MEMORY_MAX / GIB);
	if (n % MEMORY_STEP)
		return fail(e, -EINVAL, "memory: %llu KiB is not a multiple of %llu MiB",
			    (unsigned long long)(n / KIB), MEMORY_STEP / MIB);
	return 0;
}

int board_check(const struct spec *s, struct err *e)
{
	if (s->cpus < 1 || s->cpus > VM_CPUS)
		return fail(e, -EINVAL, "cpus: %u: there can be 1 to %d", s->cpus, VM_CPUS);
	if (s->deterministic && s->cpus > 1)
		return fail(e, -EINVAL, "deterministic: with one CPU only, not %u", s->cpus);
	if (s->deterministic && s->nnets && !s->record && !s->replay)
		return fail(e, -EINVAL,
			    "deterministic: not with a network, which answers when it will; "
			    "--record is");
	if (s->deterministic && s->nshares)
		return fail(e, -EINVAL,
			    "deterministic: not with shared folders, which answer when they will");
	if (s->deterministic && (s->limits.io_rate || s->limits.io_ops))
		return fail(e, -EINVAL,
			    "deterministic: not with --io-rate or --io-ops, which go by the clock");
	if (!s->kernel && !s->firmware)
		return fail(e, -EINVAL, "nothing to boot: give it a kernel or a firmware");
	if (s->initrd && !s->kernel) return fail(e, -EINVAL, "initrd: it needs a kernel");
	if (s->append && strlen(s->append) > APPEND_MAX)
		return fail(e, -EINVAL, "append: longer than %d KiB", APPEND_MAX / 1024);
	return check_memory(s->memory, e);
}

/* Boot files */

void board_init(struct board *b) { b->firmware.fd = b->kernel.fd = b->initrd.fd = b->vars = -1; }

int board_files(struct board *b, const struct spec *s, struct err *e)
{
	int r = s->firmware ? load_open(&b->firmware, "firmware", s->firmware, e) : 0;
	if (r == 0 && s->kernel) r = load_open(&b->kernel, "kernel", s->kernel, e);
	if (r == 0 && s->initrd) r = load_open(&b->initrd, "initrd", s->initrd, e);
	return r;
}

/* For tests: LODGE_PATIENCE, in ms. */
static unsigned share_patience_wanted(void)
{
	const char *v = getenv("LODGE_PATIENCE");
	return v ? (unsigned)strtoul(v, NULL, 10) : 0;
}

int board_shares(struct board *b, const struct spec *s, struct err *e)
{
	int r = 0;
	_Static_assert((int)BOARD_SHARES == (int)SPEC_SHARES, "one for each");
	for (unsigned i = 0; r == 0 && i < s->nshares; i++) {
		const struct spec_words *layers = s->share[i].layers;
		const struct share_opts o = {.path = s->share[i].path,
					     .readonly = s->share[i].readonly,
					     .layer = layers ? layers->at : NULL,
					     .nlayers = layers ? layers->n : 0,
					     .patience_ms = share_patience_wanted()};
		r = share_open(&b->share[i], &o, e);
	}
	return r;
}

void board_done(struct board *b)
{
	for (unsigned i = 0; i < BOARD_NETS; i++) port_free(b->cable[i]);
	pci_host_free(b->pci);
	for (unsigned i = 0; i < BOARD_NETS; i++) gate_free(b->gate[i]);
	for (unsigned i = 0; i < BOARD_DISKS; i++) blk_held_free(b->held[i]);
	for (unsigned i = 0; i < BOARD_NETS; i++) rate_free(b->rate[i]);
	for (unsigned i = 0; i < BOARD_SHARES; i++) share_close(b->share[i]);
	device_free(b->uart);
	load_close(&b->firmware);
	load_close(&b->kernel);
	load_close(&b->initrd);
	if (b->vars >= 0) (void)close(b->vars);
}

/* Console */

int board_uart(struct vm *vm, struct irq irq, struct err *e)
{
	struct guest *g = vm->guest;
	int r = uart_new(&vm->board->uart, "uart0", irq, g->console, e);
	if (r == 0 && g->spec->deterministic) vm->keys = keys_new(g->console, g->loop, vm_wake, vm);
	if (r == 0 && turns_replays(vm->turns)) keys_deaf(vm->keys);
	return r;
}

int board_generation(struct vm *vm, struct device **out, struct irq irq, struct err *e)
{
	uint8_t id[VMGENID_LEN];
	int r = board_seed(vm, id, sizeof(id), e);
	if (r == 0) r = vmgenid_new(out, irq, id, e);
	if (r == 0) vm->board->generation = *out;
	return r;
}

int board_regenerate(struct vm *vm, struct err *e)
{
	uint8_t id[VMGENID_LEN];
	int r = vm->board->generation ? board_seed(vm, id, sizeof(id), e) : -ENOENT;
	if (r == 0) vmgenid_renew(vm->board->generation, id);
	return r == -ENOENT ? 0 : r;
}

static bool is_halting(void *ctx) { return vm_halting(ctx); }

void board_pause(struct vm *vm)
{
	if (!vm->turns) keys_pass(vm->keys, is_halting);
}

/* splitmix64 (Steele, Lea, Flood 2014): the nth number of its seed; never 0. */
static uint64_t board_number(const struct vm *vm, uint64_t n)
{
	uint64_t seed = vm->guest->spec->seed, v = seed + (n + 1) * 0x9e3779b97f4a7c15;
	if (!seed) return n + 1;
	v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9;
	v = (v ^ v >> 27) * 0x94d049bb133111eb;
	return (v ^ v >> 31) | 1;
}

/* PCI */

int board_pci_wire(struct vm *vm, const struct board_pci *w, struct err *e)
{
	struct board *b = vm->board;
	int r = pci_host_new(&b->pci, vm->mmio, &w->windows, w->intx, w->msi.send ? &w->msi : NULL,
			     e);
	return r < 0 ? r : bus_map(vm->mmio, w->ecam, w->ecam_len, pci_host_ecam(b->pci), e);
}

static int plug_virtio(struct vm *vm, unsigned i, struct blk *disk, const char *serial,
		       struct err *e)
{
	struct virtio_dev *v;
	int r = virtio_blk_new(&v, vm->mem, disk, serial, e);
	if (r == 0 && vm->guest->spec->deterministic) virtio_blk_in_order(v);
	if (r == 0) r = virtio_pci_new(vm->board->pci, v, -1, e);
	if (r == 0) vm->board->disk[i] = v;
	return r;
}

/* All of them are behind one controller, which comes with the first. */
static int plug_sata(struct vm *vm, unsigned i, struct blk *disk, const char *serial, struct err *e)
{
	_Static_assert((int)BOARD_DISKS <= (int)AHCI_PORTS, "a port for each");
	struct board *b = vm->board;
	bool cd = vm->guest->spec->disk[i].bus == BUS_CDROM;
	int r = b->ahci ? 0
			: ahci_new(&b->ahci, b->pci, vm->mem, vm->guest->spec->deterministic, e);
	if (r < 0) {
		blk_unref(disk);
		return r;
	}
	int port = ahci_add(b->ahci, disk, cd, serial, e);
	if (port < 0) return port;
	b->drive[i] = (struct board_drive){(uint8_t)ahci_func(b->ahci)->slot, (uint8_t)port};
	return 0;
}

/* A raw one wants its ring before system calls are filtered, and has nothing in it to be read.
 * Others are what their makers wrote: read in board_disks(). */
static int open_disk(struct vm *vm, unsigned i, struct blk **disk, struct err *e)
{
	const struct spec_disk *d = &vm->guest->spec->disk[i];
	unsigned flags = (d->readonly ? BLK_RDONLY : 0) | (d->backing ? BLK_BACKING : 0) |
			 (d->shared ? BLK_SHARED : 0);
	if (d->format && strcmp(d->format, "raw") != 0)
		return blk_hold(&vm->board->held[i], d->path, d->format, flags, e);
	int r = blk_open(disk, d->path, "raw", flags, e);
	if (r == 0) vm->disk[i] = blk_ref(*disk);
	return r;
}

static void give_disk(struct vm *vm, unsigned i, struct blk *disk)
{
	struct board *b = vm->board;
	switch (vm->guest->spec->disk[i].bus) {
	case BUS_NVME: nvme_disk(b->nvme[i], disk); break;
	case BUS_SATA:
	case BUS_CDROM: ahci_disk(b->ahci, b->drive[i].port, disk); break;
	default: virtio_blk_disk(b->disk[i], disk);
	}
}

int board_disks(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < BOARD_DISKS; i++) {
		struct blk_held *held = vm->board->held[i];
		struct blk *disk;
		vm->board->held[i] = NULL;
		int r = held ? blk_open_held(&disk, held, e) : 0;
		if (r < 0) return r;
		if (!held) continue;
		vm->disk[i] = blk_ref(disk);
		give_disk(vm, i, disk);
	}
	return 0;
}

static int plug_disk(struct vm *vm, unsigned i, struct err *e)
{
	const struct spec_disk *d = &vm->guest->spec->disk[i];
	struct board *b = vm->board;
	struct blk *disk = NULL;
	char serial[16];
	(void)snprintf(serial, sizeof(serial), "disk%u", i);
	int r = open_disk(vm, i, &disk, e);
	if (r < 0) return r;
	b->drive[i].slot = (uint8_t)pci_free_slot(b->pci);
	switch (d->bus) {
	case BUS_NVME:
		return nvme_new(&b->nvme[i], b->pci, vm->mem, disk, serial,
				vm->guest->spec->deterministic, e);
	case BUS_SATA:
	case BUS_CDROM: return plug_sata(vm, i, disk, serial, e);
	default: return plug_virtio(vm, i, disk, serial, e);
	}
}

/* From the card outwards: what makes it wait for its turn, what slows it down, the cable. */
static int wire_net(struct vm *vm, unsigned i, struct port *card, struct err *e)
{
	uint64_t bits = vm->guest->spec->cap_rate;
	struct board *b = vm->board;
	if (bits && b->cable[i])
		return rate_new(&b->rate[i], vm->guest->loop, bits, card, b->cable[i], e);
	if (b->cable[i]) port_wire(card, b->cable[i]);
	return 0;
}

static int wire_turns(struct vm *vm, unsigned i, struct port **card, struct err *e)
{
	if (!vm->turns) return 0;
	int r = gate_new(&vm->board->gate[i], *card, vm_wake, vm, e);
	if (r == 0) *card = gate_far(vm->board->gate[i]);
	return r;
}

static int plug_cable(struct vm *vm, unsigned i, const uint8_t mac[6], struct err *e)
{
	const struct spec *s = vm->guest->spec;
	unsigned npublish = i == network_publisher(s) ? s->npublish : 0;
	if (turns_replays(vm->turns)) return 0;
	return network_plug(&vm->board->cable[i], s->net[i], s->name ? s->name : "", mac,
			    s->publish, npublish, e);
}

static int plug_net(struct vm *vm, unsigned i, uint64_t identity, struct err *e)
{
	uint8_t mac[6];
	struct virtio_dev *v;
	struct port *card;
	network_mac(mac, identity, i);
	memcpy(vm->guest->mac[i], mac, sizeof(mac));
	vm->guest->nmacs = i + 1;
	int r = virtio_net_new(&v, vm->mem, mac, &card, e);
	if (r == 0) vm->board->card[i] = card;
	if (r == 0) r = virtio_pci_new(vm->board->pci, v, -1, e);
	if (r == 0) r = wire_turns(vm, i, &card, e);
	if (r == 0) r = plug_cable(vm, i, mac, e);
	return r < 0 ? r : wire_net(vm, i, card, e);
}

static int plug_nets(struct vm *vm, struct err *e)
{
	const struct spec *s = vm->guest->spec;
	uint64_t identity =
		vm->turns ? board_number(vm, 1) : network_identity(s->id ? s->id : s->name);
	int r = 0;
	must(s->nnets <= BOARD_NETS);
	for (unsigned i = 0; r == 0 && i < s->nnets; i++) r = plug_net(vm, i, identity, e);
	return r;
}

static int plug_rng(struct vm *vm, struct err *e)
{
	struct virtio_dev *v;
	int r = virtio_rng_new(&v, vm->mem, e);
	if (r == 0 && vm->guest->spec->deterministic) virtio_rng_repeat(v, board_number(vm, 0));
	return r < 0 ? r : virtio_pci_new(vm->board->pci, v, -1, e);
}

static int plug_share(struct vm *vm, unsigned i, struct err *e)
{
	struct virtio_dev *v;
	int r = virtio_fs_new(&v, vm->mem, vm->board->share[i], vm->guest->spec->share[i].tag, e);
	return r < 0 ? r : virtio_pci_new(vm->board->pci, v, -1, e);
}

static int dialed(void *ctx, uint32_t from, uint32_t to) { return guest_dialed(ctx, from, to); }

static int plug_vsock(struct vm *vm, struct err *e)
{
	struct guest *g = vm->guest;
	struct virtio_dev *v;
	if (g->spec->deterministic) return 0;
	int r = virtio_vsock_new(&v, vm->mem, g->loop, &(struct vsock_host){dialed, g}, e);
	if (r == 0) r = virtio_pci_new(vm->board->pci, v, -1, e);
	if (r == 0) vm->board->vsock = v;
	return r;
}

static int port_opened(void *ctx) { return guest_port_opened(ctx); }

/* Where foreign images' own agent listens. */
static int plug_serial(struct vm *vm, struct err *e)
{
	struct guest *g = vm->guest;
	struct virtio_dev *v;
	if (g->spec->deterministic) return 0;
	int r = virtio_serial_new(&v, vm->mem, g->loop, "org.qemu.guest_agent.0",
				  &(struct serial_host){port_opened, g}, e);
	return r < 0 ? r : virtio_pci_new(vm->board->pci, v, -1, e);
}

/* Not where every run is to do the same: the host asks it when it likes. */
static int plug_balloon(struct vm *vm, struct err *e)
{
	struct virtio_dev *v;
	if (vm->guest->spec->deterministic || vm->guest->spec->no_balloon) return 0;
	int r = virtio_balloon_new(&v, vm->mem, e);
	if (r == 0) r = virtio_pci_new(vm->board->pci, v, -1, e);
	if (r == 0) vm->board->balloon = v;
	return r;
}

int board_plug(struct vm *vm, struct err *e)
{
	const struct spec *s = vm->guest->spec;
	int r = 0;
	for (unsigned i = 0; r == 0 && i < s->ndisks; i++) r = plug_disk(vm, i, e);
	if (r == 0) r = plug_nets(vm, e);
	if (r == 0) r = plug_rng(vm, e);
	for (unsigned i = 0; r == 0 && i < s->nshares; i++) r = plug_share(vm, i, e);
	if (r == 0) r = plug_vsock(vm, e);
	if (r == 0) r = plug_balloon(vm, e);
	return r < 0 ? r : plug_serial(vm, e);
}

int board_media(struct vm *vm, unsigned nth, int fd, bool force, struct err *e)
{
	const struct spec *s = vm->guest->spec;
	struct board *b = vm->board;
	unsigned i = 0, n = 0;
	if (vm->turns)
		return fail(e, -EOPNOTSUPP, "its time is counted: nobody comes from outside");
	while (i < s->ndisks && !(s->disk[i].bus == BUS_CDROM && ++n == nth)) i++;
	if (i == s->ndisks)
		return fail(e, -ENODEV,
			    n ? "it has CD drives, but not so many: %u"
			      : "it has no CD drive: start it with --cdrom",
			    n);
	if (fd < 0) return ahci_eject(b->ahci, b->drive[i].port, force, e);
	if (vm_is_leaving(vm))
		return fail(e, -EBUSY, "it is on its way to another host, with the disc it has");
	return ahci_insert(b->ahci, b->drive[i].port, fd, force, e);
}

static int limit_disk(struct vm *vm, unsigned i, const struct limits *l, struct err *e)
{
	struct board *b = vm->board;
	struct loop *loop = vm->guest->loop;
	if (b->disk[i]) return virtio_blk_limit(b->disk[i], loop, l->io_rate, l->io_ops, e);
	if (b->nvme[i]) return nvme_limit(b->nvme[i], loop, l->io_rate, l->io_ops, e);
	return ahci_limit(b->ahci, b->drive[i].port, loop, l->io_rate, l->io_ops, e);
}

int board_limit(struct vm *vm, const struct limits *l, struct err *e)
{
	struct board *b = vm->board;
	uint64_t memory = vm->guest->spec->memory;
	int r = 0;
	_Static_assert((int)BOARD_DISKS == (int)SPEC_DISKS, "one for each");
	if (vm->guest->spec->deterministic && (l->io_rate || l->io_ops))
		return fail(e, -EOPNOTSUPP,
			    "io: a guest whose time is counted has no limits of it");
	if (l->target && l->target != memory && !b->balloon)
		return fail(e, -EOPNOTSUPP, "memory: a guest without a balloon keeps what it has");
	if (b->balloon)
		virtio_balloon_target(b->balloon,
				      l->target && l->target < memory ? memory - l->target : 0);
	for (unsigned i = 0; r == 0 && i < BOARD_DISKS; i++)
		if (vm->disk[i]) r = limit_disk(vm, i, l, e);
	return r;
}

void board_stats(const struct vm *vm, struct guest_stats *to)
{
	uint64_t in, out;
	for (unsigned i = 0; i < VM_DISKS; i++) {
		if (!vm->disk[i]) continue;
		blk_moved(vm->disk[i], &in, &out);
		to->disk_read += in;
		to->disk_written += out;
	}
	for (unsigned i = 0; i < BOARD_NETS; i++) {
		if (!vm->board->card[i]) continue;
		port_moved(vm->board->card[i], &out, &in);
		to->net_sent += out;
		to->net_received += in;
	}
}

static void chip_reset(struct device *d)
{
	if (!d || !d->ops->reset) return;
	device_lock(d);
	d->ops->reset(d);
	device_unlock(d);
}

void board_reset(struct board *b, struct device *const *chips, size_t n)
{
	pci_host_reset(b->pci);
	chip_reset(b->uart);
	for (size_t i = 0; i < n; i++) chip_reset(chips[i]);
}

static void chip_call(struct device *d, void (*op)(struct device *d))
{
	if (!op) return;
	device_lock(d);
	op(d);
	device_unlock(d);
}

static void chips_stop(struct device *d)
{
	if (d) chip_call(d, d->ops->pause);
}

static void chips_go(struct device *d)
{
	if (d) chip_call(d, d->ops->resume);
}

void board_stop(struct board *b, struct device *const *chips, size_t n)
{
	chips_stop(b->uart);
	for (size_t i = 0; i < n; i++) chips_stop(chips[i]);
}

void board_go(struct board *b, struct device *const *chips, size_t n)
{
	for (size_t i = 0; i < n; i++) chips_go(chips[i]);
	chips_go(b->uart);
}

int board_seed(struct vm *vm, uint8_t *to, size_t n, struct err *e)
{
	if (vm->guest->spec->deterministic)
		for (size_t i = 0; i < n; i++)
			to[i] = vm->guest->spec->seed ? (uint8_t)(board_number(vm, i + 2) >> 8) : 1;
	else if (getrandom(to, n, 0) != (ssize_t)n)
		return fail(e, -EIO, "no random numbers to seed the guest with");
	return 0;
}
