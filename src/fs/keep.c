/* What the guest knows and has open, as bytes, and back: for a guest that is saved, cloned or
 * moved. Descriptors cannot be kept. So what comes back is found again by folder and name, as what
 * was put away is, and must be the same file there; files when somebody asks for them, what is open
 * at once. What is not found any more answers ESTALE, or EBADF where it was open, and the number of
 * those is told. The bytes are not trusted: whoever made them may be the guest's owner's enemy. */
#include "base/buf.h"
#include "base/types.h"
#include "fs/impl.h"
#include <stdio.h>
#include <stdlib.h>

enum { VERSION = 1, NAME_MOST = 255, FLAGS = O_ACCMODE | O_SYNC | O_DSYNC };
#define SLOTS_MOST (1u << 21)

struct head {
	le32 version, slots, inodes, handle_slots, handles;
	le64 dev, ino; /* of the folder itself */
} __attribute__((packed));
struct kept_inode {
	le32 index, parent, type; /* parent: index + 1 */
	le64 dev, ino, lookups;
	uint8_t locked, name, owners[2]; /* name: its length */
} __attribute__((packed));		 /* then name, then owners */
struct kept_owner {
	le64 id;
	le32 ranges;
} __attribute__((packed)); /* then those */
struct kept_range {
	le64 start, end;
	uint8_t write;
} __attribute__((packed));
struct kept_handle {
	le32 index, inode; /* index + 1; 0: it had been forgotten */
	uint8_t kind, how; /* how: its flock() */
	le32 flags;
} __attribute__((packed));

/* ---- to bytes; `busy` is held for writing ---- */
static void slots_save(const struct slots *s, struct buf *to)
{
	for (uint32_t i = 0; i < s->n; i++) {
		le32 gen = le32_of(s->slot[i].gen);
		buf_add(to, &gen, sizeof(gen));
	}
}

static unsigned owners_count(const struct inode *i)
{
	unsigned n = 0;
	for (const struct owner *o = i->owners; o; o = o->next) n++;
	return n;
}

static void owner_save(const struct owner *o, struct buf *to)
{
	struct kept_owner k = {le64_of(o->id), le32_of(o->nranges)};
	buf_add(to, &k, sizeof(k));
	for (unsigned i = 0; i < o->nranges; i++) {
		const struct range *r = &o->range[i];
		struct kept_range g = {le64_of((uint64_t)r->start), le64_of((uint64_t)r->end),
				       r->type == F_WRLCK};
		buf_add(to, &g, sizeof(g));
	}
}

static void inode_save(const struct inode *i, struct buf *to)
{
	size_t len = i->name ? strlen(i->name) : 0;
	struct kept_inode k = {.index = le32_of(i->index),
			       .parent = le32_of(i->parent ? i->parent->index + 1 : 0),
			       .type = le32_of(i->type),
			       .dev = le64_of(i->dev),
			       .ino = le64_of(i->ino),
			       .lookups = le64_of(i->lookups),
			       .locked = i->locked};
	if (len > NAME_MOST) len = 0;
	k.name = (uint8_t)len;
	store_le(k.owners, owners_count(i), 2);
	buf_add(to, &k, sizeof(k));
	buf_add(to, i->name, len);
	for (const struct owner *o = i->owners; o; o = o->next) owner_save(o, to);
}

static void handle_save(struct fuse *f, const struct handle *h, struct buf *to)
{
	struct stat st;
	const struct inode *i = fstat(h->fd, &st) ? NULL : inode_find(f, &st);
	int flags = fcntl(h->fd, F_GETFL);
	struct kept_handle k = {.index = le32_of(h->index),
				.inode = le32_of(i ? i->index + 1 : 0),
				.kind = (uint8_t)h->kind,
				.how = h->how,
				.flags = le32_of(flags < 0 ? 0 : (uint32_t)flags & FLAGS)};
	buf_add(to, &k, sizeof(k));
}

void fuse_save(struct fuse *f, struct buf *to)
{
	(void)pthread_rwlock_wrlock(&f->busy);
	(void)pthread_mutex_lock(&f->lock);
	struct head h = {.version = le32_of(VERSION),
			 .slots = le32_of(f->inodes.n),
			 .inodes = le32_of(f->ninodes),
			 .handle_slots = le32_of(f->handles.n),
			 .handles = le32_of(f->nhandles),
			 .dev = le64_of(f->root->dev),
			 .ino = le64_of(f->root->ino)};
	buf_add(to, &h, sizeof(h));
	slots_save(&f->inodes, to);
	for (uint32_t i = 0; i < f->inodes.n; i++)
		if (f->inodes.slot[i].at) inode_save(f->inodes.slot[i].at, to);
	slots_save(&f->handles, to);
	for (uint32_t i = 0; i < f->handles.n; i++)
		if (f->handles.slot[i].at) handle_save(f, f->handles.slot[i].at, to);
	(void)pthread_mutex_unlock(&f->lock);
	(void)pthread_rwlock_unlock(&f->busy);
}

/* ---- and back ---- */
struct load {
	struct fuse *f;
	struct buf *from;
	struct fuse_lost *lost;
	uint32_t *parent; /* of each slot: index + 1 */
	uint64_t dev;	  /* the folder's, when it was saved */
	bool bad;
};

static bool take(struct load *l, void *to, size_t n)
{
	l->bad |= !buf_take(l->from, to, n);
	return !l->bad;
}

static bool need(struct load *l, bool good)
{
	l->bad |= !good;
	return !l->bad;
}

/* Empty slots with the generations that they had; then what is in use is taken out of the list. */
static void slots_load(struct load *l, struct slots *s, uint32_t n)
{
	if (!need(l, n <= SLOTS_MOST && n <= (l->from->len - l->from->pos) / sizeof(le32))) return;
	free(s->slot);
	*s = (struct slots){.slot = n ? calloc(n, sizeof(*s->slot)) : NULL, .n = n};
	must(s->slot || !n);
	for (uint32_t i = 0; i < n; i++) {
		le32 gen;
		(void)take(l, &gen, sizeof(gen));
		s->slot[i].gen = le32_get(gen);
	}
}

static void slots_link(struct slots *s)
{
	s->free = 0;
	for (uint32_t i = s->n; i-- > 0;)
		if (!s->slot[i].at) {
			s->slot[i].next = s->free;
			s->free = i + 1;
		}
}

static void range_load(struct load *l, struct owner *o)
{
	struct kept_range k;
	if (!take(l, &k, sizeof(k))) return;
	uint64_t start = le64_get(k.start), end = le64_get(k.end);
	if (!need(l, start <= end && end <= INT64_MAX)) return;
	const struct range r = {(int64_t)start, (int64_t)end, k.write ? F_WRLCK : F_RDLCK, false};
	owner_note(o, &r);
	l->f->pending = true;
}

static void owner_load(struct load *l, struct inode *i)
{
	struct kept_owner k;
	struct owner *o = NULL;
	if (!take(l, &k, sizeof(k))) return;
	uint32_t n = le32_get(k.ranges);
	if (!need(l, n <= RANGES_MAX && S_ISREG(i->type) && l->f->nowners < l->f->max_fds)) return;
	o = owner_make(l->f, i, le64_get(k.id), -1, false);
	for (; n && !l->bad; n--) range_load(l, o);
}

static struct inode *inode_at(struct load *l, const struct kept_inode *k)
{
	uint32_t at = le32_get(k->index), type = le32_get(k->type);
	struct fuse *f = l->f;
	struct stat st = {.st_dev = le64_get(k->dev), .st_ino = le64_get(k->ino), .st_mode = type};
	bool root = at == 0;
	if (!need(l, at < f->inodes.n && !(type & ~(uint32_t)S_IFMT))) return NULL;
	if (root) return need(l, S_ISDIR(type)) ? f->root : NULL;
	if (!need(l, !f->inodes.slot[at].at)) return NULL;
	if (st.st_dev == l->dev) st.st_dev = f->root->dev;
	return need(l, true) ? inode_put_at(f, at, &st) : NULL;
}

static void inode_load(struct load *l)
{
	struct kept_inode k;
	char name[NAME_MOST + 1] = {0};
	if (!take(l, &k, sizeof(k)) || !take(l, name, k.name)) return;
	struct inode *i = inode_at(l, &k);
	if (!need(l, i && strlen(name) == k.name && !strchr(name, '/') && strcmp(name, ".") &&
			     strcmp(name, "..")))
		return;
	i->lookups = le64_get(k.lookups);
	i->locked = k.locked & 1;
	i->told = fuse_now() + FUSE_TOLD_NS;
	if (i != l->f->root && k.name) {
		i->name = strdup(name);
		must(i->name);
		l->parent[i->index] = le32_get(k.parent);
	}
	for (unsigned n = (unsigned)load_le(k.owners, 2); n && !l->bad; n--) owner_load(l, i);
}

/* Where each lies, once all are there; who has no folder any more has no name either. */
static void places_load(struct load *l)
{
	struct fuse *f = l->f;
	for (uint32_t n = 0; n < f->inodes.n; n++) {
		struct inode *i = f->inodes.slot[n].at;
		uint32_t up = l->parent[n];
		struct inode *dir = up && up <= f->inodes.n ? f->inodes.slot[up - 1].at : NULL;
		if (!i || i == f->root) continue;
		if (dir && dir != i && S_ISDIR(dir->type)) {
			i->parent = dir;
			dir->refs++;
		} else {
			free(i->name);
			i->name = NULL;
		}
	}
}

static void lost(struct load *l, const struct inode *i)
{
	struct fuse_lost *to = l->lost;
	if (!to->files++ && i && i->name) (void)snprintf(to->name, sizeof(to->name), "%s", i->name);
}

static int reopen(struct load *l, struct inode *i, const struct kept_handle *k)
{
	struct fuse *f = l->f;
	int flags = (int)le32_get(k->flags) & FLAGS;
	bool dir = k->kind == HANDLE_DIR, writes = (flags & O_ACCMODE) != O_RDONLY;
	if (!i || S_ISDIR(i->type) != dir || (writes && f->opts.readonly) || inode_again(f, i))
		return -1;
	int fd = inode_open(f, i, dir ? O_RDONLY | O_DIRECTORY : flags);
	return writes ? open_plainly(f, fd) : fd;
}

static void handle_load(struct load *l)
{
	struct kept_handle k;
	struct fuse *f = l->f;
	if (!take(l, &k, sizeof(k))) return;
	uint32_t at = le32_get(k.index), n = le32_get(k.inode);
	struct inode *i = n && n <= f->inodes.n ? f->inodes.slot[n - 1].at : NULL;
	if (!need(l, at < f->handles.n && !f->handles.slot[at].at && k.how < 3 &&
			     (k.kind == HANDLE_FILE || k.kind == HANDLE_DIR) &&
			     f->nhandles < f->max_handles))
		return;
	int fd = reopen(l, i, &k);
	if (fd < 0) lost(l, i);
	handle_put_at(f, at, fd < 0 ? -1 : fd, k.kind, k.how);
}

/* In another folder, and on another disk, numbers are others: each is what its path leads to now.
 */
static void adopt_all(struct load *l)
{
	for (uint32_t n = 0; n < l->f->inodes.n; n++) {
		struct inode *i = l->f->inodes.slot[n].at;
		if (i && i->adopts) (void)inode_again(l->f, i);
	}
}

/* The root is where it was: a guest cannot forget it, and it is the first that there is. */
static void tables_load(struct load *l, const struct head *h)
{
	struct fuse *f = l->f;
	slots_load(l, &f->inodes, le32_get(h->slots));
	if (!need(l, f->inodes.n)) return;
	f->inodes.slot[0].at = f->root;
	f->inodes.slot[0].gen = 0;
	l->parent = calloc(f->inodes.n, sizeof(*l->parent));
	must(l->parent);
	for (uint32_t n = le32_get(h->inodes); n && !l->bad; n--) inode_load(l);
	places_load(l);
	slots_link(&f->inodes);
	if (l->lost->elsewhere) adopt_all(l);
	slots_load(l, &f->handles, le32_get(h->handle_slots));
	for (uint32_t n = le32_get(h->handles); n && !l->bad; n--) handle_load(l);
	slots_link(&f->handles);
	inodes_trim(f);
}

/* After half of it: so that all of it can be let go. */
static void mend(struct fuse *f)
{
	slots_link(&f->inodes);
	slots_link(&f->handles);
	if (!f->inodes.n) (void)slots_add(&f->inodes, f->root);
	f->pending = false;
}

static int load_all(struct fuse *f, struct buf *from, struct fuse_lost *to)
{
	struct load l = {.f = f, .from = from, .lost = to};
	struct head h;
	if (!take(&l, &h, sizeof(h))) return -EBADMSG;
	if (le32_get(h.version) != VERSION) return -EPROTONOSUPPORT;
	l.dev = le64_get(h.dev);
	to->elsewhere = l.dev != f->root->dev || le64_get(h.ino) != f->root->ino;
	f->adopts = to->elsewhere;
	tables_load(&l, &h);
	free(l.parent);
	f->adopts = false;
	if (!l.bad && from->pos == from->len) return 0;
	mend(f);
	return -EBADMSG;
}

int fuse_load(struct fuse *f, struct buf *from, struct fuse_lost *to)
{
	*to = (struct fuse_lost){0};
	(void)pthread_rwlock_wrlock(&f->busy);
	fuse_drop(f);
	(void)pthread_mutex_lock(&f->lock);
	int r = load_all(f, from, to);
	(void)pthread_mutex_unlock(&f->lock);
	if (r) fuse_drop(f);
	(void)pthread_rwlock_unlock(&f->busy);
	return r;
}
