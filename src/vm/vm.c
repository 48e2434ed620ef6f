/* Kind vm: a computer that lives. The one idea: a hart's thread alternates between the engine and
 * one waiting place, hart_wait(); stopping, resetting and freeing the machine all mean getting
 * every hart there, and HSM's stopped harts are there already. */
#include "vm/vm.h"
#include "base/buf.h"
#include "base/jail.h"
#include "base/ksm.h"
#include "base/log.h"
#include "base/loop.h"
#include "blk/blk.h"
#include "dev/dev.h"
#include "engine/kvm.h"
#include "engine/tracer.h"
#include "engine/unitlog.h"
#include "guest/arrival.h"
#include "guest/guest.h"
#include "guest/program.h"
#include "guest/snapshot.h"
#include "hw/bus.h"
#include "hw/gmem.h"
#include "vm/board.h"
#include "vm/debugger.h"
#include "vm/keys.h"
#include "vm/move.h"
#include "vm/save.h"
#include "vm/show.h"
#include "vm/throttle.h"
#include "vm/turns.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KERNEL_MAX (128 * MIB)
static const struct board_ops *const boards[] = {
	[ARCH_RV64] = &board_virt, [ARCH_X86_64] = &board_pc};

/* Harts */

uint64_t hart_get(struct hart *h, unsigned reg)
{
	uint64_t v = 0;
	return h->vm->ops->get(h->cpu, reg, &v) < 0 ? 0 : v;
}

void hart_set(struct hart *h, unsigned reg, uint64_t val)
{
	(void)h->vm->ops->set(h->cpu, reg, val);
}

void hart_irq(void *ctl, unsigned line, int level)
{
	struct hart *h = ctl;
	if (h->cpu) h->vm->ops->irq(h->cpu, line, level);
}

static void lock(struct vm *vm) { (void)pthread_mutex_lock(&vm->lock); }
static void unlock(struct vm *vm) { (void)pthread_mutex_unlock(&vm->lock); }

static void state_locked(struct hart *h, enum hart_state state)
{
	h->state = state;
	(void)pthread_cond_broadcast(&h->vm->changed);
}

void hart_state_set(struct hart *h, enum hart_state state)
{
	lock(h->vm);
	state_locked(h, state);
	unlock(h->vm);
}

enum hart_state hart_state(struct hart *h)
{
	lock(h->vm);
	enum hart_state s = h->state;
	unlock(h->vm);
	return s;
}

static void start_locked(struct hart *h, uint64_t pc, uint64_t arg)
{
	h->start_pc = pc;
	h->start_arg = arg;
	state_locked(h, HART_START_PENDING);
}

bool hart_start(struct hart *h, uint64_t pc, uint64_t arg)
{
	lock(h->vm);
	bool stopped = h->state == HART_STOPPED;
	if (stopped) start_locked(h, pc, arg);
	unlock(h->vm);
	return stopped;
}

void hart_restart(struct hart *h, uint64_t pc, uint64_t arg)
{
	lock(h->vm);
	start_locked(h, pc, arg);
	unlock(h->vm);
}

static void hart_begin(struct hart *h)
{
	h->vm->ops->reset(h->cpu);
	h->vm->kind->begin(h);
	h->state = HART_STARTED;
}

static enum vm_want wanted(struct vm *vm) { return __atomic_load_n(&vm->want, __ATOMIC_ACQUIRE); }

bool vm_halting(struct vm *vm) { return wanted(vm) != VM_RUN; }

static bool is_held(const struct vm *vm) { return __atomic_load_n(&vm->held, __ATOMIC_ACQUIRE); }

/* The only place where a hart is outside the engine for long. false: its thread is to end. */
static bool hart_wait(struct hart *h)
{
	struct vm *vm = h->vm;
	if (h->state == HART_STARTED && wanted(vm) == VM_RUN && !h->held && !is_held(vm))
		return true;
	lock(vm);
	h->idle = true;
	(void)pthread_cond_broadcast(&vm->changed);
	while (vm->want == VM_HALT ||
	       (vm->want == VM_RUN && (vm->held || h->held || h->state == HART_STOPPED)))
		(void)pthread_cond_wait(&vm->changed, &vm->lock);
	bool run = vm->want == VM_RUN;
	h->idle = !run;
	if (run && h->state == HART_START_PENDING) hart_begin(h);
	unlock(vm);
	return run;
}

bool hart_doze(struct hart *h)
{
	enum { MOMENT_NS = 1000000 };
	struct timespec until;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += MOMENT_NS;
	if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
	lock(h->vm);
	if (h->vm->want == VM_RUN)
		(void)pthread_cond_timedwait(&h->vm->changed, &h->vm->lock, &until);
	bool run = h->vm->want == VM_RUN;
	unlock(h->vm);
	return run;
}

/* Halting all of them */

static void want_locked(struct vm *vm, enum vm_want want)
{
	if (vm->want != VM_QUIT) __atomic_store_n(&vm->want, want, __ATOMIC_RELEASE);
	atomic_store(&vm->guest->console->patient,
		     vm->want == VM_RUN && vm->guest->spec->deterministic);
	(void)pthread_cond_broadcast(&vm->changed);
}

void vm_wake(void *ctx)
{
	struct vm *vm = ctx;
	for (unsigned i = 0; i < vm->ncpus; i++)
		if (vm->hart[i].cpu) vm->ops->kick(vm->hart[i].cpu);
}

void vm_hold(struct vm *vm, bool held)
{
	lock(vm);
	__atomic_store_n(&vm->held, held, __ATOMIC_RELEASE);
	(void)pthread_cond_broadcast(&vm->changed);
	unlock(vm);
	if (held) vm_wake(vm);
}

static bool all_idle(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->ncpus; i++)
		if (vm->hart[i].threaded && !vm->hart[i].idle) return false;
	return true;
}

static void vm_want(struct vm *vm, enum vm_want want)
{
	lock(vm);
	want_locked(vm, want);
	unlock(vm);
	if (want != VM_RUN) vm_wake(vm);
}

static void vm_halt(struct vm *vm)
{
	vm_want(vm, VM_HALT);
	lock(vm);
	while (!all_idle(vm)) (void)pthread_cond_wait(&vm->changed, &vm->lock);
	unlock(vm);
}

/* Power */

void vm_again(struct vm *vm)
{
	struct err why = {0};
	vm->kind->reset(vm);
	vclock_zero(&vm->clock);
	if (vm->kind->boot(vm, &why) < 0) {
		guest_break(vm->guest, &why);
		return;
	}
	lock(vm);
	vm->power = VM_POWER_NONE;
	unlock(vm);
	if (!vm->paused) vm_want(vm, VM_RUN);
	if (debugger_holds(vm->debugger)) vm_begin(vm);
}

/* A computer that is there for one program would have lost it. */
static void begins_anew(struct vm *vm)
{
	struct err why;
	if (!program_missed(vm->guest->program, &why))
		(void)fail(&why, -EIO, "its computer began anew before its program ended");
	guest_break(vm->guest, &why);
}

static void power_now(void *ctx) /* on the loop's thread */
{
	struct vm *vm = ctx;
	vm_halt(vm);
	bool off = vm->power == VM_POWER_OFF;
	if (vm->turns && !turns_power(vm->turns, off, vm->code)) return;
	if (off)
		guest_exit(vm->guest, vm->code);
	else if (vm->guest->program)
		begins_anew(vm);
	else
		vm_again(vm);
}

void vm_power(struct vm *vm, enum vm_power what, int code)
{
	lock(vm);
	/* It may be about to stand for somebody else: that is not lost. */
	bool first = vm->power == VM_POWER_NONE && vm->want != VM_QUIT;
	if (first) {
		vm->power = what;
		vm->code = code;
		if (vm->want == VM_RUN) want_locked(vm, VM_HALT);
	}
	unlock(vm);
	if (!first) return;
	vm_wake(vm);
	loop_post(vm->guest->loop, power_now, vm);
}

void vm_broken(struct vm *vm, const struct err *why)
{
	vm_want(vm, VM_HALT);
	guest_break(vm->guest, why);
}

static void hart_broken(struct hart *h)
{
	struct err why;
	const char *words = h->vm->ops->error(h->cpu);
	(void)fail(&why, -EIO, "cpu %u: %s", h->id, words ? words : "the engine cannot go on");
	vm_broken(h->vm, &why);
}

/* Pausing: harts are halted, and time with them. The outside world may go on: what it brings waits
 * in the devices. */

void vm_freeze(struct vm *vm, unsigned who)
{
	bool already = vm->paused;
	vm->paused |= who;
	if (already) return;
	vm_halt(vm);
	vclock_stop(&vm->clock);
	vm->kind->pause(vm);
}

void vm_thaw(struct vm *vm, unsigned who)
{
	vm->paused &= ~who;
	if (vm->paused) return;
	vclock_go(&vm->clock);
	vm->kind->resume(vm);
	lock(vm);
	if (vm->power == VM_POWER_NONE)
		want_locked(vm, VM_RUN); /* else power_now() is on its way */
	unlock(vm);
}

static int check_stands(const struct vm *vm, struct err *e)
{
	return vm->stands ? fail(e, -EBUSY, "it is being handed over to another host") : 0;
}

static int vm_pause(struct guest *g, struct err *e)
{
	struct vm *vm = g->own;
	if (check_stands(vm, e)) return -EBUSY;
	if (vm->paused & VM_HELD_BY_OWNER) return fail(e, -EALREADY, "it is paused already");
	vm_freeze(vm, VM_HELD_BY_OWNER);
	return 0;
}

static int vm_resume(struct guest *g, struct err *e)
{
	struct vm *vm = g->own;
	if (!(vm->paused & VM_HELD_BY_OWNER)) return fail(e, -EALREADY, "it is not paused");
	vm_thaw(vm, VM_HELD_BY_OWNER);
	return 0;
}

/* Debugging */

void vm_begin(struct vm *vm)
{
	for (unsigned i = 0; i < vm->ncpus; i++)
		if (vm->hart[i].state == HART_START_PENDING) hart_begin(&vm->hart[i]);
}

/* On the hart's thread: all are to stand, and the debugger is to look why. */
static void hart_debugged(struct hart *h, bool stepped)
{
	struct vm *vm = h->vm;
	struct vcpu_stop why = {.why = STOPPED_BY_STEP};
	if (!stepped) vm->ops->stopped(h->cpu, &why);
	lock(vm);
	h->stop = why;
	h->hit = true;
	h->stepped = false;
	if (vm->want == VM_RUN) want_locked(vm, VM_HALT);
	unlock(vm);
	vm_wake(vm);
	loop_post(vm->guest->loop, debugger_look, vm);
}

static void *hart_main(void *ctx)
{
	struct hart *h = ctx;
	jail_thread(JAIL_VCPU);
	while (hart_wait(h)) {
		switch (h->vm->ops->run(h->cpu)) {
		case VCPU_SYSCALL:
			h->vm->kind->call(h);
			if (h->stepped) hart_debugged(h, true);
			break;
		case VCPU_BROKEN: hart_broken(h); break;
		case VCPU_RESET: vm_power(h->vm, VM_POWER_RESET, 0); break;
		case VCPU_DEBUG: hart_debugged(h, false); break;
		case VCPU_KICKED: break;
		}
	}
	return NULL;
}

/* Building */

static const struct engine_ops *engine_find(const struct board_ops *b, const char *name)
{
	for (const struct engine_ops *const *o = b->engines; *o; o++)
		if (!strcmp(name, (*o)->name)) return *o;
	return strcmp(name, engine_kvm.name) ? NULL : &engine_kvm;
}

enum { TRIALS = 1 };

/* For tests and comparison: LODGE_WINDOW=off or early. */
static enum windows windows_wanted(const struct gmem *m)
{
	const char *v = getenv("LODGE_WINDOW");
	if (gmem_merges(m)) return WINDOWS_OFF;
	if (v && !strcmp(v, "off")) return WINDOWS_OFF;
	return v && !strcmp(v, "early") ? WINDOWS_EARLY : WINDOWS_CHOSEN;
}

/* For tests and comparison: LODGE_DIRECT=off or early. */
static enum direct direct_wanted(const struct spec *s, const struct gmem *m)
{
	const char *v = getenv("LODGE_DIRECT");
	if (gmem_merges(m) || s->no_direct || (v && !strcmp(v, "off"))) return DIRECT_OFF;
	return v && !strcmp(v, "early") ? DIRECT_EARLY : DIRECT_CHOSEN;
}

/* LODGE_HOT: how many jumps to a place make the translator translate it. LODGE_TRIALS: x86-64, how
 * often that is interpreted before. */
static unsigned number_wanted(const char *name, unsigned usual)
{
	const char *v = getenv(name);
	return v ? (unsigned)strtoul(v, NULL, 10) & 0xff : usual;
}

static int vm_log(struct vm *vm, const struct spec *s, struct err *e)
{
	struct unitlog_how how = {.dump = s->dump,
				  .profile = s->profile,
				  .symbols = s->symbols,
				  .kernel = s->kernel ? s->kernel : s->firmware};
	int r = s->dump || s->profile || s->trace ? unitlog_open(&vm->log, &how, e) : 0;
	return r == 0 && s->trace ? tracer_open(&vm->tracer, s->trace, s->trace_file, e) : r;
}

/* Where a kernel is loaded to, and as much as one may be. */
static void name_kernel(struct vm *vm)
{
	struct gmem_region r;
	gpa_t at = vm->board->kernel_at;
	for (unsigned i = 0; vm->log && gmem_region(vm->mem, i, &r); i++) {
		if (at < r.base || at - r.base >= r.len) continue;
		uint64_t skip = at - r.base, len = r.len - skip;
		unitlog_kernel(vm->log, (char *)r.host + skip, len < KERNEL_MAX ? len : KERNEL_MAX);
	}
}

/* --cpu */
static int cpu_wanted(struct vm *vm, struct engine_env *env, struct err *e)
{
	const struct spec *s = vm->guest->spec;
	if (!s->cpu || !strcmp(s->cpu, "auto")) return 0;
	if (s->arch != ARCH_X86_64) return fail(e, -EINVAL, "--cpu: of x86-64 only");
	env->cpu = &vm->model;
	return x86_model_parse(&vm->model, s->cpu, e);
}

static int vm_engine_open(struct vm *vm, const struct engine_ops *ops, struct err *e)
{
	const struct spec *s = vm->guest->spec;
	struct engine_env env = {.arch = s->arch,
				 .mem = vm->mem,
				 .mmio = vm->mmio,
				 .pio = vm->pio,
				 .loop = vm->guest->loop,
				 .clock = &vm->clock,
				 .log = vm->log,
				 .tracer = vm->tracer,
				 .code_room = s->code_cache,
				 .cpus = s->cpus,
				 .hot = number_wanted("LODGE_HOT", 0),
				 .trials = number_wanted("LODGE_TRIALS", TRIALS),
				 .windows = windows_wanted(vm->mem),
				 .direct = direct_wanted(s, vm->mem)};
	if (s->deterministic) {
		env.counted = &vm->clock;
		env.tick = vm->kind->tick;
		env.tick_ctx = vm;
		env.turns = turns_hooks(vm->turns);
	}
	vm->ops = ops;
	vm->ncpus = 0;
	int r = ops->probe(s->arch, e);
	if (r == 0) r = cpu_wanted(vm, &env, e);
	if (r == 0) r = vm->kind->engine(vm, &env, e);
	if (r == 0) r = ops->open(&vm->engine, &env, e);
	for (unsigned i = 0; r == 0 && i < s->cpus; i++) {
		struct hart *h = &vm->hart[i];
		*h = (struct hart){.vm = vm, .id = i, .state = HART_STOPPED};
		r = ops->vcpu(&h->cpu, vm->engine, i, e);
		vm->ncpus = i + (r == 0);
	}
	return r;
}

/* NULL: not asked for by name. */
static int engine_named(const struct spec *s, const struct engine_ops **out, struct err *e)
{
	const struct board_ops *b = boards[s->arch];
	*out = NULL;
	if (!s->engine || !strcmp(s->engine, "auto")) return 0;
	*out = engine_find(b, s->engine);
	if (*out == &engine_kvm && s->trace)
		return fail(e, -ENOTSUP,
			    "--trace-cpu: what kvm runs is not seen: use --engine jit or interp");
	if (*out) return (*out)->probe(s->arch, e);
	return fail(e, -EINVAL, "--engine: '%s': there are %s", s->engine, b->engine_names);
}

/* The first of those in software that opens; where a host has no memory to execute code from, or
 * not that much, what is slow still works. */
static int vm_engine_first(struct vm *vm, struct err *e)
{
	const struct engine_ops *const *o = vm->kind->engines;
	int r = vm_engine_open(vm, o[0], e);
	if (r == 0 || !o[1]) return r;
	log_warn("%s; instructions are interpreted, which is slower", e->msg);
	o[0]->close(vm->engine);
	vm->engine = NULL;
	return vm_engine_open(vm, o[1], e);
}

/* The host's processor where it can. */
static int vm_engine(struct vm *vm, struct err *e)
{
	const struct spec *s = vm->guest->spec;
	const struct engine_ops *ops;
	int r = engine_named(s, &ops, e);
	if (r < 0) return r;
	/* Finding out takes longer than restoring, which it cannot do. */
	bool ask = !ops && !s->deterministic && !s->restore && !s->arrival && !s->gdb && !s->trace;
	if (ask && !engine_kvm.probe(s->arch, e)) ops = &engine_kvm;
	if (ops) return vm_engine_open(vm, ops, e);
	return vm_engine_first(vm, e);
}

/* --memory-merge. Only private memory is merged, which is in one place only: so there are no
 * windows, and no program runs directly. */
static int vm_memory(struct vm *vm, struct err *e)
{
	const struct spec *s = vm->guest->spec;
	if (!s->memory_merge) return 0;
	int r = gmem_merge(vm->mem, e);
	if (r == -ENOTSUP)
		log_warn("--memory-merge: %s; the guest runs without", e->msg);
	else if (r == 0 && ksm_host() == KSM_OFF)
		log_warn("--memory-merge: KSM is off on this host, so nothing is merged; as "
			 "root: echo 1 > /sys/kernel/mm/ksm/run");
	return r == -ENOTSUP ? 0 : r;
}

static struct vm *vm_new(struct guest *g)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	pthread_condattr_t attr;
	must(vm);
	vm->guest = g;
	vm->kind = boards[g->spec->arch];
	must(!pthread_mutex_init(&vm->lock, NULL) && !pthread_condattr_init(&attr));
	must(!pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	must(!pthread_cond_init(&vm->changed, &attr));
	(void)pthread_condattr_destroy(&attr);
	vm->mmio = bus_new("mmio");
	vm->mem = gmem_new();
	vclock_init(&vm->clock, vm->kind->hz);
	if (g->spec->clock) vm->clock.epoch = g->spec->clock;
	vm->turns = turns_new(vm);
	return vm;
}

static int state_path(char *to, size_t room, const char *dir, struct err *e)
{
	if (snprintf(to, room, "%s/state", dir) < (int)room) return 0;
	return fail(e, -ENAMETOOLONG, "%s: too long a path", dir);
}

static int vm_saved(struct vm *vm, struct err *e)
{
	char path[4096];
	int r = state_path(path, sizeof(path), vm->guest->spec->restore, e);
	return r ? r : snapshot_open(&vm->saved, path, true, e);
}

static int vm_restore(struct vm *vm, struct err *e)
{
	int r = vm_load(vm, vm->saved, e);
	snapshot_unref(vm->saved);
	vm->saved = NULL;
	return r;
}

static int vm_debugger(struct vm *vm, struct err *e)
{
	if (!vm->ops->points)
		return fail(e, -ENOTSUP, "--gdb: engine %s has no debugging yet; --engine jit has",
			    vm->ops->name);
	int r = vm->ops->debugs ? vm->ops->debugs(vm->engine, NULL, e) : 0;
	if (r) return r;
	return debugger_open(&vm->debugger, vm, vm->guest->spec->gdb, e);
}

static int build(struct guest *g, struct err *e)
{
	const struct engine_ops *ops;
	int r = engine_named(g->spec, &ops, e);
	if (r == 0) r = boards[g->spec->arch]->check(g->spec, e);
	if (r < 0) return r;
	struct vm *vm = g->own = vm_new(g);
	r = vm_log(vm, g->spec, e);
	if (r == 0) r = vm_memory(vm, e);
	if (r == 0) r = vm->kind->make(vm, e);
	if (r == 0) r = board_shares(vm->board, g->spec, e);
	if (r == 0) r = vm_engine(vm, e);
	if (r == 0) r = vm->kind->wire(vm, e);
	if (r == 0 && g->spec->restore) r = vm_saved(vm, e);
	if (r == 0 && g->spec->gdb) r = vm_debugger(vm, e);
	return r;
}

static int vm_build(struct guest *g, struct err *e)
{
	int r = build(g, e);
	if (r < 0 && g->spec->arrival) link_refuse(g->spec->arrival->link, e);
	return r;
}

static int vm_fill(struct guest *g, struct err *e)
{
	struct vm *vm = g->own;
	int r = board_disks(vm, e);
	if (r == 0)
		r = g->spec->arrival   ? vm_arrive(vm, e)
		    : g->spec->restore ? vm_restore(vm, e)
				       : vm->kind->boot(vm, e);
	if (r == 0) name_kernel(vm);
	if (r == 0 && vm->tracer) r = tracer_name(vm->tracer, unitlog_symbols(vm->log), e);
	if (r < 0 && g->spec->arrival) link_refuse(g->spec->arrival->link, e);
	return r;
}

static int vm_start(struct guest *g, struct err *e)
{
	struct vm *vm = g->own;
	bool restored = vm->paused;
	if (!restored) vclock_zero(&vm->clock);
	for (unsigned i = 0; i < vm->ncpus; i++) {
		struct hart *h = &vm->hart[i];
		int r = pthread_create(&h->thread, NULL, hart_main, h);
		if (r) return fail(e, -r, "cpu %u: no thread for it: %s", i, strerror(r));
		h->threaded = true;
	}
	if (g->spec->gdb_wait)
		debugger_wait(vm->debugger);
	else if (!restored)
		vm_want(vm, VM_RUN);
	if (restored) pci_host_resume(vm->board->pci);
	int r = restored ? vm_resume(g, e) : 0;
	if (r == 0 && g->spec->arrival) vm_arrived(vm);
	return r;
}

/* The host's disk is waited for when the guest runs again. */
static int vm_save_to(struct guest *g, const char *dir, struct err *e)
{
	struct vm *vm = g->own;
	struct snapshot_out *to = NULL;
	bool runs = !vm->paused;
	char path[4096];
	if (check_stands(vm, e)) return -EBUSY;
	if (vm->power != VM_POWER_NONE)
		return fail(e, -EBUSY, "snapshot: the guest is about to go off or start anew");
	int r = state_path(path, sizeof(path), dir, e);
	if (r == 0) r = snapshot_create(&to, path, e);
	if (r < 0) return r;
	if (runs) r = vm_disks_flush(vm, e); /* most of it while it runs */
	if (r == 0 && runs) r = vm_pause(g, e);
	if (r == 0) r = vm_save(vm, to, dir, e);
	if (runs) (void)vm_resume(g, NULL);
	if (r == 0) return snapshot_finish(to, e);
	snapshot_abandon(to);
	return r;
}

static int vm_stop(struct guest *g, bool force, struct err *e)
{
	struct vm *vm = g->own;
	if (force)
		vm_halt(vm);
	else if (!vm->kind->button)
		return fail(e, -EOPNOTSUPP, "this board has no power button");
	else if (vm->turns ? !turns_press(vm->turns) : !vm->kind->button(vm))
		return fail(e, -EAGAIN, "the guest does not listen to its power button");
	return 0;
}

static int vm_connect(struct guest *g, uint32_t port, int fd, struct err *e)
{
	struct vm *vm = g->own;
	if (!vm->board->vsock) return fail(e, -ENOTSUP, "its time is counted: it has no sockets");
	return virtio_vsock_connect(vm->board->vsock, fd, port, e);
}

/* Whoever could call into something that is gone is gone before it. */
static void vm_free(struct guest *g)
{
	struct vm *vm = g->own;
	if (!vm) return;
	debugger_close(vm->debugger);
	vm->debugger = NULL;
	leave_free(vm->leave);
	vm_want(vm, VM_QUIT);
	for (unsigned i = 0; i < vm->ncpus; i++)
		if (vm->hart[i].threaded) (void)pthread_join(vm->hart[i].thread, NULL);
	snapshot_unref(vm->saved);
	throttle_free(vm->throttle);
	turns_free(vm->turns);
	keys_free(vm->keys);
	for (unsigned i = 0; i < VM_DISKS; i++) blk_unref(vm->disk[i]);
	show_free(vm->show);
	vm->kind->free(vm->board);
	if (vm->engine) vm->ops->close(vm->engine);
	tracer_close(vm->tracer);
	unitlog_close(vm->log);
	bus_free(vm->mmio);
	bus_free(vm->pio);
	gmem_free(vm->mem);
	(void)pthread_cond_destroy(&vm->changed);
	(void)pthread_mutex_destroy(&vm->lock);
	free(vm);
	g->own = NULL;
}

static void vm_stats(struct guest *g, struct guest_stats *to)
{
	const struct vm *vm = g->own;
	to->engine = vm->ops->name;
	to->resident = gmem_resident(vm->mem);
	to->merged = gmem_merged(vm->mem);
	if (vm->board->balloon) {
		struct balloon_report b;
		virtio_balloon_look(vm->board->balloon, &b);
		to->used = b.used;
		to->balloon = b.actual;
		to->target = to->memory - b.target;
	}
	board_stats(vm, to);
	for (unsigned i = 0; i < vm->ncpus; i++) vm->ops->stats(vm->hart[i].cpu, &to->counters);
}

/* "debug WORDS" */
static int vm_verb(struct guest *g, const char *verb, struct buf *in, struct buf *out,
		   struct err *e)
{
	if (strcmp(verb, "debug") != 0) return fail(e, -ENOTSUP, "%s: unknown", verb);
	return show_words(g->own, 0, in->len ? in->at : "", out, e);
}

static int vm_limit(struct guest *g, struct err *e)
{
	struct vm *vm = g->own;
	int r = board_limit(vm, &g->limits, e);
	if (r < 0 || (!g->limits.cpu_cap && !vm->throttle)) return r;
	if (!vm->throttle) r = throttle_new(&vm->throttle, vm, e);
	if (r == 0) throttle_set(vm->throttle, g->limits.cpu_cap);
	return r;
}

static int vm_media(struct guest *g, unsigned nth, int fd, bool force, struct err *e)
{
	return board_media(g->own, nth, fd, force, e);
}

static bool vm_runs(enum arch a)
{
	for (const struct engine_ops *const *o = boards[a]->engines; *o; o++)
		if (!(*o)->probe(a, NULL)) return true;
	return !engine_kvm.probe(a, NULL);
}

static void vm_hardware(struct host_note *to)
{
	const struct kvm_report *r = kvm_probe();
	to->good = r->state == KVM_USABLE;
	(void)snprintf(to->what, sizeof(to->what), "%s", r->what);
	(void)snprintf(to->hint, sizeof(to->hint), "%s", r->hint);
}

static int vm_accepts(const struct spec *s)
{
	bool other = s->kind && strcmp(s->kind, "vm") != 0;
	return !other && (s->kernel || s->firmware) ? 100 : 0;
}

const struct kind kind_vm = {
	.name = "vm",
	.accepts = vm_accepts,
	.build = vm_build,
	.load = vm_fill,
	.start = vm_start,
	.pause = vm_pause,
	.resume = vm_resume,
	.save = vm_save_to,
	.move = vm_move,
	.move_status = vm_move_status,
	.move_settle = vm_move_settle,
	.stop = vm_stop,
	.verb = vm_verb,
	.connect = vm_connect,
	.limit = vm_limit,
	.media = vm_media,
	.stats = vm_stats,
	.runs = vm_runs,
	.hardware = vm_hardware,
	.free = vm_free,
};
