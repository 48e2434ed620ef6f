/* The state of a computer, hashed. Parts write themselves as they would into a snapshot; memory is
 * the sum of its pages, each with its place, so that pages of zeroes count for nothing and it does
 * not matter which of them the host happens to keep. */
#include "vm/digest.h"
#include "base/buf.h"
#include "base/types.h"
#include "hw/gmem.h"
#include "vm/save.h"
#include "vm/vm.h"
#include <stdio.h>
#include <string.h>

enum { PAGE = 4096, LANES = 4, STEP = LANES * 16 };

static const uint64_t prime[LANES + 1] = {0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f,
					  0x165667b19e3779f9, 0x85ebca77c2b2ae63,
					  0x27d4eb2f165667c5};

static inline uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 p = (unsigned __int128)a * b;
	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static inline uint64_t word(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, 8);
	return v;
}

/* n is a multiple of STEP. Lanes so that multiplications need not wait for each other. */
static uint64_t blocks(const uint8_t *p, size_t n, uint64_t seed)
{
	uint64_t lane[LANES];
	for (unsigned k = 0; k < LANES; k++) lane[k] = seed + prime[k + 1];
	for (const uint8_t *end = p + n; p < end; p += STEP)
		for (unsigned k = 0; k < LANES; k++)
			lane[k] = fold(lane[k] ^ word(p + 16 * k) ^ prime[k],
				       word(p + 16 * k + 8) ^ prime[LANES]) +
				  lane[k];
	uint64_t all = n;
	for (unsigned k = 0; k < LANES; k++) all = fold(all ^ lane[k], prime[k]);
	return all;
}

uint64_t digest_bytes(const void *p, size_t n, uint64_t seed)
{
	uint8_t rest[STEP] = {0};
	size_t whole = n - n % STEP;
	uint64_t all = blocks(p, whole, seed);
	if (n > whole) memcpy(rest, (const uint8_t *)p + whole, n - whole);
	return fold(all ^ blocks(rest, STEP, n), prime[0]);
}

static bool is_zero(const uint8_t *page)
{
	static const uint8_t none[PAGE];
	return !word(page) && !memcmp(page, none, PAGE);
}

static uint64_t region_digest(struct vm *vm, const struct gmem_region *r)
{
	uint64_t sum = 0, from, len;
	gpa_t at = r->base, end = r->base + r->len;
	while (at < end && gmem_next(vm->mem, at, &from, &len)) {
		for (at = from; at < from + len; at += PAGE) {
			const uint8_t *p = (const uint8_t *)r->host + (at - r->base);
			if (!is_zero(p)) sum += fold(blocks(p, PAGE, 0) ^ at, prime[1]);
		}
	}
	return sum;
}

void vm_digest(struct vm *vm, struct vm_digest *to)
{
	struct vm_part part[VM_PARTS];
	struct gmem_region r;
	unsigned n = vm_parts(vm, part);
	_Static_assert((int)VM_DIGESTS > (int)VM_PARTS, "and memory");
	*to = (struct vm_digest){.n = n + 1};
	for (unsigned i = 0; i < n; i++) {
		auto_buf struct buf b = {0};
		must(!vm_part_save(vm, &part[i], &b, NULL));
		to->of[i] = digest_bytes(b.at, b.len, i);
	}
	for (unsigned i = 0; gmem_region(vm->mem, i, &r); i++) to->of[n] += region_digest(vm, &r);
}

uint64_t vm_digest_all(const struct vm_digest *d)
{
	return digest_bytes(d->of, d->n * sizeof(d->of[0]), d->n);
}

const char *vm_digest_name(struct vm *vm, unsigned n, char *buf, size_t room)
{
	struct vm_part part[VM_PARTS];
	unsigned parts = vm_parts(vm, part);
	if (n > parts) return NULL;
	(void)snprintf(buf, room, "%s", n < parts ? part[n].name : "memory");
	return buf;
}
