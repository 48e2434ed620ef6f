/* The tables of config.json: a line per field, in the order of the specification. */
#include "zone/spec.h"
#include <json-c/json.h>
#include <string.h>

#define OBJECT(T, member, name, of, table)                                                         \
	{                                                                                          \
		name, DECODE_OBJECT, offsetof(struct T, member), table, sizeof(struct of)          \
	}

static const struct decode_field size_fields[] = {DECODE_AT(spec_size, height, "height", U32),
						  DECODE_AT(spec_size, width, "width", U32),
						  DECODE_END};
static const struct decode_field user_fields[] = {
	DECODE_AT(spec_user, uid, "uid", U32), DECODE_AT(spec_user, gid, "gid", U32),
	DECODE_AT(spec_user, umask, "umask", NUMBER),
	DECODE_AT(spec_user, additional_gids, "additionalGids", U32S), DECODE_END};
static const struct decode_field rlimit_fields[] = {
	DECODE_AT(spec_rlimit, type, "type", TEXT), DECODE_AT(spec_rlimit, soft, "soft", U64),
	DECODE_AT(spec_rlimit, hard, "hard", U64), DECODE_END};
static const struct decode_field cap_fields[] = {
	DECODE_AT(spec_cap_names, bounding, "bounding", TEXTS),
	DECODE_AT(spec_cap_names, effective, "effective", TEXTS),
	DECODE_AT(spec_cap_names, inheritable, "inheritable", TEXTS),
	DECODE_AT(spec_cap_names, permitted, "permitted", TEXTS),
	DECODE_AT(spec_cap_names, ambient, "ambient", TEXTS),
	DECODE_END};
static const struct decode_field scheduler_fields[] = {
	DECODE_AT(spec_scheduler, policy, "policy", TEXT),
	DECODE_AT(spec_scheduler, nice, "nice", I64),
	DECODE_AT(spec_scheduler, priority, "priority", I64),
	DECODE_AT(spec_scheduler, flags, "flags", TEXTS),
	DECODE_AT(spec_scheduler, runtime, "runtime", U64),
	DECODE_AT(spec_scheduler, deadline, "deadline", U64),
	DECODE_AT(spec_scheduler, period, "period", U64),
	DECODE_END};
static const struct decode_field io_fields[] = {
	DECODE_AT(spec_io_priority, class, "class", TEXT),
	DECODE_AT(spec_io_priority, priority, "priority", I64), DECODE_END};
static const struct decode_field process_fields[] = {
	DECODE_AT(spec_process, terminal, "terminal", FLAG),
	OBJECT(spec_process, console_size, "consoleSize", spec_size, size_fields),
	OBJECT(spec_process, user, "user", spec_user, user_fields),
	DECODE_AT(spec_process, args, "args", TEXTS),
	DECODE_AT(spec_process, env, "env", TEXTS),
	DECODE_AT(spec_process, cwd, "cwd", TEXT),
	OBJECT(spec_process, cap_names, "capabilities", spec_cap_names, cap_fields),
	DECODE_EACH(spec_process, rlimits, "rlimits", spec_rlimit, rlimit_fields),
	DECODE_AT(spec_process, no_new_privileges, "noNewPrivileges", FLAG),
	DECODE_AT(spec_process, oom_score_adj, "oomScoreAdj", NUMBER),
	DECODE_AT(spec_process, apparmor_profile, "apparmorProfile", TEXT),
	DECODE_AT(spec_process, selinux_label, "selinuxLabel", TEXT),
	OBJECT(spec_process, scheduler, "scheduler", spec_scheduler, scheduler_fields),
	OBJECT(spec_process, io_priority, "ioPriority", spec_io_priority, io_fields),
	DECODE_END};

static const struct decode_field map_fields[] = {
	DECODE_AT(spec_map, container_id, "containerID", U32),
	DECODE_AT(spec_map, host_id, "hostID", U32), DECODE_AT(spec_map, size, "size", U32),
	DECODE_END};
static const struct decode_field mount_fields[] = {
	DECODE_AT(spec_mount, destination, "destination", TEXT),
	DECODE_AT(spec_mount, type, "type", TEXT),
	DECODE_AT(spec_mount, source, "source", TEXT),
	DECODE_AT(spec_mount, options, "options", TEXTS),
	DECODE_EACH(spec_mount, uid_mappings, "uidMappings", spec_map, map_fields),
	DECODE_EACH(spec_mount, gid_mappings, "gidMappings", spec_map, map_fields),
	DECODE_END};
static const struct decode_field hook_fields[] = {
	DECODE_AT(spec_hook, path, "path", TEXT), DECODE_AT(spec_hook, args, "args", TEXTS),
	DECODE_AT(spec_hook, env, "env", TEXTS), DECODE_AT(spec_hook, timeout, "timeout", I64),
	DECODE_END};
#define HOOKS(member, name) DECODE_EACH(spec_hooks, member, name, spec_hook, hook_fields)
static const struct decode_field hooks_fields[] = {HOOKS(prestart, "prestart"),
						   HOOKS(create_runtime, "createRuntime"),
						   HOOKS(create_container, "createContainer"),
						   HOOKS(start_container, "startContainer"),
						   HOOKS(poststart, "poststart"),
						   HOOKS(poststop, "poststop"),
						   DECODE_END};
static const struct decode_field namespace_fields[] = {
	DECODE_AT(spec_namespace, type, "type", TEXT),
	DECODE_AT(spec_namespace, path, "path", TEXT), DECODE_END};
static const struct decode_field device_fields[] = {
	DECODE_AT(spec_device, type, "type", TEXT),
	DECODE_AT(spec_device, path, "path", TEXT),
	DECODE_AT(spec_device, major, "major", I64),
	DECODE_AT(spec_device, minor, "minor", I64),
	DECODE_AT(spec_device, file_mode, "fileMode", NUMBER),
	DECODE_AT(spec_device, uid, "uid", U32),
	DECODE_AT(spec_device, gid, "gid", U32),
	DECODE_END};
static const struct decode_field rule_fields[] = {
	DECODE_AT(spec_device_rule, allow, "allow", FLAG),
	DECODE_AT(spec_device_rule, type, "type", TEXT),
	DECODE_AT(spec_device_rule, major, "major", NUMBER),
	DECODE_AT(spec_device_rule, minor, "minor", NUMBER),
	DECODE_AT(spec_device_rule, access, "access", TEXT),
	DECODE_END};
static const struct decode_field memory_fields[] = {
	DECODE_AT(spec_memory, limit, "limit", NUMBER),
	DECODE_AT(spec_memory, reservation, "reservation", NUMBER),
	DECODE_AT(spec_memory, swap, "swap", NUMBER),
	DECODE_AT(spec_memory, kernel, "kernel", NUMBER),
	DECODE_AT(spec_memory, kernel_tcp, "kernelTCP", NUMBER),
	DECODE_AT(spec_memory, swappiness, "swappiness", NUMBER),
	DECODE_AT(spec_memory, disable_oom_killer, "disableOOMKiller", FLAG),
	DECODE_AT(spec_memory, use_hierarchy, "useHierarchy", FLAG),
	DECODE_AT(spec_memory, check_before_update, "checkBeforeUpdate", FLAG),
	DECODE_END};
static const struct decode_field cpu_fields[] = {
	DECODE_AT(spec_cpu, shares, "shares", NUMBER),
	DECODE_AT(spec_cpu, quota, "quota", NUMBER),
	DECODE_AT(spec_cpu, period, "period", NUMBER),
	DECODE_AT(spec_cpu, burst, "burst", NUMBER),
	DECODE_AT(spec_cpu, realtime_runtime, "realtimeRuntime", NUMBER),
	DECODE_AT(spec_cpu, realtime_period, "realtimePeriod", NUMBER),
	DECODE_AT(spec_cpu, idle, "idle", NUMBER),
	DECODE_AT(spec_cpu, cpus, "cpus", TEXT),
	DECODE_AT(spec_cpu, mems, "mems", TEXT),
	DECODE_END};
static const struct decode_field pids_fields[] = {DECODE_AT(spec_pids, limit, "limit", NUMBER),
						  DECODE_END};
static const struct decode_field weight_fields[] = {
	DECODE_AT(spec_weight_device, major, "major", I64),
	DECODE_AT(spec_weight_device, minor, "minor", I64),
	DECODE_AT(spec_weight_device, weight, "weight", NUMBER),
	DECODE_AT(spec_weight_device, leaf_weight, "leafWeight", NUMBER), DECODE_END};
static const struct decode_field throttle_fields[] = {DECODE_AT(spec_throttle, major, "major", I64),
						      DECODE_AT(spec_throttle, minor, "minor", I64),
						      DECODE_AT(spec_throttle, rate, "rate", U64),
						      DECODE_END};
#define THROTTLES(member, name)                                                                    \
	DECODE_EACH(spec_block_io, member, name, spec_throttle, throttle_fields)
static const struct decode_field block_io_fields[] = {
	DECODE_AT(spec_block_io, weight, "weight", NUMBER),
	DECODE_AT(spec_block_io, leaf_weight, "leafWeight", NUMBER),
	DECODE_EACH(spec_block_io, weight_device, "weightDevice", spec_weight_device,
		    weight_fields),
	THROTTLES(read_bps, "throttleReadBpsDevice"),
	THROTTLES(write_bps, "throttleWriteBpsDevice"),
	THROTTLES(read_iops, "throttleReadIOPSDevice"),
	THROTTLES(write_iops, "throttleWriteIOPSDevice"),
	DECODE_END};
static const struct decode_field hugepage_fields[] = {
	DECODE_AT(spec_hugepage, page_size, "pageSize", TEXT),
	DECODE_AT(spec_hugepage, limit, "limit", U64), DECODE_END};
static const struct decode_field priority_fields[] = {
	DECODE_AT(spec_net_priority, name, "name", TEXT),
	DECODE_AT(spec_net_priority, priority, "priority", U32), DECODE_END};
static const struct decode_field network_fields[] = {
	DECODE_AT(spec_network, class_id, "classID", NUMBER),
	DECODE_EACH(spec_network, priorities, "priorities", spec_net_priority, priority_fields),
	DECODE_END};
static const struct decode_field resources_fields[] = {
	DECODE_EACH(spec_resources, devices, "devices", spec_device_rule, rule_fields),
	OBJECT(spec_resources, memory, "memory", spec_memory, memory_fields),
	OBJECT(spec_resources, cpu, "cpu", spec_cpu, cpu_fields),
	OBJECT(spec_resources, pids, "pids", spec_pids, pids_fields),
	OBJECT(spec_resources, block_io, "blockIO", spec_block_io, block_io_fields),
	DECODE_EACH(spec_resources, hugepages, "hugepageLimits", spec_hugepage, hugepage_fields),
	OBJECT(spec_resources, network, "network", spec_network, network_fields),
	DECODE_AT(spec_resources, unified, "unified", PAIRS),
	DECODE_END};
static const struct decode_field clock_fields[] = {DECODE_AT(spec_clock, secs, "secs", I64),
						   DECODE_AT(spec_clock, nanosecs, "nanosecs", U32),
						   DECODE_END};
static const struct decode_field offsets_fields[] = {
	OBJECT(spec_offsets, monotonic, "monotonic", spec_clock, clock_fields),
	OBJECT(spec_offsets, boottime, "boottime", spec_clock, clock_fields), DECODE_END};
static const struct decode_field personality_fields[] = {
	DECODE_AT(spec_personality, domain, "domain", TEXT),
	DECODE_AT(spec_personality, flags, "flags", TEXTS), DECODE_END};
static const struct decode_field linux_fields[] = {
	DECODE_EACH(spec_linux, namespaces, "namespaces", spec_namespace, namespace_fields),
	DECODE_EACH(spec_linux, uid_mappings, "uidMappings", spec_map, map_fields),
	DECODE_EACH(spec_linux, gid_mappings, "gidMappings", spec_map, map_fields),
	OBJECT(spec_linux, time_offsets, "timeOffsets", spec_offsets, offsets_fields),
	DECODE_EACH(spec_linux, devices, "devices", spec_device, device_fields),
	DECODE_AT(spec_linux, cgroups_path, "cgroupsPath", TEXT),
	OBJECT(spec_linux, resources, "resources", spec_resources, resources_fields),
	DECODE_AT(spec_linux, rootfs_propagation, "rootfsPropagation", TEXT),
	DECODE_AT(spec_linux, seccomp, "seccomp", RAW),
	DECODE_AT(spec_linux, sysctl, "sysctl", PAIRS),
	DECODE_AT(spec_linux, masked_paths, "maskedPaths", TEXTS),
	DECODE_AT(spec_linux, readonly_paths, "readonlyPaths", TEXTS),
	DECODE_AT(spec_linux, mount_label, "mountLabel", TEXT),
	OBJECT(spec_linux, personality, "personality", spec_personality, personality_fields),
	DECODE_END};
static const struct decode_field root_fields[] = {DECODE_AT(spec_root, path, "path", TEXT),
						  DECODE_AT(spec_root, readonly, "readonly", FLAG),
						  DECODE_END};
static const struct decode_field spec_fields[] = {
	DECODE_AT(spec, oci_version, "ociVersion", TEXT),
	DECODE_AT(spec, hostname, "hostname", TEXT),
	DECODE_AT(spec, domainname, "domainname", TEXT),
	OBJECT(spec, process, "process", spec_process, process_fields),
	OBJECT(spec, root, "root", spec_root, root_fields),
	DECODE_EACH(spec, mounts, "mounts", spec_mount, mount_fields),
	OBJECT(spec, hooks, "hooks", spec_hooks, hooks_fields),
	DECODE_AT(spec, annotations, "annotations", PAIRS),
	OBJECT(spec, linux_, "linux", spec_linux, linux_fields),
	DECODE_END};

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
