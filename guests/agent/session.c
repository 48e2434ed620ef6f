/* Running one program for whoever is at the other end of a connection: its input, output and errors
 * as frames, or a terminal. Input has a window: what the program has not taken is in our ring and
 * no more than that is under way, so that a signal behind it is never kept waiting. */
#define _GNU_SOURCE
#include "agent.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { HEAD = 5, BODY = 16 * 1024, WINDOW = 256 * 1024, OUT = 64 * 1024 };
enum { WORDS = 1024, TEXT = 128 * 1024, PATIENCE_MS = 30000 };

struct session {
	int fd, in, out, err, sig; /* -1: closed, or none; with a terminal in is out */
	bool tty, started, input_ended, exited;
	bool first, ready; /* the program of a container; all is said of it */
	pid_t child;
	int code;
	uint16_t rows, cols;
	/* what to run */
	char text[TEXT], *argv[WORDS + 1], *env[WORDS + 1], *dir, *user;
	size_t ntext, nargv, nenv;
	/* frames from the client, input for the program, frames to the client */
	uint8_t frame[HEAD + BODY], ring[WINDOW], to[OUT];
	size_t nframe, at, n, nto;
};

static uint32_t get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static size_t room(const struct session *s) { return OUT - s->nto; }

static void say(struct session *s, char type, const void *p, size_t n)
{
	if (room(s) < HEAD + n) _exit(1); /* whoever reads asks for room first */
	s->to[s->nto] = (uint8_t)type;
	put32(s->to + s->nto + 1, (uint32_t)n);
	if (n) memcpy(s->to + s->nto + HEAD, p, n);
	s->nto += HEAD + n;
}

static void say32(struct session *s, char type, uint32_t v)
{
	uint8_t b[4];
	put32(b, v);
	say(s, type, b, 4);
}

/* ---- starting ---- */
static void drop(int *fd)
{
	if (*fd >= 0) close(*fd);
	*fd = -1;
}

static bool set(struct session *s, const uint8_t *p, size_t n)
{
	if (!n || s->ntext + n > TEXT || memchr(p, 0, n)) return false;
	char *word = s->text + s->ntext;
	memcpy(word, p + 1, n - 1);
	word[n - 1] = 0;
	s->ntext += n;
	switch (p[0]) {
	case 't': s->tty = true; return true;
	case 'u': s->user = word; return true;
	case 'd': s->dir = word; return true;
	case 'e': return s->nenv < WORDS && (s->env[s->nenv++] = word);
	case 'a': return s->nargv < WORDS && (s->argv[s->nargv++] = word);
	default: return true;
	}
}

static void resize(struct session *s)
{
	struct winsize w = {.ws_row = s->rows, .ws_col = s->cols};
	if (s->tty && s->out >= 0 && s->rows) ioctl(s->out, TIOCSWINSZ, &w);
}

static bool terminal(struct session *s, int ends[3])
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), no = 0, n;
	if (master < 0 || ioctl(master, TIOCSPTLCK, &no) || ioctl(master, TIOCGPTN, &n))
		return false;
	char path[32] = "/dev/pts/", digits[12];
	int at = 11;
	digits[at] = 0;
	do digits[--at] = (char)('0' + n % 10);
	while (n /= 10);
	strcat(path, digits + at);
	int slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0) return false;
	s->in = s->out = master;
	resize(s);
	ends[0] = ends[1] = ends[2] = slave;
	return true;
}

static bool pipes(struct session *s, int ends[3])
{
	int in[2], out[2], err[2];
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) return false;
	s->in = in[1];
	s->out = out[0];
	s->err = err[0];
	ends[0] = in[0];
	ends[1] = out[1];
	ends[2] = err[1];
	return true;
}

/* The container's program is the first process of a world of processes, and others are in that. */
static pid_t fork_inside(void)
{
	if (zone.first && unshare(CLONE_NEWPID)) return -1;
	if (zone.root && !zone.first) {
		for (int i = 0; i < 10000 && !*(volatile pid_t *)zone.program; i++) usleep(1000);
		int fd = (int)syscall(SYS_pidfd_open, *zone.program, 0);
		if (fd < 0 || setns(fd, CLONE_NEWPID)) return -1;
		close(fd);
	}
	pid_t p = fork();
	if (p > 0 && zone.first) *zone.program = p;
	return p;
}

static void child(struct session *s, const struct user *u, const int ends[3])
{
	setsid();
	if (zone.first) mount("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
	for (int i = 0; i < 3; i++) dup2(ends[i], i);
	if (s->tty) ioctl(0, TIOCSCTTY, 0);
	if (s->tty && fchown(0, u->uid, (gid_t)-1)) { /* then it is root's */
	}
	s->argv[s->nargv] = s->env[s->nenv] = NULL;
	run(u, s->dir ? s->dir : zone.dir, s->argv, s->env);
}

static void refuse(struct session *s, const char *why, int code)
{
	say(s, 'e', why, strlen(why));
	s->exited = true;
	s->code = code;
}

/* Where a container's program begins is made, as docker does. */
static void folder_make(const char *path)
{
	char so_far[4096];
	size_t n = strlen(path);
	if (n >= sizeof(so_far)) return;
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i]) continue;
		memcpy(so_far, path, i);
		so_far[i] = 0;
		mkdir(so_far, 0755);
	}
}

static void start(struct session *s)
{
	struct user u;
	int ends[3] = {-1, -1, -1};
	s->started = true;
	if (zone.first && s->dir) folder_make(s->dir);
	if (!user_find(&u, s->user ? s->user : zone.user ? zone.user : "")) {
		refuse(s, "lodge: no such user, or group, in the guest\n", zone.first ? 125 : 126);
		return;
	}
	if (!(s->tty ? terminal(s, ends) : pipes(s, ends)) || (s->child = fork_inside()) < 0) {
		refuse(s, "lodge: the guest has no terminal, or no memory, left\n", 126);
		for (int *fd = &s->in; fd <= &s->err; fd++) drop(fd);
		for (int i = 0; i < 3; i++) drop(&ends[i]);
		return;
	}
	if (!s->child) child(s, &u, ends);
	for (int i = 0; i < (s->tty ? 1 : 3); i++) close(ends[i]);
	for (int *fd = &s->in; fd <= &s->err; fd++)
		if (*fd >= 0) fcntl(*fd, F_SETFL, O_NONBLOCK);
}

/* ---- from the client ---- */
static bool input(struct session *s, const uint8_t *p, size_t n)
{
	if (n > WINDOW - s->n) return false;
	for (size_t i = 0; i < n; i++) s->ring[(s->at + s->n + i) % WINDOW] = p[i];
	s->n += n;
	return true;
}

static void to_all(struct session *s, int sig)
{
	if (s->child > 0 && !s->exited && sig > 0 && sig < NSIG)
		kill(zone.first ? s->child : -s->child, sig);
}

static bool take(struct session *s, char type, const uint8_t *p, size_t n)
{
	switch (type) {
	case 'a': return !s->started && set(s, p, n);
	case 'g':
		if (s->started) return false;
		s->ready = s->first;
		if (!s->first) start(s);
		return true;
	case 'i': return input(s, p, n);
	case 'c': s->input_ended = true; return true;
	case 's':
		if (n == 1) to_all(s, p[0]);
		return true;
	case 'w':
		if (n != 4) return false;
		s->rows = (uint16_t)(p[0] | p[1] << 8);
		s->cols = (uint16_t)(p[2] | p[3] << 8);
		resize(s);
		return true;
	default: return true;
	}
}

static void hang_up(struct session *s)
{
	to_all(s, SIGHUP);
	to_all(s, SIGCONT);
	_exit(0);
}

static void receive(struct session *s)
{
	ssize_t got = read(s->fd, s->frame + s->nframe, sizeof(s->frame) - s->nframe);
	if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
	if (got <= 0) hang_up(s);
	s->nframe += (size_t)got;
	size_t at = 0;
	while (s->nframe - at >= HEAD) {
		uint32_t n = get32(s->frame + at + 1);
		if (n > BODY) hang_up(s);
		if (s->nframe - at < HEAD + n) break;
		if (!take(s, (char)s->frame[at], s->frame + at + HEAD, n)) hang_up(s);
		at += HEAD + n;
	}
	s->nframe -= at;
	memmove(s->frame, s->frame + at, s->nframe);
}

/* ---- to and from the program ---- */
static void feed(struct session *s)
{
	while (s->n) {
		size_t run = s->n < WINDOW - s->at ? s->n : WINDOW - s->at;
		ssize_t put = write(s->in, s->ring + s->at, run);
		if (put < 0 && errno == EINTR) continue;
		if (put < 0 && errno == EAGAIN) return;
		if (put < 0) { /* nobody reads it */
			if (room(s) >= HEAD + 4) say32(s, 'k', (uint32_t)s->n);
			s->at = s->n = 0;
			if (!s->tty) drop(&s->in);
			return;
		}
		s->at = (s->at + (size_t)put) % WINDOW;
		s->n -= (size_t)put;
		say32(s, 'k', (uint32_t)put);
		if (room(s) < HEAD + 4) return;
	}
}

/* False: nothing is there now. */
static bool collect(struct session *s, int *fd, char type)
{
	uint8_t some[BODY];
	ssize_t n = read(*fd, some, sizeof(some));
	if (n < 0 && errno == EINTR) return true;
	if (n < 0 && errno == EAGAIN) return false;
	if (n <= 0) {
		if (s->tty) s->in = -1;
		drop(fd);
		return false;
	}
	say(s, type, some, (size_t)n);
	return true;
}

static void reap(struct session *s)
{
	struct signalfd_siginfo info;
	int status;
	(void)!read(s->sig, &info, sizeof(info));
	if (s->child <= 0 || s->exited || waitpid(s->child, &status, WNOHANG) != s->child) return;
	s->exited = true;
	s->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool can_collect(const struct session *s) { return room(s) >= HEAD + BODY + 64; }

/* What the program wrote before it ended is in its pipes; who holds them further is not waited for.
 */
static bool collect_last(struct session *s)
{
	while (s->out >= 0 && can_collect(s) && collect(s, &s->out, 'o')) {
	}
	while (s->err >= 0 && can_collect(s) && collect(s, &s->err, 'e')) {
	}
	return can_collect(s);
}

static void flush(struct session *s)
{
	ssize_t n = write(s->fd, s->to, s->nto);
	if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
	if (n <= 0) hang_up(s);
	s->nto -= (size_t)n;
	memmove(s->to, s->to + n, s->nto);
}

static bool wants_input(const struct session *s)
{
	return s->in >= 0 && s->n && room(s) >= 2 * (HEAD + 4);
}

/* A pipe's end is closed; to a terminal it is its own key. */
static void end_input(struct session *s)
{
	static const uint8_t key = 4;
	if (!s->input_ended || s->n || s->in < 0) return;
	if (!s->tty)
		drop(&s->in);
	else
		(void)input(s, &key, 1);
	s->input_ended = false;
}

static void turn(struct session *s, int timeout)
{
	struct pollfd p[] = {
		{s->fd, (short)(POLLIN | (s->nto ? POLLOUT : 0)), 0},
		{s->sig, POLLIN, 0},
		{can_collect(s) ? s->out : -1, POLLIN, 0},
		{can_collect(s) ? s->err : -1, POLLIN, 0},
		{wants_input(s) ? s->in : -1, POLLOUT, 0},
	};
	int n = poll(p, 5, timeout);
	if (n == 0) hang_up(s);
	if (n < 0) return;
	if (p[1].revents) reap(s);
	if (p[2].revents) (void)collect(s, &s->out, 'o');
	if (p[3].revents && can_collect(s)) (void)collect(s, &s->err, 'e');
	if (p[4].revents && wants_input(s)) feed(s);
	if (p[0].revents & POLLOUT) flush(s);
	if (p[0].revents & ~POLLOUT) receive(s);
}

static void greet(struct session *s, int fd)
{
	*s = (struct session){.fd = fd, .in = -1, .out = -1, .err = -1};
	fcntl(fd, F_SETFL, O_NONBLOCK);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	s->sig = -1;
	say(s, 'h', zone.root ? "2" : "1", 1);
}

static _Noreturn void serve(struct session *s)
{
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	s->sig = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	if (zone.root && (chroot(zone.root) || chdir("/"))) _exit(1);
	if (zone.first) start(s);
	bool told = false;
	for (;;) {
		turn(s, s->started ? -1 : PATIENCE_MS);
		end_input(s);
		if (!s->exited || told || !collect_last(s)) continue;
		if (zone.first) sync(); /* who was in the container is gone with it */
		say32(s, 'x', (uint32_t)s->code);
		told = true;
	}
}

void session(int fd)
{
	static struct session s;
	greet(&s, fd);
	serve(&s);
}

/* What is asked for goes on only in the child, whose first words these are. */
static void settle(struct session *s)
{
	clearenv();
	for (size_t i = 0; i < s->nenv; i++)
		if (strchr(s->env[i], '=')) putenv(strdup(s->env[i]));
	zone.user = strdup(s->user ? s->user : "0");
	zone.dir = strdup(s->dir ? s->dir : "/");
	s->nenv = 0;
}

bool session_first(int fd)
{
	static struct session s;
	greet(&s, fd);
	s.first = true;
	while (!s.ready) turn(&s, PATIENCE_MS);
	settle(&s);
	pid_t p = fork();
	if (p) return p > 0;
	zone.first = true;
	serve(&s);
}
