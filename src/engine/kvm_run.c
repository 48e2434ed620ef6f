/* A vCPU runs: into KVM_RUN, and out of it for what KVM leaves to us. The one idea: who wants a
 * vCPU out says so in `poke`, then in immediate_exit, then by a signal; and a vCPU clears
 * immediate_exit before it looks at `poke`. Whatever the order, it sees the one or the other. */
#include "engine/kvm_impl.h"
#include "engine/x86_regs.h"
#include "hw/bus.h"
#include "hw/gmem.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* syscalls vcpu: ioctl */

static int kvm_signal(void) { return SIGRTMIN + 6; }
static __thread struct vcpu *timed; /* this thread's, of kvm_run_for() */

/* That it comes is enough to end KVM_RUN; if it comes from the timer, it is a kick, too. */
static void on_signal(int sig, siginfo_t *info, void *context)
{
	struct vcpu *c = timed;
	(void)sig, (void)context;
	if (!c || info->si_code != SI_TIMER) return;
	atomic_fetch_or(&c->poke, POKE_KICK);
	__atomic_store_n(&c->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}
static void install(void)
{
	/* KVM_RUN is never restarted; what a device does on a vCPU's thread is. */
	struct sigaction a = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
	(void)sigaction(kvm_signal(), &a, NULL);
}
void kvm_signals(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	(void)pthread_once(&once, install);
}

/* Any thread */

static void exit_soon(struct vcpu *c, bool on)
{
	__atomic_store_n(&c->run->immediate_exit, (uint8_t)on, __ATOMIC_SEQ_CST);
}

static void poke(struct vcpu *c, unsigned why)
{
	atomic_fetch_or(&c->poke, why);
	exit_soon(c, true);
	(void)pthread_mutex_lock(&c->lock);
	if (c->in_run) (void)syscall(SYS_tgkill, getpid(), c->thread, kvm_signal());
	(void)pthread_cond_signal(&c->woken);
	(void)pthread_mutex_unlock(&c->lock);
}

void kvm_kick(struct vcpu *c) { poke(c, POKE_KICK); }

void kvm_irq(struct vcpu *c, unsigned line, int level)
{
	if (line == IRQ_X86_NMI && level)
		poke(c, POKE_NMI);
	else if (line == IRQ_X86_INTR && level)
		poke(c, POKE_INTR);
	else if (line == IRQ_X86_INTR)
		atomic_fetch_and(&c->poke, ~(unsigned)POKE_INTR);
}

/* The vCPU's thread: when it cannot go on */

static enum vcpu_exit broken(struct vcpu *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), cold));

gva_t kvm_rip_linear(struct vcpu *c)
{
	return kvm_regs_fetch(c, HAVE_REGS | HAVE_SREGS) ? 0 : c->sregs.cs.base + c->regs.rip;
}

/* The instruction's bytes, as many as can be read. */
static unsigned code_bytes(struct vcpu *c, gva_t at, uint8_t to[15])
{
	unsigned n = 0;
	gpa_t where;
	for (; n < 15; n++) {
		if (!kvm_peek(c, at + n, &where)) break;
		if (!gmem_read(c->en->env.mem, where, to + n, 1)) break;
	}
	return n;
}

static enum vcpu_exit broken(struct vcpu *c, const char *fmt, ...)
{
	uint8_t code[15];
	char words[120], hex[48] = " (not readable)";
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	c->unsettled = false;
	kvm_regs_forget(c);
	unsigned n = code_bytes(c, kvm_rip_linear(c), code);
	for (unsigned i = 0; i < n; i++) (void)snprintf(hex + 3 * i, 4, " %02x", code[i]);
	(void)snprintf(c->error, sizeof(c->error), "%s; at rip %#llx, code%s", words,
		       (unsigned long long)c->regs.rip, hex);
	return VCPU_BROKEN;
}

static enum vcpu_exit internal_error(struct vcpu *c)
{
	static const char *const why[] = {"", "cannot emulate an instruction",
					  "met an event while delivering one",
					  "could not deliver an event", "met an unknown exit"};
	uint32_t sub = c->run->internal.suberror;
	if (sub == KVM_INTERNAL_ERROR_EMULATION && kvm_debug_int3(c, kvm_rip_linear(c)))
		return VCPU_DEBUG; /* int3 is what it could not execute */
	return broken(c, "KVM %s (internal error %u)",
		      sub && sub < COUNT(why) ? why[sub] : "failed", sub);
}

static enum vcpu_exit unknown_exit(struct vcpu *c)
{
	const struct kvm_run *r = c->run;
	switch (r->exit_reason) {
	case KVM_EXIT_INTERNAL_ERROR: return internal_error(c);
	case KVM_EXIT_FAIL_ENTRY:
		return broken(c, "the processor refuses the guest's state (reason %#llx)",
			      (unsigned long long)r->fail_entry.hardware_entry_failure_reason);
	case KVM_EXIT_UNKNOWN:
		return broken(c, "the processor left the guest for an unknown reason (%#llx)",
			      (unsigned long long)r->hw.hardware_exit_reason);
	case KVM_EXIT_EXCEPTION:
		return broken(c, "exception %u (%#x) reached KVM", r->ex.exception,
			      r->ex.error_code);
	default: return broken(c, "KVM exit %u, which this program does not know", r->exit_reason);
	}
}

/* The vCPU's thread: what it asks for */

/* Buses take 1, 2, 4 and 8 bytes; an access across pages comes in any sizes. */
static unsigned piece(unsigned len) { return len >= 8 ? 8 : len >= 4 ? 4 : len >= 2 ? 2 : 1; }

static void transfer(struct bus *b, uint64_t at, uint8_t *data, unsigned len, bool write)
{
	for (unsigned n; len; at += n, data += n, len -= n) {
		n = piece(len);
		if (write && b) bus_write(b, at, load_le(data, n), n);
		if (!write) store_le(data, b ? bus_read(b, at, n) : UINT64_MAX, n);
	}
}

static void serve_pio(struct vcpu *c)
{
	const struct kvm_run *r = c->run;
	uint64_t at = r->io.data_offset;
	uint64_t bytes = (uint64_t)r->io.count * r->io.size;
	c->unsettled = true;
	kvm_count(c, COUNT_PIO);
	must(at <= c->en->run_size &&
	     bytes <= c->en->run_size - at); /* KVM's word, not the guest's */
	for (unsigned i = 0; i < r->io.count; i++)
		transfer(c->en->env.pio, r->io.port,
			 (uint8_t *)c->run + at + (size_t)i * r->io.size, r->io.size,
			 r->io.direction == KVM_EXIT_IO_OUT);
}

static void serve_mmio(struct vcpu *c)
{
	struct kvm_run *r = c->run;
	unsigned len = r->mmio.len <= 8 ? r->mmio.len : 8;
	c->unsettled = true;
	kvm_count(c, COUNT_MMIO);
	transfer(c->en->env.mmio, r->mmio.phys_addr, r->mmio.data, len, r->mmio.is_write);
}

static void serve_msr(struct vcpu *c)
{
	struct kvm_run *r = c->run;
	const struct x86_hooks *h = &c->en->env.x86;
	bool write = r->exit_reason == KVM_EXIT_X86_WRMSR;
	uint64_t val = write ? r->msr.data : 0;
	c->unsettled = true;
	kvm_count(c, COUNT_MSR);
	r->msr.error = !h->msr || !h->msr(h->ctx, c->id, r->msr.index, write, &val);
	if (!write) r->msr.data = val;
}

static void serve_eoi(struct vcpu *c)
{
	const struct x86_hooks *h = &c->en->env.x86;
	if (h->eoi) h->eoi(h->ctx, c->run->eoi.vector);
}

/* A timer's signal does not wake a condition, so then it is looked at often. */
static void sleep_locked(struct vcpu *c)
{
	struct timespec until;
	if (!timed) {
		(void)pthread_cond_wait(&c->woken, &c->lock);
		return;
	}
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 5000000;
	if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
	(void)pthread_cond_timedwait(&c->woken, &c->lock, &until);
}

/* Only where the LAPICs are not KVM's; else KVM sleeps by itself. A kick ends the waiting, not the
 * halt. */
static void halt(struct vcpu *c)
{
	enum { WAKES = POKE_KICK | POKE_NMI };
	unsigned intr = c->run->if_flag ? POKE_INTR : 0, p;
	(void)pthread_mutex_lock(&c->lock);
	while (!((p = atomic_load(&c->poke)) & (WAKES | intr))) sleep_locked(c);
	(void)pthread_mutex_unlock(&c->lock);
	if (p & (POKE_NMI | intr)) c->halted = false;
}

static bool debugged(struct vcpu *c, enum vcpu_exit *out)
{
	int r = kvm_debug_exit(c);
	*out = r < 0 ? broken(c, "an exception of the guest's own: %s", strerror(-r)) : VCPU_DEBUG;
	return r == 0;
}

/* true: run on; false: *out says why not. */
static bool serve(struct vcpu *c, enum vcpu_exit *out)
{
	switch (c->run->exit_reason) {
	case KVM_EXIT_IO: serve_pio(c); return true;
	case KVM_EXIT_MMIO: serve_mmio(c); return true;
	case KVM_EXIT_X86_RDMSR:
	case KVM_EXIT_X86_WRMSR: serve_msr(c); return true;
	case KVM_EXIT_IOAPIC_EOI: serve_eoi(c); return true;
	case KVM_EXIT_HLT:
		kvm_count(c, COUNT_HALTS);
		c->halted = true;
		return true;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR:
	case KVM_EXIT_X86_BUS_LOCK: return true;
	case KVM_EXIT_SHUTDOWN:
	case KVM_EXIT_SYSTEM_EVENT: return *out = VCPU_RESET, false;
	case KVM_EXIT_DEBUG: return debugged(c, out);
	default: return *out = unknown_exit(c), false;
	}
}

/* 0: there is an exit; -EINTR: there is none; -EIO: *out says. */
static int enter(struct vcpu *c, enum vcpu_exit *out)
{
	kvm_regs_forget(c);
	if (!ioctl(c->fd, KVM_RUN, 0)) {
		c->unsettled = false;
		kvm_count(c, COUNT_EXITS);
		return 0;
	}
	if (errno == EINTR || errno == EAGAIN) return c->unsettled = false, -EINTR;
	*out = broken(c, "KVM_RUN: %s", strerror(errno));
	return -EIO;
}

/* Finish the instruction whose access was answered last. KVM does that when it is entered and,
 * with immediate_exit, no more; one instruction may want several accesses, and what it ends with
 * may be news: then it is told now, and the kick after that. */
static enum vcpu_exit settle(struct vcpu *c, enum vcpu_exit why)
{
	enum { ENOUGH = 100000 }; /* of a rep string over a device, more than KVM does at once */
	enum vcpu_exit news = why;
	for (unsigned i = 0; c->unsettled && i < ENOUGH; i++) {
		exit_soon(c, true);
		int r = enter(c, &news);
		if (r == -EINTR || (r == 0 && serve(c, &news))) continue;
		if (why == VCPU_KICKED) atomic_fetch_or(&c->poke, POKE_KICK);
		break;
	}
	c->unsettled = false;
	return news;
}

static void inject_intr(struct vcpu *c)
{
	const struct x86_hooks *h = &c->en->env.x86;
	c->run->request_interrupt_window = 0;
	if (!(atomic_load(&c->poke) & POKE_INTR) || !h->extint) return;
	if (c->run->ready_for_interrupt_injection) {
		int vector = h->extint(h->ctx, c->id);
		struct kvm_interrupt irq = {.irq = (uint32_t)vector & 0xff};
		if (vector < 0) return;
		(void)ioctl(c->fd, KVM_INTERRUPT, &irq);
	}
	c->run->request_interrupt_window = (atomic_load(&c->poke) & POKE_INTR) != 0;
}

/* Whom to signal, from here until out. */
static void here(struct vcpu *c, bool in)
{
	static __thread bool open;
	if (!open) {
		sigset_t set;
		(void)sigemptyset(&set);
		(void)sigaddset(&set, kvm_signal());
		(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
		open = true;
	}
	(void)pthread_mutex_lock(&c->lock);
	c->in_run = in;
	c->thread = gettid();
	(void)pthread_mutex_unlock(&c->lock);
}

static enum vcpu_exit run_on(struct vcpu *c)
{
	enum vcpu_exit out = VCPU_KICKED;
	for (;;) {
		if (c->halted) halt(c);
		exit_soon(c, false);
		unsigned p = atomic_fetch_and(&c->poke, ~(unsigned)(POKE_KICK | POKE_NMI));
		if (p & POKE_NMI) (void)ioctl(c->fd, KVM_NMI, 0);
		if (p & POKE_KICK) return VCPU_KICKED;
		inject_intr(c);
		kvm_debug_again(c);
		int r = enter(c, &out);
		if (r == -EIO || (r == 0 && !serve(c, &out))) return out;
	}
}

enum vcpu_exit kvm_run(struct vcpu *c)
{
	int rc = kvm_regs_flush(c);
	kvm_time_go(c);
	if (rc) return broken(c, "no CPU has these registers: %s", strerror(-rc));
	if (kvm_debug_stands(c)) return VCPU_DEBUG;
	rc = kvm_debug_begin(c);
	here(c, true);
	enum vcpu_exit out = rc ? broken(c, "what debuggers want: %s", strerror(-rc)) : run_on(c);
	here(c, false);
	if (out != VCPU_BROKEN) out = settle(c, out);
	kvm_debug_end(c);
	return out;
}

/* The timer goes on until it is deleted, in case that its first signal is too early. */
enum vcpu_exit kvm_run_for(struct vcpu *c, uint64_t ns)
{
	timer_t t;
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = kvm_signal()};
	struct itimerspec when = {.it_value = {.tv_sec = (time_t)(ns / 1000000000),
					       .tv_nsec = (long)(ns % 1000000000)},
				  .it_interval = {.tv_nsec = 10000000}};
	ev._sigev_un._tid = gettid();
	if (timer_create(CLOCK_MONOTONIC, &ev, &t))
		return broken(c, "no timer: %s", strerror(errno));
	timed = c;
	(void)timer_settime(t, 0, &when, NULL);
	enum vcpu_exit out = kvm_run(c);
	(void)timer_delete(t);
	timed = NULL;
	atomic_fetch_and(&c->poke, ~(unsigned)POKE_KICK);
	return out;
}
