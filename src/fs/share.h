#ifndef FS_SHARE_H
#define FS_SHARE_H
#include "base/err.h"
#include "fs/fuse.h"
#include <stdbool.h>
#include <stdint.h>
/* A folder of the host, served by a confined process of its own (jail.h). Between it and us there
 * are two pipes of numbers, and places for requests in memory that both have. The process begins as
 * a copy of this one and keeps its mappings: what a request points to must be shared memory that
 * was mapped before share_open(), and anything secret or executable mapped after it. */
struct share;
enum { SHARE_PLACES = 256 };
#define SHARE_DEAD  UINT32_MAX
#define SHARE_AGAIN FUSE_AGAIN
struct share_opts {
	const char *path;
	bool readonly;
	/* More than one: what is shared is these folders as one, by overlayfs, the lowest first,
	 * and read-only; path is one of them. They and the list last as long as this call. */
	const char *const *layer;
	unsigned nlayers;
	unsigned patience_ms; /* how long it may be silent where somebody waits; 0: 10 s */
};
struct share_place {		    /* one request; between submit and done it is the share's */
	struct iovec iov[FUSE_IOV]; /* nread that the server reads, then nwrite that it writes */
	uint32_t nread, nwrite, read_len, write_len;
	uint32_t written, wait; /* private */
};
/* -ENOENT, -ENOTDIR, -EACCES in words about the folder. */
int share_open(struct share **out, const struct share_opts *o, struct err *e);
void share_close(struct share *s); /* the process and its callbacks have ended; NULL is fine */
/* Before the first submit: whom to tell, on a thread of the share's own. written: bytes of answer,
 * never more than write_len; or SHARE_DEAD, the server has died; or SHARE_AGAIN: it was paused, and
 * the request is to be submitted again. */
void share_attach(struct share *s, void (*done)(void *ctx, unsigned place, uint32_t written),
		  void *ctx);
struct share_place *share_place(struct share *s, unsigned n);
bool share_submit(struct share *s, unsigned place); /* any thread; false: it has died */
/* The same, and wait up to ns for the answer: *written is then what done() would have been told,
 * and it is not called. Waking whoever asked costs less than a third thread that tells. */
enum share_asked { SHARE_GONE, SHARE_SENT, SHARE_ANSWERED };
enum share_asked share_ask(struct share *s, unsigned place, uint64_t ns, uint32_t *written);
/* Any thread, at once: have it forget everything and end what waits for locks. */
void share_reset(struct share *s);
/* Any thread, at once: from now on nothing waits for locks in there; and the end of that, with
 * which locks that were loaded are taken again. -ETIMEDOUT: it is silent, and hears of it when it
 * answers again; -EPIPE: it has died. */
int share_pause(struct share *s, struct err *e);
int share_resume(struct share *s, struct err *e);
unsigned share_patience(const struct share *s); /* ms */
const char *share_path(const struct share *s);
void share_end(struct share *s); /* any thread: it is to die, whatever it does */
/* While it is paused and no request is out (-ETIMEDOUT as above): what the guest knows and has open
 * there; and instead of it, into the folder of another share or of this one at another time. What
 * is gone by then is told in the log, in words. The bytes are looked at by the server only. */
struct buf;
enum { SHARE_STATE_MAX = 256 << 20 };
int share_save(struct share *s, struct buf *to, struct err *e);
int share_load(struct share *s, const struct buf *from, struct err *e);
int share_pid(const struct share *s); /* for tests */
#endif
