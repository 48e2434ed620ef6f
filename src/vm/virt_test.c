#include "base/chr.h"
#include "base/loop.h"
#include "base/test.h"
#include "guest/guest.h"
#include "vm/board.h"
#include "vm/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static struct spec good(void)
{
	return (struct spec){.arch = ARCH_RV64, .cpus = 1, .memory = 16 * MIB, .kernel = "k"};
}

static bool says(const struct spec *s, const char *words)
{
	struct err e = {0};
	bool ok = board_virt.check(s, &e) == -EINVAL && !strcmp(e.msg, words);
	if (!ok) (void)printf("got: %s\n", e.msg);
	return ok;
}

TEST(virt_refuses_what_it_cannot_be)
{
	struct spec s = good();
	struct err e;
	CHECK(board_virt.check(&s, &e) == 0);
	s.cpus = 0;
	CHECK(says(&s, "cpus: 0: there can be 1 to 8"));
	s.cpus = 9;
	CHECK(says(&s, "cpus: 9: there can be 1 to 8"));
	s = good();
	s.memory = 15 * MIB;
	CHECK(says(&s, "memory: 15360 KiB is too small, the least is 16 MiB"));
	s.memory = 16 * MIB + 4096;
	CHECK(says(&s, "memory: 16388 KiB is not a multiple of 2 MiB"));
	s.memory = UINT64_MAX;
	CHECK(says(&s, "memory: 17179869183 GiB is too large, the most is 512 GiB"));
	s = good();
	s.kernel = NULL;
	CHECK(says(&s, "nothing to boot: give it a kernel or a firmware"));
	s.firmware = "f";
	s.initrd = "i";
	CHECK(says(&s, "initrd: it needs a kernel"));
}

/* A whole machine running a few instructions. */

static size_t swallow(void *host, const uint8_t *p, size_t n)
{
	struct chr *c = host;
	(void)c, (void)p;
	return n;
}

static int boot_file(const uint32_t *code, size_t n, bool image, char path[32])
{
	static const uint32_t header[16] = {[0] = 0x0400006f, /* j 64 */
					    [2] = 0x200000,   /* text_offset */
					    [12] = 0x43534952,
					    [13] = 0x56, /* RISCV */
					    [14] = 0x05435352};
	int fd = memfd_create("code", MFD_CLOEXEC);
	if (image) CHECK(write(fd, header, sizeof(header)) == sizeof(header));
	CHECK(write(fd, code, n) == (ssize_t)n);
	(void)snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

static int run(const uint32_t *code, size_t n, bool sbi, int *exit_code, struct err *e)
{
	struct chr console = {.output = swallow};
	struct loop *l = NULL;
	struct spec s = good();
	char path[32];
	sigset_t before;
	int fd = boot_file(code, n, sbi, path);
	s.cpus = 2;
	s.kernel = sbi ? path : NULL;
	s.firmware = sbi ? NULL : path;
	(void)pthread_sigmask(SIG_SETMASK, NULL, &before);
	CHECK(loop_new(&l, e) == 0);
	struct guest_end end = {.code = *exit_code};
	int r = guest_run(&kind_vm, &s, l, &console, &end, e);
	*exit_code = end.code;
	loop_free(l);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)close(fd);
	return r;
}

TEST(vm_powers_off_through_sbi)
{
	static const uint32_t code[] = {
		0x535258b7, /* lui a7, 0x53525 */
		0x35488893, /* addi a7, a7, 0x354: SRST */
		0x00000813, /* li a6, 0 */
		0x00000513, /* li a0, 0: shut down */
		0x00100593, /* li a1, 1: for a failure */
		0x00000073, /* ecall */
		0x0000006f, /* j . */
	};
	struct err e = {0};
	int exit_code = -1;
	CHECK(run(code, sizeof(code), true, &exit_code, &e) == 0 && exit_code == 1);
}

TEST(vm_powers_off_through_the_finisher)
{
	static const uint32_t code[] = {
		0x001002b7, /* lui t0, 0x100 */
		0x002a3337, /* lui t1, 0x2a3 */
		0x33330313, /* addi t1, t1, 0x333: 42 << 16 | 0x3333 */
		0x0062a023, /* sw t1, (t0) */
		0x0000006f, /* j . */
	};
	struct err e = {0};
	int exit_code = -1;
	CHECK(run(code, sizeof(code), true, &exit_code, &e) == 0 && exit_code == 42);
	CHECK(run(code, sizeof(code), false, &exit_code, &e) == 0 && exit_code == 42);
}

TEST(vm_that_cannot_be_built_leaves_nothing)
{
	static const uint32_t nop[] = {0x13};
	struct err e = {0};
	int exit_code = -1;
	CHECK(run(nop, 0, false, &exit_code, &e) < 0 && strstr(e.msg, "the file is empty"));
	CHECK(exit_code == -1);
}

/* Paused, nothing executes and no time passes; then both go on from where they were. */
TEST(vm_stands_still_while_paused)
{
	static const uint32_t code[] = {
		0x00150513, /* addi a0, a0, 1 */
		0xffdff06f, /* j -4 */
	};
	struct chr console = {.output = swallow};
	struct loop *l = NULL;
	struct err e = {0};
	struct spec s = good();
	char path[32];
	int fd = boot_file(code, sizeof(code), true, path);
	s.kernel = path;
	CHECK(loop_new(&l, &e) == 0);
	struct guest g = {.kind = &kind_vm, .spec = &s, .loop = l, .console = &console};
	CHECK(!kind_vm.build(&g, &e) && !kind_vm.load(&g, &e) && !kind_vm.start(&g, &e));
	struct vm *vm = g.own;
	CHECK(kind_vm.resume(&g, &e) == -EALREADY);
	CHECK(!kind_vm.pause(&g, &e) && kind_vm.pause(&g, &e) == -EALREADY);
	uint64_t count = hart_get(&vm->hart[0], REG_RV_X + 10), ns = vclock_ns(&vm->clock);
	(void)usleep(2000);
	CHECK(vm->hart[0].idle && hart_get(&vm->hart[0], REG_RV_X + 10) == count);
	CHECK(vclock_ns(&vm->clock) == ns);
	for (uint64_t now = count; now == count;) {
		CHECK(!kind_vm.resume(&g, &e));
		(void)usleep(1000);
		CHECK(!kind_vm.pause(&g, &e));
		now = hart_get(&vm->hart[0], REG_RV_X + 10);
	}
	CHECK(vclock_ns(&vm->clock) > ns);
	kind_vm.free(&g);
	loop_free(l);
	(void)close(fd);
}
