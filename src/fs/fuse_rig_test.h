#ifndef FS_FUSE_RIG_TEST_H
#define FS_FUSE_RIG_TEST_H
#include "base/test.h"
#include "base/types.h"
#include "fs/fuse.h"
#include "fs/impl.h"
#include <stdio.h>
#include <stdlib.h>
/* For tests: a server over a fresh folder /tmp/lodge-fs.X/in, and requests to it from this thread.
 * Beside the folder lies a file `secret`, for those who try to get out. */
struct rig {
	char top[64], in[80];
	struct fuse *f;
	struct fuse_scratch *s;
};
struct answer {
	int error; /* as the guest's kernel would see it; 1: no answer */
	uint32_t len;
	_Alignas(8) char at[70000];
};
struct rig_req {
	struct fuse_req q;
	struct iovec in[3], out[1];
	struct fuse_in_header h;
	struct answer *a;
	_Alignas(8) char raw[70016];
	volatile int done;
};

static inline void rig_done(struct fuse_req *q, uint32_t written)
{
	struct rig_req *r = (struct rig_req *)q;
	struct fuse_out_header h = {0};
	r->a->error = 1;
	r->a->len = 0;
	if (written >= sizeof(h)) {
		memcpy(&h, r->raw, sizeof(h));
		must(h.len == written && h.unique == r->h.unique);
		r->a->error = h.error;
		r->a->len = written - (uint32_t)sizeof(h);
		memcpy(r->a->at, r->raw + sizeof(h), r->a->len);
	}
	__atomic_store_n(&r->done, 1, __ATOMIC_RELEASE);
}

/* arg, then text (with its NULs), as two segments. */
static inline void rig_begin(struct rig *g, struct rig_req *r, struct answer *a, uint32_t op,
			     uint64_t node, const void *arg, size_t n, const void *text, size_t m)
{
	static _Thread_local uint64_t unique;
	*r = (struct rig_req){.a = a};
	r->h = (struct fuse_in_header){.len = (uint32_t)(sizeof(r->h) + n + m),
				       .opcode = op,
				       .unique = ++unique,
				       .nodeid = node};
	r->in[0] = (struct iovec){&r->h, sizeof(r->h)};
	r->in[1] = (struct iovec){(void *)arg, n};
	r->in[2] = (struct iovec){(void *)text, m};
	r->out[0] = (struct iovec){r->raw, sizeof(r->raw)};
	r->q = (struct fuse_req){.in = r->in,
				 .nin = 3,
				 .out = r->out,
				 .nout = 1,
				 .in_len = r->h.len,
				 .out_len = sizeof(r->raw),
				 .done = rig_done};
	fuse_serve(g->f, &r->q, g->s);
}

static inline int rig_ask(struct rig *g, struct answer *a, uint32_t op, uint64_t node,
			  const void *arg, size_t n, const void *text, size_t m)
{
	static _Thread_local struct rig_req r; /* too large for some stacks */
	rig_begin(g, &r, a, op, node, arg, n, text, m);
	must(r.done);
	return a->error;
}

static inline void rig_path(char *to, size_t room, const char *dir, const char *name)
{
	must((size_t)snprintf(to, room, "%s/%s", dir, name) < room);
}

static inline void rig_put(const char *dir, const char *name, const char *text)
{
	char path[128];
	rig_path(path, sizeof(path), dir, name);
	FILE *o = fopen(path, "w");
	must(o && fputs(text, o) >= 0 && !fclose(o));
}

static inline void rig_serve(struct rig *g, const struct fuse_opts *o)
{
	int root = open(g->in, O_PATH | O_DIRECTORY | O_CLOEXEC);
	must(root >= 0 && !fuse_new(&g->f, root, o, NULL));
}

static inline void rig_init(struct rig *g, struct answer *a)
{
	struct fuse_init_in in = {.major = 7, .minor = 38, .flags = ~(uint32_t)FUSE_INIT_EXT};
	must(rig_ask(g, a, FUSE_INIT, 0, &in, sizeof(in), NULL, 0) == 0);
}

static inline void rig_new(struct rig *g, struct answer *a, struct fuse_opts o)
{
	(void)umask(0);
	(void)snprintf(g->top, sizeof(g->top), "/tmp/lodge-fs.XXXXXX");
	must(mkdtemp(g->top));
	rig_path(g->in, sizeof(g->in), g->top, "in");
	must(!mkdir(g->in, 0755));
	rig_put(g->top, "secret", "secret");
	g->s = fuse_scratch_new();
	o.self = "/proc/self/fd/";
	rig_serve(g, &o);
	rig_init(g, a);
}

static inline void rig_free(struct rig *g)
{
	char rm[128];
	fuse_free(g->f);
	fuse_scratch_free(g->s);
	(void)snprintf(rm, sizeof(rm), "rm -rf %s", g->top);
	must(!system(rm));
	(void)umask(022);
}

/* The number of dir's name, 0 if the answer was an error. */
static inline uint64_t rig_lookup(struct rig *g, struct answer *a, uint64_t dir, const char *name)
{
	int r = rig_ask(g, a, FUSE_LOOKUP, dir, NULL, 0, name, strlen(name) + 1);
	return r ? 0 : ((struct fuse_entry_out *)(void *)a->at)->nodeid;
}

static inline int rig_name(struct rig *g, struct answer *a, uint32_t op, uint64_t dir,
			   const char *name)
{
	return rig_ask(g, a, op, dir, NULL, 0, name, strlen(name) + 1);
}

static inline uint64_t rig_create(struct rig *g, struct answer *a, uint64_t dir, const char *name,
				  uint32_t mode, uint64_t *fh)
{
	struct fuse_create_in in = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | mode};
	int r = rig_ask(g, a, FUSE_CREATE, dir, &in, sizeof(in), name, strlen(name) + 1);
	struct fuse_entry_out *e = (void *)a->at;
	if (!r && fh) *fh = ((struct fuse_open_out *)(void *)(e + 1))->fh;
	return r ? 0 : e->nodeid;
}

static inline int rig_open(struct rig *g, struct answer *a, uint64_t node, uint32_t flags,
			   uint64_t *fh)
{
	struct fuse_open_in in = {.flags = flags};
	int r = rig_ask(g, a, FUSE_OPEN, node, &in, sizeof(in), NULL, 0);
	if (!r && fh) *fh = ((struct fuse_open_out *)(void *)a->at)->fh;
	return r;
}

static inline int rig_write(struct rig *g, struct answer *a, uint64_t fh, uint64_t off,
			    const char *text)
{
	struct fuse_write_in in = {.fh = fh, .offset = off, .size = (uint32_t)strlen(text)};
	return rig_ask(g, a, FUSE_WRITE, 2, &in, sizeof(in), text, strlen(text));
}

static inline int rig_read(struct rig *g, struct answer *a, uint64_t fh, uint64_t off, uint32_t n)
{
	struct fuse_read_in in = {.fh = fh, .offset = off, .size = n};
	return rig_ask(g, a, FUSE_READ, 2, &in, sizeof(in), NULL, 0);
}

static inline int rig_setattr(struct rig *g, struct answer *a, uint64_t node,
			      struct fuse_setattr_in in)
{
	return rig_ask(g, a, FUSE_SETATTR, node, &in, sizeof(in), NULL, 0);
}
#endif
