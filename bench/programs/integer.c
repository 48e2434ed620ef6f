/* Registers, branches, calls. */
#include "programs.h"
#include <stdlib.h>
#include <string.h>

unsigned long work(unsigned long rounds); /* interp/work.c */
static uint64_t coremark(int n) { return work((unsigned long)n); }

/* What the old benchmark of records, strings and small calls is made of. */
struct record {
	struct record *next;
	int kind, value, other;
	char text[32];
};
static struct record one, two;
static int whole, array[50], table[50][50];
static char first_char, second_char;
#define CALL static __attribute__((noinline))

CALL int same_text(const char *a, const char *b)
{
	int at = 2;
	while (at <= 2)
		if (a[at] == b[at + 1])
			at += 3;
		else
			at++;
	return strcmp(a, b) > 0 ? (whole = at, 1) : 0;
}
CALL int choose(int kind) { return kind == 2 ? 1 : kind == 0 ? 0 : 3; }
CALL void add(int a, int b, int *sum) { *sum = a + 2 + b; }
CALL void link_to(struct record **to)
{
	if (*to) *to = (*to)->next;
	add(10, whole, &two.value);
}
CALL void copy_record(struct record *r)
{
	struct record *next = r->next;
	*next = *r;
	r->value = 5;
	next->value = r->value;
	next->next = r->next;
	link_to(&next->next);
	if (next->kind == 0) {
		next->value = 6;
		next->kind = choose(r->kind);
		next->next = one.next;
		add(next->value, 10, &next->value);
	} else {
		*r = *r->next;
	}
}
CALL void fill(int *line, int at, int value)
{
	int i = at + 5;
	array[i] = value;
	array[i + 1] = array[i];
	array[i + 30] = i;
	for (int k = i; k <= i + 1; k++) line[k] = i;
	line[i - 1]++;
	table[i + 20][i] = array[i];
	whole = 5;
}
static uint64_t dhrystone(int n)
{
	char a[32], b[32];
	uint64_t s = 0;
	one = (struct record){.next = &two, .kind = 0, .value = 40, .text = "THIS IS SOME RECORD"};
	strcpy(a, "THIS IS A TEXT, THE 1ST OF SOME");
	for (int i = 0; i < n * 100; i++) {
		int x = 2, y = 3, z;
		first_char = 'A', second_char = 'B';
		strcpy(b, "THIS IS A TEXT, THE 2ND OF SOME");
		int differ = !same_text(a, b);
		while (x < y) {
			z = 5 * x - y;
			add(x, y, &z);
			x++;
		}
		fill(table[8], x, z);
		copy_record(&one);
		for (char c = 'A'; c <= second_char; c++)
			if (choose(c == 'C') == 1) strcpy(b, "THIS IS A TEXT, THE 3RD OF SOME");
		y = y * x;
		x = y / (z | 1);
		y = 7 * (y - z) - x;
		s += (uint64_t)(unsigned)(x + y + whole + differ + one.value + two.kind);
		one.kind = 0, one.next = &two;
	}
	return s ^ (uint64_t)table[8][8] << 32;
}

static uint64_t sieve(int n)
{
	static uint8_t composite[1 << 16];
	uint64_t count = 0;
	while (n--) {
		memset(composite, 0, sizeof(composite));
		for (unsigned i = 2; i < sizeof(composite); i++) {
			if (composite[i]) continue;
			count++;
			for (unsigned j = 2 * i; j < sizeof(composite); j += i) composite[j] = 1;
		}
	}
	return count;
}

CALL uint64_t fib1(unsigned n) { return n < 2 ? n : fib1(n - 1) + fib1(n - 2); }
static uint64_t fib(int n)
{
	uint64_t s = 0;
	while (n--) s += fib1(20);
	return s;
}

enum { SORTED = 4096 };
static uint32_t values[SORTED];
static void quick(uint32_t *v, int n)
{
	while (n > 8) {
		uint32_t pivot = v[n / 2];
		int i = 0, j = n - 1;
		while (i <= j) {
			while (v[i] < pivot) i++;
			while (v[j] > pivot) j--;
			if (i > j) break;
			uint32_t t = v[i];
			v[i++] = v[j];
			v[j--] = t;
		}
		quick(v, j + 1);
		v += i, n -= i;
	}
	for (int i = 1; i < n; i++) {
		uint32_t x = v[i];
		int j = i;
		for (; j && v[j - 1] > x; j--) v[j] = v[j - 1];
		v[j] = x;
	}
}
static uint64_t own_qsort(int n)
{
	uint64_t s = 0;
	while (n--) {
		for (unsigned i = 0; i < SORTED; i++) values[i] = rnd();
		quick(values, SORTED);
		s += values[SORTED / 2];
	}
	return s;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}
static uint64_t libqsort(int n)
{
	uint64_t s = 0;
	while (n--) {
		for (unsigned i = 0; i < SORTED; i++) values[i] = rnd();
		qsort(values, SORTED, sizeof(values[0]), by_value);
		s += values[SORTED / 2];
	}
	return s;
}

static uint64_t inc(uint64_t a) { return a + 1; }
static uint64_t dbl(uint64_t a) { return a * 2; }
static uint64_t rot(uint64_t a) { return a >> 7 | a << 57; }
static uint64_t neg(uint64_t a) { return ~a; }
static uint64_t (*volatile targets[4])(uint64_t) = {inc, dbl, rot, neg};
static uint64_t icall_random(int n)
{
	uint64_t a = 1;
	for (int i = 0; i < n * 1000; i++) a = targets[rnd() >> 30](a);
	return a;
}
static uint64_t icall_pattern(int n)
{
	uint64_t a = 1;
	for (int i = 0; i < n * 1000; i++) a = targets[i * 7 >> 2 & 3](a);
	return a;
}

static uint64_t interp(int n)
{
	static const uint8_t code[] = {0, 1, 2, 3, 1, 4, 0, 2, 1, 5};
	uint64_t a = 3, b = 5;
	int count = n * 1000;
	for (unsigned pc = 0;; pc++) {
		switch (code[pc]) {
		case 0: a += b; break;
		case 1: b ^= a << 1; break;
		case 2: a -= 7; break;
		case 3: b = b * 3 + 1; break;
		case 4: a ^= b >> 3; break;
		default:
			if (!count--) return a ^ b;
			pc = (unsigned)-1;
		}
	}
}

static uint64_t crc(int n)
{
	static uint32_t t[256];
	static uint8_t data[4096];
	uint32_t c = ~0u;
	for (uint32_t i = 0; i < 256; i++) {
		t[i] = i;
		for (int k = 0; k < 8; k++) t[i] = t[i] >> 1 ^ (t[i] & 1 ? 0xedb88320u : 0);
	}
	for (unsigned i = 0; i < sizeof(data); i++) data[i] = (uint8_t)rnd();
	while (n--)
		for (unsigned i = 0; i < sizeof(data); i++) c = t[(c ^ data[i]) & 255] ^ c >> 8;
	return c;
}

/* SHA-256 over blocks of numbers; its constants are roots of primes, taken by whole arithmetic. */
static uint32_t sha_k[64], sha_h[8];
static uint32_t root_fraction(unsigned p, int cubic) /* 32 bits after the point of a root of p */
{
	unsigned __int128 low = 0, high = (unsigned __int128)1 << 36;
	while (high - low > 1) {
		unsigned __int128 x = (low + high) / 2;
		/* (x / 2^32)^2 <= p, or ^3 as (x^2 / 2^32) * x / 2^64; 36 bits of x fit */
		int small = cubic ? x * x * x <= (unsigned __int128)p << 96
				  : x * x <= (unsigned __int128)p << 64;
		if (small)
			low = x;
		else
			high = x;
	}
	return (uint32_t)low;
}
static void sha_prepare(void)
{
	for (unsigned p = 2, i = 0; i < 64; p++) {
		unsigned d = 2;
		while (p % d) d++;
		if (d < p) continue;
		if (i < 8) sha_h[i] = root_fraction(p, 0);
		sha_k[i++] = root_fraction(p, 1);
	}
}
#define ROR(x, n) ((x) >> (n) | (x) << (32 - (n)))
static uint64_t sha256(int n)
{
	static uint32_t data[1024];
	uint32_t h[8], w[64];
	memcpy(h, sha_h, sizeof(h));
	for (unsigned i = 0; i < 1024; i++) data[i] = rnd();
	for (int block = 0; block < n * 64; block++) {
		uint32_t a = h[0], b = h[1], c = h[2], d = h[3];
		uint32_t e = h[4], f = h[5], g = h[6], x = h[7];
		memcpy(w, data + block % 64 * 16, 64);
		for (int i = 16; i < 64; i++)
			w[i] = w[i - 16] + w[i - 7] +
			       (ROR(w[i - 15], 7) ^ ROR(w[i - 15], 18) ^ w[i - 15] >> 3) +
			       (ROR(w[i - 2], 17) ^ ROR(w[i - 2], 19) ^ w[i - 2] >> 10);
		for (int i = 0; i < 64; i++) {
			uint32_t t = x + (ROR(e, 6) ^ ROR(e, 11) ^ ROR(e, 25)) +
				     ((e & f) ^ (~e & g)) + sha_k[i] + w[i];
			uint32_t u = (ROR(a, 2) ^ ROR(a, 13) ^ ROR(a, 22)) +
				     ((a & b) ^ (a & c) ^ (b & c));
			x = g, g = f, f = e, e = d + t;
			d = c, c = b, b = a, a = t + u;
		}
		h[0] += a, h[1] += b, h[2] += c, h[3] += d;
		h[4] += e, h[5] += f, h[6] += g, h[7] += x;
	}
	return (uint64_t)h[0] << 32 | h[7];
}

static uint64_t mix32(int n) /* the shape of a hash: adds, rotations, xors, all in registers */
{
	uint32_t a = 1, b = 2, c = 3, d = 4;
	for (int i = 0; i < n * 1000; i++) {
		a += b, d ^= a, d = d << 16 | d >> 16;
		c += d, b ^= c, b = b << 12 | b >> 20;
		a += b, d ^= a, d = d << 8 | d >> 24;
		c += d, b ^= c, b = b << 7 | b >> 25;
	}
	return a ^ b ^ c ^ d;
}

static uint64_t mul64(int n)
{
	uint64_t a = 0x9e3779b97f4a7c15u, s = 0;
	for (int i = 0; i < n * 1000; i++) s += (a *= 0xd1342543de82ef95u) >> 32;
	return s;
}

static uint64_t divide(int n)
{
	uint64_t s = 0;
	for (int i = 0; i < n * 1000; i++) s += (rnd() | 1ull << 40) / ((rnd() >> 20) + 3);
	return s;
}

const struct program integer_programs[] = {
	{"coremark", coremark, 300, NULL},
	{"dhrystone", dhrystone, 9000, NULL},
	{"sieve", sieve, 100, NULL},
	{"fib", fib, 900, NULL},
	{"qsort", own_qsort, 100, NULL},
	{"libqsort", libqsort, 60, NULL},
	{"icall", icall_random, 2000, NULL},
	{"icallp", icall_pattern, 8000, NULL},
	{"interp", interp, 1200, NULL},
	{"crc", crc, 3000, NULL},
	{"sha256", sha256, 1200, sha_prepare},
	{"mix32", mix32, 5000, NULL},
	{"mul64", mul64, 15000, NULL},
	{"div", divide, 8000, NULL},
	{0},
};
