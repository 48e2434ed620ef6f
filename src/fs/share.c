/* The two ends of a shared folder: the monitor's, which only hands numbers over, and the process
 * that serves. A slow disk keeps a thread of that process busy and nobody else. */
#include "fs/share.h"
#include "base/buf.h"
#include "base/jail.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "fs/jail.h"
#include "fs/share_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PATIENCE_MS = 10000 };

/* syscalls loop: wait4 */
/* syscalls loop vcpu: pidfd_send_signal */

/* ---- the process that serves ---- */
void share_note(int fd, uint32_t n, uint32_t written)
{
	struct note note = {n, written};
	while (write(fd, &note, sizeof(note)) < 0 && errno == EINTR) continue;
}

static void job_done(struct fuse_req *q, uint32_t written)
{
	struct job *j = (struct job *)q;
	struct share_place *p = &j->of->mem->place[j->n];
	p->written = written;
	if (__atomic_exchange_n(&p->wait, WAIT_OVER, __ATOMIC_ACQ_REL) == WAIT_WAKE)
		(void)syscall(SYS_futex, &p->wait, FUTEX_WAKE, 1, NULL, NULL, 0);
	else
		share_note(j->of->notes, j->n, written);
}

static void job_run(struct server *s, uint32_t n, struct fuse_scratch *scratch)
{
	const struct share_place *p = &s->mem->place[n];
	struct job *j = &s->job[n];
	*j = (struct job){.of = s, .n = n};
	j->q = (struct fuse_req){.in = p->iov,
				 .nin = (int)p->nread,
				 .out = p->iov + p->nread,
				 .nout = (int)p->nwrite,
				 .in_len = p->read_len,
				 .out_len = p->write_len,
				 .done = job_done};
	fuse_serve(s->fuse, &j->q, scratch);
}

static void *server_work(void *ctx)
{
	struct server *s = ctx;
	struct fuse_scratch *scratch = fuse_scratch_new();
	for (;;) {
		uint32_t n;
		ssize_t r = read(s->requests, &n, sizeof(n));
		if (r < 0 && errno == EINTR) continue;
		if (r != sizeof(n)) break;
		if (n < SHARE_PLACES)
			job_run(s, n, scratch);
		else
			server_command(s, n);
	}
	fuse_scratch_free(scratch);
	return NULL;
}

/* Nothing of the monitor's stays open: the three are moved down, the rest is closed. */
static int keep_only(int *root, struct server *s)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int high[] = {fcntl(null, F_DUPFD_CLOEXEC, 64), fcntl(*root, F_DUPFD_CLOEXEC, 64),
		      fcntl(s->requests, F_DUPFD_CLOEXEC, 64),
		      fcntl(s->notes, F_DUPFD_CLOEXEC, 64)};
	for (unsigned i = 0; i < 4; i++)
		if (high[i] < 0) return -errno;
	for (int i = 0; i < 3; i++) (void)dup2(high[0], i);
	(void)dup2(high[1], *root = 3);
	(void)dup2(high[2], s->requests = 4);
	(void)dup2(high[3], s->notes = 5);
	return syscall(SYS_close_range, 6u, ~0u, 0) ? -errno : 0;
}

/* Keys of the terminal are for the monitor, whose end is this one's too. */
static void detach(pid_t parent)
{
	(void)setsid();
	for (int i = 1; i < 32; i++) (void)signal(i, SIG_DFL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)prctl(PR_SET_NAME, "lodge-share");
	(void)umask(0);
	if (getppid() != parent) _exit(1);
}

static int serve(struct server *s, int root, const struct share_opts *how)
{
	bool readonly = how->readonly || how->nlayers > 1;
	struct fuse_opts o = {
		.readonly = readonly, .ids = !geteuid(), .self = "", .lost = server_lost, .ctx = s};
	struct err e;
	int r = keep_only(&root, s);
	if (r) return r;
	struct jail j = {
		.root = root, .readonly = readonly, .layer = how->layer, .nlayers = how->nlayers};
	r = jail_enter(&j);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* privileges that came and went have undone it */
	if (!r) r = fuse_new(&s->fuse, j.root, &o, &e);
	if (r) return r;
	for (unsigned i = 0; i < SHARE_THREADS; i++)
		if ((r = pthread_create(&s->thread[i], NULL, server_work, s))) return -r;
	if (!jail_seal()) {
		j.rooted = false;
		(void)strcpy(j.what, "no seccomp on this host");
	}
	(void)memcpy(s->mem->what, j.what, sizeof(j.what));
	share_note(s->notes, j.rooted ? SHARE_READY : SHARE_READY_OPEN, 0);
	for (unsigned i = 0; i < SHARE_THREADS; i++) (void)pthread_join(s->thread[i], NULL);
	return 0;
}

_Noreturn static void server_main(struct share *s, int requests, int notes, int root, pid_t parent,
				  const struct share_opts *how)
{
	static struct server server;
	server = (struct server){.mem = s->mem, .requests = requests, .notes = notes};
	detach(parent);
	int r = serve(&server, root, how);
	if (r) share_note(server.notes, (uint32_t)-r, 0);
	_exit(r ? 1 : 0);
}

/* ---- the monitor ---- */
/* Whose answer is it? One asked for is taken once; its length is what there was room for. */
static bool take(struct share *s, uint32_t n, uint32_t *written)
{
	(void)pthread_mutex_lock(&s->lock);
	bool busy = n < SHARE_PLACES && s->busy[n];
	if (busy) s->busy[n] = false;
	(void)pthread_mutex_unlock(&s->lock);
	if (!busy) return false;
	uint32_t room = s->mem->place[n].write_len;
	if (*written != SHARE_DEAD && *written != SHARE_AGAIN && *written > room) *written = room;
	return true;
}

static void tell(struct share *s, uint32_t n, uint32_t written)
{
	if (take(s, n, &written)) s->done(s->ctx, n, written);
}

static void *listen_notes(void *ctx)
{
	struct share *s = ctx;
	struct note note[SHARE_NOTES];
	jail_thread(JAIL_SHARE);
	for (;;) {
		ssize_t n = read(s->notes, note, sizeof(note));
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) break;
		for (size_t i = 0; i < (size_t)n / sizeof(note[0]); i++)
			if (note[i].n < SHARE_PLACES)
				tell(s, note[i].n, note[i].written);
			else
				share_noted(s, note[i]);
	}
	(void)pthread_mutex_lock(&s->lock);
	s->dead = true;
	(void)pthread_cond_broadcast(&s->answered);
	(void)pthread_mutex_unlock(&s->lock);
	for (uint32_t i = 0; i < SHARE_PLACES; i++) tell(s, i, SHARE_DEAD);
	return NULL;
}

static int wait_ready(struct share *s, const char *path, struct err *e)
{
	struct note note = {0};
	ssize_t n;
	do n = read(s->notes, &note, sizeof(note));
	while (n < 0 && errno == EINTR);
	if (n == sizeof(note) && note.n == SHARE_READY) return 0;
	if (n == sizeof(note) && note.n == SHARE_READY_OPEN) {
		s->mem->what[sizeof(s->mem->what) - 1] = 0;
		log_warn("shared folder %s: its server is less confined here: %s", path,
			 s->mem->what);
		return 0;
	}
	int r = n == sizeof(note) && note.n < 4096 ? -(int)note.n : -EIO;
	return fail(e, r, "shared folder %s: its server did not start: %s", path, strerror(-r));
}

static int start(struct share *s, int root, const struct share_opts *o, struct err *e)
{
	int req[2] = {-1, -1}, note[2] = {-1, -1}, r = 0;
	if (pipe2(req, O_CLOEXEC) || pipe2(note, O_CLOEXEC)) r = -errno;
	pid_t parent = getpid();
	if (!r && (s->pid = fork()) < 0) r = -errno;
	if (!r && s->pid) s->pidfd = (int)syscall(SYS_pidfd_open, s->pid, 0);
	if (!r && !s->pid) server_main(s, req[0], note[1], root, parent, o);
	drop_fd(&req[0]);
	drop_fd(&note[1]);
	s->requests = req[1];
	s->notes = note[0];
	if (r) return fail(e, r, "shared folder %s: no process for it: %s", o->path, strerror(-r));
	(void)madvise(s->mem, sizeof(*s->mem), MADV_DONTFORK);
	r = wait_ready(s, o->path, e);
	if (r) return r;
	r = pthread_create(&s->thread, NULL, listen_notes, s);
	s->threaded = !r;
	return r ? fail(e, -r, "shared folder %s: no thread for it: %s", o->path, strerror(r)) : 0;
}

int share_open(struct share **out, const struct share_opts *o, struct err *e)
{
	auto_fd int root = open(o->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0) return fail(e, -errno, "shared folder %s: %s", o->path, strerror(errno));
	if (!fuse_is_data(root))
		return fail(
			e, -EACCES,
			"shared folder %s: it holds no data but a view of this machine's kernel",
			o->path);
	struct share *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;
	must(s);
	s->requests = s->notes = -1;
	s->pid = s->pidfd = -1;
	(void)signal(SIGPIPE, SIG_IGN);
	must((s->path = strdup(o->path)));
	(void)pthread_mutex_init(&s->lock, NULL);
	s->patience_ms = o->patience_ms ? o->patience_ms : PATIENCE_MS;
	must(!pthread_condattr_init(&attr) && !pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	(void)pthread_cond_init(&s->answered, &attr);
	(void)pthread_condattr_destroy(&attr);
	s->mem = mmap(NULL, sizeof(*s->mem), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	must(s->mem != MAP_FAILED);
	int r = start(s, root, o, e);
	if (r) {
		share_close(s);
		return r;
	}
	*out = s;
	return 0;
}

void share_end(struct share *s)
{
	(void)syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
}

void share_close(struct share *s)
{
	if (!s) return;
	drop_fd(&s->requests);
	if (s->pid > 0) {
		share_end(s);
		while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) continue;
	}
	if (s->threaded) (void)pthread_join(s->thread, NULL);
	drop_fd(&s->pidfd);
	drop_fd(&s->notes);
	(void)munmap(s->mem, sizeof(*s->mem));
	(void)pthread_cond_destroy(&s->answered);
	(void)pthread_mutex_destroy(&s->lock);
	free(s->path);
	free(s);
}

void share_attach(struct share *s, void (*done)(void *ctx, unsigned place, uint32_t written),
		  void *ctx)
{
	s->done = done;
	s->ctx = ctx;
}

struct share_place *share_place(struct share *s, unsigned n) { return &s->mem->place[n]; }

/* A pipe holds far more numbers than there are places, and commands: this does not wait. */
bool share_put(struct share *s, uint32_t n)
{
	ssize_t r;
	if (s->dead) return false;
	do r = write(s->requests, &n, sizeof(n));
	while (r < 0 && errno == EINTR);
	return r == sizeof(n);
}

static bool submit(struct share *s, unsigned place)
{
	(void)pthread_mutex_lock(&s->lock);
	bool ok = share_put(s, place);
	if (ok) s->busy[place] = true;
	(void)pthread_mutex_unlock(&s->lock);
	return ok;
}

/* To a point in time: nothing that the other side does makes it later. */
static bool wait_over(struct share_place *p, uint64_t ns)
{
	const struct timespec t = time_after(ns);
	uint32_t waits = WAIT_WAKE;
	while (__atomic_load_n(&p->wait, __ATOMIC_ACQUIRE) == WAIT_WAKE)
		if (syscall(SYS_futex, &p->wait, FUTEX_WAIT_BITSET, WAIT_WAKE, &t, NULL,
			    FUTEX_BITSET_MATCH_ANY) &&
		    errno == ETIMEDOUT)
			break;
	return !__atomic_compare_exchange_n(&p->wait, &waits, WAIT_NOTE, false, __ATOMIC_ACQ_REL,
					    __ATOMIC_ACQUIRE);
}

enum share_asked share_ask(struct share *s, unsigned place, uint64_t ns, uint32_t *written)
{
	struct share_place *p = &s->mem->place[place];
	p->wait = WAIT_WAKE;
	if (!submit(s, place)) return SHARE_GONE;
	if (!wait_over(p, ns)) return SHARE_SENT;
	*written = *(volatile uint32_t *)&p->written;
	return take(s, place, written) ? SHARE_ANSWERED : SHARE_SENT;
}

bool share_submit(struct share *s, unsigned place)
{
	s->mem->place[place].wait = WAIT_NOTE;
	return submit(s, place);
}

void share_reset(struct share *s)
{
	(void)pthread_mutex_lock(&s->lock);
	s->resets += share_put(s, SHARE_RESET);
	(void)pthread_mutex_unlock(&s->lock);
}

unsigned share_patience(const struct share *s) { return s->patience_ms; }
const char *share_path(const struct share *s) { return s->path; }
int share_pid(const struct share *s) { return s->pid; }
