/* config.json of an OCI bundle, a process and resources of `exec` and `update`: no bytes may break
 * the reader, and what it accepts keeps what spec_check.c promises. */
#include "zone/filter.h"
#include "zone/options.h"
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct err e;
	struct spec s;
	struct spec_process process = {0};
	struct spec_resources resources = {0};
	struct filter f;
	struct arena *a = arena_new();
	if (!spec_parse(&s, (const char *)p, n, a, &e)) {
		must(s.root && s.root->path && s.linux_);
		must(!s.process || (s.process->args.n && s.process->cwd[0] == '/'));
		must(!(s.new_ns & s.join_ns));
		for (unsigned i = 0; i < s.mounts.n; i++) {
			struct options o;
			must(s.mounts.at[i].destination);
			(void)options_parse(&o, &s.mounts.at[i], a, &e);
		}
		if (n < 8192) (void)filter_make(&f, s.linux_->seccomp, -1, a, &e);
	}
	spec_done(&s);
	(void)spec_parse_process(&process, (const char *)p, n, a, &e);
	(void)spec_parse_resources(&resources, (const char *)p, n, a, &e);
	arena_free(a);
	return 0;
}
