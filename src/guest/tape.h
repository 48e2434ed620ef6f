#ifndef GUEST_TAPE_H
#define GUEST_TAPE_H
#include "base/err.h"
#include "guest/guest.h"
#include "guest/stream.h"
#include <stdbool.h>
#include <stdint.h>
/* A recording: all that came to a guest from outside, and when, so that it can be run again and do
 * the same. Frames as in stream.h: first TAPE_HEAD ones, of which the first begins with a magic
 * word and a version and all hold JSON; then what happened, in its order; last TAPE_END. The end
 * has a CRC-32C of all bytes before it, so that none can be altered, nor the file cut, without
 * being refused. What is in it is not trusted beyond that. Little-endian. */
struct arena;
enum tape_kind {
	TAPE_HEAD = 'L',
	TAPE_KEYS = 'k',   /* bytes that the console took */
	TAPE_FRAME = 'n',  /* card (1 byte), taken or not (1), an Ethernet frame */
	TAPE_BUTTON = 'b', /* the power button was pressed */
	TAPE_STATE = 'h',  /* nothing came: the state's hashes, 8 bytes each */
	TAPE_POWER = 'p',  /* it went off or began anew: which (1), exit code (4), then as 'h' */
	TAPE_END = 'e',	   /* nothing more is known: exit code (4), the CRC (4) */
};
struct tape_when { /* as in struct engine_turn */
	uint64_t ran, slept;
	bool asleep;
};
struct tape_event {
	char kind;
	struct tape_when when;
	const uint8_t *at; /* what its kind says */
	uint32_t len;
};
enum { TAPE_WHEN = 17, TAPE_MOST = STREAM_MAX - TAPE_WHEN, TAPE_FRAME_HEAD = 2 };

/* What it is of: enough to build the guest again. */
enum { TAPE_FILES = 4 + SPEC_DISKS, TAPE_DIGEST = 65 };
struct tape_head {
	struct arena *arena; /* of all strings, if it was read */
	struct spec spec;    /* paths are of whoever recorded */
	const char *lodge;   /* which version */
	uint64_t seed;	     /* of all random numbers */
	uint64_t clock;	     /* seconds since 1970 when it began */
	/* What the guest is made from must be what it was: the SHA-256, 64 hexadecimal digits, of
	 * each of tape_files(). */
	unsigned nfiles;
	char digest[TAPE_FILES][TAPE_DIGEST];
};
/* The files that a spec names: where in it their paths are. How many. */
unsigned tape_files(struct spec *s, const char **path[TAPE_FILES]);
void tape_head_done(struct tape_head *h); /* zeroed is fine */

/* ---- writing; one thread at a time */
struct tape_out;
/* In the place of what was there. */
int tape_create(struct tape_out **out, const char *path, const struct tape_head *h, struct err *e);
void tape_put(struct tape_out *t, char kind, const struct tape_when *w, const void *p, size_t n);
/* The end: all of it is in the file, or what went wrong. Before that it is no recording. */
int tape_finish(struct tape_out *t, const struct tape_when *w, int code, struct err *e);
void tape_out_free(struct tape_out *t); /* NULL is fine; the file stays */

/* ---- reading; one thread at a time */
struct tape;
/* All of it is checked before it returns. -EBADMSG: it is not one, cut, altered;
 * -EPROTONOSUPPORT: of a version to come. */
int tape_open(struct tape **out, struct tape_head *h, const char *path, struct err *e);
/* What comes next; the TAPE_END stays. It is valid until the next tape_pop(). */
const struct tape_event *tape_next(const struct tape *t);
void tape_pop(struct tape *t);
void tape_close(struct tape *t); /* NULL is fine */
#endif
