#ifndef ENGINE_X86_MODEL_H
#define ENGINE_X86_MODEL_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* What x86-64 CPU a guest is told of, by CPUID (SDM 2A, CPUID; AMD APM 3, appendix E), as far as it
 * does not depend on who executes it: models by name, and tables that are compared. */
struct x86_leaf {
	uint32_t leaf, index; /* index 0 where the leaf has none */
	uint32_t out[4];      /* eax ebx ecx edx */
};
enum { X86_LEAVES = 160 };

/* A model is the CPU that Lodge's translator is, with these features (bits of a table) and no
 * others that the table knows. */
struct x86_model {
	uint64_t has;
};
/* "v2" or "v3", then ",-FEATURE" or ",+FEATURE" any number of times. -EINVAL in words. */
int x86_model_parse(struct x86_model *to, const char *words, struct err *e);
/* Clear in a leaf's registers what the model does not have; NULL: nothing. */
void x86_model_mask(const struct x86_model *c, uint32_t leaf, uint32_t index, uint32_t out[4]);
/* What of the model's features is not in these leaves: how many; their names at `to`. */
unsigned x86_model_misses(const struct x86_model *c, const struct x86_leaf *gives, unsigned n,
			  char *to, size_t room);
/* What a guest was told of (features, state that XSAVE keeps and where) and these leaves do not
 * give: how many things; the names of the first at `to`. */
unsigned x86_leaves_lack(const struct x86_leaf *told, unsigned n, const struct x86_leaf *gives,
			 unsigned m, char *to, size_t room);
bool x86_leaf_is_indexed(uint32_t leaf);
const struct x86_leaf *x86_leaf_find(const struct x86_leaf *at, unsigned n, uint32_t leaf,
				     uint32_t index);
/* The CPU that Lodge's own engines are, or the model of it: as CPU `id` of `cpus` sees it. */
struct x86_cpuid_ask {
	unsigned id, cpus;
	bool apic, x2apic, osxsave;  /* osxsave: CR4.OSXSAVE */
	uint64_t xcr0, khz;	     /* of the time stamp counter */
	const struct x86_model *cpu; /* NULL: all that it can */
};
void x86_cpuid_own(const struct x86_cpuid_ask *a, uint32_t leaf, uint32_t index, uint32_t out[4]);
/* All that is not zero, up to X86_LEAVES. */
unsigned x86_cpuid_list(const struct x86_cpuid_ask *a, struct x86_leaf *to);
/* The frequency of its time stamp counter that it was told, kHz; 0: none. */
uint32_t x86_leaf_khz(const struct x86_leaf *at, unsigned n);
#endif
