#include "base/buf.h"
#include "base/test.h"
#include "store/image.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static int parse(enum image_form form, const char *text, struct err *e)
{
	struct image im;
	int r = image_parse(&im, form, text, strlen(text), e);
	image_done(&im);
	return r;
}

TEST(manifest_survives_the_round_trip)
{
	struct err e;
	auto_image struct image im = {0}, back = {0};
	auto_buf struct buf b = {0};
	const char *text =
		"{\"name\":\"d\",\"arch\":\"riscv64\",\"kind\":\"vm\",\"created\":7,"
		"\"memory\":9223372036854775806,\"append\":\"a=\\\"b\\\" c\",\"later\":[],"
		"\"kernel\":{\"sha256\":\"" DIGEST "\",\"size\":3},"
		"\"disk\":{\"sha256\":\"" DIGEST "\",\"size\":0,\"format\":\"raw\"}}";
	CHECK(!image_parse(&im, IMAGE_STORED, text, strlen(text), &e));
	image_format(&im, &b);
	CHECK(!image_parse(&back, IMAGE_STORED, b.at, b.len, &e));
	CHECK(!strcmp(back.name, "d") && !strcmp(back.append, "a=\"b\" c"));
	CHECK(back.created == 7 && back.memory == 9223372036854775806);
	CHECK(back.kernel.size == 3 && !strcmp(back.kernel.digest, DIGEST));
	CHECK(!strcmp(back.disk.format, "raw") && !back.initrd.digest);
}

TEST(manifest_that_lies_is_refused)
{
	static const char *const bad[] = {
		"",
		"null",
		"[]",
		"{",
		"{}",
		"{\"kind\":1}",
		"{\"kind\":\"vm\"} x",
		"{\"kind\":\"vm\",\"memory\":-1}",
		"{\"kind\":\"vm\",\"memory\":1.5}",
		"{\"kind\":\"vm\",\"memory\":99999999999999999999}",
		"{\"kind\":\"vm\",\"memory\":\"1\"}",
		"{\"kind\":\"v\\u0000m\"}",
		"{\"kind\":\"v\\nm\"}",
		"{\"kind\":\"\xff\"}",
		"{\"kind\":\"vm\",\"kernel\":\"x\"}",
		"{\"kind\":\"vm\",\"kernel\":{}}",
		"{\"kind\":\"vm\",\"kernel\":{\"sha256\":\"../../etc/passwd\",\"size\":1}}",
		"{\"kind\":\"vm\",\"kernel\":{\"sha256\":\"" DIGEST "0\",\"size\":1}}",
		"{\"kind\":\"vm\",\"kernel\":{\"sha256\":\"" DIGEST "\"}}",
		"{\"kind\":\"vm\",\"kernel\":{\"file\":\"/etc/shadow\"}}",
		"{\"kind\":\"vm\",\"disk\":{\"sha256\":\"" DIGEST "\",\"size\":1}}",
		"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}",
	};
	struct err e = {0};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		CHECK(parse(IMAGE_STORED, bad[i], &e) == -EINVAL);
		CHECK(!strncmp(e.msg, "manifest: ", 10));
	}
}

TEST(recipe_names_only_files_beside_it)
{
	static const char *const bad[] = {"/etc/shadow", "..", "a/b", "", ".key"};
	struct err e;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		auto_buf struct buf b = {0};
		buf_fmt(&b, "{\"kind\":\"vm\",\"kernel\":{\"file\":\"%s\"}}", bad[i]);
		CHECK(parse(IMAGE_MADE, b.at, &e) == -EINVAL);
	}
	CHECK(!parse(IMAGE_MADE, "{\"kind\":\"vm\",\"kernel\":{\"file\":\"kernel\"}}", &e));
	CHECK(parse(IMAGE_MADE, "{\"kind\":\"vm\",\"kernel\":{\"sha256\":\"" DIGEST "\"}}", &e));
}

TEST(manifest_too_long_is_refused)
{
	struct err e;
	struct image im;
	char *p = calloc(1, IMAGE_TEXT_MAX + 1);
	CHECK(p && image_parse(&im, IMAGE_STORED, p, IMAGE_TEXT_MAX + 1, &e) == -EFBIG);
	free(p);
}
