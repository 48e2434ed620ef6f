/* What a zone has written belongs to ids that its owner cannot touch, unless he is in a user
 * namespace with the same ones. */
#include "zone/id.h"
#include "zone/keeper.h"

static void maps_copy(struct spec_map *to, const struct plan_map *from, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		to[i] = (struct spec_map){from[i].inside, from[i].outside, from[i].size};
}

int keeper_ids(struct err *e)
{
	struct plan p = {.hostname = ""};
	struct spec_map users[PLAN_MAPS], groups[PLAN_MAPS];
	plan_ids(&p);
	maps_copy(users, p.users, p.nmaps);
	maps_copy(groups, p.groups, p.nmaps);
	return id_namespace(users, p.nmaps, groups, p.nmaps, e);
}
