#ifndef BASE_TEXT_H
#define BASE_TEXT_H
#include <stdbool.h>
#include <stddef.h>
/* What printf would write, as a string of the caller's to free(). */
char *text_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Letters that UTF-8 (RFC 3629) writes in more than one byte, as far as a terminal only shows them:
 * no C1 controls, no marks that turn the direction of what follows. */
unsigned text_letter_len(unsigned char first); /* 2 to 4, which it would have; 0: it begins none */
bool text_is_letter(const unsigned char *s, unsigned len); /* len: as above; all of it is there */
/* Bytes of the letter that this string begins with; 0: none. */
size_t text_letter(const char *s);
#endif
