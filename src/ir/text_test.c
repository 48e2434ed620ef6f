#include "base/own.h"
#include "base/test.h"
#include "ir/ir.h"
#include <string.h>

static const struct ir_slot slots[] = {{0, 8, false, "x1"}, {8, 8, true, "f1"}, {16, 8, 0, NULL}};
static uint64_t helper(uint64_t a) { return a + 1; }
static const struct ir_callee callees[] = {{"helper", (const void *)helper}};

static struct ir_fn *fresh(void)
{
	struct ir_fn *f = ir_new(slots, 3);
	f->callees = callees;
	f->ncallees = 1;
	return f;
}
static char *text_of(const struct ir_fn *f)
{
	char *s = NULL;
	size_t n;
	FILE *out = open_memstream(&s, &n);
	ir_print(f, out);
	(void)fclose(out);
	return s;
}

static const char everything[] =
	"b0:\n"
	"\tv1 = get.i64 x1\n"
	"\tv2 = konst.i64 -3\n"
	"\tv3 = konst.i32 0xfffe0000\n"
	"\tv4 = konst.f32 0x7fc00000\n"
	"\tv5 = state.i64 0x40\n"
	"\tv6 = add.i64 v1, v2\n"
	"\tv7 = trunc.i32 v6\n"
	"\tv8 = itof.f64.i32 v7\n"
	"\tv9 = ftoi.i64.f64.trunc v8\n"
	"\tv10 = ftoi.i32.f32 v4\n"
	"\tv11 = xlat.i64 v1, -8..7 space=2 window [pc+12 why=3 x1=v6 f1=v4 slot2=v2]\n"
	"\tv12 = load.i64.s32 v11, v1, -8 [pc+12 why=3 x1=v6]\n"
	"\tv13 = load.v128.u8 0, v5, 16\n"
	"\tstore.16 v11, v1, 0, v13 [pc+16 why=3]\n"
	"\tv14 = cas.i64.8 v5, v1, v2\n"
	"\tv15 = call.i64 state helper(v1, v5)\n"
	"\tv16 = call.i64 plain 0x1234()\n"
	"\tput slot2, v15\n"
	"\tfence\n"
	"\tguard v9 [pc-4 why=0]\n"
	"\tjump b1(v1, v8)\n"
	"b1(v17.i64, v18.f64): idom=b0 loop=b1 depth=1\n"
	"\tpoll [pc+0 why=1 x1=v17]\n"
	"\tv19 = lt.i64 v17, v1\n"
	"\tv20 = select.f64 v19, v8, v18\n"
	"\tbr v19, b1(v17, v20), b2\n"
	"b2: idom=b1 cold\n"
	"\tv21 = flt.f64 v18, v20\n"
	"\tbr v21, b3, b4\n"
	"b3: idom=b2\n"
	"\texit far [pc+100 why=0]\n"
	"b4: idom=b2\n"
	"\tgoto v17 [pc+100 why=0]\n";

TEST(ir_text_round_trips)
{
	struct ir_fn *f = fresh();
	struct err e = {0};
	CHECK(ir_parse(f, everything, &e) == 0);
	CHECK(ir_verify(f, &e) == 0);
	CHECK(!e.code || puts(e.msg) < 0);
	char *s = text_of(f);
	CHECK(!strcmp(s, everything));
	free(s);
	ir_free(f);
}

TEST(ir_text_renumbers)
{
	struct ir_fn *f = fresh();
	struct err e = {0};
	CHECK(ir_parse(f,
		       "# a comment\n\nb0:\n v7=get.i64 x1 # another\n  goto v7 [ pc+0 why=0 ]\n",
		       &e) == 0);
	char *s = text_of(f);
	CHECK(!strcmp(s, "b0:\n\tv1 = get.i64 x1\n\tgoto v1 [pc+0 why=0]\n"));
	free(s);
	ir_free(f);
}

static bool refuses(const char *text, const char *why)
{
	struct ir_fn *f = fresh();
	struct err e = {0};
	int r = ir_parse(f, text, &e);
	bool as_said = r < 0 && r == e.code && strstr(e.msg, why);
	if (!as_said) (void)printf("%s: %s\n", text, e.msg);
	ir_free(f);
	return as_said;
}
TEST(ir_text_refuses)
{
	CHECK(refuses("\tfence\n", "line 1: no block"));
	CHECK(refuses("b1:\n", "out of order"));
	CHECK(refuses("b0:\n fence fence\n", "line 2: more than"));
	CHECK(refuses("b0:\n v1 = fence\n", "against the rule"));
	CHECK(refuses("b0:\n get.i64 x1\n", "against the rule"));
	CHECK(refuses("b0:\n v1 = get.i64 y\n", "no such slot"));
	CHECK(refuses("b0:\n v1 = get.i64 slot3\n", "no such slot"));
	CHECK(refuses("b0:\n v1 = get.void x1\n", "no type"));
	CHECK(refuses("b0:\n v1 = add.i64 v1, v1\n", "no such value"));
	CHECK(refuses("b0:\n v1 = konst.i64 1\n v1 = konst.i64 1\n", "line 3: a value defined"));
	CHECK(refuses("b0:\n v99999999 = konst.i64 1\n", "out of range"));
	CHECK(refuses("b0:\n v1 = konst.i64 99999999999999999999\n", "too large"));
	CHECK(refuses("b0:\n jump b1\n", "no block"));
	CHECK(refuses("b0:\n jump b1\nb1(v1.i64):\n", "other arguments"));
	CHECK(refuses("b0:\n jump b0\n fence\n", "has ended"));
	CHECK(refuses("b0:\n v1 = call.i64 plain nobody()\n", "no such function"));
	CHECK(refuses("b0:\n poll [pc+5000000000 why=1]\n", "out of range"));
	CHECK(refuses("b0:\n v1 = nonsense.i64\n", "no such operation"));
}
