#ifndef GUEST_RECORD_H
#define GUEST_RECORD_H
#include "base/err.h"
#include "guest/guest.h"
#include <stdbool.h>
#include <stdint.h>
/* What a guest's folder says of it: guest.json, who it is and what its owner asked for, and
 * state.json, what became of it. Both are replaced as wholes, by whoever has the folder locked;
 * anybody may read them. dirfd: the folder. */
struct arena;
struct buf;
enum { RECORD_ID = 12 }; /* hexadecimal digits */
struct record {
	struct arena *arena; /* of the spec's strings */
	char id[RECORD_ID + 1];
	int64_t created;  /* seconds since 1970 */
	struct spec spec; /* without a name; memory 0: as its image wishes */
};
void record_id_make(char id[RECORD_ID + 1]); /* random */
/* -ENOENT: there is none (yet). */
int record_read(struct record *r, int dirfd, struct err *e);
int record_parse(struct record *r, const char *text, size_t n, struct err *e); /* untrusted */
void record_format(const struct record *r, struct buf *to);
int record_write(const struct record *r, int dirfd, struct err *e);
void record_done(struct record *r); /* zeroed is fine */
/* What killed writers left beside the files. The folder is ours. */
void record_sweep(int dirfd);

enum guest_life {
	LIFE_CREATED,
	LIFE_RUNNING,
	LIFE_PAUSED,
	LIFE_EXITED,
	LIFE_BROKEN,
	LIFE_LEAVING, /* it stands, and another host may have it already */
	LIFE_MOVED    /* another host has it */
};
struct guest_state {
	enum guest_life life;
	int pid;		   /* of the monitor, the last one */
	int code;		   /* exited: the exit code */
	int64_t started, finished; /* seconds since 1970; 0: not yet */
	char why[256];		   /* broken: in words; leaving, moved: "to HOST" and more */
};
const char *life_name(enum guest_life l);
static inline bool life_runs(enum guest_life l)
{
	return l == LIFE_RUNNING || l == LIFE_PAUSED || l == LIFE_LEAVING;
}
/* As it was written; no file: created. A damaged file is a broken guest. */
void state_read(struct guest_state *s, int dirfd);
void state_parse(struct guest_state *s, const char *text, size_t n); /* untrusted */
void state_format(const struct guest_state *s, struct buf *to);
int state_write(const struct guest_state *s, int dirfd, struct err *e);
#endif
