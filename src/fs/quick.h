#ifndef FS_QUICK_H
#define FS_QUICK_H
#include "fs/fuse.h"
/* Requests whose answer is the same whatever the folder holds, so that its server need not be woken
 * for them: closing files while nothing is locked, and the attribute security.capability, for which
 * kernels ask at every change and which is never told (fs/attr.c). Nothing else is looked at. */
struct fuse_quick {
	bool locks; /* there may be record locks: a close is the server's */
};
/* Bytes of answer, in q->out; 0: it is the server's. The caller has every request pass here, one at
 * a time. done() is not called. */
uint32_t fuse_quick(struct fuse_quick *k, const struct fuse_req *q);
/* A program of the guest stands still for it, and as a rule it is over in an instant. */
bool fuse_is_short(const struct fuse_req *q);
#endif
