#ifndef GUEST_DISCS_H
#define GUEST_DISCS_H
#include "base/err.h"
/* Which discs are in a kept guest's CD drives, where these are not those of its spec: names of
 * files in the guest's folder, as JSON, {"1": "/first/drive.iso"}:
 *	discs/.now	since it was started
 *	discs/<tag>	when that snapshot was made
 * They are written by whoever changes discs, starts the guest or saves it, from outside: its
 * monitor, which may be in other hands, can write where snapshots are, but not here. So these files
 * may be opened for the guest. That a file is still the disc that it was is the kind's to check.
 * folder: a descriptor of the guest's. */
struct arena;
struct spec;
/* Nobody else changes discs, or saves the guest, until this descriptor is closed. */
int discs_lock(int folder, struct err *e);
int discs_note(int folder, unsigned drive, const char *path, struct err *e); /* drives from 1 on */
void discs_begin(int folder); /* it is started with those of its spec */
int discs_keep(int folder, const char *tag, struct err *e);
int discs_back(int folder, const char *tag, struct err *e);	     /* it goes on from that one */
int discs_share(int folder, const char *tag, int to, struct err *e); /* to another guest's */
void discs_forget(int folder, const char *tag);
/* Those of that snapshot into s, with names from the arena. -ENOENT in words: one is not there. */
int discs_use(int folder, const char *tag, struct spec *s, struct arena *a, struct err *e);
#endif
