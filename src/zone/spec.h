#ifndef ZONE_SPEC_H
#define ZONE_SPEC_H
#include "zone/decode.h"
/* config.json of an OCI bundle (runtime specification 1.1) as plain structs: read strictly, and
 * checked before anything is made of it. Strings and lists live in the arena that was given. Names
 * of members are the specification's. */
struct spec_user {
	uint32_t uid, gid;
	struct number umask;
	struct u32s additional_gids;
};
struct spec_rlimit {
	const char *type;
	uint64_t soft, hard;
	int resource; /* RLIMIT_...: found while checking */
};
struct spec_caps { /* bits, 1 << CAP_...: made while checking */
	uint64_t bounding, effective, inheritable, permitted, ambient;
};
struct spec_cap_names {
	struct texts bounding, effective, inheritable, permitted, ambient;
};
struct spec_size {
	uint32_t height, width;
};
struct spec_scheduler {
	const char *policy;
	int64_t nice, priority;
	struct texts flags;
	uint64_t runtime, deadline, period;
};
struct spec_io_priority {
	const char *class;
	int64_t priority;
};
struct spec_process {
	bool terminal, no_new_privileges;
	struct spec_size *console_size;
	struct spec_user *user; /* never NULL */
	/* Of a zone that is a guest: NAME or number, and perhaps :GROUP, found in the zone's own
	 * /etc/passwd and put into user. NULL: user is it. */
	const char *user_name;
	struct texts args, env;
	const char *cwd;
	struct spec_cap_names *cap_names;
	struct spec_caps caps; /* all, where cap_names is NULL: none */
	LIST_OF(struct spec_rlimit) rlimits;
	struct number oom_score_adj;
	const char *apparmor_profile, *selinux_label;
	struct spec_scheduler *scheduler;
	struct spec_io_priority *io_priority;
};
struct spec_map {
	uint32_t container_id, host_id, size;
};
struct spec_mount {
	const char *destination, *type, *source;
	struct texts options;
	LIST_OF(struct spec_map) uid_mappings;
	LIST_OF(struct spec_map) gid_mappings;
};
struct spec_hook {
	const char *path;
	struct texts args, env;
	int64_t timeout; /* seconds; 0: none */
};
typedef LIST_OF(struct spec_hook) spec_hooks;
struct spec_hooks {
	spec_hooks prestart, create_runtime, create_container, start_container, poststart, poststop;
};
struct spec_namespace {
	const char *type, *path;
	int flag; /* CLONE_NEW...: found while checking */
};
struct spec_device {
	const char *type, *path;
	int64_t major, minor;
	struct number file_mode;
	uint32_t uid, gid;
};
struct spec_device_rule {
	bool allow;
	const char *type;
	struct number major, minor;
	const char *access;
};
struct spec_memory {
	struct number limit, reservation, swap, kernel, kernel_tcp, swappiness;
	bool disable_oom_killer, use_hierarchy, check_before_update;
};
struct spec_cpu {
	struct number shares, quota, period, burst, realtime_runtime, realtime_period, idle;
	const char *cpus, *mems;
};
struct spec_pids {
	struct number limit;
};
struct spec_weight_device {
	int64_t major, minor;
	struct number weight, leaf_weight;
};
struct spec_throttle {
	int64_t major, minor;
	uint64_t rate;
};
typedef LIST_OF(struct spec_throttle) spec_throttles;
struct spec_block_io {
	struct number weight, leaf_weight;
	LIST_OF(struct spec_weight_device) weight_device;
	spec_throttles read_bps, write_bps, read_iops, write_iops;
};
struct spec_hugepage {
	const char *page_size;
	uint64_t limit;
};
struct spec_net_priority {
	const char *name;
	uint32_t priority;
};
struct spec_network {
	struct number class_id;
	LIST_OF(struct spec_net_priority) priorities;
};
struct spec_resources {
	LIST_OF(struct spec_device_rule) devices;
	struct spec_memory *memory;
	struct spec_cpu *cpu;
	struct spec_pids *pids;
	struct spec_block_io *block_io;
	LIST_OF(struct spec_hugepage) hugepages;
	struct spec_network *network;
	struct pairs unified;
};
struct spec_clock {
	int64_t secs;
	uint32_t nanosecs;
};
struct spec_offsets {
	struct spec_clock *monotonic, *boottime;
};
struct spec_personality {
	const char *domain;
	struct texts flags;
};
struct spec_linux {
	LIST_OF(struct spec_namespace) namespaces;
	LIST_OF(struct spec_map) uid_mappings;
	LIST_OF(struct spec_map) gid_mappings;
	struct spec_offsets *time_offsets;
	LIST_OF(struct spec_device) devices;
	const char *cgroups_path;
	struct spec_resources *resources;
	const char *rootfs_propagation;
	struct json_object *seccomp; /* as it was written: seccomp.h reads it; borrowed */
	struct pairs sysctl;
	struct texts masked_paths, readonly_paths;
	const char *mount_label;
	struct spec_personality *personality;
};
struct spec_root {
	const char *path;
	bool readonly;
};
struct spec {
	const char *oci_version, *hostname, *domainname;
	struct spec_process *process; /* NULL: such a bundle cannot be started */
	struct spec_root *root;
	LIST_OF(struct spec_mount) mounts;
	struct spec_hooks *hooks;
	struct pairs annotations;
	struct spec_linux *linux_; /* never NULL */
	struct json_object *json;  /* owned: spec_done() */
	int new_ns;		   /* CLONE_NEW... of the namespaces to make */
	int join_ns;		   /* and of those to join */
};
enum { SPEC_MAX = 4 * 1024 * 1024 };
int spec_parse(struct spec *s, const char *text, size_t len, struct arena *a, struct err *e);
/* A process alone, as `exec --process` has it. */
int spec_parse_process(struct spec_process *p, const char *text, size_t len, struct arena *a,
		       struct err *e);
/* Resources alone, as `update --resources` has them. */
int spec_parse_resources(struct spec_resources *r, const char *text, size_t len, struct arena *a,
			 struct err *e);
void spec_done(struct spec *s);

/* spec_check.c: what types cannot say. spec_parse() has called it. */
int spec_check(struct spec *s, struct err *e);
int spec_check_process(struct spec_process *p, struct err *e);
const struct spec_namespace *spec_ns(const struct spec *s, int flag); /* NULL: the host's */
/* An annotation's value; NULL: there is none of that name. */
/* Set to anything: supplementary groups are those of the caller. crun's, and podman's keep-groups.
 */
#define SPEC_KEEP_GROUPS "run.oci.keep_original_groups"
const char *spec_annotation(const struct pairs *annotations, const char *key);
#endif
