/* File systems in files: the disk of an image of a computer, and what a zone with --storage has.
 * They are mounted by loop devices, which go with the last who uses them. */
#include "zone/disk.h"
#include "base/buf.h"
#include "base/ext4.h"
#include "base/file.h"
#include "base/own.h"
#include "base/text.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <time.h>

enum { ROUNDS = 1000 };

int mount_words(int fs, const char *what, struct err *e)
{
	char text[256];
	int code = errno;
	ssize_t n = read(fs, text, sizeof(text) - 1);
	text[n > 2 ? n : 0] = 0;
	text[strcspn(text, "\n")] = 0;
	return fail(e, -code, "the root's layers: %s: %s%s%s", what, strerror(code),
		    n > 2 ? ": " : "", n > 2 ? text + 2 : "");
}

/* The loop device goes with the last who uses it. */
static int loop_open(const char *path, bool ro, char name[32], struct err *e)
{
	struct loop_config c = {.info.lo_flags =
					LO_FLAGS_AUTOCLEAR | (ro ? LO_FLAGS_READ_ONLY : 0u)};
	auto_fd int file = open(path, (ro ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	auto_fd int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (file < 0) return fail(e, -errno, "%s: %s", path, strerror(errno));
	if (ctl < 0)
		return fail(e, -errno, "a disk as a zone's root: /dev/loop-control: %s%s",
			    strerror(errno), errno == EACCES ? ": only root can" : "");
	c.fd = (uint32_t)file;
	for (unsigned tries = 0; tries < 64; tries++) {
		int n = ioctl(ctl, LOOP_CTL_GET_FREE);
		(void)snprintf(name, 32, "/dev/loop%d", n);
		auto_fd int fd = n < 0 ? -1 : open(name, (ro ? O_RDONLY : O_RDWR) | O_CLOEXEC);
		if (fd >= 0 && !ioctl(fd, LOOP_CONFIGURE, &c)) return give_fd(&fd);
		if (errno != EBUSY) break;
	}
	return fail(e, -errno, "a disk as a zone's root: a loop device: %s", strerror(errno));
}

/* Of what is on that loop device. */
static int loop_mount(const char *name, const char *path, bool ro, int ids, struct err *e)
{
	struct mount_attr a = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)ids};
	auto_fd int fs = fsopen("ext4", FSOPEN_CLOEXEC), m = -1;
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", name, 0) ||
	    (ro && fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0)) ||
	    (ro && fsconfig(fs, FSCONFIG_SET_FLAG, "norecovery", NULL, 0)) ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return mount_words(fs, path, e);
	m = fsmount(fs, FSMOUNT_CLOEXEC, (ro ? MOUNT_ATTR_RDONLY : 0u) | MOUNT_ATTR_NODEV);
	if (m < 0) return mount_words(fs, path, e);
	if (ids >= 0 && mount_setattr(m, "", AT_EMPTY_PATH, &a, sizeof(a)))
		return fail(e, -errno, "%s: mapping its ids: %s", path, strerror(errno));
	return give_fd(&m);
}

int disk_mount(const char *path, bool ro, int ids, struct err *e)
{
	char name[32];
	auto_fd int loop = loop_open(path, ro, name, e);
	return loop < 0 ? loop : loop_mount(name, path, ro, ids, e);
}

static bool is_behind(const char *loop, const char *path)
{
	auto_buf struct buf b = {0};
	auto_mem char *file = text_format("/sys/block/%s/loop/backing_file", loop);
	if (strncmp(loop, "loop", 4) || file_read(&b, file, PATH_MAX, NULL) || !b.at) return false;
	b.at[strcspn(b.at, "\n")] = 0;
	return !strcmp(b.at, path);
}

static bool loop_find(const char *path, char name[32])
{
	DIR *d = opendir("/sys/block");
	*name = 0;
	for (struct dirent *f; d && !*name && (f = readdir(d));)
		if (is_behind(f->d_name, path)) (void)snprintf(name, 32, "%.20s", f->d_name);
	if (d) (void)closedir(d);
	return *name;
}

/* While we have it open it does not go; one that goes already is waited for, since two of them for
 * one file would be two that write it. */
int disk_mount_again(const char *path, struct err *e)
{
	const struct timespec nap = {0, 5 * 1000 * 1000};
	char name[32];
	int r = fail(e, -EBUSY, "%s: its file system does not go", path);
	unsigned i = 0;
	for (; i < ROUNDS && loop_find(path, name); i++) {
		auto_mem char *device = text_format("/dev/%s", name);
		auto_fd int held = open(device, O_RDWR | O_CLOEXEC);
		if (held >= 0 && is_behind(name, path)) r = loop_mount(device, path, false, -1, e);
		if (r >= 0) return r;
		(void)nanosleep(&nap, NULL);
	}
	return i < ROUNDS ? disk_mount(path, false, -1, e) : r;
}

char *storage_path(int folder)
{
	char self[32], path[PATH_MAX];
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", folder);
	ssize_t n = readlink(self, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = 0;
	return text_format("%s/storage.img", path);
}

/* Made when it is wanted first, and of that size from then on. */
int storage_mount(int folder, uint64_t size, struct err *e)
{
	auto_mem char *path = storage_path(folder);
	int r = file_exists(path) ? 0 : ext4_make(path, size, e);
	return r ? r : disk_mount_again(path, e);
}
