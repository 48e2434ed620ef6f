#ifndef GUEST_GDB_H
#define GUEST_GDB_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* GDB's remote serial protocol ("Debugging with GDB", appendix E): a stub for one debugger,
 * all-stop, a thread for each CPU. It knows no CPU: what is debugged is the target's. Everything
 * happens on one thread. Packets are hostile: whatever comes in, memory and time are bounded. */
struct buf;
struct gdb;
struct loop;

enum { GDB_REG = 64, GDB_POINTS = 256, GDB_WATCHES = 16, GDB_CPUS = 64 };
enum gdb_kind { GDB_SOFT, GDB_HARD, GDB_WRITE, GDB_READ, GDB_ACCESS }; /* as Z packets count */
struct gdb_point {
	enum gdb_kind kind;
	uint64_t at, len;
};
struct gdb_points { /* no more than GDB_POINTS of the first two, GDB_WATCHES of the others */
	unsigned n;
	struct gdb_point at[GDB_POINTS + GDB_WATCHES];
};
enum gdb_go { GDB_HOLD, GDB_CONTINUE, GDB_STEP };
struct gdb_stop {
	unsigned cpu;
	bool interrupted; /* because halt() was called */
	bool broke;	  /* at a breakpoint */
	bool watched;	  /* by the watchpoint: */
	struct gdb_point watch;
};
struct gdb_ops { /* what is debugged; the CPUs stand whenever any but halt is called */
	unsigned (*cpus)(void *ctx);
	/* The target description (appendix G), and how many registers from the first on are told
	 * all at once. */
	unsigned (*describe)(void *ctx, struct buf *xml);
	/* A register by its number in the description, as the CPU's memory would hold it, in
	 * GDB_REG bytes at most. Its size; 0: there is none. */
	unsigned (*get)(void *ctx, unsigned cpu, unsigned reg, uint8_t *to);
	bool (*set)(void *ctx, unsigned cpu, unsigned reg, const uint8_t *from, unsigned n);
	/* Memory as that CPU sees it, or physical memory. How many bytes there were. */
	size_t (*read)(void *ctx, unsigned cpu, uint64_t at, bool physical, void *to, size_t n);
	size_t (*write)(void *ctx, unsigned cpu, uint64_t at, bool physical, const void *from,
			size_t n);
	void (*attach)(void *ctx); /* a debugger is here: all stand, until it goes on */
	/* Whether the CPUs would stop at these. NULL: at all. */
	bool (*can)(void *ctx, const struct gdb_points *p);
	void (*detach)(void *ctx); /* it has left: all go on, as if it never was */
	void (*go)(void *ctx, const enum gdb_go *how, const struct gdb_points *p);
	void (*halt)(void *ctx); /* all stand when it returns */
	void (*reset)(void *ctx);
	void (*kill)(void *ctx);
	void (*name)(void *ctx, unsigned cpu, char *to, size_t room); /* a word about a CPU */
	/* "monitor WORDS": text to be shown. False: not known. */
	bool (*monitor)(void *ctx, unsigned cpu, const char *words, struct buf *out);
};

struct gdb *gdb_new(const struct gdb_ops *ops, void *ctx);
void gdb_free(struct gdb *g); /* NULL is fine */
/* Bytes from the debugger; what it is to be sent is added to `out`. False: it has left. */
bool gdb_feed(struct gdb *g, const void *p, size_t n, struct buf *out);
/* A CPU has stopped while they ran, and now all stand. */
void gdb_stopped(struct gdb *g, const struct gdb_stop *why, struct buf *out);
void gdb_ended(struct gdb *g, struct buf *out); /* what is debugged is no more */

/* The same at a socket: [ADDR:]PORT (127.0.0.1), or unix:PATH. One debugger at a time; another one
 * is told so. */
struct gdb_server;
int gdb_serve(struct gdb_server **out, struct loop *l, const char *where, const struct gdb_ops *ops,
	      void *ctx, struct err *e);
/* Listen now for the gdb_serve() to come: before this process leaves the host's network. */
int gdb_prepare(const char *where, struct err *e);
void gdb_server_stopped(struct gdb_server *s, const struct gdb_stop *why);
void gdb_server_close(struct gdb_server *s); /* NULL is fine */
/* Is `where` such a place? */
int gdb_check(const char *where, struct err *e);
#endif
