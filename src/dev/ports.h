#ifndef DEV_PORTS_H
#define DEV_PORTS_H
#include "hw/bus.h"
/* Eight-bit chips on the ISA bus: a wider access is as many accesses to the ports that follow,
 * the lowest first (ISA 16-bit cycles to 8-bit slaves). */
static inline uint64_t ports_read(struct device *d, uint64_t off, unsigned len,
				  uint8_t (*get)(struct device *d, uint64_t off))
{
	uint64_t v = 0;
	for (unsigned i = 0; i < len; i++) v |= (uint64_t)get(d, off + i) << 8 * i;
	return v;
}
static inline void ports_write(struct device *d, uint64_t off, uint64_t val, unsigned len,
			       void (*put)(struct device *d, uint64_t off, uint8_t v))
{
	for (unsigned i = 0; i < len; i++) put(d, off + i, (uint8_t)(val >> 8 * i));
}
#endif
