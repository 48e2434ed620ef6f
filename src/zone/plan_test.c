#include "base/test.h"
#include "zone/plan.h"
#include "zone/spec.h"
#include <errno.h>
#include <sched.h>
#include <string.h>

static struct arena *a;
static struct spec s;
static struct err err;

static int make(struct plan *p, const char *image)
{
	struct plan_image im;
	a = arena_new();
	err = (struct err){0};
	p->hostname = "inn";
	p->group = "/g";
	int r = plan_image_parse(&im, image, strlen(image), a, &err);
	return r ? r : plan_spec(p, &im, &s, a, &err);
}

static void done(void)
{
	spec_done(&s);
	arena_free(a);
}

static bool has_env(const char *word)
{
	unsigned n = 0;
	for (unsigned i = 0; i < s.process->env.n; i++) n += !strcmp(s.process->env.at[i], word);
	return n == 1;
}

#define IMAGE(more) "{\"architecture\":\"amd64\",\"config\":{" more "}}"
static const char usual[] = IMAGE("\"Env\":[\"A=1\",\"PATH=/x\"],\"Entrypoint\":[\"/e\",\"f\"],"
				  "\"Cmd\":[\"c\"],\"User\":\"joe\",\"WorkingDir\":\"/w\"");

TEST(plan_takes_what_the_image_says)
{
	struct plan p = {0};
	CHECK(!make(&p, usual));
	const struct texts *t = &s.process->args;
	CHECK(t->n == 3 && !strcmp(t->at[0], "/e") && !strcmp(t->at[2], "c"));
	CHECK(has_env("A=1") && has_env("PATH=/x") && has_env("container=lodge"));
	CHECK(!strcmp(s.process->cwd, "/w") && !strcmp(s.process->user_name, "joe"));
	CHECK(s.process->no_new_privileges && s.linux_->seccomp && !p.init);
	CHECK(!(s.process->caps.bounding & (1ull << 21))); /* CAP_SYS_ADMIN */
	done();
}

TEST(plan_takes_what_the_owner_says_instead)
{
	const char *args[] = {"x", NULL}, *env[] = {"A=2", NULL};
	struct plan p = {.args = {args, 1}, .env = {env, 1}, .user = "0", .workdir = "/"};
	CHECK(!make(&p, usual));
	CHECK(s.process->args.n == 3 && !strcmp(s.process->args.at[2], "x"));
	CHECK(has_env("A=2") && !has_env("A=1") && !strcmp(s.process->cwd, "/"));
	done();
	p.entrypoint = "/other";
	CHECK(!make(&p, usual));
	CHECK(s.process->args.n == 2 && !strcmp(s.process->args.at[0], "/other"));
	done();
	p.entrypoint = "";
	p.args.n = 0;
	CHECK(make(&p, usual) == -EINVAL && strstr(err.msg, "which is to run"));
	done();
}

TEST(plan_knows_an_init)
{
	struct plan p = {.disk = "/d", .nmaps = 1};
	p.users[0] = p.groups[0] = (struct plan_map){0, 524288, PLAN_IDS};
	CHECK(!make(&p, "{}"));
	CHECK(p.init && !strcmp(s.process->args.at[0], "/sbin/init"));
	CHECK(spec_ns(&s, CLONE_NEWUSER) && s.linux_->uid_mappings.at[0].host_id == 524288);
	done();
}

TEST(plan_refuses_nonsense)
{
	struct plan p = {0};
	CHECK(make(&p, "{\"config\":7}") == -EINVAL), done();
	CHECK(make(&p, IMAGE("\"Cmd\":\"sh\"")) == -EINVAL), done();
	CHECK(make(&p, IMAGE("\"Cmd\":[\"sh\"],\"WorkingDir\":\"no\"")) == -EINVAL), done();
	CHECK(make(&p, "not JSON") == -EINVAL), done();
}
