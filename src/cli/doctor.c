/* lodge doctor: what works on this machine, found out by trying it, and what to do about the
 * rest. A line a question; only what keeps guests from running makes the exit code 1. */
#include "base/chr.h"
#include "base/file.h"
#include "base/jail.h"
#include "base/ksm.h"
#include "base/loop.h"
#include "base/own.h"
#include "cli/cli.h"
#include "cli/images.h"
#include "guest/cgroup.h"
#include "guest/guest.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <liburing.h>
#include <locale.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

enum verdict { GOOD, NOTE, BAD };
struct finding {
	enum verdict verdict;
	char what[4200], hint[256]; /* hint may be empty */
};

static void say(struct finding *f, enum verdict v, const char *what, const char *hint)
{
	f->verdict = v;
	(void)snprintf(f->what, sizeof(f->what), "%s", what);
	(void)snprintf(f->hint, sizeof(f->hint), "%s", hint);
}

/* The value of the first line "key : value" of a file in /proc. */
static bool proc_value(const char *path, const char *key, char *to, size_t room)
{
	char line[512];
	FILE *f = fopen(path, "re");
	bool found = false;
	while (f && !found && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');
		if (!colon || strncmp(line, key, strlen(key))) continue;
		colon += 1 + strspn(colon + 1, " \t");
		colon[strcspn(colon, "\n")] = 0;
		(void)snprintf(to, room, "%s", colon);
		found = true;
	}
	if (f) (void)fclose(f);
	return found;
}

static void probe_cpu(struct finding *f)
{
	char model[100] = "unknown model";
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
	(void)proc_value("/proc/cpuinfo", "model name", model, sizeof(model));
	f->verdict = GOOD;
	(void)snprintf(f->what, sizeof(f->what), "%d core%s, %s", n, n == 1 ? "" : "s", model);
}

static void probe_memory(struct finding *f)
{
	char kib[32] = "0";
	(void)proc_value("/proc/meminfo", "MemAvailable", kib, sizeof(kib));
	unsigned long mib = strtoul(kib, NULL, 10) / 1024;
	f->verdict = mib < 768 ? NOTE : GOOD;
	(void)snprintf(f->what, sizeof(f->what), "%lu MiB free", mib);
	if (f->verdict == NOTE)
		strcpy(f->hint, "give guests less than they ask for: lodge run -m 256M");
}

static void probe_memfd(struct finding *f)
{
	auto_fd int fd = memfd_create("doctor", MFD_CLOEXEC);
	void *p = fd < 0 || ftruncate(fd, 4096)
			  ? MAP_FAILED
			  : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		say(f, BAD, "refused by the kernel",
		    "guests keep their memory in it; ask whoever confines this process");
	else {
		say(f, GOOD, "works", "");
		(void)munmap(p, 4096);
	}
}

static void probe_ksm(struct finding *f)
{
	enum ksm k = ksm_host();
	if (k == KSM_ON)
		say(f, GOOD, "KSM looks for them, in guests with --memory-merge", "");
	else if (k == KSM_OFF)
		say(f, NOTE, "KSM is off; only --memory-merge wants it",
		    "echo 1 > /sys/kernel/mm/ksm/run, as root");
	else
		say(f, NOTE, "this kernel has no KSM; only --memory-merge wants it", "");
}

/* Tried in a child, which leaves a group as it ends. */
static void probe_cgroup(struct finding *f)
{
	int ends[2], st = 0;
	struct err e = {0};
	if (pipe2(ends, O_CLOEXEC)) return;
	pid_t pid = fork();
	if (pid == 0) {
		for (unsigned i = 0; !e.code && i < CGROUPS; i++) {
			struct cgroup *c = NULL;
			if (!cgroup_open(&c, i, (int)getpid(), &e)) cgroup_close(c);
		}
		(void)!write(ends[1], &e, sizeof(e));
		_exit(0);
	}
	(void)close(ends[1]);
	if (pid > 0) (void)waitpid(pid, &st, 0);
	bool heard = pid > 0 && read(ends[0], &e, sizeof(e)) == sizeof(e);
	(void)close(ends[0]);
	if (heard && !e.code)
		say(f, GOOD,
		    "work, for --cpu-shares and --memory-high; --cpus and --io-rate are kept by "
		    "Lodge itself",
		    "");
	else
		say(f, NOTE, heard ? e.msg : "not tried",
		    "--cpus, --io-rate and --memory work all the same");
}

/* As a monitor does it, in a child, which then looks whether it can still open what it could. */
static _Noreturn void confined_child(int to)
{
	struct jail_plan p = {.nkept = 0};
	(void)jail_own_pids();
	jail_begin(&p);
	jail_close(&p, JAIL_NAT);
	int fd = open("/proc/self/status", O_RDONLY);
	if (fd >= 0) (void)snprintf(p.what, sizeof(p.what), "not at all: it can open files; ");
	(void)!write(to, p.what, sizeof(p.what));
	_exit(0);
}

static void probe_jail(struct finding *f)
{
	int ends[2], st = 0;
	char what[JAIL_WHAT] = "";
	uint64_t began = now_ns();
	if (pipe2(ends, O_CLOEXEC)) return;
	(void)fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) confined_child(ends[1]);
	(void)close(ends[1]);
	bool heard = pid > 0 && read(ends[0], what, sizeof(what)) == sizeof(what);
	if (pid > 0) (void)waitpid(pid, &st, 0);
	(void)close(ends[0]);
	what[JAIL_WHAT - 1] = 0;
	size_t n = strlen(what);
	f->verdict = heard && !n ? GOOD : NOTE;
	if (heard && !n)
		(void)snprintf(f->what, sizeof(f->what),
			       "by namespaces, Landlock and seccomp, within %llu ms",
			       (unsigned long long)(now_ns() - began) / 1000000 + 1);
	else
		say(f, NOTE, heard ? what : "it could not be tried",
		    "what is there holds without the rest; a guest says so as it starts");
	if (n > 2 && strlen(f->what) == n) f->what[n - 2] = 0;
}

static void probe_kvm(struct finding *f)
{
	struct host_note n = {.what = "no kind of guest here could use it"};
	for (const struct kind *const *k = cli_kinds; k && *k; k++)
		if ((*k)->hardware) (*k)->hardware(&n);
	say(f, n.good ? GOOD : NOTE, n.what, "");
	if (n.hint[0]) (void)snprintf(f->what + strlen(f->what), 200, ": %s", n.hint);
}

static void probe_uring(struct finding *f)
{
	struct io_uring ring;
	int r = io_uring_queue_init(4, &ring, 0);
	if (r) {
		say(f, NOTE, "not permitted; disks use threads instead", "");
		return;
	}
	io_uring_queue_exit(&ring);
	say(f, GOOD, "works: disks are asynchronous", "");
}

/* In a child, since it cannot be undone. */
static void probe_userns(struct finding *f)
{
	int st = 0;
	pid_t pid = fork();
	if (pid == 0) _exit(unshare(CLONE_NEWUSER) ? 1 : 0);
	bool ok = pid > 0 && waitpid(pid, &st, 0) == pid && WIFEXITED(st) && !WEXITSTATUS(st);
	if (ok)
		say(f, GOOD, "work", "");
	else
		say(f, NOTE, "not permitted; only making images as an ordinary user wants them",
		    "sysctl kernel.unprivileged_userns_clone=1, or make images as root");
}

static bool in_path(const char *program)
{
	char dirs[4096], path[4400], *rest = dirs;
	const char *env = getenv("PATH");
	(void)snprintf(dirs, sizeof(dirs), "%s:/usr/sbin:/sbin", env ? env : "/usr/bin:/bin");
	for (char *dir; (dir = strsep(&rest, ":"));) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, program);
		if (!access(path, X_OK)) return true;
	}
	return false;
}

static void probe_tools(struct finding *f)
{
	static const char *const need[][2] = {
		{"apt-get", "apt"}, {"dpkg-deb", "dpkg"},     {"cpio", "cpio"},
		{"xz", "xz-utils"}, {"zstd", "zstd"},	      {"mke2fs", "e2fsprogs"},
		{"depmod", "kmod"}, {"fakeroot", "fakeroot"},
	};
	char missing[128] = "";
	for (unsigned i = 0; i < COUNT(need); i++) {
		if (in_path(need[i][0])) continue;
		strcat(missing, " ");
		strcat(missing, need[i][1]);
	}
	if (!missing[0]) {
		say(f, GOOD, "all there", "");
		return;
	}
	f->verdict = NOTE;
	(void)snprintf(f->what, sizeof(f->what), "missing:%s", missing);
	(void)snprintf(f->hint, sizeof(f->hint), "apt-get install%s", missing);
}

static void probe_recipes(struct finding *f)
{
	struct err e = {0};
	if (recipes_find(f->what, sizeof(f->what), &e))
		say(f, BAD, e.msg, "run it from its source folder, or 'make install'");
	else
		f->verdict = GOOD;
}

static int count_image(void *ctx, const struct image *im)
{
	struct finding *f = ctx;
	size_t n = strlen(f->what);
	(void)snprintf(f->what + n, sizeof(f->what) - n, "%s%s (%s)", n ? ", " : "", im->name,
		       im->arch);
	return 0;
}

static void probe_images(struct finding *f)
{
	struct store *s;
	struct err e = {0};
	struct statvfs fs;
	if (store_open(&s, NULL, &e)) {
		say(f, BAD, e.msg, "--root DIR or LODGE_HOME choose another folder");
		return;
	}
	say(f, GOOD, "", "");
	if (store_image_each(s, count_image, f, &e))
		say(f, BAD, e.msg, "");
	else if (!f->what[0])
		say(f, NOTE, "none yet",
		    "lodge run makes the built-in one; lodge image build debian");
	if (!statvfs(store_root(s), &fs) && (double)fs.f_bavail * (double)fs.f_frsize < 3e9 &&
	    !f->hint[0])
		strcpy(f->hint, "less than 3 GB are free there: too little to make a Debian image");
	store_close(s);
}

/* The smallest kernel: an Image header (Linux Documentation/riscv/boot-image-header.rst), a loop
 * that is soon worth being translated, and five instructions that switch the board off by its test
 * finisher at 0x100000. */
static const uint32_t probe_image[] = {
	0x0400006f, 0, 0x200000, 0, 0x1000,	0,    0,	  0, /* j 64; offset, size, flags */
	2,	    0, 0,	 0, 0x43534952, 0x56, 0x05435352, 0, /* "RISCV", "RSC\5" */
	0x04000637,						     /* lui a2, 0x4000 */
	0xfff60613,						     /* 1: addi a2, a2, -1 */
	0xfe061ee3,						     /* bnez a2, 1b */
	0x00100537,						     /* lui a0, 0x100 */
	0x000055b7,						     /* lui a1, 5 */
	0x55558593,						     /* addi a1, a1, 0x555 */
	0x00b52023,						     /* sw a1, 0(a0) */
	0x0000006f,						     /* j . */
};
enum { PROBE_MEMORY = 16, PROBE_SECONDS = 10, PROBE_LATE = 99 };

static size_t probe_output(void *host, const uint8_t *p, size_t n)
{
	(void)host;
	(void)p;
	return n;
}

static void probe_late(void *ctx) { loop_stop(ctx, PROBE_LATE); }

static int run_probe(const char *path, struct guest_end *end, struct err *e)
{
	struct spec s = {
		.arch = ARCH_RV64, .cpus = 1, .memory = PROBE_MEMORY * MIB, .kernel = path};
	struct chr console = {.output = probe_output};
	struct loop *l;
	struct timer *t;
	const struct kind *k = kind_for(&s);
	if (!k) return fail(e, -ENOTSUP, "this lodge has no kind of guest that is a computer");
	int r = loop_new(&l, e);
	if (r) return r;
	r = loop_timer(l, &t, probe_late, l, e);
	if (!r) timer_arm(t, now_ns() + PROBE_SECONDS * 1000000000ull);
	if (!r) r = guest_run(k, &s, l, &console, end, e);
	loop_free(l);
	return r;
}

static uint64_t counted(const struct guest_stats *s, const char *name)
{
	for (unsigned i = 0; i < s->counters.n; i++)
		if (!strcmp(s->counters.at[i].name, name)) return s->counters.at[i].value;
	return 0;
}

static struct guest_stats probed; /* of the guest that ran; up_ns 0: it did not */

static void probe_guest(struct finding *f)
{
	char path[64];
	struct err e = {0};
	struct guest_end end = {.code = -1};
	uint64_t began = now_ns();
	auto_fd int fd = memfd_create("probe", MFD_CLOEXEC);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (write(fd, probe_image, sizeof(probe_image)) != sizeof(probe_image))
		say(f, BAD, "no memory file for it", "");
	else if (run_probe(path, &end, &e))
		say(f, BAD, e.msg, "");
	else if (end.code)
		say(f, BAD, "a guest that was to power itself off did not", "");
	else {
		f->verdict = GOOD;
		probed = end.stats;
		(void)snprintf(f->what, sizeof(f->what),
			       "a riscv64 guest ran and powered off within %llu ms",
			       (unsigned long long)(now_ns() - began) / 1000000 + 1);
	}
}

/* The loop has 2 * 0x4000000 instructions; all else is little beside it. */
static void probe_engine(struct finding *f)
{
	const double insns = 2.0 * 0x4000000;
	if (!probed.up_ns) {
		say(f, NOTE, "not known, since no guest ran", "");
		return;
	}
	bool translated = counted(&probed, "units") > 0;
	f->verdict = translated ? GOOD : NOTE;
	(void)snprintf(f->what, sizeof(f->what),
		       "instructions are %s, in a small loop %.0f million a second",
		       translated ? "translated" : "interpreted",
		       insns * 1e3 / (double)probed.up_ns);
	if (!translated)
		strcpy(f->hint, "memory to execute code from was refused; ask whoever confines "
				"this process");
}

static const struct {
	const char *name;
	void (*probe)(struct finding *f);
} probes[] = {
	{"processor", probe_cpu},     {"memory", probe_memory},
	{"memfd", probe_memfd},	      {"/dev/kvm", probe_kvm},
	{"io_uring", probe_uring},    {"user namespaces", probe_userns},
	{"confinement", probe_jail},  {"control groups", probe_cgroup},
	{"equal pages", probe_ksm},   {"image recipes", probe_recipes},
	{"image tools", probe_tools}, {"images", probe_images},
	{"a guest", probe_guest},     {"engine", probe_engine},
};

static int doctor_run(const struct call *c, struct err *e)
{
	static const char *const utf8[] = {"✓", "!", "✗"}, *const ascii[] = {"ok", "! ", "NO"};
	bool bad = false;
	(void)c;
	(void)e;
	(void)setlocale(LC_CTYPE, "");
	const char *const *mark = strcmp(nl_langinfo(CODESET), "UTF-8") ? ascii : utf8;
	for (unsigned i = 0; i < COUNT(probes); i++) {
		struct finding f = {0};
		probes[i].probe(&f);
		bad |= f.verdict == BAD;
		printf("%s %-16s %s\n", mark[f.verdict], probes[i].name, f.what);
		if (f.hint[0])
			printf("%-*s %-16s hint: %s\n", mark == ascii ? 2 : 1, "", "", f.hint);
	}
	return bad;
}

const struct verb verb_doctor = {
	.name = "doctor",
	.args = "",
	.summary = "Say what works on this machine, and what to do about the rest",
	.text = "The exit code is 1 when something keeps guests from running.",
	.run = doctor_run,
};
