/* Who this guest is, by what its monitor says. A guest that was cloned holds all that its first
 * had: the numbers that nobody may know twice, addresses, names. So what it was told last is kept
 * in a file, and whoever is another one now becomes that: fresh entropy always, and then the
 * addresses of its network cards, its machine-id, and its name unless somebody chose one inside. */
#define _GNU_SOURCE
#include "agent.h"
#include "json.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef KEPT /* a test has others */
#define KEPT	   "/var/lib/lodge/identity"
#define RENEW	   "/etc/lodge/renew" /* the image's: this card is to ask for addresses anew */
#define MACHINE_ID "/etc/machine-id"
#endif
enum { CARDS = 8, MAC_TEXT = 18, SEED = 64 };

struct identity {
	char id[64], name[65], mac[CARDS][MAC_TEXT];
	unsigned cards;
};

/* ---- what it was told last ---- */
static bool kept(struct identity *i)
{
	FILE *f = fopen(KEPT, "re");
	*i = (struct identity){.cards = 0};
	if (!f) return false;
	bool good = fscanf(f, "%63s %64s", i->id, i->name) == 2;
	while (good && i->cards < CARDS && fscanf(f, "%17s", i->mac[i->cards]) == 1) i->cards++;
	fclose(f);
	return good;
}

static void keep(const struct identity *i)
{
	mkdir("/var", 0755);
	mkdir("/var/lib", 0755);
	mkdir("/var/lib/lodge", 0755);
	FILE *f = fopen(KEPT ".new", "we");
	if (!f) return;
	fprintf(f, "%s %s", i->id, i->name);
	for (unsigned n = 0; n < i->cards; n++) fprintf(f, " %s", i->mac[n]);
	bool good = fputc('\n', f) != EOF && !fflush(f) && !fsync(fileno(f));
	if (!fclose(f) && good) rename(KEPT ".new", KEPT);
}

/* ---- what it is now ---- */
static bool is_word(const char *s) { return *s && !s[strcspn(s, " \t\r\n")]; }

static bool told(struct identity *to, const char *a)
{
	const char *all = json_member(a, "macs"), *at = NULL;
	*to = (struct identity){.cards = 0};
	if (json_string(json_member(a, "id"), to->id, sizeof(to->id)) <= 0) return false;
	if (json_string(json_member(a, "name"), to->name, sizeof(to->name)) <= 0)
		strcpy(to->name, "-");
	while (to->cards < CARDS && (at = json_next(all, at))) {
		char mac[MAC_TEXT + 8];
		if (json_string(at, mac, sizeof(mac)) != MAC_TEXT - 1) return false;
		memcpy(to->mac[to->cards++], mac, MAC_TEXT);
	}
	return is_word(to->id) && is_word(to->name);
}

static void entropy(const char *a)
{
	char coded[2 * SEED];
	struct {
		struct rand_pool_info head;
		uint8_t seed[2 * SEED];
	} in;
	int n = json_string(json_member(a, "seed"), coded, sizeof(coded));
	long len = n < 0 ? -1 : base64_decode(coded, (size_t)n, in.seed);
	int fd = len <= 0 ? -1 : open("/dev/urandom", O_RDWR | O_CLOEXEC);
	if (fd < 0) return;
	in.head.entropy_count = (int)len * 8;
	in.head.buf_size = (int)len;
	memmove(in.head.buf, in.seed, (size_t)len);
	ioctl(fd, RNDADDENTROPY, &in);
	ioctl(fd, RNDRESEEDCRNG);
	close(fd);
}

/* ---- becoming it ---- */
static bool hardware(const char *text, struct sockaddr *to)
{
	uint8_t m[6];
	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &m[0], &m[1], &m[2], &m[3], &m[4],
		   &m[5]) != 6)
		return false;
	to->sa_family = ARPHRD_ETHER;
	memcpy(to->sa_data, m, sizeof(m));
	return true;
}

static void renew(const char *card)
{
	pid_t p = access(RENEW, X_OK) ? -1 : fork();
	if (p == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execl(RENEW, RENEW, card, (char *)NULL);
		_exit(127);
	}
	while (p > 0 && waitpid(p, NULL, 0) < 0 && errno == EINTR) continue;
}

/* The card that has the one address gets the other. */
static void readdress(const char *from, const char *to)
{
	struct if_nameindex *all = if_nameindex();
	struct ifreq had, gets = {.ifr_flags = 0}, is;
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0 || !hardware(from, &had.ifr_hwaddr) || !hardware(to, &gets.ifr_hwaddr))
		all = NULL;
	for (struct if_nameindex *n = all; n && n->if_name; n++) {
		is = (struct ifreq){.ifr_flags = 0};
		strncpy(is.ifr_name, n->if_name, IFNAMSIZ - 1);
		if (ioctl(s, SIOCGIFHWADDR, &is) ||
		    memcmp(is.ifr_hwaddr.sa_data, had.ifr_hwaddr.sa_data, 6))
			continue;
		memcpy(gets.ifr_name, is.ifr_name, IFNAMSIZ);
		if (!ioctl(s, SIOCSIFHWADDR, &gets)) renew(n->if_name);
		break;
	}
	if (all) if_freenameindex(all);
	if (s >= 0) close(s);
}

/* A UUID of version 4 without its dashes: machine-id(5). It may be mounted: so it is written over.
 */
static void new_machine_id(void)
{
	uint8_t r[16];
	char text[34];
	int from = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	int to = open(MACHINE_ID, O_WRONLY | O_CLOEXEC);
	if (from >= 0 && to >= 0 && read(from, r, sizeof(r)) == sizeof(r)) {
		r[6] = (uint8_t)((r[6] & 0x0f) | 0x40);
		r[8] = (uint8_t)((r[8] & 0x3f) | 0x80);
		for (int i = 0; i < 16; i++) snprintf(text + 2 * i, 3, "%02x", r[i]);
		text[32] = '\n';
		if (pwrite(to, text, 33, 0) == 33) fsync(to);
	}
	if (from >= 0) close(from);
	if (to >= 0) close(to);
}

static void rename_host(const char *from, const char *to)
{
	char now[256] = "";
	gethostname(now, sizeof(now) - 1);
	if (strcmp(now, from) || !strcmp(to, "-")) return;
	sethostname(to, strlen(to));
	FILE *f = fopen("/etc/hosts", "ae");
	if (f) fprintf(f, "127.0.1.1\t%s\n", to), fclose(f);
	if (!access("/etc/hostname", W_OK) && (f = fopen("/etc/hostname", "r+e"))) {
		char line[256] = "";
		bool same = fscanf(f, "%255s", line) == 1 && !strcmp(line, from);
		fclose(f);
		if (same && (f = fopen("/etc/hostname", "we"))) fprintf(f, "%s\n", to), fclose(f);
	}
}

bool identity_take(const char *arguments)
{
	struct identity was, is;
	entropy(arguments);
	if (!told(&is, arguments)) return false;
	bool known = kept(&was);
	if (known && strcmp(was.id, is.id)) {
		new_machine_id();
		rename_host(was.name, is.name);
		for (unsigned n = 0; n < was.cards && n < is.cards; n++)
			if (strcmp(was.mac[n], is.mac[n])) readdress(was.mac[n], is.mac[n]);
	}
	if (!known || memcmp(&was, &is, sizeof(is))) keep(&is);
	return true;
}
