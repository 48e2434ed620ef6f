#ifndef NET_FDB_H
#define NET_FDB_H
#include <stdbool.h>
#include <stdint.h>
/* Which port an Ethernet address is behind (IEEE 802.1D §7.9, the filtering database): bounded,
 * and learnt addresses are forgotten after five minutes of silence. A port that floods it with
 * addresses pushes out its own only. Belongs to its lan's thread. Zeroed = empty. */
enum { FDB_BUCKETS = 512, FDB_WAYS = 4, FDB_PORTS = 256, FDB_QUOTA = 512, FDB_NONE = -1 };
#define FDB_AGE 300000000000ull /* ns */
struct fdb {
	uint64_t seed; /* so that nobody can tell which addresses share a bucket */
	unsigned of_port[FDB_PORTS];
	struct fdb_entry {
		uint64_t seen; /* 0: free */
		uint8_t mac[6];
		uint8_t port;
		bool fixed; /* neither ages nor moves */
	} at[FDB_BUCKETS][FDB_WAYS];
};
void fdb_learn(struct fdb *f, const uint8_t mac[6], unsigned port, uint64_t now);
/* false: its bucket is full of fixed ones; it is then found by flooding. */
bool fdb_fix(struct fdb *f, const uint8_t mac[6], unsigned port);
int fdb_find(const struct fdb *f, const uint8_t mac[6], uint64_t now); /* or FDB_NONE */
void fdb_forget(struct fdb *f, unsigned port);			       /* all behind it */
#endif
