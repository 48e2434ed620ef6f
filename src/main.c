/* Names the kinds of guests there are; everything else is found from here. */
#include "base/title.h"
#include "cli/cli.h"
#include "guest/guest.h"
#include "vm/vm.h"

const struct kind *const kinds[] = {&kind_vm, NULL};

int main(int argc, char **argv)
{
	title_init(argc, argv);
	return cli_main(argc, argv, kinds);
}
