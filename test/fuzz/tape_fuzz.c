/* Any bytes as a recording: read as far as they are one. The magic word and the checksum keep a
 * fuzzer out, so it gives what is between them: JSON, a zero byte, frames. A first byte that is odd
 * gives the whole file. */
#include "base/buf.h"
#include "base/crc.h"
#include "guest/tape_impl.h"
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void put(int fd, const void *p, size_t n) { must(write(fd, p, n) == (ssize_t)n); }

static void mended(struct buf *to, const uint8_t *p, size_t n)
{
	static const char intro[TAPE_INTRO] = TAPE_MAGIC "\1\0\0";
	auto_buf struct buf head = {0}, end = {0};
	const uint8_t *zero = memchr(p, 0, n);
	size_t json = zero ? (size_t)(zero - p) : n;
	buf_add(&head, intro, sizeof(intro));
	buf_add(&head, p, json);
	frame_add(to, TAPE_HEAD, head.at, head.len);
	if (zero) buf_add(to, zero + 1, n - json - 1);
	(void)buf_room(&end, TAPE_END_LEN);
	frame_add(to, TAPE_END, end.at, end.len);
	store_le((uint8_t *)to->at + to->len - 4, crc32c(0, to->at, to->len - 4), 4);
}

static void read_all(struct tape *t)
{
	uint64_t sum = 0;
	for (const struct tape_event *v = tape_next(t); v->kind != TAPE_END; tape_pop(t))
		for (uint32_t i = 0; i < v->len; i++) sum += v->at[i];
	(void)sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static int fd = -1;
	char path[64];
	auto_buf struct buf b = {0};
	struct tape *t;
	struct tape_head h;
	if (fd < 0) fd = memfd_create("tape", MFD_CLOEXEC);
	must(fd >= 0 && !ftruncate(fd, 0) && !lseek(fd, 0, SEEK_SET));
	if (!n || n > 40000) return 0;
	if (*p & 1)
		buf_add(&b, p + 1, n - 1);
	else
		mended(&b, p + 1, n - 1);
	put(fd, b.at, b.len);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!tape_open(&t, &h, path, NULL)) {
		read_all(t);
		tape_close(t);
	}
	tape_head_done(&h);
	return 0;
}
