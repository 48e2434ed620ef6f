#ifndef ZONE_PLAN_H
#define ZONE_PLAN_H
#include "zone/decode.h"
#include <sys/types.h>
/* A guest of kind zone in this room's words: what its owner asked for and what its image says of
 * itself become the config that a bundle would have had. Strings are the caller's. */
struct spec;
struct spec_process;
enum { PLAN_VOLUMES = 8, PLAN_IDS = 65536, PLAN_MAPS = 2 };
enum plan_net { PLAN_NET_OWN, PLAN_NET_HOST };
struct plan_map {
	uint32_t inside, outside, size;
};
struct plan {
	const char *name, *id;	      /* NULL: it has none */
	const char *hostname, *group; /* its control group, "/a/b" */
	const char *config;	      /* file of the image's config */
	const char *const *layer;     /* folders, the lowest first */
	unsigned nlayers;
	const char *disk; /* a file system in a file, below them; NULL: none */
	uint64_t storage; /* bytes for what it writes; 0: what there is */
	int folder;	  /* what it writes, and what it is told, goes there */
	struct texts args, env;
	const char *entrypoint, *user, *workdir;
	bool tty, input;
	bool init;     /* filled in by plan_spec(): its program is a system's init */
	bool fleeting; /* what it writes goes with it */
	enum plan_net net;
	struct plan_volume {
		const char *from, *to;
		bool readonly;
	} volume[PLAN_VOLUMES];
	unsigned nvolumes;
	struct plan_map users[PLAN_MAPS], groups[PLAN_MAPS];
	unsigned nmaps; /* of each; 0: it shares the host's ids */
};
/* What an image says of itself: image-spec 1.1, config.md, "config". */
struct plan_image {
	struct texts env, entrypoint, cmd;
	const char *user, *workdir, *stop_signal;
};
/* Untrusted bytes. */
int plan_image_parse(struct plan_image *to, const char *text, size_t len, struct arena *a,
		     struct err *e);
/* im may be zeroed. In the arena but for s->json: spec_done(). */
int plan_spec(struct plan *p, const struct plan_image *im, struct spec *s, struct arena *a,
	      struct err *e);
/* The ids that a zone of that name is given: of root's a range that few share, else what
 * /etc/subuid lends, else one's own id alone. */
void plan_ids(struct plan *p);
#endif
