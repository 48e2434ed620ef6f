/* A program of vector instructions: loops that clang makes vectors of, and intrinsics for what it
 * does not. Memory is fresh, so that loads and stores fault in their middle; with an argument,
 * that many processes work at once, so that the kernel must keep their registers apart. What it
 * prints is the same everywhere (test/e2e/run.py: in a guest as under qemu-riscv64). */
#include <riscv_vector.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 10007 };
static uint64_t seed, all; /* all: of what was told */
static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}
/* Pages that nobody has touched, to be used from an odd place on. */
static void *fresh(size_t len)
{
	char *p = mmap(0, len + 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) exit(1);
	return p + 4096 - 8;
}
static uint64_t sum(const void *p, size_t n)
{
	const unsigned char *b = p;
	uint64_t h = 14695981039346656037ull;
	while (n--) h = (h ^ *b++) * 1099511628211ull;
	return h;
}
static void tell(const char *name, const void *p, size_t n)
{
	uint64_t h = sum(p, n);
	all = all * 31 + h;
	printf("%-10s %016llx\n", name, (unsigned long long)h);
}

static void floats(void)
{
	float *a = fresh(N * 4), *b = fresh(N * 4);
	double *d = fresh(N * 8), s = 0;
	for (int i = 0; i < N; i++) a[i] = (float)(rnd() % 2000) / 7 - 100;
	for (int i = 0; i < N; i++) b[i] = 2.5f * a[i] + a[N - 1 - i];
	for (int i = 0; i < N; i++) d[i] = (double)b[i] / (a[i] + 1e6) - 1.0 / 3;
	for (int i = 0; i < N; i++) s += d[i];
	tell("saxpy", b, N * 4);
	tell("double", d, N * 8);
	tell("sum", &s, 8);
	for (size_t i = 0, vl; i < N; i += vl) {
		vl = vsetvl_e64m4(N - i);
		vfloat64m4_t v = vle64_v_f64m4(d + i, vl);
		v = vfsqrt_v_f64m4(vfabs_v_f64m4(v, vl), vl);
		vse64_v_f64m4(d + i, vfmacc_vf_f64m4(v, 0.1, v, vl), vl);
	}
	tell("sqrt", d, N * 8);
}
static void integers(void)
{
	int8_t *a = fresh(N), *b = fresh(N);
	int32_t *w = fresh(N * 4);
	int64_t dot = 0;
	for (int i = 0; i < N; i++) a[i] = (int8_t)rnd(), b[i] = (int8_t)rnd();
	for (int i = 0; i < N; i++) w[i] = a[i] * b[i] + (a[i] > b[i] ? a[i] : -b[i]);
	for (int i = 0; i < N; i++) dot += w[i];
	tell("widen", w, N * 4);
	tell("dot", &dot, 8);
	for (int i = 0; i < N; i++) w[i] = w[i] / (b[i] | 1) % 77;
	tell("divide", w, N * 4);
	for (size_t i = 0, vl; i < N; i += vl) {
		vl = vsetvl_e8m2(N - i);
		vint8m2_t x = vle8_v_i8m2(a + i, vl), y = vle8_v_i8m2(b + i, vl);
		x = vsmul_vv_i8m2(vsadd_vv_i8m2(x, y, vl), vaadd_vv_i8m2(x, y, vl), vl);
		vse8_v_i8m2(a + i, x, vl);
	}
	tell("fixed", a, N);
}
/* Red, green, blue to gray by segment loads; then only what is bright, packed. */
static void pixels(void)
{
	uint8_t *rgb = fresh(3 * N), *gray = fresh(N), *bright = fresh(N);
	size_t kept = 0;
	for (int i = 0; i < 3 * N; i++) rgb[i] = (uint8_t)rnd();
	for (size_t i = 0, vl; i < N; i += vl) {
		vuint8m2_t r, g, b;
		vl = vsetvl_e8m2(N - i);
		vlseg3e8_v_u8m2(&r, &g, &b, rgb + 3 * i, vl);
		vuint16m4_t w = vwmulu_vx_u16m4(r, 77, vl);
		w = vwmaccu_vx_u16m4(vwmaccu_vx_u16m4(w, 150, g, vl), 29, b, vl);
		r = vnclipu_wx_u8m2(w, 8, vl);
		vse8_v_u8m2(gray + i, r, vl);
		vbool4_t m = vmsgtu_vx_u8m2_b4(r, 128, vl);
		vse8_v_u8m2(bright + kept, vcompress_vm_u8m2(m, r, r, vl), vl);
		kept += vcpop_m_b4(m, vl);
	}
	tell("gray", gray, N);
	tell("bright", bright, kept);
}
/* String length by a load that may run into nothing. */
static size_t length(const char *s)
{
	const char *p = s;
	for (;;) {
		size_t vl = vsetvlmax_e8m8();
		vuint8m8_t v = vle8ff_v_u8m8((const uint8_t *)p, &vl, vl);
		long at = vfirst_m_b1(vmseq_vx_u8m8_b1(v, 0, vl), vl);
		if (at >= 0) return (size_t)(p - s) + (size_t)at;
		p += vl;
	}
}
static void strings(void)
{
	char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t lengths = 0;
	munmap(page + 4096, 4096);
	memset(page, 'x', 4095);
	for (int i = 3500; i < 4096; i += 7) lengths = lengths * 31 + length(page + i);
	tell("strlen", &lengths, 8);
}
static void gathers(void)
{
	uint32_t *t = fresh(N * 4), *index = fresh(N * 4), *out = fresh(N * 4);
	for (uint32_t i = 0; i < N; i++) t[i] = i * i, index[i] = (uint32_t)(rnd() % N);
	for (int i = 0; i < N; i++) out[i] = t[index[i]] ^ (uint32_t)i;
	tell("gather", out, N * 4);
	for (size_t i = 0, vl; i < N; i += vl) { /* running sums within a register */
		vl = vsetvl_e32m1(N - i);
		vuint32m1_t v = vle32_v_u32m1(out + i, vl), zero = vmv_v_x_u32m1(0, vl);
		for (size_t k = 1; k < vl; k *= 2)
			v = vadd_vv_u32m1(v, vslideup_vx_u32m1(zero, v, k, vl), vl);
		vse32_v_u32m1(out + i, vrgather_vx_u32m1(v, vl / 2, vl), vl);
	}
	tell("slides", out, N * 4);
}
static uint64_t work(void)
{
	seed = 88172645463325252ull;
	all = 0;
	floats();
	integers();
	pixels();
	strings();
	gathers();
	return all;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 0, bad = 0, status;
	uint64_t want = work();
	fflush(stdout);
	for (int i = 0; i < n; i++) {
		if (fork()) continue;
		if (!freopen("/dev/null", "w", stdout)) return 1;
		for (int k = 0; k < 30; k++) bad |= work() != want;
		return bad;
	}
	while (wait(&status) > 0) bad |= status;
	if (n) printf("%d at once: %s\n", n, bad ? "disturbed" : "each by itself");
	return bad != 0;
}
