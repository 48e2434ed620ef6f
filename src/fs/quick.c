/* Where a vCPU stands while a process is woken, asked and heard, one request in six is not worth
 * it: that is what these are of unpacking, building and reading files. */
#include "fs/quick.h"
#include "fs/iov.h"
#include <errno.h>
#include <linux/fuse.h>
#include <string.h>

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
