/* perf(1) takes names for code that no file holds from /tmp/perf-PID.map: a line a piece, its
 * address, size and name. Lines of each vCPU are kept here as well, so that the file can be written
 * anew without those whose code has been dropped. */
#include "engine/unitlog.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "base/title.h"
#include "engine/symbols.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

enum { VCPUS = 64, NAME_LEN = 256 };
struct unitlog {
	pthread_mutex_t lock; /* guards all that is written to */
	struct symbols *symbols;
	int map; /* -1: no profile */
	struct buf lines[VCPUS];
	FILE *dump;
	gva_t from, to; /* of dump, both included */
};

/* ---- which units ---- */
static bool hex(const char **p, gva_t *to)
{
	char *end;
	if (!**p || (!strchr("0123456789abcdefABCDEF", **p))) return false;
	*to = strtoull(*p, &end, 16);
	*p = end;
	return true;
}

static bool range_parse(struct unitlog *u, const char *text)
{
	gva_t from, to;
	if (!hex(&text, &from)) return false;
	to = from;
	if (*text == '-') {
		text++;
		if (!hex(&text, &to)) return false;
	}
	if (*text || to < from) return false;
	u->from = from;
	u->to = to;
	return true;
}

/* What follows the last colon is a range if it looks like one; else it is part of the name. */
static int dump_open(struct unitlog *u, const char *what, struct err *e)
{
	auto_mem char *path = strdup(what);
	must(path);
	char *colon = strrchr(path, ':');
	u->to = UINT64_MAX;
	if (colon && range_parse(u, colon + 1)) *colon = 0;
	u->dump = fopen(path, "we");
	return u->dump ? 0 : fail(e, -errno, "dump %s: %s", path, strerror(errno));
}

bool unitlog_wants(const struct unitlog *u, gva_t pc)
{
	return u->dump && pc >= u->from && pc <= u->to;
}

/* ---- the map ---- */
/* The name is known to all and the folder anybody's: never write through what stands there. */
static int map_open(struct unitlog *u, struct err *e)
{
	char path[64];
	(void)snprintf(path, sizeof(path), "/tmp/perf-%d.map", title_pid());
	(void)unlink(path);
	u->map = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	return u->map < 0 ? fail(e, -errno, "%s: %s", path, strerror(errno)) : 0;
}

static void map_write(struct unitlog *u, const char *at, size_t n)
{
	while (n) {
		ssize_t done = write(u->map, at, n);
		if (done < 0 && errno == EINTR) continue;
		if (done <= 0) return; /* a full disk costs names, not the guest */
		at += done;
		n -= (size_t)done;
	}
}

static void name_of(const struct unitlog *u, const struct unit_about *a, char *to)
{
	uint64_t off = 0;
	unsigned long long pc = a->pc;
	const char *name = a->user ? "" : symbols_find(u->symbols, a->pc, &off);
	if (!*name)
		(void)snprintf(to, NAME_LEN, "%s_0x%llx", a->user ? "user" : "guest", pc);
	else if (off)
		(void)snprintf(to, NAME_LEN, "%s+0x%llx", name, (unsigned long long)off);
	else
		(void)snprintf(to, NAME_LEN, "%s", name);
}

void unitlog_add(struct unitlog *u, const struct unit_about *a)
{
	char name[NAME_LEN];
	if (u->map < 0) return;
	name_of(u, a, name);
	struct buf *b = &u->lines[a->vcpu % VCPUS];
	(void)pthread_mutex_lock(&u->lock);
	size_t before = b->len;
	buf_fmt(b, "%llx %zx %s\n", (unsigned long long)(uintptr_t)a->code, a->size, name);
	map_write(u, b->at + before, b->len - before);
	(void)pthread_mutex_unlock(&u->lock);
}

void unitlog_flush(struct unitlog *u, unsigned vcpu)
{
	if (u->map < 0) return;
	(void)pthread_mutex_lock(&u->lock);
	u->lines[vcpu % VCPUS].len = 0;
	if (!ftruncate(u->map, 0))
		for (unsigned i = 0; i < VCPUS; i++) map_write(u, u->lines[i].at, u->lines[i].len);
	(void)pthread_mutex_unlock(&u->lock);
}

/* ---- texts ---- */
FILE *unitlog_begin(struct unitlog *u, const struct unit_about *a, unsigned insns)
{
	char name[NAME_LEN];
	name_of(u, a, name);
	(void)pthread_mutex_lock(&u->lock);
	(void)fprintf(u->dump, "==== unit 0x%llx %s, cpu %u: %u instructions, %zu bytes at %p\n",
		      (unsigned long long)a->pc, name, a->vcpu, insns, a->size, a->code);
	return u->dump;
}

void unitlog_end(struct unitlog *u)
{
	(void)fputc('\n', u->dump);
	(void)fflush(u->dump);
	(void)pthread_mutex_unlock(&u->lock);
}

/* ---- names ---- */
/* vmlinuz-6.1 has System.map-6.1 beside it, any other kernel perhaps System.map. */
static void names_beside(struct unitlog *u, const char *kernel)
{
	const char *slash = strrchr(kernel, '/'), *base = slash ? slash + 1 : kernel;
	const char *version = strchr(base, '-');
	char path[4096];
	int dir = (int)(base - kernel);
	(void)snprintf(path, sizeof(path), "%.*sSystem.map%s", dir, kernel, version ? version : "");
	if (!symbols_read(u->symbols, path, NULL)) return;
	(void)snprintf(path, sizeof(path), "%.*sSystem.map", dir, kernel);
	(void)symbols_read(u->symbols, path, NULL);
}

static int names_read(struct unitlog *u, const struct unitlog_how *how, struct err *e)
{
	if (how->symbols) return symbols_read(u->symbols, how->symbols, e);
	if (how->kernel && symbols_read(u->symbols, how->kernel, NULL))
		names_beside(u, how->kernel);
	return 0;
}

void unitlog_kernel(struct unitlog *u, const void *at, size_t len)
{
	if (!symbols_count(u->symbols)) (void)symbols_image(u->symbols, at, len, NULL);
}

const struct symbols *unitlog_symbols(const struct unitlog *u) { return u->symbols; }

int unitlog_open(struct unitlog **out, const struct unitlog_how *how, struct err *e)
{
	struct unitlog *u = calloc(1, sizeof(*u));
	must(u && !pthread_mutex_init(&u->lock, NULL));
	u->map = -1;
	u->symbols = symbols_new();
	int r = names_read(u, how, e);
	if (!r && how->profile) r = map_open(u, e);
	if (!r && how->dump) r = dump_open(u, how->dump, e);
	if (r)
		unitlog_close(u);
	else
		*out = u;
	return r;
}

void unitlog_close(struct unitlog *u)
{
	if (!u) return;
	if (u->dump) (void)fclose(u->dump);
	drop_fd(&u->map);
	for (unsigned i = 0; i < VCPUS; i++) buf_done(&u->lines[i]);
	symbols_free(u->symbols);
	(void)pthread_mutex_destroy(&u->lock);
	free(u);
}
