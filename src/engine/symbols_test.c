#include "base/test.h"
#include "engine/symbols.h"
#include <elf.h>
#include <errno.h>
#include <string.h>

static const char *name_of(const struct symbols *s, gva_t va, uint64_t *off)
{
	*off = 99;
	return symbols_find(s, va, off);
}
static bool finds(const struct symbols *s, gva_t va, const char *name, uint64_t off)
{
	uint64_t got;
	return !strcmp(name_of(s, va, &got), name) && got == off;
}
static int parse(struct symbols *s, const char *text)
{
	struct err e = {0};
	return symbols_parse(s, text, strlen(text), &e);
}

TEST(names_come_from_lines)
{
	struct symbols *s = symbols_new();
	uint64_t off;
	CHECK(!*name_of(s, 0x1000, &off));
	CHECK(!parse(
		s, "ffffffff80001000 T two\nffffffff80000000 t one\t[module]\n"
		   "ffffffff80000800 D data\n0000000000000000 T hidden\nffffffff80002000 W last"));
	CHECK(symbols_count(s) == 3);
	CHECK(finds(s, 0xffffffff80000000, "one", 0) && finds(s, 0xffffffff80000fff, "one", 0xfff));
	CHECK(finds(s, 0xffffffff80001000, "two", 0) && finds(s, 0xffffffff80002002, "last", 2));
	CHECK(!*name_of(s, 0xffffffff7fffffff, &off) && !*name_of(s, 0xffffffff90000000, &off));
	symbols_free(s);
	symbols_free(NULL);
}

TEST(what_names_nothing_is_refused)
{
	static const char *const bad[] = {"",
					  "\n\n",
					  "T",
					  "1 T",
					  "1 T ",
					  "zz T x\n",
					  "1  x\n",
					  "1 D x",
					  "\x7f"
					  "ELF",
					  "1 T \x01",
					  "10000000000000000 T x",
					  "1 T .L1"};
	struct symbols *s = symbols_new();
	struct err e = {0};
	for (unsigned i = 0; i < COUNT(bad); i++) CHECK(parse(s, bad[i]) == -ENOENT);
	CHECK(symbols_parse(s, "1 T x\n\0", 7, &e) == -ENOENT); /* not text */
	CHECK(symbols_read(s, "/nonexistent", &e) == -ENOENT && strstr(e.msg, "/nonexistent"));
	CHECK(!symbols_count(s));
	symbols_free(s);
}

struct tiny { /* an ELF file of two symbols */
	Elf64_Ehdr h;
	Elf64_Shdr s[3];
	Elf64_Sym sym[4];
	char names[16];
};
static struct tiny tiny(void)
{
	struct tiny t = {
		.h = {.e_ident = ELFMAG,
		      .e_shoff = offsetof(struct tiny, s),
		      .e_shnum = 3,
		      .e_shentsize = sizeof(Elf64_Shdr)},
		.s[1] = {.sh_type = SHT_SYMTAB,
			 .sh_offset = offsetof(struct tiny, sym),
			 .sh_size = sizeof(t.sym),
			 .sh_link = 2},
		.s[2] = {.sh_type = SHT_STRTAB,
			 .sh_offset = offsetof(struct tiny, names),
			 .sh_size = sizeof(t.names)},
		.sym = {{0},
			{.st_name = 1, .st_info = STT_FUNC, .st_shndx = 1, .st_value = 0x1000},
			{.st_name = 4, .st_info = STT_NOTYPE, .st_shndx = 1, .st_value = 0x1010},
			{.st_name = 4, .st_info = STT_OBJECT, .st_shndx = 1, .st_value = 0x1020}},
		.names = "\0fn\0label\0",
	};
	t.h.e_ident[EI_CLASS] = ELFCLASS64;
	return t;
}

TEST(names_come_from_an_elf_file)
{
	struct symbols *s = symbols_new();
	struct tiny t = tiny();
	struct err e = {0};
	CHECK(!symbols_parse(s, &t, sizeof(t), &e) && symbols_count(s) == 2);
	CHECK(finds(s, 0x1004, "fn", 4) && finds(s, 0x1020, "label", 0x10));
	symbols_free(s);
}

/* Any byte wrong, any length: names or an error. */
TEST(damaged_elf_files_are_survived)
{
	for (size_t i = 0; i < sizeof(struct tiny); i++)
		for (unsigned v = 0; v < 3; v++) {
			struct symbols *s = symbols_new();
			struct tiny t = tiny();
			((uint8_t *)&t)[i] = (uint8_t[]){0, 0x7f, 0xff}[v];
			(void)symbols_parse(s, &t, sizeof(t), NULL);
			(void)symbols_parse(s, &t, i, NULL);
			symbols_free(s);
		}
}
