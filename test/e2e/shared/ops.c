/* What programs do to files, with the answers printed: run in a folder of the host and in the same
 * folder seen by a guest, it shall print the same. usage: ops DIR [owners], ops together DIR COUNT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static const char *err(long r) { return r < 0 ? strerrorname_np(errno) : "ok"; }
#define SAY(x) printf("%d %s: %s\n", __LINE__, #x, err((long)(x)))
#define NUM(x) printf("%d %s: %lld\n", __LINE__, #x, (long long)(x))

static void show(const char *path)
{
	struct stat s;
	if (lstat(path, &s)) {
		printf("%s: %s\n", path, strerrorname_np(errno));
		return;
	}
	printf("%s: mode %o links %u size %lld\n", path, s.st_mode,
	       S_ISDIR(s.st_mode) ? 0 : (unsigned)s.st_nlink,
	       S_ISDIR(s.st_mode) ? 0LL : (long long)s.st_size);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) printf("put %s: %s\n", path, err(-1));
	close(fd);
}

static void get(const char *path)
{
	char b[256];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, b, sizeof(b) - 1);
	if (n < 0) {
		printf("get %s: %s\n", path, err(-1));
	} else {
		b[n] = 0;
		printf("get %s: '%s'\n", path, b);
	}
	if (fd >= 0) close(fd);
}

static void names(void)
{
	char lone[300], target[5000];
	memset(lone, 'n', 255);
	lone[255] = 0;
	put("a", "one");
	put("b", "two");
	SAY(mkdir("d", 0755));
	SAY(mkdir("d", 0755));
	SAY(mkdir("d/e", 0700));
	show("d"), show("d/e");
	SAY(rename("a", "d/a"));
	get("d/a"), show("a");
	SAY(rename("d/a", "b"));
	get("b");
	SAY(rename("b", "d"));
	SAY(rename("d", "d/e/x"));
	SAY(rename("nothing", "b"));
	put("c", "three");
	SAY(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "c", 1)); /* NOREPLACE */
	SAY(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "c", 2)); /* EXCHANGE */
	get("b"), get("c");
	SAY(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "nothing", 2));
	SAY(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "c", 3));
	SAY(rename("d/e", "e"));
	SAY(rmdir("d"));
	SAY(rmdir("b")), SAY(unlink("e")), SAY(rmdir("e"));
	SAY(open(lone, O_CREAT | O_RDWR | O_EXCL, 0600));
	SAY(open(lone, O_CREAT | O_RDWR | O_EXCL, 0600));
	SAY(unlink(lone));
	strcat(lone, "n");
	SAY(open(lone, O_CREAT | O_RDWR, 0600));
	SAY(link("b", "hard"));
	show("hard");
	SAY(unlink("b"));
	show("hard"), get("hard");
	SAY(link("hard", "hard")), SAY(link("nothing", "x"));
	SAY(symlink("hard", "soft"));
	show("soft"), get("soft");
	SAY(linkat(AT_FDCWD, "soft", AT_FDCWD, "soft2", 0));
	show("soft2");
	SAY(symlink("/etc/../no where\n", "odd"));
	ssize_t n = readlink("odd", target, sizeof(target));
	printf("readlink %zd '%.*s'\n", n, n > 0 ? (int)n : 0, target);
	memset(target, 't', 4095);
	target[4095] = 0;
	SAY(symlink(target, "long"));
	NUM(readlink("long", target, sizeof(target)));
	SAY(open("odd", O_RDONLY)), SAY(open("soft", O_RDONLY | O_NOFOLLOW));
	SAY(mkdir("d", 01777));
	SAY(chmod("d", 02755));
	show("d");
	SAY(mkdir("d/sub", 0750));
	show("d/sub");
	SAY(open("d", O_RDWR)), SAY(open("hard/x", O_RDONLY)), SAY(open("d/.", O_RDONLY));
	SAY(symlink("loop", "loop")), SAY(open("loop", O_RDONLY));
	SAY(access("hard", R_OK)), SAY(access("nothing", F_OK));
}

static void special(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "sock"};
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	SAY(mkfifo("fifo", 0640));
	show("fifo");
	if (!fork()) {
		put("fifo", "through a fifo");
		_exit(0);
	}
	get("fifo");
	wait(NULL);
	SAY(bind(s, (struct sockaddr *)&a, sizeof(a)));
	SAY(listen(s, 1));
	SAY(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof(a)));
	SAY(mknod("reg", S_IFREG | 0600, 0));
	show("reg");
}

static void data(void)
{
	struct stat st;
	char b[8192];
	int fd = open("data", O_RDWR | O_CREAT, 0666), ap = open("data", O_WRONLY | O_APPEND);
	NUM(pwrite(fd, "0123456789", 10, 0));
	NUM(write(ap, "abc", 3));
	NUM(pwrite(fd, "Z", 1, 20000));
	NUM(write(ap, "end", 3));
	fstat(fd, &st), NUM(st.st_size);
	NUM(pread(fd, b, 20, 5));
	printf("%.8s\n", b);
	NUM(pread(fd, b, sizeof(b), 19999)), NUM(pread(fd, b, 10, 30000));
	SAY(ftruncate(fd, 5)), SAY(ftruncate(fd, 100000));
	NUM(pread(fd, b, 20, 0));
	printf("%.5s %d\n", b, b[6]);
	SAY(ftruncate(fd, -1)), SAY(truncate("d", 1)), SAY(truncate("data", 50000));
	fstat(fd, &st), NUM(st.st_size);
	SAY(fallocate(fd, 0, 60000, 40000));
	fstat(fd, &st), NUM(st.st_size);
	SAY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 200000, 10));
	fstat(fd, &st), NUM(st.st_size);
	SAY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	NUM(pread(fd, b, 5, 0)), NUM(b[0]);
	SAY(fsync(fd)), SAY(fdatasync(fd)), SAY(syncfs(fd)), SAY(close(ap));
	int ro = open("data", O_RDONLY), wo = open("data", O_WRONLY);
	NUM(write(ro, "x", 1)), NUM(read(wo, b, 1));
	SAY(lseek(ro, -1, SEEK_SET)), NUM(lseek(ro, -1, SEEK_END));
	int h = open("holes", O_RDWR | O_CREAT, 0600);
	SAY(ftruncate(h, 10 << 20)), NUM(pwrite(h, "data", 4, 5 << 20)), SAY(fsync(h));
	NUM(lseek(h, 0, SEEK_DATA)), NUM(lseek(h, 5 << 20, SEEK_HOLE)), NUM(lseek(h, 6 << 20, SEEK_DATA));
	off_t in = 5 << 20, out = 3;
	NUM(copy_file_range(h, &in, fd, &out, 4, 0));
	NUM(pread(fd, b, 4, 3));
	printf("%.4s\n", b);
	SAY(unlink("data")), SAY(fstat(fd, &st)), NUM(st.st_nlink);
	NUM(pwrite(fd, "still", 5, 0)), NUM(pread(ro, b, 5, 0));
	printf("%.5s\n", b);
	SAY(open("data", O_RDONLY));
	int t = open(".", O_TMPFILE | O_RDWR, 0600);
	SAY(t);
	NUM(write(t, "unnamed", 7));
	snprintf(b, sizeof(b), "/proc/self/fd/%d", t);
	SAY(linkat(AT_FDCWD, b, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	get("named");
	SAY(open("named", O_RDWR | O_TRUNC)), show("named");
	SAY(open("holes", O_RDONLY | O_DIRECTORY));
	struct statvfs v;
	SAY(statvfs(".", &v)), NUM(v.f_namemax);
}

static void maps(void)
{
	int fd = open("map", O_RDWR | O_CREAT, 0600);
	char b[8] = {0};
	SAY(ftruncate(fd, 3 * 4096));
	char *p = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	printf("map %d\n", p != MAP_FAILED);
	memcpy(p + 4096, "mapped", 6);
	SAY(msync(p, 3 * 4096, MS_SYNC));
	NUM(pread(fd, b, 6, 4096));
	printf("%s\n", b);
	NUM(pwrite(fd, "filed", 5, 8192));
	printf("%.5s\n", p + 8192);
	SAY(munmap(p, 3 * 4096));
	char *q = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 4096);
	q[0] = 'M';
	NUM(pread(fd, b, 6, 4096));
	printf("%s %.6s\n", b, q);
	SAY(close(fd));
	get("map");
}

static void xattrs(void)
{
	char b[70000], big[3000];
	memset(big, 'x', sizeof(big));
	put("x", "");
	SAY(setxattr("x", "user.one", "1", 1, 0)), SAY(setxattr("x", "user.one", "2", 1, XATTR_CREATE));
	SAY(setxattr("x", "user.two", "", 0, XATTR_REPLACE)), SAY(setxattr("x", "user.two", "", 0, 0));
	SAY(setxattr("x", "user.big", big, sizeof(big), 0));
	NUM(getxattr("x", "user.big", b, sizeof(b))), NUM(getxattr("x", "user.big", NULL, 0));
	SAY(getxattr("x", "user.big", b, 10)), SAY(getxattr("x", "user.none", b, 10));
	NUM(getxattr("x", "user.two", b, 10)), NUM(getxattr("x", "user.one", b, 10));
	ssize_t n = listxattr("x", b, sizeof(b)), kept = 0;
	for (char *p = b; p < b + n; p += strlen(p) + 1) kept += !strncmp(p, "user.", 5);
	NUM(kept);
	SAY(removexattr("x", "user.one")), SAY(removexattr("x", "user.one"));
	SAY(setxattr("soft", "user.through", "1", 1, 0)), NUM(getxattr("hard", "user.through", b, 9));
	SAY(lsetxattr("soft", "user.link", "1", 1, 0)), SAY(setxattr("d", "user.dir", "1", 1, 0));
	SAY(setxattr("x", "bogus.name", "1", 1, 0)), SAY(setxattr("fifo", "user.f", "1", 1, 0));
}

static void times(void)
{
	struct timespec t[2] = {{1000000000, 123456789}, {1500000000, 987654321}};
	struct stat s;
	SAY(utimensat(AT_FDCWD, "x", t, 0));
	stat("x", &s), NUM(s.st_atim.tv_sec), NUM(s.st_mtim.tv_sec), NUM(s.st_mtim.tv_nsec);
	t[0].tv_nsec = UTIME_OMIT, t[1].tv_sec = -5, t[1].tv_nsec = 7;
	SAY(utimensat(AT_FDCWD, "soft", t, AT_SYMLINK_NOFOLLOW));
	lstat("soft", &s), NUM(s.st_mtim.tv_sec), NUM(s.st_mtim.tv_nsec);
	t[1].tv_nsec = UTIME_NOW;
	SAY(utimensat(AT_FDCWD, "x", t, 0));
	stat("x", &s), NUM(s.st_atim.tv_sec), NUM(s.st_mtim.tv_sec > 1600000000);
	SAY(chmod("x", 0)), SAY(open("x", O_RDONLY)), SAY(chmod("x", 0601)), show("x");
}

static void locks(void)
{
	struct flock l = {.l_type = F_WRLCK, .l_start = 10, .l_len = 10};
	int a = open("x", O_RDWR), b = open("x", O_RDWR), to[2];
	char c;
	SAY(fcntl(a, F_SETLK, &l)), SAY(fcntl(b, F_SETLK, &l)); /* one process: its own */
	if (pipe(to)) return;
	fflush(stdout);
	if (!fork()) {
		l.l_start = 15;
		SAY(fcntl(b, F_SETLK, &l));
		SAY(fcntl(b, F_GETLK, &l));
		NUM(l.l_type), NUM(l.l_start), NUM(l.l_len);
		l = (struct flock){.l_type = F_RDLCK, .l_start = 30};
		SAY(fcntl(b, F_SETLK, &l));
		fflush(stdout);
		if (write(to[1], "", 1) != 1) _exit(1);
		l = (struct flock){.l_type = F_WRLCK, .l_start = 10, .l_len = 10};
		SAY(fcntl(b, F_SETLKW, &l)); /* until the other lets go */
		fflush(stdout);
		_exit(0);
	}
	if (read(to[0], &c, 1) != 1) return;
	usleep(100000);
	SAY(close(a)); /* any close lets go of all */
	wait(NULL);
	a = open("x", O_RDWR);
	SAY(flock(a, LOCK_EX | LOCK_NB)), SAY(flock(b, LOCK_SH | LOCK_NB)), SAY(flock(a, LOCK_SH));
	SAY(flock(b, LOCK_SH | LOCK_NB)), SAY(flock(a, LOCK_EX | LOCK_NB)), SAY(flock(b, LOCK_UN));
	SAY(flock(a, LOCK_EX));
	fflush(stdout);
	if (!fork()) {
		SAY(flock(open("x", O_RDONLY), LOCK_EX));
		fflush(stdout);
		_exit(0);
	}
	usleep(100000);
	SAY(flock(a, LOCK_UN));
	wait(NULL);
	l = (struct flock){.l_type = F_WRLCK};
	SAY(fcntl(open("x", O_RDWR), F_OFD_SETLK, &l)), SAY(fcntl(a, F_OFD_SETLK, &l));
}

static int order(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static unsigned listing(const char *dir, uint64_t *sum)
{
	static char *name[20000];
	unsigned n = 0;
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d)) && n < 20000;) name[n++] = strdup(e->d_name);
	if (d) closedir(d);
	qsort(name, n, sizeof(name[0]), order);
	*sum = 14695981039346656037u;
	for (unsigned i = 0; i < n; i++) {
		for (char *p = name[i]; *p; p++) *sum = (*sum ^ (uint8_t)*p) * 1099511628211u;
		free(name[i]);
	}
	return n;
}

static void many(void)
{
	char name[64];
	uint64_t sum;
	struct stat s;
	unsigned seen = 0;
	SAY(mkdir("many", 0755));
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "many/file-%u-%.*s", i, (int)(i % 30), "------------------------------");
		int fd = open(name, O_CREAT | O_WRONLY, 0644);
		if (fd < 0 || write(fd, name, i % 7) != (ssize_t)(i % 7)) printf("%s: %s\n", name, err(-1));
		close(fd);
	}
	NUM(listing("many", &sum)), NUM(sum);
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "many/file-%u-%.*s", i, (int)(i % 30), "------------------------------");
		seen += !stat(name, &s) && s.st_size == i % 7;
		if (i % 3 == 0) unlink(name);
	}
	NUM(seen), NUM(listing("many", &sum)), NUM(sum);
	DIR *d = opendir("many");
	for (unsigned i = 0; i < 100; i++) (void)readdir(d);
	long at = telldir(d);
	struct dirent *e = readdir(d);
	snprintf(name, sizeof(name), "%.40s", e ? e->d_name : "");
	while (readdir(d)) continue;
	seekdir(d, at);
	e = readdir(d);
	printf("seekdir %d\n", e && !strncmp(e->d_name, name, 40));
	rewinddir(d);
	while ((e = readdir(d))) /* all of them, while they go */
		if (e->d_name[0] != '.' && unlinkat(dirfd(d), e->d_name, 0)) printf("%s: %s\n", e->d_name, err(-1));
	closedir(d);
	SAY(rmdir("many"));
}

static void owners(void)
{
	struct stat s;
	put("own", "");
	SAY(chown("own", 12345, 54321)), stat("own", &s), NUM(s.st_uid), NUM(s.st_gid);
	SAY(lchown("soft", 7, 8)), lstat("soft", &s), NUM(s.st_uid), stat("soft", &s), NUM(s.st_uid);
	SAY(chmod(".", 0777));
	fflush(stdout);
	if (!fork()) {
		if (setgid(1001) || setuid(1000)) _exit(1);
		put("mine", "m"), stat("mine", &s), NUM(s.st_uid), NUM(s.st_gid);
		SAY(mkdir("mydir", 0777)), stat("mydir", &s), NUM(s.st_uid), NUM(s.st_gid);
		SAY(symlink("x", "mylink")), lstat("mylink", &s), NUM(s.st_uid);
		SAY(mkfifo("myfifo", 0600)), lstat("myfifo", &s), NUM(s.st_uid);
		SAY(chown("mine", 5, 5)), SAY(chmod("own", 0777)), SAY(open("own", O_RDWR)), SAY(open("own", O_RDONLY));
		SAY(unlink("own")), SAY(chmod("mine", 0600));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	get("mine");
}

/* Together with others in another guest: COUNT times add one to a number, and a line to a log. */
static int together(const char *dir, int count)
{
	char line[64];
	int num, log;
	if (chdir(dir)) return 1;
	num = open("number", O_RDWR | O_CREAT, 0666);
	log = open("log", O_WRONLY | O_APPEND | O_CREAT, 0666);
	for (int i = 0; i < count; i++) {
		struct flock l = {.l_type = F_WRLCK};
		int value = 0;
		if (fcntl(num, F_SETLKW, &l)) return 2;
		if (pread(num, &value, sizeof(value), 0) < 0) return 3;
		value++;
		if (pwrite(num, &value, sizeof(value), 0) != sizeof(value)) return 4;
		l.l_type = F_UNLCK;
		if (fcntl(num, F_SETLK, &l)) return 5;
		int n = snprintf(line, sizeof(line), "line %d of %d\n", i, (int)getpid());
		if (write(log, line, (size_t)n) != n) return 6;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "together")) return together(argv[2], atoi(argv[3]));
	if (argc < 2 || chdir(argv[1])) return 1;
	umask(022);
	names(), special(), data(), maps(), xattrs(), times(), locks(), many();
	if (argc > 2) owners();
	return 0;
}
