#ifndef ZONE_LOG_H
#define ZONE_LOG_H
#include "base/err.h"
#include <stdbool.h>
/* What the runtime has to say, to whom its command line named: lines of text or of JSON, as those
 * of runc (level, msg, time), which podman and containerd read. Errors go to stderr as well. */
enum oci_level { OCI_ERROR, OCI_WARNING, OCI_INFO, OCI_DEBUG };
/* path NULL: stderr only. */
int oci_log_open(const char *path, bool json, bool debug, struct err *e);
/* By a program of another name, to that descriptor. */
void oci_log_as(const char *name, int fd);
void oci_log(enum oci_level l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#endif
