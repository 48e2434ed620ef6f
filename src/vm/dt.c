/* A thin skin over libfdt's sequential writer: one error, kept, instead of one at every line. */
#include "vm/dt.h"
#include <arpa/inet.h>
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>

static void keep(struct dt *f, int r)
{
	if (!f->error) f->error = r;
}

void dt_init(struct dt *f, size_t room)
{
	must(room < INT32_MAX);
	*f = (struct dt){malloc(room), room, 0};
	must(f->blob);
	keep(f, fdt_create(f->blob, (int)room));
	keep(f, fdt_finish_reservemap(f->blob));
}

int dt_end(struct dt *f, size_t *len, struct err *e)
{
	if (!f->error) keep(f, fdt_finish(f->blob));
	if (f->error) return fail(e, -ENOSPC, "device tree: %s", fdt_strerror(f->error));
	*len = fdt_totalsize(f->blob);
	return 0;
}

void dt_done(struct dt *f)
{
	free(f->blob);
	*f = (struct dt){0};
}

void dt_node(struct dt *f, const char *fmt, ...)
{
	char name[64];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	must(n >= 0 && (size_t)n < sizeof(name));
	if (!f->error) keep(f, fdt_begin_node(f->blob, name));
}

void dt_node_end(struct dt *f)
{
	if (!f->error) keep(f, fdt_end_node(f->blob));
}

void dt_bytes(struct dt *f, const char *name, const void *p, size_t n)
{
	must(n < INT32_MAX);
	if (!f->error) keep(f, fdt_property(f->blob, name, p, (int)n));
}

void dt_flag(struct dt *f, const char *name) { dt_bytes(f, name, "", 0); }

void dt_text(struct dt *f, const char *name, const char *text)
{
	dt_bytes(f, name, text, strlen(text) + 1);
}

void dt_cells(struct dt *f, const char *name, const uint32_t *cell, size_t n)
{
	void *to;
	if (!f->error) keep(f, fdt_property_placeholder(f->blob, name, (int)(n * 4), &to));
	for (size_t i = 0; !f->error && i < n; i++) {
		uint32_t big = htonl(cell[i]);
		memcpy((uint8_t *)to + i * 4, &big, 4);
	}
}

void dt_reg(struct dt *f, const char *name, uint64_t at, uint64_t len)
{
	dt_u32(f, name, DT_U64(at), DT_U64(len));
}
