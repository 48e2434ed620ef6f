#include "base/test.h"
#include "zone/options.h"
#include "zone/spec.h"
#include "zone/words.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define HEAD                                                                                       \
	"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"},\"process\":{\"args\":[\"x\"],"       \
	"\"cwd\":\"/\"%s}%s}"

static int parse(struct spec *s, struct arena *a, const char *process, const char *more,
		 struct err *e)
{
	char text[4096];
	(void)snprintf(text, sizeof(text), HEAD, process, more);
	return spec_parse(s, text, strlen(text), a, e);
}

static int fails(const char *process, const char *more, const char *words)
{
	struct err e = {0};
	struct spec s;
	struct arena *a = arena_new();
	int r = parse(&s, a, process, more, &e);
	bool named = r && strstr(e.msg, words);
	if (r && !named) fprintf(stderr, "said: %s\n", e.msg);
	spec_done(&s);
	arena_free(a);
	return named ? r : 0;
}

TEST(spec_takes_the_least)
{
	struct err e;
	struct spec s;
	struct arena *a = arena_new();
	CHECK(!parse(&s, a, "", "", &e));
	CHECK(s.process && s.process->user->uid == 0 && !s.process->args.at[1]);
	CHECK(s.linux_ && !s.new_ns && !s.join_ns && !s.hooks);
	spec_done(&s);
	arena_free(a);
}

TEST(spec_keeps_numbers_whole)
{
	struct err e;
	struct spec s;
	struct arena *a = arena_new();
	CHECK(!parse(
		&s, a,
		",\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"soft\":9007199254740993,"
		"\"hard\":18446744073709551615}]",
		",\"linux\":{\"resources\":{\"memory\":{\"limit\":-1,\"swap\":9007199254740993}}}",
		&e));
	CHECK(s.process->rlimits.at[0].soft == 9007199254740993u);
	CHECK(s.process->rlimits.at[0].hard == UINT64_MAX);
	CHECK(s.linux_->resources->memory->limit.set && s.linux_->resources->memory->limit.v == -1);
	CHECK(s.linux_->resources->memory->swap.v == 9007199254740993);
	CHECK(!s.linux_->resources->memory->reservation.set);
	spec_done(&s);
	arena_free(a);
}

TEST(spec_says_where_it_is_wrong)
{
	CHECK(fails(",\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"soft\":\"1\"}]", "",
		    "process.rlimits[0].soft"));
	CHECK(fails(",\"user\":{\"uid\":4294967296}", "", "process.user.uid"));
	CHECK(fails(",\"user\":{\"uid\":-1}", "", "process.user.uid"));
	CHECK(fails(",\"env\":[\"a\\u0000b\"]", "", "process.env[0]"));
	CHECK(fails("", ",\"linux\":{\"namespaces\":[{\"type\":\"moon\"}]}", "moon"));
	CHECK(fails("", ",\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"pid\"}]}",
		    "twice"));
	CHECK(fails("", ",\"mounts\":[{}]", "mounts[0].destination"));
	CHECK(fails("", ",\"hooks\":{\"prestart\":[{\"path\":\"a\"}]}", "hooks.prestart[0]"));
	CHECK(fails("", ",\"hostname\":\"x\"", "uts"));
	CHECK(fails("", ",\"linux\":{\"uidMappings\":[{\"size\":1}]}", "user namespace"));
}

TEST(spec_lets_no_sysctl_of_the_host_through)
{
	static const char own[] =
		",\"linux\":{\"namespaces\":[{\"type\":\"ipc\"},{\"type\":\"uts\"},"
		"{\"type\":\"network\"}],\"sysctl\":{\"%s\":\"1\"}}";
	static const struct {
		const char *key;
		bool good;
	} keys[] = {{"kernel.shmmax", true},	     {"net.ipv4.ip_forward", true},
		    {"fs.mqueue.msg_max", true},     {"kernel.core_pattern", false},
		    {"vm.overcommit_memory", false}, {"net..x", false},
		    {"kernel.panic", false},	     {"net/ipv4/ip_forward", true}};
	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct err e;
		struct spec s;
		struct arena *a = arena_new();
		char more[300];
		(void)snprintf(more, sizeof(more), own, keys[i].key);
		CHECK(!parse(&s, a, "", more, &e) == keys[i].good);
		spec_done(&s);
		arena_free(a);
	}
}

static struct options options_of(const char *const *words, unsigned n, struct arena *a)
{
	struct options o;
	struct err e;
	struct spec_mount m = {.destination = "/x", .options = {(const char **)words, n}};
	CHECK(!options_parse(&o, &m, a, &e));
	return o;
}

TEST(options_are_sorted_by_whom_they_are_for)
{
	struct arena *a = arena_new();
	const char *words[] = {"rbind", "ro", "rnoexec", "rslave", "size=1m", "rw", "nosuid"};
	struct options o = options_of(words, 7, a);
	CHECK(o.bind && o.deep && o.propagation == MS_SLAVE && o.propagation_deep);
	CHECK(o.attr.attr_set == MOUNT_ATTR_NOSUID && o.attr.attr_clr == MOUNT_ATTR_RDONLY);
	CHECK(o.recursive.attr_set == MOUNT_ATTR_NOEXEC);
	CHECK(o.data.n == 1 && !strcmp(o.data.at[0], "size=1m"));
	const char *times[] = {"noatime", "relatime"};
	o = options_of(times, 2, a);
	CHECK(o.attr.attr_set == MOUNT_ATTR_RELATIME && o.attr.attr_clr == MOUNT_ATTR__ATIME);
	arena_free(a);
}

TEST(words_find_signals_and_capabilities)
{
	CHECK(word_signal("TERM") == SIGTERM && word_signal("SIGKILL") == SIGKILL);
	CHECK(word_signal("9") == 9 && word_signal("sigint") == SIGINT && word_signal("0") == 0);
	CHECK(word_signal("RTMIN+3") == SIGRTMIN + 3 && word_signal("SIGRTMAX-1") == SIGRTMAX - 1);
	CHECK(word_signal("") < 0 && word_signal("-9") < 0 && word_signal("9x") < 0);
	CHECK(word_signal("RTMIN+99") < 0 && word_signal("SIGNOT") < 0);
	CHECK(word_cap("CAP_CHOWN") == 0 && word_cap("checkpoint_restore") == 40);
	CHECK(word_cap("CAP_") < 0);
	CHECK(word_namespace("network") == CLONE_NEWNET);
	CHECK(!strcmp(word_namespace_file(CLONE_NEWNS), "mnt"));
}
