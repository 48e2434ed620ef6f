#ifndef GUEST_SPEC_H
#define GUEST_SPEC_H
#include "base/err.h"
#include "base/types.h"
#include <stdbool.h>
/* What the owner asked for as JSON, so that it can be asked for again. */
struct arena;
struct json_object;
struct spec;
const char *arch_name(enum arch a); /* Debian's: "riscv64", "amd64" */
bool arch_find(enum arch *out, const char *name);
enum spec_bus;
bool bus_find(enum spec_bus *out, const char *name); /* "virtio", "nvme", "sata", "cdrom" */

bool spec_is_zone(const struct spec *s); /* its kind is that */
/* It runs a container's program: a zone, or a computer that is there for it. */
bool spec_is_container(const struct spec *s);

/* Add s to the object. Names of files are made absolute, so that they mean the same from any
 * folder. Not written: name, control, and what stands for nothing asked. */
void spec_to_json(const struct spec *s, struct json_object *to);
/* Untrusted JSON to *s; strings are the arena's. What is not known is left out. */
int spec_from_json(struct spec *s, struct arena *a, struct json_object *from, struct err *e);
/* A process that loses its current folder writes relative paths as seen from here. */
void spec_keep_folder(void);
#endif
