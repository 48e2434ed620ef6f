#ifndef BASE_TYPES_H
#define BASE_TYPES_H
#include <stdint.h>
#include <string.h>
/* Scalars that must not be mixed up, and little-endian memory that cannot be read raw. */
typedef uint64_t gpa_t; /* guest-physical address */
typedef uint64_t gva_t; /* guest-virtual address */
typedef struct {
	uint16_t raw;
} le16;
typedef struct {
	uint32_t raw;
} le32;
typedef struct {
	uint64_t raw;
} le64;
enum arch { ARCH_X86_64, ARCH_RV64 };

/* Only little-endian hosts are supported; these are where a swap would go. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian host");
static inline uint16_t le16_get(le16 v) { return v.raw; }
static inline uint32_t le32_get(le32 v) { return v.raw; }
static inline uint64_t le64_get(le64 v) { return v.raw; }
static inline le16 le16_of(uint16_t v) { return (le16){v}; }
static inline le32 le32_of(uint32_t v) { return (le32){v}; }
static inline le64 le64_of(uint64_t v) { return (le64){v}; }

/* len (1, 2, 4 or 8) bytes at p as a little-endian number; p need not be aligned. */
static inline uint64_t load_le(const void *p, unsigned len)
{
	uint64_t v = 0;
	memcpy(&v, p, len);
	return v;
}
static inline void store_le(void *p, uint64_t v, unsigned len) { memcpy(p, &v, len); }

#define KIB		      (1024ull)
#define MIB		      (1024ull * KIB)
#define GIB		      (1024ull * MIB)
#define COUNT(a)	      (sizeof(a) / sizeof((a)[0]))
#define likely(x)	      __builtin_expect(!!(x), 1)
#define unlikely(x)	      __builtin_expect(!!(x), 0)
#define container_of(p, T, m) ((T *)(void *)((char *)(p) - __builtin_offsetof(T, m)))
#endif
