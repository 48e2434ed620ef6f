/* ACPI Machine Language. Lengths stand in front of what they measure and have as many bytes as they
 * need; so they are put in when the thing ends, and what is behind moves up. */
#include "vm/aml.h"
#include "base/err.h"

enum { OP_NAME = 0x08, OP_SCOPE = 0x10, OP_BUFFER, OP_PACKAGE, OP_METHOD = 0x14, OP_EXT = 0x5b };
enum { OP_IF = 0xa0, EXT_REGION = 0x80, EXT_FIELD, EXT_DEVICE };
enum { OP_LOCAL = 0x60, OP_ARG = 0x68, SYSTEM_IO = 1 };

static void byte(struct aml *a, unsigned v) { buf_add(a->b, &(uint8_t){(uint8_t)v}, 1); }

static void number(struct aml *a, uint64_t v, unsigned len) /* 1, 2, 4 or 8 bytes */
{
	uint8_t le[8];
	store_le(le, v, 8);
	buf_add(a->b, le, len);
}

static void item(struct aml *a) /* a value begins: it may be one of a package's */
{
	if (a->depth && a->open[a->depth - 1].items >= 0) must(a->open[a->depth - 1].items-- > 0);
}

/* Integers: §20.2.3 */
static unsigned encode_int(uint8_t to[9], uint64_t v)
{
	unsigned len = v <= UINT8_MAX ? 1 : v <= UINT16_MAX ? 2 : v <= UINT32_MAX ? 4 : 8;
	to[0] = (uint8_t)v;
	if (v <= 1) return 1;
	to[0] = len == 1 ? 0x0a : len == 2 ? 0x0b : len == 4 ? 0x0c : 0x0e;
	store_le(to + 1, v, len);
	return 1 + len;
}

void aml_int(struct aml *a, uint64_t v)
{
	uint8_t code[9];
	item(a);
	buf_add(a->b, code, encode_int(code, v));
}

/* PkgLength: §20.2.4. It counts itself. */
static unsigned encode_length(uint8_t to[4], size_t body)
{
	unsigned more = body + 1 < 1 << 6 ? 0 : body + 2 < 1 << 12 ? 1 : body + 3 < 1 << 20 ? 2 : 3;
	size_t n = body + 1 + more;
	must(n < 1u << 28);
	to[0] = (uint8_t)(more ? more << 6 | (n & 15) : n);
	for (unsigned i = 0; i < more; i++) to[1 + i] = (uint8_t)(n >> (4 + 8 * i));
	return 1 + more;
}

static void insert(struct aml *a, size_t at, const uint8_t *p, unsigned n)
{
	size_t behind = a->b->len - at;
	(void)buf_room(a->b, n);
	memmove(a->b->at + at + n, a->b->at + at, behind);
	memcpy(a->b->at + at, p, n);
}

static void begin(struct aml *a, int items, bool resources)
{
	must(a->depth < COUNT(a->open));
	a->open[a->depth++] = (struct aml_open){a->b->len, resources, items};
}

void aml_end(struct aml *a)
{
	uint8_t code[9];
	must(a->depth);
	struct aml_open o = a->open[--a->depth];
	must(o.items <= 0);
	if (o.resources) {
		number(a, 0x0079, 2); /* end tag; 0: no checksum */
		insert(a, o.at, code, encode_int(code, a->b->len - o.at));
	}
	insert(a, o.at, code, encode_length(code, a->b->len - o.at));
}

/* Names: §20.2.2 */
void aml_path(struct aml *a, const char *path)
{
	enum { DUAL = 0x2e, MULTI = 0x2f };
	unsigned segments = 1;
	item(a);
	if (*path == '\\') byte(a, (uint8_t)*path++);
	for (const char *p = path; *p; p++) segments += *p == '.';
	must(segments <= 4);
	if (!*path) byte(a, 0); /* the root itself */
	if (segments == 2) byte(a, DUAL);
	if (segments > 2) number(a, (uint64_t)segments << 8 | MULTI, 2);
	while (*path) {
		size_t n = strcspn(path, ".");
		must(n >= 1 && n <= 4);
		buf_add(a->b, path, n);
		buf_add(a->b, "___", 4 - n);
		path += n + (path[n] == '.');
	}
}

void aml_scope(struct aml *a, const char *path)
{
	byte(a, OP_SCOPE);
	begin(a, -1, false);
	aml_path(a, path);
}

void aml_device(struct aml *a, const char *name)
{
	byte(a, OP_EXT);
	byte(a, EXT_DEVICE);
	begin(a, -1, false);
	aml_path(a, name);
}

void aml_method(struct aml *a, const char *name, unsigned args, bool serialized)
{
	must(args <= 7);
	byte(a, OP_METHOD);
	begin(a, -1, false);
	aml_path(a, name);
	byte(a, args | (serialized ? 8u : 0));
}

void aml_package(struct aml *a, unsigned items)
{
	must(items && items <= UINT8_MAX);
	item(a);
	byte(a, OP_PACKAGE);
	begin(a, (int)items, false);
	byte(a, items);
}

void aml_if(struct aml *a)
{
	byte(a, OP_IF);
	begin(a, -1, false);
}

void aml_resources(struct aml *a)
{
	byte(a, OP_BUFFER);
	begin(a, -1, true);
}

/* Terms and values */

void aml_op(struct aml *a, enum aml_op op) { byte(a, op); }
void aml_arg(struct aml *a, unsigned n) { byte(a, OP_ARG + n); }
void aml_local(struct aml *a, unsigned n) { byte(a, OP_LOCAL + n); }
void aml_nowhere(struct aml *a) { byte(a, 0); }

void aml_name(struct aml *a, const char *path)
{
	byte(a, OP_NAME);
	aml_path(a, path);
}

void aml_text(struct aml *a, const char *s)
{
	item(a);
	byte(a, 0x0d);
	buf_add(a->b, s, strlen(s) + 1);
}

static unsigned hex(char c)
{
	must((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'));
	return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of five bits, four digits, big-endian (§19.3.4, EISAID) */
void aml_id(struct aml *a, const char *eisa)
{
	uint32_t v = 0;
	must(strlen(eisa) == 7);
	for (unsigned i = 0; i < 3; i++) v = v << 5 | (uint32_t)(eisa[i] - '@');
	for (unsigned i = 3; i < 7; i++) v = v << 4 | hex(eisa[i]);
	aml_int(a, __builtin_bswap32(v));
}

void aml_bytes(struct aml *a, const void *p, size_t n)
{
	item(a);
	byte(a, OP_BUFFER);
	begin(a, -1, false);
	aml_int(a, n);
	buf_add(a->b, p, n);
	aml_end(a);
}

void aml_port_field(struct aml *a, const char *region, const char *field, uint16_t port)
{
	enum { BYTE_ACCESS = 1, BITS = 8 };
	byte(a, OP_EXT);
	byte(a, EXT_REGION);
	aml_path(a, region);
	byte(a, SYSTEM_IO);
	aml_int(a, port);
	aml_int(a, 1);
	byte(a, OP_EXT);
	byte(a, EXT_FIELD);
	begin(a, -1, false);
	aml_path(a, region);
	byte(a, BYTE_ACCESS);
	aml_path(a, field);
	byte(a, BITS);
	aml_end(a);
}

/* Resources: §6.4.2 the small ones, §6.4.3 the large ones */

void aml_res_io(struct aml *a, uint16_t port, uint8_t len)
{
	byte(a, 0x47);
	byte(a, 1); /* all 16 bits of the address are decoded */
	number(a, port, 2);
	number(a, port, 2);
	byte(a, 1); /* aligned to */
	byte(a, len);
}

void aml_res_irq(struct aml *a, unsigned isa)
{
	must(isa < 16);
	byte(a, 0x22); /* edge, active high, not shared */
	number(a, 1u << isa, 2);
}

void aml_res_gsi(struct aml *a, uint32_t gsi, bool edge)
{
	byte(a, 0x89);
	number(a, 6, 2);
	byte(a, edge ? 3 : 1); /* consumer, active high, exclusive */
	byte(a, 1);
	number(a, gsi, 4);
}

void aml_res_memory(struct aml *a, uint32_t at, uint32_t len)
{
	byte(a, 0x86);
	number(a, 9, 2);
	byte(a, 1); /* may be written */
	number(a, at, 4);
	number(a, len, 4);
}

/* An address space descriptor of len-byte numbers, produced by a bridge, with fixed ends. */
static void window(struct aml *a, unsigned tag, unsigned len, const uint8_t flags[2],
		   uint64_t first, uint64_t last)
{
	must(first <= last);
	byte(a, tag);
	number(a, 3 + 5 * len, 2);
	byte(a, flags[0]);
	byte(a, 0x0c);
	byte(a, flags[1]);
	number(a, 0, len); /* granularity */
	number(a, first, len);
	number(a, last, len);
	number(a, 0, len); /* translation */
	number(a, last - first + 1, len);
}
static const uint8_t memory[2] = {0, 1} /* uncached, writable */, ports[2] = {1, 3}, buses[2] = {2};

void aml_res_buses(struct aml *a, uint16_t first, uint16_t last)
{
	window(a, 0x88, 2, buses, first, last);
}

void aml_res_ports(struct aml *a, uint16_t first, uint16_t last)
{
	window(a, 0x88, 2, ports, first, last);
}

void aml_res_window32(struct aml *a, uint32_t first, uint32_t last)
{
	window(a, 0x87, 4, memory, first, last);
}

void aml_res_window64(struct aml *a, uint64_t first, uint64_t last)
{
	window(a, 0x8a, 8, memory, first, last);
}
