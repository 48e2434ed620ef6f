#include "base/buf.h"
#include "base/file.h"
#include "engine/rig.h"
#include "engine/symbols.h"
#include "engine/tracer.h"
#include "engine/x86_jit.h"
#include "engine/x86_rig.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define PATH "/tmp/lodge-tracer-test"

static int refused(const char *what)
{
	struct tracer *t = NULL;
	struct err e = {0};
	int r = tracer_open(&t, what, "/dev/null", &e);
	tracer_close(t);
	return r;
}

TEST(tracer_takes_words)
{
	static const char *const bad[] = {
		"",	 "regs",	"insn,what", "insn=", "insn=9-1",    "insn=9g",
		"int=5", "int,count=5", "insn,skip", "user",  "insn,size=1", "insn,count=1x"};
	for (unsigned i = 0; i < COUNT(bad); i++) CHECK(refused(bad[i]) == -EINVAL);
	CHECK(!refused("insn=80000000-8fffffff,regs,int,csr,user,cpu=1,skip=2k,count=3,size=1M"));
	CHECK(!refused("exec=main") && !refused("int"));
}

static bool says(const char *text)
{
	auto_buf struct buf b = {0};
	CHECK(!file_read(&b, PATH, MIB, NULL));
	CHECK(!unlink(PATH));
	bool same = !strcmp(b.at ? b.at : "", text);
	if (!same) printf("%s", b.at ? b.at : "(empty)\n");
	return same;
}

/* As the engine has it from env.tracer, but of a hart that is there. */
static struct tracer *trace_rv64(struct rig *r, const char *what)
{
	struct tracer *t = NULL;
	struct err e = {0};
	CHECK(!tracer_open(&t, what, PATH, &e));
	r->c->trace.to = tracer_cpu_new(t, 0);
	r->c->trace.steps = tracer_steps(r->c->trace.to);
	return t;
}
static void untrace_rv64(struct rig *r, struct tracer *t)
{
	tracer_cpu_free(r->c->trace.to);
	r->c->trace.to = NULL;
	tracer_close(t);
}

/* a0 = 2; loop until it is 0; sscratch = a0 + 1; an illegal instruction; its handler stops. */
static void program(struct rig *r)
{
	enum { A0 = 10, T0 = 5 };
	rig_op(r, OP_addi, A0, 0, 0, 2);
	rig_op(r, OP_addi, A0, A0, 0, -1);
	rig_op(r, OP_bne, 0, A0, 0, -4);
	rig_op(r, OP_auipc, T0, 0, 0, 0);
	rig_op(r, OP_addi, T0, T0, 0, 20);
	rig_op(r, OP_csrrw, 0, T0, 0, CSR_MTVEC);
	rig_op(r, OP_csrrw, 0, A0, 0, CSR_MTVEC);
	r->at -= 4;
	rig_word(r, 0xffffffff);
	rig_word(r, 0);
	rig_stop(r, A0);
}

TEST(tracer_tells_of_a_riscv_program)
{
	struct rig *r = rig_new(false);
	program(r);
	struct tracer *t = trace_rv64(r, "insn,regs,int,csr");
	rig_run(r, RIG_RAM);
	untrace_rv64(r, t);
	CHECK(says("0 M 0000000080000000 13052000         addi\ta0,zero,2 ; a0=0x2\n"
		   "0 M 0000000080000004 1305f5ff         addi\ta0,a0,-1 ; a0=0x1\n"
		   "0 M 0000000080000008 e31e05fe         bne\ta0,zero,0x80000004\n"
		   "0 M 0000000080000004 1305f5ff         addi\ta0,a0,-1 ; a0=0x0\n"
		   "0 M 0000000080000008 e31e05fe         bne\ta0,zero,0x80000004\n"
		   "0 M 000000008000000c 97020000         auipc\tt0,0x0 ; t0=0x8000000c\n"
		   "0 M 0000000080000010 93824201         addi\tt0,t0,20 ; t0=0x80000020\n"
		   "0 M 0000000080000014 73905230         csrrw\tzero,mtvec,t0\n"
		   "0 csr mtvec 0x0 -> 0x80000020\n"
		   "0 M 0000000080000018 ffff             .half 0xffff\n"
		   "0 int M->M trap 2 illegal instruction pc=0x80000018 tval=0xffffffff "
		   "to=0x80000020\n"
		   "0 M 0000000080000020 b70f1000         lui\tt6,0x100 ; t6=0x100000\n"
		   "0 M 0000000080000024 23b0af00         sd\ta0,0(t6)\n"));
	rig_free(r);
}

TEST(tracer_tells_of_what_is_asked_for)
{
	struct rig *r = rig_new(false);
	struct symbols *s = symbols_new();
	struct err e = {0};
	program(r);
	struct tracer *t = trace_rv64(r, "exec,count=3");
	rig_run(r, RIG_RAM);
	untrace_rv64(r, t);
	CHECK(says("0 M 0000000080000000 13052000         addi\ta0,zero,2\n"
		   "0 M 0000000080000004 1305f5ff         addi\ta0,a0,-1\n"
		   "0 M 0000000080000020 b70f1000         lui\tt6,0x100\n"));
	CHECK(!symbols_parse(s, "80000004 T turn\n8000000c T more\n", 32, &e));
	t = trace_rv64(r, "insn=turn,skip=1,count=2");
	CHECK(!tracer_name(t, s, &e));
	rig_run(r, RIG_RAM);
	CHECK(!r->c->trace.steps);
	untrace_rv64(r, t);
	CHECK(says("0 M 0000000080000008 e31e05fe         bne\ta0,zero,0x80000004 <turn+0x4>\n"
		   "0 M 0000000080000004 1305f5ff         addi\ta0,a0,-1 <turn+0x0>\n"
		   "# no more: count\n"));
	t = trace_rv64(r, "insn=nobody");
	CHECK(tracer_name(t, s, &e) == -ENOENT);
	untrace_rv64(r, t);
	CHECK(says(""));
	t = trace_rv64(r, "int"); /* at full speed */
	CHECK(!r->c->trace.steps);
	rig_run(r, RIG_RAM);
	untrace_rv64(r, t);
	CHECK(says("0 int M->M trap 2 illegal instruction pc=0x80000018 tval=0xffffffff "
		   "to=0x80000020\n"));
	symbols_free(s);
	rig_free(r);
}

TEST(tracer_files_have_an_end)
{
	struct rig *r = rig_new(false);
	auto_buf struct buf b = {0};
	enum { A0 = 10 };
	rig_li(r, A0, 5000);
	rig_op(r, OP_addi, A0, A0, 0, -1);
	rig_op(r, OP_bne, 0, A0, 0, -4);
	rig_stop(r, A0);
	struct tracer *t = trace_rv64(r, "insn,size=64k");
	rig_run(r, RIG_RAM);
	untrace_rv64(r, t);
	CHECK(!file_read(&b, PATH, MIB, NULL) && !unlink(PATH));
	CHECK(b.len > 65536 && b.len < 65536 + 256);
	CHECK(strstr(b.at, "\n# no more: the file is as large as may be\n"));
	rig_free(r);
}

/* mov ecx,3; rep stosb; mov cr4,rax; ud2, with an IDT that leads to out STOP, al */
TEST(tracer_tells_of_an_x86_program)
{
	enum { CODE = 0x10000, HANDLER = 0x11000, IDT = 0x12000, STACK = 0x14000 };
	struct err e = {0};
	for (unsigned jit = 0; jit < 2; jit++) {
		struct x86_rig *r = x86_rig_new();
		struct tracer *t = NULL;
		r->at = HANDLER;
		X86_RIG_CODE(r, X86_RIG_HALT);
		r->at = CODE;
		X86_RIG_CODE(r, 0xb9, 3, 0, 0, 0, 0xf3, 0xaa, 0x0f, 0x22, 0xe0, 0x0f, 0x0b);
		x86_rig_flat(r, X86_64, 0);
		for (uint64_t la = 0; la < X86_RIG_RAM; la += X86_PAGE)
			x86_rig_map(r, la, la, 3, 0);
		x86_rig_paging(r);
		if (jit) {
			r->m.code_pages = X86_RIG_RAM >> X86_PAGE_SHIFT;
			r->m.code = calloc(r->m.code_pages, 1);
			CHECK(!x86_jit_new(r->v, 4 << 20, X86_JIT_FAST, &e));
		}
		r->v->idt.base = IDT;
		r->v->idt.limit = 4095;
		r->v->gdt.base = IDT + 0x1000;
		r->v->gdt.limit = 31;
		x86_rig_put(r, IDT + 0x1008, 0x00af9b000000ffff, 8);
		x86_rig_put(r, IDT + 6 * 16, 0x1000 | 8 << 16 | 0x8e00ull << 32 | 1ull << 48, 8);
		r->v->cpu.rip = CODE;
		r->v->cpu.r[0] = CR4_PAE | CR4_OSFXSR;
		r->v->cpu.r[4] = STACK;
		r->v->cpu.r[7] = 0x20000;
		CHECK(!tracer_open(&t, "insn,regs,int,csr", PATH, &e));
		r->v->trace.to = tracer_cpu_new(t, 0);
		r->v->trace.steps = tracer_steps(r->v->trace.to);
		CHECK(x86_vcpu_run(r->v) == VCPU_KICKED);
		_Atomic uint8_t *code = r->m.code;
		x86_rig_free(r);
		free((void *)code);
		tracer_close(t);
		CHECK(says("0 K 0000000000010000 b903000000       mov ecx, 0x03 ; rcx=0x3\n"
			   "0 K 0000000000010005 f3aa             rep stosb ; rcx=0x0 rdi=0x20003\n"
			   "0 K 0000000000010007 0f22e0           mov cr4, rax\n"
			   "0 csr cr4 0x20 -> 0x220\n"
			   "0 K 000000000001000a 0f0b             ud2\n"
			   "0 int 6 #UD error=0x0 cpl=0 pc=0x1000a sp=0x14000\n"
			   "0 K 0000000000011000 e6f4             out 0xF4, al\n"));
	}
}
