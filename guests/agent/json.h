#ifndef JSON_H
#define JSON_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* As much of JSON (RFC 8259) as the agent's commands need, read where it lies: a value is a pointer
 * to its first character in a text that json_good() found to be one. NULL is a value that is not
 * there, and everything here takes it. */
bool json_good(const char *text); /* it is one object, and nothing follows it */
const char *json_member(const char *object, const char *name);
const char *json_next(const char *array, const char *at); /* at NULL: the first; NULL: no more */
bool json_number(const char *v, long long *n);		  /* a whole one */
bool json_true(const char *v);
/* Into to, with a zero behind it; its length, or -1: no string, or no room. A zero in it is none.
 */
int json_string(const char *v, char *to, size_t room);

/* A text that grows; out of memory ends the process. */
struct text {
	char *at;
	size_t len, cap;
};
void text_add(struct text *t, const void *p, size_t n);
void text_fmt(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_string(struct text *t, const char *s, size_t n); /* in quotes */
void text_base64(struct text *t, const uint8_t *p, size_t n);
long base64_decode(const char *s, size_t n, uint8_t *to); /* the length, or -1; 3/4 n of room */
#endif
