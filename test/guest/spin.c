/* A guest that never ends by itself. */
#include "rt.h"

int main(u64 id, u64 tree)
{
	(void)id, (void)tree;
	put("spinning\n");
	for (;;) {
	}
}
