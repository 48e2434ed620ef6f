/* A computer that comes from another host, into one that was built like it. What comes is not
 * trusted: addresses are looked up, parts are read as those of a snapshot. */
#include "base/buf.h"
#include "base/own.h"
#include "guest/arrival.h"
#include "guest/guest.h"
#include "guest/outside.h"
#include "hw/gmem.h"
#include "hw/pci.h"
#include "net/port.h"
#include "vm/board.h"
#include "vm/move.h"
#include "vm/save.h"
#include "vm/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum { GO_SECONDS = 120, PART_MOST = 256 << 20 };

struct arrive {
	struct vm *vm;
	const struct arrival *from;
	struct vm_part part[VM_PARTS];
	unsigned n, got;
	struct buf state[VM_PARTS];
};

static int no_memory(uint64_t gpa, struct err *e)
{
	return fail(e, -EPROTO, "there is no memory at %#llx here", (unsigned long long)gpa);
}

static int pages(void *ctx, uint64_t gpa, const void *p, size_t n, struct err *e)
{
	const struct arrive *a = ctx;
	void *to = gmem_host(a->vm->mem, gpa, n);
	if (!to) return no_memory(gpa, e);
	memcpy(to, p, n);
	return 0;
}

static int zero(void *ctx, uint64_t gpa, uint64_t n, struct err *e)
{
	const struct arrive *a = ctx;
	void *to = gmem_host(a->vm->mem, gpa, n);
	if (!to) return no_memory(gpa, e);
	memset(to, 0, n);
	return 0;
}

static int disk_find(const struct arrive *a, unsigned disk, uint64_t end, struct err *e)
{
	struct stat st;
	int fd = disk < a->vm->guest->spec->ndisks ? a->from->disk[disk] : -1;
	if (fd >= 0 && !fstat(fd, &st) && end <= (uint64_t)st.st_size) return fd;
	return fail(e, -EPROTO, "there is no such place on disk %u", disk);
}

static int block(void *ctx, unsigned disk, uint64_t off, const void *p, size_t n, struct err *e)
{
	const char *from = p;
	int fd = disk_find(ctx, disk, off + n, e);
	if (fd < 0) return fd;
	while (n) {
		ssize_t k = pwrite(fd, from, n, (off_t)off);
		if (k < 0 && errno == EINTR) continue;
		if (k <= 0) return fail(e, -errno, "disk %u: %s", disk, strerror(errno));
		from += k;
		off += (uint64_t)k;
		n -= (size_t)k;
	}
	return 0;
}

static int blank(void *ctx, unsigned disk, uint64_t off, uint64_t n, struct err *e)
{
	static const char zeroes[4096];
	int fd = disk_find(ctx, disk, off + n, e), r = 0;
	if (fd < 0) return fd;
	if (!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)n))
		return 0;
	for (uint64_t k; r == 0 && n; off += k, n -= k) {
		k = n < sizeof(zeroes) ? n : sizeof(zeroes);
		r = block(ctx, disk, off, zeroes, k, e);
	}
	return r;
}

static int part(void *ctx, const char *name, const void *p, size_t n, struct err *e)
{
	struct arrive *a = ctx;
	bool more = a->got && !strcmp(name, a->part[a->got - 1].name);
	if (!more && (a->got == a->n || strcmp(name, a->part[a->got].name) != 0))
		return fail(e, -EPROTO, "it is another machine there: part %u", a->got);
	struct buf *to = &a->state[a->got - more];
	if (to->len + n > PART_MOST) return fail(e, -E2BIG, "%s: too large", name);
	buf_add(to, p, n);
	a->got += !more;
	return 0;
}

/* ---- in order */
static int settle_disks(const struct arrive *a, struct err *e)
{
	for (unsigned i = 0; i < a->vm->guest->spec->ndisks; i++)
		if (fdatasync(a->from->disk[i]))
			return fail(e, -errno, "disk %u: %s", i, strerror(errno));
	return 0;
}

static int load(struct arrive *a, struct err *e)
{
	struct vm *vm = a->vm;
	int r = a->got == a->n ? 0 : fail(e, -EPROTO, "parts of it are missing");
	vclock_stop(&vm->clock);
	vm->paused = VM_HELD_BY_OWNER;
	pci_host_pause(vm->board->pci);
	for (unsigned i = 0; r == 0 && i < a->n; i++)
		r = vm_part_load(vm, &a->part[i], &a->state[i], e);
	return r;
}

static int take(struct arrive *a, struct err *e)
{
	static const struct arrival_ops ops = {pages, zero, block, blank, part};
	struct link *l = a->from->link;
	int r = link_send(l, LINK_OK, 0, NULL, 0, e);
	if (r == 0) r = arrival_take(l, &ops, a, e);
	if (r == 0) r = load(a, e);
	if (r == 0) r = settle_disks(a, e);
	if (r == 0) r = link_send(l, LINK_READY, 0, NULL, 0, e);
	if (r == 0) r = link_expect(l, LINK_GO, GO_SECONDS, e);
	return r ? r : outside_arrived(a->from, e);
}

int vm_arrive(struct vm *vm, struct err *e)
{
	struct arrive *a = calloc(1, sizeof(*a));
	must(a);
	a->vm = vm;
	a->from = vm->guest->spec->arrival;
	a->n = vm_parts(vm, a->part);
	int r = vm_can_save(vm, e);
	if (r == 0) r = take(a, e);
	for (unsigned i = 0; i < VM_PARTS; i++) buf_done(&a->state[i]);
	free(a);
	return r;
}

/* So that switches learn at once where its cards are now: a reverse ARP request (RFC 903). */
static void announce(struct port *cable, const uint8_t mac[6])
{
	uint8_t f[60] = {0};
	struct iovec v = {f, sizeof(f)};
	static const uint8_t rarp[] = {0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3};
	memset(f, 0xff, 6);
	memcpy(f + 6, mac, 6);
	memcpy(f + 12, rarp, sizeof(rarp));
	memcpy(f + 22, mac, 6);
	memcpy(f + 32, mac, 6);
	(void)cable->ops->deliver(cable, &v, 1);
}

void vm_arrived(struct vm *vm)
{
	const struct arrival *a = vm->guest->spec->arrival;
	(void)link_send(a->link, LINK_STARTED, 0, NULL, 0, NULL);
	link_hang_up(a->link);
	for (unsigned i = 0; i < BOARD_NETS; i++)
		if (vm->board->cable[i] && vm->board->cable[i]->peer)
			announce(vm->board->cable[i], vm->board->cable[i]->peer->mac);
	for (unsigned i = 0; i < vm->guest->spec->ndisks; i++) (void)close(a->disk[i]);
}
