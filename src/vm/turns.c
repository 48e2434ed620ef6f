/* Recording and replaying. The idea: everything that happens to the machine from outside happens at
 * a turn, on the hart's thread, in an order; so a list of what happened and at which instruction is
 * all there is to know. A replay asks the engine for a turn at the next of these times. */
#include "vm/turns.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/types.h"
#include "guest/guest.h"
#include "guest/tape.h"
#include "net/port.h"
#include "vm/board.h"
#include "vm/digest.h"
#include "vm/keys.h"
#include "vm/vm.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POWER_HEAD = 5 };
#define STATES_EVERY 1000000000ull	 /* instructions between two states */
#define STATES_LATE  (10 * STATES_EVERY) /* ns, for a guest that sleeps */

struct turns {
	struct vm *vm;
	struct tape_out *out; /* one of the two */
	struct tape *in;
	struct engine_turns hooks;
	struct tape_when now;  /* the last turn */
	struct tape_when good; /* that of the last state */
	uint64_t every;	       /* instructions */
	uint64_t events, states;
	atomic_bool pressed;
	bool over;   /* a replay has come to its end, or gone astray */
	bool broken; /* astray */
	unsigned card;
};

const struct engine_turns *turns_hooks(const struct turns *t) { return t ? &t->hooks : NULL; }
bool turns_replays(const struct turns *t) { return t && t->in; }

static uint64_t time_of(const struct tape_when *w) { return w->ran + w->slept; }

/* ---- states */
static void state_bytes_of(const struct vm_digest *d, uint8_t *to)
{
	for (unsigned i = 0; i < d->n; i++) store_le(to + 8 * i, d->of[i], 8);
}

/* A state is soon enough when it costs little of the time that the machine has had. */
static bool state_due(const struct turns *t)
{
	uint64_t before = t->now.ran < t->good.ran ? 0 : t->good.ran; /* begun anew: from 0 */
	uint64_t ran = t->now.ran - before;
	return ran >= t->every || (ran && time_of(&t->now) - time_of(&t->good) >= STATES_LATE);
}

static void record_state(struct turns *t)
{
	struct vm_digest d;
	uint8_t at[8 * VM_DIGESTS];
	if (!state_due(t)) return;
	vm_digest(t->vm, &d);
	state_bytes_of(&d, at);
	tape_put(t->out, TAPE_STATE, &t->now, at, 8 * d.n);
	t->good = t->now;
	t->states++;
}

/* ---- recording */
static void put(struct turns *t, char kind, const void *p, size_t n)
{
	tape_put(t->out, kind, &t->now, p, n);
	t->events++;
}

static void frame_told(void *ctx, const void *frame, size_t n, bool taken)
{
	struct turns *t = ctx;
	uint8_t at[TAPE_FRAME_HEAD + GATE_FRAME] = {(uint8_t)t->card, taken};
	memcpy(at + TAPE_FRAME_HEAD, frame, n);
	put(t, TAPE_FRAME, at, TAPE_FRAME_HEAD + n);
}

static uint64_t record_turn(void *ctx, const struct engine_turn *now)
{
	struct turns *t = ctx;
	struct board *b = t->vm->board;
	uint8_t key[KEYS_MOST];
	t->now = (struct tape_when){now->ran, now->slept, now->asleep};
	size_t n = keys_give(t->vm->keys, key);
	if (n) put(t, TAPE_KEYS, key, n);
	for (t->card = 0; t->card < BOARD_NETS; t->card++)
		if (b->gate[t->card]) gate_pass(b->gate[t->card], frame_told, t);
	if (atomic_exchange(&t->pressed, false)) {
		(void)t->vm->kind->button(t->vm);
		put(t, TAPE_BUTTON, NULL, 0);
	}
	record_state(t);
	return UINT64_MAX;
}

/* ---- replaying */
static void stray(struct turns *t, const char *what)
{
	struct err why;
	if (t->over) return;
	t->over = t->broken = true;
	(void)fail(&why, -ESTALE, "the replay diverged between instruction %llu and %llu: %s",
		   (unsigned long long)t->good.ran, (unsigned long long)t->now.ran, what);
	vm_broken(t->vm, &why);
}

/* The names of what differs, and a number for each side. */
static void state_check(struct turns *t, const uint8_t *was, size_t n)
{
	struct vm_digest d, old = {.n = (unsigned)(n / 8)};
	char text[160], name[40];
	size_t at = 0;
	vm_digest(t->vm, &d);
	if (old.n != d.n) {
		stray(t, "the recording is of a machine with other parts");
		return;
	}
	for (unsigned i = 0; i < d.n; i++) {
		old.of[i] = load_le(was + 8 * i, 8);
		if (old.of[i] != d.of[i] && at < 80)
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", at ? ", " : "",
					       vm_digest_name(t->vm, i, name, sizeof(name)));
	}
	t->states++;
	if (!at) {
		t->good = t->now;
		return;
	}
	(void)snprintf(text + at, sizeof(text) - at, ": state hash %016llx, recorded %016llx",
		       (unsigned long long)vm_digest_all(&d),
		       (unsigned long long)vm_digest_all(&old));
	stray(t, text);
}

static void replay_frame(struct turns *t, const struct tape_event *v)
{
	struct gate *g = t->vm->board->gate[v->at[0]];
	bool taken = v->at[1];
	if (!g || gate_put(g, v->at + TAPE_FRAME_HEAD, v->len - TAPE_FRAME_HEAD) != taken)
		stray(t, "its network card does not take what it took");
}

static void replay_event(struct turns *t, const struct tape_event *v)
{
	t->events += v->kind != TAPE_STATE && v->kind != TAPE_END;
	if (v->kind == TAPE_KEYS && keys_put(t->vm->keys, v->at, v->len) != v->len)
		stray(t, "its console does not take the keys that it took");
	if (v->kind == TAPE_FRAME) replay_frame(t, v);
	if (v->kind == TAPE_STATE) state_check(t, v->at, v->len);
	if (v->kind == TAPE_BUTTON && t->vm->kind->button) (void)t->vm->kind->button(t->vm);
	if (v->kind != TAPE_END) {
		tape_pop(t->in);
		return;
	}
	t->over = true;
	t->vm->code = (int)load_le(v->at, 4);
	vm_hold(t->vm, true);
	guest_exit(t->vm->guest, t->vm->code);
}

/* It is time; or it never will be any more. */
static bool is_due(struct turns *t, const struct tape_event *v, uint64_t wakes)
{
	const struct tape_when *w = &v->when, *now = &t->now;
	if (v->kind == TAPE_END)
		return now->ran > w->ran ||
		       (now->ran == w->ran && now->asleep >= w->asleep && now->slept >= w->slept);
	bool here = w->ran == now->ran && w->asleep == now->asleep && v->kind != TAPE_POWER;
	if (now->ran > w->ran)
		stray(t, v->kind == TAPE_POWER ? "it went off or began anew here, and now goes on"
					       : "it did not come by where something happened");
	else if (here && now->slept > w->slept)
		stray(t, "it slept for longer");
	else if (here && !now->asleep && now->slept != w->slept)
		stray(t, "it has not slept for as long");
	else if (now->asleep && wakes == UINT64_MAX && !here)
		stray(t, "it sleeps, and nothing will wake it");
	return !t->over && here && now->slept == w->slept;
}

static uint64_t replay_turn(void *ctx, const struct engine_turn *now)
{
	struct turns *t = ctx;
	t->now = (struct tape_when){now->ran, now->slept, now->asleep};
	while (!t->over && is_due(t, tape_next(t->in), now->wakes))
		replay_event(t, tape_next(t->in));
	if (t->over) return UINT64_MAX;
	const struct tape_event *v = tape_next(t->in);
	const struct tape_when *w = &v->when;
	if (!now->asleep) return w->asleep || v->kind == TAPE_POWER ? w->ran + 1 : w->ran;
	return w->asleep && w->ran == now->ran && v->kind != TAPE_POWER ? w->slept : UINT64_MAX;
}

/* ---- its power */
static void power_record(struct turns *t, bool off, int code)
{
	struct vm_digest d;
	uint8_t at[POWER_HEAD + 8 * VM_DIGESTS] = {off};
	store_le(at + 1, (uint32_t)code, 4);
	vm_digest(t->vm, &d);
	state_bytes_of(&d, at + POWER_HEAD);
	put(t, TAPE_POWER, at, POWER_HEAD + 8 * d.n);
}

static void power_replay(struct turns *t, bool off, int code)
{
	const struct tape_event *v = tape_next(t->in);
	if (v->kind != TAPE_POWER) {
		stray(t, "it goes off or begins anew, which it did not");
		return;
	}
	t->events++;
	if (v->when.ran != t->now.ran || v->when.slept != t->now.slept)
		stray(t, "it goes off or begins anew at another time");
	else if (v->at[0] != off || (int)load_le(v->at + 1, 4) != code)
		stray(t, "it went off in another way");
	else
		state_check(t, v->at + POWER_HEAD, v->len - POWER_HEAD);
	tape_pop(t->in);
	t->over |= off;
}

bool turns_power(struct turns *t, bool off, int code)
{
	struct vm *vm = t->vm;
	if (t->over) return !t->broken;
	t->now = (struct tape_when){*vm->clock.ran, *vm->clock.slept, false};
	t->in ? power_replay(t, off, code) : power_record(t, off, code);
	t->good = t->now;
	return !t->broken;
}

bool turns_press(struct turns *t)
{
	bool may = !t->in && t->vm->kind->hears(t->vm);
	if (may) atomic_store(&t->pressed, true);
	if (may) vm_wake(t->vm);
	return may;
}

/* ---- life */
static uint64_t states_every(void)
{
	const char *v =
		getenv("LODGE_STATES"); /* for tests, and to see more closely what differs */
	uint64_t n = v ? strtoull(v, NULL, 10) : 0;
	return n ? n : STATES_EVERY;
}

struct turns *turns_new(struct vm *vm)
{
	const struct spec *s = vm->guest->spec;
	if (!s->record && !s->replay) return NULL;
	struct turns *t = calloc(1, sizeof(*t));
	must(t);
	*t = (struct turns){.vm = vm, .out = s->record, .in = s->replay, .every = states_every()};
	t->hooks = (struct engine_turns){t->in ? replay_turn : record_turn, t, t->in != NULL};
	return t;
}

static void say(const struct turns *t, const char *what)
{
	char text[200];
	(void)snprintf(text, sizeof(text), "%s: %llu events, %llu states%s", what,
		       (unsigned long long)t->events, (unsigned long long)t->states,
		       t->in ? ", all of them equal" : "");
	log_line("lodge: ", text);
}

/* Where somebody stopped it, which may be anywhere: at the end it need not be more exact. */
static struct tape_when end_of(const struct turns *t)
{
	const struct vclock *c = &t->vm->clock;
	bool slept = t->now.asleep && t->now.ran == *c->ran;
	return slept ? t->now : (struct tape_when){*c->ran, *c->slept, false};
}

static void record_end(struct turns *t)
{
	struct err e;
	if (!t->vm->hart[0].threaded) return; /* it never ran */
	const struct tape_when w = end_of(t);
	int code = t->vm->power == VM_POWER_OFF ? t->vm->code : t->vm->guest->exit_code;
	if (tape_finish(t->out, &w, code, &e))
		log_error("%s: what was recorded is of no use", e.msg);
	else
		say(t, "recorded");
}

void turns_free(struct turns *t)
{
	if (!t) return;
	if (t->out)
		record_end(t);
	else if (t->over && !t->broken)
		say(t, "replayed to its end");
	else if (!t->broken && t->vm->hart[0].threaded)
		log_warn("the replay was stopped before its end");
	free(t);
}
