/* A table of inodes by their numbers, all of one file system. */
#include "base/own.h"
#include "base/types.h"
#include "zone/files.h"
#include <string.h>

struct link {
	uint64_t ino;
	char *path; /* NULL: free */
};
struct files_links {
	struct link *at;
	size_t n, room; /* a power of two */
};

struct files_links *files_links_new(void)
{
	struct files_links *l = calloc(1, sizeof(*l));
	must(l);
	return l;
}

void files_links_free(struct files_links *l)
{
	if (!l) return;
	for (size_t i = 0; i < l->room; i++) free(l->at[i].path);
	free(l->at);
	free(l);
}

static struct link *find(const struct files_links *l, uint64_t ino)
{
	size_t i = (size_t)((ino * 0x9e3779b97f4a7c15ull) >> 20) & (l->room - 1);
	while (l->at[i].path && l->at[i].ino != ino) i = (i + 1) & (l->room - 1);
	return &l->at[i];
}

static void grow(struct files_links *l)
{
	struct files_links more = {.room = l->room ? l->room * 2 : 64, .n = l->n};
	more.at = calloc(more.room, sizeof(*more.at));
	must(more.at);
	for (size_t i = 0; i < l->room; i++)
		if (l->at[i].path) *find(&more, l->at[i].ino) = l->at[i];
	free(l->at);
	*l = more;
}

const char *files_link(struct files_links *l, const struct stat *st, const char *path)
{
	if (l->n * 2 >= l->room) grow(l);
	struct link *k = find(l, st->st_ino);
	if (k->path) return k->path;
	k->ino = st->st_ino;
	k->path = strdup(path);
	must(k->path);
	l->n++;
	return NULL;
}
