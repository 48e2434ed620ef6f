/* The seed as another reader of ISO 9660 finds it. */
#include "base/buf.h"
#include "base/test.h"
#include "store/seed.h"
#include <archive.h>
#include <archive_entry.h>
#include <json-c/json.h>
#include <string.h>

/* A file of the disk; its length, or -1. */
static int find(const struct buf *iso, const char *name, char *to, size_t room)
{
	struct archive *a = archive_read_new();
	struct archive_entry *en;
	int n = -1;
	must(archive_read_support_format_iso9660(a) == ARCHIVE_OK);
	CHECK(archive_read_open_memory(a, iso->at, iso->len) == ARCHIVE_OK);
	while (n < 0 && archive_read_next_header(a, &en) == ARCHIVE_OK)
		if (!strcmp(archive_entry_pathname(en), name))
			n = (int)archive_read_data(a, to, room - 1);
	(void)archive_read_free(a);
	to[n < 0 ? 0 : n] = 0;
	return n;
}

TEST(seed_says_who_it_is)
{
	struct buf b = {0};
	char text[1024];
	struct seed s = {.id = "i1",
			 .name = "web",
			 .keys = "# mine\nssh-ed25519 AAAA \"x\"\n\nssh-rsa BBBB y\n",
			 .user_data = "#!/bin/sh\nfalse\n",
			 .len = 16};
	CHECK(!seed_make(&s, &b, NULL));
	CHECK(b.len % 2048 == 0 && !memcmp(b.at + 16 * 2048 + 1, "CD001", 5));
	CHECK(!strncasecmp(b.at + 16 * 2048 + 40, "cidata ", 7)); /* volume identifier */
	CHECK(find(&b, "user-data", text, sizeof(text)) == 16 && !strcmp(text, s.user_data));
	CHECK(find(&b, "meta-data", text, sizeof(text)) > 0);
	struct json_object *o = json_tokener_parse(text), *v;
	CHECK(json_object_object_get_ex(o, "local-hostname", &v) &&
	      !strcmp(json_object_get_string(v), "web"));
	CHECK(json_object_object_get_ex(o, "public-keys", &v) && json_object_array_length(v) == 2);
	v = json_object_array_get_idx(v, 0);
	CHECK(!strcmp(json_object_get_string(v), "ssh-ed25519 AAAA \"x\""));
	(void)json_object_put(o);
	buf_done(&b);
}

TEST(seed_may_say_little)
{
	struct buf b = {0};
	char text[256];
	CHECK(!seed_make(&(struct seed){.id = "i2"}, &b, NULL));
	CHECK(find(&b, "user-data", text, sizeof(text)) > 0 && !strncmp(text, "#cloud-config", 13));
	CHECK(find(&b, "meta-data", text, sizeof(text)) > 0 && strstr(text, "i2"));
	buf_done(&b);
}
