#ifndef FS_FUSE_H
#define FS_FUSE_H
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
/* A server of the FUSE protocol 7.31 and later (linux/fuse.h) over one folder of the host. Whoever
 * sends the requests is hostile: whatever they say, nothing outside that folder is reached, no
 * device or pipe is opened, and what is held is bounded. Any number of threads may serve at once.
 */
struct fuse;
struct fuse_opts {
	bool readonly;
	bool ids;     /* owners are as the guest says (root only); or all is its user's */
	unsigned fds; /* descriptors it may hold; 0: as many as the process may */
	const char
		*self; /* where its descriptors have names: "/proc/self/fd/"; "" if it is there */
	/* Locks that were loaded and that others have: any thread; may be NULL. */
	void (*lost)(void *ctx, unsigned locks);
	void *ctx;
};
/* One request: bytes to read, room for the answer. Both stay until done() has been called, once,
 * by the serving thread or later by another; written: how long the answer is, 0: there is none;
 * FUSE_AGAIN: ask again once it is not paused any more. */
enum { FUSE_IOV = 130 };
#define FUSE_AGAIN (UINT32_MAX - 1)
struct fuse_req {
	const struct iovec *in, *out;
	int nin, nout;
	uint32_t in_len, out_len;
	void (*done)(struct fuse_req *q, uint32_t written);
};
/* Whether fd is on a file system that holds data: not proc, sysfs and their like, through whose
 * files whoever opens them can be changed. */
bool fuse_is_data(int fd);
struct fuse_scratch; /* a serving thread's own */
struct fuse_scratch *fuse_scratch_new(void);
void fuse_scratch_free(struct fuse_scratch *s);

/* root: the folder, O_PATH is enough; taken over. umask must be 0. */
int fuse_new(struct fuse **out, int root, const struct fuse_opts *o, struct err *e);
void fuse_free(struct fuse *f); /* no thread serves */
void fuse_serve(struct fuse *f, struct fuse_req *q, struct fuse_scratch *s);
/* Forget all that the guest held, and answer those who wait for locks. */
void fuse_reset(struct fuse *f);

/* From the first on nobody waits for a lock: who would is told to ask again. */
void fuse_pause(struct fuse *f);
void fuse_resume(struct fuse *f);
/* While it is paused and serves nothing: what the guest knows and has open, as bytes, added to
 * `to`; and instead of all that there is. Bytes that make no sense are -EBADMSG, of another version
 * -EPROTONOSUPPORT, and then there is nothing. */
struct buf;
struct fuse_lost {
	unsigned files; /* open in the guest, and gone or others now */
	char name[256]; /* one of them; "": nameless */
	bool elsewhere; /* another folder: all is what its path leads to */
};
void fuse_save(struct fuse *f, struct buf *to);
int fuse_load(struct fuse *f, struct buf *from, struct fuse_lost *lost);
#endif
