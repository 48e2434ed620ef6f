#ifndef DEV_DISK_RIG_TEST_H
#define DEV_DISK_RIG_TEST_H
#include "base/test.h"
#include "blk/impl.h"
#include <string.h>
/* A disk in memory that carries out what it was given only when told to, the last first: for tests
 * of controllers and for their fuzzers. Sector n is full of bytes n + 1. */
enum { DISK_RIG_BLOCKS = 4096, DISK_RIG_HELD = 256 };
struct disk_rig {
	struct blk b;
	uint8_t at[DISK_RIG_BLOCKS * 512];
	struct blk_req *held[DISK_RIG_HELD];
	unsigned nheld, closed, n[BLK_ZERO + 1]; /* how many of each */
	int fails;
};
static inline void disk_rig_submit(struct blk *b, struct blk_req *q)
{
	struct disk_rig *k = (struct disk_rig *)b;
	must(k->nheld < DISK_RIG_HELD);
	k->held[k->nheld++] = q;
	k->n[q->op]++;
}
static inline void disk_rig_close(struct blk *b) { ((struct disk_rig *)b)->closed++; }
static inline void disk_rig_carry_out(uint8_t *disk, const struct blk_req *q)
{
	uint8_t *p = disk + q->off;
	for (int i = 0; i < q->niov; p += q->iov[i++].iov_len)
		if (q->op == BLK_READ)
			memcpy(q->iov[i].iov_base, p, q->iov[i].iov_len);
		else
			memcpy(p, q->iov[i].iov_base, q->iov[i].iov_len);
	if (q->op == BLK_ZERO) memset(p, 0, q->len);
	if (q->op == BLK_DISCARD) memset(p, 0xdd, q->len);
}
/* One of them. */
static inline void disk_rig_do(struct disk_rig *k, unsigned which)
{
	struct blk_req *q = k->held[which];
	memmove(k->held + which, k->held + which + 1, (--k->nheld - which) * sizeof(k->held[0]));
	if (!q->res && !k->fails) disk_rig_carry_out(k->at, q);
	q->done(q, q->res ? q->res : k->fails);
}
static inline void disk_rig_run(struct disk_rig *k)
{
	while (k->nheld) disk_rig_do(k, k->nheld - 1);
}
static inline void disk_rig_init(struct disk_rig *k, bool ro)
{
	static const struct blk_ops ops = {
		.name = "test", .submit = disk_rig_submit, .close = disk_rig_close};
	k->b.ops = &ops;
	k->b.refs = 1;
	k->b.info = (struct blk_info){sizeof(k->at), 512, ro, !ro};
	for (size_t i = 0; i < sizeof(k->at); i++) k->at[i] = (uint8_t)(i / 512 + 1);
}
#endif
