/* Breakpoints and watchpoints of a machine: looked up by the interpreters, and by the translators
 * for what they leave out. */
#include "engine/debug.h"
#include <stdlib.h>

bool debug_set(struct debug *d, const struct vcpu_points *p)
{
	bool more = false;
	d->points = *p;
	for (unsigned i = 0; i < p->nbreaks; i++) {
		more |= !debug_cuts(d, p->breaks[i]);
		unsigned off = p->breaks[i] & (DEBUG_PAGE - 1);
		d->cut[off / 64] |= 1ull << off % 64;
	}
	return more;
}

struct debug *debug_take(struct debug **at, const struct vcpu_points *p, bool *recut)
{
	struct debug *was = *at;
	*recut = !p || !was;
	if (!p) {
		*at = NULL;
		return was;
	}
	if (!was) *at = calloc(1, sizeof(**at));
	must(*at);
	*recut |= debug_set(*at, p);
	return NULL;
}

bool debug_breaks(const struct debug *d, gva_t pc)
{
	for (unsigned i = 0; i < d->points.nbreaks; i++)
		if (d->points.breaks[i] == pc) return true;
	return false;
}

static bool meets(const struct vcpu_watch *w, gva_t va, uint64_t len)
{
	return va - w->at < w->len || w->at - va < len;
}

bool debug_watches_page(const struct debug *d, gva_t va)
{
	gva_t page = va & ~(gva_t)(DEBUG_PAGE - 1);
	for (unsigned i = 0; d && i < d->points.nwatches; i++)
		if (meets(&d->points.watch[i], page, DEBUG_PAGE)) return true;
	return false;
}

const struct vcpu_watch *debug_watch(const struct debug *d, gva_t va, uint64_t len, bool write)
{
	for (unsigned i = 0; i < d->points.nwatches; i++) {
		const struct vcpu_watch *w = &d->points.watch[i];
		if ((write ? w->writes : w->reads) && meets(w, va, len)) return w;
	}
	return NULL;
}
