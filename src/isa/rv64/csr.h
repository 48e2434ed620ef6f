#ifndef ISA_RV64_CSR_H
#define ISA_RV64_CSR_H
/* Numbers of the privileged architecture (version 1.13) and what the unprivileged
 * specification adds to them: CSRs, their fields, trap causes, page table entries. */
enum {
	CSR_FFLAGS = 0x001,
	CSR_FRM = 0x002,
	CSR_FCSR = 0x003,
	CSR_VSTART = 0x008,
	CSR_VXSAT = 0x009,
	CSR_VXRM = 0x00a,
	CSR_VCSR = 0x00f,
	CSR_VL = 0xc20,
	CSR_VTYPE = 0xc21,
	CSR_VLENB = 0xc22,
	CSR_CYCLE = 0xc00,
	CSR_TIME = 0xc01,
	CSR_INSTRET = 0xc02,
	CSR_HPMCOUNTER3 = 0xc03, /* ..31 */

	CSR_SSTATUS = 0x100,
	CSR_SIE = 0x104,
	CSR_STVEC = 0x105,
	CSR_SCOUNTEREN = 0x106,
	CSR_SENVCFG = 0x10a,
	CSR_SSCRATCH = 0x140,
	CSR_SEPC = 0x141,
	CSR_SCAUSE = 0x142,
	CSR_STVAL = 0x143,
	CSR_SIP = 0x144,
	CSR_STIMECMP = 0x14d,
	CSR_SATP = 0x180,

	CSR_MSTATUS = 0x300,
	CSR_MISA = 0x301,
	CSR_MEDELEG = 0x302,
	CSR_MIDELEG = 0x303,
	CSR_MIE = 0x304,
	CSR_MTVEC = 0x305,
	CSR_MCOUNTEREN = 0x306,
	CSR_MENVCFG = 0x30a,
	CSR_MCOUNTINHIBIT = 0x320,
	CSR_MHPMEVENT3 = 0x323, /* ..31 */
	CSR_MSCRATCH = 0x340,
	CSR_MEPC = 0x341,
	CSR_MCAUSE = 0x342,
	CSR_MTVAL = 0x343,
	CSR_MIP = 0x344,
	CSR_PMPCFG0 = 0x3a0,
	CSR_PMPCFG2 = 0x3a2,
	CSR_PMPADDR0 = 0x3b0, /* ..15 */
	CSR_MCYCLE = 0xb00,
	CSR_MINSTRET = 0xb02,
	CSR_MHPMCOUNTER3 = 0xb03, /* ..31 */
	CSR_MVENDORID = 0xf11,
	CSR_MARCHID = 0xf12,
	CSR_MIMPID = 0xf13,
	CSR_MHARTID = 0xf14,
	CSR_MCONFIGPTR = 0xf15,
};

/* mstatus (3.1.6) */
#define MSTATUS_SIE  (1ull << 1)
#define MSTATUS_MIE  (1ull << 3)
#define MSTATUS_SPIE (1ull << 5)
#define MSTATUS_MPIE (1ull << 7)
#define MSTATUS_SPP  (1ull << 8)
#define MSTATUS_VS   (3ull << 9)
#define MSTATUS_MPP  (3ull << 11)
#define MSTATUS_FS   (3ull << 13)
#define MSTATUS_MPRV (1ull << 17)
#define MSTATUS_SUM  (1ull << 18)
#define MSTATUS_MXR  (1ull << 19)
#define MSTATUS_TVM  (1ull << 20)
#define MSTATUS_TW   (1ull << 21)
#define MSTATUS_TSR  (1ull << 22)
#define MSTATUS_UXL  (2ull << 32)
#define MSTATUS_SXL  (2ull << 34)
#define MSTATUS_SD   (1ull << 63)

/* vtype (V, 3.4) */
#define VTYPE_ILL (1ull << 63)

/* menvcfg (3.1.18), senvcfg (10.1.10) */
#define ENVCFG_FIOM  (1ull << 0)
#define ENVCFG_CBIE  (3ull << 4)
#define ENVCFG_CBCFE (1ull << 6)
#define ENVCFG_CBZE  (1ull << 7)
#define ENVCFG_ADUE  (1ull << 61)
#define ENVCFG_PBMTE (1ull << 62)
#define ENVCFG_STCE  (1ull << 63)

/* satp (10.1.11) */
#define SATP_PPN	((1ull << 44) - 1)
#define SATP_ASID_SHIFT 44
#define SATP_MODE_SHIFT 60

/* pmpcfg (3.7.1): one byte an entry */
enum { PMP_R = 1, PMP_W = 2, PMP_X = 4, PMP_A = 0x18, PMP_L = 0x80, PMP_ENTRIES = 16 };
enum { PMP_OFF = 0, PMP_TOR = 0x08, PMP_NA4 = 0x10, PMP_NAPOT = 0x18 };

/* mcounteren, scounteren, mcountinhibit */
enum { COUNTER_CY = 1, COUNTER_TM = 2, COUNTER_IR = 4 };

/* page table entries (10.3, 10.4; Svnapot, Svpbmt) */
#define PTE_V	      (1ull << 0)
#define PTE_R	      (1ull << 1)
#define PTE_W	      (1ull << 2)
#define PTE_X	      (1ull << 3)
#define PTE_U	      (1ull << 4)
#define PTE_G	      (1ull << 5)
#define PTE_A	      (1ull << 6)
#define PTE_D	      (1ull << 7)
#define PTE_PPN_SHIFT 10
#define PTE_PPN	      (((1ull << 44) - 1) << PTE_PPN_SHIFT)
#define PTE_RESERVED  (0x7full << 54)
#define PTE_PBMT      (3ull << 61)
#define PTE_N	      (1ull << 63)

/* exception causes (3.1.15) */
enum rv64_cause {
	CAUSE_FETCH_ACCESS = 1,
	CAUSE_ILLEGAL = 2,
	CAUSE_BREAKPOINT = 3,
	CAUSE_LOAD_MISALIGNED = 4,
	CAUSE_LOAD_ACCESS = 5,
	CAUSE_STORE_MISALIGNED = 6,
	CAUSE_STORE_ACCESS = 7,
	CAUSE_ECALL_U = 8,
	CAUSE_ECALL_S = 9,
	CAUSE_ECALL_M = 11,
	CAUSE_FETCH_PAGE = 12,
	CAUSE_LOAD_PAGE = 13,
	CAUSE_STORE_PAGE = 15,
};
#define CAUSE_INTERRUPT (1ull << 63)

enum { PRIV_U = 0, PRIV_S = 1, PRIV_M = 3 };
/* mip and mie: interrupts by number (3.1.9) */
enum {
	MIP_SSIP = 1 << 1,
	MIP_MSIP = 1 << 3,
	MIP_STIP = 1 << 5,
	MIP_MTIP = 1 << 7,
	MIP_SEIP = 1 << 9,
	MIP_MEIP = 1 << 11,
	MIP_S = MIP_SSIP | MIP_STIP | MIP_SEIP,
	MIP_ALL = MIP_S | MIP_MSIP | MIP_MTIP | MIP_MEIP,
};
#endif
