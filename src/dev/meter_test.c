#include "base/loop.h"
#include "base/types.h"
#include "dev/ahci_rig_test.h"
#include "dev/meter.h"
#include "dev/nvme_rig_test.h"

enum { READ_EXT = 0x25, NVME_READ = 2 };

/* What is more than it may waits where the guest put it, over a pause, too, and goes once it may.
 */
TEST(ahci_keeps_to_its_limits)
{
	struct loop *l;
	struct arig *r = arig_started(false);
	struct arig_cmd c = {.op = 0x60, .count = 1, .queued = true, .at = ARIG_DATA, .len = 512};
	unsigned n = 0;
	CHECK(!loop_new(&l, NULL) && !ahci_limit(r->a, 0, l, 0, 1, NULL));
	for (unsigned slot = 0; slot < 3; slot++) arig_issue(r, 0, slot, &c);
	CHECK(r->disk[0].n[BLK_READ] == 1 && arig_reg(r, 0, PX_CI) == 6);
	arig_run(r);
	CHECK(r->disk[0].n[BLK_READ] == 1 && arig_reg(r, 0, PX_CI) == 6);
	pci_host_pause(r->pci.h);
	pci_host_resume(r->pci.h);
	CHECK(r->disk[0].n[BLK_READ] == 1);
	CHECK(!ahci_limit(r->a, 0, l, 0, 0, NULL) && r->disk[0].n[BLK_READ] == 3);
	arig_run(r);
	CHECK(!arig_reg(r, 0, PX_CI) && !arig_reg(r, 0, PX_SACT));
	CHECK(!ahci_limit(r->a, 0, l, 4096, 0, NULL)); /* 256 KiB at once, whatever the rate */
	c = (struct arig_cmd){.op = READ_EXT, .count = 64, .at = ARIG_DATA, .len = 32768};
	while (n < 20 && arig_do(r, 0, &c) == 0) n++;
	CHECK(n == 8);
	arig_free(r);
	loop_free(l);
}

/* And a loop's timer lets it go on. */
static void leave(void *ctx) { loop_stop(ctx, 0); }
TEST(ahci_goes_on_when_it_may)
{
	struct loop *l;
	struct timer *t;
	struct arig *r = arig_started(false);
	const struct arig_cmd c = {.op = READ_EXT, .count = 1, .at = ARIG_DATA, .len = 512};
	CHECK(!loop_new(&l, NULL) && !ahci_limit(r->a, 0, l, 0, 20, NULL));
	CHECK(arig_do(r, 0, &c) == 0 && arig_do(r, 0, &c) == -1);
	CHECK(!loop_timer(l, &t, leave, l, NULL));
	for (unsigned i = 0; i < 100 && r->disk[0].n[BLK_READ] == 1; i++) {
		timer_arm(t, now_ns() + 50000000);
		(void)loop_run(l);
	}
	CHECK(r->disk[0].n[BLK_READ] == 2);
	timer_free(t);
	arig_free(r);
	loop_free(l);
}

TEST(nvme_keeps_to_its_limits)
{
	struct loop *l;
	struct nrig *r = nrig_new(false, false);
	struct nvme_cmd c = nrig_cmd(NVME_READ, 1, NRIG_DATA, 0, 0, 0);
	nrig_enable(r);
	nrig_queues(r);
	CHECK(!loop_new(&l, NULL) && !nvme_limit(r->n, l, 0, 1, NULL));
	for (unsigned i = 0; i < 3; i++) nrig_put(r, 1, c);
	nrig_ring(r, 1);
	CHECK(r->disk.n[BLK_READ] == 1);
	nrig_run(r);
	CHECK(r->disk.n[BLK_READ] == 1 && nrig_answer(r, 1, NULL) == 0);
	CHECK(nrig_answer(r, 1, NULL) == -1);
	CHECK(nrig_do(r, 0, nrig_cmd(6, 0, NRIG_DATA, 1, 0, 0), NULL) == 0); /* identify */
	CHECK(!nvme_limit(r->n, l, 0, 0, NULL) && r->disk.n[BLK_READ] == 3);
	nrig_run(r);
	CHECK(nrig_answer(r, 1, NULL) == 0 && nrig_answer(r, 1, NULL) == 0);
	nrig_free(r);
	loop_free(l);
}
