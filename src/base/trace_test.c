#include "base/test.h"
#include "base/trace.h"
#include <errno.h>
#include <string.h>

static int evaluated;
static int value(void) { return ++evaluated; }

TEST(trace_patterns_choose_events)
{
	struct err e = {0};
	CHECK(trace_enable("nothing_like_this", &e) == -ENOENT &&
	      strstr(e.msg, "nothing_like_this"));
	CHECK(!trace_on[TRACE_proc_spawn] && !trace_on[TRACE_proc_exit]);
	CHECK(!trace_enable("proc_s*,proc_e?it", NULL));
	CHECK(trace_on[TRACE_proc_spawn] && trace_on[TRACE_proc_exit]);
	CHECK(!trace_on[TRACE_file_replace]);
	memset(trace_on, 0, sizeof(trace_on));
	CHECK(!strcmp(trace_name(TRACE_proc_exit), "proc_exit"));
}

TEST(trace_off_evaluates_nothing)
{
	trace(proc_exit, value(), value());
	CHECK(evaluated == 0);
}
