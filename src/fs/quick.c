/* Where a vCPU stands while a process is woken, asked and heard, one request in six is not worth
 * it: that is what these are of unpacking, building and reading files. */
#include "fs/quick.h"
#include "fs/iov.h"
#include <errno.h>
#include <linux/fuse.h>
#include <string.h>

enum { SHORT_BYTES = 64 << 10 };

static bool is_capability(const struct fuse_req *q)
{
	static const char name[] = "security.capability";
	char text[sizeof(name)] = {0};
	size_t off = sizeof(struct fuse_in_header) + sizeof(struct fuse_getxattr_in);
	return iov_get(q->in, q->nin, off, text, sizeof(text)) == sizeof(text) &&
	       !memcmp(text, name, sizeof(name));
}

static uint32_t answer(const struct fuse_req *q, uint64_t unique, int error)
{
	const struct fuse_out_header h = {.len = sizeof(h), .error = error, .unique = unique};
	return q->out_len < sizeof(h) ? 0 : (uint32_t)iov_put(q->out, q->nout, 0, &h, sizeof(h));
}

uint32_t fuse_quick(struct fuse_quick *k, const struct fuse_req *q)
{
	const uint32_t flush = sizeof(struct fuse_in_header) + sizeof(struct fuse_flush_in);
	struct fuse_in_header h;
	if (iov_get(q->in, q->nin, 0, &h, sizeof(h)) < sizeof(h) || h.len != q->in_len) return 0;
	switch (h.opcode) {
	case FUSE_SETLK:
	case FUSE_SETLKW: k->locks = true; return 0;
	case FUSE_FLUSH: return k->locks || h.len != flush ? 0 : answer(q, h.unique, 0);
	case FUSE_GETXATTR: return is_capability(q) ? answer(q, h.unique, -EOPNOTSUPP) : 0;
	default: return 0;
	}
}

bool fuse_is_short(const struct fuse_req *q)
{
	static const uint64_t ops =
		1ull << FUSE_LOOKUP | 1ull << FUSE_GETATTR | 1ull << FUSE_SETATTR |
		1ull << FUSE_READLINK | 1ull << FUSE_MKDIR | 1ull << FUSE_UNLINK |
		1ull << FUSE_RMDIR | 1ull << FUSE_RENAME | 1ull << FUSE_LINK | 1ull << FUSE_OPEN |
		1ull << FUSE_READ | 1ull << FUSE_WRITE | 1ull << FUSE_GETXATTR |
		1ull << FUSE_FLUSH | 1ull << FUSE_OPENDIR | 1ull << FUSE_READDIR |
		1ull << FUSE_READDIRPLUS | 1ull << FUSE_CREATE | 1ull << FUSE_RENAME2;
	struct fuse_in_header h;
	return q->in_len + q->out_len <= SHORT_BYTES &&
	       iov_get(q->in, q->nin, 0, &h, sizeof(h)) == sizeof(h) && h.opcode < 64 &&
	       ops >> h.opcode & 1;
}
