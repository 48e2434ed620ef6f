/* Any texts as the layout of an image: up to three, divided by NULs. $1 and $2 in one are the
 * digest of the second and third, which are files of those names; p[0] says whether the first is
 * index.json or manifest.json. */
#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "store/blob.h"
#include "store/oci_impl.h"
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char top[64];
static int folder = -1;

static void gone(void) { (void)dir_remove(top, NULL); }
static void file_put(const char *name, const char *text, size_t n)
{
	auto_fd int fd = openat(folder, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
	must(fd >= 0 && write(fd, text, n) == (ssize_t)n);
}
static void begin(void)
{
	(void)snprintf(top, sizeof(top), "/dev/shm/lodge-fuzz.XXXXXX");
	must(mkdtemp(top));
	(void)atexit(gone);
	folder = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(!mkdirat(folder, "blobs", 0755) && !mkdirat(folder, "blobs/sha256", 0755));
}
/* The last one first: those before it name it. */
static void parts(const char *p, size_t n, char digest[3][BLOB_DIGEST], unsigned depth,
		  struct buf *first)
{
	const char *nul = depth < 2 ? memchr(p, 0, n) : NULL;
	size_t len = nul ? (size_t)(nul - p) : n;
	struct buf rest = {0};
	if (nul) parts(nul + 1, n - len - 1, digest, depth + 1, &rest);
	buf_done(&rest);
	for (size_t k = 0; k < len; k++) {
		unsigned which = p[k] == '$' && k + 1 < len ? (unsigned)(p[k + 1] - '0') : 0;
		if (which >= 1 && which <= 2 && which > depth)
			buf_fmt(first, "%s", digest[which]), k++;
		else
			buf_add(first, &p[k], 1);
	}
	char name[96];
	blob_digest_of(first->at ? first->at : "", first->len, digest[depth]);
	(void)snprintf(name, sizeof(name), "blobs/sha256/%s", digest[depth]);
	file_put(name, first->at ? first->at : "", first->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const cpus[] = {"amd64", NULL};
	char digest[3][BLOB_DIGEST] = {"", "", ""}, name[96];
	struct oci_found f = {0};
	struct buf first = {0};
	if (n < 2 || n > 1 << 16) return 0;
	if (folder < 0) begin();
	f.folder = folder;
	parts((const char *)p + 1, n - 1, digest, 0, &first);
	(void)unlinkat(folder, "oci-layout", 0);
	(void)unlinkat(folder, "manifest.json", 0);
	if (p[0] & 1) file_put("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", 30);
	file_put(p[0] & 1 ? "index.json" : "manifest.json", first.at ? first.at : "", first.len);
	(void)oci_look(&f, cpus, NULL);
	oci_found_done(&f);
	for (unsigned k = 0; k < 3; k++) {
		(void)snprintf(name, sizeof(name), "blobs/sha256/%s", digest[k]);
		if (*digest[k]) (void)unlinkat(folder, name, 0);
	}
	buf_done(&first);
	return 0;
}
