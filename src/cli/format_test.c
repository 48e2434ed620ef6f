#include "base/test.h"
#include "cli/format.h"
#include "cli/plain.h"
#include <errno.h>
#include <json-c/json.h>
#include <string.h>

/* What fn writes to standard output. */
static char said[512];
static void listen_to(void (*fn)(void *ctx), void *ctx)
{
	char *text = NULL;
	size_t n = 0;
	FILE *real = stdout;
	stdout = open_memstream(&text, &n);
	fn(ctx);
	(void)fclose(stdout);
	stdout = real;
	(void)snprintf(said, sizeof(said), "%s", text);
	free(text);
}

static struct json_object *object;
static void line(void *format) { format_line(format, object); }
static void head(void *format) { format_head(format); }
static bool gives(const char *format, const char *want)
{
	char copy[128];
	struct err e = {0};
	CHECK(!format_check(format, &e));
	(void)snprintf(copy, sizeof(copy), "%s", format);
	listen_to(line, copy);
	if (!strcmp(said, want)) return true;
	printf("'%s' gives '%s'\n", format, said);
	return false;
}

TEST(format_fills_in_fields)
{
	char table[] = "table {{.Name}}\\t{{.ExitCode}} {{ .spec.kernel_file }}";
	object = json_tokener_parse(
		"{\"name\":\"a\\u001bb\",\"exit_code\":7,\"spec\":{\"kernel_file\":"
		"\"k\"},\"ports\":[\"1:2\",\"3:4\"],\"none\":null}");
	CHECK(gives("{{.Name}}", "a\\x1bb\n") && gives("<{{ .ExitCode }}>\\t", "<7>\t\n"));
	CHECK(gives("{{.exit_code}}{{.EXITCODE}}", "77\n") && gives("{{.Spec.KernelFile}}", "k\n"));
	CHECK(gives("{{.Ports}}", "1:2, 3:4\n") && gives("{{json .Ports}}", "[\"1:2\",\"3:4\"]\n"));
	CHECK(gives("{{.Nothing}}|{{.None}}|{{.Name.X}}", "<no value>|<no value>|<no value>\n"));
	CHECK(gives("{{json .Spec}}", "{\"kernel_file\":\"k\"}\n") &&
	      gives("{{json .No}}", "null\n"));
	CHECK(gives("a } b {{json .Name}}", "a } b \"a\\u001bb\"\n"));
	listen_to(head, table);
	CHECK(!strcmp(said, "NAME\tEXIT CODE KERNEL FILE\n"));
	CHECK(gives(table, "a\\x1bb\t7 k\n"));
	listen_to(head, table + 6);
	CHECK(!*said);
	(void)json_object_put(object);
}

TEST(format_refuses_what_it_does_not_do)
{
	static const char *const bad[] = {"yaml",
					  "{{",
					  "{{}}",
					  "{{.}}",
					  "{{.Name",
					  "{{.Name}",
					  "{{Name}}",
					  "{{range .}}",
					  "{{.Name | x}}",
					  "{{json}}",
					  "{{.A..B}}",
					  "{{.A.}}",
					  "x {{.Ok}} {{no}}",
					  "{{json .Name x}}"};
	struct err e;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(format_check(bad[i], &e) == -EINVAL);
}

struct bytes {
	const char *at;
	size_t n;
};
static void whole(void *ctx)
{
	const struct bytes *b = ctx;
	struct plain p = {0};
	plain_put(&p, b->at, b->n, stdout);
	plain_end(&p, stdout);
}
static void by_one(void *ctx)
{
	const struct bytes *b = ctx;
	struct plain p = {0};
	for (size_t i = 0; i < b->n; i++) plain_put(&p, b->at + i, 1, stdout);
	plain_end(&p, stdout);
}
static bool plain_is(const char *from, size_t n, const char *want)
{
	struct bytes b = {from, n};
	listen_to(whole, &b);
	bool good = !strcmp(said, want);
	if (!good) printf("got '%s'\n", said);
	listen_to(by_one, &b);
	return good && !strcmp(said, want);
}
#define PLAIN(from, want) plain_is(from, sizeof(from) - 1, want)

TEST(plain_text_moves_no_cursor)
{
	CHECK(PLAIN("a\tb\r\nc\n", "a\tb\nc\n") && PLAIN("a\rb\r", "a\\x0db\\x0d"));
	CHECK(PLAIN("\033[2J\007\177\0", "\\x1b[2J\\x07\\x7f\\x00"));
	CHECK(PLAIN("\303\244\342\202\254\360\237\230\200",
		    "\303\244\342\202\254\360\237\230\200"));
	CHECK(PLAIN("\302\233 \233", "\\xc2\\x9b \\x9b"));		   /* CSI as C1 */
	CHECK(PLAIN("\303x\342\202", "\\xc3x\\xe2\\x82"));		   /* cut off */
	CHECK(PLAIN("\300\200\340\202\233", "\\xc0\\x80\\xe0\\x82\\x9b")); /* too long */
	CHECK(PLAIN("\355\240\200\364\220\200\200", "\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80"));
	CHECK(PLAIN("\342\200\256", "\\xe2\\x80\\xae")); /* right to left from here on */
	CHECK(PLAIN("\303\033", "\\xc3\\x1b") && PLAIN("\303\303\244", "\\xc3\303\244"));
}

static void as_json(void *ctx)
{
	struct json_object *o = json_object_new_string(ctx);
	plain_json(o, JSON_C_TO_STRING_PLAIN, stdout);
	(void)json_object_put(o);
}
static bool json_is(char *from, const char *want)
{
	listen_to(as_json, from);
	if (strcmp(said, want) != 0) printf("got '%s'\n", said);
	return !strcmp(said, want);
}

TEST(attack_json_moves_no_cursor)
{
	char c1[] = "\302\233\033[2J\177", turned[] = "\342\200\256 \303\244";
	char bytes[] = "\233\303", cut[] = "\342\200", long_one[] = "\340\202\233",
	     more[] = "\360\220\200";
	CHECK(json_is(c1, "\"\\u009b\\u001b[2J\\u007f\""));
	CHECK(json_is(turned, "\"\\u202e \303\244\""));
	CHECK(json_is(bytes, "\"\\ufffd\\ufffd\"") && json_is(cut, "\"\\ufffd\\ufffd\""));
	CHECK(json_is(long_one, "\"\\ufffd\\ufffd\\ufffd\""));
	CHECK(json_is(more, "\"\\ufffd\\ufffd\\ufffd\""));
}
