/* The instruction table as data, as the generator printed it. */
#include "isa/rv64/form.h"

#include "isa/rv64/rv64.info.inc"

const unsigned rv64_forms_count = sizeof(rv64_forms) / sizeof(*rv64_forms);

const struct rv64_info *rv64_info(enum rv64_op op)
{
	return &rv64_forms[op < OP__max ? op : OP_illegal].info;
}

const char *rv64_csr_name(unsigned number)
{
	size_t lo = 0, hi = sizeof(names) / sizeof(*names);
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (names[mid].number == number) return names[mid].text;
		if (names[mid].number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}
