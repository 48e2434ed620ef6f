/* What of a debugger's wishes this host's /dev/kvm grants. There are some that take every order and
 * then tell of nothing: so a guest of four instructions is run to each kind of point. */
#include "base/log.h"
#include "engine/kvm_code.h"
#include "engine/kvm_trial.h"
#include <errno.h>
#include <string.h>

enum { DATA = 0x100000, HANDLER = 0xc000, TO_USER = 0x9100, USER = 0xb000 };
enum { RAX, RSI = 6, EVERYTHING = 0xff, STEP = 1, BREAKPOINT = 3 };
#define PATIENCE_NS 2000000000ull /* it ends by itself, what is wanted or not */

/* In ring 0: nop, nop, mov [rsi], al, the end. In ring 3: nop, nop, mov, and int3 as the end. */
static void code_put(struct gmem *mem)
{
	struct x86_code c = {mem, X86_CODE}, in = {mem, TO_USER}, u = {mem, USER},
			h = {mem, HANDLER};
	X86_EMIT(&c, 0x90, 0x90, 0x88, 0x06);
	x86_out(&c, KVM_TRIAL_DONE, 0);
	X86_EMIT(&in, 0x48, 0x89, 0xe3, 0x6a, X86_USER_SS, 0x53); /* mov rbx, rsp; push ss, rbx */
	X86_EMIT(&in, 0x6a, 0x02, 0x6a, X86_USER_CS);		  /* flags, cs */
	x86_mov(&in, RAX, USER);
	X86_EMIT(&in, 0x50, 0x48, 0xcf); /* push rax; iretq */
	X86_EMIT(&u, 0x90, 0x90, 0x88, 0x06, 0xcc);
	x86_out(&h, KVM_TRIAL_DONE, 0);
	x86_gate(mem, STEP, HANDLER, 0);
	x86_gate(mem, BREAKPOINT, HANDLER, 3);
}

/* From that place on it stops at this one; the steps on the way are told, too. */
static bool stops(struct kvm_trial *t, const struct vcpu_points *p, bool step, gva_t from, gva_t at)
{
	enum { STEPS = 10 };
	uint64_t rip = 0;
	bool told;
	kvm_reset(t->cpu);
	if (x86_long_mode(&engine_kvm, t->cpu, from)) return false;
	if (kvm_set(t->cpu, RSI, DATA)) return false;
	kvm_points(t->en, p);
	kvm_step(t->cpu, step);
	unsigned left = step ? STEPS : 1;
	do
		told = kvm_run_for(t->cpu, PATIENCE_NS) == VCPU_DEBUG &&
		       !kvm_get(t->cpu, REG_X86_RIP, &rip);
	while (told && rip != at && --left);
	kvm_step(t->cpu, false);
	kvm_points(t->en, NULL);
	return told && rip == at;
}

static unsigned trial_all(struct kvm_trial *t)
{
	static const struct {
		struct vcpu_points points;
		bool step;
		gva_t from, at;
		unsigned can;
	} all[] = {
		{.step = true, .from = X86_CODE, .at = X86_CODE + 1, .can = KVM_DEBUGS_STEP},
		{{.nbreaks = 1, .breaks = {X86_CODE + 1}},
		 .from = X86_CODE,
		 .at = X86_CODE + 1,
		 .can = KVM_DEBUGS_SOFT},
		{{.nbreaks = 1, .breaks = {X86_CODE + 1}, .hard = {true}},
		 .from = X86_CODE,
		 .at = X86_CODE + 1,
		 .can = KVM_DEBUGS_HARD},
		{{.nwatches = 1, .watch = {{.at = DATA, .len = 1, .writes = true}}},
		 .from = X86_CODE,
		 .at = X86_CODE + 4,
		 .can = KVM_DEBUGS_WATCH},
		{.step = true, .from = TO_USER, .at = USER + 1, .can = KVM_DEBUGS_USER_STEP},
		{{.nbreaks = 1, .breaks = {USER + 1}},
		 .from = TO_USER,
		 .at = USER + 1,
		 .can = KVM_DEBUGS_USER_SOFT},
		{{.nbreaks = 1, .breaks = {USER + 1}, .hard = {true}},
		 .from = TO_USER,
		 .at = USER + 1,
		 .can = KVM_DEBUGS_USER_HARD},
		{{.nwatches = 1, .watch = {{.at = DATA, .len = 1, .writes = true}}},
		 .from = TO_USER,
		 .at = USER + 4,
		 .can = KVM_DEBUGS_USER_WATCH},
	};
	unsigned can = 0;
	code_put(t->mem);
	t->en->debugs = EVERYTHING;
	for (unsigned i = 0; i < COUNT(all); i++)
		if (stops(t, &all[i].points, all[i].step, all[i].from, all[i].at))
			can |= all[i].can;
	return can;
}

static int judge(unsigned can, struct err *e)
{
	if (!(can & KVM_DEBUGS_STEP) ||
	    (!(can & KVM_DEBUGS_HARD) &&
	     !kvm_debugs_all(can, KVM_DEBUGS_SOFT | KVM_DEBUGS_USER_SOFT)))
		return fail(e, -ENOTSUP,
			    "--gdb: /dev/kvm here does not tell of %s (a guest of a few "
			    "instructions was run to see); --engine jit does",
			    can & KVM_DEBUGS_STEP ? "breakpoints" : "steps");
	if (!kvm_debugs_all(can, KVM_DEBUGS_WATCH | KVM_DEBUGS_USER_WATCH))
		log_warn("--gdb: /dev/kvm here does not tell of accesses to memory: watchpoints "
			 "will be refused (in gdb: set can-use-hw-watchpoints 0); --engine jit has "
			 "them");
	if (!kvm_debugs_all(can, KVM_DEBUGS_SOFT | KVM_DEBUGS_USER_SOFT))
		log_warn("--gdb: /dev/kvm here does not tell of int3 wherever it is: there are "
			 "no more than 4 breakpoints; --engine jit has %d",
			 VCPU_BREAKS);
	if (!kvm_debugs_all(can, KVM_DEBUGS_USER_STEP | KVM_DEBUGS_USER_HARD))
		log_warn("--gdb: /dev/kvm here does not tell of what user code (ring 3) comes "
			 "to: it is not stepped and meets no %sbreakpoints; --engine jit does",
			 can & KVM_DEBUGS_USER_SOFT ? "hardware " : "");
	return (int)can;
}

static int found;
static struct err why;

static void probe(void)
{
	struct kvm_trial t = {0};
	int r = kvm_trial_open(&t, &why);
	if (!r && !kvm_cap(t.en, KVM_CAP_SET_GUEST_DEBUG))
		r = fail(&why, -ENOTSUP, "--gdb: /dev/kvm here has no debugging; --engine jit has");
	unsigned can = r ? 0 : trial_all(&t);
	kvm_trial_close(&t);
	found = r ? r : judge(can, &why);
}

int kvm_debug_probe(struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	(void)pthread_once(&once, probe);
	if (found < 0 && e) *e = why;
	return found;
}
