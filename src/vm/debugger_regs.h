#ifndef VM_DEBUGGER_REGS_H
#define VM_DEBUGGER_REGS_H
#include "base/types.h"
#include <stdbool.h>
#include <stdint.h>
/* A hart's registers as GDB names and orders them ("Debugging with GDB", appendix G.5): a list made
 * once, from which its description, reading and writing come. */
struct buf;
struct hart;
struct debugger_reg {
	char name[16];
	const char *feature, *type, *group; /* of the description; group NULL: GDB's choice */
	uint16_t bits;
	enum debugger_how { REG_PLAIN, REG_PAIR, REG_AREA, REG_X87_TAGS } how;
	unsigned reg; /* engine_ops.get()'s number; of REG_AREA, an offset in XSAVE's area */
};
enum { DEBUGGER_REGS = 512 };
struct debugger_regs {
	enum arch arch;
	unsigned n, general; /* as many from the first on are what every stop is about */
	struct debugger_reg reg[DEBUGGER_REGS];
};
/* For harts like h, which does not run. */
void debugger_regs_init(struct debugger_regs *r, struct hart *h, enum arch arch);
void debugger_regs_xml(const struct debugger_regs *r, struct buf *to);
/* Its bytes, lowest first; how many, 0: there is none. */
unsigned debugger_reg_get(const struct debugger_regs *r, struct hart *h, unsigned n, uint8_t *to);
bool debugger_reg_set(const struct debugger_regs *r, struct hart *h, unsigned n,
		      const uint8_t *from, unsigned len);
#endif
