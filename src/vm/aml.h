#ifndef VM_AML_H
#define VM_AML_H
#include "base/buf.h"
#include "base/types.h"
#include <stdbool.h>
#include <stddef.h>
/* Writing ACPI Machine Language (ACPI 6.4 §20) front to back: what is opened is closed by
 * aml_end(), and gets its length then. Operands follow their operator: aml_name(a, "_UID"),
 * aml_int(a, 1). Encodings are the shortest, so that iasl, given its own listing, makes the same
 * bytes. Only what our tables need; broken use is must(). */
struct aml {
	struct buf *b; /* the caller's; appended to */
	struct aml_open {
		size_t at;	/* where its length goes */
		bool resources; /* in a buffer, which has its size, and an end tag */
		int items;	/* of a package: still missing; -1: no package */
	} open[12];
	unsigned depth;
};
enum aml_op {
	AML_STORE = 0x70,
	AML_AND = 0x7b,
	AML_OR = 0x7d,
	AML_NOTIFY = 0x86,
	AML_CREATE_DWORD = 0x8a,
	AML_EQUAL = 0x93,
	AML_RETURN = 0xa4,
};

/* Opened, closed by aml_end(). Paths: "\\_SB.PCI0", up to 4 segments. */
void aml_scope(struct aml *a, const char *path);
void aml_device(struct aml *a, const char *name);
void aml_method(struct aml *a, const char *name, unsigned args, bool serialized);
void aml_package(struct aml *a, unsigned items); /* items: up to 255 */
void aml_if(struct aml *a);			 /* the condition, then what to do */
void aml_resources(struct aml *a);		 /* a template: aml_res_* only */
void aml_end(struct aml *a);

/* Terms and values */
void aml_op(struct aml *a, enum aml_op op);
void aml_name(struct aml *a, const char *path); /* Name (path, whatever follows) */
void aml_path(struct aml *a, const char *path); /* a name, used */
void aml_int(struct aml *a, uint64_t v);
void aml_text(struct aml *a, const char *s);
void aml_id(struct aml *a, const char *eisa); /* "PNP0A08" */
void aml_bytes(struct aml *a, const void *p, size_t n);
void aml_arg(struct aml *a, unsigned n);
void aml_local(struct aml *a, unsigned n);
void aml_nowhere(struct aml *a); /* the target of a result that nobody wants */
/* One byte-wide field on a port of its own. */
void aml_port_field(struct aml *a, const char *region, const char *field, uint16_t port);

/* Resources (§6.4) */
void aml_res_io(struct aml *a, uint16_t port, uint8_t len);
void aml_res_irq(struct aml *a, unsigned isa);
void aml_res_gsi(struct aml *a, uint32_t gsi, bool edge);
void aml_res_memory(struct aml *a, uint32_t at, uint32_t len);
/* Windows of a bridge, the last address included */
void aml_res_buses(struct aml *a, uint16_t first, uint16_t last);
void aml_res_ports(struct aml *a, uint16_t first, uint16_t last);
void aml_res_window32(struct aml *a, uint32_t first, uint32_t last);
void aml_res_window64(struct aml *a, uint64_t first, uint64_t last);
#endif
