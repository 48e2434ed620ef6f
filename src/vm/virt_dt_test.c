#include "base/test.h"
#include "vm/virt.h"
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *tree(const struct virt_tree *t)
{
	void *blob = NULL;
	size_t len = 0;
	struct err e = {0};
	CHECK(virt_tree(&blob, &len, t, &e) == 0);
	CHECK(blob && fdt_check_full(blob, len) == 0);
	return blob;
}

static const char *text(const void *blob, const char *path, const char *name)
{
	const char *s = fdt_getprop(blob, fdt_path_offset(blob, path), name, NULL);
	return s ? s : "(none)";
}

static const struct virt_tree two = {.cpus = 2,
				     .page_table = 8,
				     .memory = 64 * MIB,
				     .window64 = 16 * GIB,
				     .menvcfg = UINT64_MAX,
				     .sbi = true,
				     .append = "quiet",
				     .initrd = 0x83000000,
				     .initrd_end = 0x83000100};

TEST(virt_tree_says_what_the_board_has)
{
	void *blob = tree(&two);
	CHECK(!strcmp(text(blob, "/chosen", "bootargs"), "quiet"));
	CHECK(!strcmp(text(blob, "/cpus/cpu@1", "mmu-type"), "riscv,sv39"));
	CHECK(fdt_path_offset(blob, "/cpus/cpu@2") < 0);
	CHECK(fdt_path_offset(blob, text(blob, "/chosen", "stdout-path")) > 0);
	CHECK(fdt_path_offset(blob, "/soc/clint@2000000") < 0);
	int n, plic = fdt_path_offset(blob, "/soc/plic@c000000");
	CHECK(plic > 0 && fdt_getprop(blob, plic, "interrupts-extended", &n) && n == 32);
	CHECK(fdt_getprop(blob, fdt_path_offset(blob, "/soc/pci@30000000"), "interrupt-map", &n));
	CHECK(n == 16 * 6 * 4);
	free(blob);
}

TEST(virt_tree_isa_follows_menvcfg)
{
	struct virt_tree t = two;
	const char *isa;
	void *blob = tree(&t);
	isa = text(blob, "/cpus/cpu@0", "riscv,isa");
	CHECK(!strncmp(isa, "rv64imafdcv_zicbom_", 19) && strstr(isa, "_sstc_svadu_"));
	CHECK(fdt_stringlist_search(blob, fdt_path_offset(blob, "/cpus/cpu@0"),
				    "riscv,isa-extensions", "svpbmt") > 0);
	free(blob);
	t.menvcfg = 0;
	blob = tree(&t);
	isa = text(blob, "/cpus/cpu@0", "riscv,isa");
	CHECK(!strstr(isa, "sstc") && !strstr(isa, "zicboz") && strstr(isa, "_zicntr_"));
	free(blob);
	t.sbi = false; /* firmware sets menvcfg, to what we say here */
	blob = tree(&t);
	isa = text(blob, "/cpus/cpu@0", "riscv,isa");
	CHECK(strstr(isa, "sstc") && !strstr(isa, "svadu"));
	CHECK(fdt_path_offset(blob, "/soc/clint@2000000") > 0);
	free(blob);
}

TEST(virt_tree_without_initrd_and_append)
{
	struct virt_tree t = two;
	t.append = NULL;
	t.initrd_end = t.initrd;
	void *blob = tree(&t);
	CHECK(!strcmp(text(blob, "/chosen", "bootargs"), "(none)"));
	CHECK(!strcmp(text(blob, "/chosen", "linux,initrd-start"), "(none)"));
	free(blob);
}

TEST(virt_tree_with_a_long_command_line)
{
	struct virt_tree t = two;
	size_t n = 60000;
	char *line = malloc(n + 1);
	memset(line, 'x', n);
	line[n] = 0;
	t.append = line;
	void *blob = tree(&t);
	CHECK(strlen(text(blob, "/chosen", "bootargs")) == n);
	free(blob);
	free(line);
}

TEST(virt_tree_pleases_dtc) /* where there is a dtc */
{
	char path[] = "/tmp/lodge-tree-XXXXXX", line[256];
	if (system("command -v dtc >/dev/null 2>&1")) return;
	struct virt_tree t = two;
	t.sbi = false;
	void *blob = tree(&t);
	int fd = mkstemp(path);
	CHECK(fd >= 0 && write(fd, blob, fdt_totalsize(blob)) == (ssize_t)fdt_totalsize(blob));
	(void)close(fd);
	(void)snprintf(line, sizeof(line), "test -z \"$(dtc -I dtb -O dts -o /dev/null %s 2>&1)\"",
		       path);
	CHECK(system(line) == 0);
	(void)unlink(path);
	free(blob);
}
