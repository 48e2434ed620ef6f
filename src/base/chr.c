/* Output of devices that wait for room. */
#include "base/chr.h"
#include <stdatomic.h>
#include <time.h>

size_t chr_output(struct chr *c, const uint8_t *p, size_t n)
{
	const struct timespec moment = {.tv_nsec = 100000};
	size_t done = c->output ? c->output(c->host, p, n) : n;
	while (c->output && done < n && atomic_load(&c->patient)) {
		(void)nanosleep(&moment, NULL);
		done += c->output(c->host, p + done, n - done);
	}
	return done;
}

size_t chr_errors(struct chr *c, const uint8_t *p, size_t n)
{
	return c->errors ? c->errors(c->host, p, n) : chr_output(c, p, n);
}
