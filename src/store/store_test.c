#include "base/file.h"
#include "base/log.h"
#include "base/own.h"
#include "base/test.h"
#include "blk/blk.h"
#include "store/blob.h"
#include "store/store.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* A store in a folder of its own, gone at the end of the scope. */
struct room {
	char dir[64];
	struct store *s;
	struct err e;
};
static void room_open(struct room *r)
{
	*r = (struct room){.dir = "/tmp/store_test.XXXXXX"};
	if (!mkdtemp(r->dir)) abort();
	char root[80];
	(void)snprintf(root, sizeof(root), "%s/root", r->dir);
	CHECK(!store_open(&r->s, root, &r->e));
}
static void room_close(struct room *r)
{
	store_close(r->s);
	(void)dir_remove(r->dir, NULL);
}
#define ROOM(r)                                                                                    \
	__attribute__((cleanup(room_close))) struct room r;                                        \
	room_open(&r)

static char *at(struct room *r, const char *name)
{
	static char path[4][512];
	static int n;
	char *p = path[n++ % 4];
	(void)snprintf(p, 512, "%s/%s", r->dir, name);
	return p;
}
static char *put(struct room *r, const char *name, const char *bytes)
{
	char *p = at(r, name);
	CHECK(!file_replace(p, bytes, strlen(bytes), 0600, &r->e));
	return p;
}
static int add(struct room *r, const char *name, const char *arch, const char *kernel)
{
	char *path = put(r, "some-kernel", kernel);
	struct image im = {.name = (char *)name, .arch = (char *)arch, .kind = (char *)"vm"};
	im.append = (char *)"console=ttyS0";
	im.memory = 1 << 20;
	im.kernel.path = path;
	return store_image_add(r->s, &im, &r->e);
}
static int count(const char *dir)
{
	int n = 0;
	DIR *d = opendir(dir);
	for (struct dirent *f; d && (f = readdir(d));) n += f->d_name[0] != '.';
	if (d) (void)closedir(d);
	return n;
}
static bool same(const char *path, const char *bytes)
{
	char got[256] = {0};
	auto_fd int fd = open(path, O_RDONLY);
	return fd >= 0 && read(fd, got, sizeof(got) - 1) >= 0 && !strcmp(got, bytes);
}

TEST(image_comes_back_as_it_was_added)
{
	ROOM(r);
	auto_image struct image im = {0};
	CHECK(!add(&r, "debian", "riscv64", "abc"));
	CHECK(!store_image_find(r.s, "debian", "riscv64", &im, &r.e));
	CHECK(im.kernel.digest && im.kernel.size == 3 && same(im.kernel.path, "abc"));
	/* FIPS 180-4's example */
	CHECK(!strcmp(im.kernel.digest,
		      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
	CHECK(!strcmp(im.kind, "vm") && !strcmp(im.append, "console=ttyS0"));
	CHECK(im.memory == 1 << 20 && im.created > 0 && !im.disk.path);
}

TEST(image_missing_or_misnamed_is_said)
{
	ROOM(r);
	struct image im;
	CHECK(store_image_find(r.s, "debian", "riscv64", &im, &r.e) == -ENOENT);
	CHECK(strstr(r.e.msg, "lodge image build"));
	CHECK(store_image_find(r.s, "../x", "riscv64", &im, &r.e) == -EINVAL);
	CHECK(store_image_find(r.s, "x", "..", &im, &r.e) == -EINVAL);
	CHECK(add(&r, "", "riscv64", "abc") == -EINVAL);
	CHECK(add(&r, "Upper", "riscv64", "abc") == -EINVAL);
	CHECK(store_image_rm(r.s, "debian", NULL, false, &r.e) == -ENOENT);
	CHECK(!store_name_ok("a/b") && !store_name_ok(".x") && store_name_ok("a.b-c_9"));
}

TEST(image_add_refuses_what_is_not_a_file)
{
	ROOM(r);
	struct image im = {.name = (char *)"x", .arch = (char *)"riscv64", .kind = (char *)"vm"};
	im.kernel.path = (char *)"/nowhere/at/all";
	CHECK(store_image_add(r.s, &im, &r.e) == -ENOENT);
	im.kernel.path = r.dir;
	CHECK(store_image_add(r.s, &im, &r.e) == -EINVAL);
	im.kernel.path = at(&r, "fifo");
	CHECK(!mkfifo(im.kernel.path, 0600));
	CHECK(store_image_add(r.s, &im, &r.e) == -EINVAL);
	CHECK(count(at(&r, "root/images")) == 0);
}

TEST(image_add_that_fails_leaves_no_contents)
{
	ROOM(r);
	struct image im = {.name = (char *)"x", .arch = (char *)"riscv64", .kind = (char *)"vm"};
	im.kernel.path = put(&r, "kernel", "abc");
	im.initrd.path = (char *)"/nowhere/at/all";
	CHECK(store_image_add(r.s, &im, &r.e) == -ENOENT && strstr(r.e.msg, "/nowhere"));
	CHECK(count(at(&r, "root/blobs/sha256")) == 0);
}

TEST(images_share_and_lose_blobs)
{
	ROOM(r);
	struct image im;
	CHECK(!add(&r, "a", "riscv64", "one") && !add(&r, "b", "riscv64", "one"));
	CHECK(!add(&r, "b", "amd64", "two"));
	CHECK(count(at(&r, "root/blobs/sha256")) == 2);
	CHECK(!store_image_rm(r.s, "a", NULL, false, &r.e));
	CHECK(count(at(&r, "root/blobs/sha256")) == 2);
	CHECK(!store_image_rm(r.s, "b", "riscv64", false, &r.e));
	CHECK(count(at(&r, "root/blobs/sha256")) == 1);
	CHECK(store_image_find(r.s, "b", "riscv64", &im, &r.e) == -ENOENT);
	CHECK(!add(&r, "b", "amd64", "three") && !store_collect(r.s, &r.e));
	CHECK(count(at(&r, "root/blobs/sha256")) == 1);
	CHECK(!store_image_rm(r.s, "b", NULL, false, &r.e) && !count(at(&r, "root/blobs/sha256")));
	CHECK(!count(at(&r, "root/images")));
}

static int note(void *ctx, const struct image *im)
{
	size_t n = strlen(ctx);
	(void)snprintf((char *)ctx + n, 200 - n, "%s/%s ", im->name, im->arch);
	return 0;
}

TEST(images_are_listed_in_order)
{
	ROOM(r);
	char seen[200] = "";
	CHECK(!store_image_each(r.s, note, seen, &r.e) && !*seen);
	CHECK(!add(&r, "b", "riscv64", "1") && !add(&r, "a", "riscv64", "2"));
	CHECK(!add(&r, "b", "amd64", "3"));
	CHECK(!store_image_each(r.s, note, seen, &r.e));
	CHECK(!strcmp(seen, "a/riscv64 b/amd64 b/riscv64 "));
}

TEST(damage_is_noticed_and_mended)
{
	ROOM(r);
	struct image im;
	CHECK(!add(&r, "a", "riscv64", "some bytes"));
	CHECK(!store_image_find(r.s, "a", "riscv64", &im, &r.e));
	CHECK(!chmod(im.kernel.path, 0600) && !truncate(im.kernel.path, 4));
	auto_mem char *blob = im.kernel.path;
	im.kernel.path = NULL;
	image_done(&im);
	CHECK(store_image_find(r.s, "a", "riscv64", &im, &r.e) == -EINVAL);
	CHECK(strstr(r.e.msg, "damaged"));
	CHECK(!add(&r, "a", "riscv64", "some bytes") && same(blob, "some bytes"));
	CHECK(!unlink(blob) && store_image_find(r.s, "a", "riscv64", &im, &r.e) == -ENOENT);
	CHECK(strstr(r.e.msg, "missing"));
}

TEST(unreadable_manifest_stops_collecting)
{
	ROOM(r);
	char seen[200] = "";
	CHECK(!add(&r, "a", "riscv64", "1") && !add(&r, "b", "riscv64", "2"));
	(void)put(&r, "root/images/a/riscv64.json", "{ \"kind\": ");
	CHECK(store_collect(r.s, &r.e) == -EINVAL);
	CHECK(count(at(&r, "root/blobs/sha256")) == 2);
	log_level_set(LOG_ERROR);
	CHECK(!store_image_each(r.s, note, seen, &r.e) && !strcmp(seen, "b/riscv64 "));
	log_level_set(LOG_WARN);
	CHECK(!store_image_rm(r.s, "a", NULL, false, &r.e));
	CHECK(count(at(&r, "root/blobs/sha256")) == 1);
}

TEST(made_folder_becomes_an_image)
{
	ROOM(r);
	auto_image struct image im = {0};
	(void)put(&r, "kernel", "K");
	(void)put(&r, "disk.raw", "D");
	(void)put(&r, "image.json",
		  "{\"kind\":\"vm\",\"append\":\"quiet\",\"kernel\":{\"file\":\"kernel\"},"
		  "\"disk\":{\"file\":\"disk.raw\",\"format\":\"raw\"}}");
	CHECK(!store_image_add_dir(r.s, "debian", "riscv64", r.dir, &r.e));
	CHECK(!store_image_find(r.s, "debian", "riscv64", &im, &r.e));
	CHECK(same(im.kernel.path, "K") && same(im.disk.path, "D"));
	CHECK(!strcmp(im.disk.format, "raw"));
	(void)put(&r, "image.json", "{\"kind\":\"vm\",\"kernel\":{\"file\":\"../kernel\"}}");
	CHECK(store_image_add_dir(r.s, "debian", "riscv64", r.dir, &r.e) == -EINVAL);
	CHECK(store_image_add_dir(r.s, "debian", "riscv64", at(&r, "none"), &r.e) == -ENOENT);
}

TEST(holes_stay_holes)
{
	ROOM(r);
	struct err *e = &r.e;
	struct stat st;
	char *from = at(&r, "sparse"), *to = at(&r, "copy"), byte = 0;
	auto_fd int fd = open(from, O_RDWR | O_CREAT, 0600);
	CHECK(!ftruncate(fd, 64 << 20) && pwrite(fd, "x", 1, 40 << 20) == 1);
	CHECK(!blob_copy(from, to, e) && !stat(to, &st));
	CHECK(st.st_size == 64 << 20 && st.st_blocks < 4096);
	auto_fd int got = open(to, O_RDWR);
	CHECK(pread(got, &byte, 1, 40 << 20) == 1 && byte == 'x');
	CHECK(pread(got, &byte, 1, 41 << 20) == 1 && byte == 0);
	CHECK(blob_copy(from, to, e) == -EEXIST);
}

TEST(guest_is_locked_by_one)
{
	ROOM(r);
	int a, b;
	CHECK(store_guest_open(r.s, "web", false, &a, &r.e) == -ENOENT);
	CHECK(store_guest_open(r.s, "../web", true, &a, &r.e) == -EINVAL);
	CHECK(!store_guest_open(r.s, "web", true, &a, &r.e));
	CHECK(store_guest_open(r.s, "web", true, &b, &r.e) == -EBUSY && b == -1);
	CHECK(strstr(r.e.msg, "web") && strstr(r.e.msg, "running"));
	(void)close(a);
	CHECK(!store_guest_open(r.s, "web", false, &b, &r.e));
	CHECK(!store_guest_remove(r.s, "web", &b, &r.e) && b == -1);

	CHECK(store_guest_open(r.s, "web", false, &a, &r.e) == -ENOENT);
	CHECK(!count(at(&r, "root/guests")) && !count(at(&r, "root/guests/.gone")));
}

TEST(guest_lock_dies_with_its_process)
{
	ROOM(r);
	int a, told[2];
	char c;
	CHECK(!pipe(told));
	pid_t pid = fork();
	if (!pid) {
		if (!store_guest_open(r.s, "web", true, &a, &r.e)) (void)!write(told[1], "x", 1);
		for (;;) pause();
	}
	CHECK(read(told[0], &c, 1) == 1);
	CHECK(store_guest_open(r.s, "web", true, &a, &r.e) == -EBUSY);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	CHECK(!store_guest_open(r.s, "web", true, &a, &r.e));
	(void)close(a);
	(void)close(told[0]);
	(void)close(told[1]);
}

/* What its first bytes are. */
static bool disk_holds(const struct guest_disk *d, const char *text)
{
	char got[512] = "";
	struct blk *b;
	CHECK(!blk_open(&b, d->path, d->format, d->layered ? BLK_BACKING : 0, NULL));
	CHECK(!blk_rw(b, BLK_READ, got, sizeof(got), 0));
	blk_unref(b);
	return !strncmp(got, text, strlen(text));
}

static void disk_write(const struct guest_disk *d, const char *text)
{
	char page[512] = "";
	struct blk *b;
	(void)snprintf(page, sizeof(page), "%s", text);
	CHECK(!blk_open(&b, d->path, d->format, d->layered ? BLK_BACKING : 0, NULL));
	CHECK(!blk_rw(b, BLK_WRITE, page, sizeof(page), 0));
	blk_unref(b);
}

static void own_disk(enum disk_way way)
{
	ROOM(r);
	int a;
	char page[200] = "old";
	auto_image struct image im = {0};
	struct guest_disk d, again;
	struct image made = {.name = (char *)"d", .arch = (char *)"riscv64", .kind = (char *)"vm"};
	page[sizeof(page) - 1] = 0;
	memset(page + 3, '.', sizeof(page) - 4);
	made.disk = (struct image_file){.path = put(&r, "disk", page), .format = (char *)"raw"};
	CHECK(!store_image_add(r.s, &made, &r.e));
	CHECK(!store_image_find(r.s, "d", "riscv64", &im, &r.e));
	CHECK(!store_guest_open(r.s, "web", true, &a, &r.e));
	CHECK(!store_guest_disk(r.s, "web", &im, way, &d, &r.e) && disk_holds(&d, "old"));
	CHECK(way == DISK_LOOSE || d.base < 0);
	disk_write(&d, "new");
	if (way != DISK_LOOSE) { /* that is reached by what is open */
		CHECK(!store_guest_disk(r.s, "web", &im, DISK_LAYER, &again, &r.e));
		CHECK(!strcmp(again.path, d.path) && disk_holds(&again, "new"));
		guest_disk_done(&again);
	}
	CHECK(same(im.disk.path, page));
	/* the guest keeps the contents of a removed image, until it goes itself */
	CHECK(store_image_rm(r.s, "d", NULL, false, &r.e) == -EBUSY && strstr(r.e.msg, "web"));
	CHECK(store_image_rm(r.s, "d", "riscv64", false, &r.e) == -EBUSY);
	CHECK(!store_image_rm(r.s, "d", NULL, true, &r.e) && file_exists(im.disk.path));
	CHECK(!store_guest_remove(r.s, "web", &a, &r.e));
	CHECK(!store_collect(r.s, &r.e) && !file_exists(im.disk.path));
	guest_disk_done(&d);
}

TEST(guest_disk_over_its_image) { own_disk(DISK_LAYER); }
TEST(guest_disk_whose_folder_goes) { own_disk(DISK_LOOSE); }
TEST(guest_disk_that_is_a_copy) { own_disk(DISK_COPY); }

/* An image that names a file of the host: no layer makes that trusted. */
TEST(guest_disk_over_what_lies_over_others)
{
	ROOM(r);
	int a;
	auto_image struct image im = {0};
	struct guest_disk d;
	struct image made = {.name = (char *)"d", .arch = (char *)"riscv64", .kind = (char *)"vm"};
	char *secret = put(&r, "secret", "secret");
	const struct blk_make m = {.format = "qcow2", .backing = secret, .backing_format = "raw"};
	made.disk = (struct image_file){.path = at(&r, "disk"), .format = (char *)"qcow2"};
	CHECK(!blk_create(made.disk.path, &m, &r.e) && !store_image_add(r.s, &made, &r.e));
	CHECK(!store_image_find(r.s, "d", "riscv64", &im, &r.e));
	CHECK(!store_guest_open(r.s, "web", true, &a, &r.e));
	CHECK(!store_guest_disk(r.s, "web", &im, DISK_LAYER, &d, &r.e) && !d.layered);
	guest_disk_done(&d);
	(void)close(a);
}

/* Add, find and remove over and over, as another process would. */
static int worker(const char *dir, unsigned seed, int rounds)
{
	struct room r = {0};
	char root[80], bytes[32];
	(void)snprintf(r.dir, sizeof(r.dir), "%s/%u", dir, seed);
	(void)mkdir(r.dir, 0700);
	(void)snprintf(root, sizeof(root), "%s/root", dir);
	int bad = store_open(&r.s, root, &r.e);
	for (int i = 0; !bad && i != rounds; i++) {
		auto_image struct image im = {0};
		char name[2] = {(char)('a' + i % 3), 0};
		(void)snprintf(bytes, sizeof(bytes), "contents %d", i % 5);
		if (add(&r, name, "riscv64", bytes)) bad = r.e.code;
		int f = store_image_find(r.s, name, "riscv64", &im, &r.e);
		if (f && f != -ENOENT) bad = f;
		int m = i % 4 ? 0 : store_image_rm(r.s, name, NULL, false, &r.e);
		if (m && m != -ENOENT) bad = m;
	}
	store_close(r.s);
	return bad != 0;
}

TEST(processes_do_not_disturb_each_other)
{
	ROOM(r);
	pid_t pid[4];
	for (unsigned i = 0; i < 4; i++)
		if (!(pid[i] = fork())) _exit(worker(r.dir, i, 60));
	for (unsigned i = 0; i < 4; i++) {
		int how = -1;
		(void)waitpid(pid[i], &how, 0);
		CHECK(how == 0);
	}
}

TEST(killed_at_any_moment_leaves_a_sound_store)
{
	ROOM(r);
	for (unsigned i = 0; i < 20; i++) {
		pid_t pid = fork();
		if (!pid) _exit(worker(r.dir, i, -1));
		(void)usleep(1000 + i * 700);
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		char seen[200] = "";
		CHECK(!store_collect(r.s, &r.e));
		CHECK(!store_image_each(r.s, note, seen, &r.e));
		int named = 0;
		for (char *c = seen; *c; c++) named += *c == '/';
		CHECK(count(at(&r, "root/blobs/sha256")) <= named);
		for (char n[2] = "a"; *n <= 'c'; ++*n) {
			auto_image struct image im = {0};
			int f = store_image_find(r.s, n, "riscv64", &im, &r.e);
			CHECK(!f || f == -ENOENT);
			CHECK(f || im.kernel.size == strlen("contents 0"));
		}
	}
}

static int count_volume(void *ctx, const struct volume *v)
{
	*(unsigned *)ctx += v->used ? 100 : 1;
	return 0;
}

TEST(volumes)
{
	char root[] = "/tmp/lodge-volume.XXXXXX", *path = NULL;
	struct store *s = NULL;
	struct volume v;
	struct err e = {0};
	unsigned n = 0;
	int fd = -1;
	CHECK(mkdtemp(root) && store_open(&s, root, &e) == 0);
	CHECK(store_volume_each(s, count_volume, &n, &e) == 0 && n == 0);
	CHECK(store_volume_create(s, "../x", &e) == -EINVAL &&
	      store_volume_create(s, "Big", &e) == -EINVAL);
	CHECK(store_volume_create(s, "a", &e) == 0 && store_volume_create(s, "a", &e) == 0);
	CHECK(store_volume_use(s, "b", &path, &fd, &e) == 0 && file_exists(path));
	CHECK(store_volume_each(s, count_volume, &n, &e) == 0 && n == 101);
	CHECK(store_volume_rm(s, "b", &e) == -EBUSY && strstr(e.msg, "a guest uses it"));
	CHECK(store_volume_find(s, "b", &v, &e) == 0 && v.used && !strcmp(v.path, path));
	volume_done(&v);
	(void)close(fd);
	CHECK(store_volume_rm(s, "b", &e) == 0 && !file_exists(path));
	CHECK(store_volume_rm(s, "b", &e) == -ENOENT &&
	      store_volume_find(s, "b", &v, &e) == -ENOENT);
	volume_done(&v);
	free(path);
	store_close(s);
	CHECK(dir_remove(root, &e) == 0);
}
