/* RISC-V Supervisor Binary Interface 2.0: what firmware would do for a kernel, done by us. The
 * idea: each extension is a table row, each function gets its arguments and answers error and
 * value; whatever it may touch is checked here, since all of it is the guest's word. */
#include "base/chr.h"
#include "guest/guest.h"
#include "hw/gmem.h"
#include "vm/vm.h"

enum { /* §3 */
       FAILED = -1,
       NOT_SUPPORTED = -2,
       INVALID_PARAM = -3,
       INVALID_ADDRESS = -5,
       ALREADY_AVAILABLE = -6,
};
enum { CSR_SIE = 0x104, CSR_SIP = 0x144, CSR_STIMECMP = 0x14d, CSR_MVENDORID = 0xf11 };
enum { A0 = REG_RV_X + 10, SPEC_VERSION = 2 << 24, IMPL_ID = 0x4c4f4447, WRITE_MAX = 64 * 1024 };

struct answer {
	int64_t error;
	uint64_t value;
};
typedef struct answer call_fn(struct hart *h, const uint64_t *a);
struct extension {
	uint64_t id;
	unsigned n;
	call_fn *const *fn;
};
static const struct extension *extension_find(uint64_t id);

static struct answer ok(uint64_t value) { return (struct answer){0, value}; }
static struct answer no(int64_t error) { return (struct answer){error, 0}; }

/* §4 Base */

static struct answer base_version(struct hart *h, const uint64_t *a)
{
	(void)h, (void)a;
	return ok(SPEC_VERSION);
}
static struct answer base_impl(struct hart *h, const uint64_t *a)
{
	(void)h, (void)a;
	return ok(IMPL_ID);
}
static struct answer base_impl_version(struct hart *h, const uint64_t *a)
{
	(void)h, (void)a;
	return ok(1);
}
static struct answer base_probe(struct hart *h, const uint64_t *a)
{
	(void)h;
	return ok(extension_find(a[0]) != NULL);
}
static struct answer base_vendor(struct hart *h, const uint64_t *a)
{
	(void)a;
	return ok(hart_get(h, REG_RV_CSR + CSR_MVENDORID));
}
static struct answer base_arch(struct hart *h, const uint64_t *a)
{
	(void)a;
	return ok(hart_get(h, REG_RV_CSR + CSR_MVENDORID + 1));
}
static struct answer base_imp(struct hart *h, const uint64_t *a)
{
	(void)a;
	return ok(hart_get(h, REG_RV_CSR + CSR_MVENDORID + 2));
}

/* §6 Timer: writing stimecmp sets the timer and takes back its interrupt, both at once. */
static struct answer time_set(struct hart *h, const uint64_t *a)
{
	hart_set(h, REG_RV_CSR + CSR_STIMECMP, a[0]);
	return ok(0);
}

/* The harts a mask names (§3.1), as bits; false when one of them does not exist. */
static bool harts(const struct vm *vm, uint64_t mask, uint64_t base, uint64_t *out)
{
	uint64_t all = (1ull << vm->ncpus) - 1;
	*out = all;
	if (base == UINT64_MAX) return true;
	if (base >= 64) return !mask && !(*out = 0);
	*out = mask << base;
	return *out >> base == mask && !(*out & ~all);
}

/* §7 IPI */
static struct answer ipi_send(struct hart *h, const uint64_t *a)
{
	uint64_t to;
	if (!harts(h->vm, a[0], a[1], &to)) return no(INVALID_PARAM);
	for (unsigned i = 0; i < h->vm->ncpus; i++)
		if (to >> i & 1) hart_irq(&h->vm->hart[i], IRQ_RV_SSI, 1);
	return ok(0);
}

/* §8 RFENCE */
static struct answer fence(struct hart *h, const uint64_t *a, enum vcpu_fence what)
{
	uint64_t to, start = a[2], size = a[3];
	if (!harts(h->vm, a[0], a[1], &to)) return no(INVALID_PARAM);
	if (what == FENCE_CODE || size == UINT64_MAX || start + size < start) start = size = 0;
	unsigned asid = what == FENCE_TLB_ASID ? (unsigned)(a[4] & 0xffff) : 0;
	for (unsigned i = 0; i < h->vm->ncpus; i++)
		if (to >> i & 1)
			h->vm->ops->fence(h->vm->hart[i].cpu, h->cpu, what, start, size, asid);
	return ok(0);
}
static struct answer fence_code(struct hart *h, const uint64_t *a)
{
	return fence(h, a, FENCE_CODE);
}
static struct answer fence_tlb(struct hart *h, const uint64_t *a) { return fence(h, a, FENCE_TLB); }
static struct answer fence_asid(struct hart *h, const uint64_t *a)
{
	return fence(h, a, FENCE_TLB_ASID);
}

/* §9 HSM */

static bool can_start_at(struct hart *h, uint64_t pc)
{
	return !(pc & 1) && gmem_ptr(h->vm->mem, pc, 2, false);
}

static struct answer hsm_start(struct hart *h, const uint64_t *a)
{
	if (a[0] >= h->vm->ncpus) return no(INVALID_PARAM);
	if (!can_start_at(h, a[1])) return no(INVALID_ADDRESS);
	return hart_start(&h->vm->hart[a[0]], a[1], a[2]) ? ok(0) : no(ALREADY_AVAILABLE);
}
static struct answer hsm_stop(struct hart *h, const uint64_t *a)
{
	(void)a;
	hart_state_set(h, HART_STOPPED);
	return no(FAILED); /* never seen: the next thing it sees is a start */
}
static struct answer hsm_status(struct hart *h, const uint64_t *a)
{
	if (a[0] >= h->vm->ncpus) return no(INVALID_PARAM);
	return ok(hart_state(&h->vm->hart[a[0]]));
}

static bool interrupted(struct hart *h)
{
	return hart_get(h, REG_RV_CSR + CSR_SIE) & hart_get(h, REG_RV_CSR + CSR_SIP);
}

static struct answer hsm_suspend(struct hart *h, const uint64_t *a)
{
	enum { RETENTIVE = 0, PLATFORM = 0x10000000 };
	const uint64_t non_retentive = 0x80000000, type = (uint32_t)a[0];
	if (type != RETENTIVE && type != non_retentive)
		return no((type & ~non_retentive) < PLATFORM ? INVALID_PARAM : NOT_SUPPORTED);
	if (type == non_retentive && !can_start_at(h, a[1])) return no(INVALID_ADDRESS);
	hart_state_set(h, HART_SUSPENDED);
	bool counted = h->vm->guest->spec->deterministic; /* no time would pass */
	while (!counted && !interrupted(h) && hart_doze(h)) {
	}
	hart_state_set(h, HART_STARTED);
	if (type == non_retentive) hart_restart(h, a[1], a[2]);
	return ok(0);
}

/* §10 System reset */
static struct answer reset_system(struct hart *h, const uint64_t *a)
{
	enum { SHUTDOWN, COLD, WARM, VENDOR = 0xf0000000u, NO_REASON = 0, FAILURE = 1 };
	const uint32_t type = (uint32_t)a[0], reason = (uint32_t)a[1];
	if (type > WARM) return no(type < VENDOR ? INVALID_PARAM : NOT_SUPPORTED);
	if (reason > FAILURE && reason < 0xe0000000u) return no(INVALID_PARAM);
	if (type == SHUTDOWN)
		vm_power(h->vm, VM_POWER_OFF, reason == NO_REASON ? 0 : 1);
	else
		vm_power(h->vm, VM_POWER_RESET, 0);
	return ok(0);
}

/* §12 Debug console. Our console has room or it has not: a kernel asks again. Keys go to the
 * UART, so reading finds none. */

static struct answer console_write(struct hart *h, const uint64_t *a)
{
	struct chr *c = h->vm->guest->console;
	if (!a[0]) return ok(0);
	const uint8_t *p = a[2] ? NULL : gmem_ptr(h->vm->mem, a[1], a[0], false);
	if (!p) return no(INVALID_PARAM);
	return ok(chr_output(c, p, a[0] < WRITE_MAX ? a[0] : WRITE_MAX));
}
static struct answer console_read(struct hart *h, const uint64_t *a)
{
	if (a[0] && (a[2] || !gmem_ptr(h->vm->mem, a[1], a[0], true))) return no(INVALID_PARAM);
	return ok(0);
}
static struct answer console_byte(struct hart *h, const uint64_t *a)
{
	struct chr *c = h->vm->guest->console;
	const uint8_t byte = (uint8_t)a[0];
	return chr_output(c, &byte, 1) ? ok(0) : no(FAILED);
}

#define EXTENSION(id, ...)                                                                         \
	{                                                                                          \
		(id), COUNT(((call_fn *const[]){__VA_ARGS__})), (call_fn *const[]) { __VA_ARGS__ } \
	}
static const struct extension extensions[] = {
	EXTENSION(0x10, base_version, base_impl, base_impl_version, base_probe, base_vendor,
		  base_arch, base_imp),
	EXTENSION(0x54494d45, time_set),				   /* TIME */
	EXTENSION(0x735049, ipi_send),					   /* sPI */
	EXTENSION(0x52464e43, fence_code, fence_tlb, fence_asid),	   /* RFNC */
	EXTENSION(0x48534d, hsm_start, hsm_stop, hsm_status, hsm_suspend), /* HSM */
	EXTENSION(0x53525354, reset_system),				   /* SRST */
	EXTENSION(0x4442434e, console_write, console_read, console_byte),  /* DBCN */
};

static const struct extension *extension_find(uint64_t id)
{
	for (size_t i = 0; i < COUNT(extensions); i++)
		if (extensions[i].id == id) return &extensions[i];
	return NULL;
}

void sbi_call(struct hart *h)
{
	uint64_t a[6], fn = hart_get(h, A0 + 6);
	for (unsigned i = 0; i < COUNT(a); i++) a[i] = hart_get(h, A0 + i);
	const struct extension *x = extension_find(hart_get(h, A0 + 7));
	struct answer r = x && fn < x->n ? x->fn[fn](h, a) : no(NOT_SUPPORTED);
	hart_set(h, A0, (uint64_t)r.error);
	hart_set(h, A0 + 1, r.value);
}
