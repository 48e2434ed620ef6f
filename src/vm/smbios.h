#ifndef VM_SMBIOS_H
#define VM_SMBIOS_H
#include "base/buf.h"
#include "base/err.h"
#include "base/types.h"
#include <stddef.h>
/* What a guest is told of its make: SMBIOS 3.0 (DMTF DSP0134), for dmidecode, /sys/class/dmi and
 * whoever keeps an inventory. The entry point goes to an address of 16, the tables anywhere. */
struct gmem;
struct smbios {
	unsigned cpus;
	uint64_t low, high; /* bytes of memory from 0, from 4 GiB */
	uint8_t uuid[16];   /* as RFC 4122 has it */
	const char *name;   /* the guest's: its serial number; NULL: none */
};
enum { SMBIOS_ENTRY = 24 };
void smbios_tables(struct buf *to, const struct smbios *s); /* appended */
/* The entry point of len bytes of tables at this address. */
void smbios_entry(uint8_t to[SMBIOS_ENTRY], gpa_t tables, size_t len);
/* Both at base, the tables behind; -ENOSPC if they need more than room. */
int smbios_place(const struct smbios *s, struct gmem *mem, gpa_t base, size_t room, struct err *e);
#define SMBIOS_FILE_ENTRY  "etc/smbios/smbios-anchor" /* in fw_cfg */
#define SMBIOS_FILE_TABLES "etc/smbios/smbios-tables"
#endif
