/* Any accesses to a flash chip, at any place and width: none may leave its bytes, and what was
 * programmed is never more bits than there were. Its state is saved, altered and loaded on the way.
 * Input: steps. */
#include "base/buf.h"
#include "base/state.h"
#include "base/types.h"
#include "dev/dev.h"
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LEN = 0x3000 };
struct step {
	uint8_t what;
	uint16_t off;
	uint64_t val;
} __attribute__((packed));

static void reload(struct device *d, const struct step *s)
{
	auto_buf struct buf b = {0};
	struct state out = {.b = &b}, in = {.b = &b, .loading = true};
	d->ops->state(d, &out);
	if (s->val & 0xff) b.at[s->off % b.len] ^= (char)s->val;
	d->ops->state(d, &in);
	(void)state_end(&in, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static int fd = -1;
	struct device *d = NULL;
	if (fd < 0) must((fd = memfd_create("flash", 0)) >= 0 && !ftruncate(fd, LEN));
	must(!pflash_new(&d, "vars", fd, LEN, n & 1, NULL));
	for (; n >= sizeof(struct step); p += sizeof(struct step), n -= sizeof(struct step)) {
		struct step s;
		memcpy(&s, p, sizeof(s));
		unsigned len = 1u << (s.what >> 1 & 3);
		uint64_t off = s.off % (LEN - len + 1);
		if (s.what & 1)
			d->ops->write(d, off, s.val, len);
		else
			(void)d->ops->read(d, off, len);
		if (s.what >> 6 == 2) d->ops->reset(d);
		if (s.what >> 6 == 3) reload(d, &s);
	}
	device_free(d);
	return 0;
}
