#include "cli/held.h"
#include "base/own.h"
#include "base/text.h"
#include "cli/cli.h"
#include "guest/control.h"
#include "guest/guest.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { TRIES = 5 };

int held_look(struct kept *k, const char *name, struct err *e)
{
	(void)snprintf(k->name, sizeof(k->name), "%s", name);
	int r = store_guest_look(k->store, name, &k->folder, e);
	if (!r) r = record_read(&k->record, k->folder, e);
	return r == -ENOENT && k->folder >= 0
		       ? fail(e, r, "guest %s: nothing is recorded of it", name)
		       : r;
}

/* It may begin or end between two questions. */
int held_take(struct held *h, const char *name, struct err *e)
{
	struct err was;
	int r = -EBUSY;
	for (unsigned i = 0; r == -EBUSY && i < TRIES; i++) {
		r = control_stream(name, "hold", &h->hold, NULL, e);
		if (!r) break;
		h->hold = -1;
		if (r == -ENOTSUP) return fail(e, r, "%s; stop it first", strcpy(was.msg, e->msg));
		if (r != -ENOENT) return r;
		r = kept_lock(&h->kept, name, false, e);
		if (!r && !*h->kept.record.id)
			r = fail(e, -ENOENT, "guest %s: nothing is recorded of it", name);
	}
	return r || h->hold < 0 ? r : held_look(&h->kept, name, e);
}

int held_check(const struct held *h, struct err *e)
{
	struct pollfd p = {.fd = h->hold, .events = POLLIN};
	if (h->hold < 0 || !poll(&p, 1, 0)) return 0;
	return fail(e, -EAGAIN, "guest %s went on, or ended, before all was copied; try again",
		    h->kept.name);
}

void held_done(struct held *h)
{
	kept_done(&h->kept);
	drop_fd(&h->hold);
	h->hold = -1;
}

const struct kind_files *files_of(const struct kept *k)
{
	const struct kind *kind = kind_for(&k->record.spec);
	return kind ? kind->files : NULL;
}

struct guest_files files_at(const struct kept *k, const char *saved)
{
	return (struct guest_files){k->folder, k->record.id, saved, &k->record.spec};
}

int files_drop(const struct kept *k, const char *draft, struct err *e)
{
	auto_mem char *saved = text_format("snapshots/%s", strrchr(draft, '/') + 1);
	return files_of(k)->drop(k->folder, saved, e);
}
