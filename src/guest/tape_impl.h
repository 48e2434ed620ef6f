#ifndef GUEST_TAPE_IMPL_H
#define GUEST_TAPE_IMPL_H
#include "base/types.h"
#include "guest/tape.h"
/* What the writer and the reader of recordings agree on. */
struct buf;
#define TAPE_MAGIC "LODGETAP"
enum { TAPE_VERSION = 1, TAPE_HEAD_MOST = 256 * 1024, TAPE_INTRO = 12 /* magic, version */ };
enum { TAPE_END_LEN = TAPE_WHEN + 8 };
/* tape_head.c: the JSON of the head; untrusted when it is read. */
void tape_head_format(const struct tape_head *h, struct buf *to);
int tape_head_parse(struct tape_head *h, const char *text, size_t n, struct err *e);
#endif
