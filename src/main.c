/* Names the kinds of guests there are; everything else is found from here. */
#include "base/title.h"
#include "cli/cli.h"
#include "guest/guest.h"
#include "vm/vm.h"
#include "zone/oci.h"
#include "zone/zone.h"
#include <stdbool.h>
#include <string.h>

const struct kind *const kinds[] = {&kind_vm, &kind_zone, NULL};

/* `lodge oci` and a lodge that is called lodge-oci are another command line: the OCI runtime's. */
static bool is_oci(int argc, char **argv)
{
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	if (argc && !strcmp(slash ? slash + 1 : argv[0], "lodge-oci")) return true;
	return argc > 1 && !strcmp(argv[1], "oci");
}

int main(int argc, char **argv)
{
	if (is_oci(argc, argv)) return oci_main(argc, argv);
	title_init(argc, argv);
	return cli_main(argc, argv, kinds);
}
