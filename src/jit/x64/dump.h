#ifndef JIT_X64_DUMP_H
#define JIT_X64_DUMP_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* A line: the address, and the instruction of 64-bit code that begins there, Intel's syntax. How
 * long it is; 0: it is none. */
size_t x64_dump_insn(const uint8_t *code, size_t len, uint64_t at, FILE *out);
#endif
