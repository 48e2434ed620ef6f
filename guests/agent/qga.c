/* QEMU's guest agent protocol, as much of it as a monitor needs: qga/qapi-schema.json of QEMU says
 * what the commands mean. A command is a line of JSON, and so is its answer. What a program that is
 * run by guest-exec reads and writes are files in memory: nothing has to be carried meanwhile. */
#define _GNU_SOURCE
#include "agent.h"
#include "json.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/fs.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 128 * 1024, READ = 48 * 1024, FILES = 16, JOBS = 32, WORDS = 256, FROZEN = 32 };
enum { CAPTURE = 8 << 20 };

struct job {
	pid_t pid; /* 0: free */
	int out, err, status;
	bool ended;
};
static struct job job[JOBS];
static int file[FILES]; /* -1: free */
static int frozen[FROZEN];
static unsigned nfrozen;
static struct text answer;

/* ---- answers ---- */
static void fail(const char *class, const char *fmt, ...)
{
	char words[256];
	va_list a;
	va_start(a, fmt);
	vsnprintf(words, sizeof(words), fmt, a);
	va_end(a);
	answer.len = 0;
	text_fmt(&answer, "{\"error\": {\"class\": \"%s\", \"desc\": ", class);
	text_string(&answer, words, strlen(words));
	text_fmt(&answer, "}}");
}
static void fail_errno(const char *what) { fail("GenericError", "%s: %s", what, strerror(errno)); }
static void done(void) { text_fmt(&answer, "{\"return\": {}}"); }
static void number(long long n) { text_fmt(&answer, "{\"return\": %lld}", n); }

/* ---- small ones ---- */
static void do_ping(const char *a) { (void)a, done(); }

static void do_sync(const char *a)
{
	long long id;
	if (json_number(json_member(a, "id"), &id))
		number(id);
	else
		fail("GenericError", "which id?");
}

static void do_sync_delimited(const char *a)
{
	text_add(&answer, "\xff", 1);
	do_sync(a);
}

static void do_host_name(const char *a)
{
	char name[256] = "";
	(void)a;
	gethostname(name, sizeof(name) - 1);
	text_fmt(&answer, "{\"return\": {\"host-name\": ");
	text_string(&answer, name, strlen(name));
	text_fmt(&answer, "}}");
}

/* A name that somebody chose inside stays. */
static void do_set_name(const char *a)
{
	static const char *const fresh[] = {"", "(none)", "localhost", "lodge", "debian"};
	char name[65], now[256] = "";
	if (json_string(json_member(a, "name"), name, sizeof(name)) <= 0) {
		fail("GenericError", "which name?");
		return;
	}
	gethostname(now, sizeof(now) - 1);
	for (unsigned i = 0; i < sizeof(fresh) / sizeof(fresh[0]); i++)
		if (!strcmp(now, fresh[i])) {
			if (sethostname(name, strlen(name))) fail_errno("sethostname");
			FILE *f = fopen("/etc/hosts", "ae");
			if (f) fprintf(f, "127.0.1.1\t%s\n", name), fclose(f);
			break;
		}
	if (!answer.len) done();
}

static void do_set_identity(const char *a)
{
	if (identity_take(a))
		done();
	else
		fail("GenericError", "id, name, macs: who is that?");
}

static void do_get_time(const char *a)
{
	struct timespec t;
	(void)a;
	clock_gettime(CLOCK_REALTIME, &t);
	number((long long)t.tv_sec * 1000000000 + t.tv_nsec);
}

static void do_set_time(const char *a)
{
	long long ns;
	if (!json_number(json_member(a, "time"), &ns) || ns < 0) {
		fail("GenericError", "without a time: there is no clock to read it from");
		return;
	}
	struct timespec t = {ns / 1000000000, ns % 1000000000};
	if (clock_settime(CLOCK_REALTIME, &t))
		fail_errno("clock_settime");
	else
		done();
}

/* ---- power ---- */
static void power(const char *verb, int how)
{
	struct user root;
	char *systemd[] = {"systemctl", (char *)(uintptr_t)verb, NULL};
	char *plain[] = {(char *)(uintptr_t)verb, NULL};
	bool has = !access("/run/systemd/system", F_OK);
	user_find(&root, "");
	if (fork() == 0) run(&root, "/", has ? systemd : plain, NULL);
	int status;
	if (wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 127) {
		sync();
		reboot(how);
	}
}

/* No answer when it goes well: the guest is gone. */
static void do_shutdown(const char *a)
{
	char mode[16] = "powerdown";
	(void)json_string(json_member(a, "mode"), mode, sizeof(mode));
	if (!strcmp(mode, "powerdown"))
		power("poweroff", RB_POWER_OFF);
	else if (!strcmp(mode, "reboot"))
		power("reboot", RB_AUTOBOOT);
	else if (!strcmp(mode, "halt"))
		power("halt", RB_HALT_SYSTEM);
	else
		fail("GenericError", "mode: powerdown, reboot or halt");
}

/* ---- programs ---- */
static size_t strings(const char *list, char **out, size_t n, char *room, size_t len)
{
	const char *at = NULL;
	while (n < WORDS && (at = json_next(list, at))) {
		int got = json_string(at, room, len);
		if (got < 0) break;
		out[n++] = room;
		room += got + 1;
		len -= (size_t)got + 1;
	}
	out[n] = NULL;
	return n;
}

static int memory(const char *name) { return memfd_create(name, MFD_CLOEXEC); }

static int input(const char *a)
{
	static char coded[LINE];
	static uint8_t data[LINE];
	int n = json_string(json_member(a, "input-data"), coded, sizeof(coded));
	if (n < 0) return open("/dev/null", O_RDONLY | O_CLOEXEC);
	long len = base64_decode(coded, (size_t)n, data);
	int fd = len < 0 ? -1 : memory("input");
	if (fd >= 0 && (!write_all(fd, data, (size_t)len) || lseek(fd, 0, SEEK_SET))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void start(struct job *j, const char *a, char **argv, char **env)
{
	struct user root;
	bool capture = json_true(json_member(a, "capture-output"));
	int in = input(a);
	j->out = capture ? memory("output") : -1;
	j->err = capture ? memory("errors") : -1;
	user_find(&root, "");
	pid_t p = in < 0 ? -1 : fork();
	if (p == 0) {
		int null = open("/dev/null", O_RDWR);
		setsid();
		dup2(in, 0);
		dup2(capture ? j->out : null, 1);
		dup2(capture ? j->err : null, 2);
		run(&root, "/", argv, env);
	}
	if (in >= 0) close(in);
	if (p > 0) {
		j->pid = p;
		j->ended = false;
		text_fmt(&answer, "{\"return\": {\"pid\": %d}}", (int)p);
		return;
	}
	if (j->out >= 0) close(j->out);
	if (j->err >= 0) close(j->err);
	fail("GenericError", "it cannot be started");
}

static void do_exec(const char *a)
{
	static char words[LINE], vars[LINE];
	char *argv[WORDS + 1], *env[WORDS + 1];
	struct job *j = job;
	while (j < job + JOBS && j->pid) j++;
	if (j == job + JOBS) {
		fail("GenericError", "%d programs have not been asked after", JOBS);
		return;
	}
	int n = json_string(json_member(a, "path"), words, sizeof(words));
	if (n <= 0) {
		fail("GenericError", "which program?");
		return;
	}
	argv[0] = words;
	strings(json_member(a, "arg"), argv, 1, words + n + 1, sizeof(words) - (size_t)n - 1);
	strings(json_member(a, "env"), env, 0, vars, sizeof(vars));
	start(j, a, argv, env);
}

static void captured(const char *name, int fd)
{
	struct stat st;
	if (fd < 0 || fstat(fd, &st) || !st.st_size) return;
	size_t n = st.st_size < CAPTURE ? (size_t)st.st_size : CAPTURE;
	void *p = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) return;
	text_fmt(&answer, ", \"%s-data\": \"", name);
	text_base64(&answer, p, n);
	text_fmt(&answer, "\"%s%s%s", n < (size_t)st.st_size ? ", \"" : "",
		 n < (size_t)st.st_size ? name : "",
		 n < (size_t)st.st_size ? "-truncated\": true" : "");
	munmap(p, n);
}

static void do_exec_status(const char *a)
{
	long long pid;
	struct job *j = job;
	if (!json_number(json_member(a, "pid"), &pid)) pid = 0;
	while (j < job + JOBS && (!j->pid || j->pid != pid)) j++;
	if (j == job + JOBS) {
		fail("GenericError", "no such program was started");
		return;
	}
	if (!j->ended) j->ended = waitpid(j->pid, &j->status, WNOHANG) == j->pid;
	if (!j->ended) {
		text_fmt(&answer, "{\"return\": {\"exited\": false}}");
		return;
	}
	bool normal = WIFEXITED(j->status);
	text_fmt(&answer, "{\"return\": {\"exited\": true, \"%s\": %d",
		 normal ? "exitcode" : "signal",
		 normal ? WEXITSTATUS(j->status) : WTERMSIG(j->status));
	captured("out", j->out);
	captured("err", j->err);
	text_fmt(&answer, "}}");
	if (j->out >= 0) close(j->out);
	if (j->err >= 0) close(j->err);
	j->pid = 0;
}

/* ---- files ---- */
static int open_flags(const char *mode)
{
	bool plus = strchr(mode, '+');
	switch (*mode) {
	case 'r': return plus ? O_RDWR : O_RDONLY;
	case 'w': return (plus ? O_RDWR : O_WRONLY) | O_CREAT | O_TRUNC;
	case 'a': return (plus ? O_RDWR : O_WRONLY) | O_CREAT | O_APPEND;
	default: return -1;
	}
}

static void do_file_open(const char *a)
{
	char path[4096], mode[8] = "r";
	unsigned i = 0;
	while (i < FILES && file[i] >= 0) i++;
	(void)json_string(json_member(a, "mode"), mode, sizeof(mode));
	int flags = open_flags(mode);
	if (i == FILES || flags < 0 ||
	    json_string(json_member(a, "path"), path, sizeof(path)) <= 0) {
		fail("GenericError",
		     i == FILES ? "too many files are open" : "which file, and how?");
		return;
	}
	file[i] = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
	if (file[i] < 0)
		fail_errno(path);
	else
		number((long long)i + 1000);
}

static int *handle(const char *a)
{
	long long n;
	if (json_number(json_member(a, "handle"), &n) && n >= 1000 && n < 1000 + FILES &&
	    file[n - 1000] >= 0)
		return &file[n - 1000];
	fail("GenericError", "no such handle");
	return NULL;
}

static void do_file_close(const char *a)
{
	int *f = handle(a);
	if (!f) return;
	close(*f);
	*f = -1;
	done();
}

static void do_file_read(const char *a)
{
	static uint8_t data[READ];
	long long count = 4096;
	int *f = handle(a);
	if (!f) return;
	(void)json_number(json_member(a, "count"), &count);
	if (count < 0 || count > READ) count = READ;
	ssize_t n = read(*f, data, (size_t)count);
	if (n < 0) {
		fail_errno("read");
		return;
	}
	text_fmt(&answer, "{\"return\": {\"count\": %zd, \"buf-b64\": \"", n);
	text_base64(&answer, data, (size_t)n);
	text_fmt(&answer, "\", \"eof\": %s}}", n < count ? "true" : "false");
}

static void do_file_write(const char *a)
{
	static char coded[LINE];
	static uint8_t data[LINE];
	long long count;
	int *f = handle(a);
	if (!f) return;
	int got = json_string(json_member(a, "buf-b64"), coded, sizeof(coded));
	long n = got < 0 ? -1 : base64_decode(coded, (size_t)got, data);
	if (json_number(json_member(a, "count"), &count) && count >= 0 && count < n)
		n = (long)count;
	ssize_t put = n < 0 ? -1 : write(*f, data, (size_t)n);
	if (n < 0)
		fail("GenericError", "buf-b64 is not base64");
	else if (put < 0)
		fail_errno("write");
	else
		text_fmt(&answer, "{\"return\": {\"count\": %zd, \"eof\": false}}", put);
}

static void do_file_seek(const char *a)
{
	static const int from[] = {SEEK_SET, SEEK_CUR, SEEK_END};
	long long offset, whence;
	int *f = handle(a);
	if (!f) return;
	if (!json_number(json_member(a, "offset"), &offset) ||
	    !json_number(json_member(a, "whence"), &whence) || whence < 0 || whence > 2) {
		fail("GenericError", "to where?");
		return;
	}
	off_t at = lseek(*f, offset, from[whence]);
	if (at < 0)
		fail_errno("seek");
	else
		text_fmt(&answer, "{\"return\": {\"position\": %lld, \"eof\": false}}",
			 (long long)at);
}

static void do_file_flush(const char *a)
{
	int *f = handle(a);
	if (f && fsync(*f))
		fail_errno("flush");
	else if (f)
		done();
}

/* ---- the network ---- */
static void hardware(const struct ifaddrs *all, const char *name)
{
	for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
		if (strcmp(i->ifa_name, name) || !i->ifa_addr ||
		    i->ifa_addr->sa_family != AF_PACKET)
			continue;
		const struct sockaddr_ll *l = (const void *)i->ifa_addr;
		const uint8_t *m = l->sll_addr;
		text_fmt(&answer, ", \"hardware-address\": \"%02x:%02x:%02x:%02x:%02x:%02x\"", m[0],
			 m[1], m[2], m[3], m[4], m[5]);
		return;
	}
}

static unsigned prefix(const uint8_t *p, size_t n)
{
	unsigned bits = 0;
	for (size_t i = 0; i < n; i++) bits += (unsigned)__builtin_popcount(p[i]);
	return bits;
}

static void addresses(const struct ifaddrs *all, const char *name)
{
	const char *comma = "";
	char words[INET6_ADDRSTRLEN];
	for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
		int family = i->ifa_addr ? i->ifa_addr->sa_family : 0;
		if (strcmp(i->ifa_name, name) || (family != AF_INET && family != AF_INET6))
			continue;
		bool v4 = family == AF_INET;
		const void *at =
			v4 ? (void *)&((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr
			   : (void *)&((struct sockaddr_in6 *)(void *)i->ifa_addr)->sin6_addr;
		const void *mask =
			!i->ifa_netmask ? NULL
			: v4 ? (void *)&((struct sockaddr_in *)(void *)i->ifa_netmask)->sin_addr
			     : (void *)&((struct sockaddr_in6 *)(void *)i->ifa_netmask)->sin6_addr;
		inet_ntop(family, at, words, sizeof(words));
		text_fmt(&answer,
			 "%s{\"ip-address\": \"%s\", \"ip-address-type\": \"%s\", \"prefix\": %u}",
			 comma, words, v4 ? "ipv4" : "ipv6", mask ? prefix(mask, v4 ? 4 : 16) : 0);
		comma = ", ";
	}
}

static void do_interfaces(const char *a)
{
	struct ifaddrs *all = NULL;
	(void)a;
	if (getifaddrs(&all)) {
		fail_errno("getifaddrs");
		return;
	}
	struct if_nameindex *names = if_nameindex();
	text_fmt(&answer, "{\"return\": [");
	for (struct if_nameindex *n = names; n && n->if_name; n++) {
		text_fmt(&answer, "%s{\"name\": ", n == names ? "" : ", ");
		text_string(&answer, n->if_name, strlen(n->if_name));
		hardware(all, n->if_name);
		text_fmt(&answer, ", \"ip-addresses\": [");
		addresses(all, n->if_name);
		text_fmt(&answer, "]}");
	}
	text_fmt(&answer, "]}");
	if (names) if_freenameindex(names);
	freeifaddrs(all);
}

/* ---- freezing ---- */
static void do_freeze_status(const char *a)
{
	(void)a;
	text_fmt(&answer, "{\"return\": \"%s\"}", nfrozen ? "frozen" : "thawed");
}

static void freeze(const char *place)
{
	int fd = open(place, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && nfrozen < FROZEN && !ioctl(fd, FIFREEZE, 0))
		frozen[nfrozen++] = fd;
	else if (fd >= 0)
		close(fd);
}

/* What was mounted first is frozen last: others may be in it. */
static void do_freeze(const char *a)
{
	char line[1024], place[64][256], device[256];
	unsigned n = 0;
	(void)a;
	FILE *f = nfrozen ? NULL : fopen("/proc/mounts", "re");
	while (f && n < 64 && fgets(line, sizeof(line), f))
		if (sscanf(line, "%255s %255s", device, place[n]) == 2 && *device == '/') n++;
	if (f) fclose(f);
	while (n) freeze(place[--n]);
	number(nfrozen);
}

static void do_thaw(const char *a)
{
	unsigned was = nfrozen;
	(void)a;
	while (nfrozen) {
		(void)ioctl(frozen[--nfrozen], FITHAW, 0);
		close(frozen[nfrozen]);
	}
	number(was);
}

/* ---- all of them ---- */
static void do_info(const char *a);
static const struct command {
	const char *name;
	void (*run)(const char *arguments);
} commands[] = {
	{"guest-exec", do_exec},
	{"guest-exec-status", do_exec_status},
	{"guest-file-close", do_file_close},
	{"guest-file-flush", do_file_flush},
	{"guest-file-open", do_file_open},
	{"guest-file-read", do_file_read},
	{"guest-file-seek", do_file_seek},
	{"guest-file-write", do_file_write},
	{"guest-fsfreeze-freeze", do_freeze},
	{"guest-fsfreeze-status", do_freeze_status},
	{"guest-fsfreeze-thaw", do_thaw},
	{"guest-get-host-name", do_host_name},
	{"guest-get-time", do_get_time},
	{"guest-info", do_info},
	{"guest-network-get-interfaces", do_interfaces},
	{"guest-ping", do_ping},
	{"guest-set-time", do_set_time},
	{"guest-shutdown", do_shutdown},
	{"guest-sync", do_sync},
	{"guest-sync-delimited", do_sync_delimited},
	{"lodge-set-identity", do_set_identity},
	{"lodge-set-name", do_set_name},
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void do_info(const char *a)
{
	(void)a;
	text_fmt(&answer, "{\"return\": {\"version\": \"1\", \"supported_commands\": [");
	for (unsigned i = 0; i < COMMANDS; i++)
		text_fmt(&answer,
			 "%s{\"name\": \"%s\", \"enabled\": true, \"success-response\": %s}",
			 i ? ", " : "", commands[i].name,
			 commands[i].run == do_shutdown ? "false" : "true");
	text_fmt(&answer, "]}}");
}

static void command(const char *line)
{
	char name[64];
	answer.len = 0;
	if (!json_good(line) || json_string(json_member(line, "execute"), name, sizeof(name)) < 0) {
		fail("GenericError", "that is no command");
		return;
	}
	for (unsigned i = 0; i < COMMANDS; i++)
		if (!strcmp(commands[i].name, name)) {
			commands[i].run(json_member(line, "arguments"));
			return;
		}
	fail("CommandNotFound", "The command %s has not been found", name);
}

static bool obey(int fd, char *line)
{
	const char *sent = line + strspn(line, "\xff \t\r");
	if (!*sent) return true;
	command(sent);
	if (answer.len) text_add(&answer, "\n", 1);
	return write_all(fd, answer.at, answer.len);
}

static void forget(void)
{
	do_thaw(NULL);
	for (unsigned i = 0; i < FILES; i++) {
		if (file[i] > 0) close(file[i]);
		file[i] = -1;
	}
}

void qga(int fd)
{
	static char line[LINE + 1];
	size_t n = 0;
	ssize_t got;
	forget();
	while ((got = read(fd, line + n, LINE - n)) > 0 || (got < 0 && errno == EINTR)) {
		char *end;
		if (got > 0) n += (size_t)got;
		while ((end = memchr(line, '\n', n))) {
			*end = 0;
			bool good = memchr(line, 0, n) == end ? obey(fd, line) : true;
			size_t len = (size_t)(end - line) + 1;
			n -= len;
			memmove(line, end + 1, n);
			if (!good) return;
		}
		if (n == LINE) n = 0; /* too long to be one of ours */
	}
	forget();
}
