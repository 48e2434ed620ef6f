/* File systems for what containers write, made by the host's mke2fs. */
#include "base/ext4.h"
#include "base/own.h"
#include "base/proc.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static void quiet(void *ctx, const char *line) { (void)ctx, (void)line; }

int ext4_make(const char *path, uint64_t size, struct err *e)
{
	auto_mem char *fresh = text_format("%s.new", path);
	const char *argv[] = {"mke2fs", "-q",	"-F",
			      "-t",	"ext4", "-m",
			      "0",	"-E",	"lazy_itable_init=1,lazy_journal_init=1",
			      fresh,	NULL};
	struct proc p = {.argv = argv, .line = quiet};
	int code = 0;
	auto_fd int fd = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)size))
		return fail(e, -errno, "%s: %s", fresh, strerror(errno));
	int r = proc_run(&p, &code, e);
	if (!r && code) r = fail(e, -EIO, "mke2fs made no file system of %s", fresh);
	if (!r && rename(fresh, path)) r = fail(e, -errno, "%s: %s", path, strerror(errno));
	return r;
}
