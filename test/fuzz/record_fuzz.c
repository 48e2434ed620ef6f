/* What a guest's folder says of it: any bytes are read or refused in words, and what is read is
 * written so that it reads the same again. */
#include "base/buf.h"
#include "guest/record.h"
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct err e = {0};
	struct guest_state s;
	struct record r, back;
	auto_buf struct buf b = {0};
	if (n > 65536) return 0;
	state_parse(&s, (const char *)p, n);
	must(s.life <= LIFE_MOVED && memchr(s.why, 0, sizeof(s.why)));
	if (record_parse(&r, (const char *)p, n, &e)) {
		must(e.msg[0] && !r.arena);
		return 0;
	}
	record_format(&r, &b);
	must(!record_parse(&back, b.at, b.len, &e));
	must(!strcmp(r.id, back.id) && r.created == back.created);
	must(r.spec.ndisks == back.spec.ndisks && r.spec.npublish == back.spec.npublish);
	must(r.spec.memory == back.spec.memory && r.spec.cpus == back.spec.cpus);
	record_done(&r);
	record_done(&back);
	return 0;
}
