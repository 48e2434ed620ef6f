#ifndef STORE_OCI_IMPL_H
#define STORE_OCI_IMPL_H
/* private: of oci*.c */
#include "base/err.h"
#include "store/image.h"
#include <json-c/json.h>
#include <stdbool.h>
/* An image that was found in a folder, whose files nobody trusts. */
struct oci_found {
	int folder;	 /* the caller's */
	char *ref;	 /* what it is called there; NULL: nothing */
	char *arch, *os; /* by its config */
	/* config and layers, in the order of the store's: paths in the folder, what their digests
	 * are said to be (NULL in a docker-archive), formats, diff ids. */
	struct image im;
};
/* A file in it, to read, that no link leads to from outside; a negative errno with words. */
int oci_look_open(int folder, const char *path, struct err *e);
void oci_found_done(struct oci_found *f);
/* By which: the CPU, if there are several. The first of arch's that is there. */
int oci_look(struct oci_found *f, const char *const *arch, struct err *e);
/* oci_says() of these bytes. */
struct arena;
struct oci_says;
int oci_says_parse(struct oci_says *to, const char *text, size_t len, struct arena *a,
		   struct err *e);
#endif
