#ifndef ISA_ISA_H
#define ISA_ISA_H
#include "base/types.h"
#include <stddef.h>
#include <stdint.h>
/* One per guest instruction set; everything behind it is generated from its .isa table. */
struct isa {
	const char *name;
	enum arch arch;
	/* Text of the instruction at code[0..len) as objdump -M no-aliases writes it; its length in
	 * bytes, 0 when it is illegal or cut short. out is NUL-terminated. */
	int (*format)(char *out, size_t room, const uint8_t *code, size_t len, gva_t pc);
};
extern const struct isa isa_rv64;
#endif
