#ifndef VM_SHOW_H
#define VM_SHOW_H
#include "base/err.h"
#include "base/types.h"
#include <stdbool.h>
#include <stdint.h>
/* A machine in words, for lodge debug and gdb's monitor: registers, memory, code, calls, page
 * tables. On the loop's thread; the machine stands while it is looked at. */
struct buf;
struct hart;
struct show;
struct vm;

/* words: "[cpu N] regs [all] | mem ADDR [LEN] | phys ADDR [LEN] | dis [ADDR [COUNT]] | backtrace |
 * pagetable [ADDR]". Text is added to out. -EINVAL with words of what there is. */
int show_words(struct vm *vm, unsigned cpu, const char *words, struct buf *out, struct err *e);
void show_free(struct show *s); /* what is kept from one call to the next; NULL is fine */

/* show_pages.c */
int show_page(struct hart *h, gva_t va, struct buf *out, struct err *e);
int show_pages(struct hart *h, struct buf *out, struct err *e);
#endif
