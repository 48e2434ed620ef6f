/* Models of CPUs: words, what they leave, and what is missed. */
#include "base/test.h"
#include "engine/x86_model.h"
#include <errno.h>
#include <string.h>

enum { EAX, EBX, ECX, EDX };
static struct x86_model model(const char *words)
{
	struct x86_model m = {0};
	struct err e;
	CHECK(!x86_model_parse(&m, words, &e));
	return m;
}

TEST(x86_model_words)
{
	static const char *const bad[] = {"",	 "v4",	 "host",     "v2,",	"v2,avx",
					  "v2+", "v3,-", "v3,-avx3", "v3,*avx", "v3,-avx,,"};
	struct x86_model m = {0};
	struct err e;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(x86_model_parse(&m, bad[i], &e) == -EINVAL && strstr(e.msg, "--cpu"));
	CHECK(model("v2,+avx,-avx").has == model("v2").has);
	CHECK((model("v2").has & ~model("v3").has) == 0 && model("v2").has != model("v3").has);
}

TEST(x86_model_leaves_what_it_has)
{
	struct x86_model m = model("v2,+sha");
	uint32_t one[4] = {~0u, ~0u, ~0u, ~0u}, seven[4] = {~0u, ~0u, ~0u, ~0u};
	x86_model_mask(&m, 1, 0, one);
	x86_model_mask(&m, 7, 0, seven);
	CHECK(one[ECX] & 1 << 13 && one[ECX] & 1 << 20 && !(one[ECX] & 1 << 28)); /* cx16, avx */
	CHECK(seven[EBX] & 1 << 29 && !(seven[EBX] & 1 << 5) && one[EDX] & 1 << 26);
	x86_model_mask(NULL, 1, 0, one);
	CHECK(one[EAX] == ~0u);
}

TEST(x86_model_what_is_lacking_has_names)
{
	char words[60], few[8];
	struct x86_leaf told[] = {{1, 0, {0, 0, 1u << 28 | 1u << 31, 0}},
				  {7, 0, {0, 1u << 5 | 1u << 6, 1u << 4, 0}},
				  {0xd, 0, {7, 0, 0, 0}},
				  {0xd, 2, {256, 576, 0, 0}}};
	struct x86_leaf gives[4];
	memcpy(gives, told, sizeof(told));
	CHECK(!x86_leaves_lack(told, 4, gives, 4, words, sizeof(words)) && !words[0]);
	gives[0].out[ECX] = gives[1].out[EBX] = gives[1].out[ECX] = 0;
	CHECK(x86_leaves_lack(told, 4, gives, 4, words, sizeof(words)) == 3);
	CHECK(!strcmp(words, "avx, avx2, cpuid 7.0 ecx[4]"));
	CHECK(x86_leaves_lack(told, 4, gives, 4, few, sizeof(few)) == 3 && !strcmp(few, "avx"));
	gives[3].out[EBX] = 580; /* it lies elsewhere */
	CHECK(x86_leaves_lack(told, 4, gives, 4, words, sizeof(words)) == 4);
	CHECK(strstr(words, "XSAVE state 2"));
	CHECK(x86_leaves_lack(told, 4, NULL, 0, words, sizeof(words)) == 4);
}

TEST(x86_model_of_the_own_cpu)
{
	struct x86_model v2 = model("v2");
	struct x86_cpuid_ask ask = {
		.cpus = 2, .apic = true, .x2apic = true, .khz = 2500000, .cpu = &v2};
	struct x86_leaf at[X86_LEAVES];
	char words[80];
	unsigned n = x86_cpuid_list(&ask, at);
	CHECK(!x86_model_misses(&v2, at, n, words, sizeof(words)));
	CHECK(x86_leaf_khz(at, n) == 2500000 && !x86_leaf_find(at, n, 0xd, 0)); /* no XSAVE */
	ask.x2apic = false;
	n = x86_cpuid_list(&ask, at);
	CHECK(x86_model_misses(&v2, at, n, words, sizeof(words)) == 2);
	CHECK(!strcmp(words, "x2apic, tsc-deadline"));
	struct x86_model v3 = model("v3");
	ask.cpu = &v3;
	n = x86_cpuid_list(&ask, at);
	CHECK(x86_leaf_find(at, n, 0xd, 2) && !(x86_leaf_find(at, n, 1, 0)->out[EDX] & 1 << 27));
}
