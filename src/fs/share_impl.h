#ifndef FS_SHARE_IMPL_H
#define FS_SHARE_IMPL_H
#include "base/buf.h"
#include "fs/share.h"
#include <pthread.h>
#include <sys/types.h>
/* What the two ends of a shared folder agree on. Down the one pipe go numbers of places, and
 * commands; up the other go notes, and one for each command. A command but RESET is not sent before
 * the last one was answered, however long that takes: `owed`. */
enum { SHARE_THREADS = 6, SHARE_NOTES = 64, SHARE_CHUNK = 64 << 10 };
#define SHARE_RESET  0xffffffffu
#define SHARE_PAUSE  0xfffffffeu
#define SHARE_RESUME 0xfffffffdu
#define SHARE_SAVE   0xfffffffcu /* the first chunk, if `first`, or the next */
#define SHARE_LOAD   0xfffffffbu /* the chunk there is, and all, if `last` */
#define SHARE_LOST   0xfffffffau /* a note only: so many locks */
/* While it starts: confined; not entirely; or an errno. */
#define SHARE_READY	 0xffffffffu
#define SHARE_READY_OPEN 0xfffffffeu

/* share_place.wait, when the answer is there: write a note, or wake who waits; and then it is
 * there. */
enum { WAIT_NOTE, WAIT_WAKE, WAIT_OVER };

struct note {
	uint32_t n, written; /* of a command: the chunk's length; 0 or an errno */
};
struct shared { /* by both processes */
	struct share_place place[SHARE_PLACES];
	char what[512]; /* the server's words */
	bool first, last;
	uint32_t len;
	char chunk[SHARE_CHUNK];
};
struct share {
	struct shared *mem;
	char *path;
	int requests, notes; /* our ends */
	pid_t pid;
	int pidfd; /* so that nobody else can be meant */
	pthread_t thread;
	bool threaded;
	void (*done)(void *ctx, unsigned place, uint32_t written);
	void *ctx;
	pthread_mutex_t lock; /* guards what follows, and who writes to requests */
	pthread_cond_t answered;
	bool dead, busy[SHARE_PLACES];
	unsigned resets;	  /* not answered yet */
	uint32_t command, answer; /* command 0: answered */
	uint32_t owed;		  /* one that nobody waits for any more; 0: none */
	unsigned waiting;	  /* threads for their turn */
	bool pause, told_pause;	  /* as it is to be; as it was told last */
	unsigned patience_ms;
	unsigned warned; /* of the thread that hears notes */
};
bool share_put(struct share *s, uint32_t n); /* lock is held; false: it has died */
/* A note that answers a command, or tells something. */
void share_noted(struct share *s, struct note note);

struct job {
	struct fuse_req q;
	struct server *of;
	uint32_t n;
};
struct server {
	struct fuse *fuse;
	struct shared *mem;
	int requests, notes;
	struct buf state; /* that goes or comes */
	pthread_t thread[SHARE_THREADS];
	struct job job[SHARE_PLACES];
};
void share_note(int fd, uint32_t n, uint32_t written);
void server_command(struct server *s, uint32_t n);
void server_lost(void *server, unsigned locks);
#endif
