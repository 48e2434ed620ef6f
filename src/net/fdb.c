/* The learning table of a switch: a hash of small buckets, so that nothing is ever searched for
 * long or allocated. */
#include "net/fdb.h"
#include "base/err.h"
#include <string.h>

static struct fdb_entry *bucket(const struct fdb *f, const uint8_t mac[6])
{
	uint64_t h = f->seed;
	for (unsigned i = 0; i < 6; i++) h = (h ^ mac[i]) * 0x9e3779b97f4a7c15;
	return (struct fdb_entry *)f->at[(h >> 40) % FDB_BUCKETS];
}

static bool alive(const struct fdb_entry *n, uint64_t now)
{
	return n->seen && (n->fixed || now - n->seen < FDB_AGE || now < n->seen);
}

static struct fdb_entry *entry(const struct fdb *f, const uint8_t mac[6])
{
	struct fdb_entry *b = bucket(f, mac);
	for (unsigned i = 0; i < FDB_WAYS; i++)
		if (b[i].seen && !memcmp(b[i].mac, mac, 6)) return &b[i];
	return NULL;
}

static void drop(struct fdb *f, struct fdb_entry *n)
{
	if (n->seen) f->of_port[n->port]--;
	*n = (struct fdb_entry){0};
}

static void put(struct fdb *f, struct fdb_entry *n, const uint8_t mac[6], unsigned port,
		uint64_t now)
{
	drop(f, n);
	*n = (struct fdb_entry){.seen = now ? now : 1, .port = (uint8_t)port};
	memcpy(n->mac, mac, 6);
	f->of_port[port]++;
}

/* A place that is free, or the port's own oldest; NULL: neither. */
static struct fdb_entry *place(const struct fdb *f, const uint8_t mac[6], unsigned port,
			       uint64_t now)
{
	struct fdb_entry *b = bucket(f, mac), *old = NULL;
	for (unsigned i = 0; i < FDB_WAYS; i++) {
		struct fdb_entry *n = &b[i];
		if (!alive(n, now) && f->of_port[port] < FDB_QUOTA) return n;
		if (alive(n, now) && n->port == port && !n->fixed && (!old || n->seen < old->seen))
			old = n;
	}
	return old;
}

void fdb_learn(struct fdb *f, const uint8_t mac[6], unsigned port, uint64_t now)
{
	must(port < FDB_PORTS);
	struct fdb_entry *n = entry(f, mac);
	if (n && n->fixed) return;
	if (!n || n->port != port) {
		if (n) drop(f, n);
		n = place(f, mac, port, now);
	}
	if (n) put(f, n, mac, port, now);
}

bool fdb_fix(struct fdb *f, const uint8_t mac[6], unsigned port)
{
	must(port < FDB_PORTS);
	struct fdb_entry *b = bucket(f, mac), *n = entry(f, mac);
	for (unsigned i = 0; !n && i < FDB_WAYS; i++)
		if (!b[i].fixed) n = &b[i];
	if (!n || n->fixed) return false;
	put(f, n, mac, port, 1);
	n->fixed = true;
	return true;
}

int fdb_find(const struct fdb *f, const uint8_t mac[6], uint64_t now)
{
	const struct fdb_entry *n = entry(f, mac);
	return n && alive(n, now) ? n->port : FDB_NONE;
}

void fdb_forget(struct fdb *f, unsigned port)
{
	for (unsigned i = 0; i < FDB_BUCKETS; i++)
		for (unsigned j = 0; j < FDB_WAYS; j++)
			if (f->at[i][j].seen && f->at[i][j].port == port) drop(f, &f->at[i][j]);
}
