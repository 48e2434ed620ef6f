#include "base/err.h"
#include "base/log.h"
#include "base/test.h"
#include <string.h>
#include <unistd.h>

static char seen[4096];

/* What fn() writes to stderr, in seen[]. */
static void capture(void (*fn)(void))
{
	int ends[2], saved = dup(2);
	must(!pipe(ends) && saved >= 0 && dup2(ends[1], 2) == 2);
	fn();
	must(dup2(saved, 2) == 2 && !close(ends[1]) && !close(saved));
	ssize_t n = read(ends[0], seen, sizeof(seen) - 1);
	seen[n > 0 ? n : 0] = 0;
	(void)close(ends[0]);
}

static void speak(void)
{
	log_warn("disk %s", "a\x1b[2J\nb\x7f");
	log_info("not wanted by default");
}
TEST(log_escapes_what_guests_named)
{
	log_level_set(LOG_WARN); /* as it is by default; others may have run before */
	capture(speak);
	CHECK(!strcmp(seen, "lodge: warning: disk a\\x1b[2J\\x0ab\\x7f\n"));
}

static void speak_c1(void) { log_error("\302\233 \233 \303\244 \342\200\256 \303"); }
TEST(attack_log_c1_and_direction)
{
	capture(speak_c1);
	CHECK(!strcmp(seen, "lodge: error: \\xc2\\x9b \\x9b \303\244 \\xe2\\x80\\xae \\xc3\n"));
}

static void speak_long(void)
{
	char text[3000];
	memset(text, '\x01', sizeof(text));
	text[sizeof(text) - 1] = 0;
	log_error("%s", text);
}
TEST(log_line_is_bounded)
{
	capture(speak_long);
	size_t n = strlen(seen);
	CHECK(n > 500 && n < 1200 && seen[n - 1] == '\n');
}

static void speak_debug(void)
{
	log_level_set(LOG_DEBUG);
	log_debug("x");
	log_level_set(LOG_WARN);
}
TEST(log_level_opens_and_closes)
{
	capture(speak_debug);
	CHECK(!strcmp(seen, "lodge: debug: x\n"));
}
