#ifndef BLK_BLK_H
#define BLK_BLK_H
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
/* A disk image as a run of bytes, whatever its format. The format is told by the owner of the
 * image, never guessed from bytes a guest could have written. */
enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_ZERO };
/* Owned by the issuer and untouchable from submit until done(). done() may be called by any
 * thread, never from inside blk_submit(): the issuer may hold its own lock while submitting. */
struct blk_req {
	enum blk_op op;
	uint64_t off, len; /* bytes; inside the disk, multiples of blk_info.block; FLUSH: unused */
	struct iovec *iov; /* READ, WRITE: len bytes in all */
	int niov;
	void (*done)(struct blk_req *q, int res); /* 0 or -errno */
	struct blk_req *next;			  /* the disk's while it has the request */
	int res;				  /* the same */
};
struct blk_info {
	uint64_t size;	/* bytes */
	uint32_t block; /* bytes; 512 */
	bool readonly, discard;
};
enum blk_flag {
	BLK_RDONLY = 1,
	BLK_THREADS = 2, /* plain threads even where the host has io_uring */
	BLK_BACKING = 4, /* the owner trusts the image to name the files that lie behind it */
	BLK_REPAIR = 8,	 /* open for writing what is marked damaged, to mend it */
	BLK_SHARED = 16	 /* raw, to be written by others, too, that say the same */
};
struct blk;
/* Opens and locks the file (exclusively, or shared when read-only), against any other opening of
 * it: -EBUSY with words when another guest has it. format: "raw", "qcow2", "vmdk", "vdi"; to be
 * read only, "vhd" and "vhdx". A raw file whose size is not a multiple of 512 is taken as
 * followed by zeroes up to one: refusing it helps nobody and rounding down would hide its last
 * bytes. Writing there makes the file that much longer.
 * An image that lies over another is refused unless BLK_BACKING is given: whoever made it could
 * have named any file of the host. Then all of the chain is opened, what is behind read-only. */
int blk_open(struct blk **out, const char *path, const char *format, unsigned flags, struct err *e);
/* The same, with more said. backing: what lies behind it, whatever the image itself says; it needs
 * no BLK_BACKING, which is then about what lies behind that. snapshot: the disk as it was then, by
 * the name or number of a qcow2 snapshot; read-only. All may be NULL but format. */
struct blk_opts {
	const char *format;
	unsigned flags;
	const char *backing, *backing_format;
	const char *snapshot;
};
int blk_open_with(struct blk **out, const char *path, const struct blk_opts *o, struct err *e);
/* blk_open() in two halves, for a process that opens no file any more in between. The first opens
 * and locks, and reads of images only what names the one behind; the second, which takes *held also
 * when it fails, does all the rest of reading, in which an image's maker could find a mistake of
 * ours. */
struct blk_held;
int blk_hold(struct blk_held **held, const char *path, const char *format, unsigned flags,
	     struct err *e);
int blk_open_held(struct blk **out, struct blk_held *held, struct err *e);
void blk_held_free(struct blk_held *h); /* NULL is fine */
/* A raw disk that is only read becomes another file, of another size, read through fd, which stays
 * the caller's. Nothing is at work on it. -EINVAL: the file can be no disk. */
int blk_change(struct blk *b, int fd, struct err *e);
struct blk_info blk_info(const struct blk *b);
/* Any thread: bytes that have been asked for and were given, since it was opened. */
void blk_moved(const struct blk *b, uint64_t *read, uint64_t *written);
void blk_submit(struct blk *b, struct blk_req *q); /* any thread; out-of-range: done(-EINVAL) */
/* Any thread: a short READ for which nothing has to be waited for is carried out here and now.
 * False: it was not, for whatever reason, and is to be submitted. done() is not called. */
bool blk_read_now(struct blk *b, const struct blk_req *q);
int blk_rw(struct blk *b, enum blk_op op, void *buf, uint64_t len, uint64_t off); /* and wait */
struct blk *blk_ref(struct blk *b);
/* NULL is fine; the last one waits for what is in flight, so it may not be given by done(). */
void blk_unref(struct blk *b);

/* --- making and tending images; for their owner, never while a guest has them --- */

/* What the file looks like, by its bytes: "raw" when like nothing known. NULL with words when it
 * cannot be read. Only for words to people and for files that no guest has written. */
const char *blk_probe(const char *path, struct err *e);
const char *blk_format_named(const char *name); /* "vpc" -> "vhd"; NULL: unknown */

struct blk_make {
	const char *format; /* "raw", "qcow2", "vmdk", "vdi" */
	uint64_t size;	    /* bytes; 0: as large as what lies behind it */
	/* qcow2: the image that it lies over, recorded as given, so relative to the new image's own
	 * folder; NULL: none. With it goes its format. */
	const char *backing, *backing_format;
	uint32_t cluster; /* qcow2: bytes, a power of two, 512 to 2 MiB; 0: 64 KiB */
	bool zstd;	  /* qcow2: clusters will be compressed by zstd, not deflate */
	bool old;	  /* qcow2: version 2, for programs before 2012 */
	const char *name; /* vmdk: of the file, as its descriptor has it; NULL: the path's */
};
/* A new file, complete and synced or not there at all. -EEXIST when there is one. */
int blk_create(const char *path, const struct blk_make *m, struct err *e);

struct blk_about {
	char format[16], backing[1024], backing_format[16];
	uint64_t size, used; /* bytes: the disk's, and what the file takes of the host */
	uint32_t unit;	     /* bytes allocated at a time; 0: no such thing */
	unsigned version;    /* 0: no such thing */
	bool dirty, corrupt, lazy;
	char compression[16], variant[24]; /* may be empty */
	unsigned nsnapshots, refcount_bits;
};
/* Without opening what lies behind, so of any image. format NULL: by its bytes. */
int blk_about(const char *path, const char *format, struct blk_about *to, struct err *e);
struct blk_snapshot {
	char id[64], name[256];
	uint64_t size, vm_state, seconds; /* bytes, bytes, since 1970 */
};
/* fn for every snapshot inside the image. */
int blk_snapshots(const char *path, void (*fn)(void *ctx, const struct blk_snapshot *s), void *ctx,
		  struct err *e);

enum blk_fix { BLK_FIX_NONE, BLK_FIX_LEAKS, BLK_FIX_ALL };
struct blk_report {
	uint64_t corruptions, leaks; /* found; with a fix, what is left of them */
	uint64_t fixed;
	uint64_t allocated, units; /* of the disk's units, those that hold something; all */
	char first[160];	   /* the first corruption in words */
};
/* -ENOTSUP: the format has nothing to check. _file: what it lies over is not opened; format NULL:
 * by its bytes. */
int blk_check_file(const char *path, const char *format, enum blk_fix fix, struct blk_report *r,
		   struct err *e);
int blk_check(struct blk *b, enum blk_fix fix, struct blk_report *r, struct err *e);
int blk_resize(struct blk *b, uint64_t size, struct err *e); /* -ENOTSUP: convert it */

struct blk_convert {
	const char *from, *from_format; /* format NULL: by its bytes */
	const char *snapshot;		/* NULL: the disk as it is */
	unsigned flags;			/* BLK_BACKING */
	const char *to;			/* replaced as a whole, when all is written and synced */
	struct blk_make make;		/* size 0: the same */
	bool pack;			/* qcow2: compressed */
	bool stream;			/* vmdk: the streamOptimized kind */
	void (*progress)(void *ctx, uint64_t done, uint64_t all); /* bytes; may be NULL */
	void *ctx;
};
int blk_convert(const struct blk_convert *c, struct err *e);
int blk_same(struct blk *a, struct blk *b, uint64_t *differs, struct err *e); /* 0: so they are */
#endif
