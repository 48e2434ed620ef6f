/* Dying on purpose, so that tests can look at what is left. */
#include "base/fault.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

void fault_point(void)
{
	static atomic_long passed;
	const char *at = getenv("LODGE_KILL_AT");
	if (at && atomic_fetch_add(&passed, 1) + 1 == strtol(at, NULL, 10)) (void)raise(SIGKILL);
}
