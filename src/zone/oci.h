#ifndef ZONE_OCI_H
#define ZONE_OCI_H
#include "base/err.h"
/* The command line of an OCI runtime, as runc and crun have it: what podman and containerd call.
 * argv[0] is the program's name, then global options, a verb, its options. Returns the exit code.
 */
int oci_main(int argc, char **argv);
#endif
