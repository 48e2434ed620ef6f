#ifndef STORE_TREE_IMPL_H
#define STORE_TREE_IMPL_H
#include "store/tar.h"
#include "store/tree.h"
/* private: what unpacking a guest's tree (tree.c) and a layer (unpack.c) both do. Negative errnos.
 */
int tree_make_room(int at, const char *name); /* nothing is there any more, unless it is a folder */
int tree_fill(struct archive *a, int fd);     /* with the entry's bytes, holes left out */
#endif
