/* What goes into a device tree: it is well-formed whatever the command line and sizes. */
#include "vm/virt.h"
#include <libfdt.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virt_tree t = {0};
	struct err e = {0};
	void *blob = NULL;
	size_t len = 0;
	if (size < 36) return 0;
	char *line = strndup((const char *)data + 36, size - 36);
	t.cpus = 1 + data[0] % 8;
	t.page_table = 8 + data[1] % 3;
	t.sbi = data[2] & 1;
	t.append = data[2] & 2 ? line : NULL;
	t.memory = load_le(data + 4, 8);
	t.menvcfg = load_le(data + 12, 8);
	t.initrd = load_le(data + 20, 8);
	t.initrd_end = load_le(data + 28, 8);
	must(virt_tree(&blob, &len, &t, &e) == 0 && fdt_check_full(blob, len) == 0);
	free(blob);
	free(line);
	return 0;
}
