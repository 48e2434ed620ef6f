#ifndef ENGINE_KVM_CODE_H
#define ENGINE_KVM_CODE_H
#include "engine/engine.h"
#include "engine/x86_regs.h"
#include "hw/gmem.h"
/* Tiny guests, put together at run time: for the probe and for tests. Code is appended to a
 * page of guest memory; labels are offsets that were noted, jumps are patched by them. */
struct x86_code {
	struct gmem *mem;
	gpa_t at; /* where the next byte goes */
};
#define X86_EMIT(c, ...)                                                                           \
	x86_emit((c), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
void x86_emit(struct x86_code *c, const uint8_t *bytes, size_t n);
void x86_emit_le(struct x86_code *c, uint64_t v, unsigned len);
void x86_mov(struct x86_code *c, unsigned reg, uint64_t v);   /* mov reg, imm64 */
void x86_out(struct x86_code *c, uint8_t port, uint8_t byte); /* clobbers al */
/* jcc or jmp (0xeb) back to there, at most 126 bytes. */
void x86_back(struct x86_code *c, uint8_t op, gpa_t to);

/* Page tables, descriptor tables, one task; addresses in guest memory below 1 MiB. */
enum {
	X86_PML4 = 0x1000, /* to 0x3fff: the first GiB is mapped onto itself, for ring 3, too */
	X86_GDT = 0x4000,
	X86_IDT = 0x5000,
	X86_TSS = 0x6000,
	X86_STACK = 0x8000, /* its top */
	X86_CODE = 0x9000,
	X86_KERNEL_CS = 0x08,
	X86_KERNEL_SS = 0x10,
	X86_USER_SS = 0x1b, /* in the order that sysret wants */
	X86_USER_CS = 0x23,
	X86_TASK = 0x28,
};
/* Write the tables; 2 MiB of memory at 0 are there. */
void x86_tables(struct gmem *mem);
void x86_gate(struct gmem *mem, unsigned vector, gpa_t handler, unsigned dpl);
/* Ring 0 in long mode, interrupts off, at rip. Registers other than rsp as they are. */
int x86_long_mode(const struct engine_ops *ops, struct vcpu *c, uint64_t rip);
/* 16-bit real mode at segment 0. */
int x86_real_mode(const struct engine_ops *ops, struct vcpu *c, uint16_t ip);
#endif
