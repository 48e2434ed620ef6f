/* Contents by digest. A blob is written to a file without a name, synced, and only then linked
 * under its digest: what a killed process had not finished, the kernel itself removes. Where
 * the file system knows no nameless files they are named .tmp.* until they are collected. */
#include "store/blob.h"
#include "base/file.h"
#include "base/own.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

enum { CHUNK = 1 << 20 };

bool blob_digest_ok(const char *hex)
{
	return strspn(hex, "0123456789abcdef") == 64 && strlen(hex) == 64;
}

void blob_hex(const unsigned char sum[32], char digest[BLOB_DIGEST])
{
	for (int i = 0; i < 32; i++) (void)snprintf(digest + 2 * i, 3, "%02x", sum[i]);
}

void blob_digest_of(const void *p, size_t n, char digest[BLOB_DIGEST])
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	must(EVP_Digest(p, n, sum, NULL, EVP_sha256(), NULL));
	blob_hex(sum, digest);
}

/* copy_file_range() cannot serve every pair of files; bytes through our hands can. */
static int copy_by_hand(int in, int out, off_t at, off_t end)
{
	auto_mem char *p = malloc(CHUNK);
	must(p);
	while (at < end) {
		size_t want = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
		ssize_t n = pread(in, p, want, at);
		if (n == 0) return 0;
		if (n > 0) n = pwrite(out, p, (size_t)n, at);
		if (n < 0 && errno != EINTR) return -errno;
		if (n > 0) at += n;
	}
	return 0;
}

static int copy_range(int in, int out, off_t at, off_t end)
{
	off_t to = at;
	while (at < end) {
		ssize_t n = copy_file_range(in, &at, out, &to, (size_t)(end - at), 0);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) return copy_by_hand(in, out, at, end);
	}
	return 0;
}

static int copy_fd(int in, int out)
{
	struct stat st;
	if (!ioctl(out, FICLONE, in)) return 0;
	if (fstat(in, &st) || ftruncate(out, st.st_size)) return -errno;
	for (off_t at = 0; at < st.st_size;) {
		off_t data = lseek(in, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO) return 0;
		if (data < 0) return copy_range(in, out, at, st.st_size);
		off_t hole = lseek(in, data, SEEK_HOLE);
		if (hole < 0) hole = st.st_size;
		int r = copy_range(in, out, data, hole);
		if (r) return r;
		at = hole;
	}
	return 0;
}

static int hash_fd(int fd, char digest[BLOB_DIGEST], uint64_t *size)
{
	auto_mem unsigned char *p = malloc(CHUNK);
	EVP_MD_CTX *h = EVP_MD_CTX_new();
	must(p && h && EVP_DigestInit_ex(h, EVP_sha256(), NULL));
	unsigned char sum[EVP_MAX_MD_SIZE];
	int r = 0;
	*size = 0;
	for (;;) {
		ssize_t n = pread(fd, p, CHUNK, (off_t)*size);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) r = -errno;
		if (n <= 0) break;
		must(EVP_DigestUpdate(h, p, (size_t)n));
		*size += (uint64_t)n;
	}
	must(EVP_DigestFinal_ex(h, sum, NULL));
	EVP_MD_CTX_free(h);
	blob_hex(sum, digest);
	return r;
}

/* A file that will get a name in dir once it is whole. */
struct fresh {
	int fd;
	char tmp[4096]; /* its name until then; "": it has none */
};

static int fresh_open(struct fresh *f, const char *dir, mode_t mode)
{
	f->tmp[0] = 0;
	f->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	if (f->fd >= 0) return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) return -errno;
	if (snprintf(f->tmp, sizeof(f->tmp), "%s/.tmp.XXXXXX", dir) >= (int)sizeof(f->tmp))
		return -ENAMETOOLONG;
	f->fd = mkostemp(f->tmp, O_CLOEXEC);
	if (f->fd < 0) return -errno;
	(void)fchmod(f->fd, mode);
	return 0;
}

/* -EEXIST when path is taken. */
static int fresh_name(struct fresh *f, const char *path)
{
	char self[64];
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", f->fd);
	if (fsync(f->fd)) return -errno;
	const char *from = *f->tmp ? f->tmp : self;
	return linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) ? -errno : 0;
}

static void fresh_done(struct fresh *f)
{
	if (*f->tmp) (void)unlink(f->tmp);
	drop_fd(&f->fd);
}

static int sync_dir(const char *path)
{
	auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) ? -errno : 0;
}

/* A blob of that name and another length cannot be ours: the disk lost it. Make room. */
static void drop_damaged(const char *path, uint64_t size)
{
	struct stat st;
	if (!stat(path, &st) && (uint64_t)st.st_size != size) (void)unlink(path);
}

static char *join(const char *dir, const char *name)
{
	char *path;
	must(asprintf(&path, "%s/%s", dir, name) >= 0);
	return path;
}

static int put_fd(const char *dir, int in, char digest[BLOB_DIGEST], uint64_t *size)
{
	struct fresh f;
	auto_mem char *path = NULL;
	int r = fresh_open(&f, dir, 0444);
	if (r) return r;
	r = copy_fd(in, f.fd);
	if (!r) r = hash_fd(f.fd, digest, size);
	if (!r) {
		path = join(dir, digest);
		drop_damaged(path, *size);
		r = fresh_name(&f, path);
	}
	fresh_done(&f);
	return !r || r == -EEXIST ? sync_dir(dir) : r;
}

static int open_plain(const char *path, struct err *e)
{
	struct stat st;
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st)) return fail(e, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode)) return fail(e, -EINVAL, "%s: not a file", path);
	return give_fd(&fd);
}

int blob_digest(const char *path, char digest[BLOB_DIGEST], uint64_t *size, struct err *e)
{
	auto_fd int in = open_plain(path, e);
	if (in < 0) return in;
	int r = hash_fd(in, digest, size);
	return r ? fail(e, r, "%s: %s", path, strerror(-r)) : 0;
}

int blob_put(const char *dir, const char *path, char digest[BLOB_DIGEST], uint64_t *size,
	     struct err *e)
{
	auto_mem char *sub = join(dir, "sha256");
	auto_fd int in = open_plain(path, e);
	if (in < 0) return in;
	int r = dir_make(sub, e);
	if (r) return r;
	r = put_fd(sub, in, digest, size);
	return r ? fail(e, r, "%s: cannot copy into %s: %s", path, dir, strerror(-r)) : 0;
}

static int clone_fd(int in, int out) { return ioctl(out, FICLONE, in) ? -errno : 0; }

static int copy_to(int in, const char *dir, const char *to, int (*copy)(int in, int out))
{
	struct fresh f;
	int r = fresh_open(&f, dir, 0600);
	if (r) return r;
	r = copy(in, f.fd);
	if (!r) r = fresh_name(&f, to);
	fresh_done(&f);
	return r ? r : sync_dir(dir);
}

static int copy_by(int (*copy)(int in, int out), const char *from, const char *to, struct err *e)
{
	auto_mem char *dir = strdup(to);
	must(dir && strrchr(dir, '/'));
	*strrchr(dir, '/') = 0;
	auto_fd int in = open_plain(from, e);
	if (in < 0) return in;
	int r = copy_to(in, dir, to, copy);
	return r ? fail(e, r, "%s: cannot copy to %s: %s", from, to, strerror(-r)) : 0;
}

int blob_copy(const char *from, const char *to, struct err *e)
{
	return copy_by(copy_fd, from, to, e);
}

int blob_clone(const char *from, const char *to, struct err *e)
{
	return copy_by(clone_fd, from, to, e);
}

static bool is_kept(const char *name, char *const *keep, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(keep[i], name)) return true;
	return false;
}

/* Remove a folder's files: those that begin with .tmp. when keep is NULL, else those not kept. */
static int sweep(const char *dir, char *const *keep, size_t n, struct err *e)
{
	DIR *d = opendir(dir);
	int r = 0;
	if (!d) return errno == ENOENT ? 0 : fail(e, -errno, "%s: %s", dir, strerror(errno));
	for (struct dirent *f; !r && (f = readdir(d));) {
		bool goes = keep ? f->d_name[0] != '.' && !is_kept(f->d_name, keep, n)
				 : !strncmp(f->d_name, ".tmp.", 5);
		if (goes && unlinkat(dirfd(d), f->d_name, 0) && errno != ENOENT)
			r = fail(e, -errno, "%s/%s: %s", dir, f->d_name, strerror(errno));
	}
	(void)closedir(d);
	return r;
}

int blob_sweep(const char *dir, struct err *e) { return sweep(dir, NULL, 0, e); }

int blob_collect(const char *dir, char *const *keep, size_t n, struct err *e)
{
	static char *const nothing[1];
	auto_mem char *sub = join(dir, "sha256");
	int r = blob_sweep(sub, e);
	return r ? r : sweep(sub, keep ? keep : nothing, n, e);
}
