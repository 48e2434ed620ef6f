/* Any bytes as the tar that a guest sends: nothing appears outside the folder, and what is there
 * stays. Beside it a folder that links lead to. */
#include "base/own.h"
#include "store/tree.h"
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static char top[64];
static int outside = -1;

static int drop(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(path);
}
static void clear(void)
{
	char path[96];
	(void)snprintf(path, sizeof(path), "%s/in", top);
	(void)nftw(path, drop, 16, FTW_DEPTH | FTW_PHYS);
}
static void gone(void) { (void)nftw(top, drop, 16, FTW_DEPTH | FTW_PHYS); }

static unsigned things(int fd)
{
	struct stat st;
	must(!fstat(fd, &st));
	return (unsigned)st.st_nlink;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct stat st;
	if (!n || n > 1 << 20) return 0;
	if (outside < 0) {
		(void)snprintf(top, sizeof(top), "/dev/shm/lodge-fuzz.XXXXXX");
		must(mkdtemp(top));
		(void)atexit(gone);
		outside = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	must(!mkdirat(outside, "in", 0755));
	auto_fd int folder = openat(outside, "in", O_PATH | O_DIRECTORY | O_CLOEXEC);
	must(!symlinkat("..", folder, "up"));
	auto_fd int tar = memfd_create("tar", MFD_CLOEXEC);
	must(write(tar, p + 1, n - 1) == (ssize_t)n - 1 && !lseek(tar, 0, SEEK_SET));
	struct tree_unpack t = {.folder = folder, .top = p[0] & 1 ? "new" : ""};
	(void)tree_unpack(tar, &t, NULL);
	must(things(outside) == 3 && faccessat(outside, "bad", F_OK, AT_SYMLINK_NOFOLLOW));
	must(!fstat(outside, &st) && S_ISDIR(st.st_mode));
	clear();
	return 0;
}
