/* Floating point. Products are not contracted (-ffp-contract=off), so results are the same bits
 * everywhere; those of libm may differ in the last place and are rounded before they are summed. */
#include "programs.h"
#include <math.h>
#include <stddef.h>

enum { MAT = 48 };
#define MATRICES(T)                                                                                \
	static T a[MAT][MAT], b[MAT][MAT], c[MAT][MAT];                                            \
	for (int i = 0; i < MAT; i++)                                                              \
		for (int j = 0; j < MAT; j++)                                                      \
			a[i][j] = (T)((i + j) % 7), b[i][j] = (T)(i * j % 5), c[i][j] = 0;         \
	while (n--)                                                                                \
		for (int i = 0; i < MAT; i++)                                                      \
			for (int j = 0; j < MAT; j++) {                                            \
				T s = 0;                                                           \
				for (int k = 0; k < MAT; k++) s += a[i][k] * b[k][j];              \
				c[i][j] += s;                                                      \
			}                                                                          \
	return (uint64_t)c[3][4]
static uint64_t matd(int n) { MATRICES(double); }
static uint64_t matf(int n) { MATRICES(float); }

static uint64_t nbody(int n)
{
	double p[5][3], v[5][3], e = 0;
	for (int i = 0; i < 5; i++)
		for (int k = 0; k < 3; k++)
			p[i][k] = (i * 37 + k * 5) % 11 - 5.0, v[i][k] = (i * 13 + k) % 7 * 0.01;
	for (n *= 20; n--;) {
		for (int i = 0; i < 5; i++)
			for (int j = 0; j < i; j++) {
				double d[3], r = 0.1;
				for (int k = 0; k < 3; k++)
					d[k] = p[i][k] - p[j][k], r += d[k] * d[k];
				double m = 0.001 / (r * sqrt(r));
				for (int k = 0; k < 3; k++)
					v[i][k] -= d[k] * m, v[j][k] += d[k] * m;
			}
		for (int i = 0; i < 5; i++)
			for (int k = 0; k < 3; k++) p[i][k] += 0.001 * v[i][k];
	}
	for (int i = 0; i < 5; i++)
		for (int k = 0; k < 3; k++) e += fabs(p[i][k]);
	return (uint64_t)(e * 1000);
}

static uint64_t mandel(int n)
{
	uint64_t s = 0;
	while (n--)
		for (int y = 0; y < 16; y++)
			for (int x = 0; x < 16; x++) {
				double cr = x / 8.0 - 1.5, ci = y / 8.0 - 1, a = 0, b = 0;
				int i = 0;
				for (; i < 100 && a * a + b * b < 4; i++) {
					double t = a * a - b * b + cr;
					b = 2 * a * b + ci, a = t;
				}
				s += (uint64_t)i;
			}
	return s;
}

static uint64_t libm(int n)
{
	int64_t s = 0;
	for (int i = 1; i < n * 100; i++) {
		double x = i % 4099 * 0.013;
		s += llrint(sin(x) * 1e6) + llrint(exp(-x) * 1e6);
		s += llrint(log(x + 0.5) * 1e6) + llrint(pow(x + 1, 0.37) * 1e6);
	}
	return (uint64_t)s;
}

static uint64_t convert(int n)
{
	uint64_t s = 0;
	float f = 0.5f;
	for (int i = 0; i < n * 1000; i++) {
		f = (float)((double)f * 1.25 + i);
		s += (uint64_t)(int64_t)f & 1023;
		if (f > 1e6f) f = 0.5f;
	}
	return s;
}

const struct program float_programs[] = {
	{"matd", matd, 600, NULL},
	{"matf", matf, 1000, NULL},
	{"nbody", nbody, 12000, NULL},
	{"mandel", mandel, 500, NULL},
	{"libm", libm, 5000, NULL},
	{"fcvt", convert, 10000, NULL},
	{0},
};
