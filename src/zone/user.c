/* Who a zone's process is to be, by the zone's own /etc/passwd and /etc/group: files of strangers,
 * read inside the zone's root, a line of bounded length at a time. */
#include "zone/process.h"
#include "zone/sys.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LINES = 65536, GROUPS = 64 };

static FILE *file_open(const char *path)
{
	struct stat st;
	int fd = sys_openat2(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0,
			     RESOLVE_NO_MAGICLINKS);
	if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode)) return fdopen(fd, "r");
	if (fd >= 0) (void)close(fd);
	return NULL;
}

static bool number_of(const char *s, uint32_t *to)
{
	char *end;
	if (*s < '0' || *s > '9') return false;
	errno = 0;
	unsigned long v = strtoul(s, &end, 10);
	*to = (uint32_t)v;
	return !errno && !*end && v < UINT32_MAX;
}

/* The first n fields of a line; false: it has fewer. */
static bool fields(char *line, char **f, unsigned n)
{
	line[strcspn(line, "\n")] = 0;
	for (unsigned i = 0; i < n; i++)
		if (!(f[i] = strsep(&line, ":"))) return false;
	return true;
}

/* Its name, too, for lists of members. */
static bool passwd_find(const char *who, struct spec_user *u, char name[64])
{
	char line[2048], *f[4];
	uint32_t id, uid, gid;
	bool by_id = number_of(who, &id), found = false;
	FILE *in = file_open("/etc/passwd");
	for (unsigned i = 0; in && !found && i < LINES && fgets(line, sizeof(line), in); i++) {
		if (!fields(line, f, 4) || !number_of(f[2], &uid) || !number_of(f[3], &gid))
			continue;
		found = !strcmp(f[0], who) || (by_id && uid == id);
		if (!found) continue;
		u->uid = uid;
		u->gid = gid;
		(void)snprintf(name, 64, "%s", f[0]);
	}
	if (in) (void)fclose(in);
	if (!found && by_id) u->uid = id;
	return found || by_id;
}

static bool is_member(char *list, const char *name)
{
	for (char *m; *name && (m = strsep(&list, ","));)
		if (!strcmp(m, name)) return true;
	return false;
}

/* All groups of that member, or only the one that was asked for. */
static bool group_find(const char *group, const char *name, struct spec_user *u, uint32_t *more)
{
	char line[8192], *f[4];
	uint32_t gid;
	bool found = group && number_of(group, &u->gid);
	FILE *in = file_open("/etc/group");
	for (unsigned i = 0; in && i < LINES && fgets(line, sizeof(line), in); i++) {
		if (!fields(line, f, 4) || !number_of(f[2], &gid)) continue;
		if (group && !found && !strcmp(f[0], group)) {
			u->gid = gid;
			found = true;
		}
		if (!group && u->additional_gids.n < GROUPS && is_member(f[3], name))
			more[u->additional_gids.n++] = gid;
	}
	if (in) (void)fclose(in);
	return found || !group;
}

int user_find(const char *who, struct spec_user *u, struct arena *a, struct err *e)
{
	char *text = arena_text(a, "%s", who), *group = strchr(text, ':'), name[64] = "";
	uint32_t *more = arena_make(a, uint32_t, GROUPS);
	if (group) *group++ = 0;
	u->gid = 0;
	u->additional_gids = (struct u32s){more, 0};
	if (!passwd_find(text, u, name) && strcmp(text, "root"))
		return fail(e, -EINVAL, "user %s: the zone's /etc/passwd has none", text);
	if (!group_find(group && *group ? group : NULL, name, u, more))
		return fail(e, -EINVAL, "group %s: the zone's /etc/group has none", group);
	return 0;
}
