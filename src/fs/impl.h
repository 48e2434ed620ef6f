#ifndef FS_IMPL_H
#define FS_IMPL_H
#include "fs/fuse.h"
#include "fs/iov.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* What the parts of the server share. Locks: `busy` is held for reading by every request and for
 * writing by a reset; `lock` guards the tables; a handle's own mutex its place in a listing. Order:
 * busy, handle, lock. */
enum { ARG_MAX_LEN = 72 * 1024, REPLY_MAX = 68 * 1024, LIST_MAX = 32 * 1024 };
enum { NOBODY = 65534, SECONDS_VALID = 1, RANGES_MAX = 1024 };
/* How long the guest believes, with the time that it takes from here into it. */
#define FUSE_TOLD_NS (SECONDS_VALID * 1000000000ull + 250000000)

struct range { /* of a lock, both ends included */
	int64_t start, end;
	int type;  /* F_RDLCK, F_WRLCK; F_UNLCK to owner_note() */
	bool held; /* false: loaded, and to be taken */
};

struct owner { /* of record locks: a process of the guest; its locks hang on a descriptor */
	struct owner *next;
	uint64_t id;
	int fd; /* -1: loaded, and not open yet */
	bool writes;
	unsigned waits, nranges;
	struct range *range; /* what it has, as the host's kernel does not tell that */
};
struct inode {
	struct inode *next; /* in its bucket */
	dev_t dev;
	ino_t ino;
	mode_t type; /* S_IFMT part */
	uint32_t index, gen;
	uint64_t lookups; /* as many as the guest will forget */
	unsigned refs;	  /* requests, and inodes that lie in it */
	unsigned pins;	  /* of fd */
	int fd;		  /* O_PATH; -1: put away, to be opened again by name */
	bool used, hashed;
	uint64_t told; /* until then (ns) the guest believes what it knows of it */
	bool locked;   /* the guest has locked it once: it asks others, so it believes nothing for
			long */
	bool adopts;   /* loaded elsewhere: it is whatever its name leads to */
	struct inode *parent; /* where it was seen last, NULL: nowhere that is known */
	char *name;
	struct owner *owners;
};
struct slot {
	void *at;
	uint32_t gen, next;
};
struct slots {
	struct slot *slot;
	uint32_t n, free; /* free: first of the list, plus one */
};
enum handle_kind { HANDLE_FILE = 1, HANDLE_DIR = 2 };
struct handle {
	enum handle_kind kind;
	int fd;
	unsigned refs;
	uint32_t index, gen;
	uint8_t how;	       /* LOCK_SH, LOCK_EX: flock(); 0: none */
	bool missing;	       /* loaded, and to be taken */
	pthread_mutex_t mutex; /* guards at, and the descriptor's own offset of a folder */
	int64_t at;
};
struct waiter;
struct fuse {
	struct fuse_opts opts;
	pthread_rwlock_t busy;
	pthread_mutex_t lock;
	uid_t uid;
	gid_t gid;
	struct inode *root;
	struct inode **bucket;
	uint32_t nbuckets, ninodes, hand;
	struct slots inodes, handles;
	unsigned nhandles, max_handles, nfds, max_fds, nowners;
	struct dev { /* seen; the root's is the first */
		dev_t dev;
		bool refused;
	} devs[64];
	unsigned ndevs;
	/* locks waited for, under `lock` */
	struct waiter *waiter;
	unsigned nwaiters;
	pthread_cond_t wake;
	pthread_t thread;
	bool threaded, stop;
	bool paused, pending, retaking; /* pending: locks are to be taken when it is resumed */
	uint64_t retake_until;		/* ns */
	bool adopts;			/* while loading elsewhere */
};

/* One request while it is served. arg: what follows the header, copied; bytes beyond ARG_MAX_LEN
 * and the data of WRITE are not. */
struct call {
	struct fuse *f;
	struct fuse_req *q;
	struct fuse_in_header h;
	const char *arg;
	uint32_t len;
	char *reply; /* REPLY_MAX bytes */
	char *list;  /* LIST_MAX bytes */
	uint32_t room;
	bool direct; /* the payload is in the guest already */
	bool later;  /* somebody else will answer */
	bool again;  /* it is paused: to be asked again */
};
#define CALL_ARG(c, T) ((const struct T *)(const void *)(c)->arg)
/* A string of the arguments at *off, which moves behind it; NULL: it has no end. */
const char *call_text(const struct call *c, uint32_t *off);
/* The same for a name in a folder; -EINVAL, -ENAMETOOLONG. */
int call_name(const struct call *c, uint32_t *off, const char **name);
void fuse_drop(struct fuse *f); /* all inodes and handles; `busy` is held for writing */
void fuse_answer(struct fuse_req *q, uint64_t unique, int error, const void *payload, uint32_t n);

/* The fixed part of an operation's arguments: for those who make requests. */
unsigned op_least(uint32_t opcode);

/* inode.c: found by number, or -ENOENT, -ESTALE; to be put back. */
int inode_get(struct fuse *f, uint64_t id, struct inode **out);
void inode_put(struct fuse *f, struct inode *i);
/* fd (taken over) was found as name in dir: make it known to the guest once more. */
int inode_enter(struct fuse *f, int fd, const struct stat *st, struct inode *dir, const char *name,
		struct fuse_entry_out *out);
/* The same for one that is known and held by descriptor: nothing need be opened. False: it is not.
 */
bool inode_meet(struct fuse *f, const struct stat *st, struct inode *dir, const char *name,
		struct fuse_entry_out *out);
bool inode_is_open(struct fuse *f, dev_t dev, ino_t ino); /* a guess: it is known and held */
/* What is told now may be believed for so many seconds. */
uint64_t inode_tell(struct fuse *f, struct inode *i);
/* The guest shares it with others from now on; until when (ns) it believes what it was told before.
 */
uint64_t inode_share(struct fuse *f, uint64_t id);
uint64_t fuse_now(void); /* ns, monotonic */
void inode_forget(struct fuse *f, uint64_t id, uint64_t n);
void inode_named(struct fuse *f, const struct stat *st, struct inode *dir, const char *name);
/* Before name goes from dir: what is known by it keeps its descriptor. */
void inode_unnamed(struct fuse *f, struct inode *dir, const char *name);
/* For who loads; `lock` is held: by its numbers; an empty slot made one; opened, if it is not,
 * or -ESTALE and such; those that nobody knows let go. */
struct inode *inode_find(const struct fuse *f, const struct stat *st);
struct inode *inode_put_at(struct fuse *f, uint32_t index, const struct stat *st);
int inode_again(struct fuse *f, struct inode *i);
void inodes_trim(struct fuse *f);
void inodes_free(struct fuse *f);
int inodes_init(struct fuse *f, int root);
/* A path that leads to what fd is open for. */
struct self {
	char path[48];
};
struct self self_path(const struct fuse *f, int fd);
int inode_open(struct fuse *f, const struct inode *i, int flags); /* files and folders only */

/* handle.c */
int handle_new(struct fuse *f, int fd, enum handle_kind kind, uint64_t *fh); /* takes fd over */
struct handle *handle_get(struct fuse *f, uint64_t fh, enum handle_kind kind);
void handle_put(struct fuse *f, struct handle *h);
void handle_close(struct fuse *f, uint64_t fh, enum handle_kind kind);
void handle_put_at(struct fuse *f, uint32_t index, int fd, enum handle_kind kind, uint8_t how);
void handles_free(struct fuse *f);
uint32_t slots_add(struct slots *s, void *at);
void *slots_at(const struct slots *s, uint32_t index, uint32_t gen);
void slots_drop(struct slots *s, uint32_t index);

/* lock.c */
void owners_free(struct fuse *f, struct inode *i); /* `lock` is held */
void locks_flush(struct fuse *f, struct inode *i, uint64_t owner);
bool locks_interrupt(struct fuse *f, uint64_t unique);
void locks_cancel(struct fuse *f, bool again);
/* `lock` is held: what was loaded is taken, by and by, unless others have it. */
void locks_retake(struct fuse *f);
struct owner *owner_make(struct fuse *f, struct inode *i, uint64_t id, int fd, bool writes);
void owner_note(struct owner *o, const struct range *r); /* it has that now */
int locks_start(struct fuse *f, struct err *e);
void locks_stop(struct fuse *f);

/* attr.c */
void attr_fill(struct fuse *f, const struct stat *st, struct fuse_attr *a);
/* May files of fd's file system be known? Not those of kernels' windows onto themselves. */
bool dev_allowed(struct fuse *f, int fd, const struct stat *st);
/* After an open for writing: set-user-ID and such go first. -EPERM: they do not; fd is closed. */
int open_plainly(struct fuse *f, int fd);
mode_t mode_allowed(mode_t mode); /* what new files may have */
int entry_make(struct call *c, struct inode *dir, const char *name, struct fuse_entry_out *out);
/* The same, quicker if it is known already, else slower. */
int entry_find(struct call *c, struct inode *dir, const char *name, struct fuse_entry_out *out);

/* Operations: bytes of payload in c->reply, or -errno. */
int op_init(struct call *c);
int op_lookup(struct call *c), op_mknod(struct call *c), op_mkdir(struct call *c),
	op_symlink(struct call *c), op_link(struct call *c), op_unlink(struct call *c),
	op_rmdir(struct call *c), op_rename(struct call *c), op_rename2(struct call *c),
	op_readlink(struct call *c), op_create(struct call *c), op_tmpfile(struct call *c);
int op_getattr(struct call *c), op_setattr(struct call *c), op_statfs(struct call *c),
	op_access(struct call *c), op_setxattr(struct call *c), op_getxattr(struct call *c),
	op_listxattr(struct call *c), op_removexattr(struct call *c);
int op_open(struct call *c), op_read(struct call *c), op_write(struct call *c),
	op_release(struct call *c), op_flush(struct call *c), op_fsync(struct call *c),
	op_fallocate(struct call *c), op_lseek(struct call *c), op_copy(struct call *c),
	op_syncfs(struct call *c);
int op_opendir(struct call *c), op_readdir(struct call *c), op_readdirplus(struct call *c),
	op_releasedir(struct call *c), op_fsyncdir(struct call *c);
int op_getlk(struct call *c), op_setlk(struct call *c), op_setlkw(struct call *c),
	op_interrupt(struct call *c);
int op_forget(struct call *c), op_batch_forget(struct call *c);
#endif
