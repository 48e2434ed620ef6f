/* The server of shared folders under any requests. Input: steps of operation, node, handle and
 * name from what there is, and bytes. What it knows is saved on the way, altered and loaded.
 * Nothing beside its folder may change. */
#include "base/buf.h"
#include "fs/fuse_rig_test.h"
#include "fs/quick.h"
#include <ftw.h>
#include <signal.h>
#include <sys/resource.h>

enum { STEPS = 200, KNOWN = 16, FILE_MOST = 1 << 20 };
struct step {
	uint8_t op, node, other, fh, name, shape, len, room;
};
static struct rig g;
static struct answer a;
static uint64_t node[KNOWN], fh[KNOWN];
static unsigned nnode, nfh, left;
static struct stat outside;

void test_fail(const char *expr, const char *file, int line)
{
	(void)expr, (void)file, (void)line;
	abort();
}
void test_add(struct test *t) { (void)t; }

static void look_outside(struct stat *s)
{
	char path[128];
	rig_path(path, sizeof(path), g.top, "secret");
	must(!lstat(path, s));
}

static int sweep_one(const char *path, const struct stat *s, int type, struct FTW *w)
{
	(void)s, (void)type;
	if (w->level) (void)remove(path);
	return 0;
}

static void sweep(void)
{
	(void)chmod(g.in, 0755);
	(void)nftw(g.in, sweep_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void leave(void)
{
	sweep();
	(void)rmdir(g.in);
	char path[128];
	rig_path(path, sizeof(path), g.top, "secret");
	(void)unlink(path);
	(void)rmdir(g.top);
}

static void build(void)
{
	const struct rlimit most = {FILE_MOST, FILE_MOST};
	(void)signal(SIGXFSZ, SIG_IGN);
	must(!setrlimit(RLIMIT_FSIZE, &most));
	rig_new(&g, &a, (struct fuse_opts){.ids = !geteuid(), .fds = 300});
	look_outside(&outside);
	(void)atexit(leave);
}

static void later(struct fuse_req *q, uint32_t written)
{
	(void)written;
	__atomic_fetch_sub(&left, 1, __ATOMIC_RELEASE);
	free(q);
}

static void learn(uint32_t op, const char *p, uint32_t len)
{
	const struct fuse_entry_out *e = (const void *)p;
	const struct fuse_open_out *o = (const void *)p;
	bool entry = op == FUSE_LOOKUP || op == FUSE_CREATE || op == FUSE_MKDIR ||
		     op == FUSE_MKNOD || op == FUSE_SYMLINK || op == FUSE_LINK ||
		     op == FUSE_TMPFILE;
	if (entry && len >= sizeof(*e)) node[nnode++ % KNOWN] = e->nodeid;
	if (entry && len > sizeof(*e)) o = (const void *)(e + 1);
	if ((entry && len > sizeof(*e)) || op == FUSE_OPEN || op == FUSE_OPENDIR)
		fh[nfh++ % KNOWN] = o->fh;
}

/* The first that there was, where there are not so many. */
static uint64_t known(const uint64_t *of, unsigned n)
{
	return of[n % KNOWN] ? of[n % KNOWN] : of[1];
}

/* Locks may be answered later: a request for one has a life of its own. */
static void send_waiting(struct fuse_in_header *h, const char *arg, size_t n)
{
	struct {
		struct fuse_req q;
		struct iovec in[2], out;
		struct fuse_in_header h;
		_Alignas(8) char arg[512], raw[256];
	} *r = calloc(1, sizeof(*r));
	must(r && n <= sizeof(r->arg));
	r->h = *h;
	memcpy(r->arg, arg, n);
	r->in[0] = (struct iovec){&r->h, sizeof(r->h)};
	r->in[1] = (struct iovec){r->arg, n};
	r->out = (struct iovec){r->raw, sizeof(r->raw)};
	r->q = (struct fuse_req){r->in,		 &r->out, 2, 1, (uint32_t)(sizeof(*h) + n),
				 sizeof(r->raw), later};
	__atomic_fetch_add(&left, 1, __ATOMIC_RELAXED);
	fuse_serve(g.f, &r->q, g.s);
}

static void send(const struct step *s, char *arg, size_t n)
{
	static struct rig_req r;
	uint64_t id = s->node ? known(node, s->node) : s->shape;
	if (s->op == FUSE_SETLK || s->op == FUSE_SETLKW) {
		struct fuse_in_header h = {
			.len = (uint32_t)(sizeof(h) + n), .opcode = s->op, .nodeid = id};
		send_waiting(&h, arg, n);
		return;
	}
	r = (struct rig_req){.a = &a};
	r.h = (struct fuse_in_header){.len = (uint32_t)(sizeof(r.h) + n),
				      .opcode = s->op,
				      .unique = 7,
				      .nodeid = id,
				      .uid = s->other & 1,
				      .gid = s->other & 2};
	if (s->shape & 0x80) r.h.len = s->shape;
	if (s->shape == 0x7f) n = 0;
	size_t cut = n ? s->shape % n : 0;
	r.in[0] = (struct iovec){&r.h, s->shape == 0x7f ? s->room % sizeof(r.h) : sizeof(r.h)};
	r.in[1] = (struct iovec){arg, cut};
	r.in[2] = (struct iovec){arg + cut, n - cut};
	r.out[0] = (struct iovec){r.raw, s->room & 1 ? s->room : sizeof(r.raw)};
	r.q = (struct fuse_req){
		r.in,	 r.out, 3, 1, (uint32_t)(r.in[0].iov_len + n), (uint32_t)r.out[0].iov_len,
		rig_done};
	struct fuse_quick k = {0};
	uint32_t quick = fuse_quick(&k, &r.q);
	fuse_serve(g.f, &r.q, g.s);
	must(r.done);
	if (quick && s->op == FUSE_GETXATTR) must(a.error == -EOPNOTSUPP); /* what it says, too */
	if (!a.error) learn(s->op, a.at, a.len);
}

static size_t add_name(char *to, uint8_t name)
{
	static const char *const names[] = {"a",
					    "b",
					    "c",
					    "d",
					    "..",
					    "/",
					    "../secret",
					    "",
					    "user.x",
					    ".",
					    "security.capability"};
	const char *p = names[name % (sizeof(names) / sizeof(names[0]))];
	strcpy(to, p);
	return strlen(p) + 1;
}

static void reload(const struct step *s)
{
	auto_buf struct buf b = {0};
	struct fuse_lost lost;
	fuse_pause(g.f);
	fuse_save(g.f, &b);
	size_t at = (s->node | (size_t)s->other << 8) % b.len;
	b.at[at] ^= (char)s->shape;
	if (s->len & 1) b.len = at;
	(void)fuse_load(g.f, &b, &lost);
	fuse_resume(g.f);
}

static size_t step(const struct step *s, const uint8_t *p, size_t n)
{
	static char arg[512];
	size_t len = s->len & 0x80 ? s->len % 96 : op_least(s->op), have;
	bool text = len < 3; /* nothing but names */
	if (text) len = 0;
	have = len < n ? len : n;
	memset(arg, 0, sizeof(arg));
	memcpy(arg, p, have);
	if (s->fh && len >= 8) store_le(arg, known(s->fh & 1 ? fh : node, s->fh >> 1), 8);
	size_t all = len;
	if (s->name) all += add_name(arg + all, s->name);
	if (s->other & 4) all += add_name(arg + all, s->other >> 3);
	send(s, arg, all);
	return have;
}

/* What sensible guests begin with: a file that is open, a folder, a listing. */
static void furnish(void)
{
	struct fuse_mkdir_in dir = {.mode = 0755};
	struct fuse_open_in in = {0};
	node[1] = FUSE_ROOT_ID;
	node[2] = rig_create(&g, &a, FUSE_ROOT_ID, "a", 0644, &fh[2]);
	fh[0] = fh[1] = fh[2];
	if (!rig_ask(&g, &a, FUSE_MKDIR, FUSE_ROOT_ID, &dir, sizeof(dir), "d", 2))
		learn(FUSE_MKDIR, a.at, a.len);
	if (!rig_ask(&g, &a, FUSE_OPENDIR, FUSE_ROOT_ID, &in, sizeof(in), NULL, 0))
		learn(FUSE_OPENDIR, a.at, a.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct step s;
	struct stat now;
	if (!g.f) build();
	memset(node, 0, sizeof(node));
	nnode = nfh = 3;
	rig_init(&g, &a);
	furnish();
	for (unsigned i = 0; i < STEPS && n >= sizeof(s); i++) {
		memcpy(&s, p, sizeof(s));
		s.op %= FUSE_TMPFILE + 3;
		p += sizeof(s);
		n -= sizeof(s);
		if (s.op == FUSE_TMPFILE + 2) {
			reload(&s);
			continue;
		}
		size_t used = step(&s, p, n);
		p += used;
		n -= used;
	}
	fuse_reset(g.f);
	while (__atomic_load_n(&left, __ATOMIC_ACQUIRE)) (void)usleep(1000);
	must(g.f->ninodes == 1 && !g.f->nhandles && !g.f->nowners && g.f->nfds == 0);
	look_outside(&now);
	must(now.st_ino == outside.st_ino && now.st_size == 6 && now.st_mode == outside.st_mode &&
	     now.st_nlink == 1 && now.st_uid == outside.st_uid);
	sweep();
	return 0;
}
