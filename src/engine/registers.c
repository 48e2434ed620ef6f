/* Which registers make up a vCPU, for those who save and load it, whatever the engine. Order: what
 * setting another one would change comes after it. */
#include "engine/engine.h"
#include "engine/x86_regs.h"
#include "isa/rv64/csr.h"

#define CSR(name)                                                                                  \
	{                                                                                          \
		REG_RV_CSR + CSR_##name, 1                                                         \
	}
#define CSRS(name, n)                                                                              \
	{                                                                                          \
		REG_RV_CSR + CSR_##name, n                                                         \
	}
#define MSR(index)                                                                                 \
	{                                                                                          \
		REG_X86_MSR + (index), 1                                                           \
	}
#define MSRS(index, n)                                                                             \
	{                                                                                          \
		REG_X86_MSR + (index), n                                                           \
	}

/* mstatus after fcsr and vcsr, which make FS and VS dirty; pmpcfg after pmpaddr, which it locks. */
static const struct reg_range rv64[] = {
	{REG_RV_X + 1, 31}, {REG_RV_F, 32},  {REG_RV_PC, 1},	 {REG_RV_V, 64},
	CSR(MEDELEG),	    CSR(MIDELEG),    CSR(MIE),		 CSR(MTVEC),
	CSR(MCOUNTEREN),    CSR(MENVCFG),    CSR(MCOUNTINHIBIT), CSR(MSCRATCH),
	CSR(MEPC),	    CSR(MCAUSE),     CSR(MTVAL),	 CSRS(PMPADDR0, PMP_ENTRIES),
	CSR(PMPCFG0),	    CSR(PMPCFG2),    CSR(MCYCLE),	 CSR(MINSTRET),
	CSR(STVEC),	    CSR(SCOUNTEREN), CSR(SENVCFG),	 CSR(SSCRATCH),
	CSR(SEPC),	    CSR(SCAUSE),     CSR(STVAL),	 CSR(STIMECMP),
	CSR(SATP),	    CSR(FCSR),	     CSR(VTYPE),	 CSR(VL),
	CSR(VSTART),	    CSR(VCSR),	     CSR(MSTATUS),	 {REG_RV_PENDING, 1},
	{REG_RV_PRIV, 1},   {0, 0},
};

static const struct reg_range x86[] = {
	{REG_X86_GPR, 16},
	{REG_X86_RIP, 1},
	{REG_X86_RFLAGS, 1},
	{REG_X86_SEG, 32},
	{REG_X86_GDT_BASE, 4},
	{REG_X86_EFER, 1},
	{REG_X86_CR + 4, 1},
	{REG_X86_CR + 3, 1},
	{REG_X86_CR + 2, 1},
	{REG_X86_CR, 1},
	{REG_X86_PDPTE, 4},
	{REG_X86_XCR0, 1},
	{REG_X86_XSAVE, X86_XSAVE_ROOM / 8},
	{REG_X86_DR, 4},
	{REG_X86_DR + 6, 2},
	MSR(0x3b),  /* TSC_ADJUST */
	MSR(0x48),  /* SPEC_CTRL */
	MSR(0x10a), /* ARCH_CAPABILITIES: what it was told */
	MSR(0x140),
	MSRS(0x174, 3), /* SYSENTER */
	MSR(0x17a),
	MSR(0x1a0), /* MISC_ENABLE */
	MSR(0x1d9), /* DEBUGCTL */
	MSRS(0x200, 16),
	MSR(0x250), /* MTRRs, PAT */
	MSRS(0x258, 2),
	MSRS(0x268, 8),
	MSR(0x277),
	MSR(0x2ff),
	MSRS(0x400, 4),	     /* machine checks */
	MSR(0xda0),	     /* XSS */
	MSRS(0x4b564d00, 5), /* KVM's clock and its other services */
	MSR(0x4b564d06),
	MSR(0xc0010015u),     /* HWCR */
	MSRS(0xc0000081u, 4), /* STAR LSTAR CSTAR SFMASK */
	MSRS(0xc0000102u, 2), /* KERNEL_GS_BASE TSC_AUX */
	{REG_X86_PV_TSC, 2},
	{REG_X86_EVENT_EXCEPTION, 7},
	{REG_X86_ACTIVITY, 1},
	{REG_X86_EVENT_INIT, 1},
	{0, 0},
};

const struct reg_range *engine_registers(enum arch a) { return a == ARCH_RV64 ? rv64 : x86; }
