/* Requests on a control socket: any line gets one JSON object and no more. */
#include "base/buf.h"
#include "guest/control.h"
#include "guest/guest.h"
#include <json-c/json.h>
#include <string.h>

static const struct kind paper = {.name = "paper"};

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct spec s = {.name = "p", .cpus = 1};
	struct guest g = {.kind = &paper, .spec = &s, .name = "p"};
	auto_buf struct buf b = {0};
	if (n > CONTROL_LINE) return 0;
	control_answer(&g, (const char *)p, n, &b);
	must(b.len && b.at[b.len - 1] == '\n' && b.len <= CONTROL_ANSWER);
	must(strchr(b.at, '\n') == b.at + b.len - 1);
	struct json_object *o = json_tokener_parse(b.at);
	must(json_object_is_type(o, json_type_object));
	(void)json_object_put(o);
	return 0;
}
