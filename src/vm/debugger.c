/* What a debugger asks, done to a machine. It stands by the same means as a paused one, for a
 * reason of its own; each hart is told how to go on before all do. */
#include "vm/debugger.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/loop.h"
#include "engine/engine.h"
#include "guest/gdb.h"
#include "guest/guest.h"
#include "hw/gmem.h"
#include "vm/debugger_regs.h"
#include "vm/show.h"
#include "vm/vm.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KILLED = 137, PAGE = 4096 };

struct debugger {
	struct vm *vm;
	struct gdb_server *server;
	struct debugger_regs regs;
	struct gdb_points points; /* as they were asked for */
	bool attached, stands;
};

static struct hart *hart_of(struct debugger *d, unsigned cpu) { return &d->vm->hart[cpu]; }

/* ---- memory ---- */
/* Of n bytes at `at`, those in its page. NULL: there is no memory. */
static void *reach(struct hart *h, uint64_t at, bool physical, size_t *n, gpa_t *where)
{
	size_t room = PAGE - (at & (PAGE - 1));
	*where = at;
	if (*n > room) *n = room;
	if (!physical && !h->vm->ops->peek(h->cpu, at, where)) return NULL;
	return gmem_host(h->vm->mem, *where, *n);
}

size_t debugger_read(struct hart *h, uint64_t at, bool physical, void *to, size_t n)
{
	size_t done = 0;
	gpa_t where;
	while (done < n) {
		size_t part = n - done;
		const void *p = reach(h, at + done, physical, &part, &where);
		if (!p) break;
		memcpy((char *)to + done, p, part);
		done += part;
	}
	return done;
}

/* Code may have been written. */
static void forget_code(struct vm *vm)
{
	for (unsigned i = 0; i < vm->ncpus; i++)
		vm->ops->fence(vm->hart[i].cpu, NULL, FENCE_CODE, 0, 0, 0);
}

size_t debugger_write(struct hart *h, uint64_t at, bool physical, const void *from, size_t n)
{
	size_t done = 0;
	gpa_t where;
	while (done < n) {
		size_t part = n - done;
		void *p = reach(h, at + done, physical, &part, &where);
		if (!p) break;
		memcpy(p, (const char *)from + done, part);
		gmem_dirty(h->vm->mem, where, part);
		done += part;
	}
	if (done) forget_code(h->vm);
	return done;
}

static size_t ops_read(void *ctx, unsigned cpu, uint64_t at, bool physical, void *to, size_t n)
{
	return debugger_read(hart_of(ctx, cpu), at, physical, to, n);
}
static size_t ops_write(void *ctx, unsigned cpu, uint64_t at, bool physical, const void *from,
			size_t n)
{
	return debugger_write(hart_of(ctx, cpu), at, physical, from, n);
}

/* ---- registers ---- */
static unsigned ops_cpus(void *ctx) { return ((struct debugger *)ctx)->vm->ncpus; }

static unsigned ops_describe(void *ctx, struct buf *xml)
{
	struct debugger *d = ctx;
	debugger_regs_xml(&d->regs, xml);
	return d->regs.general;
}
static unsigned ops_get(void *ctx, unsigned cpu, unsigned reg, uint8_t *to)
{
	struct debugger *d = ctx;
	return debugger_reg_get(&d->regs, hart_of(d, cpu), reg, to);
}
static bool ops_set(void *ctx, unsigned cpu, unsigned reg, const uint8_t *from, unsigned n)
{
	struct debugger *d = ctx;
	return debugger_reg_set(&d->regs, hart_of(d, cpu), reg, from, n);
}

static void ops_name(void *ctx, unsigned cpu, char *to, size_t room)
{
	static const char *const states[] = {[HART_STARTED] = "runs",
					     [HART_STOPPED] = "is stopped",
					     [HART_START_PENDING] = "starts",
					     [HART_STOP_PENDING] = "stops",
					     [HART_SUSPENDED] = "is suspended"};
	(void)snprintf(to, room, "CPU %u %s", cpu, states[hart_state(hart_of(ctx, cpu))]);
}

/* ---- standing and going on ---- */
static void stand(struct debugger *d)
{
	struct vm *vm = d->vm;
	if (!d->stands) vm_freeze(vm, VM_HELD_BY_DEBUGGER);
	d->stands = true;
	for (unsigned i = 0; i < vm->ncpus; i++) {
		vm->ops->step(vm->hart[i].cpu, false);
		vm->hart[i].stepped = false;
	}
}

static void go(struct debugger *d)
{
	d->stands = false;
	vm_thaw(d->vm, VM_HELD_BY_DEBUGGER);
}

static struct vcpu_points *points_new(const struct gdb_points *all)
{
	struct vcpu_points *p = calloc(1, sizeof(*p));
	must(p);
	for (unsigned i = 0; i < all->n; i++) {
		const struct gdb_point *from = &all->at[i];
		if (from->kind <= GDB_HARD) {
			if (p->nbreaks == VCPU_BREAKS) continue;
			p->hard[p->nbreaks] = from->kind == GDB_HARD;
			p->breaks[p->nbreaks++] = from->at;
		} else if (p->nwatches < VCPU_WATCHES)
			p->watch[p->nwatches++] =
				(struct vcpu_watch){.at = from->at,
						    .len = from->len,
						    .reads = from->kind != GDB_WRITE,
						    .writes = from->kind != GDB_READ};
	}
	return p;
}

static void set_points(struct debugger *d)
{
	struct vcpu_points *p = points_new(&d->points);
	d->vm->ops->points(d->vm->engine, p);
	free(p);
}

static bool ops_can(void *ctx, const struct gdb_points *all)
{
	struct debugger *d = ctx;
	struct err e = {0};
	if (!d->vm->ops->debugs) return true;
	struct vcpu_points *p = points_new(all);
	int r = d->vm->ops->debugs(d->vm->engine, p, &e);
	free(p);
	if (r) log_info("--gdb: %s", e.msg);
	return !r;
}

static void ops_attach(void *ctx)
{
	struct debugger *d = ctx;
	stand(d);
	d->attached = true;
	d->points.n = 0;
	set_points(d);
}

static void ops_detach(void *ctx)
{
	struct debugger *d = ctx;
	struct vm *vm = d->vm;
	stand(d);
	d->attached = false;
	vm->ops->points(vm->engine, NULL);
	for (unsigned i = 0; i < vm->ncpus; i++) vm->hart[i].held = vm->hart[i].hit = false;
	go(d);
}

/* Who was about to be stopped at a breakpoint will be, if it is still there; what else has happened
 * is to be told before anything goes on. */
static bool has_news(struct debugger *d, const enum gdb_go *how)
{
	bool news = false;
	for (unsigned i = 0; i < d->vm->ncpus; i++) {
		struct hart *h = hart_of(d, i);
		h->hit &= h->stop.why != STOPPED_BY_BREAK;
		news |= h->hit && how[i] != GDB_HOLD;
	}
	return news;
}

static void ops_go(void *ctx, const enum gdb_go *how, const struct gdb_points *p)
{
	struct debugger *d = ctx;
	d->points = *p;
	set_points(d);
	if (has_news(d, how)) {
		loop_post(d->vm->guest->loop, debugger_look, d->vm);
		return;
	}
	for (unsigned i = 0; i < d->vm->ncpus; i++) {
		struct hart *h = hart_of(d, i);
		h->held = how[i] == GDB_HOLD;
		h->stepped = how[i] == GDB_STEP;
		d->vm->ops->step(h->cpu, h->stepped);
	}
	go(d);
}

static void ops_halt(void *ctx) { stand(ctx); }

/* Which of the watchpoints was it? */
static void tell_watch(const struct debugger *d, const struct vcpu_watch *met, struct gdb_stop *to)
{
	for (unsigned i = 0; i < d->points.n; i++) {
		const struct gdb_point *p = &d->points.at[i];
		bool is = p->kind >= GDB_WRITE && p->at == met->at && p->len == met->len &&
			  (p->kind != GDB_READ) == met->writes &&
			  (p->kind != GDB_WRITE) == met->reads;
		if (!is) continue;
		to->watched = true;
		to->watch = *p;
	}
}

void debugger_look(void *ctx)
{
	struct vm *vm = ctx;
	struct debugger *d = vm->debugger;
	if (!d || !d->attached) return;
	for (unsigned i = 0; i < vm->ncpus; i++) {
		struct hart *h = &vm->hart[i];
		struct gdb_stop why = {.cpu = i};
		if (!h->hit) continue;
		stand(d);
		why.broke = h->stop.why == STOPPED_BY_BREAK;
		if (h->stop.why == STOPPED_BY_WATCH) tell_watch(d, &h->stop.watch, &why);
		h->hit = false;
		gdb_server_stopped(d->server, &why);
		return;
	}
}

bool debugger_holds(const struct debugger *d) { return d && d->stands; }

void debugger_wait(struct debugger *d)
{
	stand(d);
	vm_begin(d->vm);
}

static void ops_reset(void *ctx)
{
	struct debugger *d = ctx;
	vm_again(d->vm);
}

static void ops_kill(void *ctx)
{
	struct debugger *d = ctx;
	guest_exit(d->vm->guest, KILLED);
}

static bool ops_monitor(void *ctx, unsigned cpu, const char *words, struct buf *out)
{
	struct debugger *d = ctx;
	struct err e = {0};
	if (show_words(d->vm, cpu, words, out, &e)) buf_fmt(out, "%s\n", e.msg);
	return true;
}

static const struct gdb_ops ops = {.cpus = ops_cpus,
				   .describe = ops_describe,
				   .get = ops_get,
				   .set = ops_set,
				   .read = ops_read,
				   .write = ops_write,
				   .attach = ops_attach,
				   .detach = ops_detach,
				   .can = ops_can,
				   .go = ops_go,
				   .halt = ops_halt,
				   .reset = ops_reset,
				   .kill = ops_kill,
				   .name = ops_name,
				   .monitor = ops_monitor};

int debugger_open(struct debugger **out, struct vm *vm, const char *where, struct err *e)
{
	struct debugger *d = calloc(1, sizeof(*d));
	must(d);
	d->vm = vm;
	debugger_regs_init(&d->regs, &vm->hart[0], vm->guest->spec->arch);
	int r = gdb_serve(&d->server, vm->guest->loop, where, &ops, d, e);
	if (r)
		free(d);
	else
		*out = d;
	return r;
}

void debugger_close(struct debugger *d)
{
	if (!d) return;
	gdb_server_close(d->server);
	free(d);
}
