/* Templates: three forms of Go's, which are nearly all that people write. A template is walked the
 * same way to be checked, for its headings, and for each object. */
#include "cli/format.h"
#include "base/own.h"
#include "cli/plain.h"
#include <ctype.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What is between {{ and }}. */
struct action {
	bool json;
	const char *path; /* ".Name.More", or "." */
	size_t len;
};

static const char *skip_spaces(const char *p) { return p + strspn(p, " \t"); }

/* The text behind it; NULL: it is none. */
static const char *action_parse(struct action *a, const char *p)
{
	p = skip_spaces(p + 2);
	a->json = !strncmp(p, "json", 4) && (p[4] == ' ' || p[4] == '\t');
	if (a->json) p = skip_spaces(p + 4);
	a->path = p;
	if (*p != '.') return NULL;
	while (*p == '.' || *p == '_' || isalnum((unsigned char)*p)) p++;
	a->len = (size_t)(p - a->path);
	if (a->len > 1 && (a->path[a->len - 1] == '.' || memmem(a->path, a->len, "..", 2)))
		return NULL;
	if (a->len == 1 && !a->json) return NULL;
	p = skip_spaces(p);
	return strncmp(p, "}}", 2) != 0 ? NULL : p + 2;
}

/* As the tables have it: "exit_code" is .ExitCode and .exit_code. */
static bool is_called(const char *key, const char *name, size_t n)
{
	for (; *key; key++) {
		if (*key == '_') continue;
		while (n && *name == '_') name++, n--;
		if (!n || tolower((unsigned char)*key) != tolower((unsigned char)*name))
			return false;
		name++, n--;
	}
	return !n;
}

static struct json_object *member(struct json_object *o, const char *name, size_t n)
{
	if (!json_object_is_type(o, json_type_object)) return NULL;
	json_object_object_foreach(o, key, value) if (is_called(key, name, n)) return value;
	return NULL;
}

static struct json_object *find(const struct action *a, struct json_object *o)
{
	const char *p = a->path, *end = a->path + a->len;
	while (p < end - 1) {
		size_t n = strcspn(p + 1, ".");
		if (n > (size_t)(end - p - 1)) n = (size_t)(end - p - 1);
		o = member(o, p + 1, n);
		p += n + 1;
	}
	return o;
}

static void print_list(struct json_object *o)
{
	for (size_t i = 0; i < json_object_array_length(o); i++) {
		if (i) (void)fputs(", ", stdout);
		plain_text(json_object_get_string(json_object_array_get_idx(o, i)), stdout);
	}
}

static void print_value(const struct action *a, struct json_object *o)
{
	struct json_object *v = find(a, o);
	if (a->json)
		plain_json(v, JSON_C_TO_STRING_PLAIN, stdout);
	else if (json_object_is_type(v, json_type_array))
		print_list(v);
	else
		plain_text(v ? json_object_get_string(v) : "<no value>", stdout);
}

/* EXIT CODE */
static void print_heading(const struct action *a)
{
	const char *last = a->path;
	for (const char *p = a->path; p < a->path + a->len; p++)
		if (*p == '.') last = p;
	for (const char *p = last + 1; p < a->path + a->len; p++) {
		bool word =
			isupper((unsigned char)*p) && p > last + 1 && islower((unsigned char)p[-1]);
		if (word || *p == '_') (void)putchar(' ');
		if (*p != '_') (void)putchar(toupper((unsigned char)*p));
	}
}

static const char *text(const char *p)
{
	bool escape = p[0] == '\\' && (p[1] == 't' || p[1] == 'n');
	(void)putchar(!escape ? *p : p[1] == 't' ? '\t' : '\n');
	return p + 1 + escape;
}

static bool wants_head(const char **format)
{
	bool head = !strncmp(*format, "table ", 6);
	if (head) *format += 6;
	return head;
}

int format_check(const char *format, struct err *e)
{
	struct action a;
	if (!strstr(format, "{{"))
		return fail(e, -EINVAL,
			    "--format: '%s' is neither table nor json nor a template such as "
			    "'{{.Name}}'",
			    format);
	for (const char *p = format; (p = strstr(p, "{{"));) {
		const char *next = action_parse(&a, p);
		if (!next)
			return fail(e, -EINVAL,
				    "--format: '%.40s': only {{.Field}}, {{json .}} and {{json "
				    ".Field}} are understood",
				    p);
		p = next;
	}
	return 0;
}

void format_head(const char *format)
{
	struct action a;
	if (!wants_head(&format)) return;
	while (*format) {
		if (strncmp(format, "{{", 2) != 0) {
			format = text(format);
			continue;
		}
		format = action_parse(&a, format);
		print_heading(&a);
	}
	(void)putchar('\n');
}

void format_line(const char *format, struct json_object *o)
{
	struct action a;
	(void)wants_head(&format);
	while (*format) {
		if (strncmp(format, "{{", 2) != 0) {
			format = text(format);
			continue;
		}
		format = action_parse(&a, format);
		print_value(&a, o);
	}
	(void)putchar('\n');
}
