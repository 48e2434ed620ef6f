#include "zone/log.h"
#include "base/buf.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
	const char *name;
	int err; /* where stderr is */
	int fd;
	bool json, debug;
} to = {.name = "lodge-oci", .err = 2, .fd = -1};
static const char *const levels[] = {"error", "warning", "info", "debug"};

int oci_log_open(const char *path, bool json, bool debug, struct err *e)
{
	to.json = json;
	to.debug = debug;
	if (!path || !*path || !strcmp(path, "/dev/stderr")) return 0;
	to.fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	return to.fd < 0 ? fail(e, -errno, "--log %s: %s", path, strerror(errno)) : 0;
}

void oci_log_as(const char *name, int fd)
{
	to.name = name;
	to.err = fd;
}

static void line_make(struct buf *b, bool json, enum oci_level l, const char *msg)
{
	char when[32];
	time_t now = time(NULL);
	struct tm tm;
	(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	if (!json) {
		buf_fmt(b, "time=\"%s\" level=%s msg=\"%s\"\n", when, levels[l], msg);
		return;
	}
	struct json_object *s = json_object_new_string(msg);
	buf_fmt(b, "{\"level\":\"%s\",\"msg\":%s,\"time\":\"%s\"}\n", levels[l],
		json_object_to_json_string_ext(s, JSON_C_TO_STRING_NOSLASHESCAPE), when);
	(void)json_object_put(s);
}

void oci_log(enum oci_level l, const char *fmt, ...)
{
	char msg[1024];
	va_list ap;
	auto_buf struct buf b = {0};
	if (!to.debug && (l == OCI_DEBUG || (l == OCI_INFO && to.fd < 0))) return;
	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	for (char *c = msg; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127) *c = ' ';
	if (to.fd >= 0) {
		line_make(&b, to.json, l, msg);
		(void)!write(to.fd, b.at, b.len);
	}
	if (to.fd < 0 || l == OCI_ERROR)
		(void)dprintf(to.err, "%s: %s%s\n", to.name, l == OCI_WARNING ? "warning: " : "",
			      msg);
}
