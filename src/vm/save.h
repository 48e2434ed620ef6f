#ifndef VM_SAVE_H
#define VM_SAVE_H
#include "base/err.h"
/* A whole computer into a snapshot, and out of it. On the loop's thread. */
struct buf;
struct snapshot;
struct snapshot_out;
struct state;
struct vm;

int vm_can_save(const struct vm *vm, struct err *e); /* or be moved; else words */
/* What images keep of their tables in memory goes to their files: who copies those needs it. */
int vm_disks_flush(struct vm *vm, struct err *e);
/* While it is paused. Requests in flight are waited for; then nothing moves until it returns. dir:
 * where copies of its disks go, disk0 and so on. */
int vm_save(struct vm *vm, struct snapshot_out *to, const char *dir, struct err *e);
/* Into one that was built for the same spec and has never run or been booted; it is then paused.
 * Memory comes as it is reached, from the snapshot, which lives as long as that takes. If it fails
 * vm is good for nothing but vm_free(). */
int vm_load(struct vm *vm, struct snapshot *from, struct err *e);

/* All but memory as sections, for whoever has another way to move it: fn gets each, in the order in
 * which they are to be read; the first result that is not 0 ends it. */
struct vm_part {
	char name[40];
	void (*state)(struct vm *vm, unsigned n, struct state *s);
	unsigned n;
};
enum { VM_PARTS = 64, VM_PART_VERSION = 1 };
int vm_part_save(struct vm *vm, const struct vm_part *p, struct buf *to, struct err *e);
int vm_part_load(struct vm *vm, const struct vm_part *p, struct buf *from, struct err *e);
unsigned vm_parts(struct vm *vm, struct vm_part out[VM_PARTS]);
#endif
