/* What addresses of a guest are called, for profiles and dumps: a sorted list out of whatever file
 * there is. */
#include "engine/symbols.h"
#include "base/buf.h"
#include "base/file.h"
#include "engine/kallsyms.h"
#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>

enum { NAME_MAX_LEN = 200, ALL_MAX = 4 << 20 };
#define FILE_MAX_LEN GIB
#define NEAR	     (256 * KIB) /* no function is longer */
struct symbol {
	gva_t at;
	size_t name; /* in text */
};
struct symbols {
	struct symbol *all;
	size_t n, room;
	struct buf text;
};

struct symbols *symbols_new(void)
{
	struct symbols *s = calloc(1, sizeof(*s));
	must(s);
	return s;
}

void symbols_free(struct symbols *s)
{
	if (!s) return;
	free(s->all);
	buf_done(&s->text);
	free(s);
}

size_t symbols_count(const struct symbols *s) { return s->n; }

/* Names are taken up to the first byte that would spoil a line. Compilers' own labels are not. */
static void add(struct symbols *s, gva_t at, const char *name, size_t len)
{
	size_t n = 0;
	while (n < len && n < NAME_MAX_LEN && isgraph((unsigned char)name[n])) n++;
	if (!n || name[0] == '$' || name[0] == '.' || !at || s->n == ALL_MAX) return;
	if (s->n == s->room) {
		s->room = s->room ? 2 * s->room : 1024;
		s->all = realloc(s->all, s->room * sizeof(*s->all));
		must(s->all);
	}
	s->all[s->n++] = (struct symbol){at, s->text.len};
	buf_add(&s->text, name, n);
	buf_add(&s->text, "", 1);
}

/* ---- ELF64 ---- */
struct span {
	const uint8_t *p;
	size_t n;
};
static uint64_t field(struct span s, uint64_t off, unsigned len)
{
	return s.n >= len && off <= s.n - len ? load_le(s.p + off, len) : 0;
}
static struct span part(struct span s, uint64_t off, uint64_t len)
{
	if (off > s.n || len > s.n - off) return (struct span){s.p, 0};
	return (struct span){s.p + off, (size_t)len};
}
#define FIELD(s, off, T, m) field(s, (off) + offsetof(T, m), sizeof(((T *)0)->m))

static void add_elf_symbol(struct symbols *s, struct span sym, struct span names)
{
	uint64_t name = FIELD(sym, 0, Elf64_Sym, st_name), at = FIELD(sym, 0, Elf64_Sym, st_value);
	uint64_t where = FIELD(sym, 0, Elf64_Sym, st_shndx);
	unsigned type = FIELD(sym, 0, Elf64_Sym, st_info) & 15;
	bool code = type == STT_FUNC || type == STT_NOTYPE;
	if (!code || !where || where >= SHN_LORESERVE || name >= names.n) return;
	const char *text = (const char *)names.p + name;
	add(s, at, text, strnlen(text, names.n - (size_t)name));
}

static struct span section(struct span f, uint64_t header)
{
	return part(f, FIELD(f, header, Elf64_Shdr, sh_offset),
		    FIELD(f, header, Elf64_Shdr, sh_size));
}

static void add_elf(struct symbols *s, struct span f)
{
	uint64_t first = FIELD(f, 0, Elf64_Ehdr, e_shoff),
		 size = FIELD(f, 0, Elf64_Ehdr, e_shentsize);
	uint64_t count = FIELD(f, 0, Elf64_Ehdr, e_shnum);
	if (size < sizeof(Elf64_Shdr) || first > f.n) return;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t at = first + i * size, link = FIELD(f, at, Elf64_Shdr, sh_link);
		if (FIELD(f, at, Elf64_Shdr, sh_type) != SHT_SYMTAB || link >= count) continue;
		struct span all = section(f, at), names = section(f, first + link * size);
		for (size_t k = 0; k + sizeof(Elf64_Sym) <= all.n; k += sizeof(Elf64_Sym))
			add_elf_symbol(s, part(all, k, sizeof(Elf64_Sym)), names);
	}
}

/* ---- lines of an address, a letter and a name; then, in kallsyms, a module ---- */
static void add_line(struct symbols *s, struct span l)
{
	uint64_t at = 0;
	size_t i = 0;
	for (; i < l.n && i < 16 && isxdigit(l.p[i]); i++) {
		unsigned c = (unsigned)tolower(l.p[i]);
		at = at << 4 | (c <= '9' ? c - '0' : c - 'a' + 10);
	}
	if (!i || l.n < i + 4 || l.p[i] != ' ' || l.p[i + 2] != ' ') return;
	if (strchr("tTwWi", l.p[i + 1]) && l.p[i + 1])
		add(s, at, (const char *)l.p + i + 3, l.n - i - 3);
}

static void add_lines(struct symbols *s, struct span f)
{
	while (f.n) {
		const uint8_t *end = memchr(f.p, '\n', f.n);
		size_t n = end ? (size_t)(end - f.p) : f.n;
		add_line(s, (struct span){f.p, n});
		n += end != NULL;
		f = (struct span){f.p + n, f.n - n};
	}
}

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;
	return x->at != y->at ? (x->at > y->at) - (x->at < y->at) : (x->name > y->name) * 2 - 1;
}

static int added(struct symbols *s, size_t before, struct err *e)
{
	if (s->n == before) return fail(e, -ENOENT, "names no functions");
	qsort(s->all, s->n, sizeof(*s->all), by_address);
	return 0;
}

int symbols_parse(struct symbols *s, const void *at, size_t len, struct err *e)
{
	struct span f = {at, len};
	size_t before = s->n;
	if (len > EI_CLASS && !memcmp(at, ELFMAG, SELFMAG)) {
		if (f.p[EI_CLASS] == ELFCLASS64) add_elf(s, f);
	} else if (len && !memchr(at, 0, len < 4096 ? len : 4096)) { /* text */
		add_lines(s, f);
	}
	return added(s, before, e);
}

static void add_own(void *s, gva_t at, const char *name, size_t len) { add(s, at, name, len); }
int symbols_image(struct symbols *s, const void *at, size_t len, struct err *e)
{
	size_t before = s->n;
	(void)kallsyms_read(at, len, add_own, s);
	return added(s, before, e);
}

int symbols_read(struct symbols *s, const char *path, struct err *e)
{
	auto_buf struct buf b = {0};
	int r = file_read(&b, path, FILE_MAX_LEN, e);
	if (r) return r;
	r = symbols_parse(s, b.at ? b.at : "", b.len, e);
	return r ? fail_in(e, "%s", path) : 0;
}

const char *symbols_find(const struct symbols *s, gva_t va, uint64_t *off)
{
	size_t lo = 0, n = s->n;
	while (n) { /* the first behind va */
		size_t half = n / 2;
		if (s->all[lo + half].at <= va)
			lo += half + 1, n -= half + 1;
		else
			n = half;
	}
	if (!lo || va - s->all[lo - 1].at >= NEAR) return "";
	*off = va - s->all[lo - 1].at;
	return s->text.at + s->all[lo - 1].name;
}

bool symbols_range(const struct symbols *s, const char *name, gva_t *from, gva_t *to)
{
	size_t i = 0, k;
	while (i < s->n && strcmp(s->text.at + s->all[i].name, name) != 0) i++;
	if (i == s->n) return false;
	for (k = i; k < s->n && s->all[k].at == s->all[i].at;) k++;
	*from = s->all[i].at;
	*to = k < s->n && s->all[k].at - *from < NEAR ? s->all[k].at - 1 : *from + NEAR - 1;
	return true;
}
