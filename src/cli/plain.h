#ifndef CLI_PLAIN_H
#define CLI_PLAIN_H
#include <stdio.h>
/* What others wrote, for a terminal: nothing in it moves the cursor or asks the terminal for
 * something. Lines stay lines, tabs tabs, and letters of UTF-8 letters; the rest is shown as \xNN.
 */
struct plain {
	unsigned char some[4]; /* of a letter, so far */
	unsigned have, want;
	int cr; /* a carriage return that may belong to the end of a line */
};
void plain_put(struct plain *p, const void *at, size_t n, FILE *out); /* zeroed to begin with */
void plain_end(struct plain *p, FILE *out);
void plain_text(const char *s, FILE *out); /* one line: ends of lines are shown, too */
/* As json-c prints it, but what a terminal would not only show is \\uNNNN, and what is no UTF-8
 * U+FFFD: the same JSON. */
struct json_object;
void plain_json(struct json_object *o, int flags, FILE *out);
#endif
