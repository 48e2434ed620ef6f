/* What the guest knows by number: files and folders, each held by an O_PATH descriptor, which
 * cannot be led elsewhere by any rename. When descriptors run out, files (never folders) are put
 * away: their folder and name are kept, and they come back only if that is still the same file. */
#include "fs/impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { INODES_MAX = 1 << 20, FIRST_BUCKETS = 1024 };
enum { DEPTH_MAX = 256 }; /* of folders that are opened again for one file */

static uint32_t bucket_of(const struct fuse *f, dev_t dev, ino_t ino)
{
	uint64_t h = ((uint64_t)ino ^ (uint64_t)dev << 32) * 0x9e3779b97f4a7c15;
	return (uint32_t)(h >> 32) & (f->nbuckets - 1);
}

static struct inode *find(const struct fuse *f, dev_t dev, ino_t ino)
{
	struct inode *i = f->bucket[bucket_of(f, dev, ino)];
	while (i && (i->dev != dev || i->ino != ino)) i = i->next;
	return i;
}

static void hash_add(struct fuse *f, struct inode *i)
{
	struct inode **b = &f->bucket[bucket_of(f, i->dev, i->ino)];
	i->next = *b;
	*b = i;
	i->hashed = true;
}

static void hash_drop(struct fuse *f, struct inode *i)
{
	struct inode **b = &f->bucket[bucket_of(f, i->dev, i->ino)];
	while (i->hashed && *b != i) b = &(*b)->next;
	if (i->hashed) *b = i->next;
	i->hashed = false;
}

static void hash_grow(struct fuse *f)
{
	struct inode **old = f->bucket;
	uint32_t n = f->nbuckets;
	struct inode **fresh = calloc(2ul * n, sizeof(struct inode *));
	if (!fresh) return;
	f->bucket = fresh;
	f->nbuckets = 2 * n;
	for (uint32_t b = 0; b < n; b++)
		for (struct inode *i = old[b], *next; i; i = next) {
			next = i->next;
			hash_add(f, i);
		}
	free(old);
}

static void fd_drop(struct fuse *f, struct inode *i)
{
	if (i->fd < 0) return;
	(void)close(i->fd);
	i->fd = -1;
	f->nfds--;
}

static void place_drop(struct fuse *f, struct inode *i);

/* Nobody knows it any more. */
static void unref(struct fuse *f, struct inode *i)
{
	if (--i->refs || i->lookups || i == f->root) return;
	hash_drop(f, i);
	slots_drop(&f->inodes, i->index);
	fd_drop(f, i);
	owners_free(f, i);
	place_drop(f, i);
	free(i);
	f->ninodes--;
}

/* Recursion: as deep as folders that only this file kept known; so the last is let go in a loop. */
static void place_drop(struct fuse *f, struct inode *i)
{
	struct inode *dir = i->parent;
	free(i->name);
	i->name = NULL;
	i->parent = NULL;
	while (dir && dir != f->root && dir->refs == 1 && !dir->lookups) {
		struct inode *up = dir->parent;
		dir->parent = NULL;
		unref(f, dir);
		dir = up;
	}
	if (dir) unref(f, dir);
}

static void place_set(struct fuse *f, struct inode *i, struct inode *dir, const char *name)
{
	if (i == f->root || i == dir) return;
	if (i->parent == dir && i->name && !strcmp(i->name, name)) return;
	char *copy = strdup(name);
	dir->refs++;
	place_drop(f, i);
	i->name = copy;
	i->parent = copy ? dir : NULL;
	if (!copy) unref(f, dir);
}

static bool can_rest(const struct inode *i)
{
	return i->fd >= 0 && !i->pins && i->parent && !S_ISDIR(i->type);
}

/* Room for one more descriptor: the first file that was not used since the last time round. */
static int fd_room(struct fuse *f)
{
	if (f->nfds < f->max_fds) return 0;
	for (uint32_t n = 0; n < 2 * f->inodes.n; n++) {
		struct inode *i = f->inodes.slot[f->hand++ % f->inodes.n].at;
		if (!i || !can_rest(i)) continue;
		if (!i->used) {
			fd_drop(f, i);
			return 0;
		}
		i->used = false;
	}
	return -ENFILE;
}

static bool is_it(struct fuse *f, struct inode *i, int fd)
{
	struct stat st;
	if (fstat(fd, &st) || (st.st_mode & S_IFMT) != i->type) return false;
	if (!i->adopts) return st.st_dev == i->dev && st.st_ino == i->ino;
	i->adopts = false;
	i->dev = st.st_dev;
	i->ino = st.st_ino;
	if (!find(f, i->dev, i->ino)) hash_add(f, i);
	return true;
}

static int fd_again_here(struct fuse *f, struct inode *i)
{
	if (!i->parent || i->parent->fd < 0) return -ESTALE;
	int r = fd_room(f);
	if (r) return r;
	int fd = openat(i->parent->fd, i->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) return errno == ENOENT || errno == ENOTDIR ? -ESTALE : -errno;
	if (!is_it(f, i, fd)) {
		(void)close(fd);
		return -ESTALE;
	}
	i->fd = fd;
	f->nfds++;
	return 0;
}

/* Folders are never put away, but those that were loaded have not been opened: the topmost first.
 */
static int fd_again(struct fuse *f, struct inode *i)
{
	int r = 0;
	while (r == 0 && i->fd < 0) {
		struct inode *top = i;
		for (unsigned n = 0; n < DEPTH_MAX && top->parent && top->parent->fd < 0; n++)
			top = top->parent;
		r = fd_again_here(f, top);
	}
	return r;
}

int inode_again(struct fuse *f, struct inode *i) { return fd_again(f, i); }

static struct inode *by_id(const struct fuse *f, uint64_t id)
{
	return slots_at(&f->inodes, (uint32_t)id - 1, (uint32_t)(id >> 32));
}

static uint64_t id_of(const struct inode *i) { return (uint64_t)i->gen << 32 | (i->index + 1); }

int inode_get(struct fuse *f, uint64_t id, struct inode **out)
{
	(void)pthread_mutex_lock(&f->lock);
	struct inode *i = by_id(f, id);
	int r = i ? fd_again(f, i) : -ENOENT;
	if (!r) {
		i->refs++;
		i->pins++;
		i->used = true;
		*out = i;
	}
	(void)pthread_mutex_unlock(&f->lock);
	return r;
}

void inode_put(struct fuse *f, struct inode *i)
{
	if (!i) return;
	(void)pthread_mutex_lock(&f->lock);
	i->pins--;
	unref(f, i);
	(void)pthread_mutex_unlock(&f->lock);
}

struct inode *inode_find(const struct fuse *f, const struct stat *st)
{
	struct inode *i = find(f, st->st_dev, st->st_ino);
	return i && i->type == (st->st_mode & S_IFMT) ? i : NULL;
}

struct inode *inode_put_at(struct fuse *f, uint32_t index, const struct stat *st)
{
	struct inode *i = f->ninodes < INODES_MAX ? calloc(1, sizeof(*i)) : NULL;
	if (!i) return NULL;
	*i = (struct inode){.dev = st->st_dev,
			    .ino = st->st_ino,
			    .type = st->st_mode & S_IFMT,
			    .index = index,
			    .gen = f->inodes.slot[index].gen,
			    .adopts = f->adopts,
			    .fd = -1};
	f->inodes.slot[index].at = i;
	if (f->ninodes++ >= f->nbuckets) hash_grow(f);
	if (!i->adopts) hash_add(f, i);
	return i;
}

void inodes_trim(struct fuse *f)
{
	for (uint32_t n = 0; n < f->inodes.n; n++) {
		struct inode *i = f->inodes.slot[n].at;
		if (!i || i == f->root) continue;
		i->refs++;
		unref(f, i);
	}
}

static struct inode *make(struct fuse *f, const struct stat *st)
{
	struct inode *i = f->ninodes < INODES_MAX ? calloc(1, sizeof(*i)) : NULL;
	if (!i) return NULL;
	*i = (struct inode){
		.dev = st->st_dev, .ino = st->st_ino, .type = st->st_mode & S_IFMT, .fd = -1};
	if (f->ninodes++ >= f->nbuckets) hash_grow(f);
	i->index = slots_add(&f->inodes, i);
	i->gen = f->inodes.slot[i->index].gen;
	hash_add(f, i);
	return i;
}

/* A number that was put away and is another file's now: the old one is known no more. */
static struct inode *known(struct fuse *f, const struct stat *st)
{
	struct inode *i = find(f, st->st_dev, st->st_ino);
	if (!i || i->type == (st->st_mode & S_IFMT)) return i;
	hash_drop(f, i);
	return NULL;
}

uint64_t fuse_now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t tell(struct inode *i)
{
	if (i->locked) return 0;
	i->told = fuse_now() + FUSE_TOLD_NS;
	return SECONDS_VALID;
}

uint64_t inode_tell(struct fuse *f, struct inode *i)
{
	if (!i) return 0;
	(void)pthread_mutex_lock(&f->lock);
	uint64_t valid = tell(i);
	(void)pthread_mutex_unlock(&f->lock);
	return valid;
}

uint64_t inode_share(struct fuse *f, uint64_t id)
{
	(void)pthread_mutex_lock(&f->lock);
	struct inode *i = by_id(f, id);
	uint64_t told = i ? i->told : 0;
	if (i) i->locked = true;
	(void)pthread_mutex_unlock(&f->lock);
	return told;
}

static int enter_locked(struct fuse *f, int *fd, const struct stat *st, struct inode *dir,
			const char *name, struct fuse_entry_out *out)
{
	struct inode *i = known(f, st);
	int r = i && i->fd >= 0 ? 0 : fd_room(f);
	if (r) return r;
	if (!i) i = make(f, st);
	if (!i) return -ENOMEM;
	if (i->fd < 0) {
		i->fd = *fd;
		*fd = -1;
		f->nfds++;
	}
	i->lookups++;
	i->used = true;
	if (dir) place_set(f, i, dir, name);
	out->nodeid = id_of(i);
	if (out->attr_valid) out->attr_valid = tell(i);
	return 0;
}

int inode_enter(struct fuse *f, int fd, const struct stat *st, struct inode *dir, const char *name,
		struct fuse_entry_out *out)
{
	(void)pthread_mutex_lock(&f->lock);
	int r = enter_locked(f, &fd, st, dir, name, out);
	(void)pthread_mutex_unlock(&f->lock);
	if (fd >= 0) (void)close(fd);
	return r;
}

bool inode_meet(struct fuse *f, const struct stat *st, struct inode *dir, const char *name,
		struct fuse_entry_out *out)
{
	int none = -1;
	(void)pthread_mutex_lock(&f->lock);
	const struct inode *i = inode_find(f, st);
	bool known = i && i->fd >= 0 && !enter_locked(f, &none, st, dir, name, out);
	(void)pthread_mutex_unlock(&f->lock);
	return known;
}

bool inode_is_open(struct fuse *f, dev_t dev, ino_t ino)
{
	(void)pthread_mutex_lock(&f->lock);
	const struct inode *i = find(f, dev, ino);
	bool is = i && i->fd >= 0;
	(void)pthread_mutex_unlock(&f->lock);
	return is;
}

void inode_forget(struct fuse *f, uint64_t id, uint64_t n)
{
	(void)pthread_mutex_lock(&f->lock);
	struct inode *i = by_id(f, id);
	if (i && i != f->root) {
		i->refs++;
		i->lookups -= n < i->lookups ? n : i->lookups;
		unref(f, i);
	}
	(void)pthread_mutex_unlock(&f->lock);
}

void inode_named(struct fuse *f, const struct stat *st, struct inode *dir, const char *name)
{
	(void)pthread_mutex_lock(&f->lock);
	struct inode *i = find(f, st->st_dev, st->st_ino);
	if (i) place_set(f, i, dir, name);
	(void)pthread_mutex_unlock(&f->lock);
}

void inode_unnamed(struct fuse *f, struct inode *dir, const char *name)
{
	struct stat st;
	if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW)) return;
	(void)pthread_mutex_lock(&f->lock);
	struct inode *i = find(f, st.st_dev, st.st_ino);
	if (i && i->parent == dir && i->name && !strcmp(i->name, name) && !fd_again(f, i))
		place_drop(f, i);
	(void)pthread_mutex_unlock(&f->lock);
}

/* ---- as a path ---- */
struct self self_path(const struct fuse *f, int fd)
{
	struct self s;
	(void)snprintf(s.path, sizeof(s.path), "%s%d", f->opts.self, fd);
	return s;
}

/* The type of what a descriptor holds cannot change, so no device and no pipe is opened. */
int inode_open(struct fuse *f, const struct inode *i, int flags)
{
	if (S_ISLNK(i->type)) return -ELOOP;
	if (!S_ISREG(i->type) && !S_ISDIR(i->type)) return -ENXIO;
	int fd = open(self_path(f, i->fd).path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* ---- all of them ---- */
int inodes_init(struct fuse *f, int root)
{
	struct stat st;
	f->nbuckets = FIRST_BUCKETS;
	f->bucket = calloc(f->nbuckets, sizeof(struct inode *));
	if (fstat(root, &st)) {
		int r = -errno;
		(void)close(root);
		return r;
	}
	must(f->bucket && (f->root = make(f, &st)));
	f->root->fd = root;
	f->root->refs = 1;
	f->root->lookups = 1;
	return 0;
}

void inodes_free(struct fuse *f)
{
	(void)pthread_mutex_lock(&f->lock);
	for (uint32_t n = 0; n < f->inodes.n; n++) {
		struct inode *i = f->inodes.slot[n].at;
		if (!i) continue;
		i->refs++;
		place_drop(f, i); /* renames by others may have made a circle */
		i->refs--;
	}
	for (uint32_t n = 0; n < f->inodes.n; n++) {
		struct inode *i = f->inodes.slot[n].at;
		if (!i || i == f->root) continue;
		i->refs++;
		i->lookups = 0;
		unref(f, i);
	}
	owners_free(f, f->root);
	(void)pthread_mutex_unlock(&f->lock);
}
