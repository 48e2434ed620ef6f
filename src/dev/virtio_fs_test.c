#include "base/buf.h"
#include "base/state.h"
#include "base/test.h"
#include "dev/dev.h"
#include "fs/share.h"
#include "hw/virtio_driver_test.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct vdrv d;
static struct share *share;
static char dir[64];

static bool begin_within(unsigned patience_ms)
{
	struct virtio_dev *v;
	vdrv_init(&d); /* memory first: the server has it, too */
	(void)snprintf(dir, sizeof(dir), "/tmp/lodge-vfs.XXXXXX");
	CHECK(mkdtemp(dir));
	if (share_open(&share, &(struct share_opts){.path = dir, .patience_ms = patience_ms}, NULL))
		return false;
	CHECK(virtio_fs_new(&v, d.mem, share, "share0", NULL) == 0);
	return vdrv_start(&d, v, 1ull << VIRTIO_F_INDIRECT, 0);
}

static bool begin(void) { return begin_within(0); }

static void end(void)
{
	vdrv_done(&d);
	share_close(share);
	CHECK(!rmdir(dir));
}

static gpa_t reply_at;

static void begin_ask(unsigned q, uint32_t op, uint64_t node, const void *arg, uint32_t n,
		      uint32_t room)
{
	gpa_t in = vdrv_alloc(&d, sizeof(struct fuse_in_header) + 256);
	struct fuse_in_header *h = vdrv_at(&d, in, sizeof(*h));
	reply_at = vdrv_alloc(&d, 512);
	*h = (struct fuse_in_header){
		.len = (uint32_t)sizeof(*h) + n, .opcode = op, .unique = 77, .nodeid = node};
	if (n) memcpy(h + 1, arg, n);
	struct vdrv_buf b[] = {
		{in, (uint32_t)sizeof(*h), 0}, {in + sizeof(*h), n, 0}, {reply_at, room, 1}};
	if (!n) b[1] = b[2];
	(void)vdrv_add(&d, q, b, (n ? 2u : 1u) + (room ? 1u : 0u));
	vdrv_notify(&d, q);
}

/* The error of its answer, 1: there is none. */
static int end_ask(unsigned q)
{
	uint16_t got;
	uint32_t len;
	if (!vdrv_wait(&d, q, &got, &len)) return 2;
	struct fuse_out_header *o = vdrv_at(&d, reply_at, sizeof(*o));
	return len < sizeof(*o) ? 1 : o->unique == 77 && o->len == len ? o->error : 3;
}

/* One request on queue q. */
static int ask(unsigned q, uint32_t op, uint64_t node, const void *arg, uint32_t n, uint32_t room)
{
	begin_ask(q, op, node, arg, n, room);
	return end_ask(q);
}

static const struct fuse_init_in init = {.major = 7, .minor = 38};

TEST(virtio_fs_carries_requests)
{
	char tag[40];
	struct fuse_forget_in one = {.nlookup = 1};
	CHECK(begin());
	virtio_config_get(d.v, 0, tag, sizeof(tag));
	CHECK(!strcmp(tag, "share0") && load_le(tag + 36, 4) == 1);
	CHECK(ask(1, FUSE_INIT, 0, &init, sizeof(init), 80) == 0);
	CHECK(ask(1, FUSE_LOOKUP, 1, "x", 2, 200) == -ENOENT);
	CHECK(ask(1, FUSE_LOOKUP, 1, "..", 3, 200) == -EINVAL);
	CHECK(ask(0, FUSE_FORGET, 5, &one, sizeof(one), 0) == 1);
	CHECK(ask(1, FUSE_STATFS, 1, NULL, 0, 200) == 0);
	CHECK(ask(1, FUSE_STATFS, 1, NULL, 0, 20) == -EINVAL); /* its answer has no room */
	CHECK(ask(1, FUSE_STATFS, 1, NULL, 0, 8) == 1);
	end();
}

/* Without asking its server, here a dead one, as long as nothing was locked. */
TEST(virtio_fs_answers_by_itself_what_is_always_the_same)
{
	struct fuse_flush_in flush = {.fh = 1};
	struct fuse_lk_in lk = {.owner = 5, .lk = {0, 9, F_WRLCK, 0}};
	char get[sizeof(struct fuse_getxattr_in) + 20] = {0};
	memcpy(get + sizeof(struct fuse_getxattr_in), "security.capability", 20);
	CHECK(begin());
	CHECK(ask(1, FUSE_GETXATTR, 1, get, sizeof(get), 80) == -EOPNOTSUPP);
	CHECK(!kill(share_pid(share), SIGKILL));
	CHECK(ask(1, FUSE_STATFS, 1, NULL, 0, 200) == -ENOTCONN);
	CHECK(ask(1, FUSE_GETXATTR, 1, get, sizeof(get), 80) == -EOPNOTSUPP);
	CHECK(ask(1, FUSE_GETXATTR, 1, get, sizeof(get) - 1, 80) == -ENOTCONN);
	CHECK(ask(1, FUSE_FLUSH, 1, &flush, sizeof(flush), 80) == 0);
	CHECK(ask(1, FUSE_FLUSH, 1, &flush, sizeof(flush) - 1, 80) == -ENOTCONN);
	CHECK(ask(1, FUSE_SETLK, 1, &lk, sizeof(lk), 80) == -ENOTCONN);
	CHECK(ask(1, FUSE_FLUSH, 1, &flush, sizeof(flush), 80) == -ENOTCONN);
	end();
}

TEST(virtio_fs_breaks_without_a_header)
{
	CHECK(begin());
	gpa_t at = vdrv_alloc(&d, 64);
	(void)vdrv_add(&d, 1, (struct vdrv_buf[]){{at, 39, 0}, {at, 64, 1}}, 2);
	vdrv_notify(&d, 1);
	CHECK(d.v->status & VIRTIO_NEEDS_RESET);
	end();
}

/* A lock that nobody lets go of does not hold up a reset. */
TEST(virtio_fs_resets_while_a_lock_is_waited_for)
{
	CHECK(begin());
	CHECK(ask(1, FUSE_INIT, 0, &init, sizeof(init), 80) == 0);
	struct {
		struct fuse_create_in in;
		char name[2];
	} c = {{.flags = 2, .mode = 0100644}, "x"};
	gpa_t in = vdrv_alloc(&d, 256), out = vdrv_alloc(&d, 512);
	struct fuse_in_header *h = vdrv_at(&d, in, sizeof(*h));
	CHECK(ask(1, FUSE_CREATE, 1, &c, sizeof(c.in) + 2, 400) == 0);
	CHECK(ask(1, FUSE_LOOKUP, 1, "x", 2, 400) == 0);
	struct fuse_lk_in l = {.owner = 1, .lk = {0, INT64_MAX, 1, 1}};
	uint64_t node = 2; /* the first after the root's */
	CHECK(ask(1, FUSE_SETLK, node, &l, sizeof(l), 100) == 0);
	l.owner = 2;
	*h = (struct fuse_in_header){.len = (uint32_t)(sizeof(*h) + sizeof(l)),
				     .opcode = FUSE_SETLKW,
				     .unique = 9,
				     .nodeid = node};
	memcpy(h + 1, &l, sizeof(l));
	(void)vdrv_add(&d, 1, (struct vdrv_buf[]){{in, h->len, 0}, {out, 100, 1}}, 2);
	vdrv_notify(&d, 1);
	CHECK(ask(1, FUSE_STATFS, 1, NULL, 0, 200) == 0); /* others go on */
	char path[96];
	(void)snprintf(path, sizeof(path), "%s/x", dir);
	CHECK(!unlink(path));
	end();
}

TEST(virtio_fs_outlives_its_server)
{
	CHECK(begin());
	CHECK(ask(1, FUSE_INIT, 0, &init, sizeof(init), 80) == 0);
	CHECK(!kill(share_pid(share), SIGKILL));
	for (unsigned i = 0; i < 5; i++) CHECK(ask(1, FUSE_STATFS, 1, NULL, 0, 200) == -ENOTCONN);
	end();
}

/* One that waits for a lock when it is saved is asked again by whoever goes on. */
TEST(virtio_fs_goes_on_elsewhere)
{
	auto_buf struct buf b = {0};
	struct state out = {.b = &b}, in = {.b = &b, .loading = true};
	struct fuse_create_in create = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0600};
	char arg[sizeof(create) + 2] = {0}, path[80];
	uint16_t got;
	uint32_t len;
	CHECK(begin());
	CHECK(ask(1, FUSE_INIT, 0, &init, sizeof(init), 80) == 0);
	memcpy(arg, &create, sizeof(create));
	arg[sizeof(create)] = 'f';
	CHECK(ask(1, FUSE_CREATE, 1, arg, sizeof(arg), 400) == 0);
	const struct fuse_entry_out *e = vdrv_at(&d, reply_at + sizeof(struct fuse_out_header), 1);
	uint64_t node = e->nodeid;
	(void)snprintf(path, sizeof(path), "%s/f", dir);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	CHECK(fd >= 0 && !fcntl(fd, F_OFD_SETLK, &l));
	struct fuse_lk_in lk = {.owner = 5, .lk = {0, 9, F_WRLCK, 0}};
	begin_ask(1, FUSE_SETLKW, node, &lk, sizeof(lk), 80);
	(void)usleep(50000);
	virtio_pause(d.v);
	virtio_state(d.v, &out);
	CHECK(!state_end(&out, NULL));
	virtio_state(d.v, &in); /* as another process would, but for its memory */
	CHECK(!state_end(&in, NULL));
	virtio_resume(d.v);
	CHECK(!vdrv_used(&d, 1, &got, &len));
	l.l_type = F_UNLCK;
	CHECK(!fcntl(fd, F_OFD_SETLK, &l) && !close(fd));
	CHECK(end_ask(1) == 0);
	struct fuse_getattr_in get = {0};
	CHECK(ask(1, FUSE_GETATTR, node, &get, sizeof(get), 200) == 0);
	for (size_t at = 0; at < b.len; at += 1 + b.len / 60) {
		b.at[at] ^= 0x55;
		in = (struct state){.b = &b, .loading = true};
		b.pos = 0;
		virtio_pause(d.v);
		virtio_state(d.v, &in);
		virtio_resume(d.v);
		b.at[at] ^= 0x55;
	}
	CHECK(!unlink(path));
	end();
}

/* Its process stands: SIGSTOP. What holds up a guest's reset or end is ended with it. */
TEST(virtio_fs_does_not_wait_for_ever)
{
	for (unsigned how = 0; how < 3; how++) {
		CHECK(begin_within(200));
		CHECK(ask(1, FUSE_INIT, 0, &init, sizeof(init), 80) == 0);
		CHECK(test_stop(share_pid(share)));
		if (how) begin_ask(1, FUSE_STATFS, 1, NULL, 0, 200);
		if (how == 2) vdrv_reset(&d);
		end();
	}
}

/* A pause is one; what is saved meanwhile would be wrong, and is refused until it answers again. */
TEST(virtio_fs_pauses_beside_a_silent_server)
{
	for (unsigned asked = 0; asked < 2; asked++) {
		auto_buf struct buf b = {0};
		struct state out = {.b = &b}, again = {.b = &b};
		struct err e = {0};
		CHECK(begin_within(200));
		CHECK(ask(1, FUSE_INIT, 0, &init, sizeof(init), 80) == 0);
		CHECK(test_stop(share_pid(share)));
		if (asked) begin_ask(1, FUSE_STATFS, 1, NULL, 0, 200);
		virtio_pause(d.v);
		virtio_state(d.v, &out);
		CHECK(state_end(&out, &e) == -ETIMEDOUT && strstr(e.msg, "does not answer"));
		virtio_resume(d.v);
		virtio_pause(d.v);
		virtio_resume(d.v);
		CHECK(!kill(share_pid(share), SIGCONT));
		if (asked) CHECK(end_ask(1) == 0);
		CHECK(ask(1, FUSE_STATFS, 1, NULL, 0, 200) == 0);
		for (unsigned i = 0; i < 50; i++) { /* it catches up */
			b.len = 0;
			again = (struct state){.b = &b};
			virtio_pause(d.v);
			virtio_state(d.v, &again);
			virtio_resume(d.v);
			if (!state_end(&again, NULL)) break;
			(void)usleep(20000);
		}
		CHECK(!state_end(&again, NULL));
		CHECK(ask(1, FUSE_STATFS, 1, NULL, 0, 200) == 0);
		end();
	}
}
