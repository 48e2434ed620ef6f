#ifndef VM_ACPI_H
#define VM_ACPI_H
#include "base/buf.h"
#include "base/err.h"
#include "base/types.h"
#include <stdbool.h>
#include <stddef.h>
/* A set of ACPI tables that does not know yet where it will lie: two runs of bytes (the tables, and
 * the RSDP), and the steps that make them whole, which are pointers to add an address to and
 * checksums to compute. Direct boot takes the steps here (acpi_place()); firmware does it with
 * the same steps as fw_cfg's etc/table-loader (QEMU's docs/specs call it the linker/loader).
 * Layouts: ACPI 6.4 §5.2. */
struct gmem;
struct acpi { /* zeroed is empty; owner: whoever declared it */
	struct buf tables, rsdp;
	struct buf steps; /* of struct acpi_step */
	size_t table;	  /* where the open table begins */
	struct buf roots; /* of uint32_t: offsets of what the XSDT will name */
};
struct acpi_step {
	bool rsdp, sum; /* in the RSDP, not the tables; a checksum, not a pointer */
	uint32_t at, size;
	uint32_t start, len; /* of a checksum */
};
void acpi_done(struct acpi *a);

/* A table: begun, filled with numbers, ended. Its offset is for pointers to it. */
uint32_t acpi_begin(struct acpi *a, const char sign[5], uint8_t revision);
void acpi_put(struct acpi *a, uint64_t v, unsigned len); /* len: 1, 2, 4 or 8 */
void acpi_zero(struct acpi *a, size_t n);
void acpi_pointer(struct acpi *a, uint32_t table, unsigned len); /* len: 4 or 8 */
enum { ACPI_MEMORY, ACPI_PORT };
void acpi_register(struct acpi *a, unsigned space, uint64_t at, unsigned bytes); /* §5.2.3.2 */
void acpi_end(struct acpi *a, bool root); /* root: the XSDT names it */
uint32_t acpi_facs(struct acpi *a);	  /* it has a form of its own */
void acpi_roots(struct acpi *a);	  /* at last: XSDT and RSDP */

/* The whole set at base, a multiple of 64, the RSDP first; -ENOSPC if it needs more than room. */
int acpi_place(struct acpi *a, struct gmem *mem, gpa_t base, size_t room, struct err *e);
/* Once: tables and RSDP become what they are when the tables lie there. */
void acpi_resolve(struct acpi *a, gpa_t tables);
/* Names of fw_cfg files, and the bytes of the third; append. */
#define ACPI_FILE_TABLES "etc/acpi/tables"
#define ACPI_FILE_RSDP	 "etc/acpi/rsdp"
#define ACPI_FILE_LOADER "etc/table-loader"
void acpi_loader(const struct acpi *a, struct buf *to);
#endif
