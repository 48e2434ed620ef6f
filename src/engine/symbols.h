#ifndef ENGINE_SYMBOLS_H
#define ENGINE_SYMBOLS_H
#include "base/err.h"
#include "base/types.h"
#include <stdbool.h>
#include <stddef.h>
/* Names of a guest's code by address. Files are hostile: whatever they hold, there are some names
 * more or an error. Written while one thread has it, then read by any. */
struct symbols;
struct symbols *symbols_new(void);
void symbols_free(struct symbols *s); /* NULL is fine */
/* Add the functions that an ELF64 file, a System.map or a copy of /proc/kallsyms names. -ENOENT: it
 * names none. */
int symbols_read(struct symbols *s, const char *path, struct err *e);
int symbols_parse(struct symbols *s, const void *at, size_t len, struct err *e); /* its bytes */
/* Add what an unpacked Linux kernel calls its functions. -ENOENT: nothing. */
int symbols_image(struct symbols *s, const void *at, size_t len, struct err *e);
/* The last name at or before va, if it is near; "" otherwise. *off: how far behind it. */
const char *symbols_find(const struct symbols *s, gva_t va, uint64_t *off);
/* From that function's beginning to the next one's, the last byte included. False: none has that
 * name. */
bool symbols_range(const struct symbols *s, const char *name, gva_t *from, gva_t *to);
size_t symbols_count(const struct symbols *s);
#endif
