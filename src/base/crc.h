#ifndef BASE_CRC_H
#define BASE_CRC_H
#include <stddef.h>
#include <stdint.h>
/* CRC-32C (Castagnoli; RFC 9260 appendix B) of n bytes: finds every alteration of up to 32 bits in
 * a row. Not against those who mean it. crc: of what came before; 0 at the beginning. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
#endif
