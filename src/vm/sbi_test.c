#include "vm/sbi_test.h"
#include "base/test.h"

enum { BASE = 0x10, TIME = 0x54494d45, IPI = 0x735049, RFENCE = 0x52464e43 };
enum { HSM = 0x48534d, SRST = 0x53525354, DBCN = 0x4442434e };
#define CALL(ext, fn, ...) paper_call(&m, (ext), (fn), (const uint64_t[6]){__VA_ARGS__})
#define VALUE		   (m.cpu[0].x[11])

TEST(sbi_base_knows_its_extensions)
{
	struct paper m;
	static const uint64_t known[] = {BASE, TIME, IPI, RFENCE, HSM, SRST, DBCN};
	paper_init(&m);
	CHECK(CALL(BASE, 0) == 0 && VALUE == 0x02000000);
	for (unsigned i = 0; i < COUNT(known); i++)
		CHECK(CALL(BASE, 3, known[i]) == 0 && VALUE == 1);
	CHECK(CALL(BASE, 3, 0x4d555356) == 0 && VALUE == 0);
	CHECK(CALL(BASE, 7) == -2 && CALL(BASE, UINT64_MAX) == -2 && CALL(0, 0) == -2);
	m.cpu[0].csr[0xf12] = 77;
	CHECK(CALL(BASE, 5) == 0 && VALUE == 77);
	paper_done(&m);
}

TEST(sbi_time_sets_stimecmp)
{
	struct paper m;
	paper_init(&m);
	CHECK(CALL(TIME, 0, 12345) == 0 && m.cpu[0].csr[0x14d] == 12345);
	paper_done(&m);
}

TEST(sbi_ipi_reaches_who_is_named)
{
	struct paper m;
	paper_init(&m);
	CHECK(CALL(IPI, 0, 2, 0) == 0 && !m.cpu[0].irqs && m.cpu[1].irqs == 2);
	CHECK(CALL(IPI, 0, 1, 1) == 0);
	m.cpu[1].irqs = 0;
	CHECK(CALL(IPI, 0, 0, UINT64_MAX) == 0 && m.cpu[0].irqs == 2 && m.cpu[1].irqs == 2);
	CHECK(CALL(IPI, 0, 4, 0) == -3 && CALL(IPI, 0, 1, 2) == -3 && CALL(IPI, 0, 1, 64) == -3);
	CHECK(CALL(IPI, 0, 1ull << 63, 1) == -3 && CALL(IPI, 0, 1, UINT64_MAX - 1) == -3);
	CHECK(CALL(IPI, 0, 0, 0) == 0);
	paper_done(&m);
}

TEST(sbi_fences_are_passed_on)
{
	struct paper m;
	paper_init(&m);
	CHECK(CALL(RFENCE, 0, 2, 0) == 0 && m.cpu[1].fence == FENCE_CODE && !m.cpu[0].fences);
	CHECK(CALL(RFENCE, 1, 3, 0, 0x1000, 0x2000) == 0 && m.cpu[0].fences == 1);
	CHECK(m.cpu[1].fence == FENCE_TLB && m.cpu[1].fence_va == 0x1000);
	CHECK(m.cpu[1].fence_len == 0x2000);
	CHECK(CALL(RFENCE, 2, 2, 0, 0x1000, UINT64_MAX, 7) == 0 && m.cpu[1].fence_len == 0);
	CHECK(m.cpu[1].fence == FENCE_TLB_ASID && m.cpu[1].fence_asid == 7);
	CHECK(CALL(RFENCE, 1, 2, 0, 0x2000, UINT64_MAX - 4096) == 0 && m.cpu[1].fence_len == 0);
	CHECK(CALL(RFENCE, 1, 8, 0, 0, 0) == -3 && CALL(RFENCE, 3, 1, 0) == -2);
	paper_done(&m);
}

TEST(sbi_hsm_starts_and_stops)
{
	struct paper m;
	paper_init(&m);
	CHECK(CALL(HSM, 2, 0) == 0 && VALUE == HART_STARTED);
	CHECK(CALL(HSM, 2, 1) == 0 && VALUE == HART_STOPPED);
	CHECK(CALL(HSM, 2, 2) == -3 && CALL(HSM, 2, UINT64_MAX) == -3);
	CHECK(CALL(HSM, 0, 2, PAPER_RAM) == -3);
	CHECK(CALL(HSM, 0, 1, 0) == -5 && CALL(HSM, 0, 1, PAPER_RAM + 1) == -5);
	CHECK(CALL(HSM, 0, 1, PAPER_RAM + PAPER_LEN) == -5);
	CHECK(CALL(HSM, 0, 0, PAPER_RAM) == -6);
	CHECK(CALL(HSM, 0, 1, PAPER_RAM, 99) == 0);
	CHECK(m.vm.hart[1].start_pc == PAPER_RAM && m.vm.hart[1].start_arg == 99);
	CHECK(CALL(HSM, 2, 1) == 0 && VALUE == HART_START_PENDING);
	CHECK(CALL(HSM, 0, 1, PAPER_RAM, 99) == -6);
	CHECK(CALL(HSM, 1) != 0 && m.vm.hart[0].state == HART_STOPPED);
	paper_done(&m);
}

TEST(sbi_hsm_suspends_until_an_interrupt)
{
	struct paper m;
	paper_init(&m);
	CHECK(CALL(HSM, 3, 1) == -3 && CALL(HSM, 3, 0x10000000) == -2);
	CHECK(CALL(HSM, 3, 0x80000001) == -3 && CALL(HSM, 3, 0x80000000, 1) == -5);
	m.cpu[0].csr[0x104] = m.cpu[0].csr[0x144] = 2;
	CHECK(CALL(HSM, 3, 0) == 0 && m.vm.hart[0].state == HART_STARTED);
	CHECK(CALL(HSM, 3, 0x80000000, PAPER_RAM + 4, 5) == 0);
	CHECK(m.vm.hart[0].state == HART_START_PENDING && m.vm.hart[0].start_pc == PAPER_RAM + 4);
	m.cpu[0].csr[0x144] = 0; /* nothing pending, but the machine is to halt */
	m.vm.want = VM_HALT;
	CHECK(CALL(HSM, 3, 0) == 0);
	paper_done(&m);
}

TEST(sbi_reset_asks_for_power)
{
	struct paper m;
	paper_init(&m);
	CHECK(CALL(SRST, 0, 3) == -3 && CALL(SRST, 0, 0xf0000000) == -2 &&
	      CALL(SRST, 0, 0, 2) == -3);
	CHECK(m.vm.power == VM_POWER_NONE && m.vm.want == VM_RUN);
	CHECK(CALL(SRST, 0, 0, 1) == 0);
	CHECK(m.vm.power == VM_POWER_OFF && m.vm.code == 1 && m.vm.want == VM_HALT);
	CHECK(m.cpu[0].kicks == 1 && m.cpu[1].kicks == 1);
	CHECK(CALL(SRST, 0, 1, 0) == 0 && m.vm.power == VM_POWER_OFF); /* the first one wins */
	paper_done(&m);
}

TEST(sbi_console_checks_addresses)
{
	struct paper m;
	paper_init(&m);
	CHECK(gmem_write(m.vm.mem, PAPER_RAM, "hello", 5));
	CHECK(CALL(DBCN, 0, 5, PAPER_RAM) == 0 && VALUE == 5);
	CHECK(m.out_len == 5 && !memcmp(m.out, "hello", 5));
	CHECK(CALL(DBCN, 0, 5, PAPER_RAM, 1) == -3 && CALL(DBCN, 0, 5, 0) == -3);
	CHECK(CALL(DBCN, 0, UINT64_MAX, PAPER_RAM) == -3);
	CHECK(CALL(DBCN, 0, PAPER_LEN + 1, PAPER_RAM) == -3);
	CHECK(CALL(DBCN, 0, 0, 0) == 0 && VALUE == 0);
	CHECK(CALL(DBCN, 1, 8, PAPER_RAM) == 0 && VALUE == 0 && CALL(DBCN, 1, 8, 0) == -3);
	CHECK(CALL(DBCN, 0, PAPER_LEN, PAPER_RAM) == 0 && VALUE == sizeof(m.out) - 5);
	CHECK(CALL(DBCN, 2, 'x') == -1);
	m.out_len = 0;
	CHECK(CALL(DBCN, 2, 'x') == 0 && m.out[0] == 'x');
	paper_done(&m);
}
