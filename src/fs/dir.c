/* Listings. The host's own offsets are passed on, so a listing may be left and taken up anywhere;
 * one that the guest makes up is the host file system's to refuse. */
#include "fs/impl.h"
#include <sys/syscall.h>

struct found { /* getdents64(2) */
	uint64_t ino;
	int64_t next;
	uint16_t len;
	uint8_t type;
	char name[];
} __attribute__((packed));

int op_opendir(struct call *c)
{
	struct fuse_open_out *out = (void *)c->reply;
	struct inode *i;
	int r = inode_get(c->f, c->h.nodeid, &i);
	if (r) return r;
	int fd = S_ISDIR(i->type) ? inode_open(c->f, i, O_RDONLY | O_DIRECTORY) : -ENOTDIR;
	inode_put(c->f, i);
	if (fd < 0) return fd;
	*out = (struct fuse_open_out){0};
	r = handle_new(c->f, fd, HANDLE_DIR, &out->fh);
	return r ? r : (int)sizeof(*out);
}

int op_releasedir(struct call *c)
{
	handle_close(c->f, CALL_ARG(c, fuse_release_in)->fh, HANDLE_DIR);
	return 0;
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static int entry_of(struct call *c, struct inode *dir, const struct found *e,
		    struct fuse_entry_out *out)
{
	bool known = inode_is_open(c->f, dir->dev, e->ino);
	return known ? entry_find(c, dir, e->name, out) : entry_make(c, dir, e->name, out);
}

/* One entry at to; how many bytes it took, 0 when it does not fit. */
static uint32_t put(struct call *c, struct inode *dir, const struct found *e, bool plus, char *to,
		    uint32_t room)
{
	size_t name = strlen(e->name);
	struct fuse_entry_out entry = {0};
	struct fuse_dirent d = {.ino = e->ino,
				.off = (uint64_t)e->next,
				.namelen = (uint32_t)name,
				.type = e->type};
	uint32_t head = plus ? (uint32_t)sizeof(entry) : 0;
	uint32_t len = head + (uint32_t)FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name);
	if (len > room) return 0;
	if (is_dots(e->name)) d.ino = dir->ino; /* what is above the folder is nobody's matter */
	if (plus && !is_dots(e->name) && entry_of(c, dir, e, &entry))
		entry = (struct fuse_entry_out){0};
	memset(to, 0, len);
	memcpy(to, &entry, head);
	memcpy(to + head, &d, FUSE_NAME_OFFSET);
	memcpy(to + head + FUSE_NAME_OFFSET, e->name, name);
	return len;
}

static int list(struct call *c, struct inode *dir, struct handle *h, bool plus)
{
	const struct fuse_read_in *in = CALL_ARG(c, fuse_read_in);
	uint32_t room = in->size < c->room ? in->size : c->room, len = 0, took = 1;
	if (room > REPLY_MAX) room = REPLY_MAX;
	if (h->at != (int64_t)in->offset && lseek(h->fd, (off_t)in->offset, SEEK_SET) < 0)
		return -errno;
	h->at = -1; /* further on than what will have been told */
	long got = syscall(SYS_getdents64, h->fd, c->list, LIST_MAX);
	if (got < 0) return -errno;
	long at = 0;
	for (const struct found *e; took && at < got; at += took ? e->len : 0) {
		e = (const void *)(c->list + at);
		took = put(c, dir, e, plus, c->reply + len, room - len);
		len += took;
		if (took && at + e->len == got) h->at = e->next;
	}
	return got && !len ? -EINVAL : (int)len;
}

static int lists(struct call *c, bool plus)
{
	struct handle *h = handle_get(c->f, CALL_ARG(c, fuse_read_in)->fh, HANDLE_DIR);
	struct inode *dir;
	if (!h) return -EBADF;
	int r = inode_get(c->f, c->h.nodeid, &dir);
	if (!r) {
		(void)pthread_mutex_lock(&h->mutex);
		r = S_ISDIR(dir->type) ? list(c, dir, h, plus) : -ENOTDIR;
		(void)pthread_mutex_unlock(&h->mutex);
		inode_put(c->f, dir);
	}
	handle_put(c->f, h);
	return r;
}

int op_readdir(struct call *c) { return lists(c, false); }

int op_readdirplus(struct call *c) { return lists(c, true); }
