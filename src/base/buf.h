#ifndef BASE_BUF_H
#define BASE_BUF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* A growing run of bytes with a read cursor: saved state, text, messages.
 * Owner: whoever declared it (zeroed = empty). Never fails: out of memory is must(). */
struct buf {
	char *at;	 /* always NUL-terminated once anything was added */
	size_t len, cap; /* bytes held, bytes allocated */
	size_t pos;	 /* bytes taken by buf_take() */
};
void buf_add(struct buf *b, const void *p, size_t n);
void buf_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void *buf_room(struct buf *b, size_t n); /* n more zeroed bytes, to be filled in by the caller */
bool buf_take(struct buf *b, void *p, size_t n); /* false and nothing taken: not that many left */
void buf_done(struct buf *b);
#define auto_buf __attribute__((cleanup(buf_done)))
#endif
