#include "zone/words.h"
#include <ctype.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

int64_t word_find(const struct word *table, const char *name)
{
	for (; table->name; table++)
		if (!strcmp(table->name, name)) return table->value;
	return -1;
}

/* capabilities(7), in the order of their numbers */
const struct word words_caps[] = {{"CHOWN", 0},
				  {"DAC_OVERRIDE", 1},
				  {"DAC_READ_SEARCH", 2},
				  {"FOWNER", 3},
				  {"FSETID", 4},
				  {"KILL", 5},
				  {"SETGID", 6},
				  {"SETUID", 7},
				  {"SETPCAP", 8},
				  {"LINUX_IMMUTABLE", 9},
				  {"NET_BIND_SERVICE", 10},
				  {"NET_BROADCAST", 11},
				  {"NET_ADMIN", 12},
				  {"NET_RAW", 13},
				  {"IPC_LOCK", 14},
				  {"IPC_OWNER", 15},
				  {"SYS_MODULE", 16},
				  {"SYS_RAWIO", 17},
				  {"SYS_CHROOT", 18},
				  {"SYS_PTRACE", 19},
				  {"SYS_PACCT", 20},
				  {"SYS_ADMIN", 21},
				  {"SYS_BOOT", 22},
				  {"SYS_NICE", 23},
				  {"SYS_RESOURCE", 24},
				  {"SYS_TIME", 25},
				  {"SYS_TTY_CONFIG", 26},
				  {"MKNOD", 27},
				  {"LEASE", 28},
				  {"AUDIT_WRITE", 29},
				  {"AUDIT_CONTROL", 30},
				  {"SETFCAP", 31},
				  {"MAC_OVERRIDE", 32},
				  {"MAC_ADMIN", 33},
				  {"SYSLOG", 34},
				  {"WAKE_ALARM", 35},
				  {"BLOCK_SUSPEND", 36},
				  {"AUDIT_READ", 37},
				  {"PERFMON", 38},
				  {"BPF", 39},
				  {"CHECKPOINT_RESTORE", 40},
				  {NULL, 0}};

int word_cap(const char *name)
{
	if (!strncasecmp(name, "CAP_", 4)) name += 4;
	for (const struct word *w = words_caps; w->name; w++)
		if (!strcasecmp(w->name, name)) return (int)w->value;
	return -1;
}

static const struct word rlimits[] = {{"RLIMIT_AS", RLIMIT_AS},
				      {"RLIMIT_CORE", RLIMIT_CORE},
				      {"RLIMIT_CPU", RLIMIT_CPU},
				      {"RLIMIT_DATA", RLIMIT_DATA},
				      {"RLIMIT_FSIZE", RLIMIT_FSIZE},
				      {"RLIMIT_LOCKS", RLIMIT_LOCKS},
				      {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
				      {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
				      {"RLIMIT_NICE", RLIMIT_NICE},
				      {"RLIMIT_NOFILE", RLIMIT_NOFILE},
				      {"RLIMIT_NPROC", RLIMIT_NPROC},
				      {"RLIMIT_RSS", RLIMIT_RSS},
				      {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
				      {"RLIMIT_RTTIME", RLIMIT_RTTIME},
				      {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
				      {"RLIMIT_STACK", RLIMIT_STACK},
				      {NULL, 0}};
int word_rlimit(const char *name) { return (int)word_find(rlimits, name); }

/* What config.json calls them; beside it, in the same order, what /proc does. */
const struct word words_namespaces[] = {
	{"user", CLONE_NEWUSER}, {"pid", CLONE_NEWPID},	      {"network", CLONE_NEWNET},
	{"mount", CLONE_NEWNS},	 {"ipc", CLONE_NEWIPC},	      {"uts", CLONE_NEWUTS},
	{"time", CLONE_NEWTIME}, {"cgroup", CLONE_NEWCGROUP}, {NULL, 0}};
static const char *const namespace_files[] = {"user", "pid", "net",  "mnt",
					      "ipc",  "uts", "time", "cgroup"};
int word_namespace(const char *type) { return (int)word_find(words_namespaces, type); }
const char *word_namespace_file(int flag)
{
	for (unsigned i = 0; words_namespaces[i].name; i++)
		if (words_namespaces[i].value == flag) return namespace_files[i];
	return NULL;
}

static int number_of(const char *s, int max)
{
	char *end;
	long n = isdigit((unsigned char)*s) ? strtol(s, &end, 10) : -1;
	return n >= 0 && !*end && n <= max ? (int)n : -1;
}

int word_signal(const char *name)
{
	int n = number_of(name, SIGRTMAX);
	if (n >= 0) return n;
	if (!strncasecmp(name, "SIG", 3)) name += 3;
	if (!strncasecmp(name, "RTMIN", 5)) {
		n = name[5] == '+' ? number_of(name + 6, SIGRTMAX - SIGRTMIN) : name[5] ? -1 : 0;
		return n < 0 ? -1 : SIGRTMIN + n;
	}
	if (!strncasecmp(name, "RTMAX", 5)) {
		n = name[5] == '-' ? number_of(name + 6, SIGRTMAX - SIGRTMIN) : name[5] ? -1 : 0;
		return n < 0 ? -1 : SIGRTMAX - n;
	}
	for (int i = 1; i < 32; i++) {
		const char *s = sigabbrev_np(i);
		if (s && !strcasecmp(s, name)) return i;
	}
	return -1;
}
