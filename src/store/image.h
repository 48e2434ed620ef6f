#ifndef STORE_IMAGE_H
#define STORE_IMAGE_H
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>
/* What a guest is made from: some files, and how to start them. The owner of the struct owns
 * its strings; image_done() frees them and leaves an empty image. NULL: the image has none. */
struct buf;
struct image_file {
	char *path;    /* absolute once it came from the store */
	char *format;  /* disk only: "raw" */
	char *digest;  /* sha256, 64 lower-case hexadecimal digits; only from the store */
	uint64_t size; /* bytes; only from the store */
};
struct image {
	char *name, *arch; /* "debian", "riscv64" (Debian's names for CPUs) */
	char *kind;	   /* "vm" */
	char *append;	   /* kernel command line */
	int64_t created;   /* seconds since 1970 */
	uint64_t memory;   /* bytes it likes to have; 0: no wish */
	struct image_file kernel, initrd, disk;
};
/* Which words name a file: IMAGE_STORED manifests hold digests and sizes and come from the
 * store; IMAGE_MADE ones hold the names of files beside them and come from a recipe. */
enum image_form { IMAGE_STORED, IMAGE_MADE };
enum { IMAGE_TEXT_MAX = 64 * 1024 };

/* Untrusted bytes to *im, which is empty on failure. Checks everything that it returns. */
int image_parse(struct image *im, enum image_form form, const char *text, size_t len,
		struct err *e);
void image_format(const struct image *im, struct buf *to); /* IMAGE_STORED */
void image_done(struct image *im);
#define auto_image __attribute__((cleanup(image_done)))
#endif
