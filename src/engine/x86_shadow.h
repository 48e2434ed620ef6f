#ifndef ENGINE_X86_SHADOW_H
#define ENGINE_X86_SHADOW_H
#include "engine/x86_vcpu.h"
/* User pages of one guest address space that stand where the host's MMU finds them: shadow page
 * tables, made of mappings of guest memory. What is there, the guest's tables allowed when it came,
 * and no flush has asked for since. A vCPU's own thread only, its signal handlers included. */
enum { X86_SHADOW_MOST = 30000, X86_SHADOW_HASH = 1 << 17 };
#define X86_SHADOW_FIRST 0x10000ull /* below it hosts let nobody map anything */
enum x86_shadow_rights { X86_SHADOW_WRITE = 1, X86_SHADOW_EXEC = 4 };
struct x86_shadow_to { /* where they stand */
	/* len bytes of guest memory, readable, with rights. False: it cannot be. */
	bool (*map)(void *ctx, uint64_t la, gpa_t at, size_t len, unsigned rights);
	void (*hide)(void *ctx, uint64_t la, uint64_t len); /* nothing is there any more */
	void *ctx;
	uint64_t end; /* of addresses there are */
};
struct x86_shadow {
	struct x86_shadow_to to;
	struct x86_vcpu *v;
	struct x86_shadow *next; /* of v->shadows */
	uint64_t cr3;		 /* whose space it is; 0: nobody's */
	/* Flushes: late, it is stale until it is looked over, which its user does before it is
	 * used; else it is looked over at once. */
	bool late, stale;
	unsigned pages; /* that are there */
	unsigned work;	/* done since somebody set it to 0: pages that came, and more for those
			   that went, which are likely to come back */
	unsigned listed;
	bool pieces; /* there are parts of the guest's large pages, which invlpg takes as a whole */
	/* By page of guest memory: may be writable here; may be executed here; has had code and
	 * been written to. */
	uint64_t *writable, *executed, *coded;
	size_t map_size;		/* bytes of each */
	uint64_t list[X86_SHADOW_MOST]; /* what has been put in, also if it is out again */
	struct x86_shadow_page {
		uint64_t la; /* and IS_ bits; 0: none here */
		gpa_t at;    /* of a large page: all of it stands there, as one entry */
	} page[X86_SHADOW_HASH];
};

/* Bitmaps by page of guest memory. */
static inline bool x86_marked(const uint64_t *map, gpa_t at)
{
	uint64_t k = at >> X86_PAGE_SHIFT;
	return map[k / 64] >> (k & 63) & 1;
}
static inline void x86_mark(uint64_t *map, gpa_t at, bool on)
{
	uint64_t k = at >> X86_PAGE_SHIFT, bit = 1ull << (k & 63);
	map[k / 64] = on ? map[k / 64] | bit : map[k / 64] & ~bit;
}

bool x86_shadow_init(struct x86_shadow *s, struct x86_vcpu *v,
		     const struct x86_shadow_to *to); /* s zeroed; false: no memory */
void x86_shadow_done(struct x86_shadow *s);
/* Is the page there for such an access? */
bool x86_shadow_has(struct x86_shadow *s, uint64_t la, enum x86_access access);
/* Put it there, as far as *pg, which was found for the access, has it. stored: it is to be written
 * to. False: it cannot stand there (a device, ROM, code that is written to). */
bool x86_shadow_put(struct x86_vcpu *v, struct x86_shadow *s, uint64_t la,
		    const struct x86_page_found *pg, bool stored);
/* The same of a page to be executed, which is never writable: the caller has seen to it that no
 * write to it goes unnoticed. */
bool x86_shadow_put_code(struct x86_vcpu *v, struct x86_shadow *s, uint64_t la,
			 const struct x86_page_found *pg);
/* Nothing is there any more. code: nor is it known what has had code. */
void x86_shadow_clear(struct x86_shadow *s, bool code);
void x86_shadow_drop_page(struct x86_shadow *s, uint64_t la); /* invlpg */
/* The guest has flushed all there is of its space, as it does when many pages have changed, or one
 * did while another space was current: what did not change stays. */
void x86_shadow_look_over(struct x86_shadow *s);
void x86_shadow_drop_code(struct x86_shadow *s, gpa_t page); /* ~0: all that is executed */

/* ---- of all that a vCPU has */

void x86_shadows_flush(struct x86_vcpu *v); /* of every space */
void x86_shadows_drop_page(struct x86_vcpu *v, uint64_t la);
void x86_shadows_readonly(struct x86_vcpu *v, gpa_t page); /* it has code now */
/* Nothing that some CPU has code of is writable any more. */
void x86_shadows_fence(struct x86_vcpu *v);
/* Nothing is in them any more: memory itself has changed, or who is told of writes. */
void x86_shadows_empty(struct x86_vcpu *v);
#endif
