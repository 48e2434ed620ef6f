#ifndef BASE_CHR_H
#define BASE_CHR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* A console's two byte streams between a device (a UART, a virtio console) and whoever sits at
 * it (a terminal, a socket, a test). Both directions take what they have room for and say so
 * later: nothing is buffered without bound, nobody blocks. Each side fills in its half. */
struct chr {
	/* the device's half; called on the loop's thread */
	size_t (*input)(void *dev, const uint8_t *p, size_t n); /* keys; how many were taken */
	void (*drained)(void *dev);   /* output(), errors() have room again; may be NULL */
	void (*input_end)(void *dev); /* no keys will come any more; may be NULL */
	void (*resize)(void *dev, unsigned rows, unsigned columns); /* may be NULL */
	void *dev;
	/* the sitter's half; any thread, locks itself, never calls back from inside */
	size_t (*output)(void *host, const uint8_t *p, size_t n); /* how many were taken */
	/* The same of what is not to be mixed with that. NULL: it is. */
	size_t (*errors)(void *host, const uint8_t *p, size_t n);
	void (*hungry)(void *host); /* input() has room again; may be NULL */
	void *host;
	_Atomic bool patient; /* the device waits until output() has room: no guest sees that it had
				 none */
};
size_t chr_output(struct chr *c, const uint8_t *p, size_t n);
size_t chr_errors(struct chr *c, const uint8_t *p, size_t n);
#endif
