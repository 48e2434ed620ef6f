#ifndef FS_IOV_H
#define FS_IOV_H
#include <stddef.h>
#include <sys/uio.h>
/* Bytes scattered over segments, by their offset in the whole. Copies return how many bytes there
 * were, fewer than n at the end. */
size_t iov_get(const struct iovec *v, int n, size_t off, void *to, size_t len);
size_t iov_put(const struct iovec *v, int n, size_t off, const void *from, size_t len);
/* At most len bytes from off on as segments into out[max]: how many segments. */
int iov_slice(const struct iovec *v, int n, size_t off, size_t len, struct iovec *out, int max);
#endif
