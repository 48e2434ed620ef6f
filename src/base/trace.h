#ifndef BASE_TRACE_H
#define BASE_TRACE_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
/* What happens inside, for whoever looks: `--trace 'virtq_*'`. trace.def has a line per event.
 * While off, trace(event, values...) is one load and one predictable branch; values are not
 * evaluated. Any thread. */
enum trace_event {
#define TRACE(name, fmt) TRACE_##name,
#include "base/trace.def"
#undef TRACE
	TRACE__max
};
#define TRACE(name, fmt) static const char trace_fmt_##name[] __attribute__((unused)) = fmt;
#include "base/trace.def"
#undef TRACE
extern bool trace_on[TRACE__max]; /* written by trace_enable() only, before threads start */
#define trace(name, ...)                                                                           \
	(__builtin_expect(trace_on[TRACE_##name], 0)                                               \
		 ? trace_emit(TRACE_##name, trace_fmt_##name, ##__VA_ARGS__)                       \
		 : (void)0)
void trace_emit(enum trace_event ev, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), cold));
/* Turn on the events that match any of the comma-separated shell patterns. -ENOENT: none does. */
int trace_enable(const char *patterns, struct err *e);
const char *trace_name(enum trace_event ev);
#endif
