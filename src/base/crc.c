/* CRC-32C: by the CPU's own instruction where it has one, else by a table of 256 entries. */
#include "base/crc.h"
#include "base/types.h"
#include <pthread.h>
#include <stdbool.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */
static uint32_t table[256];

static void table_make(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t v = i;
		for (int bit = 0; bit < 8; bit++) v = v & 1 ? v >> 1 ^ POLYNOMIAL : v >> 1;
		table[i] = v;
	}
}

static uint32_t by_table(uint32_t crc, const uint8_t *p, size_t n)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	(void)pthread_once(&once, table_make);
	for (; n; n--) crc = crc >> 8 ^ table[(crc ^ *p++) & 0xff];
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_cpu(uint32_t crc, const uint8_t *p, size_t n)
{
	uint64_t v = crc;
	for (; n >= 8; n -= 8, p += 8) v = __builtin_ia32_crc32di(v, load_le(p, 8));
	for (; n; n--) v = __builtin_ia32_crc32qi((uint32_t)v, *p++);
	return (uint32_t)v;
}
static bool has_cpu(void) { return __builtin_cpu_supports("sse4.2"); }
#else
static uint32_t by_cpu(uint32_t crc, const uint8_t *p, size_t n) { return by_table(crc, p, n); }
static bool has_cpu(void) { return false; }
#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	return ~(has_cpu() ? by_cpu(~crc, p, n) : by_table(~crc, p, n));
}
