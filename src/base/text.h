#ifndef BASE_TEXT_H
#define BASE_TEXT_H
/* What printf would write, as a string of the caller's to free(). */
char *text_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#endif
