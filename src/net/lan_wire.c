/* Messages of a software network's socket, made and read in one place. */
#include "net/lan_wire.h"
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

void lan_hello_make(struct lan_hello *h, enum lan_what what)
{
	memset(h, 0, sizeof(*h));
	memcpy(h->magic, LAN_MAGIC, sizeof(h->magic));
	h->version = le32_of(LAN_VERSION);
	h->what = le32_of(what);
}

void lan_forward_make(struct lan_forward *to, const struct nat_forward *f)
{
	memset(to, 0, sizeof(*to));
	to->udp = f->udp;
	to->host_port = le16_of(f->host_port);
	to->guest_port = le16_of(f->guest_port);
	(void)snprintf(to->host, sizeof(to->host), "%s", f->host);
}

void lan_forward_read(struct nat_forward *to, const struct lan_forward *f)
{
	*to = (struct nat_forward){.udp = f->udp,
				   .host_port = le16_get(f->host_port),
				   .guest_port = le16_get(f->guest_port)};
	memcpy(to->host, f->host, sizeof(to->host));
}

static bool name_plain(const char name[LAN_NAME])
{
	static const char all[] = "abcdefghijklmnopqrstuvwxyz0123456789_.-";
	return memchr(name, 0, LAN_NAME) && !name[strspn(name, all)];
}

static bool forward_ok(const struct lan_forward *f)
{
	return f->udp <= 1 && f->host_port.raw && f->guest_port.raw &&
	       memchr(f->host, 0, sizeof(f->host)) && !f->host[strspn(f->host, "0123456789.")];
}

bool lan_hello_read(struct lan_hello *h, const void *at, size_t len)
{
	if (len != sizeof(*h)) return false;
	memcpy(h, at, sizeof(*h));
	uint32_t what = le32_get(h->what);
	if (memcmp(h->magic, LAN_MAGIC, sizeof(h->magic)) || le32_get(h->version) != LAN_VERSION)
		return false;
	if ((what != LAN_JOIN && what != LAN_DESCRIBE) || h->nforward > LAN_FORWARDS) return false;
	for (unsigned i = 0; i < h->nforward; i++)
		if (!forward_ok(&h->forward[i])) return false;
	return name_plain(h->name);
}

void lan_address(struct sockaddr_un *to, int dirfd)
{
	*to = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(to->sun_path, sizeof(to->sun_path), "/proc/self/fd/%d/" LAN_SOCKET, dirfd);
}
