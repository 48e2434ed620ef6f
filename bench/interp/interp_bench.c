/* The interpreter's own speed: a bare program, no operating system, in M-mode or, with --sbi, in
 * S-mode. Usage: interp_bench [--sbi] FLAT-BINARY ROUNDS: prints guest instructions a second of
 * CPU time, and the program's checksum. */
#include "base/loop.h"
#include "engine/engine.h"
#include "hw/bus.h"
#include "hw/clock.h"
#include "hw/gmem.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RAM = 1 << 20, CODE_MAX = 1 << 19 };
static const gpa_t ram_base = 0x80000000, stop_base = 0x100000;

struct stop {
	struct device dev;
	struct vcpu *cpu;
	uint64_t told;
};
static uint64_t stop_read(struct device *d, uint64_t off, unsigned len)
{
	return (void)d, (void)off, (void)len, 0;
}
static void stop_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct stop *s = container_of(d, struct stop, dev);
	(void)off, (void)len;
	s->told = val;
	engine_interp.kick(s->cpu);
}

static double cpu_seconds(void)
{
	struct timespec t;
	must(!clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t));
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int load(struct gmem *mem, const char *path)
{
	FILE *f = fopen(path, "rb");
	if (!f) return perror(path), -1;
	size_t n = fread(gmem_host(mem, ram_base, CODE_MAX), 1, CODE_MAX, f);
	(void)fclose(f);
	return n ? 0 : -1;
}

static int bench(struct engine *en, struct stop *stop, uint64_t rounds)
{
	struct err e = {0};
	if (engine_interp.vcpu(&stop->cpu, en, 0, &e))
		return (void)fprintf(stderr, "%s\n", e.msg), 1;
	(void)engine_interp.set(stop->cpu, REG_RV_PC, ram_base);
	(void)engine_interp.set(stop->cpu, REG_RV_X + 10, rounds);
	double start = cpu_seconds();
	(void)engine_interp.run(stop->cpu);
	double took = cpu_seconds() - start;
	uint64_t n = engine_interp.instret(stop->cpu);
	(void)printf("interp: %.0f million guest instructions a second (%.0f million in %.2f s, "
		     "checksum %04llx)\n",
		     (double)n / took / 1e6, (double)n / 1e6, took, (unsigned long long)stop->told);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct device_ops ops = {
		.name = "stop", .read = stop_read, .write = stop_write};
	struct stop stop = {0};
	struct vclock clock;
	struct err e = {0};
	bool sbi = argc > 1 && !strcmp(argv[1], "--sbi");
	if (argc != 3 + sbi) return (void)fputs("interp_bench [--sbi] BINARY ROUNDS\n", stderr), 2;
	struct gmem *mem = gmem_new();
	struct bus *bus = bus_new("mmio");
	device_init(&stop.dev, &ops, "stop");
	vclock_init(&clock, 10000000);
	struct engine_env env = {.arch = ARCH_RV64,
				 .mem = mem,
				 .mmio = bus,
				 .clock = &clock,
				 .sbi = sbi,
				 .max_satp = 8};
	struct engine *en = NULL;
	if (gmem_add(mem, ram_base, RAM, 0, &e) || bus_map(bus, stop_base, 4096, &stop.dev, &e) ||
	    engine_interp.open(&en, &env, &e))
		return (void)fprintf(stderr, "interp_bench: %s\n", e.msg), 1;
	if (load(mem, argv[1 + sbi])) return 1;
	int rc = bench(en, &stop, strtoull(argv[2 + sbi], NULL, 10));
	engine_interp.close(en);
	bus_free(bus);
	gmem_free(mem);
	device_done(&stop.dev);
	return rc;
}
