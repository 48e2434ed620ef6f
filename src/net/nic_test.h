#ifndef NET_NIC_TEST_H
#define NET_NIC_TEST_H
#include "base/test.h"
#include "net/port.h"
#include <pthread.h>
#include <string.h>
#include <time.h>
/* A network card without a computer: counts what it is given and keeps the last frame. */
enum { NIC_PATIENCE_S = 20 };
struct nic {
	struct port port;
	pthread_mutex_t mutex;
	pthread_cond_t came;
	bool full; /* refuses everything */
	unsigned n, readies, refused, downs;
	size_t len, bytes;
	uint8_t last[2048];
};
static inline bool nic_deliver(struct port *p, const struct iovec *iov, int niov)
{
	struct nic *n = (struct nic *)p;
	(void)pthread_mutex_lock(&n->mutex);
	bool took = !n->full;
	n->refused += n->full;
	if (took) {
		n->len = 0;
		for (int i = 0; i < niov && n->len + iov[i].iov_len <= sizeof(n->last); i++) {
			memcpy(n->last + n->len, iov[i].iov_base, iov[i].iov_len);
			n->len += iov[i].iov_len;
		}
		n->n++;
		n->bytes += n->len;
	}
	(void)pthread_cond_broadcast(&n->came);
	(void)pthread_mutex_unlock(&n->mutex);
	return took;
}
static inline void nic_ready(struct port *p)
{
	struct nic *n = (struct nic *)p;
	(void)pthread_mutex_lock(&n->mutex);
	n->readies++;
	(void)pthread_cond_broadcast(&n->came);
	(void)pthread_mutex_unlock(&n->mutex);
}
static inline void nic_down(struct port *p)
{
	struct nic *n = (struct nic *)p;
	(void)pthread_mutex_lock(&n->mutex);
	n->downs++;
	(void)pthread_cond_broadcast(&n->came);
	(void)pthread_mutex_unlock(&n->mutex);
}
static inline void nic_free(struct port *p) { (void)p; }
static inline void nic_init(struct nic *n, uint8_t last)
{
	static const struct port_ops ops = {"nic",    nic_deliver, nic_ready,
					    nic_free, NULL,	   nic_down};
	memset(n, 0, sizeof(*n));
	n->port.ops = &ops;
	n->port.mac[0] = 0x52;
	n->port.mac[1] = 0x54;
	n->port.mac[5] = last;
	(void)pthread_mutex_init(&n->mutex, NULL);
	(void)pthread_cond_init(&n->came, NULL);
}
static inline unsigned nic_count(struct nic *n, const unsigned *count)
{
	(void)pthread_mutex_lock(&n->mutex);
	unsigned v = *count;
	(void)pthread_mutex_unlock(&n->mutex);
	return v;
}
/* Until *count has at least that value, which is under the card's mutex; false: too long. */
static inline bool nic_wait(struct nic *n, const unsigned *count, unsigned value)
{
	struct timespec until;
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += NIC_PATIENCE_S;
	(void)pthread_mutex_lock(&n->mutex);
	while (*count < value && !pthread_cond_timedwait(&n->came, &n->mutex, &until)) continue;
	bool ok = *count >= value;
	(void)pthread_mutex_unlock(&n->mutex);
	return ok;
}
#endif
