#ifndef VM_DT_H
#define VM_DT_H
#include "base/err.h"
#include "base/types.h"
#include <stdarg.h>
#include <stddef.h>
/* Writing a flattened device tree (Devicetree Specification 0.4 §5) front to back. The first
 * error is kept and everything after it is ignored, so that a board reads as a list of nodes. */
struct dt {
	void *blob;
	size_t room;
	int error; /* a libfdt error; 0 while all is well */
};
void dt_init(struct dt *f, size_t room);
int dt_end(struct dt *f, size_t *len, struct err *e); /* f->blob holds len bytes */
void dt_done(struct dt *f);

void dt_node(struct dt *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void dt_node_end(struct dt *f);
void dt_flag(struct dt *f, const char *name);
void dt_text(struct dt *f, const char *name, const char *text);
void dt_bytes(struct dt *f, const char *name, const void *p, size_t n);
/* text holding several strings: "a\0b\0c" with n = sizeof */
#define dt_list(f, name, text) dt_bytes((f), (name), (text), sizeof(text))
void dt_cells(struct dt *f, const char *name, const uint32_t *cell, size_t n);
#define dt_u32(f, name, ...)                                                                       \
	dt_cells((f), (name), (const uint32_t[]){__VA_ARGS__},                                     \
		 sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))
void dt_reg(struct dt *f, const char *name, uint64_t at, uint64_t len); /* 2 + 2 cells */
#define DT_U64(v) (uint32_t)((uint64_t)(v) >> 32), (uint32_t)(v)
#endif
