#include "base/own.h"
#include "base/test.h"
#include "store/oci.h"
#include "store/oci_impl.h"
#include <errno.h>
#include <string.h>

static int says(struct oci_says *to, struct arena *a, const char *text)
{
	struct err e;
	return oci_says_parse(to, text, strlen(text), a, &e);
}

TEST(image_says_what_is_run)
{
	struct oci_says s;
	struct arena *a = arena_new();
	CHECK(!says(&s, a,
		    "{\"config\":{\"Env\":[\"A=1\",\"B\"],\"Entrypoint\":[\"/e\"],\"Cmd\":null,"
		    "\"User\":\"joe\",\"WorkingDir\":\"/w\",\"StopSignal\":\"SIGUSR1\"}}"));
	CHECK(s.env.n == 2 && !strcmp(s.env.at[1], "B") && !s.env.at[2]);
	CHECK(s.entrypoint.n == 1 && !s.cmd.n && !strcmp(s.user, "joe"));
	CHECK(!strcmp(s.workdir, "/w") && !strcmp(s.stop_signal, "SIGUSR1"));
	CHECK(!says(&s, a, "{}") && !s.env.n && !s.user);
	CHECK(!says(&s, a, "{\"config\":null}"));
	arena_free(a);
}

TEST(image_that_makes_no_sense_says_nothing)
{
	static const char *const bad[] = {"",
					  "[]",
					  "{\"config\":5}",
					  "{\"config\":{\"Cmd\":\"sh\"}}",
					  "{\"config\":{\"Cmd\":[5]}}",
					  "{\"config\":{\"Cmd\":[null]}}",
					  "{\"config\":{\"Env\":[\"A=\\u0000b\"]}}",
					  "{\"config\":{\"User\":\"a\\u0000b\"}}",
					  "{\"config\":{\"User\":{}}}"};
	struct oci_says s;
	struct arena *a = arena_new();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(says(&s, a, bad[i]) == -EINVAL);
	arena_free(a);
}
