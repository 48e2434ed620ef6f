/* A computer saved and loaded. The idea: it is a list of parts, each a function that describes its
 * state once for both ways, and memory, which is not read but reached for. No part knows an engine:
 * CPUs are registers by number. */
#include "vm/save.h"
#include "base/buf.h"
#include "base/own.h"
#include "base/state.h"
#include "blk/blk.h"
#include "engine/x86_model.h"
#include "guest/guest.h"
#include "guest/outside.h"
#include "guest/snapshot.h"
#include "guest/tags.h"
#include "hw/bus.h"
#include "hw/gmem.h"
#include "hw/pci.h"
#include "vm/board.h"
#include "vm/digest.h"
#include "vm/vm.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what machine it is: the same must be here */
struct machine {
	uint32_t arch, cpus, firmware, disks, net;
	uint64_t memory;
};

/* Of struct machine's firmware: */
enum { FIRMWARE_NONE, FIRMWARE, FIRMWARE_VARS, TIME_IS_COUNTED = 4 };

static uint32_t firmware_of(const struct spec *s)
{
	uint32_t f = !s->firmware ? FIRMWARE_NONE : s->vars ? FIRMWARE_VARS : FIRMWARE;
	return f | (s->deterministic ? TIME_IS_COUNTED : 0);
}

static struct machine machine_of(const struct vm *vm)
{
	const struct spec *s = vm->guest->spec;
	return (struct machine){.arch = s->arch,
				.cpus = s->cpus,
				.firmware = firmware_of(s),
				.disks = s->ndisks,
				.net = s->nnets,
				.memory = s->memory};
}

static void machine_fields(struct machine *m, struct state *s)
{
	STATE(s, m, arch);
	STATE(s, m, cpus);
	STATE(s, m, firmware);
	STATE(s, m, disks);
	STATE(s, m, net);
	STATE(s, m, memory);
}

static void machine_state(struct vm *vm, unsigned n, struct state *s)
{
	struct machine here = machine_of(vm), m = here;
	(void)n;
	machine_fields(&m, s);
	(void)state_need(s, !memcmp(&m, &here, sizeof(m)), "another machine");
}

static int differs(struct err *e, const char *what, uint64_t was, uint64_t is)
{
	return fail(e, -EINVAL,
		    "the snapshot is of a guest with %s %llu, and this one has %llu: start it as "
		    "that one was",
		    what, (unsigned long long)was, (unsigned long long)is);
}

static const char *firmware_words(uint32_t n)
{
	static const char *const words[] = {"without firmware", "with firmware",
					    "with firmware and variables"};
	n &= ~(uint32_t)TIME_IS_COUNTED;
	return words[n < COUNT(words) ? n : 0];
}

/* The same in better words, before anything is touched. */
static int machine_check(const struct vm *vm, const struct snapshot *from, struct err *e)
{
	struct machine is = machine_of(vm), was = {0};
	struct buf b;
	int r = snapshot_section(from, "machine", VM_PART_VERSION, &b, e);
	struct state s = {.b = &b, .loading = true};
	if (r == 0) machine_fields(&was, &s);
	if (r == 0) r = state_end(&s, e);
	if (r < 0) return r;
	if (was.arch != is.arch)
		return fail(e, -EINVAL, "the snapshot is of a guest with another kind of CPU");
	if (was.cpus != is.cpus) return differs(e, "CPUs:", was.cpus, is.cpus);
	if (was.memory != is.memory)
		return differs(e, "MiB of memory:", was.memory / MIB, is.memory / MIB);
	if (was.disks != is.disks) return differs(e, "disks:", was.disks, is.disks);
	if ((was.firmware ^ is.firmware) & TIME_IS_COUNTED)
		return fail(e, -EINVAL,
			    "the snapshot is of a guest whose time is %scounted: start it %s "
			    "--deterministic",
			    was.firmware & TIME_IS_COUNTED ? "" : "not ",
			    was.firmware & TIME_IS_COUNTED ? "with" : "without");
	if (was.firmware != is.firmware)
		return fail(e, -EINVAL, "the snapshot is of a guest %s, and this one is %s",
			    firmware_words(was.firmware), firmware_words(is.firmware));
	return was.net == is.net ? 0 : differs(e, "network cards:", was.net, is.net);
}

/* ---- parts */
static void clock_state(struct vm *vm, unsigned n, struct state *s)
{
	uint64_t ns = vclock_ns(&vm->clock);
	(void)n;
	state_bytes(s, "ns", &ns, sizeof(ns));
	if (state_need(s, ns < UINT64_MAX / 4, "time") && s->loading) vclock_set(&vm->clock, ns);
}

/* What it was told its CPU is: who goes on with it must give it the same. */
static void cpuid_state(struct vm *vm, unsigned n, struct state *s)
{
	struct x86_leaf told[X86_LEAVES] = {0};
	uint32_t leaves = s->loading ? 0 : vm->ops->told(vm->engine, told);
	(void)n;
	state_bytes(s, "leaves", &leaves, sizeof(leaves));
	if (!state_need(s, leaves && leaves <= X86_LEAVES, "number of leaves")) return;
	state_bytes(s, "told", told, leaves * sizeof(*told));
	if (s->loading && state_ok(s)) (void)vm->ops->be(vm->engine, told, leaves, &s->e);
}

struct reg {
	uint64_t number, value;
};

static void registers_save(struct hart *h, struct buf *to)
{
	const struct reg_range *r = engine_registers(h->vm->guest->spec->arch);
	for (; r->n; r++)
		for (unsigned i = 0; i < r->n; i++) {
			struct reg g = {.number = r->first + i};
			if (!h->vm->ops->get(h->cpu, r->first + i, &g.value))
				buf_add(to, &g, sizeof(g));
		}
}

/* One that this engine lacks, or does not let be set, must have been as it is here. */
static bool register_load(struct hart *h, const struct reg *g, struct state *s)
{
	uint64_t is = 0;
	int r = h->vm->ops->set(h->cpu, (unsigned)g->number, g->value);
	if (r == 0) return true;
	(void)h->vm->ops->get(h->cpu, (unsigned)g->number, &is);
	if (is == g->value) return true;
	if (state_ok(s))
		(void)fail(&s->e, -ENOTSUP, "register %#llx cannot be %#llx with --engine %s",
			   (unsigned long long)g->number, (unsigned long long)g->value,
			   h->vm->ops->name);
	return false;
}

/* Only those that we would save, in our order. */
static bool registers_load(struct hart *h, struct buf *from, struct state *s)
{
	const struct reg_range *r = engine_registers(h->vm->guest->spec->arch);
	struct reg g;
	bool more = buf_take(from, &g, sizeof(g));
	h->vm->ops->reset(h->cpu);
	for (; r->n; r++)
		for (unsigned i = 0; i < r->n; i++) {
			if (!more || g.number != r->first + i) continue;
			if (!register_load(h, &g, s)) return false;
			more = buf_take(from, &g, sizeof(g));
		}
	return !more;
}

static void cpu_state(struct vm *vm, unsigned n, struct state *s)
{
	struct hart *h = &vm->hart[n];
	auto_buf struct buf regs = {0};
	uint32_t state = h->state, len;
	state_bytes(s, "state", &state, sizeof(state));
	STATE(s, h, start_pc);
	STATE(s, h, start_arg);
	STATE(s, h, stamp);
	if (!s->loading) registers_save(h, &regs);
	len = (uint32_t)regs.len;
	state_bytes(s, "length", &len, sizeof(len));
	if (!state_need(s, state <= HART_STOP_PENDING && len <= 64 * KIB, "state")) return;
	h->state = state;
	if (s->loading) (void)buf_room(&regs, len);
	state_bytes(s, "registers", regs.at, regs.len);
	if (s->loading) (void)state_need(s, registers_load(h, &regs, s), "registers");
}

static void board_state(struct vm *vm, unsigned n, struct state *s)
{
	(void)n;
	if (vm->kind->state) vm->kind->state(vm, s);
}

static void chip_state(struct vm *vm, unsigned n, struct state *s)
{
	struct device *chip[BOARD_CHIPS];
	unsigned all = vm->kind->chips(vm, chip);
	must(n < all);
	device_lock(chip[n]);
	chip[n]->ops->state(chip[n], s);
	device_unlock(chip[n]);
}

static void pci_state(struct vm *vm, unsigned n, struct state *s)
{
	(void)n;
	pci_host_state(vm->board->pci, s);
}

static void add(struct vm_part *out, unsigned *n, const char *name,
		void (*state)(struct vm *vm, unsigned n, struct state *s), unsigned which)
{
	must(*n < VM_PARTS);
	struct vm_part *p = &out[(*n)++];
	*p = (struct vm_part){.state = state, .n = which};
	(void)snprintf(p->name, sizeof(p->name), "%s", name);
}

/* CPUs before what raises lines into them; PCI last, as it may look at memory. */
unsigned vm_parts(struct vm *vm, struct vm_part out[VM_PARTS])
{
	struct device *chip[BOARD_CHIPS];
	unsigned n = 0, chips = vm->kind->chips(vm, chip);
	char name[16];
	add(out, &n, "machine", machine_state, 0);
	add(out, &n, "clock", clock_state, 0);
	if (vm->ops->told) add(out, &n, "cpuid", cpuid_state, 0);
	for (unsigned i = 0; i < vm->ncpus; i++) {
		(void)snprintf(name, sizeof(name), "cpu%u", i);
		add(out, &n, name, cpu_state, i);
	}
	add(out, &n, "board", board_state, 0);
	for (unsigned i = 0; i < chips; i++)
		if (chip[i] && chip[i]->ops->state) add(out, &n, chip[i]->id, chip_state, i);
	add(out, &n, "pci", pci_state, 0);
	return n;
}

int vm_part_save(struct vm *vm, const struct vm_part *p, struct buf *to, struct err *e)
{
	struct state s = {.b = to};
	p->state(vm, p->n, &s);
	return state_end(&s, e) < 0 ? fail_in(e, "snapshot: %s", p->name) : 0;
}

int vm_part_load(struct vm *vm, const struct vm_part *p, struct buf *from, struct err *e)
{
	struct state s = {.b = from, .loading = true};
	p->state(vm, p->n, &s);
	return state_end(&s, e) < 0 ? fail_in(e, "snapshot: %s", p->name) : 0;
}

static int part_save(struct vm *vm, const struct vm_part *p, struct snapshot_out *to, struct err *e)
{
	auto_buf struct buf b = {0};
	int r = vm_part_save(vm, p, &b, e);
	if (r == 0) snapshot_put(to, p->name, VM_PART_VERSION, &b);
	return r;
}

static int part_load(struct vm *vm, const struct vm_part *p, const struct snapshot *from,
		     struct err *e)
{
	struct buf b;
	int r = snapshot_section(from, p->name, VM_PART_VERSION, &b, e);
	return r < 0 ? r : vm_part_load(vm, p, &b, e);
}

/* ---- memory */
static bool next_run(void *mem, uint64_t at, uint64_t *from, uint64_t *len)
{
	return gmem_next(mem, at, from, len);
}

static int memory_save(struct vm *vm, struct snapshot_out *to, struct err *e)
{
	struct gmem_region r;
	int rc = 0;
	gmem_fetch(vm->mem);
	for (unsigned i = 0; rc == 0 && gmem_region(vm->mem, i, &r); i++) {
		const struct snapshot_memory m = {r.base, r.len, r.host, next_run, vm->mem};
		rc = snapshot_put_memory(to, &m, e);
	}
	return rc;
}

struct pages {
	struct vm *vm;
	struct snapshot *from;
	unsigned which;
};

static void page_come(void *ctx, uint64_t n, void *to)
{
	struct pages *p = ctx;
	struct err why;
	if (snapshot_page(p->from, p->which, n, to, &why) < 0) vm_broken(p->vm, &why);
}

static void pages_done(void *ctx)
{
	struct pages *p = ctx;
	snapshot_unref(p->from);
	free(p);
}

static int region_load(struct vm *vm, struct snapshot *from, const struct gmem_region *r,
		       struct err *e)
{
	struct pages *p = malloc(sizeof(*p));
	uint64_t *present = NULL;
	must(p);
	*p = (struct pages){vm, from, 0};
	int rc = snapshot_memory_find(from, r->base, r->len, &p->which, &present, e);
	if (rc < 0) {
		free(p);
		return rc;
	}
	snapshot_ref(from);
	return gmem_lazy(vm->mem, r->base, present, &(struct gmem_source){page_come, pages_done, p},
			 e);
}

static int memory_load(struct vm *vm, struct snapshot *from, struct err *e)
{
	struct gmem_region r;
	int rc = 0;
	for (unsigned i = 0; rc == 0 && gmem_region(vm->mem, i, &r); i++)
		rc = region_load(vm, from, &r, e);
	/* The log looks for symbols everywhere. */
	if (rc == 0 && (vm->log || vm->ops->whole)) gmem_fetch(vm->mem);
	return rc;
}

/* ---- discs: a file of the same name need not be the one that was there */
#define DISCS "discs"
struct disc {
	uint32_t disk; /* of the spec */
	uint64_t size, digest;
};
enum { DISC_LOOK = 64 * KIB }; /* ECMA-119: volume descriptors, dates in them, are at 32 KiB */

static void disc_fields(struct disc *d, struct state *s)
{
	STATE(s, d, disk);
	STATE(s, d, size);
	STATE(s, d, digest);
}

static struct disc disc_look(struct vm *vm, unsigned n)
{
	struct disc d = {.disk = n, .size = blk_info(vm->disk[n]).size};
	auto_mem char *b = malloc(DISC_LOOK);
	uint64_t len = d.size < DISC_LOOK ? d.size : DISC_LOOK;
	must(b);
	if (!len || !blk_rw(vm->disk[n], BLK_READ, b, len, 0)) d.digest = digest_bytes(b, len, 0);
	return d;
}

static bool has_disc(const struct spec *s, unsigned i) { return s->disk[i].bus == BUS_CDROM; }

static void discs_save(struct vm *vm, struct snapshot_out *to)
{
	const struct spec *spec = vm->guest->spec;
	auto_buf struct buf b = {0};
	struct state s = {.b = &b};
	for (unsigned i = 0; i < spec->ndisks; i++) {
		if (!has_disc(spec, i)) continue;
		struct disc d = disc_look(vm, i);
		disc_fields(&d, &s);
	}
	if (b.len) snapshot_put(to, DISCS, VM_PART_VERSION, &b);
}

/* Snapshots from before do not say. */
static int discs_check(struct vm *vm, const struct snapshot *from, struct err *e)
{
	const struct spec *spec = vm->guest->spec;
	struct buf b;
	int r = snapshot_section(from, DISCS, VM_PART_VERSION, &b, e);
	struct state s = {.b = &b, .loading = true};
	unsigned drive = 0;
	if (r < 0) return r == -ENOENT ? 0 : r;
	for (unsigned i = 0; i < spec->ndisks; i++) {
		struct disc was = {0}, is;
		if (!has_disc(spec, i)) continue;
		drive++;
		disc_fields(&was, &s);
		if (!state_need(&s, was.disk == i, "discs")) break;
		is = disc_look(vm, i);
		if (was.size != is.size || was.digest != is.digest)
			return fail(e, -EINVAL,
				    "CD drive %u: %s is not the disc that was in it when this was "
				    "saved, of %llu KiB",
				    drive, spec->disk[i].path,
				    (unsigned long long)(was.size / KIB));
	}
	return state_end(&s, e);
}

/* ---- all of it */
int vm_can_save(const struct vm *vm, struct err *e)
{
	if (vm->turns)
		return fail(e, -EOPNOTSUPP,
			    "snapshot: not of a guest that is recorded or replayed");
	for (unsigned i = 0; i < vm->guest->spec->ndisks; i++)
		if (vm->guest->spec->disk[i].shared)
			return fail(
				e, -EOPNOTSUPP,
				"snapshot: not of a guest with a disk that others write to, too");
	return 0;
}

int vm_disks_flush(struct vm *vm, struct err *e)
{
	const struct spec *s = vm->guest->spec;
	for (unsigned i = 0; i < s->ndisks; i++) {
		const struct spec_disk *d = &s->disk[i];
		if (d->readonly || !d->format || !strcmp(d->format, "raw")) continue;
		int r = blk_rw(vm->disk[i], BLK_FLUSH, NULL, 0, 0);
		if (r < 0) return fail(e, r, "disk %s: %s", d->path, strerror(-r));
	}
	return 0;
}

static int file_save(const struct spec *s, unsigned n, const char *dir, const char *name,
		     struct err *e)
{
	char to[4096];
	if (snprintf(to, sizeof(to), "%s/%s", dir, name) >= (int)sizeof(to))
		return fail(e, -ENAMETOOLONG, "%s: too long a path", dir);
	return outside_copy(s, n, to, e);
}

/* As they are now: nothing is in flight, and nobody writes. What firmware keeps is in its chip's
 * state, too; the file is for who boots a clone. */
static int disks_save(struct vm *vm, const char *dir, struct err *e)
{
	const struct spec *s = vm->guest->spec;
	int r = s->vars && s->vars_kept ? file_save(s, OUTSIDE_VARS, dir, TAG_VARS, e) : 0;
	for (unsigned i = 0; r == 0 && i < s->ndisks; i++)
		if (!s->disk[i].readonly)
			r = file_save(s, i, dir, tag_disk(&s->disk[i], i).name, e);
	return r;
}

int vm_save(struct vm *vm, struct snapshot_out *to, const char *dir, struct err *e)
{
	struct vm_part part[VM_PARTS];
	unsigned n = vm_parts(vm, part);
	int r = vm_can_save(vm, e);
	if (r < 0) return r;
	pci_host_pause(vm->board->pci);
	for (unsigned i = 0; r == 0 && i < n; i++) r = part_save(vm, &part[i], to, e);
	discs_save(vm, to);
	if (r == 0) r = memory_save(vm, to, e);
	if (r == 0) r = vm_disks_flush(vm, e);
	if (r == 0) r = disks_save(vm, dir, e);
	pci_host_resume(vm->board->pci);
	return r;
}

/* Devices go on when it is started. */
int vm_load(struct vm *vm, struct snapshot *from, struct err *e)
{
	struct vm_part part[VM_PARTS];
	unsigned n = vm_parts(vm, part);
	int r = vm_can_save(vm, e);
	if (r == 0) r = machine_check(vm, from, e);
	if (r == 0) r = discs_check(vm, from, e);
	if (r == 0) r = memory_load(vm, from, e);
	if (r < 0) return r;
	vclock_stop(&vm->clock);
	vm->paused = VM_HELD_BY_OWNER;
	pci_host_pause(vm->board->pci);
	for (unsigned i = 0; r == 0 && i < n; i++) r = part_load(vm, &part[i], from, e);
	return r ? r : board_regenerate(vm, e);
}
