#include "base/test.h"
#include "engine/engine.h"
#include "engine/rig.h"

/* Its clock goes by instructions, and its first `pause` are done one by one. */
static struct rig *counted(uint64_t pause)
{
	struct rig *r = rig_new(false);
	struct engine_env env = {.counted = &r->clock};
	rv64_count_new(r->c, &env);
	r->c->pause = pause;
	return r;
}

/* Nothing has decoded it before. */
TEST(counted_one_by_one_an_instruction_may_lie_across_two_pages)
{
	struct rig *r = counted(1000);
	r->at = RIG_RAM + PAGE_SIZE - 2;
	rig_op(r, OP_addi, 5, 0, 0, 0x7f5);
	rig_stop(r, 5);
	rig_run(r, RIG_RAM + PAGE_SIZE - 2);
	CHECK(r->told == 0x7f5 && r->c->n == 3);
	rig_free(r);
}
