/* A debugger at guests that the host's processor runs. The one idea: int3 stands in guest memory
 * only while some vCPU is in kvm_run(), so that nobody but the guest can ever see it: debuggers,
 * snapshots and what moves have what the guest wrote there. What must be seen by nobody, or is
 * where no memory is yet, has one of four debug registers. */
#include "base/own.h"
#include "engine/kvm_impl.h"
#include "engine/x86_regs.h"
#include "hw/gmem.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* syscalls loop vcpu: ioctl */

enum { INT3 = 0xcc, PAGE = 4096, AROUND = 8, DRS = 4, PLANTS = 2 * VCPU_BREAKS, EXECUTE = -1 };
enum { DR6_WHY = 0xe00f, DR6_HITS = 15, DR7_USUAL = 0x700, EXCEPTION_DB = 1, EXCEPTION_BP = 3 };

struct plant { /* int3, or where one is to be */
	gpa_t at;
	unsigned len; /* of `was`: less at a page's end */
	uint8_t was[AROUND];
	bool in;
};
struct slot { /* a debug register */
	gva_t at;
	unsigned len; /* 0: it is free */
	int watch;    /* of the points; EXECUTE: a breakpoint */
	bool reads;
};
struct kvm_debug {
	struct vcpu_points points;
	struct plant plant[PLANTS]; /* in the order in which they are put in */
	unsigned nplants;
	struct slot slot[DRS]; /* filled from the end: guests begin with the first */
	unsigned nslots;
};

bool kvm_peek(struct vcpu *c, gva_t va, gpa_t *out)
{
	struct kvm_translation t = {.linear_address = va};
	if (kvm_regs_flush(c) || ioctl(c->fd, KVM_TRANSLATE, &t) || !t.valid) return false;
	return *out = t.physical_address, true;
}

/* ---- where points go ---- */

static int slot_take(struct kvm_debug *d, const struct slot *s, struct err *e)
{
	if (d->nslots == DRS)
		return fail(e, -ENOSPC,
			    "a CPU has %d debug registers: for watchpoints (one for each aligned "
			    "8 bytes) and hardware breakpoints, and breakpoints where no memory is",
			    DRS);
	d->slot[DRS - ++d->nslots] = *s;
	return 0;
}

/* As many as it takes: a debug register's place is aligned by its length. */
static int watch_plan(struct kvm_debug *d, int i, struct err *e)
{
	const struct vcpu_watch *w = &d->points.watch[i];
	int r = 0;
	unsigned n;
	for (uint64_t done = 0; !r && done < w->len; done += n) {
		gva_t at = w->at + done;
		for (n = 8; at & (n - 1) || n > w->len - done;) n /= 2;
		r = slot_take(d, &(struct slot){at, n, i, w->reads}, e);
	}
	return r;
}

static bool has_plant(const struct kvm_debug *d, gpa_t at)
{
	for (unsigned i = 0; i < d->nplants; i++)
		if (d->plant[i].at == at) return true;
	return false;
}

/* Wherever some vCPU has that address now. */
static bool break_plant(struct engine *en, struct kvm_debug *d, gva_t va)
{
	bool planted = false;
	gpa_t at;
	for (struct vcpu *c = en->vcpus; c; c = c->next) {
		if (!kvm_peek(c, va, &at) || !gmem_host(en->env.mem, at, 1)) continue;
		planted |= has_plant(d, at);
		if (has_plant(d, at) || d->nplants == PLANTS) continue;
		uint64_t left = PAGE - (at & (PAGE - 1));
		d->plant[d->nplants++] =
			(struct plant){.at = at, .len = left < AROUND ? (unsigned)left : AROUND};
		planted = true;
	}
	return planted;
}

static int break_slot(struct kvm_debug *d, unsigned can, gva_t va, struct err *e)
{
	if (can & KVM_DEBUGS_HARD) return slot_take(d, &(struct slot){va, 1, EXECUTE, false}, e);
	return fail(e, -EFAULT,
		    "no memory is there, and /dev/kvm has no hardware breakpoints here");
}

/* What this host does not tell of is refused; a breakpoint goes wherever it is told of. */
static int plan(struct engine *en, struct kvm_debug *d, struct err *e)
{
	const struct vcpu_points *p = &d->points;
	unsigned can = en->debugs;
	bool int3 = kvm_debugs_all(can, KVM_DEBUGS_SOFT | KVM_DEBUGS_USER_SOFT);
	int r = 0;
	if (p->nwatches && !kvm_debugs_all(can, KVM_DEBUGS_WATCH | KVM_DEBUGS_USER_WATCH))
		r = fail(e, -ENOTSUP, "/dev/kvm tells of no accesses here: no watchpoints");
	for (unsigned i = 0; !r && i < p->nwatches; i++) r = watch_plan(d, (int)i, e);
	for (unsigned i = 0; i < p->nbreaks; i++) {
		bool soft = int3 && (!p->hard[i] || !(can & KVM_DEBUGS_HARD));
		if (soft && break_plant(en, d, p->breaks[i])) continue;
		int rc = break_slot(d, can, p->breaks[i], r ? NULL : e);
		if (!r) r = rc;
	}
	return r;
}

int kvm_debugs(struct engine *en, const struct vcpu_points *p, struct err *e)
{
	if (!en->debugs) {
		int can = kvm_debug_probe(e);
		if (can < 0) return can;
		en->debugs = (unsigned)can;
	}
	if (!p) return 0;
	struct kvm_debug *d = calloc(1, sizeof(*d));
	must(d);
	d->points = *p;
	int r = plan(en, d, e);
	free(d);
	return r;
}

void kvm_points(struct engine *en, const struct vcpu_points *p)
{
	must(!en->inside);
	free(en->debug);
	en->debug = NULL;
	for (struct vcpu *c = en->vcpus; c; c = c->next) c->debug_due = true;
	if (!p) return;
	must(en->debug = calloc(1, sizeof(*en->debug)));
	en->debug->points = *p;
	(void)plan(en, en->debug, NULL);
}

void kvm_step(struct vcpu *c, bool on)
{
	c->stepped = on;
	c->debug_due = true;
}

void kvm_stopped(struct vcpu *c, struct vcpu_stop *to) { *to = c->stopped; }

/* ---- int3 in memory ---- */

static void plant_put(struct engine *en, struct plant *p)
{
	uint8_t *at = gmem_host(en->env.mem, p->at, p->len);
	if (!at || p->in) return;
	memcpy(p->was, at, p->len);
	*at = INT3;
	p->in = true;
}

/* Where the guest has meanwhile written something else, it stays: it may have put an int3 of its
 * own there, as kernels do before they change code. */
static void plant_take(struct engine *en, struct plant *p)
{
	uint8_t *at = gmem_host(en->env.mem, p->at, p->len);
	if (!at || !p->in) return;
	p->in = false;
	if (*at != INT3 || memcmp(at + 1, p->was + 1, p->len - 1) != 0) return;
	*at = p->was[0];
	gmem_dirty(en->env.mem, p->at, 1);
}

static void plants_in(struct engine *en)
{
	for (unsigned i = 0; i < en->debug->nplants; i++) plant_put(en, &en->debug->plant[i]);
}

/* The last first: one may stand in what was kept of another. */
static void plants_out(struct engine *en)
{
	for (unsigned i = en->debug->nplants; i--;) plant_take(en, &en->debug->plant[i]);
}

/* Who steps executes what is there. Others may pass there meanwhile: for one instruction. The later
 * ones go for a moment, in case that they stand in what was kept of it. */
static void lift(struct vcpu *c)
{
	struct kvm_debug *d = c->en->debug;
	gpa_t at;
	if (!kvm_peek(c, kvm_rip_linear(c), &at)) return;
	unsigned n = d->nplants;
	while (n && d->plant[n - 1].at != at) n--;
	if (!n) return;
	for (unsigned i = d->nplants; i-- >= n;) plant_take(c->en, &d->plant[i]);
	for (unsigned i = n; i < d->nplants; i++) plant_put(c->en, &d->plant[i]);
}

/* ---- debug registers ---- */

static uint64_t slot_dr7(const struct slot *s, unsigned i)
{
	static const uint8_t lengths[] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};
	uint64_t kind = s->watch == EXECUTE ? 0 : s->reads ? 3 : 1;
	return 2ull << 2 * i | (kind | (uint64_t)lengths[s->len] << 2) << (16 + 4 * i);
}

static bool slot_used(const struct vcpu *c, unsigned i)
{
	const struct slot *s = &c->en->debug->slot[i];
	return s->len && !(c->stepped && s->watch == EXECUTE);
}

static uint64_t dr7_of(uint64_t dr7, unsigned i)
{
	return dr7 & (3ull << 2 * i | 15ull << (16 + 4 * i));
}

/* Ours, and the guest's as far as there is room. */
static void registers_merge(struct vcpu *c, __u64 to[8])
{
	const struct kvm_debugregs *g = &c->guest_debug;
	to[7] = DR7_USUAL;
	for (unsigned i = 0; i < DRS; i++) {
		bool ours = slot_used(c, i);
		to[i] = ours ? c->en->debug->slot[i].at : g->db[i];
		to[7] |= ours ? slot_dr7(&c->en->debug->slot[i], i) : dr7_of(g->dr7, i);
	}
}

static int control_set(struct vcpu *c, uint32_t inject)
{
	const struct kvm_debug *d = c->en->debug;
	struct kvm_guest_debug g = {.control = inject};
	c->watched = d && d->nslots;
	if (c->stepped) g.control |= KVM_GUESTDBG_SINGLESTEP;
	if (c->stepped && kvm_cap(c->en, KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ)
		g.control |= KVM_GUESTDBG_BLOCKIRQ;
	if (d && d->nplants) g.control |= KVM_GUESTDBG_USE_SW_BP;
	if (c->watched) {
		g.control |= KVM_GUESTDBG_USE_HW_BP;
		if (ioctl(c->fd, KVM_GET_DEBUGREGS, &c->guest_debug)) return -errno;
		registers_merge(c, g.arch.debugreg);
	}
	if (g.control) g.control |= KVM_GUESTDBG_ENABLE;
	c->debug_due = false;
	return ioctl(c->fd, KVM_SET_GUEST_DEBUG, &g) ? -errno : 0;
}

/* The guest's own debug registers are looked at whenever it comes out, for KVM uses ours meanwhile.
 */
void kvm_debug_again(struct vcpu *c)
{
	struct kvm_debugregs now;
	if (!c->watched || ioctl(c->fd, KVM_GET_DEBUGREGS, &now)) return;
	if (now.dr7 != c->guest_debug.dr7 || memcmp(now.db, c->guest_debug.db, sizeof(now.db)) != 0)
		(void)control_set(c, 0);
}

int kvm_debug_begin(struct vcpu *c)
{
	struct engine *en = c->en;
	if (en->debug) {
		(void)pthread_mutex_lock(&en->lock);
		if (!en->inside++) plants_in(en);
		if (c->stepped) lift(c);
		(void)pthread_mutex_unlock(&en->lock);
	}
	return c->debug_due || c->watched ? control_set(c, 0) : 0;
}

void kvm_debug_end(struct vcpu *c)
{
	struct engine *en = c->en;
	if (!en->debug) return;
	(void)pthread_mutex_lock(&en->lock);
	if (!--en->inside) plants_out(en);
	(void)pthread_mutex_unlock(&en->lock);
}

/* ---- what happened ---- */

/* A step in user code of which this host would not tell: it is over before it begins. */
bool kvm_debug_stands(struct vcpu *c)
{
	enum { RPL = 3 };
	if (!c->stepped || !c->en->debugs || c->en->debugs & KVM_DEBUGS_USER_STEP) return false;
	if (kvm_regs_fetch(c, HAVE_SREGS) || (c->sregs.ss.dpl & RPL) != RPL) return false;
	c->stopped = (struct vcpu_stop){.why = STOPPED_BY_STEP};
	return true;
}

static bool stop(struct vcpu *c, struct vcpu_stop why)
{
	c->stopped = why;
	return true;
}

static bool is_break(const struct kvm_debug *d, gva_t at)
{
	for (unsigned i = 0; i < d->points.nbreaks; i++)
		if (d->points.breaks[i] == at) return true;
	return false;
}

/* One that is met by another of its addresses is told of as something that has no name. */
bool kvm_debug_int3(struct vcpu *c, gva_t rip)
{
	const struct kvm_debug *d = c->en->debug;
	gpa_t at;
	if (!d || !kvm_peek(c, rip, &at) || !has_plant(d, at)) return false;
	return stop(c, (struct vcpu_stop){.why = is_break(d, rip) ? STOPPED_BY_BREAK
								  : STOPPED_BY_STEP});
}

static bool met(struct vcpu *c, unsigned hits)
{
	const struct kvm_debug *d = c->en->debug;
	for (unsigned i = 0; d && i < DRS; i++) {
		const struct slot *s = &d->slot[i];
		if (!(hits >> i & 1) || !slot_used(c, i)) continue;
		struct vcpu_stop why = {.why = STOPPED_BY_BREAK};
		if (s->watch != EXECUTE)
			why = (struct vcpu_stop){.why = STOPPED_BY_WATCH,
						 .watch = d->points.watch[s->watch]};
		return stop(c, why);
	}
	return false;
}

/* A guest's own #DB: bits of DR6 are what it looks for. */
static int give_db(struct vcpu *c, uint64_t dr6)
{
	struct kvm_debugregs g;
	struct kvm_vcpu_events v;
	if (ioctl(c->fd, KVM_GET_DEBUGREGS, &g) || ioctl(c->fd, KVM_GET_VCPU_EVENTS, &v))
		return -errno;
	g.dr6 = (g.dr6 & ~(uint64_t)DR6_HITS) | (dr6 & DR6_WHY);
	v.exception.injected = 1;
	v.exception.pending = v.exception.has_error_code = v.exception_has_payload = 0;
	v.exception.nr = EXCEPTION_DB;
	if (ioctl(c->fd, KVM_SET_DEBUGREGS, &g) || ioctl(c->fd, KVM_SET_VCPU_EVENTS, &v))
		return -errno;
	return 0;
}

int kvm_debug_exit(struct vcpu *c)
{
	const struct kvm_debug_exit_arch x = c->run->debug.arch;
	if (x.exception == EXCEPTION_BP) {
		if (kvm_debug_int3(c, x.pc)) return 1;
		return control_set(c, KVM_GUESTDBG_INJECT_BP);
	}
	if (met(c, x.dr6 & DR6_HITS)) return 1;
	if (c->stepped) return stop(c, (struct vcpu_stop){.why = STOPPED_BY_STEP});
	return give_db(c, x.dr6);
}
