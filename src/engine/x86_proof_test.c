/* Attacks on translated code: guests, kernels among them, that make true what a block does not
 * expect. The same is run by the interpreter: all must come out the same, or at all. */
#include "engine/x86_code.h"
#include "engine/x86_jit.h"
#include "engine/x86_rig.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	CODE = 0x8000,
	GDT = 0x2000,
	IDT = 0x3000,
	TSS = 0x4000,
	HANDLERS = 0x5000,
	STACK = 0x20000
};
enum { KERNEL_CS = 8, USER_SS = 0x23, USER_CS = 0x2b, TR = 0x30 };

/* Every exception comes to a handler that tells its vector, at HANDLERS + 16 * vector. */
static void gate(struct x86_rig *r, unsigned vector, uint64_t to, unsigned ist)
{
	uint64_t dpl = 3; /* any program may ask for it */
	x86_rig_put(r, IDT + 16 * vector,
		    (to & 0xffff) | KERNEL_CS << 16 | (uint64_t)ist << 32 | 0x8eull << 40 |
			    dpl << 45 | (to >> 16 & 0xffff) << 48,
		    8);
	x86_rig_put(r, IDT + 16 * vector + 8, to >> 32, 8);
}
static void tables(struct x86_rig *r)
{
	static const uint64_t gdt[] = {0,
				       0x00af9b000000ffff,
				       0x00cf93000000ffff,
				       0,
				       0x00cff3000000ffff,
				       0x00affb000000ffff,
				       0x00008b0040000067,
				       0};
	struct x86_vcpu *v = r->v;
	for (unsigned k = 0; k < COUNT(gdt); k++) x86_rig_put(r, GDT + 8 * k, gdt[k], 8);
	for (unsigned k = 0; k < 32; k++) {
		gate(r, k, HANDLERS + 16 * k, 0);
		r->at = HANDLERS + 16 * k;
		X86_RIG_CODE(r, 0xb0, (uint8_t)k, X86_RIG_HALT, 0xf4); /* mov al, k */
	}
	for (unsigned k = 0; k < 13; k++) x86_rig_put(r, TSS + 4 + 8 * k, 0x7000, 8);
	v->gdt.base = GDT, v->gdt.limit = sizeof(gdt) - 1;
	v->idt.base = IDT, v->idt.limit = 0x1ff;
	v->seg[X86_SEG_TR] = (struct x86_segreg){TSS, 0x67, 0x8b, TR};
	v->xcr0 = X86_XCR0;
	v->cr4 |= CR4_OSFXSR | CR4_OSXSAVE | CR4_OSXMMEXCPT | CR4_PGE;
}
/* The first 4 MiB onto themselves, for the user too but for the tables. */
static struct x86_rig *rig(bool jit, unsigned cpl, enum windows windows)
{
	struct x86_rig *r = x86_rig_new();
	r->m.env.windows = windows;
	x86_rig_flat(r, X86_64, cpl);
	for (unsigned k = 0; k < X86_RIG_RAM / X86_PAGE; k++)
		x86_rig_map(r, k * X86_PAGE, k * X86_PAGE, k < 8 ? 0x103 : 0x107, 0);
	tables(r);
	x86_rig_paging(r);
	if (jit) {
		r->m.code_pages = (1ull << 32) >> X86_PAGE_SHIFT;
		r->m.code = calloc(r->m.code_pages, 1);
		must(r->m.code);
		must(!x86_jit_new(r->v, 4 << 20, X86_JIT_FAST, NULL));
	}
	r->v->cpu.rip = CODE;
	r->v->cpu.r[RSP] = STACK;
	r->at = CODE;
	return r;
}
static void done(struct x86_rig *r)
{
	_Atomic uint8_t *code = r->m.code;
	x86_rig_free(r);
	free((void *)code);
}
static void run(struct x86_rig *r)
{
	while (!r->stops && x86_vcpu_run(r->v) == VCPU_KICKED) {
	}
}
static void both(void (*attack)(struct x86_rig *), unsigned cpl)
{
	struct x86_rig *a = rig(false, cpl, WINDOWS_OFF);
	for (unsigned k = 0; k < 2; k++) {
		struct x86_rig *b = rig(true, cpl, k ? WINDOWS_EARLY : WINDOWS_OFF);
		attack(b);
		run(b);
		if (!k) attack(a), run(a);
		CHECK(a->told == b->told && a->stops == b->stops);
		CHECK(!memcmp(a->v->cpu.r, b->v->cpu.r, sizeof(a->v->cpu.r)));
		CHECK(a->v->cpu.rip == b->v->cpu.rip && a->v->cpl == b->v->cpl);
		CHECK(!memcmp(gmem_host(a->mem, CODE, X86_RIG_RAM - CODE),
			      gmem_host(b->mem, CODE, X86_RIG_RAM - CODE), 0xf0000));
		done(b);
	}
	done(a);
}

/* A fault between accesses to the stack, whose handler is the next instruction, on another stack:
 * what had been looked up for the first is not to be used for that. */
static void fault_to_next(struct x86_rig *r)
{
	x86_rig_map(r, 0x40000, 0x30000, 0x103, 0);
	x86_rig_put(r, TSS + 36, 0x40800, 8);
	X86_RIG_CODE(r, 0x31, 0xff, 0xff, 0xcf);       /* xor edi, edi; dec edi: nothing there */
	X86_RIG_CODE(r, 0x53, 0x51, 0x48, 0x8b, 0x07); /* push rbx; push rcx; mov rax, [rdi] */
	gate(r, X86_TRAP_PF - X86_TRAP, r->at, 1);
	X86_RIG_CODE(r, 0x52, 0x51, 0x5e, 0x5e, 0x58); /* push rdx; push rcx; pop rsi * 2, rax */
	X86_RIG_CODE(r, 0xb0, 0x77, X86_RIG_HALT, 0xf4);
}
/* The handler is the instruction itself, which succeeds on its stack. */
static void fault_to_self(struct x86_rig *r)
{
	x86_rig_map(r, 0x40000, 0x30000, 0x103, 0);
	x86_rig_put(r, TSS + 36, 0x40800, 8);
	X86_RIG_CODE(r, 0x31, 0xc0, 0x53, 0x51, 0x31, 0xc9);
	X86_RIG_CODE(r, 0xb9, 0, 0, 0, 0x40); /* mov ecx, 1 << 30 */
	gate(r, X86_TRAP_PF - X86_TRAP, r->at, 1);
	X86_RIG_CODE(r, 0x48, 0x8b, 0x44, 0x0c, 8); /* mov rax, [rsp + rcx + 8] */
	X86_RIG_CODE(r, 0x52, 0x51, 0x5e, 0x5e, 0x58);
	X86_RIG_CODE(r, 0xb0, 0x77, X86_RIG_HALT, 0xf4);
	x86_rig_map(r, 0x40040000, 0x31000, 0x103, 0);
}
TEST(x86_proof_fault_goes_to_the_next_instruction)
{
	both(fault_to_next, 0);
	both(fault_to_self, 0);
}

/* ---- the window */

/* iretq to the user's code at `to`, from where r->at is. */
static void to_user(struct x86_rig *r, uint32_t to)
{
	X86_RIG_CODE(r, 0x6a, USER_SS | 3, 0x68, 0, 0, 2, 0, 0x6a, 2, 0x6a, USER_CS | 3, 0x68,
		     (uint8_t)to, (uint8_t)(to >> 8), (uint8_t)(to >> 16), 0, 0x48, 0xcf);
}
/* The user reads all 4 KiB pages of a large one, which has code in it; the kernel (int3) maps
 * another there, and tells of its first address. The user reads once more. */
enum { USER = 0x210000 };
static void large_page_changes(struct x86_rig *r)
{
	uint64_t la = 0x40000000;
	gpa_t entry = x86_rig_map(r, la, 0x200000, 0x87, 1);
	for (unsigned k = 0; k < 16; k++) {
		x86_rig_put(r, 0x200000 + k * X86_PAGE, 0x100 + k, 8);
	}
	to_user(r, USER);
	r->at = USER; /* mov esi, 0x40000000; xor ebx, ebx; mov ecx, 16; */
	X86_RIG_CODE(r, 0xbe, 0, 0, 0, 0x40, 0x31, 0xdb, 0xb9, 16, 0, 0, 0, 0xeb, 0);
	X86_RIG_CODE(r, 0x48, 0x03, 0x1e, 0x48, 0x81, 0xc6, 0, 0x10, 0, 0); /* add rbx, [rsi] */
	X86_RIG_CODE(r, 0xff, 0xc9, 0x75, 0xf2);			    /* dec ecx; jnz */
	X86_RIG_CODE(r, 0xcc, 0xeb, 0xe1);				    /* int3; jmp USER */
	r->at = HANDLERS + 16 * 3;
	X86_RIG_CODE(r, 0xe9, 0x5b, 0x0f, 0, 0); /* jmp 0x5f90 */
	r->at = HANDLERS + 16 * 3 + 5 + 0xf5b;
	X86_RIG_CODE(r, 0x49, 0x01, 0xd8, 0x41, 0xff, 0xc1); /* add r8, rbx; inc r9d */
	X86_RIG_CODE(r, 0x41, 0x83, 0xf9, 2, 0x74, 0x17);    /* cmp r9d, 2; je out */
	X86_RIG_CODE(r, 0xb8, 0x87, 0, 0, 0);		     /* mov eax, 0x87: page 0 */
	X86_RIG_CODE(r, 0x48, 0x89, 0x04, 0x25, (uint8_t)entry, (uint8_t)(entry >> 8),
		     (uint8_t)(entry >> 16), 0);		/* mov [entry], rax */
	X86_RIG_CODE(r, 0x0f, 0x01, 0x3c, 0x25, 0, 0, 0, 0x40); /* invlpg [la] */
	X86_RIG_CODE(r, 0x48, 0xcf);
	X86_RIG_CODE(r, 0xb0, 0x77, X86_RIG_HALT, 0xf4);
}
TEST(x86_proof_large_page_of_the_window_changes) { both(large_page_changes, 0); }

/* What adc reads are flags that count, though nobody wants those that it leaves. */
static void flags_of_a_fault(struct x86_rig *r)
{
	to_user(r, USER);
	r->at = USER; /* mov esi, 0x60000000; jmp; stc; adc rax, [rsi]; xor eax, eax; int3 */
	X86_RIG_CODE(r, 0xbe, 0, 0, 0, 0x60, 0xeb, 0, 0xf9);
	X86_RIG_CODE(r, 0x48, 0x13, 0x06, 0x31, 0xc0, 0xcc);
	r->at = HANDLERS + 16 * 14; /* mov r8, [rsp + 24]; and r8d, 1 */
	X86_RIG_CODE(r, 0x4c, 0x8b, 0x44, 0x24, 24, 0x41, 0x83, 0xe0, 1, X86_RIG_HALT, 0xf4);
}
TEST(x86_proof_flags_of_a_fault_in_the_window) { both(flags_of_a_fault, 0); }

/* Pointers of x87 are the guest's: not where its code is in ours. */
static void x87_pointers(struct x86_rig *r)
{
	to_user(r, USER);
	r->at = USER; /* mov edi, 0x40000; fninit; fld1; fld qword [rdi]; fnstenv [rdi + 16] */
	X86_RIG_CODE(r, 0xbf, 0, 0, 4, 0, 0xeb, 0, 0xdb, 0xe3, 0xd9, 0xe8, 0xdd, 0x07);
	X86_RIG_CODE(r, 0xd9, 0x77, 16);
	X86_RIG_CODE(r, 0x48, 0x0f, 0xae, 0x87, 0, 2, 0, 0); /* fxsave64 [rdi + 512] */
	X86_RIG_CODE(r, 0xc7, 0x47, 4, 0, 0, 0xf1, 0x7f);    /* a signalling NaN */
	X86_RIG_CODE(r, 0xc7, 0x47, 8, 0x40, 3, 0, 0);	     /* [rdi + 8]: #IA not masked */
	X86_RIG_CODE(r, 0xd9, 0x6f, 8, 0xdd, 0x07);	     /* fldcw [rdi + 8]; fld qword [rdi] */
	X86_RIG_CODE(r, 0x48, 0x0f, 0xae, 0x87, 0, 4, 0, 0); /* fxsave64 [rdi + 1024] */
	X86_RIG_CODE(r, 0xd9, 0x77, 96, 0xcc);		     /* fnstenv [rdi + 96] */
}
TEST(x86_proof_x87_pointers_are_the_guests) { both(x87_pointers, 0); }

/* They are the guest's in the upper part of the window, too. */
static void x87_pointer_up_there(struct x86_rig *r)
{
	x86_rig_map(r, 0x5a0000000000, 0x30000, 0x107, 0);
	to_user(r, USER);
	r->at = USER; /* mov rdi, 0x5a0000000100; jmp; fninit; fld qword [rdi] */
	X86_RIG_CODE(r, 0x48, 0xbf, 0, 1, 0, 0, 0, 0x5a, 0, 0, 0xeb, 0, 0xdb, 0xe3, 0xdd, 0x07);
	X86_RIG_CODE(r, 0x48, 0x0f, 0xae, 0x87, 0, 1, 0, 0, 0xcc); /* fxsave64 [rdi + 256] */
}
/* All code goes, as CR4 changes, while x87 knows where in it it was. */
static void x87_pointer_outlives_code(struct x86_rig *r)
{
	X86_RIG_CODE(r, 0xbf, 0, 0, 4, 0, 0xeb, 0, 0xdb, 0xe3);	      /* mov edi, 0x40000; fninit */
	X86_RIG_CODE(r, 0xd9, 0xe8, 0x0f, 0x20, 0xe0, 0x83, 0xf0, 4); /* fld1; rax = cr4 ^ TSD */
	X86_RIG_CODE(r, 0x0f, 0x22, 0xe0, 0x48, 0x0f, 0xae, 0x07);    /* to cr4; fxsave64 [rdi] */
	X86_RIG_CODE(r, 0xb0, 0x77, X86_RIG_HALT, 0xf4);
}
TEST(x86_proof_x87_pointers_do_not_get_lost)
{
	both(x87_pointer_up_there, 0);
	both(x87_pointer_outlives_code, 0);
}

/* String instructions have their segment's base, too. */
static void strings_by_fs(struct x86_rig *r)
{
	r->v->seg[X86_FS].base = 0x1000;
	x86_mode_update(r->v);
	for (unsigned k = 0; k < 64; k++) x86_rig_put(r, 0x40000 + 8 * k, k, 8);
	for (unsigned k = 0; k < 64; k++) x86_rig_put(r, 0x41000 + 8 * k, ~k, 8);
	X86_RIG_CODE(r, 0xbe, 0, 0, 4, 0, 0xbf, 0, 0, 5, 0); /* mov esi, 0x40000; edi = 0x50000 */
	X86_RIG_CODE(r, 0xb9, 32, 0, 0, 0, 0xeb, 0, 0x64, 0xf3, 0x48, 0xa5); /* ecx = 32; movsq */
	X86_RIG_CODE(r, 0xb9, 9, 0, 0, 0, 0x64, 0xf3, 0xaa);		     /* stosb */
	X86_RIG_CODE(r, 0x48, 0xa1, 0, 0, 5, 0, 0, 0, 0, 0); /* mov rax, [0x50000] */
	X86_RIG_CODE(r, 0x48, 0x89, 0xc3, 0xb0, 0x77, X86_RIG_HALT, 0xf4);
}
TEST(x86_proof_strings_have_their_segment) { both(strings_by_fs, 0); }

/* Flags that the next instruction finds, behind one that was interpreted for its address's sake: a
 * load from page to page. */
static void flags_behind_a_crossing(struct x86_rig *r)
{
	X86_RIG_CODE(r, 0xbe, 0xfe, 0x0f, 4, 0, 0x31, 0xdb, 0xeb,
		     0);					/* mov esi, 0x40ffe; ebx = 0 */
	X86_RIG_CODE(r, 0x38, 0xc9, 0x48, 0x0f, 0x44, 0x06);	/* cmp cl, cl; cmovz rax, [rsi] */
	X86_RIG_CODE(r, 0x75, 2, 0xff, 0xc3);			/* jnz over inc ebx */
	X86_RIG_CODE(r, 0x80, 0xf9, 1, 0x48, 0x0f, 0x44, 0x06); /* cmp cl, 1; the same */
	X86_RIG_CODE(r, 0x74, 2, 0xff, 0xc3);			/* jz over inc ebx */
	X86_RIG_CODE(r, 0xb0, 0x77, X86_RIG_HALT, 0xf4);
}
/* A bit's address has 32 bits if the base's has. */
static void bit_by_32_bits(struct x86_rig *r)
{
	x86_rig_map(r, 0x100000000, 0x30000, 0x103, 0);
	X86_RIG_CODE(r, 0xbe, 0xf0, 0xff, 0xff, 0xff, 0xba, 0, 1, 0, 0); /* esi = -16; edx = 256 */
	X86_RIG_CODE(r, 0xeb, 0, 0x67, 0x48, 0x0f, 0xab, 0x16);		 /* bts [esi], rdx */
	X86_RIG_CODE(r, 0xb0, 0x77, X86_RIG_HALT, 0xf4);
}
TEST(x86_proof_what_random_programs_found)
{
	both(flags_behind_a_crossing, 0);
	both(bit_by_32_bits, 0);
}

/* Alignment is checked if a program asks for it. */
static void misaligned(struct x86_rig *r)
{
	r->v->cr0 |= CR0_AM;
	to_user(r, USER);
	r->at = USER; /* mov esi, 0x40001; pushf; or dword [rsp], AC; popf; mov rax, [rsi] */
	X86_RIG_CODE(r, 0xbe, 1, 0, 4, 0, 0xbc, 0, 0, 5, 0);
	X86_RIG_CODE(r, 0x9c, 0x81, 0x0c, 0x24, 0, 0, 4, 0, 0x9d, 0x48, 0x8b, 0x06, 0xcc);
}
TEST(x86_proof_alignment_is_checked) { both(misaligned, 0); }

/* What goes wrong in C is no fault of the guest's: the process ends. */
static uint64_t go_wrong(struct device *d, uint64_t off, unsigned len)
{
	(void)d, (void)len;
	volatile uint64_t *nowhere = (volatile uint64_t *)(uintptr_t)0x7fff0000;
	return *nowhere + off; /* a part of the window, if there is one */
}
TEST(x86_proof_a_crash_in_c_is_one)
{
	static const struct device_ops wrong = {.name = "wrong", .read = go_wrong};
	struct x86_rig *r = rig(true, 0, WINDOWS_EARLY);
	int status = 0;
	x86_rig_map(r, 0x40000000, X86_RIG_DEVICE, 3, 0);
	X86_RIG_CODE(r, 0xbe, 0, 0, 0, 0x40, 0x8b, 0x06, X86_RIG_HALT, 0xf4);
	pid_t child = fork();
	if (!child) {
		(void)alarm(10);
		(void)close(2); /* a sanitizer may have much to say */
		r->dev.ops = &wrong;
		run(r);
		_exit(0);
	}
	CHECK(child > 0 && waitpid(child, &status, 0) == child);
	CHECK(WIFSIGNALED(status) ? WTERMSIG(status) == SIGSEGV : WEXITSTATUS(status) != 0);
	done(r);
}

/* Writes are logged whether pages stand in the window or not: every page that was written since the
 * last look, and no other one. */
static void stores_of(struct x86_rig *r, uint64_t from)
{
	r->stops = 0;
	r->v->activity = X86_RUNNING;
	r->v->cpu.rip = CODE;
	r->v->cpu.r[RSP] = STACK;
	r->v->cpu.r[6] = from; /* rsi */
	run(r);
}
TEST(x86_proof_stores_are_told_of)
{
	for (unsigned k = 0; k < 3; k++) {
		struct x86_rig *r = rig(k, 0, k == 2 ? WINDOWS_EARLY : WINDOWS_OFF);
		uint64_t bits = 0;
		to_user(r, USER);
		r->at = USER; /* mov ecx, 8; mov [rsi], rcx; mov rax, [rsi + 0x1000]; */
		X86_RIG_CODE(r, 0xb9, 8, 0, 0, 0, 0x48, 0x89, 0x0e, 0x48, 0x8b, 0x86, 0, 0x10, 0,
			     0);
		X86_RIG_CODE(r, 0x48, 0x81, 0xc6, 0, 0x20, 0, 0); /* add rsi, 0x2000 */
		X86_RIG_CODE(r, 0xff, 0xc9, 0x75, 0xeb, 0xcc);	  /* dec ecx; jnz; int3 */
		stores_of(r, 0x240000);
		stores_of(r, 0x241000);
		gmem_track(r->mem, true);
		x86_fence(r->v, r->v);
		stores_of(r, 0x240000);
		CHECK(gmem_dirty_take(r->mem, 0x240000, 16 * X86_PAGE, &bits) && bits == 0x5555);
		x86_fence(r->v, r->v);
		stores_of(r, 0x241000);
		CHECK(gmem_dirty_take(r->mem, 0x240000, 16 * X86_PAGE, &bits) && bits == 0xaaaa);
		x86_fence(r->v, r->v);
		stores_of(r, 0x250000);
		CHECK(!gmem_dirty_take(r->mem, 0x240000, 16 * X86_PAGE, &bits));
		done(r);
	}
}
