#ifndef VM_DIGEST_H
#define VM_DIGEST_H
#include <stddef.h>
#include <stdint.h>
/* A computer's state as a few numbers: of each part that a snapshot has (vm_parts), then of its
 * memory. Two that are in the same state have the same ones, whatever engine runs them. Not against
 * those who mean it. */
struct vm;
enum { VM_DIGESTS = 65 };
struct vm_digest {
	unsigned n;
	uint64_t of[VM_DIGESTS];
};
/* While no vCPU runs, or on the thread of the only one, between two instructions; nothing is in
 * flight in any device. */
void vm_digest(struct vm *vm, struct vm_digest *to);
uint64_t vm_digest_all(const struct vm_digest *d); /* all of them in one */
/* The name of the nth: "cpu0", "pci", "memory"; buf, or NULL beyond the last. */
const char *vm_digest_name(struct vm *vm, unsigned n, char *buf, size_t room);
uint64_t digest_bytes(const void *p, size_t n, uint64_t seed);
#endif
