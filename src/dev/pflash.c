/* A parallel NOR flash chip (JEDEC CFI, Intel command set 0001h) whose contents outlive the guest:
 * where UEFI firmware keeps its variables. Programming clears bits, erasing sets those of a block.
 * Writes go to the file at once, since nobody says when a guest will end. */
#include "base/err.h"
#include "base/log.h"
#include "base/state.h"
#include "base/types.h"
#include "dev/dev.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* syscalls vcpu: pwrite64 */
/* syscalls loop: pwrite64 fdatasync */

enum { /* JESD68.01, Intel's command set */
       CMD_ARRAY_OLD = 0x00,
       CMD_PROGRAM = 0x10,
       CMD_ERASE = 0x20,
       CMD_PROGRAM_TOO = 0x40,
       CMD_CLEAR = 0x50,
       CMD_STATUS = 0x70,
       CMD_ID = 0x90,
       CMD_QUERY = 0x98,
       CMD_CONFIRM = 0xd0,
       CMD_ARRAY = 0xff
};
enum { STATUS_READY = 0x80, STATUS_ERASE_ERROR = 0x30, BLOCK = 4096 };
struct pflash {
	struct device d;
	uint8_t *at;
	uint64_t len;
	int fd; /* -1: nowhere to write to */
	uint8_t mode, status;
	bool warned;
};

static void keep(struct pflash *f, uint64_t off, uint64_t n)
{
	if (f->fd < 0 || pwrite(f->fd, f->at + off, n, (off_t)off) == (ssize_t)n) return;
	if (!f->warned) log_warn("firmware's variables cannot be kept: %s", strerror(errno));
	f->warned = true;
}

/* "QRY", and what follows it: one bank of equal blocks, no buffer. */
static uint8_t query(const struct pflash *f, uint64_t at)
{
	uint64_t blocks = f->len / BLOCK - 1;
	switch (at) {
	case 0x10: return 'Q';
	case 0x11: return 'R';
	case 0x12: return 'Y';
	case 0x13: return 1;					   /* Intel's commands */
	case 0x27: return (uint8_t)(63 - __builtin_clzll(f->len)); /* 2^n bytes, at least */
	case 0x2c: return 1;
	case 0x2d: return (uint8_t)blocks;
	case 0x2e: return (uint8_t)(blocks >> 8);
	case 0x2f: return BLOCK / 256 & 0xff;
	case 0x30: return BLOCK / 256 >> 8;
	default: return 0;
	}
}
static uint8_t identity(uint64_t at)
{
	enum { INTEL = 0x89, DEVICE = 0x18 };
	return at == 0 ? INTEL : at == 1 ? DEVICE : 0;
}

static uint64_t pflash_read(struct device *d, uint64_t off, unsigned len)
{
	struct pflash *f = (struct pflash *)d;
	switch (f->mode) {
	case CMD_ARRAY: return load_le(f->at + off, len);
	case CMD_ID: return identity(off & 0xff);
	case CMD_QUERY: return query(f, off & 0xff);
	default: return f->status;
	}
}

static void program(struct pflash *f, uint64_t off, uint64_t val, unsigned len)
{
	store_le(f->at + off, load_le(f->at + off, len) & val, len);
	keep(f, off, len);
	f->status |= STATUS_READY;
	f->mode = CMD_STATUS;
}
static void erase(struct pflash *f, uint64_t off, uint8_t cmd)
{
	f->status |= STATUS_READY;
	f->mode = CMD_STATUS;
	if (cmd != CMD_CONFIRM) {
		f->status |= STATUS_ERASE_ERROR; /* a wrong sequence */
		return;
	}
	off &= ~(uint64_t)(BLOCK - 1);
	memset(f->at + off, 0xff, BLOCK);
	keep(f, off, BLOCK);
}
/* A status that was cleared reads as 0 until something is done: firmware tells flash by that. */
static void command(struct pflash *f, uint8_t cmd)
{
	switch (cmd) {
	case CMD_PROGRAM_TOO: cmd = CMD_PROGRAM; break;
	case CMD_CLEAR:
		f->status = 0;
		cmd = CMD_ARRAY;
		break;
	case CMD_PROGRAM:
	case CMD_ERASE:
	case CMD_STATUS:
	case CMD_ID:
	case CMD_QUERY: break;
	default: cmd = CMD_ARRAY; break;
	}
	f->mode = cmd;
}
static void pflash_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct pflash *f = (struct pflash *)d;
	if (f->mode == CMD_PROGRAM)
		program(f, off, val, len);
	else if (f->mode == CMD_ERASE)
		erase(f, off, (uint8_t)val);
	else
		command(f, (uint8_t)val);
}
static void pflash_reset(struct device *d)
{
	struct pflash *f = (struct pflash *)d;
	f->mode = CMD_ARRAY;
	f->status = 0;
}
/* What was loaded is what the file has from then on, and lasts: another host may rely on it. */
static void pflash_state(struct device *d, struct state *s)
{
	static const uint8_t modes[] = {CMD_ARRAY,  CMD_PROGRAM, CMD_ERASE,
					CMD_STATUS, CMD_ID,	 CMD_QUERY};
	struct pflash *f = (struct pflash *)d;
	bool known = false;
	STATE(s, f, mode);
	STATE(s, f, status);
	state_bytes(s, "contents", f->at, f->len);
	for (unsigned i = 0; i < COUNT(modes); i++) known |= f->mode == modes[i];
	if (!state_need(s, known, "mode")) f->mode = CMD_ARRAY;
	if (!s->loading || !state_ok(s) || f->fd < 0) return;
	keep(f, 0, f->len);
	(void)fdatasync(f->fd);
}
static void pflash_free(struct device *d)
{
	struct pflash *f = (struct pflash *)d;
	if (f->fd >= 0) (void)close(f->fd);
	free(f->at);
	device_done(d);
	free(f);
}

int pflash_new(struct device **out, const char *id, int fd, uint64_t len, bool kept, struct err *e)
{
	static const struct device_ops ops = {.name = "pflash",
					      .read = pflash_read,
					      .write = pflash_write,
					      .reset = pflash_reset,
					      .state = pflash_state,
					      .free = pflash_free};
	struct pflash *f = calloc(1, sizeof(*f));
	must(len && len % BLOCK == 0);
	if (f) f->at = malloc(len);
	if (!f || !f->at) {
		free(f);
		return fail(e, -ENOMEM, "%s: out of memory", id);
	}
	f->len = len;
	f->fd = -1;
	device_init(&f->d, &ops, id);
	pflash_reset(&f->d);
	int r = 0;
	if (pread(fd, f->at, len, 0) != (ssize_t)len) r = fail(e, -EIO, "%s: cannot be read", id);
	if (!r && kept && (f->fd = dup(fd)) < 0) r = fail(e, -errno, "%s: %s", id, strerror(errno));
	if (r)
		pflash_free(&f->d);
	else
		*out = &f->d;
	return r;
}
