/* Sequences of SBI calls with any arguments, on a machine of paper. */
#include "vm/sbi_test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t known[] = {0x10,	   0x54494d45, 0x735049,  0x52464e43,
					 0x48534d, 0x53525354, 0x4442434e};
	struct call {
		uint8_t ext, fn, kind[6];
		uint64_t arg[3];
	} c;
	struct paper m;
	paper_init(&m);
	m.cpu[0].csr[0x104] = m.cpu[0].csr[0x144] = 2; /* never sleep */
	for (; size >= sizeof(c); data += sizeof(c), size -= sizeof(c)) {
		uint64_t a[6];
		memcpy(&c, data, sizeof(c));
		for (unsigned i = 0; i < 6; i++)
			a[i] = c.kind[i] < 64	 ? c.kind[i]
			       : c.kind[i] < 128 ? PAPER_RAM + c.kind[i]
						 : c.arg[i % 3];
		(void)paper_call(&m, c.ext < 250 ? known[c.ext % 7] : c.arg[0], c.fn % 8, a);
		must(m.vm.hart[0].state <= HART_SUSPENDED && m.out_len <= sizeof(m.out));
	}
	paper_done(&m);
	return 0;
}
