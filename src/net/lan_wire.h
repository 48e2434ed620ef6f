#ifndef NET_LAN_WIRE_H
#define NET_LAN_WIRE_H
#include "base/types.h"
#include "net/port.h"
#include <stdbool.h>
#include <stddef.h>
/* What goes over the socket of a software network, SOCK_SEQPACKET in its folder: one hello, one
 * welcome, and from then on a packet is a frame, OFFLOAD_HEAD bytes of what it is in front. A
 * network is asked about itself with a hello too; then the answer is JSON. Both ends are of one
 * machine, and of one owner. */
enum {
	LAN_VERSION = 2,
	LAN_NAME = 64,
	LAN_FORWARDS = 32,
	LAN_WORDS = 256,
	LAN_JSON = 128 * 1024,
	LAN_BATCH = 32,				  /* frames per system call */
	LAN_FRAME = OFFLOAD_HEAD + OFFLOAD_FRAME, /* room for one */
};
#define LAN_SOCKET "socket" /* in the network's folder */
enum lan_what { LAN_JOIN = 1, LAN_DESCRIBE = 2 };
struct lan_hello {
	char magic[8]; /* LAN_MAGIC, not ended */
	le32 version, what;
	uint8_t mac[6];
	uint8_t nforward, spare;
	le32 want;	     /* an IPv4 address that it had; 0: none */
	char name[LAN_NAME]; /* ended; "" : none */
	struct lan_forward {
		uint8_t udp, spare;
		le16 host_port, guest_port;
		char host[46]; /* ended */
	} forward[LAN_FORWARDS];
};
struct lan_welcome {
	le32 code; /* 0, or an errno and words why not */
	le32 ip;   /* the guest's */
	char words[LAN_WORDS];
};
#define LAN_MAGIC "lodgelan"

void lan_hello_make(struct lan_hello *h, enum lan_what what);
void lan_forward_make(struct lan_forward *to, const struct nat_forward *f);
void lan_forward_read(struct nat_forward *to, const struct lan_forward *f);
/* Hostile bytes: false unless they are a hello that makes sense. */
bool lan_hello_read(struct lan_hello *h, const void *at, size_t len);
/* The socket in the folder dir, which is open as dirfd: its address. */
struct sockaddr_un;
void lan_address(struct sockaddr_un *to, int dirfd);
#endif
