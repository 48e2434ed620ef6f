/* Software networks in the store. The folder of all of them is locked while one is made or removed,
 * so that two never get the same subnet; a network is there once its network.json is. */
#include "guest/network.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/own.h"
#include "base/text.h"
#include "base/types.h"
#include "guest/guest.h"
#include "guest/outside.h"
#include "net/lan_serve.h"
#include "store/store.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>

enum { TEXT_MAX = 4096, NETWORKS = 256, PATIENCE = 100 /* of 20 ms */ };

void network_done(struct network *n)
{
	free(n->dir);
	n->dir = NULL;
}

int network_name_check(const char *name, struct err *e)
{
	if (!store_name_ok(name))
		return fail(
			e, -EINVAL,
			"network '%s': a name is up to 63 of a-z 0-9 _ . - and starts with a-z 0-9",
			name);
	if (!strcmp(name, "user") || !strcmp(name, "none") || !strcmp(name, "host"))
		return fail(e, -EINVAL, "network '%s': that word has a meaning of its own", name);
	return 0;
}

/* --- the folder ---------------------------------------------------------------------------- */

static int root_of(char **root, struct err *e)
{
	struct store *s;
	int r = store_open(&s, NULL, e);
	if (r) return r;
	*root = text_format("%s", store_root(s));
	store_close(s);
	return 0;
}

/* "ROOT/networks" */
static int folder(char **dir, struct err *e)
{
	auto_mem char *root = NULL;
	int r = root_of(&root, e);
	if (r) return r;
	*dir = text_format("%s/networks", root);
	r = dir_make(*dir, e);
	if (!r) return 0;
	free(*dir);
	*dir = NULL;
	return r;
}

static int folder_lock(const char *dir, int *fd, struct err *e)
{
	*fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0) return fail(e, -errno, "%s: %s", dir, strerror(errno));
	while (flock(*fd, LOCK_EX))
		if (errno != EINTR) return fail(e, -errno, "%s: %s", dir, strerror(errno));
	return 0;
}

/* --- what a network is ----------------------------------------------------------------------- */

static const char *string_of(struct json_object *o, const char *key)
{
	struct json_object *v;
	bool there = json_object_object_get_ex(o, key, &v);
	return there && json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

static bool bool_of(struct json_object *o, const char *key)
{
	struct json_object *v;
	return json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

static int conf_parse(struct network *n, const struct buf *b, struct err *e)
{
	struct json_tokener *t = json_tokener_new_ex(4);
	struct json_object *v;
	must(t);
	struct json_object *o = json_tokener_parse_ex(t, b->at ? b->at : "", (int)b->len);
	json_tokener_free(t);
	int r = json_object_is_type(o, json_type_object)
			? subnet_parse(&n->conf.subnet, string_of(o, "subnet"), e)
			: fail(e, -EINVAL, "is no JSON object");
	if (!r) {
		n->conf.nat = bool_of(o, "nat");
		n->conf.guard = bool_of(o, "guard");
		if (json_object_object_get_ex(o, "created", &v))
			n->created = json_object_get_int64(v);
	}
	(void)json_object_put(o);
	return r;
}

static int load(const char *all, const char *name, struct network *out, struct err *e)
{
	auto_buf struct buf b = {0};
	auto_mem char *path = text_format("%s/%s/network.json", all, name);
	*out = (struct network){0};
	if (!file_exists(path))
		return fail(e, -ENOENT, "network %s: there is none; try: lodge network create %s",
			    name, name);
	int r = file_read(&b, path, TEXT_MAX, e);
	if (!r) r = conf_parse(out, &b, e);
	if (r) return fail_in(e, "%s", path);
	(void)snprintf(out->conf.name, sizeof(out->conf.name), "%s", name);
	out->dir = text_format("%s/%s", all, name);
	return 0;
}

static int save(const char *dir, const struct lan_conf *conf, struct err *e)
{
	char subnet[SUBNET_TEXT];
	auto_buf struct buf b = {0};
	auto_mem char *path = text_format("%s/network.json", dir);
	subnet_text(subnet, &conf->subnet);
	buf_fmt(&b, "{ \"subnet\": \"%s\", \"nat\": %s, \"guard\": %s, \"created\": %lld }\n",
		subnet, conf->nat ? "true" : "false", conf->guard ? "true" : "false",
		(long long)time(NULL));
	int r = dir_make(dir, e);
	return r ? r : file_replace(path, b.at, b.len, 0600, e);
}

int network_find(const char *name, struct network *out, struct err *e)
{
	auto_mem char *all = NULL;
	*out = (struct network){0};
	int r = network_name_check(name, e);
	if (!r) r = folder(&all, e);
	return r ? r : load(all, name, out, e);
}

static int is_name(const struct dirent *d) { return store_name_ok(d->d_name); }

static int each_in(const char *all, int (*fn)(void *ctx, const struct network *n), void *ctx,
		   struct err *e)
{
	struct dirent **list = NULL;
	int r = 0, n = scandir(all, &list, is_name, versionsort);
	if (n < 0) return fail(e, -errno, "%s: %s", all, strerror(errno));
	for (int i = 0; i < n; i++) {
		struct network net;
		struct err why;
		int bad = r ? -ECANCELED : load(all, list[i]->d_name, &net, &why);
		if (!bad) r = fn(ctx, &net);
		if (bad && bad != -ENOENT && !r) log_warn("%s", why.msg);
		if (!bad) network_done(&net);
		free(list[i]);
	}
	free(list);
	return r;
}

int network_each(int (*fn)(void *ctx, const struct network *n), void *ctx, struct err *e)
{
	auto_mem char *all = NULL;
	int r = folder(&all, e);
	return r ? r : each_in(all, fn, ctx, e);
}

/* --- making and removing --------------------------------------------------------------------- */

struct taken {
	struct subnet at[NETWORKS];
	char name[NETWORKS][LEASE_NAME];
	unsigned n;
};

static int add_taken(void *ctx, const struct network *n)
{
	struct taken *t = ctx;
	if (t->n == NETWORKS) return -ENOSPC;
	(void)strcpy(t->name[t->n], n->conf.name);
	t->at[t->n++] = n->conf.subnet;
	return 0;
}

static int choose(struct lan_conf *conf, const char *subnet, const struct taken *t, struct err *e)
{
	if (!subnet) return subnet_free(&conf->subnet, t->at, t->n, e);
	int r = subnet_parse(&conf->subnet, subnet, e);
	for (unsigned i = 0; !r && i < t->n; i++)
		if (subnet_touches(&conf->subnet, &t->at[i]))
			r = fail(e, -EEXIST, "subnet %s: network %s has it", subnet, t->name[i]);
	return r;
}

static int create_locked(const char *all, struct lan_conf *conf, const char *subnet, struct err *e)
{
	struct network old;
	auto_mem char *dir = text_format("%s/%s", all, conf->name);
	int r = load(all, conf->name, &old, NULL);
	network_done(&old);
	if (r != -ENOENT) return fail(e, -EEXIST, "network %s: there is one already", conf->name);
	struct taken *t = calloc(1, sizeof(*t));
	must(t);
	r = each_in(all, add_taken, t, e);
	if (r == -ENOSPC) (void)fail(e, r, "there are %d networks; that is enough", NETWORKS);
	if (!r) r = choose(conf, subnet, t, e);
	free(t);
	return r ? r : save(dir, conf, e);
}

int network_create(const struct lan_conf *conf, const char *subnet, struct err *e)
{
	auto_mem char *all = NULL;
	auto_fd int lock = -1;
	struct lan_conf c = *conf;
	int r = network_name_check(conf->name, e);
	if (!r) r = folder(&all, e);
	if (!r) r = folder_lock(all, &lock, e);
	return r ? r : create_locked(all, &c, subnet, e);
}

/* A switch that nobody is plugged into ends within that time. */
static int idle_wait(const struct network *n, int *fd, struct err *e)
{
	auto_mem char *path = text_format("%s/lock", n->dir);
	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (*fd < 0) return fail(e, -errno, "%s: %s", path, strerror(errno));
	for (unsigned i = 0; flock(*fd, LOCK_EX | LOCK_NB); i++) {
		auto_buf struct buf b = {0};
		bool busy = !lan_ask(n->dir, &b, NULL) && b.at && strstr(b.at, "\"mac\"");
		if (busy || i == PATIENCE)
			return fail(
				e, -EBUSY,
				"network %s: guests are plugged in; see: lodge network inspect %s",
				n->conf.name, n->conf.name);
		(void)usleep(20000);
	}
	return 0;
}

int network_remove(const char *name, struct err *e)
{
	auto_mem char *all = NULL;
	auto_fd int lock = -1, own = -1;
	struct network n = {0};
	int r = network_name_check(name, e);
	if (!r) r = folder(&all, e);
	if (!r) r = folder_lock(all, &lock, e);
	if (!r) r = load(all, name, &n, e);
	if (!r) r = idle_wait(&n, &own, e);
	if (!r) r = dir_remove(n.dir, e);
	network_done(&n);
	return r;
}

/* --- using it -------------------------------------------------------------------------------- */

int network_guests(const struct network *n, struct buf *to, struct err *e)
{
	int r = lan_ask(n->dir, to, e);
	if (r == -ENOENT || r == -ECONNREFUSED) {
		buf_fmt(to, "{\"guests\": []}");
		return 0;
	}
	return r ? fail_in(e, "network %s", n->conf.name) : 0;
}

int network_serve(const char *name, bool detach, struct err *e)
{
	struct network n;
	int r = network_find(name, &n, e);
	if (!r) r = lan_serve(n.dir, &n.conf, detach, e);
	network_done(&n);
	return r;
}

int network_join(const char *name, const struct lan_hello *h, int *fd, struct err *e)
{
	struct network n;
	int r = network_find(name, &n, e);
	if (r) return r == -ENOENT ? -ENODEV : r;
	r = lan_call(n.dir, h, fd, e);
	network_done(&n);
	return r;
}

int network_start(const char *name, struct err *e)
{
	char exe[4096];
	auto_mem char *root = NULL;
	int r = root_of(&root, e);
	ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	exe[len > 0 ? len : 0] = 0;
	if (access(exe, X_OK)) (void)strcpy(exe, "/proc/self/exe"); /* replaced meanwhile */
	const char *start[] = {exe, "--root", root, "network", "serve", "--detach", name, NULL};
	return r ? r : lan_start(name, start, e);
}

int network_dial(const char *name, const struct lan_hello *h, int *fd, struct err *e)
{
	int r = network_join(name, h, fd, e);
	if (r != -ENOENT) return r;
	r = network_start(name, e);
	return r ? r : -EAGAIN;
}

static const char *after(const char *text, const char *prefix)
{
	size_t n = strlen(prefix);
	return strncmp(text, prefix, n) ? NULL : text + n;
}

bool network_has_switch(const char *net)
{
	return strcmp(net, "user") && !after(net, "tap:") && !after(net, "bridge:");
}

int network_check(const char *net, struct err *e)
{
	struct network n;
	if (!network_has_switch(net)) return 0;
	int r = network_find(net, &n, e);
	network_done(&n);
	return r;
}

/* What is there and not plugged in yet. */
static struct ready {
	const char *net; /* NULL: none, or taken */
	int tap;
	struct nat_process *nat;
} ready[SPEC_NETS];

static bool is_user(const char *net) { return !strcmp(net, "user"); }

static struct ready *ready_for(const char *net)
{
	for (unsigned i = 0; i < COUNT(ready); i++)
		if (ready[i].net && !strcmp(ready[i].net, net)) return &ready[i];
	return NULL;
}

static int open_tap(const char *net, int *fd, struct err *e)
{
	return tap_open(fd, after(net, "tap:"), after(net, "bridge:"), e);
}

int network_prepare(const struct spec *s, int keep, struct err *e)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < s->nnets; i++) {
		const char *net = s->net[i];
		unsigned npublish = i == network_publisher(s) ? s->npublish : 0;
		if (network_has_switch(net)) continue;
		r = is_user(net) ? nat_process_new(&ready[i].nat, s->publish, npublish, keep, e)
				 : open_tap(net, &ready[i].tap, e);
		if (r == 0) ready[i].net = net;
	}
	return r;
}

static int plug_tap(struct port **out, const char *net, struct err *e)
{
	struct ready *a = ready_for(net);
	int fd = a ? a->tap : -1, r = a ? 0 : open_tap(net, &fd, e);
	if (a) a->net = NULL;
	return r ? r : tap_new(out, fd, e);
}

static int plug_user(struct port **out, const struct nat_forward *fwd, unsigned nfwd, struct err *e)
{
	struct ready *a = ready_for("user");
	struct nat_process *p = a ? a->nat : NULL;
	int r = a ? 0 : nat_process_new(&p, fwd, nfwd, -1, e);
	if (a) a->net = NULL;
	if (r == 0) r = nat_process_plug(out, p, e);
	if (r) nat_process_free(p);
	return r;
}

int network_plug(struct port **out, const char *net, const char *guest, const uint8_t mac[6],
		 const struct nat_forward *fwd, unsigned nfwd, struct err *e)
{
	struct lan_how how = {.guest = guest, .forward = fwd, .nforward = nfwd};
	memcpy(how.mac, mac, 6);
	if (!network_publishes(net)) return plug_tap(out, net, e);
	if (is_user(net)) return plug_user(out, fwd, nfwd, e);
	how.network = net;
	how.dial = outside_dial;
	return lan_port_new(out, &how, e);
}

/* --- who is at its end ----------------------------------------------------------------------- */

uint64_t network_identity(const char *name)
{
	uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
	if (!name && getrandom(&hash, sizeof(hash), 0) != sizeof(hash)) hash = (uintptr_t)&name;
	for (; name && *name; name++) hash = (hash ^ (uint8_t)*name) * 0x100000001b3;
	return hash;
}

void network_mac(uint8_t mac[6], uint64_t identity, unsigned card)
{
	mac[0] = 0x52;
	mac[1] = 0x54;
	identity += card * 0x9e3779b97f4a7c15;
	for (unsigned i = 2; i < 6; i++) mac[i] = (uint8_t)(identity >> 8 * i);
}

unsigned network_publisher(const struct spec *s)
{
	unsigned i = 0;
	while (i < s->nnets && !network_publishes(s->net[i])) i++;
	return i;
}

/* port.h, nat_new() */
static const struct network_terms user_terms = {
	.ip = 0x0a00020f, .mask = 0xffffff00, .gateway = 0x0a000202, .dns = 0x0a000203};

int network_terms(const char *net, const struct port *far, struct network_terms *to, struct err *e)
{
	struct network n;
	*to = (struct network_terms){0};
	if (!strcmp(net, "user")) *to = user_terms;
	if (!strcmp(net, "user") || !network_has_switch(net)) return 0;
	int r = network_find(net, &n, e);
	if (r) return r;
	const struct subnet *s = &n.conf.subnet;
	*to = (struct network_terms){.ip = lan_port_ip(far),
				     .mask = subnet_mask(s),
				     .gateway = n.conf.nat ? subnet_gateway(s) : 0,
				     .dns = subnet_server(s)};
	(void)snprintf(to->search, sizeof(to->search), "%s", net);
	network_done(&n);
	return 0;
}

bool network_publishes(const char *net) { return !after(net, "tap:") && !after(net, "bridge:"); }
