#ifndef ENGINE_INSPECT_H
#define ENGINE_INSPECT_H
#include "base/types.h"
#include <stddef.h>
#include <stdint.h>
/* For debuggers: a guest's registers and instructions by name. */
const char *inspect_csr(unsigned csr); /* of RISC-V; NULL: that number has no name */
/* RISC-V: 0..31 x, 32..63 f. x86: 0..15 general, by their numbers in instructions, 32 rflags. NULL:
 * none. */
const char *inspect_register(enum arch arch, unsigned i);
/* The text of the instruction at pc, whose bytes (n, 15 are enough) are at `code`; bits: 64, 32 or
 * 16, of x86. Its length; 0: it is none, and that is what the text says, for one unit of code. */
unsigned inspect_instruction(enum arch arch, unsigned bits, gva_t pc, const uint8_t *code, size_t n,
			     char *to, size_t room);
#endif
