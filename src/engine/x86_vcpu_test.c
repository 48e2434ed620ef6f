#include "engine/x86_engine.h"
#include "engine/x86_rig.h"
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* At 0x8000, in real mode: lgdt; PE, far jump to 32 bits; CR3 = 0x100000, PAE, LME, PG, far jump to
 * 64 bits; a 64-bit constant through the stack into rbx; call; 0x5a to the port. */
static const uint8_t modes[] = {
	0xfa, 0x8c, 0xc8, 0x8e, 0xd8, 0x66, 0x0f, 0x01, 0x16, 0x98, 0x00, 0x0f, 0x20, 0xc0, 0x0c,
	0x01, 0x0f, 0x22, 0xc0, 0x66, 0xea, 0x1b, 0x80, 0x00, 0x00, 0x08, 0x00, 0x66, 0xb8, 0x10,
	0x00, 0x8e, 0xd8, 0x8e, 0xd0, 0xb8, 0x00, 0x00, 0x10, 0x00, 0x0f, 0x22, 0xd8, 0xb8, 0x20,
	0x00, 0x00, 0x00, 0x0f, 0x22, 0xe0, 0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x0d, 0x00,
	0x01, 0x00, 0x00, 0x0f, 0x30, 0x0f, 0x20, 0xc0, 0x0d, 0x00, 0x00, 0x00, 0x80, 0x0f, 0x22,
	0xc0, 0xea, 0x53, 0x80, 0x00, 0x00, 0x18, 0x00, 0xbc, 0x00, 0x70, 0x00, 0x00, 0x48, 0xb8,
	0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12, 0x50, 0x5b, 0xe8, 0x02, 0x00, 0x00, 0x00,
	0xe6, 0xf4, 0xb8, 0x5a, 0x00, 0x00, 0x00, 0xc3, 0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x9a, 0xcf,
	0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x92, 0xcf, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x9a,
	0xaf, 0x00, 0x1f, 0x00, 0x78, 0x80, 0x00, 0x00,
};
enum { MODES_AT = 0x8000 };

static void identity(struct x86_rig *r)
{
	x86_rig_put(r, X86_RIG_TABLES, (X86_RIG_TABLES + 0x1000) | 7, 8);
	x86_rig_put(r, X86_RIG_TABLES + 0x1000, 0x87, 8); /* 1 GiB */
}

TEST(x86_reset_state)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	CHECK(v->cpu.rip == 0xfff0 && v->seg[X86_CS].base == 0xffff0000 && v->cpu.flags == 2);
	CHECK(v->cr0 == (CR0_CD | CR0_NW | CR0_ET) && v->mode == X86_16 && !v->cpl);
	CHECK(v->dr[6] == 0xffff0ff0 && v->dr[7] == 0x400 && v->activity == X86_RUNNING);
	CHECK((uintptr_t)v % X86_PAGE == 0);
	memset((uint8_t *)v - (256 << 10), 1, 256 << 10);
	struct x86_vcpu *ap = x86_vcpu_new(&r->m, 1);
	CHECK(ap && ap->activity == X86_WAITS_FOR_INIT);
	CHECK(!x86_vcpu_new(&r->m, 64));
	v->cr0 = CR0_PE | CR0_ET;
	v->xcr0 = 7;
	v->star = 5;
	x86_vcpu_reset(v, true);
	CHECK(v->cr0 == CR0_ET && v->xcr0 == 7 && v->star == 5 && v->cpu.rip == 0xfff0);
	x86_rig_free(r);
}

TEST(x86_starts_at_the_reset_vector)
{
	struct x86_rig *r = x86_rig_new();
	r->at = 0xfffffff0;
	X86_RIG_CODE(r, 0xea, 0x00, 0x10, 0x00, 0x00); /* jmp 0:0x1000 */
	r->at = 0x1000;
	X86_RIG_CODE(r, 0xb0, 0x21, X86_RIG_HALT);
	CHECK(x86_vcpu_run(r->v) == VCPU_KICKED && r->told == 0x21);
	CHECK(r->v->cpu.rip == 0x1004 && r->v->seg[X86_CS].base == 0);
	x86_rig_free(r);
}

TEST(x86_real_protected_long)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	identity(r);
	r->at = MODES_AT;
	x86_rig_bytes(r, modes, sizeof(modes));
	v->seg[X86_CS].base = MODES_AT;
	v->seg[X86_CS].sel = MODES_AT >> 4;
	v->cpu.rip = 0;
	CHECK(x86_vcpu_run(v) == VCPU_KICKED && r->told == 0x5a);
	CHECK(v->mode == X86_64 && v->long_mode && v->cpu.r[3] == 0x123456789abcdef0);
	CHECK(v->efer == (EFER_LME | EFER_LMA) && v->cpu.r[4] == 0x7000);
	x86_rig_free(r);
}

static void *run(void *arg)
{
	enum vcpu_exit why = x86_vcpu_run(arg);
	return (void *)(uintptr_t)why;
}
static void until(_Atomic unsigned *at, unsigned is)
{
	for (unsigned i = 0; i < 5000 && atomic_load(at) < is; i++) (void)usleep(1000);
}

TEST(x86_sipi_starts_a_second_cpu)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *ap = x86_vcpu_new(&r->m, 1);
	pthread_t t;
	void *why;
	identity(r);
	r->at = MODES_AT;
	x86_rig_bytes(r, modes, sizeof(modes));
	CHECK(!pthread_create(&t, NULL, run, ap));
	until((_Atomic unsigned *)&ap->asleep, 1);
	x86_irq(ap, IRQ_X86_INIT, 1);
	x86_irq(ap, IRQ_X86_SIPI, MODES_AT >> 12);
	CHECK(!pthread_join(t, &why) && (uintptr_t)why == VCPU_KICKED);
	CHECK(r->told == 0x5a && ap->mode == X86_64 && ap->sipi == MODES_AT >> 12);
	x86_irq(ap, IRQ_X86_INIT, 1);
	x86_poke(ap, X86_POLL_KICK);
	(void)x86_vcpu_run(ap);
	x86_poke(ap, X86_POLL_KICK); /* the kick came first: INIT is taken by the next run */
	CHECK(x86_vcpu_run(ap) == VCPU_KICKED);
	x86_rig_free(r);
}

static int vector_21(void *ctx, unsigned cpu)
{
	struct x86_rig *r = ctx;
	x86_irq(r->m.vcpu[cpu], IRQ_X86_INTR, 0);
	return 0x21;
}

/* Real mode: the table of vectors is at 0. */
static void with_interrupts(struct x86_rig *r)
{
	r->m.env.x86 = (struct x86_hooks){.extint = vector_21, .ctx = r};
	x86_rig_put(r, 0x21 * 4, 0x2000, 4);
	x86_rig_put(r, 2 * 4, 0x2100, 4);
	r->at = 0x2000;
	X86_RIG_CODE(r, 0xfe, 0xc0, 0xcf); /* inc al; iret */
	r->at = 0x2100;
	X86_RIG_CODE(r, 0xfe, 0xc3, 0xcf); /* inc bl; iret */
	r->v->seg[X86_CS].base = 0;
	r->v->seg[X86_CS].sel = 0;
	r->v->cpu.rip = 0x1000;
	r->v->cpu.r[4] = 0x7000;
	r->at = 0x1000;
}

TEST(x86_interrupts_wait_for_if_and_shadow)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	with_interrupts(r);
	/* nop; sti; mov cl, al; mov ch, al; stop */
	X86_RIG_CODE(r, 0x90, 0xfb, 0x88, 0xc1, 0x88, 0xc5, X86_RIG_HALT);
	x86_irq(v, IRQ_X86_INTR, 1);
	CHECK(x86_vcpu_run(v) == VCPU_KICKED);
	CHECK((v->cpu.r[1] & 0xffff) == 0x0100 && r->told == 1);
	x86_rig_free(r);
}

TEST(x86_halted_until_interrupt)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	pthread_t t;
	void *why;
	with_interrupts(r);
	X86_RIG_CODE(r, 0xfb, 0xf4, X86_RIG_HALT, 0xfa, 0xf4,
		     X86_RIG_HALT); /* sti; hlt.. cli; hlt */
	CHECK(!pthread_create(&t, NULL, run, v));
	until((_Atomic unsigned *)&v->asleep, 1);
	x86_irq(v, IRQ_X86_INTR, 1);
	CHECK(!pthread_join(t, &why) && (uintptr_t)why == VCPU_KICKED && r->told == 1);
	/* Then with IF clear: only an NMI wakes it; a kick does not end the halt. */
	CHECK(!pthread_create(&t, NULL, run, v));
	until((_Atomic unsigned *)&v->asleep, 1);
	x86_irq(v, IRQ_X86_INTR, 1);
	x86_irq(v, IRQ_X86_INTR, 0);
	x86_poke(v, X86_POLL_KICK);
	CHECK(!pthread_join(t, &why) && v->activity == X86_HALTED && atomic_load(&r->stops) == 1);
	x86_irq(v, IRQ_X86_NMI, 1);
	CHECK(x86_vcpu_run(v) == VCPU_KICKED && atomic_load(&r->stops) == 2);
	CHECK((v->cpu.r[3] & 0xff) == 1 && !v->nmi_masked);
	x86_rig_free(r);
}

TEST(x86_triple_fault_asks_for_reset)
{
	struct x86_rig *r = x86_rig_new();
	x86_rig_flat(r, X86_32, 0);
	r->v->idt.limit = 0;
	r->v->cpu.rip = r->at = 0x1000;
	X86_RIG_CODE(r, 0x0f, 0x0b);
	CHECK(x86_vcpu_run(r->v) == VCPU_RESET);
	x86_rig_free(r);
}

TEST(x86_single_step_and_breakpoint)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	with_interrupts(r);
	x86_rig_put(r, 4, 0x2000, 4); /* #DB: inc al; iret */
	X86_RIG_CODE(r, 0x90, 0x90, 0x8e, 0xd2, 0x90, 0x90);
	v->cpu.flags |= X86_TF;
	x86_step(v);
	CHECK(v->cpu.rip == 0x2000 && v->dr[6] & 1 << 14 && !(v->cpu.flags & X86_TF));
	x86_step(v);
	x86_step(v);
	CHECK(v->cpu.rip == 0x1001 && v->cpu.flags & X86_TF);
	x86_step(v), x86_step(v), x86_step(v);
	CHECK(v->cpu.rip == 0x1002);
	x86_step(v); /* mov ss: no #DB behind it */
	CHECK(v->cpu.rip == 0x1004 && v->shadow == 1);
	x86_step(v);
	CHECK(v->cpu.rip == 0x2000);
	v->cpu.rip = 0x1000;
	v->cpu.flags = 2;
	v->dr[0] = 0x1001;
	v->dr[7] |= 1;
	v->dr[6] = 0xffff0ff0;
	x86_step(v);
	CHECK(v->cpu.rip == 0x1001);
	x86_step(v);
	CHECK(v->cpu.rip == 0x2000 && (v->dr[6] & 15) == 1);
	v->cpu.rip = 0x1001;
	v->cpu.flags |= X86_RF;
	x86_step(v);
	CHECK(v->cpu.rip == 0x1002 && !(v->cpu.flags & X86_RF));
	x86_rig_free(r);
}

TEST(x86_data_breakpoints)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	with_interrupts(r);
	x86_rig_put(r, 4, 0x2000, 4);
	X86_RIG_CODE(r, 0xa1, 0x04, 0x30, 0xa3, 0x04, 0x30, 0xa3, 0x06, 0x30); /* [3004], [3006] */
	v->dr[1] = 0x3005;
	v->dr[7] |= 2 << 2 | 0x1u << 20; /* writes of a byte */
	x86_step(v);
	CHECK(v->cpu.rip == 0x1003);
	x86_step(v);
	CHECK(v->cpu.rip == 0x2000 && (v->dr[6] & 0x400f) == 2);
	CHECK(x86_rig_get(r, v->cpu.r[4], 2) == 0x1006); /* a trap: behind it */
	v->cpu.rip = 0x1006;
	x86_step(v);
	CHECK(v->cpu.rip == 0x1009);
	v->dr[7] |= 0x3u << 20; /* reads, too */
	v->cpu.rip = 0x1000;
	x86_step(v);
	CHECK(v->cpu.rip == 0x2000);
	x86_rig_free(r);
}

TEST(x86_alignment_is_checked_at_cpl_3)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	x86_rig_flat(r, X86_32, 3);
	v->cpu.rip = r->at = 0x1000;
	X86_RIG_CODE(r, 0xa1, 0x02, 0x30, 0, 0); /* mov eax, [0x3002] */
	v->cpu.flags |= X86_AC;
	CHECK(x86_is_plain(v));
	x86_step(v);
	CHECK(v->cpu.rip == 0x1005);
	v->cr0 |= CR0_AM;
	v->cpu.rip = 0x1000;
	v->idt.limit = 0; /* #AC, then #GP, #DF... */
	CHECK(!x86_is_plain(v));
	x86_step(v);
	CHECK(v->reset_asked && v->cpu.rip == 0x1000);
	x86_rig_free(r);
}

TEST(x86_code_may_change_and_cross_pages)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	x86_rig_flat(r, X86_64, 0);
	x86_rig_map(r, 0x10000, 0x10000, 7, 0);
	x86_rig_map(r, 0x11000, 0x30000, 7, 0);
	x86_rig_paging(r);
	r->at = 0x10ffb;
	X86_RIG_CODE(r, 0x48, 0xb8, 1, 2, 3); /* mov rax, imm64 */
	r->at = 0x30000;
	X86_RIG_CODE(r, 4, 5, 6, 7, 8, 0x90);
	v->cpu.rip = 0x10ffb;
	x86_step(v);
	CHECK(v->cpu.r[0] == 0x0807060504030201 && v->cpu.rip == 0x11005);
	x86_rig_put(r, 0x30000, 9, 1);
	v->cpu.rip = 0x10ffb;
	x86_step(v);
	CHECK(v->cpu.r[0] == 0x0807060509030201);
	v->cpu.rip = 0x11005;
	x86_step(v);
	CHECK(v->cpu.rip == 0x11006);
	r->at = 0x30005;
	X86_RIG_CODE(r, 0xb0, 0x44); /* in nop's place: mov al, 0x44 */
	v->cpu.rip = 0x11005;
	x86_step(v);
	CHECK((v->cpu.r[0] & 0xff) == 0x44 && v->cpu.rip == 0x11007);
	x86_rig_free(r);
}

TEST(x86_limits_outside_64_bit_mode)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	with_interrupts(r);
	x86_rig_put(r, 13 * 4, 0x2000, 4);
	X86_RIG_CODE(r, 0xa1, 0xff, 0xff); /* mov ax, [0xffff] */
	x86_step(v);
	CHECK(v->cpu.rip == 0x2000); /* #GP */
	v->cpu.rip = r->at;
	X86_RIG_CODE(r, 0xf3, 0xaa); /* rep stosb over the end of the segment */
	v->cpu.r[1] = 0x20;
	v->cpu.r[7] = 0xfff0;
	v->cpu.r[0] = 0x5a;
	for (unsigned i = 0; i < 40 && v->cpu.rip == r->at - 2; i++) x86_step(v);
	CHECK(v->cpu.rip == r->at && x86_rig_get(r, 0xffff, 1) == 0x5a && v->cpu.r[7] == 0x10);
	CHECK(x86_rig_get(r, 0xf, 1) == 0x5a && !x86_rig_get(r, 0x10000, 1) && !v->cpu.r[1]);
	x86_rig_free(r);
}

TEST(x86_refuses_what_is_not_there)
{
	static const uint8_t bad[][8] = {
		{0x0f, 0x01, 0xc8},		/* monitor */
		{0xc5, 0xf8, 0x77},		/* vzeroupper, as CR4.OSXSAVE is clear */
		{0x0f, 0x01, 0xee},		/* rdpkru */
		{0xf0, 0x90},			/* lock nop */
		{0x66, 0x0f, 0x38, 0x80, 0x00}, /* invept */
		{0x0f, 0x20, 0xc8},		/* mov eax, cr1 */
		{0x0f, 0x01, 0xd0},		/* xgetbv */
	};
	struct x86_rig *r = x86_rig_new();
	x86_rig_flat(r, X86_32, 0);
	for (unsigned i = 0; i < COUNT(bad); i++) {
		struct x86_insn in;
		enum x86_decoded how = x86_decode(&in, bad[i], sizeof(bad[i]), X86_32);
		CHECK(how == X86_BAD || x86_do(r->v, &in) == X86_TRAP_UD);
	}
	x86_rig_free(r);
}

TEST(x86_engine_ops)
{
	const struct engine_ops *ops = &engine_x86_interp;
	struct x86_rig *r = x86_rig_new();
	struct engine *en;
	struct vcpu *c;
	struct err e;
	uint64_t val;
	CHECK(!ops->probe(ARCH_X86_64, &e) && ops->probe(ARCH_RV64, &e));
	must(!ops->open(&en, &r->m.env, &e) && !ops->vcpu(&c, en, 0, &e));
	for (unsigned i = 0; i < 16; i++) CHECK(!ops->set(c, i, i + 100));
	for (unsigned i = 0; i < 16; i++) CHECK(!ops->get(c, i, &val) && val == i + 100);
	CHECK(!ops->set(c, REG_X86_SEG + 4 * 1 + SEG_BASE, 0x4000));
	CHECK(!ops->set(c, REG_X86_RIP, 0x10) && !ops->get(c, REG_X86_RIP, &val) && val == 0x10);
	CHECK(!ops->set(c, REG_X86_MSR + 0xc0000082u, 5));
	CHECK(!ops->get(c, REG_X86_MSR + 0xc0000082u, &val) && val == 5);
	CHECK(ops->set(c, REG_X86_MSR + 0xc0000082u, 1ull << 47) == -22);
	CHECK(!ops->get(c, REG_X86_XSAVE + 3, &val) && ops->get(c, REG_X86_LAPIC, &val) == -2);
	CHECK(ops->tsc_ns(c, 0) <= vclock_ns(&r->clock));
	ops->kick(c);
	CHECK(ops->run(c) == VCPU_KICKED && ops->instret(c) == 0);
	ops->close(en);
	ops->close(NULL);
	x86_rig_free(r);
}
