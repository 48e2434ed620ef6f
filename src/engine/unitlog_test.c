#include "base/buf.h"
#include "base/file.h"
#include "base/test.h"
#include "engine/unitlog.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *map_path(void)
{
	static char path[64];
	(void)snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
	return path;
}
static bool holds(const char *path, const char *text)
{
	auto_buf struct buf b = {0};
	CHECK(!file_read(&b, path, MIB, NULL));
	bool same = !strcmp(b.at ? b.at : "", text);
	if (!same) printf("%s", b.at ? b.at : "(empty)\n");
	return same;
}
static void add(struct unitlog *u, unsigned vcpu, gva_t pc, bool user, uintptr_t code)
{
	unitlog_add(u, &(struct unit_about){vcpu, pc, user, (const void *)code, 16});
}

TEST(perf_is_told_of_code_by_name)
{
	char names[] = "/tmp/lodge-names.XXXXXX";
	struct err e = {0};
	struct unitlog *u = NULL;
	int fd = mkstemp(names);
	CHECK(fd >= 0 && write(fd, "1000 T fn\n", 10) == 10);
	CHECK(!unitlog_open(&u, &(struct unitlog_how){.profile = true, .symbols = names}, &e));
	add(u, 0, 0x1000, false, 0x7000);
	add(u, 1, 0x1004, false, 0x8000);
	add(u, 0, 0x1000, true, 0x7010);
	add(u, 0, 0x90000, false, 0x7020);
	CHECK(holds(map_path(), "7000 10 fn\n8000 10 fn+0x4\n7010 10 user_0x1000\n"
				"7020 10 guest_0x90000\n"));
	unitlog_flush(u, 0);
	CHECK(holds(map_path(), "8000 10 fn+0x4\n"));
	add(u, 0, 0x1001, false, 0x7000);
	CHECK(holds(map_path(), "8000 10 fn+0x4\n7000 10 fn+0x1\n"));
	unitlog_close(u);
	unitlog_close(NULL);
	(void)close(fd);
	CHECK(!unlink(names) && !unlink(map_path()));
}

/* Somebody knew our number. */
TEST(a_map_is_never_written_through_a_link)
{
	char victim[] = "/tmp/lodge-victim.XXXXXX";
	struct unitlog *u = NULL;
	struct stat st;
	int fd = mkstemp(victim);
	(void)unlink(map_path()); /* of an earlier process with our number */
	CHECK(fd >= 0 && !symlink(victim, map_path()));
	CHECK(!unitlog_open(&u, &(struct unitlog_how){.profile = true}, NULL));
	add(u, 0, 0x1000, false, 0x7000);
	unitlog_close(u);
	CHECK(!fstat(fd, &st) && st.st_size == 0);
	CHECK(!lstat(map_path(), &st) && S_ISREG(st.st_mode) && (st.st_mode & 0777) == 0600);
	(void)close(fd);
	CHECK(!unlink(victim) && !unlink(map_path()));
}

static bool opens(const char *dump, const char *path, gva_t in, gva_t out)
{
	struct err e = {0};
	struct unitlog *u = NULL;
	if (unitlog_open(&u, &(struct unitlog_how){.dump = dump}, &e)) return false;
	bool ok = unitlog_wants(u, in) && (!out || !unitlog_wants(u, out));
	unitlog_close(u);
	return !unlink(path) && ok;
}

TEST(dumps_may_be_of_some_addresses)
{
	struct err e = {0};
	struct unitlog *u = NULL;
	CHECK(opens("/tmp/lodge-dump", "/tmp/lodge-dump", 0, 0));
	CHECK(opens("/tmp/lodge-dump:1000", "/tmp/lodge-dump", 0x1000, 0x1002));
	CHECK(opens("/tmp/lodge-dump:0x1000-0x2000", "/tmp/lodge-dump", 0x2000, 0x2001));
	CHECK(opens("/tmp/lodge-dump:x", "/tmp/lodge-dump:x", 5, 0));
	CHECK(opens("/tmp/lodge-dump:2-1", "/tmp/lodge-dump:2-1", 5, 0));
	CHECK(opens("/tmp/lodge-dump:-1", "/tmp/lodge-dump:-1", 5, 0));
	CHECK(unitlog_open(&u, &(struct unitlog_how){.dump = "/no/such"}, &e) == -ENOENT);
	CHECK(unitlog_open(&u, &(struct unitlog_how){.symbols = "/no/such"}, &e) == -ENOENT);
}
