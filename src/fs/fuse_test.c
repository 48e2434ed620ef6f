#include "base/buf.h"
#include "fs/fuse_rig_test.h"
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/xattr.h>

static struct answer a;
static struct rig g;
enum { ROOT = FUSE_ROOT_ID };

static void begin(void) { rig_new(&g, &a, (struct fuse_opts){.ids = !geteuid()}); }

TEST(fuse_init_agrees)
{
	begin();
	struct fuse_init_in in = {
		.major = 7, .minor = 41, .flags = FUSE_MAX_PAGES | FUSE_WRITEBACK_CACHE};
	CHECK(rig_ask(&g, &a, FUSE_INIT, 0, &in, sizeof(in), NULL, 0) == 0);
	struct fuse_init_out *o = (void *)a.at;
	CHECK(a.len == sizeof(*o) && o->major == 7 && o->flags == FUSE_MAX_PAGES &&
	      o->max_pages == 120);
	in.minor = 12;
	CHECK(rig_ask(&g, &a, FUSE_INIT, 0, &in, sizeof(in), NULL, 0) == -EPROTO);
	in.major = 8;
	CHECK(rig_ask(&g, &a, FUSE_INIT, 0, &in, sizeof(in), NULL, 0) == 0 && o->major == 7);
	rig_free(&g);
}

TEST(fuse_create_write_read)
{
	uint64_t fh = 0;
	begin();
	uint64_t n = rig_create(&g, &a, ROOT, "file", 0644, &fh);
	CHECK(n > ROOT);
	CHECK(rig_write(&g, &a, fh, 3, "hello") == 0);
	CHECK(((struct fuse_write_out *)(void *)a.at)->size == 5);
	CHECK(rig_read(&g, &a, fh, 0, 100) == 0 && a.len == 8 && !memcmp(a.at, "\0\0\0hello", 8));
	CHECK(rig_lookup(&g, &a, ROOT, "file") == n);
	CHECK(((struct fuse_entry_out *)(void *)a.at)->attr.size == 8);
	CHECK(rig_name(&g, &a, FUSE_UNLINK, ROOT, "file") == 0);
	struct fuse_getattr_in in = {.getattr_flags = FUSE_GETATTR_FH, .fh = fh};
	CHECK(rig_ask(&g, &a, FUSE_GETATTR, n, &in, sizeof(in), NULL, 0) == 0);
	CHECK(((struct fuse_attr_out *)(void *)a.at)->attr.nlink == 0);
	CHECK(rig_read(&g, &a, fh, 3, 100) == 0 && a.len == 5);
	struct fuse_release_in rel = {.fh = fh};
	CHECK(rig_ask(&g, &a, FUSE_RELEASE, n, &rel, sizeof(rel), NULL, 0) == 0);
	CHECK(rig_read(&g, &a, fh, 0, 1) == -EBADF);
	rig_free(&g);
}

TEST(fuse_forgets)
{
	begin();
	rig_put(g.in, "x", "");
	uint64_t n = rig_lookup(&g, &a, ROOT, "x");
	CHECK(n && rig_lookup(&g, &a, ROOT, "x") == n);
	struct fuse_forget_in one = {.nlookup = 1};
	struct fuse_getattr_in get = {0};
	CHECK(rig_ask(&g, &a, FUSE_FORGET, n, &one, sizeof(one), NULL, 0) == 1);
	CHECK(rig_ask(&g, &a, FUSE_GETATTR, n, &get, sizeof(get), NULL, 0) == 0);
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one;
	} batch = {{.count = 1000}, {n, 1}}; /* more than there are */
	CHECK(rig_ask(&g, &a, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch), NULL, 0) == 1);
	CHECK(rig_ask(&g, &a, FUSE_GETATTR, n, &get, sizeof(get), NULL, 0) == -ENOENT);
	CHECK(rig_lookup(&g, &a, ROOT, "x") != n); /* a number is not used twice */
	one.nlookup = UINT64_MAX;
	CHECK(rig_ask(&g, &a, FUSE_FORGET, ROOT, &one, sizeof(one), NULL, 0) == 1);
	CHECK(rig_ask(&g, &a, FUSE_GETATTR, ROOT, &get, sizeof(get), NULL, 0) == 0);
	rig_free(&g);
}

/* Names that are more, or less, than a name. */
TEST(fuse_escape_by_name)
{
	static const char *const bad[] = {
		"..", ".", "", "/", "/etc/passwd", "../secret", "a/../../secret", "x/"};
	static const uint32_t ops[] = {FUSE_LOOKUP, FUSE_UNLINK, FUSE_RMDIR};
	begin();
	rig_put(g.in, "x", "");
	for (unsigned i = 0; i < COUNT(bad); i++) {
		for (unsigned k = 0; k < COUNT(ops); k++)
			CHECK(rig_name(&g, &a, ops[k], ROOT, bad[i]) == -EINVAL);
		CHECK(!rig_create(&g, &a, ROOT, bad[i], 0644, NULL) && a.error == -EINVAL);
		struct fuse_mkdir_in dir = {.mode = 0755};
		CHECK(rig_ask(&g, &a, FUSE_MKDIR, ROOT, &dir, sizeof(dir), bad[i],
			      strlen(bad[i]) + 1) == -EINVAL);
		char both[64] = "x";
		strcpy(both + 2, bad[i]);
		struct fuse_rename_in to = {.newdir = ROOT};
		CHECK(rig_ask(&g, &a, FUSE_RENAME, ROOT, &to, sizeof(to), both,
			      3 + strlen(bad[i])) == -EINVAL);
	}
	CHECK(rig_ask(&g, &a, FUSE_LOOKUP, ROOT, NULL, 0, "x", 1) == -EINVAL); /* no end */
	char lone[300];
	memset(lone, 'n', sizeof(lone));
	lone[299] = 0;
	CHECK(rig_name(&g, &a, FUSE_LOOKUP, ROOT, lone) == -ENAMETOOLONG);
	rig_free(&g);
}

/* Links are read, never followed. */
TEST(fuse_escape_by_link)
{
	static const char *const to[] = {"/etc/passwd", "../secret",	   "/",
					 "..",		"/proc/self/root", "."};
	struct fuse_open_in dir = {0};
	struct fuse_getxattr_in x = {.size = 100};
	begin();
	for (unsigned i = 0; i < COUNT(to); i++) {
		char both[64] = "link";
		strcpy(both + 5, to[i]);
		CHECK(rig_ask(&g, &a, FUSE_SYMLINK, ROOT, NULL, 0, both, 6 + strlen(to[i])) == 0);
		uint64_t n = rig_lookup(&g, &a, ROOT, "link");
		CHECK(n && S_ISLNK(((struct fuse_entry_out *)(void *)a.at)->attr.mode));
		CHECK(rig_ask(&g, &a, FUSE_READLINK, n, NULL, 0, NULL, 0) == 0 &&
		      a.len == strlen(to[i]) && !memcmp(a.at, to[i], a.len));
		CHECK(rig_open(&g, &a, n, O_RDONLY, NULL) == -ELOOP);
		CHECK(rig_ask(&g, &a, FUSE_OPENDIR, n, &dir, sizeof(dir), NULL, 0) == -ENOTDIR);
		CHECK(!rig_lookup(&g, &a, n, "passwd") && a.error == -ENOTDIR);
		CHECK(!rig_create(&g, &a, n, "made", 0644, NULL) && a.error == -ENOTDIR);
		CHECK(!rig_create(&g, &a, ROOT, "link", 0644, NULL) && a.error == -ELOOP);
		CHECK(rig_setattr(&g, &a, n, (struct fuse_setattr_in){.valid = FATTR_SIZE}) ==
		      -ELOOP);
		CHECK(rig_setattr(&g, &a, n,
				  (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0777}) ==
		      -EOPNOTSUPP);
		CHECK(rig_ask(&g, &a, FUSE_GETXATTR, n, &x, sizeof(x), "user.x", 7) == -ENODATA);
		CHECK(rig_name(&g, &a, FUSE_UNLINK, ROOT, "link") == 0);
	}
	char path[128];
	struct stat st;
	rig_path(path, sizeof(path), g.top, "secret");
	CHECK(!stat(path, &st) && st.st_size == 6 && (st.st_mode & 07777) == 0666);
	rig_free(&g);
}

/* What is no file is known by name and nothing else. */
TEST(fuse_opens_no_special_file)
{
	char path[128];
	begin();
	rig_path(path, sizeof(path), g.in, "fifo");
	CHECK(!mkfifo(path, 0666));
	uint64_t n = rig_lookup(&g, &a, ROOT, "fifo");
	CHECK(n && rig_open(&g, &a, n, O_RDONLY, NULL) == -ENXIO);
	CHECK(!rig_create(&g, &a, ROOT, "fifo", 0644, NULL) && a.error == -ENXIO);
	if (!geteuid()) {
		rig_path(path, sizeof(path), g.in, "null");
		if (!mknod(path, S_IFCHR | 0666, 0x103)) {
			n = rig_lookup(&g, &a, ROOT, "null");
			CHECK(n && rig_open(&g, &a, n, O_RDWR, NULL) == -ENXIO);
			CHECK(rig_setattr(&g, &a, n,
					  (struct fuse_setattr_in){.valid = FATTR_SIZE}) == -ENXIO);
		}
	}
	struct fuse_mknod_in dev = {.mode = S_IFCHR | 0666, .rdev = 0x103};
	CHECK(rig_ask(&g, &a, FUSE_MKNOD, ROOT, &dev, sizeof(dev), "dev", 4) == -EPERM);
	dev.mode = S_IFBLK | 0666;
	CHECK(rig_ask(&g, &a, FUSE_MKNOD, ROOT, &dev, sizeof(dev), "dev", 4) == -EPERM);
	dev.mode = S_IFIFO | 0644;
	CHECK(rig_ask(&g, &a, FUSE_MKNOD, ROOT, &dev, sizeof(dev), "pipe", 5) == 0);
	rig_free(&g);
}

TEST(fuse_makes_no_setuid_program)
{
	begin();
	uint64_t n = rig_create(&g, &a, ROOT, "su", 06755, NULL);
	CHECK(n && (((struct fuse_entry_out *)(void *)a.at)->attr.mode & 07777) == 0755);
	for (uint32_t mode = 02755; mode <= 06755; mode += 02000)
		CHECK(rig_setattr(&g, &a, n,
				  (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = mode}) ==
		      -EPERM);
	CHECK(rig_setattr(&g, &a, n,
			  (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 01711}) == 0);
	struct fuse_setxattr_in x = {.size = 1};
	CHECK(rig_ask(&g, &a, FUSE_SETXATTR, n, &x, FUSE_COMPAT_SETXATTR_IN_SIZE,
		      "security.capability\0x", 21) == -EOPNOTSUPP);
	CHECK(rig_ask(&g, &a, FUSE_SETXATTR, n, &x, FUSE_COMPAT_SETXATTR_IN_SIZE, "trusted.x\0x",
		      11) == -EOPNOTSUPP);
	rig_free(&g);
}

/* A set-user-ID program that the host has there is one no more for who writes to it. */
TEST(fuse_writes_to_no_setuid_program)
{
	struct stat st;
	char path[128];
	begin();
	rig_put(g.in, "su", "#!");
	rig_path(path, sizeof(path), g.in, "su");
	for (unsigned how = 0; how < 3; how++) {
		CHECK(!chmod(path, 06755));
		uint64_t n = rig_lookup(&g, &a, ROOT, "su");
		CHECK(rig_open(&g, &a, n, O_RDONLY, NULL) == 0 && !stat(path, &st) &&
		      st.st_mode & S_ISUID);
		if (how == 0) CHECK(rig_open(&g, &a, n, O_WRONLY, NULL) == 0);
		if (how == 1) CHECK(rig_create(&g, &a, ROOT, "su", 0755, NULL) == n);
		if (how == 2)
			CHECK(rig_setattr(&g, &a, n,
					  (struct fuse_setattr_in){.valid = FATTR_SIZE,
								   .size = 1}) == 0);
		CHECK(!stat(path, &st) && (st.st_mode & 07777) == 0755);
	}
	rig_free(&g);
}

/* The server's own memory has a name in /proc. */
TEST(fuse_knows_no_proc)
{
	struct fuse_scratch *s = fuse_scratch_new();
	struct fuse *f;
	struct err e;
	int proc = open("/proc", O_PATH | O_DIRECTORY);
	CHECK(!fuse_is_data(proc));
	CHECK(fuse_new(&f, proc, &(struct fuse_opts){.self = "/proc/self/fd/"}, &e) == -EACCES);
	g.s = s;
	int root = open("/", O_PATH | O_DIRECTORY);
	CHECK(fuse_new(&g.f, root, &(struct fuse_opts){.self = "/proc/self/fd/", .readonly = true},
		       &e) == 0);
	rig_init(&g, &a);
	CHECK(rig_lookup(&g, &a, ROOT, "usr") && !rig_lookup(&g, &a, ROOT, "proc") &&
	      a.error == -EACCES);
	fuse_free(g.f);
	fuse_scratch_free(s);
}

TEST(fuse_readonly)
{
	static const uint32_t changes[] = {
		FUSE_SETATTR,	FUSE_SYMLINK,	      FUSE_MKNOD,	FUSE_MKDIR,
		FUSE_UNLINK,	FUSE_RMDIR,	      FUSE_RENAME,	FUSE_LINK,
		FUSE_WRITE,	FUSE_SETXATTR,	      FUSE_CREATE,	FUSE_RENAME2,
		FUSE_FALLOCATE, FUSE_COPY_FILE_RANGE, FUSE_REMOVEXATTR, FUSE_TMPFILE};
	char zero[128] = {0};
	uint64_t fh = 0;
	rig_new(&g, &a, (struct fuse_opts){.readonly = true});
	rig_put(g.in, "x", "text");
	uint64_t n = rig_lookup(&g, &a, ROOT, "x");
	for (unsigned i = 0; i < COUNT(changes); i++)
		CHECK(rig_ask(&g, &a, changes[i], n, zero, sizeof(zero), NULL, 0) == -EROFS);
	CHECK(rig_open(&g, &a, n, O_RDWR, NULL) == -EROFS &&
	      rig_open(&g, &a, n, O_WRONLY, NULL) == -EROFS);
	CHECK(rig_open(&g, &a, n, O_RDONLY | O_TRUNC, NULL) == -EROFS);
	CHECK(rig_open(&g, &a, n, O_RDONLY, &fh) == 0 && rig_read(&g, &a, fh, 0, 9) == 0 &&
	      a.len == 4);
	struct fuse_access_in w = {.mask = W_OK};
	CHECK(rig_ask(&g, &a, FUSE_ACCESS, n, &w, sizeof(w), NULL, 0) == -EROFS);
	rig_free(&g);
}

static unsigned list(uint64_t fh, uint32_t op, uint32_t size, unsigned *found)
{
	struct fuse_read_in in = {.fh = fh, .size = size};
	unsigned n = 0;
	while (!rig_ask(&g, &a, op, ROOT, &in, sizeof(in), NULL, 0) && a.len)
		for (uint32_t at = 0; at < a.len;) {
			struct fuse_entry_out *e = (void *)(a.at + at);
			struct fuse_dirent *d =
				op == FUSE_READDIRPLUS ? (void *)(e + 1) : (void *)e;
			if (op == FUSE_READDIRPLUS) *found += e->nodeid != 0;
			in.offset = d->off;
			n++;
			at += (uint32_t)((char *)d - (a.at + at)) + (uint32_t)FUSE_DIRENT_SIZE(d);
		}
	return n;
}

TEST(fuse_lists)
{
	char name[32];
	unsigned found = 0;
	struct fuse_open_in in = {0};
	begin();
	for (unsigned i = 0; i < 500; i++) {
		(void)snprintf(name, sizeof(name), "%0*u", 1 + (int)(i % 20), i);
		rig_put(g.in, name, "");
	}
	CHECK(rig_ask(&g, &a, FUSE_OPENDIR, ROOT, &in, sizeof(in), NULL, 0) == 0);
	uint64_t fh = ((struct fuse_open_out *)(void *)a.at)->fh;
	unsigned all = list(fh, FUSE_READDIR, 4096, &found);
	CHECK(all >= 480 && all <= 502);
	CHECK(list(fh, FUSE_READDIR, 300, &found) == all &&
	      list(fh, FUSE_READDIR, 60000, &found) == all);
	CHECK(list(fh, FUSE_READDIRPLUS, 4096, &found) == all && found == all - 2);
	struct fuse_read_in tiny = {.fh = fh, .size = 8};
	CHECK(rig_ask(&g, &a, FUSE_READDIR, ROOT, &tiny, sizeof(tiny), NULL, 0) == -EINVAL);
	CHECK(rig_read(&g, &a, fh, 0, 9) == -EBADF); /* a folder is no file */
	rig_free(&g);
}

/* With few descriptors files are put away and found again, unless somebody has replaced them. */
TEST(fuse_fds_are_few)
{
	static uint64_t n[400];
	char name[32], path[128], other[128];
	struct fuse_getattr_in get = {0};
	unsigned good = 0;
	rig_new(&g, &a, (struct fuse_opts){.fds = 300});
	for (unsigned i = 0; i < 400; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		rig_put(g.in, name, name);
		n[i] = rig_lookup(&g, &a, ROOT, name);
	}
	CHECK(g.f->nfds <= g.f->max_fds && g.f->max_fds < 100);
	for (unsigned i = 0; i < 400; i++)
		good += !rig_ask(&g, &a, FUSE_GETATTR, n[i], &get, sizeof(get), NULL, 0);
	CHECK(good == 400);
	rig_path(path, sizeof(path), g.in, "f0");
	rig_path(other, sizeof(other), g.in, "f1");
	CHECK(!rename(path, other) && !symlink("/etc/passwd", path));
	good = 0;
	for (unsigned i = 399; i > 1; i--) /* f0 and f1 go out */
		good += !rig_open(&g, &a, n[i], O_RDONLY, NULL);
	CHECK(good == g.f->max_handles);
	CHECK(rig_ask(&g, &a, FUSE_GETATTR, n[0], &get, sizeof(get), NULL, 0) == -ESTALE);
	CHECK(rig_ask(&g, &a, FUSE_GETATTR, n[1], &get, sizeof(get), NULL, 0) == -ESTALE);
	CHECK(rig_open(&g, &a, n[0], O_RDONLY, NULL) == -ESTALE);
	/* What the guest itself renames is followed. */
	struct fuse_rename_in to = {.newdir = ROOT};
	CHECK(rig_ask(&g, &a, FUSE_RENAME, ROOT, &to, sizeof(to), "f200\0moved", 11) == 0);
	CHECK(rig_name(&g, &a, FUSE_UNLINK, ROOT, "f201") == 0);
	for (unsigned i = 2; i < 200; i++)
		(void)rig_ask(&g, &a, FUSE_GETATTR, n[i], &get, sizeof(get), NULL, 0);
	CHECK(rig_ask(&g, &a, FUSE_GETATTR, n[200], &get, sizeof(get), NULL, 0) == 0);
	CHECK(rig_ask(&g, &a, FUSE_GETATTR, n[201], &get, sizeof(get), NULL, 0) == 0);
	rig_free(&g);
}

static int lock(struct rig_req *r, uint32_t op, uint64_t node, uint64_t fh, uint64_t owner,
		uint32_t type, uint32_t flags, struct answer *to)
{
	struct fuse_lk_in in = {
		.fh = fh, .owner = owner, .lk = {0, INT64_MAX, type, 1}, .lk_flags = flags};
	rig_begin(&g, r, to, op, node, &in, sizeof(in), NULL, 0);
	return r->done ? to->error : 2;
}

static bool settles(struct rig_req *r, int error)
{
	while (!__atomic_load_n(&r->done, __ATOMIC_ACQUIRE)) (void)usleep(1000);
	return r->a->error == error;
}

TEST(fuse_locks_wait)
{
	static struct rig_req r1, r2;
	static struct answer w;
	uint64_t fh = 0;
	begin();
	uint64_t n = rig_create(&g, &a, ROOT, "x", 0644, &fh);
	struct fuse_getattr_in get = {0};
	const struct fuse_attr_out *told = (void *)a.at;
	struct fuse_flush_in close1 = {.fh = fh, .lock_owner = 1};
	CHECK(lock(&r1, FUSE_SETLK, n, fh, 1, F_WRLCK, 0, &a) == 0);
	CHECK(rig_ask(&g, &a, FUSE_GETATTR, n, &get, sizeof(get), NULL, 0) == 0 &&
	      !told->attr_valid);
	CHECK(lock(&r1, FUSE_SETLK, n, fh, 2, F_RDLCK, 0, &a) == -EAGAIN);
	CHECK(lock(&r1, FUSE_GETLK, n, fh, 2, F_RDLCK, 0, &a) == 0);
	CHECK(((struct fuse_lk_out *)(void *)a.at)->lk.type == F_WRLCK);
	CHECK(lock(&r2, FUSE_SETLKW, n, fh, 2, F_RDLCK, 0, &w) ==
	      2); /* waits, and no thread with it */
	CHECK(rig_ask(&g, &a, FUSE_FLUSH, n, &close1, sizeof(close1), NULL, 0) == 0);
	CHECK(settles(&r2, 0));
	CHECK(lock(&r2, FUSE_SETLKW, n, fh, 1, F_WRLCK, 0, &w) == 2);
	struct fuse_interrupt_in stop = {.unique = r2.h.unique};
	CHECK(rig_ask(&g, &a, FUSE_INTERRUPT, 0, &stop, sizeof(stop), NULL, 0) == 1 &&
	      settles(&r2, -EINTR));
	CHECK(lock(&r2, FUSE_SETLKW, n, fh, 1, F_WRLCK, 0, &w) == 2);
	fuse_reset(g.f);
	CHECK(settles(&r2, -EINTR) && rig_read(&g, &a, fh, 0, 1) == -EBADF);
	rig_free(&g);
}

/* What the guest was told before it shared a file with others is out of date when it has its lock.
 */
TEST(fuse_first_lock_outlives_beliefs)
{
	static struct rig_req r;
	static struct answer w;
	uint64_t fh = 0;
	struct fuse_getattr_in get = {0};
	const struct fuse_attr_out *told = (void *)a.at;
	begin();
	uint64_t n = rig_create(&g, &a, ROOT, "x", 0644, &fh), t0 = fuse_now();
	CHECK(rig_ask(&g, &a, FUSE_GETATTR, n, &get, sizeof(get), NULL, 0) == 0);
	CHECK(told->attr_valid == 1);
	(void)lock(&r, FUSE_SETLK, n, fh, 1, F_WRLCK, 0, &w);
	CHECK(settles(&r, 0) && fuse_now() - t0 >= 1000000000);
	CHECK(rig_ask(&g, &a, FUSE_GETATTR, n, &get, sizeof(get), NULL, 0) == 0 &&
	      !told->attr_valid);
	CHECK(rig_lookup(&g, &a, ROOT, "x") &&
	      !((struct fuse_entry_out *)(void *)a.at)->attr_valid);
	CHECK(lock(&r, FUSE_SETLK, n, fh, 1, F_UNLCK, 0, &w) == 0);
	CHECK(lock(&r, FUSE_SETLK, n, fh, 1, F_WRLCK, 0, &w) == 0);
	rig_free(&g);
}

TEST(fuse_flock_is_the_handles)
{
	static struct rig_req r;
	static struct answer w;
	uint64_t fh = 0, other = 0;
	begin();
	uint64_t n = rig_create(&g, &a, ROOT, "x", 0644, &fh);
	CHECK(rig_open(&g, &a, n, O_RDONLY, &other) == 0);
	CHECK(lock(&r, FUSE_SETLK, n, fh, 1, F_WRLCK, FUSE_LK_FLOCK, &w) == 0);
	CHECK(lock(&r, FUSE_SETLK, n, other, 1, F_RDLCK, FUSE_LK_FLOCK, &w) == -EAGAIN);
	CHECK(lock(&r, FUSE_SETLKW, n, other, 1, F_RDLCK, FUSE_LK_FLOCK, &w) == 2);
	struct fuse_release_in rel = {.fh = fh};
	CHECK(rig_ask(&g, &a, FUSE_RELEASE, n, &rel, sizeof(rel), NULL, 0) == 0 && settles(&r, 0));
	rig_free(&g);
}

/* While the host renames folders to and fro, between in and out of what is shared too, whatever is
 * looked up, made or opened is inside, or the folder that was inside when it was found. */
struct racer {
	char one[128], two[128], away[128];
	volatile int stop;
};

static void *race(void *ctx)
{
	struct racer *r = ctx;
	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		(void)!rename(r->one, r->away);
		(void)!symlink(r->two, r->one);
		(void)!unlink(r->one);
		(void)!rename(r->away, r->one);
	}
	return NULL;
}

TEST(fuse_escape_by_race)
{
	static struct racer r;
	pthread_t t;
	unsigned found = 0;
	begin();
	r.stop = 0;
	rig_path(r.one, sizeof(r.one), g.in, "dir");
	rig_path(r.away, sizeof(r.away), g.in, "away");
	(void)snprintf(r.two, sizeof(r.two), "%s", g.top);
	CHECK(!mkdir(r.one, 0755));
	rig_put(r.one, "secret", "");
	CHECK(!pthread_create(&t, NULL, race, &r));
	for (unsigned i = 0; i < 20000 || found < 10; i++) {
		uint64_t dir = rig_lookup(&g, &a, ROOT, "dir"), n, fh = 0;
		if (!dir || !(n = rig_lookup(&g, &a, dir, "secret"))) {
			(void)sched_yield();
			continue;
		}
		found++;
		CHECK(((struct fuse_entry_out *)(void *)a.at)->attr.size ==
		      0); /* not the one outside */
		if (i % 16 || rig_open(&g, &a, n, O_RDONLY, &fh)) continue;
		CHECK(rig_read(&g, &a, fh, 0, 9) == 0 && a.len == 0);
		struct fuse_release_in rel = {.fh = fh};
		(void)rig_ask(&g, &a, FUSE_RELEASE, n, &rel, sizeof(rel), NULL, 0);
	}
	__atomic_store_n(&r.stop, 1, __ATOMIC_RELAXED);
	(void)pthread_join(t, NULL);
	rig_free(&g);
}

TEST(fuse_garbage)
{
	static char zero[4096];
	begin();
	for (uint32_t op = 0; op < 80; op++) {
		int r = rig_ask(&g, &a, op, 0xdeadbeef00000009, zero, op % 50, NULL, 0);
		CHECK(r < 0 || r == 1 || op == FUSE_DESTROY || op == FUSE_SYNCFS ||
		      op == FUSE_INIT || op == FUSE_RELEASE || op == FUSE_RELEASEDIR);
	}
	CHECK(rig_ask(&g, &a, FUSE_IOCTL, ROOT, zero, 100, NULL, 0) == -ENOSYS);
	CHECK(rig_ask(&g, &a, FUSE_POLL, ROOT, zero, 100, NULL, 0) == -ENOSYS);
	struct fuse_setattr_in big = {.valid = FATTR_SIZE, .size = UINT64_MAX};
	uint64_t n = rig_create(&g, &a, ROOT, "x", 0644, NULL);
	CHECK(rig_setattr(&g, &a, n, big) == -EFBIG);
	rig_free(&g);
}

TEST(fuse_xattrs)
{
	struct fuse_setxattr_in x = {.size = 3};
	struct fuse_getxattr_in get = {.size = 100}, ask = {0};
	begin();
	uint64_t n = rig_create(&g, &a, ROOT, "x", 0644, NULL);
	int r = rig_ask(&g, &a, FUSE_SETXATTR, n, &x, FUSE_COMPAT_SETXATTR_IN_SIZE, "user.a\0abc",
			10);
	if (r == 0) { /* /tmp may have none */
		CHECK(rig_ask(&g, &a, FUSE_GETXATTR, n, &get, sizeof(get), "user.a", 7) == 0 &&
		      a.len == 3);
		CHECK(rig_ask(&g, &a, FUSE_GETXATTR, n, &ask, sizeof(ask), "user.a", 7) == 0 &&
		      a.len == 8);
		CHECK(rig_ask(&g, &a, FUSE_LISTXATTR, n, &get, sizeof(get), NULL, 0) == 0 &&
		      a.len == 7);
		get.size = 2;
		CHECK(rig_ask(&g, &a, FUSE_GETXATTR, n, &get, sizeof(get), "user.a", 7) == -ERANGE);
		CHECK(rig_name(&g, &a, FUSE_REMOVEXATTR, n, "user.a") == 0);
	}
	x.size = 1000; /* more than is there */
	CHECK(rig_ask(&g, &a, FUSE_SETXATTR, n, &x, FUSE_COMPAT_SETXATTR_IN_SIZE, "user.a\0abc",
		      10) == -EINVAL);
	rig_free(&g);
}

/* Many threads in one folder, in one another's way, while it is reset now and then. */
static void *trample(void *ctx)
{
	static _Thread_local struct answer own;
	struct rig mine = g;
	char name[8], both[16];
	mine.s = fuse_scratch_new();
	for (unsigned i = 0; i < 400; i++) {
		uint64_t fh = 0, n;
		unsigned seed = i * 7 + (unsigned)(uintptr_t)ctx * 13;
		struct fuse_rename_in to = {.newdir = ROOT};
		struct fuse_forget_in all = {.nlookup = 3};
		(void)snprintf(name, sizeof(name), "f%u", seed % 5);
		int len = snprintf(both, sizeof(both), "f%u%cf%u", seed % 5, 0, seed % 3) + 1;
		n = rig_create(&mine, &own, ROOT, name, 0644, &fh);
		if (n) (void)rig_write(&mine, &own, fh, 0, "x");
		(void)rig_ask(&mine, &own, FUSE_RENAME, ROOT, &to, sizeof(to), both, (size_t)len);
		(void)rig_lookup(&mine, &own, ROOT, name);
		(void)rig_name(&mine, &own, FUSE_UNLINK, ROOT, name);
		struct fuse_release_in rel = {.fh = fh};
		(void)rig_ask(&mine, &own, FUSE_RELEASE, n, &rel, sizeof(rel), NULL, 0);
		(void)rig_ask(&mine, &own, FUSE_FORGET, n, &all, sizeof(all), NULL, 0);
		if (ctx == NULL && i % 50 == 0) fuse_reset(g.f);
	}
	fuse_scratch_free(mine.s);
	return NULL;
}

TEST(fuse_serves_many_at_once)
{
	pthread_t t[4];
	rig_new(&g, &a, (struct fuse_opts){.fds = 300});
	for (uintptr_t i = 0; i < 4; i++) CHECK(!pthread_create(&t[i], NULL, trample, (void *)i));
	for (unsigned i = 0; i < 4; i++) (void)pthread_join(t[i], NULL);
	fuse_reset(g.f);
	CHECK(g.f->ninodes == 1 && !g.f->nhandles && !g.f->nfds);
	rig_free(&g);
}

/* ---- saved and loaded */
static struct fuse_lost lost;

/* Into a new server over the same folder, as another process would have it. */
static int reborn(struct buf *b)
{
	const struct fuse_opts o = {.ids = !geteuid(), .self = "/proc/self/fd/"};
	fuse_free(g.f);
	rig_serve(&g, &o);
	fuse_pause(g.f);
	b->pos = 0;
	int r = fuse_load(g.f, b, &lost);
	fuse_resume(g.f);
	return r;
}
static void saved(struct buf *b)
{
	b->len = 0;
	fuse_pause(g.f);
	fuse_save(g.f, b);
	fuse_resume(g.f);
}
static int getattr(uint64_t n)
{
	struct fuse_getattr_in get = {0};
	return rig_ask(&g, &a, FUSE_GETATTR, n, &get, sizeof(get), NULL, 0);
}
static uint64_t mkdir_in(uint64_t dir, const char *name)
{
	struct fuse_mkdir_in in = {.mode = 0755};
	CHECK(!rig_ask(&g, &a, FUSE_MKDIR, dir, &in, sizeof(in), name, strlen(name) + 1));
	return ((struct fuse_entry_out *)(void *)a.at)->nodeid;
}
static void host(const char *from, const char *to)
{
	char x[160], y[160];
	rig_path(x, sizeof(x), g.in, from);
	if (to) rig_path(y, sizeof(y), g.in, to);
	CHECK(to ? !rename(x, y) : !remove(x));
}

TEST(fuse_state_comes_back_with_numbers_and_handles)
{
	auto_buf struct buf b = {0}, again = {0};
	uint64_t fh = 0, gone = 0;
	begin();
	uint64_t d = mkdir_in(ROOT, "d"), e = mkdir_in(d, "e");
	uint64_t n = rig_create(&g, &a, e, "file", 0644, &fh);
	CHECK(rig_write(&g, &a, fh, 0, "hello") == 0);
	(void)rig_create(&g, &a, ROOT, "gone", 0644, &gone);
	CHECK(rig_name(&g, &a, FUSE_UNLINK, ROOT, "gone") == 0);
	saved(&b);
	CHECK(rig_write(&g, &a, fh, 5, "!") == 0); /* it goes on itself */
	CHECK(reborn(&b) == 0 && lost.files == 1 && !*lost.name && !lost.elsewhere);
	saved(&again); /* before anything is asked for */
	CHECK(getattr(n) == 0 && getattr(e) == 0 && getattr(d) == 0 && getattr(ROOT) == 0);
	CHECK(rig_read(&g, &a, fh, 0, 9) == 0 && a.len == 6 && !memcmp(a.at, "hello!", 6));
	CHECK(rig_write(&g, &a, fh, 6, "?") == 0);
	CHECK(rig_read(&g, &a, gone, 0, 1) == -EBADF);
	CHECK(rig_lookup(&g, &a, e, "file") == n);
	struct fuse_release_in rel = {.fh = gone};
	CHECK(rig_ask(&g, &a, FUSE_RELEASE, n, &rel, sizeof(rel), NULL, 0) == 0);
	CHECK(rig_create(&g, &a, ROOT, "new", 0644, NULL) > n);
	CHECK(reborn(&again) == 0 && getattr(n) == 0);
	rig_free(&g);
}

TEST(fuse_state_finds_the_same_files_or_none)
{
	auto_buf struct buf b = {0};
	uint64_t fh[4] = {0};
	begin();
	uint64_t d = mkdir_in(ROOT, "d");
	uint64_t stays = rig_create(&g, &a, d, "stays", 0644, &fh[0]);
	uint64_t moved = rig_create(&g, &a, d, "moved", 0644, &fh[1]);
	uint64_t link = rig_create(&g, &a, d, "link", 0644, &fh[2]);
	uint64_t other = rig_create(&g, &a, d, "other", 0644, &fh[3]);
	saved(&b);
	host("d/moved", "moved");
	rig_put(g.in, "fresh", "fresh");
	host("fresh", "d/other");
	host("d/link", NULL);
	CHECK(!symlinkat("../../secret", AT_FDCWD, (rig_path(a.at, 200, g.in, "d/link"), a.at)));
	CHECK(reborn(&b) == 0 && lost.files == 3 && *lost.name);
	CHECK(getattr(stays) == 0 && rig_read(&g, &a, fh[0], 0, 1) == 0);
	CHECK(getattr(moved) == -ESTALE && rig_read(&g, &a, fh[1], 0, 1) == -EBADF);
	CHECK(getattr(link) == -ESTALE && rig_read(&g, &a, fh[2], 0, 1) == -EBADF);
	CHECK(getattr(other) == -ESTALE && rig_read(&g, &a, fh[3], 0, 1) == -EBADF);
	CHECK(rig_lookup(&g, &a, d, "other") > other); /* the guest asks again, and gets the new */
	rig_free(&g);
}

TEST(fuse_state_in_another_folder_goes_by_names)
{
	auto_buf struct buf b = {0};
	uint64_t fh = 0, late = 0;
	char cp[400];
	begin();
	uint64_t d = mkdir_in(ROOT, "d");
	uint64_t n = rig_create(&g, &a, d, "file", 0644, &fh);
	uint64_t m = rig_create(&g, &a, d, "late", 0644, &late);
	CHECK(rig_write(&g, &a, fh, 0, "here") == 0);
	saved(&b);
	(void)snprintf(cp, sizeof(cp), "cp -a %s %s2 && rm %s2/d/late", g.in, g.in, g.in);
	CHECK(!system(cp));
	(void)strcat(g.in, "2");
	CHECK(reborn(&b) == 0 && lost.elsewhere && lost.files == 1 && !strcmp(lost.name, "late"));
	CHECK(getattr(n) == 0 && rig_lookup(&g, &a, ROOT, "d") == d);
	CHECK(rig_read(&g, &a, fh, 0, 9) == 0 && a.len == 4 && !memcmp(a.at, "here", 4));
	CHECK(getattr(m) == -ESTALE);
	rig_free(&g);
}

/* No bytes may do harm, and what is refused leaves a server that works. */
TEST(fuse_state_cut_or_made_up)
{
	auto_buf struct buf b = {0};
	uint64_t fh = 0, seed = 88172645463325252u;
	begin();
	uint64_t d = mkdir_in(ROOT, "d");
	(void)rig_create(&g, &a, d, "file", 0644, &fh);
	saved(&b);
	size_t whole = b.len;
	for (b.len = 0; b.len < whole; b.len++) CHECK(reborn(&b) < 0);
	for (unsigned k = 0; k < 3000; k++) {
		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		char *at = &b.at[seed % whole], was = *at;
		b.pos = 0;
		*at ^= (char)(seed >> 32 | 1);
		fuse_pause(g.f);
		(void)fuse_load(g.f, &b, &lost);
		fuse_resume(g.f);
		(void)getattr(ROOT);
		(void)getattr(d);
		(void)rig_read(&g, &a, fh, 0, 1);
		if (k % 3) *at = was;
	}
	rig_init(&g, &a);
	CHECK(getattr(ROOT) == 0 && rig_lookup(&g, &a, ROOT, "d"));
	rig_free(&g);
}

static int lock_as(uint64_t node, uint64_t fh, uint64_t owner, uint32_t type, uint64_t start,
		   uint64_t end, uint32_t flags)
{
	struct fuse_lk_in in = {
		.fh = fh, .owner = owner, .lk = {start, end, type, 0}, .lk_flags = flags};
	return rig_ask(&g, &a, FUSE_SETLK, node, &in, sizeof(in), NULL, 0);
}
static bool is_locked(const char *name, off_t at)
{
	char path[128];
	rig_path(path, sizeof(path), g.in, name);
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
	int fd = open(path, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0 && !fcntl(fd, F_OFD_GETLK, &l) && !close(fd));
	return l.l_type != F_UNLCK;
}

TEST(fuse_state_takes_its_locks_again)
{
	auto_buf struct buf b = {0};
	uint64_t fh = 0;
	begin();
	uint64_t n = rig_create(&g, &a, ROOT, "file", 0644, &fh);
	CHECK(lock_as(n, fh, 5, F_WRLCK, 10, 29, 0) == 0);
	CHECK(lock_as(n, fh, 5, F_UNLCK, 15, 19, 0) == 0);
	CHECK(lock_as(n, fh, 7, F_WRLCK, 15, 16, 0) == 0);
	CHECK(lock_as(n, fh, 7, F_WRLCK, 17, 17, 0) == 0);
	CHECK(lock_as(n, fh, 7, F_UNLCK, 16, 16, 0) == 0);
	CHECK(lock_as(n, fh, 0, F_WRLCK, 0, 0, FUSE_LK_FLOCK) == 0);
	saved(&b);
	CHECK(reborn(&b) == 0);
	for (unsigned k = 0; k < 500 && !is_locked("file", 17); k++) (void)usleep(10000);
	static const bool want[] = {true, true, false, true, false, true, false};
	static const off_t place[] = {10, 14, 16, 17, 18, 29, 30};
	for (unsigned k = 0; k < 7; k++) CHECK(is_locked("file", place[k]) == want[k]);
	CHECK(lock_as(n, fh, 7, F_WRLCK, 12, 12, 0) == -EAGAIN);
	CHECK(lock_as(n, fh, 5, F_UNLCK, 0, INT64_MAX, 0) == 0);
	CHECK(!is_locked("file", 10) && is_locked("file", 15));
	rig_free(&g);
}
