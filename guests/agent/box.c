/* The first process of a guest that is there for one container's program: it makes the container's
 * root of what the host shares and of what is written here, and lets the agent run in that. One
 * program instead of a script of many, since each that is started costs a guest whose CPU is
 * translated. Its words are on the kernel's command line; see guests/README.md. The root's files are
 * anybody's: what is mounted in it is mounted at a descriptor that was found within it. */
#define _GNU_SOURCE
#include "agent.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOT "/box"
enum { LINE = 64 * 1024, CARDS = 8 };

static char line[LINE];
static int root;

/* On the kernel's console, which the host shows of a guest that never came so far. */
__attribute__((format(printf, 1, 2), noreturn)) static void give_up(const char *fmt, ...)
{
	int why = errno;
	char words[512];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	dprintf(2, "lodge: %.*s: %s\n", n, words, strerror(why));
	sync();
	reboot(RB_POWER_OFF);
	for (;;) pause();
}

static pid_t spawn(char *const *argv)
{
	pid_t p = fork();
	if (p == 0) {
		execv(argv[0], argv);
		_exit(127);
	}
	return p;
}

static void end_of(pid_t p)
{
	while (p > 0 && waitpid(p, NULL, 0) < 0 && errno == EINTR) continue;
}

/* ---- the command line */
/* From "\0NNN" as the host writes what is no plain letter. */
static void decode(char *text)
{
	char *to = text;
	for (char *p = text; *p; p++) {
		unsigned v = 0;
		int n = 0;
		if (*p == '\\' && p[1] == '0' && sscanf(p + 2, "%3o%n", &v, &n) == 1 && n == 3) {
			*to++ = (char)v;
			p += 4;
		} else {
			*to++ = *p;
		}
	}
	*to = 0;
}

static void line_read(void)
{
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	if (n < 0) give_up("/proc/cmdline");
	line[n] = 0;
	close(fd);
}

/* The next word behind at (NULL: the first) that begins so; what follows it is the caller's. */
static const char *word(const char *begins, const char *at, char *value, size_t size)
{
	size_t n = strlen(begins);
	for (const char *p = at ? at : line; *p; p += strcspn(p, " \n")) {
		p += strspn(p, " \n");
		if (strncmp(p, begins, n)) continue;
		size_t len = strcspn(p + n, " \n");
		snprintf(value, size, "%.*s", (int)len, p + n);
		return p + n + len;
	}
	return NULL;
}

/* ---- a place in the root */
static int in_root(int from, const char *path, unsigned long long flags, unsigned mode)
{
	struct open_how how = {.flags = flags | O_CLOEXEC,
			       .mode = mode,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	return (int)syscall(SYS_openat2, from, path, &how, sizeof(how));
}

/* The folder, made as far as it is missing; -1 and errno. */
static int folder_at(const char *path)
{
	char so_far[512] = "";
	int fd = in_root(root, ".", O_PATH | O_DIRECTORY, 0);
	while (fd >= 0 && *(path += strspn(path, "/"))) {
		char name[256];
		size_t n = strcspn(path, "/"), len = strlen(so_far);
		if (n >= sizeof(name) || len + n + 2 > sizeof(so_far)) return close(fd), -1;
		snprintf(name, sizeof(name), "%.*s", (int)n, path);
		snprintf(so_far + len, sizeof(so_far) - len, "/%s", name);
		path += n;
		int next = in_root(root, so_far, O_PATH | O_DIRECTORY, 0);
		if (next < 0 && errno == ENOENT && !mkdirat(fd, name, 0755))
			next = in_root(root, so_far, O_PATH | O_DIRECTORY, 0);
		close(fd);
		fd = next;
	}
	return fd;
}

static void fd_path(char to[32], int fd) { snprintf(to, 32, "/proc/self/fd/%d", fd); }

static void mount_in(const char *what, const char *type, const char *at, unsigned long flags,
		     const char *how)
{
	char to[32];
	int fd = folder_at(at);
	if (fd < 0) give_up("%s in the image cannot be mounted at", at);
	fd_path(to, fd);
	if (mount(what, to, type, flags, how)) give_up("%s: mounting %s", at, type ? type : what);
	close(fd);
}

/* One of ours over one of the image's, if that can be. */
static void file_over(const char *ours, const char *folder, const char *name)
{
	char at[64], to[32];
	int dir = folder_at(folder);
	snprintf(at, sizeof(at), "%s/%s", folder, name);
	int made = in_root(root, at, O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY, 0644);
	int fd = in_root(root, at, O_PATH, 0);
	fd_path(to, fd);
	if (fd >= 0) (void)!mount(ours, to, NULL, MS_BIND, NULL);
	if (made >= 0) close(made);
	if (fd >= 0) close(fd);
	if (dir >= 0) close(dir);
}

/* ---- the world */
static void world(void)
{
	mkdir("/proc", 0755);
	mkdir("/dev", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL) && errno != EBUSY) give_up("/proc");
	if (mount("dev", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY) give_up("/dev");
	line_read();
	setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
	(void)!symlink("/bin/busybox", "/sbin/ip");
}

static void modules(bool cards, bool disk)
{
	char *argv[24] = {"/bin/busybox", "modprobe", "-qa", "virtio_pci", "virtiofs", "overlay",
			  "vmw_vsock_virtio_transport"};
	size_t n = 7;
	if (cards) argv[n++] = "virtio_net";
	if (disk) argv[n++] = "virtio_blk", argv[n++] = "crc32c_generic", argv[n++] = "ext4";
	end_of(spawn(argv));
}

/* What nobody waits for. */
static void modules_later(void)
{
	static char *const argv[] = {"/bin/busybox", "modprobe",	"-qa",
				     "virtio_rng",   "virtio_balloon", NULL};
	spawn(argv);
}

/* ---- the network */
static pid_t lease[CARDS];

static void up(const char *card)
{
	struct ifreq r = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", card);
	if (!ioctl(fd, SIOCGIFFLAGS, &r)) {
		r.ifr_flags |= IFF_UP;
		ioctl(fd, SIOCSIFFLAGS, &r);
	}
	close(fd);
}

static void network_begin(void)
{
	up("lo");
	for (unsigned i = 0; i < CARDS; i++) {
		char card[16], path[48];
		snprintf(card, sizeof(card), "eth%u", i);
		snprintf(path, sizeof(path), "/sys/class/net/%s", card);
		if (!if_nametoindex(card)) break;
		up(card);
		char *const argv[] = {"/bin/busybox", "udhcpc", "-b", "-i", card, "-s", "/etc/udhcpc",
				      "-t", "4", "-T", "1", "-A", "20", NULL};
		lease[i] = fork();
		if (lease[i]) continue;
		int null = open("/dev/null", O_RDWR);
		for (int fd = 0; fd < 3; fd++) dup2(null, fd);
		execv(argv[0], argv);
		_exit(127);
	}
}

/* It goes into the background with its lease, or when it has waited for one long enough. */
static void network_wait(void)
{
	for (unsigned i = 0; i < CARDS; i++) end_of(lease[i]);
}

/* ---- the root */
/* What is written lies on a disk if there is one, else in memory. */
static void upper(const char *disk)
{
	mkdir("/upper", 0700);
	int r = *disk ? mount(disk, "/upper", "ext4", MS_NODEV | MS_NOATIME, "noinit_itable")
		      : mount("upper", "/upper", "tmpfs", 0, "mode=700");
	if (r) give_up("%s: for what is written", *disk ? disk : "tmpfs");
}

/* A folder that is all of it. */
static void folder(void)
{
	mkdir(ROOT, 0755);
	if (mount("root", ROOT, "virtiofs", 0, NULL)) give_up("the container's files");
	root = open(ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void layers(const char *disk)
{
	struct stat st;
	upper(disk);
	mkdir("/lower", 0755);
	mkdir(ROOT, 0755);
	if (mount("root", "/lower", "virtiofs", MS_RDONLY, NULL)) give_up("the image's files");
	if (stat("/lower", &st)) give_up("the image's files");
	mkdir("/upper/work", 0700);
	if (!mkdir("/upper/upper", 0755)) {
		(void)!chown("/upper/upper", st.st_uid, st.st_gid);
		chmod("/upper/upper", st.st_mode & 07777);
	}
	if (mount("overlay", ROOT, "overlay", 0,
		  "lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work"))
		give_up("the image's files as a root");
	root = open(ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void mounts(void)
{
	const unsigned long usual = MS_NOSUID | MS_NOEXEC | MS_NODEV;
	mount_in("proc", "proc", "/proc", usual, NULL);
	mount_in("sysfs", "sysfs", "/sys", usual, NULL);
	mount_in("cgroup", "cgroup2", "/sys/fs/cgroup", usual, NULL);
	mount_in("dev", "devtmpfs", "/dev", MS_NOSUID, NULL);
	mount_in("devpts", "devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=620,ptmxmode=666,gid=5");
	mount_in("shm", "tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
	mount_in("mqueue", "mqueue", "/dev/mqueue", usual, NULL);
	(void)!symlink("/proc/self/fd", "/dev/fd");
	(void)!symlink("/proc/self/fd/0", "/dev/stdin");
	(void)!symlink("/proc/self/fd/1", "/dev/stdout");
	(void)!symlink("/proc/self/fd/2", "/dev/stderr");
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0) return;
	(void)write_all(fd, text, strlen(text));
	close(fd);
}

static void names(char *host)
{
	char text[512];
	decode(host);
	if (!*host) snprintf(host, 64, "lodge");
	(void)!sethostname(host, strlen(host));
	snprintf(text, sizeof(text),
		 "127.0.0.1 localhost %s\n::1 localhost ip6-localhost ip6-loopback\n", host);
	write_file("/etc/hosts", text);
	snprintf(text, sizeof(text), "%s\n", host);
	write_file("/etc/hostname", text);
	write_file("/etc/resolv.conf", "");
	file_over("/etc/hosts", "/etc", "hosts");
	file_over("/etc/hostname", "/etc", "hostname");
	file_over("/etc/resolv.conf", "/etc", "resolv.conf");
}

/* TAG:PLACE[:ro] */
static void volumes(void)
{
	char v[1200];
	for (const char *at = NULL; (at = word("lodge.mount=", at, v, sizeof(v)));) {
		char *place = strchr(v, ':'), *how;
		if (!place) continue;
		*place++ = 0;
		if ((how = strchr(place, ':'))) *how++ = 0;
		decode(place);
		mount_in(v, "virtiofs", place, how && !strcmp(how, "ro") ? MS_RDONLY : 0, NULL);
	}
}

/* Whoever has lost his parent is ours; what is served is served by others. */
_Noreturn void box(void (*serve)(void))
{
	char host[300], disk[64] = "", cards[8], root_is[8];
	world();
	if (!word("lodge.box=", NULL, host, sizeof(host))) errno = EINVAL, give_up("lodge.box");
	(void)word("lodge.upper=", NULL, disk, sizeof(disk));
	bool net = word("lodge.cards=", NULL, cards, sizeof(cards));
	modules(net, *disk);
	network_begin();
	if (word("lodge.root=rw", NULL, root_is, sizeof(root_is)))
		folder();
	else
		layers(disk);
	mounts();
	names(host);
	volumes();
	network_wait();
	zone.root = ROOT;
	zone.program = mmap(NULL, sizeof(pid_t), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (zone.program == MAP_FAILED) give_up("memory");
	pid_t p = fork();
	if (p < 0) give_up("its agent");
	if (p == 0) serve();
	modules_later();
	for (;;)
		if (wait(NULL) < 0) pause();
}
