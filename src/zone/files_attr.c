/* Extended attributes. Two kinds of them hold ids: capabilities of a file whose user namespace's
 * root is named (linux/capability.h, struct vfs_ns_cap_data), and access lists
 * (linux/posix_acl_xattr.h). */
#include "base/own.h"
#include "base/types.h"
#include "zone/files.h"
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

enum {
	LIST_MAX = 65536,
	VALUE_MAX = 65536,
	CAP_SIZE = 24,
	CAP_ROOT = 20,
	ACL_HEAD = 4,
	ACL_ENTRY = 8
};
enum { ACL_USER = 2, ACL_GROUP = 8 };

static uint32_t get32(const unsigned char *at)
{
	uint32_t v;
	memcpy(&v, at, sizeof(v));
	return le32toh(v);
}

static void id_change(unsigned char *at, const struct files_ids *ids)
{
	uint32_t v = htole32(files_id(ids, get32(at)));
	memcpy(at, &v, sizeof(v));
}

static void acl_change(unsigned char *v, size_t n, const struct files_ids *ids)
{
	for (size_t i = ACL_HEAD; i + ACL_ENTRY <= n; i += ACL_ENTRY) {
		unsigned tag = v[i] | (unsigned)v[i + 1] << 8;
		if (tag == ACL_USER || tag == ACL_GROUP) id_change(v + i + 4, ids);
	}
}

static void value_change(const char *key, unsigned char *v, size_t n, const struct files_ids *ids)
{
	if (!strcmp(key, "security.capability") && n == CAP_SIZE) id_change(v + CAP_ROOT, ids);
	if (!strncmp(key, "system.posix_acl_", 17)) acl_change(v, n, ids);
}

int files_attr_each(int at, const char *name, const struct files_ids *ids,
		    int (*fn)(void *ctx, const char *key, const void *value, size_t n), void *ctx)
{
	char path[64 + 256];
	auto_mem char *keys = malloc(LIST_MAX);
	auto_mem unsigned char *value = malloc(VALUE_MAX);
	must(keys && value);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", at, name);
	ssize_t all = llistxattr(path, keys, LIST_MAX);
	if (all < 0) return errno == ENOTSUP ? 0 : -errno;
	for (const char *key = keys; key < keys + all; key += strlen(key) + 1) {
		ssize_t n = lgetxattr(path, key, value, VALUE_MAX);
		if (n < 0 && errno != ENODATA && errno != ENOTSUP) return -errno;
		if (n < 0) continue;
		value_change(key, value, (size_t)n, ids);
		int r = fn(ctx, key, value, (size_t)n);
		if (r) return r;
	}
	return 0;
}
