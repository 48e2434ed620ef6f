#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H
#include "base/chr.h"
#include "base/err.h"
#include "base/types.h"
#include "guest/stats.h"
#include "net/port.h"
#include <stdbool.h>
/* A guest's life: what every kind has in common, and nothing more. */
struct buf;
struct loop;

/* What may be changed while it runs; 0: no limit. */
struct limits {
	uint64_t target;     /* bytes of its memory that it keeps: its balloon takes the rest */
	uint64_t cpu_cap;    /* thousandths of one CPU of the host, for all it does */
	uint64_t cpu_shares; /* its weight where CPUs are short; 1024 is usual */
	uint64_t io_rate, io_ops; /* bytes and requests a second, of each disk */
	uint64_t memory_high; /* bytes of the host's that its process keeps, as cgroup_memory() */
	/* Of zones: CPUs that it may run on, a bit each, from 0 on; processes; a weight for disks.
	 */
	uint64_t cpu_set, pids, io_weight;
	uint64_t memory_low; /* bytes that are not taken from it while others have more */
};
enum { CPU_CAP_LEAST = 10, IO_RATE_LEAST = 4096 };

/* What the owner asked for, before anything was opened. All strings belong to the spec's maker
 * and outlive the guest. */
enum { SPEC_DISKS = 8, SPEC_PUBLISH = 32, SPEC_NETS = 4, SPEC_VOLUMES = 8 };
enum { SPEC_SHARES = SPEC_VOLUMES + 1 };
struct spec_words { /* NULL-ended where there are any */
	const char **at;
	unsigned n;
};
struct spec {
	const char *kind;  /* which has to run it; NULL: whichever likes it */
	const char *name;  /* NULL: none given */
	const char *id;	   /* of a guest that is kept: what makes it another than all others */
	const char *image; /* as typed; NULL when only --kernel and friends were given */
	enum arch arch;
	unsigned cpus;
	uint64_t memory;					  /* bytes */
	const char *kernel, *initrd, *append, *firmware, *engine; /* NULL: none, or the default */
	const char *cpu;     /* a model of it, as engine/x86_model.h has them; NULL: the best */
	const char *vars;    /* x86-64: what firmware keeps its variables in; NULL: none */
	bool vars_kept;	     /* changes go there; else they are forgotten */
	uint64_t code_cache; /* bytes of translated code a CPU; 0: the engine's choice */
	bool profile;	     /* for perf(1) */
	bool deterministic;  /* time goes by instructions */
	const char *restore; /* a snapshot's folder, to go on from instead of booting; NULL */
	const struct arrival *arrival; /* the same, from another host; NULL */
	/* Of a deterministic one: what comes from outside goes there, too, or comes from there and
	 * from nowhere else; NULL. With them, what random numbers come
	 * from and the seconds since 1970 at which its clock begins. */
	struct tape_out *record;
	struct tape *replay;
	uint64_t seed, clock;
	const char *trace, *trace_file; /* as tracer_open() takes them; NULL: none */
	const char *dump, *symbols;	/* as in engine/unitlog.h; NULL: none */
	struct spec_disk {
		const char *path, *format;
		bool readonly, backing; /* backing: its file may name others: BLK_BACKING */
		bool shared;		/* others may write to it, too: BLK_SHARED */
		/* CDROM: a drive behind SATA; its disk is read-only */
		enum spec_bus { BUS_VIRTIO, BUS_NVME, BUS_SATA, BUS_CDROM } bus;
	} disk[SPEC_DISKS];
	unsigned ndisks;
	bool boot_cdrom;		  /* firmware tries CDs before disks */
	const char *volume[SPEC_VOLUMES]; /* as asked for: FOLDER:PLACE[:ro] or NAME:PLACE[:ro] */
	unsigned nvolumes;
	struct spec_share { /* and what that is now */
		/* the host's folder; what the guest mounts it by; where, as it was said */
		const char *path, *tag, *to;
		bool readonly;
		int lock; /* stays open while the guest runs; -1: none */
		/* more than one: it is these as one, read-only; path is the highest */
		const struct spec_words *layers;
	} share[SPEC_SHARES];
	unsigned nshares;
	const char *net[SPEC_NETS]; /* a network device each; as network_plug() takes them */
	unsigned nnets;
	uint64_t cap_rate; /* bits a second, of each device and direction; 0: no limit */
	struct nat_forward publish[SPEC_PUBLISH]; /* by the first network that can */
	unsigned npublish;
	struct limits limits;
	const char *gdb; /* where a debugger may connect, as gdb_serve() takes it; NULL: nowhere */
	bool gdb_wait;	 /* and nothing runs before it says so */
	bool no_balloon; /* it keeps what memory it had once */
	bool memory_merge; /* the host may keep what it and others have the same once */
	bool no_direct;	   /* x86-64: programs that compute are translated, too */
	bool disk_copy;	   /* its disk is to be a copy of its image's, not a layer over it */
	bool remove;	   /* its folder goes when it ends */
	bool confined;	   /* once everything is open: guest_confine() was called */
	bool control;	   /* has a control socket, and a name in any case */
	struct spec_zone { /* of a zone */
		/* its command: what is behind the image's entry point, or --entrypoint's */
		struct spec_words args, env;
		const char *entrypoint; /* a program, or "" for none; NULL: the image's */
		const char *user, *workdir, *hostname; /* NULL: as the image has it */
		const char *ip;	 /* as ip4_card_parse() takes it, where its network gives none */
		bool own_kernel; /* it is no zone: a computer of its own has its root and runs it */
		const char
			*rootfs;  /* of that: a folder that is all of it, and written to; or NULL */
		bool tty;	  /* a terminal, else pipes */
		bool input;	  /* its input is the console's */
		bool host_ids;	  /* root in it is root here: no user namespace */
		bool host_net;	  /* its network is this host's */
		uint64_t storage; /* bytes that what it writes may have; 0: as this disk has */
		/* and what that is now: the image's config, and its folders, the lowest first; or a
		 * file system in a file */
		const char *config, *disk;
		struct spec_words layers;
		int folder;	  /* where what it writes is kept */
		const char *temp; /* that is nobody's, and goes with it: its name in the store */
	} zone;
	/* Of a computer that is there for one program, which its agent runs: what that is, once its
	 * image has been asked. args.n 0: it is a computer like others. */
	struct spec_program {
		struct spec_words args, env;
		const char *user, *dir;
		int stop; /* the signal that asks it to end */
	} program;
};
#define SPEC_OWN       "@/"	  /* a path in a record that begins so is in the guest's folder */
#define GUEST_NAMELESS "unnamed-" /* and a number: what guests without a name are called */

struct host_note {	/* of what a kind could use of this host, for lodge doctor */
	bool good;	/* it can use it */
	char what[256]; /* how that is */
	char hint[160]; /* what happens instead, or can be done; may be empty */
};
struct arrival;
struct link;
struct program;
struct tape;
struct tape_out;
struct json_object;
struct move_how {
	char to[160];	   /* where, in words */
	uint64_t cap;	   /* bytes a second; 0: no limit */
	unsigned stand_ms; /* for how long it may stand, if that can be had */
};
struct guest;
struct kind { /* vm, zone, jvm, clr: see kinds[] in src/main.c. NULL op: this kind cannot */
	const char *name;
	int (*accepts)(const struct spec *s); /* 0..100: is this image mine? */
	/* Before this process gives up its rights, while there is one thread and if it is to be
	 * confined: make the process that will do what takes rights. */
	int (*prepare)(const struct spec *s, struct err *e);
	int (*build)(struct guest *g, struct err *e); /* all opening and allocating */
	/* Then, confined as it will run: take in what it begins with, which is not trusted. */
	int (*load)(struct guest *g, struct err *e);
	int (*start)(struct guest *g, struct err *e); /* from here it runs, on its own threads */
	int (*pause)(struct guest *g, struct err *e);
	int (*resume)(struct guest *g, struct err *e);
	/* Not forced: asks the guest; -EAGAIN: it does not listen now. */
	int (*stop)(struct guest *g, bool force, struct err *e);
	/* On the loop's thread: a byte stream to who listens at that port inside. fd, a socket, is
	 * the guest's from then on unless this fails, and is closed when nobody does. -EAGAIN: it
	 * is too early for that. */
	int (*connect)(struct guest *g, uint32_t port, int fd, struct err *e);
	/* All of it into a folder, made if missing: `state`, a snapshot, and copies of its disks,
	 * `disk0` and so on. If it runs it is paused meanwhile. It comes back by spec.restore, with
	 * disks as they were. */
	int (*save)(struct guest *g, const char *dir, struct err *e);
	/* Start to send it to another host over the link, which is the kind's from then on; see
	 * arrival.h for the other end. Meanwhile it runs. How far that is: move_status. After
	 * -EINPROGRESS in there nobody knows whether the other one has it, until move_settle. */
	int (*move)(struct guest *g, struct link *l, const struct move_how *how, struct err *e);
	void (*move_status)(struct guest *g, struct json_object *to);
	int (*move_settle)(struct guest *g, bool there, struct err *e);
	int (*verb)(struct guest *g, const char *verb, struct buf *in, struct buf *out,
		    struct err *e);
	/* On the loop's thread: the nth CD drive (from 1 on) gets another disc, which fd reads, or
	 * -1: none. */
	int (*media)(struct guest *g, unsigned nth, int fd, bool force, struct err *e);
	/* On the loop's thread, once started and whenever they change: keep to g->limits. */
	int (*limit)(struct guest *g, struct err *e);
	bool limits_all; /* and limit() is all of it: the monitor's own process has none */
	/* On the loop's thread, once started: fill in engine and counters. */
	void (*stats)(struct guest *g, struct guest_stats *to);
	/* Any thread: whether this host runs guests with that CPU. NULL: with none. */
	bool (*runs)(enum arch a);
	/* Any thread: whether the host's processor runs its guests, found out by trying. */
	void (*hardware)(struct host_note *to);
	/* The folder of a guest that does not run is about to go: what of it this process could not
	 * remove. */
	int (*clean)(int folder, struct err *e);
	const struct kind_files *files; /* NULL: what its guests write is in disks */
	void (*free)(struct guest *g);	/* accepts a half-built guest; stops it first */
};
extern const struct kind *const kinds[]; /* NULL-ended; main.c */

/* Of a kind whose guests write files of this host's: those of one that does not run, and whose
 * folder is locked; or that stands (guest/hold.h). */
struct guest_files {
	int folder;	   /* the guest's */
	const char *id;	   /* the guest's */
	const char *saved; /* a folder in that, for what it had once; NULL: what it has */
	const struct spec *spec;
};
struct kind_files {
	/* To what another has, or had once, instead of what that is: at once, also when this
	 * process is killed. Their ids become the other's. */
	int (*copy)(const struct guest_files *from, const struct guest_files *to, struct err *e);
	int (*drop)(int folder, const char *saved, struct err *e); /* 0 too if it is not there */
	/* As a layer of an image, a tar, to fd. */
	int (*pack)(const struct guest_files *from, int fd, struct err *e);
	/* To fd: what is another than in the spec's layers: a letter (A: added, C: changed, D:
	 * gone), the path and a 0, for each. */
	int (*diff)(const struct guest_files *from, int fd, struct err *e);
};

struct guest {
	const struct kind *kind;
	const struct spec *spec;   /* read-only */
	struct loop *loop;	   /* run by guest_run()'s thread */
	struct chr *console;	   /* the sitter's half is filled in; the kind wires the other */
	void *own;		   /* the kind's own struct */
	char name[64];		   /* the spec's, or what it is called without one */
	struct limits limits;	   /* the spec's, until they are changed */
	uint8_t mac[SPEC_NETS][6]; /* of its network cards; the kind fills them in */
	unsigned nmacs;
	uint64_t began_ns;
	const struct guest_home *home; /* NULL: it has none */
	/* private: of guest/ */
	struct console *shared;
	struct control *control;
	struct life *life;
	struct watch *helper;
	struct hold *holds;		  /* those for whom it stands */
	bool was_paused;		  /* when the first of them came */
	int statm;			  /* /proc/self/statm; 0: not opened yet */
	bool grouped[2];		  /* it has these control groups: enum cgroup_what */
	char *save_to;			  /* by a request that waits for its stream */
	struct program *program;	  /* it is there for; NULL: none */
	struct agent *agent, *port_agent; /* ours, and a foreign image's own at its port */
	struct move_how *move_to;	  /* the same */
	struct link *move_link;
	/* private: how it ended; the first to say so wins */
	int ended, signals, exit_code;
	struct err broke;
};
struct guest_end {		  /* zeroed by whoever asks for it */
	int code;		  /* exit code */
	bool ran;		  /* it was started: from then on what it wrote is its owner's */
	struct guest_stats stats; /* if it ran: as it ended */
};
/* Build, start, run until guest_exit(), free. 0 and end->code, or a negative errno (nothing
 * ran, or it broke). The console is what the caller attached. While it
 * runs SIGTERM, SIGINT and SIGHUP ask the guest to stop, and a second one stops it: exit code 128 +
 * signal. A loop_stop() by someone else ends it too, with that result as exit code. */
int guest_run(const struct kind *k, const struct spec *s, struct loop *l, struct chr *console,
	      struct guest_end *end, struct err *e);
/* Where a guest that is kept lives. */
struct guest_home {
	int folder; /* locked, and ours for that time; its state and its console's log go there */
	int64_t created;
	bool behind; /* nobody knows this process yet: the guest may as well run in another */
	bool fresh;  /* the folder goes, should it never run */
	int attach;  /* -1, or a connected socket: somebody is at its console before it starts */
	void (*starting)(void *ctx); /* all is open, it is about to; may be NULL */
	void (*started)(void *ctx);  /* now it runs, and can be spoken to; may be NULL */
	void *ctx;
};
/* The same for such a guest. console NULL: nobody sits here. */
int guest_keep(const struct kind *k, const struct spec *s, const struct guest_home *home,
	       struct loop *l, struct chr *console, struct guest_end *end, struct err *e);
/* On the loop's thread, once it is built: keep to g->limits from now on. */
int guest_limit(struct guest *g, struct err *e);
/* The first half of confining this process: call while there is one thread, before guest_run() or
 * guest_keep() of that spec, which do the other half, when the spec says `confined`. home NULL:
 * none. Afterwards the process has no files and no rights any more, and home->folder is closed. */
bool guest_is_to_be_confined(void); /* LODGE_JAIL=off and sanitizers forbid it */
int guest_confine(const struct kind *k, const struct spec *s, const struct guest_home *home,
		  struct err *e);
/* On the loop's thread, while it runs: its time stands until it is resumed. -EALREADY. */
int guest_pause(struct guest *g, struct err *e);
int guest_resume(struct guest *g, struct err *e);
/* The same: ask it to power off, and end it when it has not after so many seconds, or at once when
 * it cannot be asked: then negative errno and why. */
int guest_stop(struct guest *g, unsigned seconds, struct err *e);
void guest_kill(struct guest *g); /* the same: end it now */
/* The same: the guest connects from its port to one of its host's. A connected socket, the
 * caller's, or a negative errno. Behind port P is vsock_P in the guest's folder, if somebody
 * listens there. */
int guest_dialed(struct guest *g, uint32_t from, uint32_t to);
int guest_port_opened(struct guest *g); /* the same, at the port of QEMU's guest agent */
/* The same: it stands, and is about to be another host's; *to are words. On disk, or it fails. Then
 * it is ours again, or gone for good. */
int guest_leaves(struct guest *g, const char *to, struct err *e);
void guest_stays(struct guest *g);
void guest_moved(struct guest *g, const char *to);
void guest_exit(struct guest *g, int code); /* any thread: the guest has ended */
/* Any thread: the guest cannot go on, through no wish of its own; guest_run() returns why. */
void guest_break(struct guest *g, const struct err *why);
#endif
