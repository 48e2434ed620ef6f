/* Any bytes as a container's layer, compressed or not, or as the archive that carries an image:
 * nothing appears outside the folder, and what is there stays; devices too, if this is root. */
#include "base/file.h"
#include "base/own.h"
#include "store/tree.h"
#include "store/unzip.h"
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static char top[64];
static int outside = -1;

static void gone(void) { (void)dir_remove(top, NULL); }
static unsigned things(int fd)
{
	struct stat st;
	must(!fstat(fd, &st));
	return (unsigned)st.st_nlink;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const formats[] = {"tar", "tar+gzip", "tar+zstd", "tar"};
	char in[96], digest[BLOB_DIGEST];
	struct unzip *u;
	unsigned skipped;
	if (!n || n > 1 << 20) return 0;
	if (outside < 0) {
		(void)snprintf(top, sizeof(top), "/dev/shm/lodge-fuzz.XXXXXX");
		must(mkdtemp(top));
		(void)atexit(gone);
		outside = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	(void)snprintf(in, sizeof(in), "%s/in", top);
	must(!mkdir(in, 0755));
	auto_fd int folder = open(in, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(!symlinkat("..", folder, "up"));
	auto_fd int tar = memfd_create("tar", MFD_CLOEXEC);
	must(write(tar, p + 1, n - 1) == (ssize_t)n - 1);
	must(!unzip_open(&u, tar, formats[p[0] & 3], NULL));
	if (p[0] & 4)
		(void)tree_unpack_plain(u, folder, NULL);
	else
		(void)tree_unpack_layer(u, folder, &skipped, NULL);
	unzip_digest(u, digest);
	unzip_close(u);
	must(things(outside) == 3 && faccessat(outside, "bad", F_OK, AT_SYMLINK_NOFOLLOW));
	(void)fchmod(folder, 0755);
	must(!dir_remove(in, NULL));
	return 0;
}
