/* Any operation of fp.h on any operands in any mode: the host's way and softfp must agree. */
#include "base/err.h"
#include "isa/rv64/fp_cases.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t v[3], host, soft;
	if (size < 2 + sizeof(v)) return 0;
	const struct fp_op *op = &fp_ops[data[0] % COUNT(fp_ops)];
	unsigned rm = data[1] & 7, frm = data[1] >> 3 & 7;
	if (rm > RM_RMM && (rm != RM_DYN || frm > RM_RMM)) return 0;
	memcpy(v, data + 2, sizeof(v));
	struct rv64_fp on = {.frm = (uint8_t)frm}, off = on;
	fp_enter(&on);
	host = fp_op_run(op, &on, v, rm);
	fp_leave(&on);
	soft = fp_op_run(op, &off, v, rm);
	must(host == soft && on.flags == off.flags);
	return 0;
}
