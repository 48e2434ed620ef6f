/* Published ports as people write them. */
#include "net/port.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 80, FIELDS = 3 };

static int bad(struct err *e, const char *text, const char *why)
{
	return fail(e, -EINVAL, "publish \"%.80s\": %s", text, why);
}

static bool port_parse(const char *s, uint16_t *out)
{
	unsigned v = 0;
	size_t n = strspn(s, "0123456789");
	if (!n || n > 5 || s[n]) return false;
	for (; *s; s++) v = v * 10 + (unsigned)(*s - '0');
	*out = (uint16_t)v;
	return v > 0 && v <= UINT16_MAX;
}

static bool proto_parse(const char *s, bool *udp)
{
	*udp = !strcmp(s, "udp");
	return *udp || !strcmp(s, "tcp");
}

/* "tcp:..." and ".../tcp", cut off the text; both only if they agree. */
static const char *proto_cut(char **text, bool *udp)
{
	char *slash = strchr(*text, '/');
	bool ahead = !strncmp(*text, "udp:", 4), any = ahead || !strncmp(*text, "tcp:", 4);
	*udp = ahead;
	if (any) *text += 4;
	if (!slash) return NULL;
	*slash = 0;
	if (!proto_parse(slash + 1, udp)) return "after the / comes tcp or udp";
	return any && ahead != *udp ? "says both tcp and udp" : NULL;
}

static const char *fields_parse(struct nat_forward *f, char *text)
{
	char *field[FIELDS];
	struct in_addr addr;
	int n = 0;
	if (strchr(text, '[')) return "IPv6 addresses cannot be published yet";
	for (char *s = text; s; n++) {
		if (n == FIELDS) return "has too many colons; try ADDRESS:HOST_PORT:GUEST_PORT";
		field[n] = s;
		if ((s = strchr(s, ':'))) *s++ = 0;
	}
	if (n < 2) return "needs two ports: HOST_PORT:GUEST_PORT";
	if (n == 3 && inet_pton(AF_INET, field[0], &addr) != 1)
		return "the address must be a numeric IPv4 one, such as 127.0.0.1";
	if (!port_parse(field[n - 2], &f->host_port) || !port_parse(field[n - 1], &f->guest_port))
		return "a port is a number from 1 to 65535";
	if (n == 3) (void)strcpy(f->host, field[0]);
	return NULL;
}

int nat_forward_parse(struct nat_forward *out, const char *text, struct err *e)
{
	char copy[TEXT_MAX], *at = copy;
	struct nat_forward f = {0};
	if (strlen(text) >= sizeof(copy)) return bad(e, text, "is too long");
	(void)strcpy(copy, text);
	const char *why = proto_cut(&at, &f.udp);
	if (!why) why = fields_parse(&f, at);
	if (why) return bad(e, text, why);
	*out = f;
	return 0;
}
