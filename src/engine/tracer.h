#ifndef ENGINE_TRACER_H
#define ENGINE_TRACER_H
#include "base/err.h"
#include "base/types.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* What a guest's CPUs do, a line an event, in a file. One tracer a guest, any thread; one
 * tracer_cpu a vCPU, its thread's. Words of `what`, separated by commas: insn[=WHERE]  each
 * instruction: CPU, level, pc, bytes, text, name exec[=WHERE]  of these only what does not follow
 * upon the one before it: jumps, calls, traps regs          with them: which general registers they
 * changed, and to what int           traps, interrupts, SBI calls csr           changed CSRs; of
 * x86 control registers, EFER, and MSRs that are written user, kernel, machine   instructions of
 * these levels only cpu=N    this CPU only skip=N, count=N  not the first N instructions that would
 * be told of; end after so many size=SIZE  end when the file has so many bytes (1G) WHERE is PC or
 * FROM-TO (both included; digits are hexadecimal) or a function's name. While instructions are
 * wanted they are interpreted one by one; `int` alone costs nothing. */
struct symbols;
struct tracer;
struct tracer_cpu;
/* file NULL: standard error. -EINVAL: a word is none. */
int tracer_open(struct tracer **out, const char *what, const char *file, struct err *e);
/* Names are those from now on; before any vCPU runs. -ENOENT: WHERE is none of them. */
int tracer_name(struct tracer *t, const struct symbols *s, struct err *e);
void tracer_close(struct tracer *t); /* NULL is fine; after its tracer_cpus */

/* For engines. */
struct tracer_cpu *tracer_cpu_new(struct tracer *t, unsigned cpu); /* NULL if t is */
void tracer_cpu_free(struct tracer_cpu *c);			   /* NULL is fine */
/* Whether this CPU is to be told of instruction by instruction, now and from now on. */
bool tracer_steps(const struct tracer_cpu *c);
bool tracer_wants_csr(const struct tracer_cpu *c);
enum tracer_level { TRACER_USER, TRACER_KERNEL, TRACER_MACHINE };
struct tracer_insn {
	enum arch arch;
	unsigned bits; /* as inspect_instruction() has it */
	enum tracer_level level;
	gva_t pc;
	uint8_t code[16];
	size_t n;		/* bytes of code that could be read */
	const uint64_t *reg[2]; /* up to 32 registers each, as inspect_register() counts; or NULL */
	unsigned nreg[2];
};
/* Whether an instruction there is wanted. False: it is passed over, with no more calls. */
bool tracer_wants(struct tracer_cpu *c, enum tracer_level level, gva_t pc);
/* One that is is about to be executed. It is told of by tracer_done(), with what reg[] hold by
 * then, or by an event that comes before; or was not executed, and tracer_drop() forgets it. */
void tracer_begin(struct tracer_cpu *c, const struct tracer_insn *i);
void tracer_done(struct tracer_cpu *c);
void tracer_drop(struct tracer_cpu *c);
/* Events of this CPU. */
void tracer_int(struct tracer_cpu *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void tracer_csr(struct tracer_cpu *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#endif
