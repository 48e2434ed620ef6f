#include "base/log.h"
#include "base/test.h"
#include "base/types.h"
#include "fs/share.h"
#include "fs/share_impl.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct reply {
	unsigned place;
	uint32_t written;
	int done;
};
struct page { /* what the server reaches, too */
	struct fuse_in_header h;
	_Alignas(8) char arg[256];
	struct fuse_out_header out;
	_Alignas(8) char data[1024];
};
static char dir[64];
static struct page *page;

static void told(void *ctx, unsigned place, uint32_t written)
{
	struct reply *r = ctx;
	r->place = place;
	r->written = written;
	__atomic_store_n(&r->done, 1, __ATOMIC_RELEASE);
}

static struct share *begin(struct reply *r, bool readonly)
{
	struct share *s = NULL;
	(void)snprintf(dir, sizeof(dir), "/tmp/lodge-share.XXXXXX");
	CHECK(mkdtemp(dir));
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const struct share_opts o = {.path = dir, .readonly = readonly};
	struct err e = {0};
	CHECK(share_open(&s, &o, &e) == 0);
	if (s) share_attach(s, told, r);
	return s;
}

static void end(struct share *s)
{
	char rm[96];
	share_close(s);
	(void)munmap(page, sizeof(*page));
	(void)snprintf(rm, sizeof(rm), "rm -rf %s", dir);
	CHECK(!system(rm));
}

static void fill(struct share *s, struct reply *r, uint32_t op, uint64_t node, const void *arg,
		 size_t n, const char *name)
{
	struct share_place *p = share_place(s, 5);
	size_t m = name ? strlen(name) + 1 : 0;
	memset(page, 0, sizeof(*page));
	r->done = 0;
	if (n) memcpy(page->arg, arg, n);
	if (m) memcpy(page->arg + n, name, m);
	page->h = (struct fuse_in_header){.len = (uint32_t)(sizeof(page->h) + n + m),
					  .opcode = op,
					  .unique = 1,
					  .nodeid = node};
	p->iov[0] = (struct iovec){&page->h, sizeof(page->h)};
	p->iov[1] = (struct iovec){page->arg, n + m};
	p->iov[2] = (struct iovec){&page->out, sizeof(page->out)};
	p->iov[3] = (struct iovec){page->data, sizeof(page->data)};
	p->nread = p->nwrite = 2;
	p->read_len = page->h.len;
	p->write_len = sizeof(page->out) + sizeof(page->data);
}

static void submit(struct share *s, struct reply *r, uint32_t op, uint64_t node, const void *arg,
		   size_t n, const char *name)
{
	fill(s, r, op, node, arg, n, name);
	CHECK(share_submit(s, 5));
}

static int wait_for(struct reply *r)
{
	while (!__atomic_load_n(&r->done, __ATOMIC_ACQUIRE)) (void)usleep(100);
	CHECK(r->place == 5);
	return r->written == SHARE_DEAD ? 1 : page->out.error;
}

static int ask(struct share *s, struct reply *r, uint32_t op, uint64_t node, const void *arg,
	       size_t n, const char *name)
{
	submit(s, r, op, node, arg, n, name);
	return wait_for(r);
}

static const struct fuse_init_in init = {.major = 7, .minor = 38};

TEST(share_serves_in_a_process)
{
	struct reply r = {0};
	struct share *s = begin(&r, false);
	struct fuse_mkdir_in in = {.mode = 0755};
	struct stat st;
	char path[96];
	if (!s) return;
	CHECK(share_pid(s) != getpid());
	CHECK(ask(s, &r, FUSE_INIT, 0, &init, sizeof(init), NULL) == 0);
	CHECK(ask(s, &r, FUSE_MKDIR, 1, &in, sizeof(in), "made") == 0);
	(void)snprintf(path, sizeof(path), "%s/made", dir);
	CHECK(!stat(path, &st) && S_ISDIR(st.st_mode));
	CHECK(ask(s, &r, FUSE_LOOKUP, 1, NULL, 0, "nothing") == -ENOENT);
	end(s);
}

static void make(const char *name, bool folder)
{
	char path[96];
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (folder)
		must(!mkdir(path, 0755));
	else
		(void)close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
}

/* Folders as one: what the upper takes away is not there, and nothing can be written. */
TEST(share_of_layers_is_their_overlay)
{
	struct reply r = {0};
	char low[80], high[80], gone[96];
	const struct fuse_mkdir_in in = {.mode = 0755};
	struct err e = {0};
	share_close(begin(&r, true));
	(void)snprintf(low, sizeof(low), "%s/low", dir);
	(void)snprintf(high, sizeof(high), "%s/high", dir);
	(void)snprintf(gone, sizeof(gone), "%s/high/gone", dir);
	make("low", true);
	make("high", true);
	make("low/gone", false);
	make("low/both", false);
	make("high/new", false);
	if (mknod(gone, S_IFCHR, 0)) make("high/plain", false);
	const char *layers[] = {low, high};
	const struct share_opts o = {.path = high, .layer = layers, .nlayers = 2};
	struct share *s = NULL;
	CHECK(share_open(&s, &o, &e) == 0);
	if (!s) return;
	share_attach(s, told, &r);
	CHECK(ask(s, &r, FUSE_INIT, 0, &init, sizeof(init), NULL) == 0);
	CHECK(ask(s, &r, FUSE_LOOKUP, 1, NULL, 0, "both") == 0);
	CHECK(ask(s, &r, FUSE_LOOKUP, 1, NULL, 0, "new") == 0);
	CHECK(ask(s, &r, FUSE_LOOKUP, 1, NULL, 0, "gone") == (geteuid() ? 0 : -ENOENT));
	CHECK(ask(s, &r, FUSE_LOOKUP, 1, NULL, 0, "low") == -ENOENT);
	CHECK(ask(s, &r, FUSE_MKDIR, 1, &in, sizeof(in), "made") == -EROFS);
	end(s);
	const char *missing[] = {low, "/nonexistent"};
	const struct share_opts bad = {.path = "/", .layer = missing, .nlayers = 2};
	CHECK(share_open(&s, &bad, &e) == -ENOENT);
}

/* It has no name for anything but its folder, few descriptors and no way to make more of itself. */
TEST(share_is_confined)
{
	struct reply r = {0};
	struct share *s = begin(&r, false);
	char path[64], line[256];
	struct stat a, b;
	unsigned fds = 0;
	bool sealed = false, nnp = false;
	if (!s) return;
	(void)snprintf(path, sizeof(path), "/proc/%d/root", share_pid(s));
	bool rooted =
		!stat(path, &a) && !stat(dir, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", share_pid(s));
	DIR *d = opendir(path);
	while (d && readdir(d)) fds++;
	if (d) closedir(d);
	(void)snprintf(path, sizeof(path), "/proc/%d/status", share_pid(s));
	FILE *f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		sealed |= !strcmp(line, "Seccomp:\t2\n");
		nnp |= !strcmp(line, "NoNewPrivs:\t1\n");
	}
	if (f) fclose(f);
	if (!geteuid()) CHECK(rooted); /* others may have no right to look */
	CHECK(!d || fds <= 2 + 6);
	CHECK(nnp);
#ifndef LODGE_SAN
	CHECK(sealed);
#endif
	end(s);
}

TEST(share_tells_when_its_server_died)
{
	struct reply r = {0};
	struct share *s = begin(&r, false);
	char path[96];
	if (!s) return;
	CHECK(ask(s, &r, FUSE_INIT, 0, &init, sizeof(init), NULL) == 0);
	(void)snprintf(path, sizeof(path), "%s/x", dir);
	(void)close(open(path, O_CREAT | O_WRONLY, 0644));
	CHECK(test_stop(share_pid(s)));
	submit(s, &r, FUSE_LOOKUP, 1, NULL, 0, "x");
	CHECK(kill(share_pid(s), SIGKILL) == 0);
	CHECK(wait_for(&r) == 1);
	CHECK(!share_submit(s, 5));
	share_reset(s);
	end(s);
}

/* Who waits is told himself, and only he; who does not wait long enough is told as others are. */
TEST(share_answers_who_waits)
{
	struct reply r = {0};
	struct share *s = begin(&r, false);
	const uint64_t long_ns = 60ull * 1000000000;
	uint32_t n = 0;
	if (!s) return;
	CHECK(ask(s, &r, FUSE_INIT, 0, &init, sizeof(init), NULL) == 0);
	fill(s, &r, FUSE_LOOKUP, 1, NULL, 0, "x");
	CHECK(share_ask(s, 5, long_ns, &n) == SHARE_ANSWERED && n == sizeof(page->out));
	CHECK(page->out.error == -ENOENT && !r.done);
	CHECK(test_stop(share_pid(s)));
	fill(s, &r, FUSE_STATFS, 1, NULL, 0, NULL);
	CHECK(share_ask(s, 5, 1000, &n) == SHARE_SENT && !r.done);
	CHECK(kill(share_pid(s), SIGCONT) == 0 && wait_for(&r) == 0);
	CHECK(test_stop(share_pid(s)));
	fill(s, &r, FUSE_STATFS, 1, NULL, 0, NULL);
	CHECK(share_ask(s, 5, 1000, &n) == SHARE_SENT);
	CHECK(kill(share_pid(s), SIGKILL) == 0 && wait_for(&r) == 1);
	CHECK(share_ask(s, 5, long_ns, &n) == SHARE_GONE);
	end(s);
}

TEST(share_needs_a_folder)
{
	struct share *s;
	struct err e = {0};
	CHECK(share_open(&s, &(struct share_opts){.path = "/tmp/lodge no such folder"}, &e) ==
	      -ENOENT);
	CHECK(strstr(e.msg, "no such folder"));
	CHECK(share_open(&s, &(struct share_opts){.path = "/proc/self/exe"}, &e) == -ENOTDIR);
}

/* Read-only is the mount's, too, where there is one. */
TEST(share_readonly_refuses)
{
	struct reply r = {0};
	struct share *s = begin(&r, true);
	struct fuse_mkdir_in in = {.mode = 0755};
	if (!s) return;
	CHECK(ask(s, &r, FUSE_INIT, 0, &init, sizeof(init), NULL) == 0);
	CHECK(ask(s, &r, FUSE_MKDIR, 1, &in, sizeof(in), "made") == -EROFS);
	end(s);
}

/* A server that is somebody else's by now tells of lost locks for ever. */
TEST(attack_share_that_never_ends_to_tell)
{
	char said[8192], name[] = "folder";
	int ends[2], saved = dup(STDERR_FILENO);
	struct share s = {.path = name};
	CHECK(!pthread_mutex_init(&s.lock, NULL) && !pthread_cond_init(&s.answered, NULL));
	CHECK(!pipe2(ends, O_CLOEXEC) && dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
	log_level_set(LOG_WARN);
	for (unsigned i = 0; i < 1000; i++) {
		share_noted(&s, (struct note){SHARE_LOST, i});
		if (i > 15) share_noted(&s, (struct note){i * 0x10001, UINT32_MAX});
	}
	CHECK(dup2(saved, STDERR_FILENO) == STDERR_FILENO && !close(saved) && !close(ends[1]));
	ssize_t n = read(ends[0], said, sizeof(said));
	unsigned lines = 0;
	for (ssize_t i = 0; i < n; i++) lines += said[i] == '\n';
	CHECK(lines == 10);
	CHECK(!s.resets && !s.command);
	(void)close(ends[0]);
	(void)pthread_cond_destroy(&s.answered);
	(void)pthread_mutex_destroy(&s.lock);
}
