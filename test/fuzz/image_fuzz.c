/* Image manifests, of both forms: no bytes may break the reader, and what it accepts it must
 * write so that it reads the same again. */
#include "base/buf.h"
#include "store/image.h"
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct err e;
	auto_image struct image im = {0}, made = {0}, back = {0};
	auto_buf struct buf b = {0};
	(void)image_parse(&made, IMAGE_MADE, (const char *)p, n, &e);
	if (image_parse(&im, IMAGE_STORED, (const char *)p, n, &e)) return 0;
	image_format(&im, &b);
	if (b.len > IMAGE_TEXT_MAX) return 0;
	must(!image_parse(&back, IMAGE_STORED, b.at, b.len, &e));
	must(back.memory == im.memory && !strcmp(back.kind, im.kind));
	return 0;
}
