#ifndef BLK_IMPL_H
#define BLK_IMPL_H
#include "blk/aio.h"
#include "blk/blk.h"
#include <stdatomic.h>
/* What a format gives blk.c, and what formats share. A format is plain code that waits for the
 * file; blk.c puts threads in front of it. */

/* Where a run of the disk's bytes lies. */
enum extent_kind {
	EXTENT_NONE,  /* not here: in the backing image, or zero */
	EXTENT_ZERO,  /* zero whatever is behind */
	EXTENT_DATA,  /* in the file, as it is */
	EXTENT_PACKED /* in the file, compressed */
};
struct extent {
	enum extent_kind kind;
	uint64_t len;	     /* bytes of the disk, 1 to what was asked for */
	uint64_t at;	     /* DATA, PACKED: where in the file */
	uint32_t packed_len; /* PACKED: at most that many bytes there */
	uint32_t skip;	     /* PACKED: and that many bytes into what it unpacks to */
};

enum {
	BLK_UNDER = 1 << 16, /* another lies over it: run() only, no threads */
	BLK_ALONE = 1 << 17  /* leave closed what lies behind: only its header is wanted */
};
struct blk_file { /* to be opened: locked, a regular file or a block device */
	int fd;	  /* the format's from a successful open() on */
	const char *path;
	const struct blk_opts *opts;
	unsigned depth;	       /* how many images lie over this one */
	struct blk_held *held; /* where it and what lies behind it is open already; NULL: nowhere */
};
struct blk_ops {
	const char *name, *alias; /* alias: another program's word for it; may be NULL */
	bool writes;		  /* can be opened for writing */
	bool direct; /* the disk is the file byte for byte: requests need no thread of ours */
	/* Instead of what blk.c does, for disks that are no file; close() is all the rest then. */
	void (*submit)(struct blk *b, struct blk_req *q);
	/* Whether a file of that size that begins with these n bytes looks like it. */
	bool (*probe)(int fd, const uint8_t *head, size_t n, uint64_t size);
	/* Fills in all of *out but ops, refs and aio. */
	int (*open)(struct blk **out, const struct blk_file *f, struct err *e);
	/* Of *to only backing and its format, and of the file as little as that takes: what is done
	 * before the process is confined. NULL: such images name no others that could be opened. */
	int (*names)(int fd, struct blk_about *to, struct err *e);
	/* q is inside the disk and allowed. Waits. Any thread, several at once. */
	int (*run)(struct blk *b, const struct blk_req *q);
	int (*map)(struct blk *b, uint64_t off, uint64_t len, struct extent *x);
	/* blk_read_now(); may be NULL. What it does not know in an instant it leaves to run(). */
	bool (*read_now)(struct blk *b, const struct blk_req *q);
	void (*close)(struct blk *b); /* no request is left; frees b, but not fd and backing */
	/* The rest may be NULL: this format cannot. */
	int (*create)(int fd, const struct blk_make *m, struct err *e); /* in an empty file */
	int (*resize)(struct blk *b, uint64_t size, struct err *e);
	int (*check)(struct blk *b, enum blk_fix fix, struct blk_report *r, struct err *e);
	void (*about)(struct blk *b, struct blk_about *to);
	int (*pack)(struct blk *b, uint64_t off, const void *unit, struct err *e);
};
struct blk { /* embedded first in the format's own struct */
	const struct blk_ops *ops;
	struct blk_info info;
	atomic_uint refs;
	int fd;
	struct aio *aio;	   /* NULL in an image that others lie over */
	struct blk *backing;	   /* NULL: none */
	uint32_t unit;		   /* bytes: what is allocated at a time */
	_Atomic uint64_t *changed; /* dirty.c; NULL: never asked for */
	atomic_bool tracking;
	_Atomic uint64_t moved[2]; /* bytes read, written */
};
extern const struct blk_ops blk_raw, blk_qcow2, blk_vmdk, blk_vdi, blk_vhd, blk_vhdx;

const struct blk_ops *format_need(const char *name, struct err *e); /* NULL with words */

enum { PART_SEGS = 64, CHAIN_MAX = 64 };
/* The part of q from its byte `from` on, up to len bytes and as many as fit v, for something that
 * has it at offset `at`. */
struct blk_req req_part(const struct blk_req *q, uint64_t from, uint64_t len, uint64_t at,
			struct iovec v[PART_SEGS]);
void req_zero(const struct blk_req *q); /* as if zeroes had been read */
/* BLK_READ by the format's map(); EXTENT_PACKED is handed to unpack(). */
int image_read(struct blk *b, const struct blk_req *q,
	       int (*map)(struct blk *b, uint64_t off, uint64_t len, struct extent *x),
	       int (*unpack)(struct blk *b, const struct extent *x, const struct blk_req *q));
/* The same without waiting; map() does not wait either, and may fail for that. */
bool image_read_now(struct blk *b, const struct blk_req *q,
		    int (*map)(struct blk *b, uint64_t off, uint64_t len, struct extent *x));
/* From the image behind b, zeroes where it ends. */
int backing_read(struct blk *b, const struct blk_req *q);
/* All len bytes of the file there; zeroes behind its end, but -EIO when all of it is behind. */
int file_get(int fd, void *to, size_t len, uint64_t at);
bool file_holds(int fd, uint64_t at,
		uint64_t len); /* that much is there, before memory is asked for */
int file_put(int fd, const void *from, size_t len, uint64_t at);
int file_sync(int fd);
int file_size(int fd, uint64_t *size); /* of a device, too */
/* Open what lies behind an image: name as its header has it, relative to the image's folder. */
int backing_open(struct blk *over, const struct blk_file *f, const char *name, const char *format,
		 struct err *e);
/* Words for a file that is not what it was said to be. */
int wrong_format(struct err *e, const char *format);
#endif
