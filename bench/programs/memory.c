/* Loads and stores: latency at four distances, bandwidth, the C library's inner loops, heaps. */
#include "programs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A ring of pointers, a cache line apart, in an order that prefetchers do not guess: line i leads
 * to a * i + c, which has the full period as the multiplier is 1 modulo 4. */
enum { LINE = 64 };
static char *ring;
static void ring_make(size_t bytes)
{
	size_t lines = bytes / LINE;
	ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ring == MAP_FAILED) exit(1);
	for (size_t i = 0; i < lines; i++) {
		size_t next = (i * 1664525 + 1013904223) & (lines - 1);
		*(char **)(void *)(ring + i * LINE) = ring + next * LINE;
	}
}
static void ring_32k(void) { ring_make(32 << 10); }
static void ring_512k(void) { ring_make(512 << 10); }
static void ring_8m(void) { ring_make(8 << 20); }
static void ring_128m(void) { ring_make(128 << 20); }
static uint64_t chase(int n)
{
	char *at = ring;
	for (int i = 0; i < n * 1000; i++) at = *(char **)(void *)at;
	return (uint64_t)(at - ring) / LINE;
}

static uint64_t stream(int n)
{
	enum { N = 1 << 15 };
	static double a[N], b[N], c[N];
	for (int i = 0; i < N; i++) b[i] = i, c[i] = 2 * i;
	while (n--) {
		for (int i = 0; i < N; i++) a[i] = b[i] + 3.0 * c[i];
		b[n & 1023] += 1;
	}
	return (uint64_t)a[77];
}

static char from[1 << 20], to[1 << 20];
static uint64_t copy_large(int n)
{
	while (n--) {
		memcpy(to, from, sizeof(to));
		from[n & 0xfffff]++;
	}
	return (uint64_t)(unsigned char)to[5];
}
static uint64_t copy_small(int n) /* of a length the compiler does not know: a call */
{
	void *(*volatile copy)(void *, const void *, size_t) = memcpy;
	for (int i = 0; i < n * 1000; i++) {
		copy(to + (i & 1023) * 64, from + (i & 511) * 64, 33 + (i & 31));
		from[i & 32767]++;
	}
	return (uint64_t)(unsigned char)to[5];
}

static uint64_t length(int n)
{
	static char s[4096];
	size_t (*volatile len)(const char *) = strlen;
	uint64_t t = 0;
	memset(s, 'x', sizeof(s) - 1);
	while (n--) t += len(s + (n & 63));
	return t;
}

static uint64_t hist(int n)
{
	static uint8_t data[1 << 14];
	uint32_t h[256] = {0};
	for (unsigned i = 0; i < sizeof(data); i++) data[i] = (uint8_t)rnd();
	while (n--)
		for (unsigned i = 0; i < sizeof(data); i++) h[data[i]]++;
	return h[9];
}

struct node {
	struct node *kid[2];
	uint32_t key;
};
static uint64_t tree(int n)
{
	uint64_t hits = 0;
	while (n--) {
		static struct node pool[2048];
		struct node *root = NULL;
		memset(pool, 0, sizeof(pool));
		for (unsigned i = 0; i < 2048; i++) {
			struct node **at = &root;
			pool[i].key = rnd();
			while (*at) at = &(*at)->kid[pool[i].key > (*at)->key];
			*at = &pool[i];
		}
		for (unsigned i = 0; i < 2048; i++) {
			uint32_t key = rnd();
			struct node *at = root;
			while (at && at->key != key) at = at->kid[key > at->key], hits++;
		}
	}
	return hits;
}

static uint64_t heap(int n)
{
	void *p[64] = {0};
	uint64_t s = 0;
	for (int i = 0; i < n * 100; i++) {
		unsigned k = rnd() >> 26;
		free(p[k]);
		p[k] = malloc(16 + (rnd() >> 23));
		s += p[k] != NULL;
	}
	for (int i = 0; i < 64; i++) free(p[i]);
	return s;
}

static uint64_t text(int n) /* printf and strtod: what script languages spend their time on */
{
	uint64_t s = 0;
	for (int i = 0; i < n * 10; i++) {
		char b[64];
		(void)snprintf(b, sizeof(b), "%d:%.3f:%s", i, i * 0.37, "lodge");
		s += strlen(b) + (uint64_t)strtod(strchr(b, ':') + 1, NULL);
	}
	return s;
}

const struct program memory_programs[] = {
	{"chase32k", chase, 10000, ring_32k},
	{"chase512k", chase, 3000, ring_512k},
	{"chase8m", chase, 300, ring_8m},
	{"chase128m", chase, 150, ring_128m},
	{"stream", stream, 2400, NULL},
	{"copy64", copy_small, 8000, NULL},
	{"memcpy", copy_large, 900, NULL},
	{"strlen", length, 300000, NULL},
	{"hist", hist, 3000, NULL},
	{"tree", tree, 80, NULL},
	{"malloc", heap, 16000, NULL},
	{"text", text, 5000, NULL},
	{0},
};
