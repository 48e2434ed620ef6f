/* The agent's processes: one that serves the monitor, one that listens for those who want programs
 * run, and one for each of these. What breaks in one leaves the others alone. As the first process
 * of a guest it makes the world of a container first (box.c). */
#define _GNU_SOURCE
#include "agent.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SESSIONS = 48, PRIVILEGED = 1023, LEAST_PORT = 512 };

bool write_all(int fd, const void *p, size_t n)
{
	for (const char *at = p; n;) {
		ssize_t done = write(fd, at, n);
		if (done < 0 && errno == EINTR) continue;
		if (done <= 0) return false;
		at += done;
		n -= (size_t)done;
	}
	return true;
}

static struct sockaddr_vm address(unsigned cid, unsigned port)
{
	return (struct sockaddr_vm){.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
}

/* From a port that only root can have: so the monitor knows whom it speaks to. */
static int dial(void)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_vm to = address(HOST, PORT_QGA);
	int bound = -1;
	if (fd < 0) return -1;
	for (unsigned p = PRIVILEGED; bound && p >= LEAST_PORT; p--) {
		struct sockaddr_vm from = address(VMADDR_CID_ANY, p);
		if (p == PORT_EXEC || p == PORT_QGA) continue;
		bound = bind(fd, (struct sockaddr *)&from, sizeof(from));
	}
	if (bound || connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int hearken(void)
{
	struct sockaddr_vm at = address(VMADDR_CID_ANY, PORT_EXEC);
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) return -1;
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 16)) {
		close(fd);
		return -1;
	}
	return fd;
}

static void serve_one(int listener, unsigned *living)
{
	struct sockaddr_vm from;
	socklen_t len = sizeof(from);
	while (waitpid(-1, NULL, *living < SESSIONS ? WNOHANG : 0) > 0) --*living;
	int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno != EINTR) usleep(100000);
		return;
	}
	bool first = zone.root && !zone.user && from.svm_cid == HOST;
	if (first) *living += session_first(fd);
	pid_t p = !first && from.svm_cid == HOST ? fork() : -1;
	if (p == 0) {
		close(listener);
		session(fd);
		_exit(0);
	}
	if (p > 0) ++*living;
	close(fd);
}

/* SIGCHLD has a handler so that accept() ends: then the dead are counted. */
static void woken(int sig) { (void)sig; }

static void listen_for_ever(void)
{
	unsigned living = 0;
	struct sigaction woke = {.sa_handler = woken};
	int fd;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	while ((fd = hearken()) < 0) sleep(1);
	sigaction(SIGCHLD, &woke, NULL);
	for (;;) serve_one(fd, &living);
}

/* What init gave us may be a console that somebody reads. */
static void let_go(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3 && null >= 0; i++) dup2(null, i);
	if (chdir("/")) _exit(1);
	setsid();
	signal(SIGPIPE, SIG_IGN);
}

/* In a zone: execute argv[1] with the words behind it, the program's name first; or, if that is
 * empty, one session over descriptor 3, as user argv[3] in argv[4]. */
static int in_zone(int argc, char **argv)
{
	enum { SESSION = 3 };
	if (*argv[1]) {
		execv(argv[1], argv + 2);
		static const char words[] = "lodge: the program cannot be executed\n";
		int code = errno == ENOENT ? 127 : 126;
		(void)!write(2, words, sizeof(words) - 1);
		return code;
	}
	if (argc != 5) return 1;
	zone.user = argv[3];
	zone.dir = argv[4];
	let_go();
	session(SESSION);
	return 0;
}

static void serve(void)
{
	let_go();
	pid_t p = fork();
	if (p == 0) listen_for_ever();
	for (;;) {
		int fd = dial();
		if (fd >= 0) {
			qga(fd);
			close(fd);
		}
		usleep(fd < 0 ? 500000 : 100000);
		if (waitpid(p, NULL, WNOHANG) == p && (p = fork()) == 0) listen_for_ever();
	}
}

int main(int argc, char **argv)
{
	if (argc > 1) return in_zone(argc, argv);
	if (getpid() == 1) box(serve);
	serve();
}
