/* A guest on the host's processor, confined as a monitor's: what the engine calls is noted, and
 * what would make more machines is refused. */
#include "base/jail.h"
#include "base/test.h"
#include "engine/kvm_code.h"
#include "engine/kvm_impl.h"
#include "hw/bus.h"
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DONE = 0x80, WROTE = 0x77, MEMORY = 0x200000 };
enum { RAN = 0, CANNOT = 77, WRONG = 1, MADE = 2 };

static const struct engine_ops *const ops = &engine_kvm;
static struct one {
	struct gmem *mem;
	struct bus *pio, *mmio;
	struct device port;
	struct engine *en;
	struct vcpu *cpu;
	uint64_t wrote;
	bool attack;
} one;

static uint64_t port_read(struct device *d, uint64_t off, unsigned len)
{
	(void)d, (void)off, (void)len;
	return 0;
}
static void port_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	(void)d, (void)off, (void)len;
	one.wrote = val;
	ops->kick(one.cpu);
}
static const struct device_ops port_ops = {.name = "p", .read = port_read, .write = port_write};

static int make(void)
{
	struct err e;
	one.mem = gmem_new();
	one.pio = bus_new("pio");
	one.mmio = bus_new("mmio");
	device_init(&one.port, &port_ops, "p");
	struct engine_env env = {
		.arch = ARCH_X86_64, .mem = one.mem, .pio = one.pio, .mmio = one.mmio, .cpus = 1};
	int r = gmem_add(one.mem, 0, MEMORY, 0, &e);
	if (!r) r = bus_map(one.pio, DONE, 1, &one.port, &e);
	if (!r) r = ops->open(&one.en, &env, &e);
	if (!r) r = ops->vcpu(&one.cpu, one.en, 0, &e);
	if (r) (void)printf("kvm: %s\n", e.msg);
	return r;
}

static void *cpu(void *ctx)
{
	(void)ctx;
	jail_thread(JAIL_VCPU);
	if (one.attack && ioctl(one.en->fd, KVM_CREATE_VCPU, 7ul) >= 0) _exit(MADE);
	enum vcpu_exit x = ops->run(one.cpu);
	bool good = x == VCPU_KICKED && one.wrote == WROTE;
	if (!good) (void)printf("kvm: exit %d: %s\n", x, ops->error(one.cpu));
	(void)fflush(stdout);
	_exit(good							  ? RAN
	      : x == VCPU_BROKEN && strstr(kvm_probe()->what, "fails at") ? CANNOT
									  : WRONG);
}

/* The order of a monitor. */
static _Noreturn void monitor(bool attack)
{
	struct jail_plan p = {.nkept = 0};
	pthread_t t;
	one.attack = attack;
	if (attack) (void)!freopen("/dev/null", "w", stderr);
	(void)alarm(20);
	jail_begin(&p);
	if (make()) _exit(CANNOT);
	jail_close(&p, JAIL_LOOP);
	x86_tables(one.mem);
	struct x86_code c = {one.mem, X86_CODE};
	if (x86_long_mode(ops, one.cpu, X86_CODE)) _exit(WRONG);
	x86_out(&c, DONE, WROTE);
	if (pthread_create(&t, NULL, cpu, NULL)) _exit(WRONG);
	for (;;) (void)poll(NULL, 0, -1);
}

static int ended(bool attack)
{
	int status = 0;
	(void)fflush(NULL);
	pid_t pid = fork();
	if (!pid) monitor(attack);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

TEST(kvm_runs_a_guest_that_is_confined)
{
	const struct kvm_report *r = kvm_probe();
	if (r->state == KVM_ABSENT || r->state == KVM_DENIED || !jail_is_wanted()) {
		(void)printf("SKIPPED %s: %s\n", __func__, r->what);
		return;
	}
	int how = ended(false);
	if (how == CANNOT)
		(void)printf("SKIPPED %s: this KVM cannot\n", __func__);
	else
		CHECK(how == RAN);
	CHECK(ended(true) == 128 + SIGSYS);
}
