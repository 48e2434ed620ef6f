#ifndef ENGINE_KALLSYMS_H
#define ENGINE_KALLSYMS_H
#include "base/types.h"
#include <stddef.h>
/* The names that a Linux kernel carries for itself (scripts/kallsyms.c in its source), found in its
 * unpacked image. fn is called for each function; returns how many there were. The image is
 * hostile: whatever it holds, nothing outside of it is read, and it ends soon. */
size_t kallsyms_read(const void *image, size_t len,
		     void (*fn)(void *ctx, gva_t at, const char *name, size_t len), void *ctx);
#endif
