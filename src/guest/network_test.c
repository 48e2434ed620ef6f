#include "base/buf.h"
#include "base/file.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/test.h"
#include "guest/network.h"
#include "net/lan_serve.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char home[64], *old_home;

static void begin(void)
{
	old_home = getenv("LODGE_HOME") ? strdup(getenv("LODGE_HOME")) : NULL;
	strcpy(home, "/tmp/lodge-network.XXXXXX");
	CHECK(mkdtemp(home) && !setenv("LODGE_HOME", home, 1));
}

static void end(void)
{
	CHECK(!dir_remove(home, NULL));
	CHECK(!(old_home ? setenv("LODGE_HOME", old_home, 1) : unsetenv("LODGE_HOME")));
	free(old_home);
}

static int create(const char *name, const char *subnet, struct err *e)
{
	struct lan_conf c = {.nat = true, .guard = true};
	(void)snprintf(c.name, sizeof(c.name), "%s", name);
	return network_create(&c, subnet, e);
}

static int count(void *ctx, const struct network *n)
{
	char *names = ctx;
	return (void)strcat(strcat(names, n->conf.name), " "), 0;
}

TEST(network_made_found_removed)
{
	struct network n, m;
	struct err e = {0};
	char names[256] = "";
	begin();
	CHECK(network_find("lan", &n, &e) == -ENOENT && strstr(e.msg, "lodge network create lan"));
	CHECK(!create("lan", NULL, &e) && !create("b", "10.7.0.0/16", &e) &&
	      !create("c", NULL, &e));
	CHECK(!network_find("lan", &n, &e) && n.conf.nat && n.conf.guard && n.created > 0);
	CHECK(!strcmp(n.conf.name, "lan") && !network_find("c", &m, &e));
	CHECK(!subnet_touches(&n.conf.subnet, &m.conf.subnet));
	network_done(&n);
	network_done(&m);
	CHECK(create("lan", NULL, &e) == -EEXIST);
	CHECK(create("d", "10.7.1.0/24", &e) == -EEXIST && strstr(e.msg, "network b has it"));
	CHECK(create("user", NULL, &e) == -EINVAL && create("A", NULL, &e) == -EINVAL &&
	      create("../x", NULL, &e) == -EINVAL && create("e", "10.0.0.0", &e) == -EINVAL);
	CHECK(!network_each(count, names, &e) && !strcmp(names, "b c lan "));
	CHECK(!network_remove("b", &e) && network_remove("b", &e) == -ENOENT);
	CHECK(!create("d", "10.7.1.0/24", &e));
	end();
}

/* A monitor that was killed between the folder and its file leaves no network; a damaged file is
 * said to be so, and hides no other. */
TEST(network_half_made_or_damaged)
{
	struct network n;
	struct err e = {0};
	char path[128], names[64] = "";
	begin();
	CHECK(!create("good", NULL, &e));
	(void)snprintf(path, sizeof(path), "%s/networks/half", home);
	CHECK(!dir_make(path, &e) && network_find("half", &n, &e) == -ENOENT);
	CHECK(!create("half", NULL, &e) && !network_find("half", &n, &e));
	network_done(&n);
	static const char *const bad[] = {"", "{", "[]", "{\"subnet\": 7}", "{\"subnet\": \"x\"}"};
	(void)strcat(path, "/network.json");
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(!file_replace(path, bad[i], strlen(bad[i]), 0600, &e));
		CHECK(network_find("half", &n, &e) == -EINVAL && strstr(e.msg, "network.json"));
	}
	CHECK(!network_each(count, names, &e) && !strcmp(names, "good "));
	end();
}

static void *run(void *l) { return (void)loop_run(l), NULL; }

TEST(network_in_use_stays)
{
	struct network n;
	struct lan_serve *s;
	struct loop *l;
	pthread_t t;
	struct port *p = NULL;
	struct err e = {0};
	auto_buf struct buf b = {0}, none = {0};
	const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
	begin();
	CHECK(!create("lan", NULL, &e) && !network_find("lan", &n, &e) && !loop_new(&l, &e));
	CHECK(!network_guests(&n, &none, &e) && !strcmp(none.at, "{\"guests\": []}"));
	CHECK(!lan_serve_open(&s, n.dir, &n.conf, l, NULL, NULL, &e));
	CHECK(!pthread_create(&t, NULL, run, l));
	CHECK(!network_plug(&p, "lan", "web", mac, NULL, 0, &e));
	CHECK(!network_guests(&n, &b, &e) && strstr(b.at, "\"web\""));
	CHECK(network_remove("lan", &e) == -EBUSY && strstr(e.msg, "plugged in"));
	port_free(p);
	loop_stop(l, 0);
	(void)pthread_join(t, NULL);
	lan_serve_close(s);
	loop_free(l);
	CHECK(!network_remove("lan", &e));
	network_done(&n);
	end();
}

TEST(network_words_of_net)
{
	struct err e = {0};
	begin();
	CHECK(!network_check("user", &e) && !network_check("tap:x", &e) &&
	      network_check("lan", &e) == -ENOENT && network_check("host", &e) == -EINVAL);
	CHECK(network_publishes("user") && network_publishes("lan") &&
	      !network_publishes("tap:x") && !network_publishes("bridge:x"));
	end();
}
