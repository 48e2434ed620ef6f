#ifndef DEV_LAPIC_H
#define DEV_LAPIC_H
#include "dev/pc.h"
#include "dev/wake.h"
/* Between lapic.c and lapic_state.c. */
enum { /* register numbers: offset / 16, and MSR - 0x800 (table 11-1, 11-6) */
       ID = 0x02,
       VERSION = 0x03,
       TPR = 0x08,
       APR = 0x09,
       PPR = 0x0a,
       EOI = 0x0b,
       RRD = 0x0c,
       LDR = 0x0d,
       DFR = 0x0e,
       SVR = 0x0f,
       ISR = 0x10,
       TMR = 0x18,
       IRR = 0x20,
       ESR = 0x28,
       ICR = 0x30,
       ICR_HIGH = 0x31,
       LVT_TIMER = 0x32,
       LVT_LINT0 = 0x35,
       LVT_LINT1 = 0x36,
       LVT_ERROR = 0x37,
       TIMER_COUNT = 0x38,
       TIMER_NOW = 0x39,
       TIMER_DIVIDE = 0x3e,
       SELF_IPI = 0x3f,
       REGS = 0x40,
};
enum { MSR_FIRST = 0x800, MSR_LAST = 0x8ff, MSR_DEADLINE = 0x6e0 };
enum { LVTS = LVT_ERROR - LVT_TIMER + 1, VERSION_IS = 0x14 | (LVTS - 1) << 16 };
enum { BASE_BSP = 1 << 8, BASE_X2 = 1 << 10, BASE_ON = 1 << 11, BASE_AT = 0xfee00000u };
enum { SVR_ON = 1 << 8, SVR_MASK = 0x3ff };
enum { LVT_MASKED = 1 << 16, LVT_LEVEL = 1 << 15, LVT_REMOTE_IRR = 1 << 14, LVT_DS = 1 << 12 };
enum lapic_timer { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_DEADLINE }; /* LVT bits 18..17 */
enum { FIXED, LOWEST, SMI, NMI = 4, INIT, SIPI, EXTINT };
enum { ICR_LOGICAL = 1 << 11, ICR_ASSERT = 1 << 14, ICR_LEVEL = 1 << 15, ICR_MASK = 0xccfff };
enum { SELF = 1, ALL, OTHERS };
enum { ERR_SEND_VECTOR = 1 << 5, ERR_RECEIVE_VECTOR = 1 << 6, ERR_REGISTER = 1 << 7 };
enum { LEAST_NS = 50000, CPUS = 4096, NOBODY = CPUS };
#define DEST_X2_ALL 0xffffffffu

struct lapic {
	struct device page;
	struct lapics *of;
	unsigned id;
	pthread_mutex_t lock; /* all that follows */
	uint64_t base;
	uint32_t irr[8], isr[8], tmr[8];
	uint32_t tpr, ldr, dfr, svr, esr, errors, icr, icr_high;
	uint32_t lvt[LVTS];
	uint32_t count, divide;
	uint64_t started;  /* ns of the clock at which count was written, or the period began */
	uint64_t fired;	   /* ns */
	uint64_t deadline; /* in its TSC; 0: none */
	struct wake wake;
	bool lint[2]; /* levels */
	int intr;     /* as last set */
};

struct lapics {
	struct lapic_env env;
	struct device *pic, *ioapic;
	unsigned n;
	struct lapic cpu[];
};

/* Under its lock, all of them. */
uint64_t lapic_now(const struct lapic *a);
uint64_t lapic_tick_ns(const struct lapic *a);
void lapic_update(struct lapic *a); /* say what it asks of its CPU */
unsigned lapic_timer_mode(struct lapic *a);
void lapic_timer_arm(struct lapic *a); /* after anything about the timer changed */
uint32_t lapic_register(struct lapic *a, unsigned r);
#endif
