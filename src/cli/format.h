#ifndef CLI_FORMAT_H
#define CLI_FORMAT_H
#include "base/err.h"
/* --format as docker's users know it: json, or a template of text with {{.Field}}, {{json .}} and
 * {{json .Field}}; \t and \n stand for what they do in C, and 'table ' in front asks for a line of
 * headings. .Field is the value of "field" in JSON, whatever its case, without the '_'; .A.B is
 * "b" of "a". */
struct json_object;
/* -EINVAL with words: it is no template. */
int format_check(const char *format, struct err *e);
void format_head(const char *format);			     /* the headings, if it asks for some */
void format_line(const char *format, struct json_object *o); /* and the end of the line */
#endif
