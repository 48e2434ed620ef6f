/* The PC's keyboard controller (Intel UPI-42 with the firmware of the IBM PC/AT: Technical
 * Reference 6183355, "Keyboard Controller"), the keyboard behind it, and port A (0x92), which
 * shares A20 and the CPU's reset with it. There is no mouse; every command is answered at once, so
 * that a driver that probes never waits for a timeout. A byte waits in the output buffer until it
 * is read, the keyboard keeps 16 more, what finds no room is refused to the host. */
#include "base/state.h"
#include "dev/pc.h"
#include "dev/ports.h"
#include <errno.h>
#include <stdlib.h>

enum { DATA, COMMAND, PORT_A };
enum { ST_OUT = 1, ST_SYS = 4, ST_COMMAND = 8, ST_UNLOCKED = 0x10 };
enum { CB_IRQ = 1, CB_SYS = 4, CB_OFF = 0x10, CB_AUX_OFF = 0x20, CB_XLATE = 0x40, CB_ALL = 0x7f };
enum { OUT_RUN = 1, OUT_A20 = 2, OUT_FULL = 0x10, OUT_IDLE = 0xcc /* lines at rest are high */ };
enum { A_RESET = 1, A_A20 = 2 };
enum { SELF_TEST_OK = 0x55, AUX_CLOCK_LOW = 1 };
enum { KB_ACK = 0xfa, KB_PASSED = 0xaa, KB_RESEND = 0xfe, KB_ECHO = 0xee, KB_BREAK = 0xf0 };
enum { QUEUE = 16, NONE = -1 };

struct i8042 {
	struct device d;
	struct i8042_to to;
	uint8_t command_byte, ram[32]; /* ram[0] is the command byte's place and not used */
	uint8_t out, last;	       /* output buffer; what the keyboard sent last */
	bool full, sys, was_command;
	int wants;  /* the command whose argument comes next through DATA; NONE: the keyboard's */
	int answer; /* the controller's own, waiting for the output buffer; NONE */
	uint8_t port_a;
	bool a20;
	/* the keyboard */
	uint8_t queue[QUEUE];
	unsigned first, n;
	int kb_wants;
	uint8_t set;
	bool scanning, broke; /* broke: the prefix of a release was translated away */
};

/* Scan code set 2 to set 1, as the controller does when bit 6 of its command byte says so. */
static const uint8_t xlate[256] = {
	0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29,
	0x59, 0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11,
	0x03, 0x5b, 0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14,
	0x13, 0x06, 0x5d, 0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24,
	0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35,
	0x26, 0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36,
	0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, 0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c,
	0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45,
	0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, 0x80, 0x81, 0x82, 0x41, 0x54,
};

static uint8_t translate(uint8_t v) { return v > 0x84 ? v : xlate[v]; }

/* The wire is low here: each byte is an edge of its own for the interrupt controller. */
static void out_put(struct i8042 *k, uint8_t v)
{
	k->out = v;
	k->full = true;
	if (k->command_byte & CB_IRQ) irq_set(k->to.irq, 1);
}

static uint8_t queue_take(struct i8042 *k)
{
	uint8_t v = k->queue[k->first];
	k->first = (k->first + 1) % QUEUE;
	k->n--;
	return v;
}

static void kb_send(struct i8042 *k, uint8_t v)
{
	if (k->n < QUEUE) k->queue[(k->first + k->n++) % QUEUE] = v;
}

/* The next of the keyboard's bytes as the guest is to see it; false: it was a prefix. */
static bool kb_byte(struct i8042 *k, uint8_t *v)
{
	*v = k->last = queue_take(k);
	if (!(k->command_byte & CB_XLATE)) return true;
	if (*v == KB_BREAK) {
		k->broke = true;
		return false;
	}
	*v = translate(*v) | (k->broke ? 0x80 : 0);
	k->broke = false;
	return true;
}

/* Fill the output buffer if it is empty and something waits. */
static void refill(struct i8042 *k)
{
	uint8_t v;
	if (k->full) return;
	if (k->answer != NONE) {
		v = (uint8_t)k->answer;
		k->answer = NONE;
		out_put(k, v);
		return;
	}
	while (k->n && !(k->command_byte & CB_OFF) && !k->full)
		if (kb_byte(k, &v)) out_put(k, v);
}

static void a20_set(struct i8042 *k, bool open)
{
	if (k->a20 == open) return;
	k->a20 = open;
	if (k->to.a20) k->to.a20(k->to.ctx, open);
}

static void cpu_reset(struct i8042 *k)
{
	if (k->to.reset) k->to.reset(k->to.ctx);
}

/* The keyboard (IBM PS/2 Hardware Interface Technical Reference, "Keyboard"). */

static void kb_defaults(struct i8042 *k, bool scanning)
{
	k->set = 2;
	k->scanning = scanning;
	k->n = 0;
	k->broke = false;
}

static void kb_argument(struct i8042 *k, uint8_t v)
{
	int command = k->kb_wants;
	k->kb_wants = NONE;
	kb_send(k, KB_ACK);
	if (command != 0xf0) return;
	if (v == 0)
		kb_send(k, k->set);
	else if (v <= 3)
		k->set = v;
}

static void kb_command(struct i8042 *k, uint8_t v)
{
	switch (v) {
	case 0xed: /* lamps */
	case 0xf0: /* scan code set */
	case 0xf3: /* repeat rate */ k->kb_wants = v; break;
	case 0xee: kb_send(k, KB_ECHO); return;
	case 0xf2:
		kb_send(k, KB_ACK);
		kb_send(k, 0xab);
		kb_send(k, 0x83);
		return;
	case 0xf4: k->scanning = true; break;
	case 0xf5: kb_defaults(k, false); break;
	case 0xf6: kb_defaults(k, true); break;
	case 0xfe: kb_send(k, k->last); return;
	case 0xff:
		kb_defaults(k, true);
		kb_send(k, KB_ACK);
		kb_send(k, KB_PASSED);
		return;
	default: kb_send(k, KB_RESEND); return;
	}
	kb_send(k, KB_ACK);
}

/* Speaking to the keyboard opens its line. */
static void kb_write(struct i8042 *k, uint8_t v)
{
	k->command_byte &= (uint8_t)~CB_OFF;
	if (k->kb_wants != NONE && v < 0xed)
		kb_argument(k, v);
	else
		kb_command(k, v);
}

/* The controller */

static void command_byte_write(struct i8042 *k, uint8_t v)
{
	k->command_byte = (v & CB_ALL) | CB_AUX_OFF;
	k->sys = v & CB_SYS;
	irq_set(k->to.irq, k->full && v & CB_IRQ);
}

static void output_port(struct i8042 *k, uint8_t v)
{
	a20_set(k, v & OUT_A20);
	if (!(v & OUT_RUN)) cpu_reset(k);
}

static void argument(struct i8042 *k, uint8_t v)
{
	int command = k->wants;
	k->wants = NONE;
	switch (command) {
	case NONE: kb_write(k, v); break;
	case 0x60: command_byte_write(k, v); break;
	case 0xd1: output_port(k, v); break;
	case 0xd2:
	case 0xd3: k->answer = v; break; /* as if it came from the keyboard; or the mouse */
	case 0xd4: break;		 /* to the mouse */
	default: k->ram[command & 31] = v; break;
	}
}

static void command(struct i8042 *k, uint8_t v)
{
	k->wants = NONE;
	switch (v) {
	case 0x20: k->answer = k->command_byte; break;
	case 0xa7:
	case 0xa8: break; /* there is no mouse to turn off or on */
	case 0xa9: k->answer = AUX_CLOCK_LOW; break;
	case 0xaa:
		k->answer = SELF_TEST_OK;
		k->sys = true;
		break;
	case 0xab: k->answer = 0; break;
	case 0xad: k->command_byte |= CB_OFF; break;
	case 0xae: k->command_byte &= (uint8_t)~CB_OFF; break;
	case 0xc0: k->answer = 0x80; break; /* input port: not locked */
	case 0xd0:
		k->answer = OUT_IDLE | OUT_RUN | (k->a20 ? OUT_A20 : 0) | (k->full ? OUT_FULL : 0);
		break;
	case 0xd1:
	case 0xd2:
	case 0xd3:
	case 0xd4: k->wants = v; break;
	case 0xdd: a20_set(k, false); break;
	case 0xdf: a20_set(k, true); break;
	case 0xe0: k->answer = 0; break; /* test inputs */
	default:
		if (v > 0x20 && v < 0x40) k->answer = k->ram[v & 31];
		if (v >= 0x60 && v < 0x80) k->wants = v;
		if (v >= 0xf0 && !(v & 1)) cpu_reset(k); /* pulse, bit 0: reset */
	}
}

static uint8_t data_read(struct i8042 *k)
{
	uint8_t v = k->out;
	k->full = false;
	irq_set(k->to.irq, 0);
	refill(k);
	return v;
}

static uint8_t status(const struct i8042 *k)
{
	return (uint8_t)(ST_UNLOCKED | (k->full ? ST_OUT : 0) | (k->sys ? ST_SYS : 0) |
			 (k->was_command ? ST_COMMAND : 0));
}

static void port_a_write(struct i8042 *k, uint8_t v)
{
	bool pulse = v & A_RESET && !(k->port_a & A_RESET);
	k->port_a = v;
	a20_set(k, v & A_A20);
	if (pulse) cpu_reset(k);
}

static uint8_t port_read(struct device *d, uint64_t off)
{
	struct i8042 *k = (struct i8042 *)d;
	switch (off) {
	case DATA: return data_read(k);
	case COMMAND: return status(k);
	case PORT_A: return (uint8_t)((k->port_a & ~A_A20) | (k->a20 ? A_A20 : 0));
	default: return 0xff;
	}
}

static void port_write(struct device *d, uint64_t off, uint8_t v)
{
	struct i8042 *k = (struct i8042 *)d;
	if (off == DATA) argument(k, v);
	if (off == COMMAND) command(k, v);
	if (off == PORT_A) port_a_write(k, v);
	if (off <= COMMAND) {
		k->was_command = off == COMMAND;
		refill(k);
	}
}

static uint64_t i8042_read(struct device *d, uint64_t off, unsigned len)
{
	return ports_read(d, off, len, port_read);
}

static void i8042_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	ports_write(d, off, val, len, port_write);
}

bool i8042_key(struct device *d, const uint8_t *code, size_t n)
{
	struct i8042 *k = (struct i8042 *)d;
	device_lock(d);
	bool ok = k->scanning && n <= QUEUE - k->n;
	for (size_t i = 0; ok && i < n; i++) kb_send(k, code[i]);
	refill(k);
	device_unlock(d);
	return ok;
}

/* As it is when firmware is done with it, for guests that come without: translating, keyboard off
 * until somebody wants it; A20 open. */
static void i8042_reset(struct device *d)
{
	struct i8042 *k = (struct i8042 *)d;
	k->command_byte = CB_XLATE | CB_AUX_OFF | CB_OFF;
	memset(k->ram, 0, sizeof(k->ram));
	k->out = k->last = k->port_a = 0;
	k->full = k->sys = k->was_command = false;
	k->wants = k->answer = k->kb_wants = NONE;
	kb_defaults(k, true);
	irq_set(k->to.irq, 0);
	a20_set(k, true);
}

static void i8042_free(struct device *d)
{
	device_done(d);
	free(d);
}

static bool is_byte_or_none(int v) { return v >= NONE && v <= 0xff; }

static void keyboard_state(struct i8042 *k, struct state *s)
{
	STATE(s, k, queue);
	STATE(s, k, first);
	STATE(s, k, n);
	STATE(s, k, kb_wants);
	STATE(s, k, set);
	STATE(s, k, scanning);
	STATE(s, k, broke);
	if (!state_need(s, k->first < QUEUE && k->n <= QUEUE, "keyboard")) k->first = k->n = 0;
}

static void i8042_state(struct device *d, struct state *s)
{
	struct i8042 *k = (struct i8042 *)d;
	STATE(s, k, command_byte);
	STATE(s, k, ram);
	STATE(s, k, out);
	STATE(s, k, last);
	STATE(s, k, full);
	STATE(s, k, sys);
	STATE(s, k, was_command);
	STATE(s, k, wants);
	STATE(s, k, answer);
	STATE(s, k, port_a);
	STATE(s, k, a20);
	keyboard_state(k, s);
	bool good = is_byte_or_none(k->wants) && is_byte_or_none(k->answer) &&
		    is_byte_or_none(k->kb_wants);
	if (!state_need(s, good, "controller")) k->wants = k->answer = k->kb_wants = NONE;
}

static const struct device_ops ops = {
	.name = "i8042",
	.read = i8042_read,
	.write = i8042_write,
	.reset = i8042_reset,
	.state = i8042_state,
	.free = i8042_free,
};

int i8042_new(struct device **out, const struct i8042_to *to, struct err *e)
{
	struct i8042 *k = calloc(1, sizeof(*k));
	if (!k) return fail(e, -ENOMEM, "i8042: out of memory");
	device_init(&k->d, &ops, "i8042");
	k->to = *to;
	k->a20 = true;
	i8042_reset(&k->d);
	*out = &k->d;
	return 0;
}
