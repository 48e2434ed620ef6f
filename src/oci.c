/* build/lodge-oci: the OCI runtime alone, small and without libraries to load, since it is started
 * for each step of each container's life. `lodge oci` is the same. */
#include "zone/oci.h"
#include <malloc.h>

enum { HEAP = 1 << 20 }; /* bytes asked for at once: it needs some, and lives for milliseconds */

int main(int argc, char **argv)
{
	(void)mallopt(M_TOP_PAD, HEAP);
	return oci_main(argc, argv);
}
