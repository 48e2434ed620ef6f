/* Requests lie in guest memory in pieces that mean nothing; here they are bytes again. */
#include "fs/iov.h"
#include <stdbool.h>
#include <string.h>

static bool next(const struct iovec **v, int *n, size_t *off, size_t *len, struct iovec *out)
{
	for (; *n && *off >= (*v)->iov_len; ++*v, --*n) *off -= (*v)->iov_len;
	if (!*n || !*len) return false;
	size_t have = (*v)->iov_len - *off;
	*out = (struct iovec){(char *)(*v)->iov_base + *off, have < *len ? have : *len};
	*len -= out->iov_len;
	*off += out->iov_len;
	return true;
}

size_t iov_get(const struct iovec *v, int n, size_t off, void *to, size_t len)
{
	struct iovec s;
	size_t done = 0;
	for (; next(&v, &n, &off, &len, &s); done += s.iov_len)
		memcpy((char *)to + done, s.iov_base, s.iov_len);
	return done;
}

size_t iov_put(const struct iovec *v, int n, size_t off, const void *from, size_t len)
{
	struct iovec s;
	size_t done = 0;
	for (; next(&v, &n, &off, &len, &s); done += s.iov_len)
		memcpy(s.iov_base, (const char *)from + done, s.iov_len);
	return done;
}

int iov_slice(const struct iovec *v, int n, size_t off, size_t len, struct iovec *out, int max)
{
	int count = 0;
	while (count < max && next(&v, &n, &off, &len, &out[count])) count++;
	return count;
}
