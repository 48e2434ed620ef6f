#ifndef CLI_IMAGES_H
#define CLI_IMAGES_H
#include "base/err.h"
#include "base/types.h"
#include "guest/spec.h"
#include <stdbool.h>
#include <stddef.h>
/* Between the words for CPUs and images that people type and the store. */
struct store;
int arch_parse(enum arch *out, const char *text, struct err *e);
/* Have guests/build make the image and put it into the store; says on stderr what goes on. */
int image_make(struct store *s, const char *name, const char *arch, bool refresh, struct err *e);
/* The folder of recipes: beside the program when built, in share/lodge when installed. */
int recipes_find(char *path, size_t room, struct err *e);
#define ARCH_CHOICES "riscv64 amd64"
#endif
