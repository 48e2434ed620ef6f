#include "base/buf.h"
#include "base/proc.h"
#include "base/test.h"
#include <errno.h>
#include <signal.h>
#include <string.h>

static void gather(void *ctx, const char *line) { buf_fmt(ctx, "[%s]", line); }

static int run(const char *script, const char *dir, struct buf *out)
{
	const char *argv[] = {"sh", "-c", script, NULL};
	struct proc p = {.argv = argv, .dir = dir, .line = out ? gather : NULL, .ctx = out};
	int code = -1;
	CHECK(!proc_run(&p, &code, NULL));
	return code;
}

TEST(proc_streams_lines_of_both_outputs)
{
	struct buf b = {0};
	CHECK(run("echo one; echo; echo two >&2; printf three; exit 3", NULL, &b) == 3);
	CHECK(b.at && !strcmp(b.at, "[one][][two][three]"));
	buf_done(&b);
}

TEST(proc_has_no_input_and_its_own_folder)
{
	struct buf b = {0};
	CHECK(run("cat; pwd", "/usr", &b) == 0);
	CHECK(b.at && !strcmp(b.at, "[/usr]"));
	buf_done(&b);
}

TEST(proc_tells_a_signal) { CHECK(run("kill -9 $$", NULL, NULL) == 128 + SIGKILL); }

TEST(proc_splits_a_line_without_end)
{
	struct buf b = {0};
	CHECK(run("head -c 20000 /dev/zero | tr '\\0' x", NULL, &b) == 0);
	CHECK(b.len == 20000 + 3 * 2);
	buf_done(&b);
}

TEST(proc_gets_an_unblocked_signal_mask)
{
	sigset_t set, before;
	must(!sigemptyset(&set) && !sigaddset(&set, SIGTERM));
	must(!sigprocmask(SIG_BLOCK, &set, &before));
	CHECK(run("kill -TERM $$; exit 0", NULL, NULL) == 128 + SIGTERM);
	must(!sigprocmask(SIG_SETMASK, &before, NULL));
}

TEST(proc_that_cannot_run_says_why)
{
	const char *argv[] = {"lodge-no-such-program", NULL};
	struct proc p = {.argv = argv};
	struct err e = {0};
	int code;
	CHECK(proc_run(&p, &code, &e) == -ENOENT);
	CHECK(!strcmp(e.msg, "lodge-no-such-program: no such program"));
	argv[0] = "sh";
	p.dir = "/nonexistent";
	CHECK(proc_run(&p, &code, &e) == -ENOENT);
}
