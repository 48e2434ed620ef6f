/* Events are a table; the switch of each is one byte that is nearly always zero. */
#include "base/trace.h"
#include "base/log.h"
#include "base/loop.h"
#include <errno.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool trace_on[TRACE__max];
static uint64_t zero_ns;
static const char *const names[] = {
#define TRACE(name, fmt) #name,
#include "base/trace.def"
#undef TRACE
};

const char *trace_name(enum trace_event ev) { return names[ev]; }

void trace_emit(enum trace_event ev, const char *fmt, ...)
{
	char text[512], head[96];
	uint64_t us = (now_ns() - zero_ns) / 1000;
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)snprintf(head, sizeof(head), "%5lu.%06lu %s: ", (unsigned long)(us / 1000000),
		       (unsigned long)(us % 1000000), names[ev]);
	log_line(head, text);
}

static bool enable_one(const char *pattern)
{
	bool any = false;
	for (unsigned i = 0; i < TRACE__max; i++)
		if (!fnmatch(pattern, names[i], 0)) any = trace_on[i] = true;
	return any;
}

int trace_enable(const char *patterns, struct err *e)
{
	char all[512], *rest = all;
	if (!zero_ns) zero_ns = now_ns();
	if (strlen(patterns) >= sizeof(all)) return fail(e, -E2BIG, "trace: pattern too long");
	strcpy(all, patterns);
	for (char *one; (one = strsep(&rest, ","));)
		if (!enable_one(one)) return fail(e, -ENOENT, "trace: no event matches '%s'", one);
	return 0;
}
