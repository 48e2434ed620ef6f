/* A library that few commands need and each would pay for. Its name is that of the headers that
 * this was compiled with; their types are what the calls are made by. */
#include "store/tar.h"
#include "base/types.h"
#include <dlfcn.h>
#include <errno.h>

#define LIBRARY "libarchive.so.13"
_Static_assert(ARCHIVE_VERSION_NUMBER / 1000000 == 3, "its name goes with version 3");

struct tar tar;

int tar_load(struct err *e)
{
	static void *lib;
	static const char *const name[] = {
#define NAME(call) #call,
		TAR_CALLS(NAME)
#undef NAME
	};
	if (lib) return 0;
	lib = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!lib) return fail(e, -ENOENT, "%s: install libarchive13", dlerror());
	void **to = (void **)&tar;
	for (unsigned i = 0; i < COUNT(name); i++) {
		to[i] = dlsym(lib, name[i]);
		must(to[i]);
	}
	return 0;
}
