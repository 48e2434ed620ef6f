/* Models of x86-64 CPUs, and what one CPU lacks of another. A guest keeps what its kernel has once
 * seen in CPUID; so whoever goes on with it must give at least that, and whoever wants it to move
 * starts it with no more than all of them have. The levels are those of the psABI (x86-64-v2 and
 * v3), less what some CPUs of the level or some KVMs do not have. */
#include "engine/x86_model.h"
#include "base/types.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { EAX, EBX, ECX, EDX, NEVER = 9 };
#define EXT 0x80000000u
#define PV  0x40000001u

static const struct feature {
	const char *name;
	uint32_t leaf;
	uint8_t index, reg, bit, level; /* of the level and up; NEVER: only by +NAME */
} features[] = {
	{"sse3", 1, 0, ECX, 0, 2},
	{"pclmulqdq", 1, 0, ECX, 1, 3},
	{"ssse3", 1, 0, ECX, 9, 2},
	{"fma", 1, 0, ECX, 12, 3},
	{"cx16", 1, 0, ECX, 13, 2},
	{"pcid", 1, 0, ECX, 17, NEVER},
	{"sse4.1", 1, 0, ECX, 19, 2},
	{"sse4.2", 1, 0, ECX, 20, 2},
	{"x2apic", 1, 0, ECX, 21, 2},
	{"movbe", 1, 0, ECX, 22, 3},
	{"popcnt", 1, 0, ECX, 23, 2},
	{"tsc-deadline", 1, 0, ECX, 24, 2},
	{"aes", 1, 0, ECX, 25, 3},
	{"xsave", 1, 0, ECX, 26, 3},
	{"avx", 1, 0, ECX, 28, 3},
	{"f16c", 1, 0, ECX, 29, 3},
	{"rdrand", 1, 0, ECX, 30, 3},
	{"ss", 1, 0, EDX, 27, NEVER},
	{"fsgsbase", 7, 0, EBX, 0, 3},
	{"tsc-adjust", 7, 0, EBX, 1, 2},
	{"bmi1", 7, 0, EBX, 3, 3},
	{"avx2", 7, 0, EBX, 5, 3},
	{"smep", 7, 0, EBX, 7, 3},
	{"bmi2", 7, 0, EBX, 8, 3},
	{"erms", 7, 0, EBX, 9, 3},
	{"invpcid", 7, 0, EBX, 10, NEVER},
	{"rdseed", 7, 0, EBX, 18, 3},
	{"adx", 7, 0, EBX, 19, 3},
	{"smap", 7, 0, EBX, 20, 3},
	{"clflushopt", 7, 0, EBX, 23, NEVER},
	{"clwb", 7, 0, EBX, 24, NEVER},
	{"sha", 7, 0, EBX, 29, NEVER},
	{"umip", 7, 0, ECX, 2, 3},
	{"rdpid", 7, 0, ECX, 22, NEVER},
	{"fsrm", 7, 0, EDX, 4, NEVER},
	{"serialize", 7, 0, EDX, 14, NEVER},
	{"spec-ctrl", 7, 0, EDX, 26, 3},
	{"stibp", 7, 0, EDX, 27, 3},
	{"arch-caps", 7, 0, EDX, 29, 2},
	{"ssbd", 7, 0, EDX, 31, 3},
	{"bhi-ctrl", 7, 2, EDX, 4, NEVER},
	{"xsaveopt", 0xd, 1, EAX, 0, 3},
	{"xsavec", 0xd, 1, EAX, 1, 3},
	{"xgetbv1", 0xd, 1, EAX, 2, 3},
	{"lahf", EXT + 1, 0, ECX, 0, 2},
	{"lzcnt", EXT + 1, 0, ECX, 5, 3},
	{"prefetchw", EXT + 1, 0, ECX, 8, 3},
	{"pdpe1gb", EXT + 1, 0, EDX, 26, 3},
	{"rdtscp", EXT + 1, 0, EDX, 27, 2},
	{"invtsc", EXT + 7, 0, EDX, 8, 2},
	{"kvmclock", PV, 0, EAX, 3, 2},
	{"kvmclock-stable", PV, 0, EAX, 24, 2},
};
_Static_assert(COUNT(features) <= 64, "a bit each");

/* ---- models */
static int feature_find(const char *name, size_t len)
{
	for (unsigned i = 0; i < COUNT(features); i++)
		if (strlen(features[i].name) == len && !memcmp(features[i].name, name, len))
			return (int)i;
	return -1;
}

static uint64_t level_features(unsigned level)
{
	uint64_t has = 0;
	for (unsigned i = 0; i < COUNT(features); i++)
		if (features[i].level <= level) has |= 1ull << i;
	return has;
}

int x86_model_parse(struct x86_model *to, const char *words, struct err *e)
{
	size_t len = strcspn(words, ",");
	bool level = len == 2 && words[0] == 'v' && (words[1] == '2' || words[1] == '3');
	if (!level)
		return fail(e, -EINVAL, "--cpu: '%.*s': there are auto, v2 and v3", (int)len,
			    words);
	to->has = level_features((unsigned)(words[1] - '0'));
	for (const char *p = words + len; *p == ','; p += len) {
		char sign = *++p;
		len = strcspn(p, ",");
		int i = len ? feature_find(p + 1, len - 1) : -1;
		if (i < 0 || (sign != '+' && sign != '-'))
			return fail(e, -EINVAL,
				    "--cpu: '%.*s': a feature behind + or -, such as -avx2",
				    (int)len, p);
		to->has = sign == '+' ? to->has | 1ull << i : to->has & ~(1ull << i);
	}
	return 0;
}

void x86_model_mask(const struct x86_model *c, uint32_t leaf, uint32_t index, uint32_t out[4])
{
	for (unsigned i = 0; c && i < COUNT(features); i++) {
		const struct feature *f = &features[i];
		if (f->leaf == leaf && f->index == index && !(c->has >> i & 1))
			out[f->reg] &= ~(1u << f->bit);
	}
}

/* ---- tables */
bool x86_leaf_is_indexed(uint32_t leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x1f ||
	       leaf == EXT + 0x1d;
}

const struct x86_leaf *x86_leaf_find(const struct x86_leaf *at, unsigned n, uint32_t leaf,
				     uint32_t index)
{
	for (unsigned i = 0; i < n; i++)
		if (at[i].leaf == leaf && (at[i].index == index || !x86_leaf_is_indexed(leaf)))
			return &at[i];
	return NULL;
}

static uint32_t value(const struct x86_leaf *at, unsigned n, uint32_t leaf, uint32_t index,
		      unsigned reg)
{
	const struct x86_leaf *l = x86_leaf_find(at, n, leaf, index);
	return l ? l->out[reg] : 0;
}

uint32_t x86_leaf_khz(const struct x86_leaf *at, unsigned n)
{
	return value(at, n, 0x40000010, 0, EAX);
}

/* A list of names as far as there is room. */
struct names {
	char *to;
	size_t room, len;
	unsigned n;
};
static void name_add(struct names *s, const char *name)
{
	s->n++;
	if (s->len + strlen(name) + 3 > s->room) return;
	s->len += (size_t)snprintf(s->to + s->len, s->room - s->len, "%s%s", s->len ? ", " : "",
				   name);
}

static void bit_add(struct names *s, uint32_t leaf, uint32_t index, unsigned reg, unsigned bit)
{
	static const char *const regs[] = {"eax", "ebx", "ecx", "edx"};
	char words[48];
	for (unsigned i = 0; i < COUNT(features); i++) {
		const struct feature *f = &features[i];
		if (f->leaf == leaf && f->index == index && f->reg == reg && f->bit == bit) {
			name_add(s, f->name);
			return;
		}
	}
	(void)snprintf(words, sizeof(words), "cpuid %x.%x %s[%u]", leaf, index, regs[reg], bit);
	name_add(s, words);
}

unsigned x86_model_misses(const struct x86_model *c, const struct x86_leaf *gives, unsigned n,
			  char *to, size_t room)
{
	struct names s = {to, room, 0, 0};
	to[0] = 0;
	for (unsigned i = 0; i < COUNT(features); i++) {
		const struct feature *f = &features[i];
		if (c->has >> i & 1 && !(value(gives, n, f->leaf, f->index, f->reg) >> f->bit & 1))
			name_add(&s, f->name);
	}
	return s.n;
}

/* Registers whose every bit is a feature, but for these. */
static const struct flags {
	uint32_t leaf;
	uint8_t index, reg;
	uint32_t except;
} flags[] = {
	{1, 0, ECX, 1u << 27 | 1u << 31}, /* OSXSAVE, and that there is a hypervisor */
	{1, 0, EDX, 1u << 28},		  /* HTT */
	{7, 0, EBX, 1u << 6 | 1u << 13},  /* how x87 saves pointers: what it does not do */
	{7, 0, ECX, 0},
	{7, 0, EDX, 0},
	{7, 1, EAX, 0},
	{7, 1, EDX, 0},
	{7, 2, EDX, 0},
	{0xd, 1, EAX, 0},
	{EXT + 1, 0, ECX, 0},
	{EXT + 1, 0, EDX, 0},
	{EXT + 7, 0, EDX, 0},
	{EXT + 8, 0, EBX, 0},
	{EXT + 0x21, 0, EAX, 0},
	{PV, 0, EAX, 0},
};

/* XSAVE's areas: the same where there are any, since they are saved as they lie. */
static void areas_compare(struct names *s, const struct x86_leaf *told, unsigned n,
			  const struct x86_leaf *gives, unsigned m)
{
	uint32_t xcr0 = value(told, n, 0xd, 0, EAX), has = value(gives, m, 0xd, 0, EAX);
	for (unsigned i = 2; i < 32; i++) {
		char words[32];
		if (!(xcr0 >> i & 1)) continue;
		bool same = has >> i & 1 &&
			    value(told, n, 0xd, i, EAX) == value(gives, m, 0xd, i, EAX) &&
			    value(told, n, 0xd, i, EBX) == value(gives, m, 0xd, i, EBX);
		(void)snprintf(words, sizeof(words), "XSAVE state %u", i);
		if (!same) name_add(s, words);
	}
}

unsigned x86_leaves_lack(const struct x86_leaf *told, unsigned n, const struct x86_leaf *gives,
			 unsigned m, char *to, size_t room)
{
	struct names s = {to, room, 0, 0};
	to[0] = 0;
	for (unsigned i = 0; i < COUNT(flags); i++) {
		const struct flags *f = &flags[i];
		uint32_t lost = value(told, n, f->leaf, f->index, f->reg) &
				~value(gives, m, f->leaf, f->index, f->reg) & ~f->except;
		for (; lost; lost &= lost - 1)
			bit_add(&s, f->leaf, f->index, f->reg, (unsigned)__builtin_ctz(lost));
	}
	areas_compare(&s, told, n, gives, m);
	return s.n;
}
