/* Of the AHCI controller: where a command's data is. A descriptor table may have 65,535 entries of
 * two bytes to 4 MiB each, so it is read as far as the next request needs it, and each entry once;
 * what does not fill a sector waits for the next request. */
#include "base/types.h"
#include "dev/ahci.h"
#include <string.h>

enum { ENTRY = 16, DBC = 0x3fffff }; /* AHCI 4.2.3.3 */

static bool next_entry(struct ahci_slot *s)
{
	uint8_t raw[ENTRY];
	if (!gmem_read(s->of->of->mem, s->prdt, raw, ENTRY)) return false;
	s->prdt += ENTRY;
	s->prds--;
	s->rest = load_le(raw, 8) & ~1ull;
	s->rest_len = ((uint32_t)load_le(raw + 12, 4) & DBC) + 1;
	s->rest_len += s->rest_len & 1; /* an even number of bytes */
	return true;
}
/* Add pieces up to `most` bytes: how many there are then; -1: one is not in memory. */
static int64_t fill(struct ahci_slot *s, uint64_t most, bool write)
{
	uint64_t got = 0;
	for (unsigned i = 0; i < s->niov; i++) got += s->iov[i].iov_len;
	while (got < most && s->niov < AHCI_IOV) {
		if (!s->rest_len && !s->prds) break;
		if (!s->rest_len && !next_entry(s)) return -1;
		uint64_t len = s->rest_len < most - got ? s->rest_len : most - got;
		void *p = gmem_ptr(s->of->of->mem, s->rest, len, write);
		if (!p) return -1;
		s->at[s->niov] = s->rest;
		s->iov[s->niov++] = (struct iovec){p, len};
		s->rest += len;
		s->rest_len -= (uint32_t)len;
		got += len;
	}
	return (int64_t)got;
}
static void split(struct ahci_slot *s, unsigned k, size_t at)
{
	must(s->niov <= AHCI_IOV);
	memmove(&s->iov[k + 1], &s->iov[k], (s->niov - k) * sizeof(s->iov[0]));
	memmove(&s->at[k + 1], &s->at[k], (s->niov - k) * sizeof(s->at[0]));
	s->niov++;
	s->iov[k].iov_len = at;
	s->at[k + 1] += at;
	s->iov[k + 1].iov_base = (uint8_t *)s->iov[k + 1].iov_base + at;
	s->iov[k + 1].iov_len -= at;
}
/* As many pieces as make n bytes. */
static void use(struct ahci_slot *s, uint64_t n)
{
	for (s->used = 0; n; s->used++) {
		if (s->iov[s->used].iov_len > n) split(s, s->used, n);
		n -= s->iov[s->used].iov_len;
	}
}
int64_t ahci_prd_gather(struct ahci_slot *s, uint64_t most, uint32_t unit, bool write)
{
	s->niov -= s->used;
	memmove(s->iov, s->iov + s->used, s->niov * sizeof(s->iov[0]));
	memmove(s->at, s->at + s->used, s->niov * sizeof(s->at[0]));
	s->used = 0;
	int64_t got = fill(s, most, write);
	if (got < 0) return -1;
	got -= got % unit;
	use(s, (uint64_t)got);
	return got;
}

unsigned ahci_prd_give(struct ahci_slot *s, const void *from, uint32_t n)
{
	const uint8_t *p = from;
	for (uint32_t left = n; left;) {
		int64_t got = ahci_prd_gather(s, left, 1, true);
		if (got < 0) return AHCI_BUS_ERROR;
		s->overflow |= !got;
		if (!got) break;
		for (unsigned i = 0; i < s->used; p += s->iov[i++].iov_len)
			(void)gmem_write(s->of->of->mem, s->at[i], p, s->iov[i].iov_len);
		left -= (uint32_t)got;
		s->moved += (uint32_t)got;
	}
	return AHCI_OK;
}
unsigned ahci_prd_take(struct ahci_slot *s, void *to, uint32_t n)
{
	uint8_t *p = to;
	for (uint32_t left = n; left;) {
		int64_t got = ahci_prd_gather(s, left, 1, false);
		if (got < 0) return AHCI_BUS_ERROR;
		if (!got) return AHCI_ABORT;
		for (unsigned i = 0; i < s->used; p += s->iov[i++].iov_len)
			memcpy(p, s->iov[i].iov_base, s->iov[i].iov_len);
		left -= (uint32_t)got;
		s->moved += (uint32_t)got;
	}
	return AHCI_OK;
}
