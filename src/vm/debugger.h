#ifndef VM_DEBUGGER_H
#define VM_DEBUGGER_H
#include "base/err.h"
#include "base/types.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* A debugger at a machine, by guest/gdb.h. All of it belongs to the loop's thread; harts tell of
 * themselves by hart_debugged() in vm.c. */
struct debugger;
struct hart;
struct vm;

/* Wait for one at `where`. */
int debugger_open(struct debugger **out, struct vm *vm, const char *where, struct err *e);
void debugger_look(void *vm); /* on the loop's thread: a hart has stopped for it, perhaps */
bool debugger_holds(const struct debugger *d); /* it has stopped the machine; NULL: no */
/* The machine stands before its first instruction until a debugger has it go on. */
void debugger_wait(struct debugger *d);
void debugger_close(struct debugger *d); /* NULL is fine */

/* For whoever looks at a machine that stands: memory as hart h sees it, or physical memory. How
 * many bytes there were; what is not memory ends it. */
size_t debugger_read(struct hart *h, uint64_t at, bool physical, void *to, size_t n);
size_t debugger_write(struct hart *h, uint64_t at, bool physical, const void *from, size_t n);
#endif
