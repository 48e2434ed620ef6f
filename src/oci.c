/* build/lodge-oci: the OCI runtime alone, small and without libraries to load, since it is started
 * for each step of each container's life. `lodge oci` is the same. */
#include "zone/oci.h"

int main(int argc, char **argv) { return oci_main(argc, argv); }
