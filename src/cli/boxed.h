#ifndef CLI_BOXED_H
#define CLI_BOXED_H
#include "base/err.h"
/* A container's image in a computer of its own (decision 34): the built-in guest's kernel, and the
 * image's layers as a folder that is shared with it. */
struct arena;
struct image;
struct spec;
struct spec_words;
struct store;
/* Whether what is asked for can be had so; and then the spec is such a computer's. */
int boxed_choose(struct spec *s, const struct image *im, struct err *e);
/* The same of one whose files are in a folder, spec->zone.rootfs. */
int boxed_folder(struct spec *s, struct err *e);
/* The built-in guest of that CPU, made if it is not there yet; *out is the caller's. */
int boxed_kernel(struct store *s, const char *arch, struct image *out, struct err *e);
/* What it boots and what it runs. im NULL: it has a folder instead. folder: the guest's own, if it
 * is kept; -1. What is added to the spec is the arena's. */
int boxed_use_image(struct spec *s, struct store *st, const struct image *im, int folder,
		    struct arena *a, struct err *e);
/* "SIGTERM", "TERM", "RTMIN+3" or a number, as Linux has it; 0: there is none. */
int boxed_signal(const char *word);
#endif
