/* lodge network: software networks for people. What they are and who runs them is guest/network.h's
 * and net's; here words become that, and answers become tables. */
#include "guest/network.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/own.h"
#include "cli/cli.h"
#include "cli/plain.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

/* --- create ---------------------------------------------------------------------------------- */

struct create_opts {
	const char *subnet;
	bool isolated, nat, trust;
};
#define AT(member) offsetof(struct create_opts, member)
static const struct opt create_table[] = {
	{"isolated", 0, OPT_FLAG, AT(isolated), NULL,
	 "It leads nowhere: its guests reach one another, and nothing else.", NULL},
	{"nat", 0, OPT_FLAG, AT(nat), NULL,
	 "Its guests reach what this machine reaches, its own loopback included (default).", NULL},
	{"subnet", 0, OPT_TEXT, AT(subnet), "CIDR",
	 "Its IPv4 addresses, such as 10.89.7.0/24 (the first free of 10.89.0.0/24 and so on).",
	 NULL},
	{"trust", 0, OPT_FLAG, AT(trust), NULL,
	 "Let its guests send under any address and any protocol: no guard between them.", NULL},
	{0},
};
static const struct create_opts create_defaults;

static int create_run(const struct call *c, struct err *e)
{
	const struct create_opts *o = c->opts;
	struct lan_conf conf = {.nat = !o->isolated, .guard = !o->trust};
	if (o->isolated && o->nat)
		return fail(e, -EINVAL, "--isolated and --nat: it leads out, or it does not");
	int r = network_name_check(c->args[0], e);
	if (r) return r;
	(void)snprintf(conf.name, sizeof(conf.name), "%s", c->args[0]);
	r = network_create(&conf, o->subnet, e);
	if (!r) printf("%s\n", c->args[0]);
	return r;
}

const struct verb verb_network_create = {
	.name = "network create",
	.args = "NAME",
	.summary = "Make a network that exists only in software",
	.text = "Guests that run with --net NAME are plugged into it: they get an address by "
		"DHCP,\n"
		"the same one every time, and find one another by name, as GUEST and GUEST.NAME.\n"
		"A guest can send under its own addresses only. It needs no root and no service:\n"
		"the first guest starts the network's switch, which ends after the last one.",
	.examples = "lodge network create lan\n"
		    "lodge run --net lan --name web -p 8080:80 debian\n"
		    "lodge network create --isolated --subnet 10.7.0.0/24 inside",
	.opts = create_table,
	.defaults = &create_defaults,
	.size = sizeof(create_defaults),
	.min_args = 1,
	.max_args = 1,
	.run = create_run,
};

/* --- ls -------------------------------------------------------------------------------------- */

struct ls_opts {
	bool quiet;
	const char *format;
};
#undef AT
#define AT(member) offsetof(struct ls_opts, member)
static const struct opt ls_table[] = {
	{"format", 0, OPT_TEXT, AT(format), "FORMAT", "table (default), or json: an array.",
	 "table json"},
	{"quiet", 'q', OPT_FLAG, AT(quiet), NULL, "Names only.", NULL},
	{0},
};
static const struct ls_opts ls_defaults = {.format = "table"};

/* Never NULL; a switch that cannot be asked has no guests to tell of. */
static struct json_object *guests_of(const struct network *n)
{
	auto_buf struct buf b = {0};
	struct err e;
	struct json_tokener *t = json_tokener_new_ex(8);
	struct json_object *o = NULL, *list = NULL;
	must(t);
	if (!network_guests(n, &b, &e))
		o = json_tokener_parse_ex(t, b.at, (int)b.len);
	else
		log_say("%s", e.msg);
	json_tokener_free(t);
	if (json_object_object_get_ex(o, "guests", &list) &&
	    json_object_is_type(list, json_type_array))
		(void)json_object_get(list);
	else
		list = json_object_new_array();
	(void)json_object_put(o);
	return list;
}

static struct json_object *json_of(const struct network *n)
{
	char subnet[SUBNET_TEXT], ip[IP4_TEXT];
	struct json_object *o = json_object_new_object();
	must(o);
	subnet_text(subnet, &n->conf.subnet);
	json_object_object_add(o, "name", json_object_new_string(n->conf.name));
	json_object_object_add(o, "subnet", json_object_new_string(subnet));
	ip4_text(ip, subnet_gateway(&n->conf.subnet));
	if (n->conf.nat) json_object_object_add(o, "gateway", json_object_new_string(ip));
	ip4_text(ip, subnet_server(&n->conf.subnet));
	json_object_object_add(o, "dns", json_object_new_string(ip));
	json_object_object_add(o, "nat", json_object_new_boolean(n->conf.nat));
	json_object_object_add(o, "guard", json_object_new_boolean(n->conf.guard));
	json_object_object_add(o, "created", json_object_new_int64(n->created));
	json_object_object_add(o, "path", json_object_new_string(n->dir));
	json_object_object_add(o, "guests", guests_of(n));
	return o;
}

static void print_json(struct json_object *o)
{
	plain_json(o,
		   JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
			   JSON_C_TO_STRING_NOSLASHESCAPE,
		   stdout);
	(void)putchar('\n');
	(void)json_object_put(o);
}

static int print_name(void *ctx, const struct network *n)
{
	(void)ctx;
	printf("%s\n", n->conf.name);
	return 0;
}

static int print_row(void *ctx, const struct network *n)
{
	char subnet[SUBNET_TEXT];
	(void)ctx;
	struct json_object *guests = guests_of(n);
	subnet_text(subnet, &n->conf.subnet);
	printf("%-16s  %-18s  %-8s  %-5s  %6zu\n", n->conf.name, subnet,
	       n->conf.nat ? "nat" : "isolated", n->conf.guard ? "yes" : "no",
	       json_object_array_length(guests));
	(void)json_object_put(guests);
	return 0;
}

static int add_json(void *ctx, const struct network *n)
{
	(void)json_object_array_add(ctx, json_of(n));
	return 0;
}

static int ls_run(const struct call *c, struct err *e)
{
	const struct ls_opts *o = c->opts;
	if (o->quiet) return network_each(print_name, NULL, e);
	if (!strcmp(o->format, "json")) {
		struct json_object *all = json_object_new_array();
		int r = network_each(add_json, all, e);
		print_json(all);
		return r;
	}
	if (strcmp(o->format, "table"))
		return fail(e, -EINVAL, "--format: '%s' is neither table nor json", o->format);
	printf("%-16s  %-18s  %-8s  %-5s  %6s\n", "NAME", "SUBNET", "UPLINK", "GUARD", "GUESTS");
	return network_each(print_row, NULL, e);
}

const struct verb verb_network_ls = {
	.name = "network ls",
	.args = "",
	.summary = "List software networks",
	.opts = ls_table,
	.defaults = &ls_defaults,
	.size = sizeof(ls_defaults),
	.run = ls_run,
};

/* --- inspect, rm, prune ---------------------------------------------------------------------- */

static int inspect_run(const struct call *c, struct err *e)
{
	struct json_object *all = json_object_new_array();
	int r = 0;
	for (unsigned i = 0; !r && i < c->nargs; i++) {
		struct network n;
		r = network_find(c->args[i], &n, e);
		if (!r) (void)json_object_array_add(all, json_of(&n));
		network_done(&n);
	}
	if (!r)
		print_json(all);
	else
		(void)json_object_put(all);
	return r;
}

const struct verb verb_network_inspect = {
	.name = "network inspect",
	.args = "NAME...",
	.summary = "Print as JSON what a network is, who is on it, and what was refused to them",
	.min_args = 1,
	.max_args = 64,
	.completes = "network",
	.run = inspect_run,
};

static int rm_run(const struct call *c, struct err *e)
{
	int r = 0;
	for (unsigned i = 0; !r && i < c->nargs; i++) {
		r = network_remove(c->args[i], e);
		if (!r) printf("%s\n", c->args[i]);
	}
	return r;
}

const struct verb verb_network_rm = {
	.name = "network rm",
	.args = "NAME...",
	.summary = "Remove networks that no guest is plugged into",
	.min_args = 1,
	.max_args = 64,
	.completes = "network",
	.run = rm_run,
};

struct names {
	char (*at)[LEASE_NAME];
	unsigned n;
};

static int add_name(void *ctx, const struct network *n)
{
	struct names *all = ctx;
	all->at = realloc(all->at, (all->n + 1) * sizeof(all->at[0]));
	must(all->at);
	(void)strcpy(all->at[all->n++], n->conf.name);
	return 0;
}

static int prune_run(const struct call *c, struct err *e)
{
	struct names all = {0};
	(void)c;
	int r = network_each(add_name, &all, e);
	for (unsigned i = 0; !r && i < all.n; i++) {
		r = network_remove(all.at[i], e);
		if (!r) printf("%s\n", all.at[i]);
		if (r == -EBUSY || r == -ENOENT) r = 0;
	}
	free(all.at);
	return r;
}

const struct verb verb_network_prune = {
	.name = "network prune",
	.args = "",
	.summary = "Remove all networks that no guest is plugged into",
	.run = prune_run,
};

/* --- serve ----------------------------------------------------------------------------------- */

struct serve_opts {
	bool detach;
};
static const struct opt serve_table[] = {
	{"detach", 'd', OPT_FLAG, offsetof(struct serve_opts, detach), NULL,
	 "Go on in the background, and come back when guests can be plugged in.", NULL},
	{0},
};
static const struct serve_opts serve_defaults;

static int serve_run(const struct call *c, struct err *e)
{
	const struct serve_opts *o = c->opts;
	return network_serve(c->args[0], o->detach, e);
}

const struct verb verb_network_serve = {
	.name = "network serve",
	.args = "NAME",
	.summary = "Run a network's switch, which guests otherwise start by themselves",
	.text = "It ends when no guest has been plugged in for a while, and at SIGTERM; guests "
		"that\n"
		"are plugged in then start another one.",
	.opts = serve_table,
	.defaults = &serve_defaults,
	.size = sizeof(serve_defaults),
	.min_args = 1,
	.max_args = 1,
	.completes = "network",
	.run = serve_run,
};
