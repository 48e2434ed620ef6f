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
	char *format;  /* of a disk: "raw"; of a layer: "tar", "tar+gzip", "tar+zstd" */
	char *diff;    /* of a layer: the sha256 of its tar, also if the file is that compressed */
	char *digest;  /* sha256, 64 lower-case hexadecimal digits; only from the store */
	uint64_t size; /* bytes; only from the store */
};
struct image {
	char *name, *arch; /* "debian", "riscv64" (Debian's names for CPUs) */
	char *kind;	   /* "vm"; "oci": layers of a file system, and a config (store/oci.h) */
	char *append;	   /* kernel command line */
	int64_t created;   /* seconds since 1970 */
	uint64_t memory;   /* bytes it likes to have; 0: no wish */
	struct image_file kernel, initrd, disk, config;
	struct image_file *layer; /* the lowest first */
	unsigned nlayers;
};
enum { IMAGE_LAYERS = 128 };
/* Its nth file, there or not, and what it is called; NULL: that was all. */
struct image_file *image_file(struct image *im, unsigned n, const char **what);
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
