/* test/ir/NAME.ir: a unit, a line "---", and what it is after ir_ifs and ir_clean. BLESS=1 in the
 * environment writes the latter anew. */
#include "base/own.h"
#include "base/test.h"
#include "ir/ir.h"
#include <glob.h>
#include <string.h>

static const struct ir_slot slots[] = {
	{0, 8, false, "x1"}, {8, 8, false, "x2"},  {16, 8, false, "x3"},
	{24, 8, true, "f1"}, {32, 4, false, "w1"}, {36, 1, false, "c1"},
};
static const struct ir_callee callees[] = {{"helper", (const void *)slots}};

static bool whole(const char *path, char **s)
{
	size_t room = 0;
	FILE *in = fopen(path, "r");
	bool ok = in && getdelim(s, &room, 0, in) > 0;
	if (in) (void)fclose(in);
	return ok;
}

static int cleaned(const char *text, char **out)
{
	struct ir_fn *f = ir_new(slots, 6);
	struct err e = {0};
	size_t n;
	f->callees = callees;
	f->ncallees = 1;
	if (ir_parse(f, text, &e) == 0 && ir_verify(f, &e) == 0) {
		ir_ifs(f);
		ir_clean(f);
		(void)ir_verify(f, &e);
	}
	FILE *o = open_memstream(out, &n);
	if (!e.code) ir_print(f, o);
	(void)fclose(o);
	ir_free(f);
	if (e.code) (void)printf("%s\n", e.msg);
	return e.code;
}

static void bless(const char *path, const char *input, const char *output)
{
	FILE *out = fopen(path, "w");
	if (!out) return;
	(void)fprintf(out, "%s---\n%s", input, output);
	(void)fclose(out);
}

static bool golden(const char *path)
{
	auto_mem char *text = NULL, *now = NULL;
	char *want = whole(path, &text) ? strstr(text, "---\n") : NULL;
	if (!want) return false;
	*want = 0;
	want += 4;
	if (cleaned(text, &now) < 0) return false;
	if (!strcmp(want, now)) return true;
	if (getenv("BLESS"))
		bless(path, text, now);
	else
		(void)printf("%s: now it is\n%s", path, now);
	return getenv("BLESS");
}

TEST(ir_golden)
{
	glob_t g;
	if (glob("test/ir/*.ir", 0, NULL, &g)) g.gl_pathc = 0;
	CHECK(g.gl_pathc > 4);
	for (size_t k = 0; k < g.gl_pathc; k++) {
		bool as_before = golden(g.gl_pathv[k]);
		if (!as_before) (void)printf("%s\n", g.gl_pathv[k]);
		CHECK(as_before);
	}
	globfree(&g);
}

TEST(ir_may_go_on_building_after_clean)
{
	struct ir_fn *f = ir_new(slots, 6);
	struct err e = {0};
	f->at = ir_block_new(f);
	(void)ir_get(f, IR_I64, 0);
	uint32_t dead = ir_block_new(f), end = ir_block_new(f);
	ir_jump(f, ir_edge_new(f, end, NULL));
	f->at = dead;
	ir_jump(f, ir_edge_new(f, end, NULL));
	f->at = end;
	ir_exit(f, IR_EXIT_STOP, ir_map_new(f, NULL, 0, 0, 0));
	ir_clean(f);
	CHECK(f->nblocks == 1 && ir_verify(f, &e) == 0);
	ir_reset(f);
	f->at = ir_block_new(f);
	ir_goto(f, ir_get(f, IR_I64, 0), ir_map_new(f, NULL, 0, 0, 0));
	CHECK(ir_verify(f, &e) == 0);
	ir_free(f);
}
