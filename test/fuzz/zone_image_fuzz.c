/* What an image says of itself (config.json of an image): from strangers. What is taken becomes a
 * zone's config, which has to hold together or be refused; or what a computer of its own runs. */
#include "store/oci.h"
#include "store/oci_impl.h"
#include "zone/plan.h"
#include "zone/spec.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena *a = arena_new();
	struct plan_image im;
	struct oci_says says;
	struct spec s = {0};
	struct err e = {0};
	if (!oci_says_parse(&says, (const char *)p, n, a, &e))
		for (unsigned i = 0; i < says.env.n; i++) must(strlen(says.env.at[i]) <= n);
	struct plan plan = {.hostname = "h", .group = "/g", .folder = 0, .nmaps = 1};
	plan.users[0] = plan.groups[0] = (struct plan_map){0, 1000, 1};
	if (!plan_image_parse(&im, (const char *)p, n, a, &e) && !plan_spec(&plan, &im, &s, a, &e))
		must(s.process && s.process->args.n && s.process->no_new_privileges);
	spec_done(&s);
	arena_free(a);
	return 0;
}
