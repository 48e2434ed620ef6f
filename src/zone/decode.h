#ifndef ZONE_DECODE_H
#define ZONE_DECODE_H
#include "base/err.h"
#include "base/own.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* JSON of strangers into plain structs, by tables: a field has a name, a type, and where it goes.
 * Names that no table knows are passed over, as the runtime specification wants it; a value of
 * another type than the table's is refused, in words that say where: "process.rlimits[2].hard".
 * Everything made lives in the arena. */
struct json_object;
enum decode_type {
	DECODE_TEXT,   /* const char *; none holds a NUL */
	DECODE_FLAG,   /* bool */
	DECODE_I64,    /* int64_t */
	DECODE_U64,    /* uint64_t */
	DECODE_U32,    /* uint32_t */
	DECODE_NUMBER, /* struct number: one that may be missing */
	DECODE_FLOAT,  /* not taken: passed over, whatever it is */
	DECODE_TEXTS,  /* struct texts */
	DECODE_PAIRS,  /* struct pairs, of an object whose values are texts */
	DECODE_U32S,   /* struct u32s */
	DECODE_OBJECT, /* a pointer to a struct, NULL where there is none */
	DECODE_LIST,   /* struct list of structs */
	DECODE_RAW     /* struct json_object *, borrowed */
};
struct number {
	bool set;
	int64_t v; /* 18446744073709551615 is -1: no limit */
};
struct texts {
	const char **at; /* NULL-ended once there was an array; else NULL */
	unsigned n;
};
struct pairs {
	const char **key, **value;
	unsigned n;
};
struct u32s {
	uint32_t *at;
	unsigned n;
};
struct list {
	void *at; /* n structs, one after the other */
	unsigned n;
};
struct decode_field {
	const char *name; /* NULL ends a table */
	enum decode_type type;
	size_t offset;
	const struct decode_field *fields; /* of an OBJECT, of each in a LIST */
	size_t size;			   /* of the same */
};
/* Lines of such a table, for a member of struct T; `of` is the struct that an object becomes. */
#define DECODE_AT(T, member, name, type)                                                           \
	{                                                                                          \
		name, DECODE_##type, offsetof(struct T, member), NULL, 0                           \
	}
#define DECODE_EACH(T, member, name, of, table)                                                    \
	{                                                                                          \
		name, DECODE_LIST, offsetof(struct T, member), table, sizeof(struct of)            \
	}
#define DECODE_END                                                                                 \
	{                                                                                          \
		NULL, DECODE_FLAG, 0, NULL, 0                                                      \
	}
/* LIST_OF(struct x) is a struct list whose type a reader can see. */
#define LIST_OF(T)                                                                                 \
	struct {                                                                                   \
		T *at;                                                                             \
		unsigned n;                                                                        \
	}
enum { DECODE_DEPTH = 32, DECODE_ITEMS = 16384 };

/* The bytes as JSON, strictly (RFC 8259); the caller puts it. NULL: words in e. */
struct json_object *decode_text(const char *text, size_t len, struct err *e);
void decode_drop(struct json_object **o); /* for auto_json */
#define auto_json __attribute__((cleanup(decode_drop)))
/* o, which is called path in errors, into the zeroed struct at to. */
int decode_object(struct json_object *o, const char *path, const struct decode_field *f, void *to,
		  struct arena *a, struct err *e);
char *arena_text(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#endif
