/* The tables of config.json: a line per field, in the order of the specification. */
#include "zone/spec.h"
#include <json-c/json.h>
#include <string.h>

#define F(T, member, name, type)                                                                   \
	{                                                                                          \
		name, DECODE_##type, offsetof(struct T, member), NULL, 0                           \
	}
#define OBJECT(T, member, name, of, table)                                                         \
	{                                                                                          \
		name, DECODE_OBJECT, offsetof(struct T, member), table, sizeof(struct of)          \
	}
#define LIST(T, member, name, of, table)                                                           \
	{                                                                                          \
		name, DECODE_LIST, offsetof(struct T, member), table, sizeof(struct of)            \
	}
#define END                                                                                        \
	{                                                                                          \
		NULL, DECODE_FLAG, 0, NULL, 0                                                      \
	}

static const struct decode_field size_fields[] = {F(spec_size, height, "height", U32),
						  F(spec_size, width, "width", U32), END};
static const struct decode_field user_fields[] = {
	F(spec_user, uid, "uid", U32), F(spec_user, gid, "gid", U32),
	F(spec_user, umask, "umask", NUMBER), F(spec_user, additional_gids, "additionalGids", U32S),
	END};
static const struct decode_field rlimit_fields[] = {F(spec_rlimit, type, "type", TEXT),
						    F(spec_rlimit, soft, "soft", U64),
						    F(spec_rlimit, hard, "hard", U64), END};
static const struct decode_field cap_fields[] = {
	F(spec_cap_names, bounding, "bounding", TEXTS),
	F(spec_cap_names, effective, "effective", TEXTS),
	F(spec_cap_names, inheritable, "inheritable", TEXTS),
	F(spec_cap_names, permitted, "permitted", TEXTS),
	F(spec_cap_names, ambient, "ambient", TEXTS),
	END};
static const struct decode_field scheduler_fields[] = {
	F(spec_scheduler, policy, "policy", TEXT),    F(spec_scheduler, nice, "nice", I64),
	F(spec_scheduler, priority, "priority", I64), F(spec_scheduler, flags, "flags", TEXTS),
	F(spec_scheduler, runtime, "runtime", U64),   F(spec_scheduler, deadline, "deadline", U64),
	F(spec_scheduler, period, "period", U64),     END};
static const struct decode_field io_fields[] = {F(spec_io_priority, class, "class", TEXT),
						F(spec_io_priority, priority, "priority", I64),
						END};
static const struct decode_field process_fields[] = {
	F(spec_process, terminal, "terminal", FLAG),
	OBJECT(spec_process, console_size, "consoleSize", spec_size, size_fields),
	OBJECT(spec_process, user, "user", spec_user, user_fields),
	F(spec_process, args, "args", TEXTS),
	F(spec_process, env, "env", TEXTS),
	F(spec_process, cwd, "cwd", TEXT),
	OBJECT(spec_process, cap_names, "capabilities", spec_cap_names, cap_fields),
	LIST(spec_process, rlimits, "rlimits", spec_rlimit, rlimit_fields),
	F(spec_process, no_new_privileges, "noNewPrivileges", FLAG),
	F(spec_process, oom_score_adj, "oomScoreAdj", NUMBER),
	F(spec_process, apparmor_profile, "apparmorProfile", TEXT),
	F(spec_process, selinux_label, "selinuxLabel", TEXT),
	OBJECT(spec_process, scheduler, "scheduler", spec_scheduler, scheduler_fields),
	OBJECT(spec_process, io_priority, "ioPriority", spec_io_priority, io_fields),
	END};

static const struct decode_field map_fields[] = {F(spec_map, container_id, "containerID", U32),
						 F(spec_map, host_id, "hostID", U32),
						 F(spec_map, size, "size", U32), END};
static const struct decode_field mount_fields[] = {
	F(spec_mount, destination, "destination", TEXT),
	F(spec_mount, type, "type", TEXT),
	F(spec_mount, source, "source", TEXT),
	F(spec_mount, options, "options", TEXTS),
	LIST(spec_mount, uid_mappings, "uidMappings", spec_map, map_fields),
	LIST(spec_mount, gid_mappings, "gidMappings", spec_map, map_fields),
	END};
static const struct decode_field hook_fields[] = {
	F(spec_hook, path, "path", TEXT), F(spec_hook, args, "args", TEXTS),
	F(spec_hook, env, "env", TEXTS), F(spec_hook, timeout, "timeout", I64), END};
#define HOOKS(member, name) LIST(spec_hooks, member, name, spec_hook, hook_fields)
static const struct decode_field hooks_fields[] = {HOOKS(prestart, "prestart"),
						   HOOKS(create_runtime, "createRuntime"),
						   HOOKS(create_container, "createContainer"),
						   HOOKS(start_container, "startContainer"),
						   HOOKS(poststart, "poststart"),
						   HOOKS(poststop, "poststop"),
						   END};
static const struct decode_field namespace_fields[] = {F(spec_namespace, type, "type", TEXT),
						       F(spec_namespace, path, "path", TEXT), END};
static const struct decode_field device_fields[] = {F(spec_device, type, "type", TEXT),
						    F(spec_device, path, "path", TEXT),
						    F(spec_device, major, "major", I64),
						    F(spec_device, minor, "minor", I64),
						    F(spec_device, file_mode, "fileMode", NUMBER),
						    F(spec_device, uid, "uid", U32),
						    F(spec_device, gid, "gid", U32),
						    END};
static const struct decode_field rule_fields[] = {
	F(spec_device_rule, allow, "allow", FLAG),   F(spec_device_rule, type, "type", TEXT),
	F(spec_device_rule, major, "major", NUMBER), F(spec_device_rule, minor, "minor", NUMBER),
	F(spec_device_rule, access, "access", TEXT), END};
static const struct decode_field memory_fields[] = {
	F(spec_memory, limit, "limit", NUMBER),
	F(spec_memory, reservation, "reservation", NUMBER),
	F(spec_memory, swap, "swap", NUMBER),
	F(spec_memory, kernel, "kernel", NUMBER),
	F(spec_memory, kernel_tcp, "kernelTCP", NUMBER),
	F(spec_memory, swappiness, "swappiness", NUMBER),
	F(spec_memory, disable_oom_killer, "disableOOMKiller", FLAG),
	F(spec_memory, use_hierarchy, "useHierarchy", FLAG),
	F(spec_memory, check_before_update, "checkBeforeUpdate", FLAG),
	END};
static const struct decode_field cpu_fields[] = {
	F(spec_cpu, shares, "shares", NUMBER),
	F(spec_cpu, quota, "quota", NUMBER),
	F(spec_cpu, period, "period", NUMBER),
	F(spec_cpu, burst, "burst", NUMBER),
	F(spec_cpu, realtime_runtime, "realtimeRuntime", NUMBER),
	F(spec_cpu, realtime_period, "realtimePeriod", NUMBER),
	F(spec_cpu, idle, "idle", NUMBER),
	F(spec_cpu, cpus, "cpus", TEXT),
	F(spec_cpu, mems, "mems", TEXT),
	END};
static const struct decode_field pids_fields[] = {F(spec_pids, limit, "limit", NUMBER), END};
static const struct decode_field weight_fields[] = {
	F(spec_weight_device, major, "major", I64), F(spec_weight_device, minor, "minor", I64),
	F(spec_weight_device, weight, "weight", NUMBER),
	F(spec_weight_device, leaf_weight, "leafWeight", NUMBER), END};
static const struct decode_field throttle_fields[] = {F(spec_throttle, major, "major", I64),
						      F(spec_throttle, minor, "minor", I64),
						      F(spec_throttle, rate, "rate", U64), END};
#define THROTTLES(member, name) LIST(spec_block_io, member, name, spec_throttle, throttle_fields)
static const struct decode_field block_io_fields[] = {
	F(spec_block_io, weight, "weight", NUMBER),
	F(spec_block_io, leaf_weight, "leafWeight", NUMBER),
	LIST(spec_block_io, weight_device, "weightDevice", spec_weight_device, weight_fields),
	THROTTLES(read_bps, "throttleReadBpsDevice"),
	THROTTLES(write_bps, "throttleWriteBpsDevice"),
	THROTTLES(read_iops, "throttleReadIOPSDevice"),
	THROTTLES(write_iops, "throttleWriteIOPSDevice"),
	END};
static const struct decode_field hugepage_fields[] = {F(spec_hugepage, page_size, "pageSize", TEXT),
						      F(spec_hugepage, limit, "limit", U64), END};
static const struct decode_field priority_fields[] = {
	F(spec_net_priority, name, "name", TEXT), F(spec_net_priority, priority, "priority", U32),
	END};
static const struct decode_field network_fields[] = {
	F(spec_network, class_id, "classID", NUMBER),
	LIST(spec_network, priorities, "priorities", spec_net_priority, priority_fields), END};
static const struct decode_field resources_fields[] = {
	LIST(spec_resources, devices, "devices", spec_device_rule, rule_fields),
	OBJECT(spec_resources, memory, "memory", spec_memory, memory_fields),
	OBJECT(spec_resources, cpu, "cpu", spec_cpu, cpu_fields),
	OBJECT(spec_resources, pids, "pids", spec_pids, pids_fields),
	OBJECT(spec_resources, block_io, "blockIO", spec_block_io, block_io_fields),
	LIST(spec_resources, hugepages, "hugepageLimits", spec_hugepage, hugepage_fields),
	OBJECT(spec_resources, network, "network", spec_network, network_fields),
	F(spec_resources, unified, "unified", PAIRS),
	END};
static const struct decode_field clock_fields[] = {F(spec_clock, secs, "secs", I64),
						   F(spec_clock, nanosecs, "nanosecs", U32), END};
static const struct decode_field offsets_fields[] = {
	OBJECT(spec_offsets, monotonic, "monotonic", spec_clock, clock_fields),
	OBJECT(spec_offsets, boottime, "boottime", spec_clock, clock_fields), END};
static const struct decode_field personality_fields[] = {
	F(spec_personality, domain, "domain", TEXT), F(spec_personality, flags, "flags", TEXTS),
	END};
static const struct decode_field linux_fields[] = {
	LIST(spec_linux, namespaces, "namespaces", spec_namespace, namespace_fields),
	LIST(spec_linux, uid_mappings, "uidMappings", spec_map, map_fields),
	LIST(spec_linux, gid_mappings, "gidMappings", spec_map, map_fields),
	OBJECT(spec_linux, time_offsets, "timeOffsets", spec_offsets, offsets_fields),
	LIST(spec_linux, devices, "devices", spec_device, device_fields),
	F(spec_linux, cgroups_path, "cgroupsPath", TEXT),
	OBJECT(spec_linux, resources, "resources", spec_resources, resources_fields),
	F(spec_linux, rootfs_propagation, "rootfsPropagation", TEXT),
	F(spec_linux, seccomp, "seccomp", RAW),
	F(spec_linux, sysctl, "sysctl", PAIRS),
	F(spec_linux, masked_paths, "maskedPaths", TEXTS),
	F(spec_linux, readonly_paths, "readonlyPaths", TEXTS),
	F(spec_linux, mount_label, "mountLabel", TEXT),
	OBJECT(spec_linux, personality, "personality", spec_personality, personality_fields),
	END};
static const struct decode_field root_fields[] = {F(spec_root, path, "path", TEXT),
						  F(spec_root, readonly, "readonly", FLAG), END};
static const struct decode_field spec_fields[] = {
	F(spec, oci_version, "ociVersion", TEXT),
	F(spec, hostname, "hostname", TEXT),
	F(spec, domainname, "domainname", TEXT),
	OBJECT(spec, process, "process", spec_process, process_fields),
	OBJECT(spec, root, "root", spec_root, root_fields),
	LIST(spec, mounts, "mounts", spec_mount, mount_fields),
	OBJECT(spec, hooks, "hooks", spec_hooks, hooks_fields),
	F(spec, annotations, "annotations", PAIRS),
	OBJECT(spec, linux_, "linux", spec_linux, linux_fields),
	END};

int spec_parse(struct spec *s, const char *text, size_t len, struct arena *a, struct err *e)
{
	*s = (struct spec){0};
	s->json = decode_text(text, len, e);
	if (!s->json) return e->code;
	int r = decode_object(s->json, "", spec_fields, s, a, e);
	if (!s->linux_) s->linux_ = arena_make(a, struct spec_linux, 1);
	if (s->process && !s->process->user) s->process->user = arena_make(a, struct spec_user, 1);
	return r ? r : spec_check(s, e);
}

int spec_parse_process(struct spec_process *p, const char *text, size_t len, struct arena *a,
		       struct err *e)
{
	auto_json struct json_object *o = decode_text(text, len, e);
	if (!o) return e->code;
	int r = decode_object(o, "", process_fields, p, a, e);
	if (!p->user) p->user = arena_make(a, struct spec_user, 1);
	return r ? r : spec_check_process(p, e);
}

int spec_parse_resources(struct spec_resources *rs, const char *text, size_t len, struct arena *a,
			 struct err *e)
{
	auto_json struct json_object *o = decode_text(text, len, e);
	return o ? decode_object(o, "", resources_fields, rs, a, e) : e->code;
}

void spec_done(struct spec *s)
{
	decode_drop(&s->json);
	s->json = NULL;
}
