/* ACPI tables on their way to wherever they will lie; see acpi.h for the idea. */
#include "vm/acpi.h"
#include "hw/gmem.h"
#include <errno.h>

enum { HEADER = 36, SUM_AT = 9, LENGTH_AT = 4, ALIGN = 64, RSDP_LEN = 36, RSDP_V1 = 20 };
enum { LOADER_ALLOCATE = 1, LOADER_POINTER, LOADER_SUM, LOADER_LEN = 128, LOADER_NAME = 56 };
enum { ZONE_HIGH = 1, ZONE_F = 2 };

void acpi_done(struct acpi *a)
{
	buf_done(&a->tables);
	buf_done(&a->rsdp);
	buf_done(&a->steps);
	buf_done(&a->roots);
}

static void put(struct buf *b, uint64_t v, unsigned len) { store_le(buf_room(b, len), v, len); }

static void align(struct acpi *a) { (void)buf_room(&a->tables, -a->tables.len % ALIGN); }

uint32_t acpi_begin(struct acpi *a, const char sign[5], uint8_t revision)
{
	align(a);
	a->table = a->tables.len;
	buf_add(&a->tables, sign, 4);
	put(&a->tables, 0, 4);
	put(&a->tables, revision, 1);
	put(&a->tables, 0, 1);
	buf_add(&a->tables, "LODGE LODGEPC ", 14); /* OEMID, OEM Table ID */
	put(&a->tables, 1, 4);
	buf_add(&a->tables, "LODG", 4); /* the tool that made it, and its revision */
	put(&a->tables, 1, 4);
	must(a->tables.len - a->table == HEADER && a->tables.len < UINT32_MAX);
	return (uint32_t)a->table;
}

void acpi_put(struct acpi *a, uint64_t v, unsigned len) { put(&a->tables, v, len); }
void acpi_zero(struct acpi *a, size_t n) { (void)buf_room(&a->tables, n); }

static void add_step(struct acpi *a, struct acpi_step s) { buf_add(&a->steps, &s, sizeof(s)); }

void acpi_pointer(struct acpi *a, uint32_t table, unsigned len)
{
	add_step(a, (struct acpi_step){.at = (uint32_t)a->tables.len, .size = len});
	put(&a->tables, table, len);
}

void acpi_register(struct acpi *a, unsigned space, uint64_t at, unsigned bytes)
{
	unsigned access = 1 + (unsigned)__builtin_ctz(bytes); /* byte 1, word 2, dword 3 */
	acpi_put(a, space, 1);
	acpi_put(a, bytes * 8, 1);
	acpi_put(a, 0, 1);
	acpi_put(a, access, 1);
	acpi_put(a, at, 8);
}

void acpi_end(struct acpi *a, bool root)
{
	uint32_t start = (uint32_t)a->table, len = (uint32_t)(a->tables.len - a->table);
	store_le(a->tables.at + start + LENGTH_AT, len, 4);
	add_step(a,
		 (struct acpi_step){
			 .sum = true, .at = start + SUM_AT, .size = 1, .start = start, .len = len});
	if (root) put(&a->roots, start, 4);
}

uint32_t acpi_facs(struct acpi *a)
{
	enum { LEN = 64, VERSION_AT = 32 };
	align(a);
	uint32_t at = (uint32_t)a->tables.len;
	uint8_t *p = buf_room(&a->tables, LEN);
	memcpy(p, "FACS", 4);
	store_le(p + LENGTH_AT, LEN, 4);
	p[VERSION_AT] = 2;
	return at;
}

/* §5.2.5.3: of the checksums, one is of what ACPI 1.0 had, one of all. */
static void add_rsdp(struct acpi *a, uint32_t xsdt)
{
	struct buf *b = &a->rsdp;
	buf_add(b, "RSD PTR \0LODGE ", 15);
	put(b, 2, 1); /* revision */
	put(b, 0, 4); /* no RSDT */
	put(b, RSDP_LEN, 4);
	add_step(a, (struct acpi_step){.rsdp = true, .at = (uint32_t)b->len, .size = 8});
	put(b, xsdt, 8);
	put(b, 0, 4);
	must(b->len == RSDP_LEN);
	add_step(a,
		 (struct acpi_step){.rsdp = true, .sum = true, .at = 8, .size = 1, .len = RSDP_V1});
	add_step(a, (struct acpi_step){
			    .rsdp = true, .sum = true, .at = 32, .size = 1, .len = RSDP_LEN});
}

void acpi_roots(struct acpi *a)
{
	uint32_t xsdt = acpi_begin(a, "XSDT", 1), root;
	while (buf_take(&a->roots, &root, sizeof(root))) acpi_pointer(a, root, 8);
	acpi_end(a, false);
	add_rsdp(a, xsdt);
}

static uint8_t sum(const char *p, size_t n)
{
	uint8_t s = 0;
	while (n--) s = (uint8_t)(s + (uint8_t)*p++);
	return s;
}

void acpi_resolve(struct acpi *a, gpa_t tables)
{
	struct acpi_step s;
	a->steps.pos = 0;
	while (buf_take(&a->steps, &s, sizeof(s))) {
		char *in = s.rsdp ? a->rsdp.at : a->tables.at, *to = in + s.at;
		if (s.sum)
			*to = (char)(*to - sum(in + s.start, s.len));
		else
			store_le(to, load_le(to, s.size) + tables, s.size);
	}
}

int acpi_place(struct acpi *a, struct gmem *mem, gpa_t base, size_t room, struct err *e)
{
	must(base % ALIGN == 0);
	if (a->tables.len + ALIGN > room)
		return fail(e, -ENOSPC, "ACPI: %zu bytes of tables, there is room for %zu",
			    a->tables.len, room - ALIGN);
	acpi_resolve(a, base + ALIGN);
	bool ok = gmem_write(mem, base, a->rsdp.at, a->rsdp.len);
	ok = ok && gmem_write(mem, base + ALIGN, a->tables.at, a->tables.len);
	return ok ? 0 : fail(e, -EFAULT, "ACPI: no memory at 0x%llx", (unsigned long long)base);
}

/* Firmware's steps: each 128 bytes, of which the first four say what to do. */

static void add_file(uint8_t *to, bool rsdp)
{
	const char *name = rsdp ? ACPI_FILE_RSDP : ACPI_FILE_TABLES;
	memcpy(to, name, strlen(name));
}

static void add_allocate(struct buf *to, bool rsdp)
{
	uint8_t *p = buf_room(to, LOADER_LEN);
	store_le(p, LOADER_ALLOCATE, 4);
	add_file(p + 4, rsdp);
	store_le(p + 4 + LOADER_NAME, rsdp ? 16 : ALIGN, 4);
	p[4 + LOADER_NAME + 4] = rsdp ? ZONE_F : ZONE_HIGH;
}

static void add_loader_step(struct buf *to, const struct acpi_step *s)
{
	uint8_t *p = buf_room(to, LOADER_LEN);
	store_le(p, s->sum ? LOADER_SUM : LOADER_POINTER, 4);
	add_file(p + 4, s->rsdp);
	if (s->sum) {
		store_le(p + 4 + LOADER_NAME, s->at, 4);
		store_le(p + 8 + LOADER_NAME, s->start, 4);
		store_le(p + 12 + LOADER_NAME, s->len, 4);
		return;
	}
	add_file(p + 4 + LOADER_NAME, false);
	store_le(p + 4 + 2 * LOADER_NAME, s->at, 4);
	p[8 + 2 * LOADER_NAME] = (uint8_t)s->size;
}

void acpi_loader(const struct acpi *a, struct buf *to)
{
	struct acpi_step s;
	add_allocate(to, true);
	add_allocate(to, false);
	for (size_t i = 0; i < a->steps.len; i += sizeof(s)) {
		memcpy(&s, a->steps.at + i, sizeof(s));
		add_loader_step(to, &s);
	}
}
