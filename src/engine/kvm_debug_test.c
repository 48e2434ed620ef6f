/* Debugging what the host's processor runs. What this /dev/kvm does not tell of is skipped, aloud;
 * and whatever it tells, guest memory has the guest's bytes whenever nothing runs. */
#include "base/test.h"
#include "engine/kvm_code.h"
#include "engine/kvm_impl.h"
#include "hw/bus.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND 1000000000ull
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 };
enum { DONE = 0x80, DATA = 0x100000, RING3 = 0xb000, HANDLER = 0xc000, FAR = 0x40000000, DR0 = 0 };
static const struct engine_ops *const ops = &engine_kvm;

struct pc {
	struct gmem *mem;
	struct bus *pio;
	struct device done;
	struct engine *en;
	struct vcpu *cpu;
	struct vcpu_points points;
	struct x86_code code;
};

static uint64_t done_read(struct device *d, uint64_t off, unsigned len)
{
	return (void)d, (void)off, (void)len, 0;
}
static void done_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	(void)off, (void)val, (void)len;
	ops->kick(container_of(d, struct pc, done)->cpu);
}
static const struct device_ops done_ops = {.name = "d", .read = done_read, .write = done_write};

static void pc_free(struct pc *p)
{
	ops->close(p->en);
	bus_free(p->pio);
	device_done(&p->done);
	gmem_free(p->mem);
	free(p);
}

/* NULL: said why not. */
static struct pc *pc_new(const char *test, unsigned needs)
{
	const struct kvm_report *r = kvm_probe();
	struct err e = {0};
	bool none = r->state == KVM_ABSENT || r->state == KVM_DENIED;
	if (none) return (void)printf("SKIPPED %s: %s\n", test, r->what), NULL;
	struct pc *p = calloc(1, sizeof(*p));
	must(p);
	p->mem = gmem_new();
	p->pio = bus_new("pio");
	device_init(&p->done, &done_ops, "d");
	CHECK(!gmem_add(p->mem, 0, 2 * MIB, 0, &e) && !bus_map(p->pio, DONE, 1, &p->done, &e));
	struct engine_env env = {.arch = ARCH_X86_64,
				 .mem = p->mem,
				 .pio = p->pio,
				 .cpus = 1,
				 .irqchip = IRQCHIP_SPLIT};
	int rc = ops->open(&p->en, &env, &e);
	if (!rc) rc = ops->vcpu(&p->cpu, p->en, 0, &e);
	if (rc) (void)printf("%s\n", e.msg);
	must(!rc);
	rc = ops->debugs(p->en, NULL, &e);
	if (rc || (p->en->debugs & needs) != needs) {
		(void)printf("SKIPPED %s: %s\n", test, rc ? e.msg : "/dev/kvm tells nothing of it");
		return pc_free(p), NULL;
	}
	p->en->debugs |= p->en->debugs & KVM_DEBUGS_SOFT ? KVM_DEBUGS_USER_SOFT : 0; /* in ring 0 */
	x86_tables(p->mem);
	p->code = (struct x86_code){p->mem, X86_CODE};
	CHECK(!x86_long_mode(ops, p->cpu, X86_CODE));
	return p;
}
#define PC(needs)                                                                                  \
	struct pc *p = pc_new(__func__, needs);                                                    \
	if (!p) return;                                                                            \
	struct x86_code *c = &p->code;                                                             \
	(void)c

static uint64_t reg(struct pc *p, unsigned n)
{
	uint64_t v = 0;
	CHECK(!ops->get(p->cpu, n, &v));
	return v;
}
static uint8_t byte(struct pc *p, gpa_t at)
{
	uint8_t v = 0;
	CHECK(gmem_read(p->mem, at, &v, 1));
	return v;
}
static void break_at(struct pc *p, gva_t at, bool hard)
{
	p->points.hard[p->points.nbreaks] = hard;
	p->points.breaks[p->points.nbreaks++] = at;
}
static enum vcpu_exit go(struct pc *p)
{
	ops->points(p->en, &p->points);
	enum vcpu_exit x = kvm_run_for(p->cpu, 5 * SECOND);
	if (x == VCPU_BROKEN) (void)printf("    %s\n", ops->error(p->cpu));
	return x;
}
static enum vcpu_exit step(struct pc *p)
{
	ops->step(p->cpu, true);
	enum vcpu_exit x = go(p);
	ops->step(p->cpu, false);
	return x;
}
static struct vcpu_stop why(struct pc *p)
{
	struct vcpu_stop s = {0};
	return ops->stopped(p->cpu, &s), s;
}
static bool stops_at(struct pc *p, gva_t at)
{
	enum vcpu_exit x = go(p);
	return x == VCPU_DEBUG && why(p).why == STOPPED_BY_BREAK && reg(p, REG_X86_RIP) == at;
}
static void done(struct x86_code *c)
{
	x86_out(c, DONE, 0x77);
	X86_EMIT(c, 0xeb, 0xfe);
}
/* On in ring 3. */
static struct x86_code in_ring3(struct pc *p)
{
	struct x86_code *c = &p->code;
	X86_EMIT(c, 0x48, 0x89, 0xe3, 0x6a, X86_USER_SS, 0x53);
	X86_EMIT(c, 0x6a, 0x02, 0x6a, X86_USER_CS); /* flags */
	x86_mov(c, RAX, RING3);
	X86_EMIT(c, 0x50, 0x48, 0xcf);
	return (struct x86_code){p->mem, RING3};
}
/* Where it came from is in rbx, and that is all. */
static void ends_with(struct pc *p, unsigned vector)
{
	struct x86_code h = {p->mem, HANDLER};
	X86_EMIT(&h, 0x48, 0x8b, 0x1c, 0x24); /* mov rbx, [rsp] */
	done(&h);
	x86_gate(p->mem, vector, HANDLER, 3);
}

static void breaks(const char *test, unsigned needs, bool hard)
{
	struct pc *p = pc_new(test, needs);
	if (!p) return;
	struct x86_code *c = &p->code;
	x86_mov(c, RBX, 1);
	gva_t at = c->at;
	X86_EMIT(c, 0x48, 0xff, 0xc3, 0x48, 0xff, 0xc3); /* inc rbx, twice */
	done(c);
	break_at(p, at, hard);
	break_at(p, at + 3, hard);
	CHECK(stops_at(p, at) && reg(p, RBX) == 1);
	CHECK(byte(p, at) == 0x48 && byte(p, at + 3) == 0x48);
	CHECK(step(p) == VCPU_DEBUG && why(p).why == STOPPED_BY_STEP);
	CHECK(reg(p, REG_X86_RIP) == at + 3 && reg(p, RBX) == 2);
	CHECK(stops_at(p, at + 3));
	p->points.nbreaks = 0;
	CHECK(go(p) == VCPU_KICKED && reg(p, RBX) == 3);
	CHECK(byte(p, at) == 0x48 && byte(p, at + 3) == 0x48);
	ops->points(p->en, NULL);
	pc_free(p);
}
TEST(kvm_stops_at_breakpoints) { breaks(__func__, KVM_DEBUGS_SOFT, false); }
TEST(kvm_stops_at_hardware_breakpoints) { breaks(__func__, KVM_DEBUGS_HARD, true); }

TEST(kvm_stops_in_user_code)
{
	PC(KVM_DEBUGS_USER_SOFT | KVM_DEBUGS_USER_HARD | KVM_DEBUGS_USER_STEP);
	struct x86_code user = in_ring3(p);
	X86_EMIT(&user, 0x90, 0x90, 0x90, 0xcc);
	ends_with(p, 3);
	break_at(p, RING3 + 1, false);
	break_at(p, RING3 + 2, true);
	CHECK(stops_at(p, RING3 + 1));
	CHECK(step(p) == VCPU_DEBUG && reg(p, REG_X86_RIP) == RING3 + 2);
	CHECK(stops_at(p, RING3 + 2));
	CHECK(step(p) == VCPU_DEBUG && reg(p, REG_X86_RIP) == RING3 + 3);
	CHECK(go(p) == VCPU_KICKED && reg(p, RBX) == RING3 + 4);
	pc_free(p);
}

/* Its #BP comes to it, from behind the int3, though ours are there too. */
TEST(kvm_the_guests_own_int3_is_its_own)
{
	PC(KVM_DEBUGS_SOFT);
	struct x86_code user = in_ring3(p);
	X86_EMIT(&user, 0x90, 0xcc, 0x90, 0x90);
	ends_with(p, 3);
	break_at(p, RING3 + 3, false);
	CHECK(go(p) == VCPU_KICKED && reg(p, RBX) == RING3 + 2);
	pc_free(p);
}

/* A breakpoint of its own in DR0, met in user code, while ours has another register. */
TEST(kvm_the_guests_own_debug_registers_are_its_own)
{
	PC(KVM_DEBUGS_USER_HARD);
	struct x86_code user = in_ring3(p);
	X86_EMIT(&user, 0x90, 0x90, 0x90, 0xcc);
	ends_with(p, 1);
	break_at(p, RING3 + 3, true);
	CHECK(!ops->set(p->cpu, REG_X86_DR + DR0, RING3 + 2));
	CHECK(!ops->set(p->cpu, REG_X86_DR + 7, 0x402));
	CHECK(go(p) == VCPU_KICKED && reg(p, RBX) == RING3 + 2);
	CHECK((reg(p, REG_X86_DR + 6) & 15) == 1 && reg(p, REG_X86_DR + 7) == 0x402);
	CHECK(reg(p, REG_X86_DR + 3) == 0);
	pc_free(p);
}

TEST(kvm_where_no_memory_is_yet_a_breakpoint_waits)
{
	PC(KVM_DEBUGS_HARD);
	gpa_t at = 0;
	done(c);
	break_at(p, FAR + X86_CODE, false);
	CHECK(!ops->peek(p->cpu, FAR + X86_CODE, &at));
	ops->points(p->en, &p->points);
	CHECK(ops->peek(p->cpu, X86_CODE, &at) && at == X86_CODE);
	struct vcpu_points five = {.nbreaks = 5};
	struct err e = {0};
	for (unsigned i = 0; i < 5; i++) five.breaks[i] = FAR + i;
	CHECK(ops->debugs(p->en, &five, &e) == -ENOSPC && strstr(e.msg, "debug registers"));
	five.nbreaks = 4;
	CHECK(!ops->debugs(p->en, &five, &e));
	pc_free(p);
}

/* What the guest writes at or behind a breakpoint is not undone. */
TEST(kvm_what_the_guest_writes_over_a_breakpoint_stays)
{
	PC(KVM_DEBUGS_SOFT);
	x86_mov(c, RSI, DATA);
	X86_EMIT(c, 0xc6, 0x06, 0x11);	     /* mov byte [rsi], 0x11 */
	X86_EMIT(c, 0xc6, 0x46, 0x19, 0x22); /* [rsi + 25], behind the second */
	X86_EMIT(c, 0x8a, 0x5e, 0x20);	     /* mov bl, [rsi + 32] */
	done(c);
	break_at(p, DATA, false);
	break_at(p, DATA + 24, false);
	break_at(p, DATA + 32, false);
	CHECK(go(p) == VCPU_KICKED);
	CHECK(byte(p, DATA) == 0x11 && byte(p, DATA + 24) == 0xcc && byte(p, DATA + 25) == 0x22);
	CHECK((reg(p, RBX) & 0xff) == 0xcc && byte(p, DATA + 32) == 0);
	pc_free(p);
}

/* Pages that had int3 in them meanwhile are written to, for who moves them. */
TEST(kvm_breakpoints_are_in_the_log_of_writes)
{
	PC(KVM_DEBUGS_SOFT);
	uint64_t bits[1] = {0};
	done(c);
	break_at(p, DATA, false);
	gmem_track(p->mem, true);
	CHECK(go(p) == VCPU_KICKED);
	CHECK(gmem_dirty_take(p->mem, DATA, 4096, bits) && bits[0] == 1);
	pc_free(p);
}

TEST(kvm_watches_memory)
{
	PC(KVM_DEBUGS_WATCH | KVM_DEBUGS_USER_WATCH);
	x86_mov(c, RSI, DATA);
	X86_EMIT(c, 0x88, 0x06, 0x88, 0x46, 0x0b); /* mov [rsi], al; mov [rsi + 11], al */
	gva_t behind = c->at;
	X86_EMIT(c, 0x8a, 0x5e, 0x20); /* mov bl, [rsi + 32] */
	done(c);
	p->points = (struct vcpu_points){
		.nwatches = 2, .watch = {{DATA + 2, 10, false, true}, {DATA + 32, 1, true, false}}};
	CHECK(go(p) == VCPU_DEBUG && reg(p, REG_X86_RIP) == behind);
	CHECK(why(p).why == STOPPED_BY_WATCH && why(p).watch.at == DATA + 2);
	CHECK(go(p) == VCPU_DEBUG && reg(p, REG_X86_RIP) == behind + 3);
	CHECK(why(p).why == STOPPED_BY_WATCH && why(p).watch.at == DATA + 32);
	CHECK(go(p) == VCPU_KICKED);
	pc_free(p);
}

/* 2..3, 4..7, 8..15 and 16: four registers, and no fifth. */
TEST(kvm_watchpoints_have_as_many_registers_as_they_need)
{
	PC(KVM_DEBUGS_STEP);
	struct err e = {0};
	struct vcpu_points w = {.nwatches = 1, .watch = {{DATA + 2, 15, true, true}}};
	unsigned both = KVM_DEBUGS_WATCH | KVM_DEBUGS_USER_WATCH;
	bool can = (p->en->debugs & both) == both;
	CHECK(ops->debugs(p->en, &w, &e) == (can ? 0 : -ENOTSUP));
	w.watch[0].len = 23;
	CHECK(ops->debugs(p->en, &w, &e) == (can ? -ENOSPC : -ENOTSUP));
	pc_free(p);
}

/* A loop of one instruction is stepped, or stays where it is where nothing tells of steps. */
TEST(kvm_a_step_in_user_code_ends)
{
	enum { TRIES = 1000 };
	static const uint8_t int3 = 0xcc;
	PC(KVM_DEBUGS_STEP);
	struct x86_code user = in_ring3(p);
	X86_EMIT(&user, 0xeb, 0xfe);
	ends_with(p, 3);
	for (int i = 0; i < TRIES && reg(p, REG_X86_RIP) != RING3; i++)
		(void)kvm_run_for(p->cpu, 1000000);
	CHECK(step(p) == VCPU_DEBUG && why(p).why == STOPPED_BY_STEP);
	CHECK(reg(p, REG_X86_RIP) == RING3);
	CHECK(gmem_write(p->mem, RING3, &int3, 1));
	CHECK(go(p) == VCPU_KICKED && reg(p, RBX) == RING3 + 1);
	pc_free(p);
}

/* What hardware tells, told by us, where no hardware is: int3 of ours, and of the guest's, which
 * then comes to it. */
static void told(struct pc *p, unsigned exception, gva_t pc, uint64_t dr6)
{
	p->cpu->run->debug.arch = (struct kvm_debug_exit_arch){
		.exception = exception, .pc = pc, .dr6 = dr6, .dr7 = 0x400};
}
/* The guest goes on, and its handler has it; where it came from. */
static gva_t handled(struct pc *p, const char *test)
{
	enum vcpu_exit x = kvm_run_for(p->cpu, 5 * SECOND);
	if (x == VCPU_BROKEN) (void)printf("%s: %s\n", test, ops->error(p->cpu));
	CHECK(x == VCPU_KICKED);
	return reg(p, RBX);
}

TEST(kvm_int3_is_told_apart)
{
	PC(KVM_DEBUGS_STEP);
	p->en->debugs |= KVM_DEBUGS_SOFT | KVM_DEBUGS_USER_SOFT;
	X86_EMIT(c, 0x90, 0x90);
	ends_with(p, 3);
	break_at(p, X86_CODE + 1, false);
	ops->points(p->en, &p->points);
	told(p, 3, X86_CODE + 1, 0);
	CHECK(kvm_debug_exit(p->cpu) == 1 && why(p).why == STOPPED_BY_BREAK);
	told(p, 3, X86_CODE, 0);
	CHECK(kvm_debug_exit(p->cpu) == 0);
	gva_t from = handled(p, __func__);
	CHECK(from == X86_CODE || from == X86_CODE + 1); /* as this CPU has it that it never met */
	pc_free(p);
}

/* Another mapping of a page with a breakpoint: nothing that has a name. */
TEST(kvm_int3_by_another_address_is_told)
{
	enum { SECOND_PAGE = X86_PML4 + 0x2008 };
	uint64_t same = 0x87; /* large, user's, writable */
	PC(KVM_DEBUGS_STEP);
	p->en->debugs |= KVM_DEBUGS_SOFT | KVM_DEBUGS_USER_SOFT;
	X86_EMIT(c, 0x90, 0x90);
	CHECK(gmem_write(p->mem, SECOND_PAGE, &same, 8));
	break_at(p, X86_CODE, false);
	ops->points(p->en, &p->points);
	told(p, 3, 0x200000 + X86_CODE, 0);
	CHECK(kvm_debug_exit(p->cpu) == 1 && why(p).why == STOPPED_BY_STEP);
	pc_free(p);
}

TEST(kvm_debug_registers_are_told_apart)
{
	PC(KVM_DEBUGS_STEP);
	p->en->debugs = 255;
	X86_EMIT(c, 0x90, 0x90);
	ends_with(p, 1);
	break_at(p, X86_CODE + 0x100, true);
	p->points.nwatches = 1;
	p->points.watch[0] = (struct vcpu_watch){DATA, 8, false, true};
	CHECK(!ops->set(p->cpu, REG_X86_DR + DR0, X86_CODE + 0x200));
	CHECK(!ops->set(p->cpu, REG_X86_DR + 7, 0x402));
	ops->points(p->en, &p->points);
	CHECK(!kvm_debug_begin(p->cpu));
	kvm_debug_end(p->cpu);
	told(p, 1, X86_CODE, 8);
	CHECK(kvm_debug_exit(p->cpu) == 1 && why(p).why == STOPPED_BY_WATCH);
	CHECK(why(p).watch.at == DATA && why(p).watch.len == 8);
	told(p, 1, X86_CODE + 0x100, 4);
	CHECK(kvm_debug_exit(p->cpu) == 1 && why(p).why == STOPPED_BY_BREAK);
	told(p, 1, X86_CODE, 1);
	CHECK(kvm_debug_exit(p->cpu) == 0);
	CHECK(handled(p, __func__) == X86_CODE && (reg(p, REG_X86_DR + 6) & 15) == 1);
	pc_free(p);
}

TEST(kvm_int3_stays_until_the_last_is_out)
{
	PC(KVM_DEBUGS_STEP);
	p->en->debugs |= KVM_DEBUGS_SOFT | KVM_DEBUGS_USER_SOFT;
	X86_EMIT(c, 0x90, 0x90);
	break_at(p, X86_CODE + 1, false);
	ops->points(p->en, &p->points);
	CHECK(byte(p, X86_CODE + 1) == 0x90);
	CHECK(!kvm_debug_begin(p->cpu) && !kvm_debug_begin(p->cpu)); /* as two would */
	CHECK(byte(p, X86_CODE + 1) == 0xcc);
	kvm_debug_end(p->cpu);
	CHECK(byte(p, X86_CODE + 1) == 0xcc);
	kvm_debug_end(p->cpu);
	CHECK(byte(p, X86_CODE + 1) == 0x90);
	pc_free(p);
}
