#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "base/test.h"
#include "base/types.h"
#include "guest/record.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static struct record full(void)
{
	struct record r = {.id = "0123456789ab", .created = 1795674170};
	r.spec = (struct spec){.image = "debian",
			       .arch = ARCH_X86_64,
			       .cpus = 3,
			       .memory = 5ull << 32,
			       .kernel = "/boot/a \"b\"\n",
			       .initrd = "rel/initrd",
			       .append = "",
			       .engine = "interp",
			       .code_cache = 1 << 20,
			       .deterministic = true,
			       .net = {"user", "lan"},
			       .nnets = 2,
			       .volume = {"./src:/s:ro", "data:/d"},
			       .nvolumes = 2,
			       .cap_rate = 1000000,
			       .remove = true,
			       .disk = {{"/d", "raw", true},
					{"/e", "qcow2", false, .bus = BUS_NVME},
					{"/f", "raw", false, .bus = BUS_SATA},
					{"/g.iso", "raw", true, .bus = BUS_CDROM}},
			       .boot_cdrom = true,
			       .vars = "/vars.fd",
			       .ndisks = 4,
			       .publish = {{false, "", 80, 8080}, {true, "10.0.0.1", 5, 6}},
			       .npublish = 2};
	return r;
}

TEST(record_comes_back_as_it_was)
{
	auto_buf struct buf b = {0};
	struct record r = full(), back;
	struct err e = {0};
	record_format(&r, &b);
	CHECK(!record_parse(&back, b.at, b.len, &e));
	const struct spec *s = &back.spec;
	CHECK(!strcmp(back.id, r.id) && back.created == r.created && !s->name && !s->control);
	CHECK(!strcmp(s->image, "debian") && s->arch == ARCH_X86_64 && s->cpus == 3);
	CHECK(s->memory == 5ull << 32 && !strcmp(s->kernel, "/boot/a \"b\"\n"));
	CHECK(*s->initrd == '/' && strstr(s->initrd, "/rel/initrd"));
	CHECK(s->append && !*s->append && !s->firmware && !strcmp(s->engine, "interp"));
	CHECK(s->code_cache == 1 << 20 && s->deterministic && !s->profile && s->remove);
	CHECK(s->nvolumes == 2 && *s->volume[0] == '/' && strstr(s->volume[0], "/./src:/s:ro"));
	CHECK(!strcmp(s->volume[1], "data:/d"));
	CHECK(s->nnets == 2 && !strcmp(s->net[1], "lan") && s->cap_rate == 1000000);
	CHECK(s->ndisks == 4 && s->boot_cdrom && s->disk[0].readonly &&
	      !strcmp(s->disk[1].format, "qcow2"));
	CHECK(s->disk[0].bus == BUS_VIRTIO && s->disk[1].bus == BUS_NVME);
	CHECK(s->disk[2].bus == BUS_SATA && s->disk[3].bus == BUS_CDROM && s->disk[3].readonly);
	CHECK(!strcmp(s->vars, "/vars.fd"));
	CHECK(s->npublish == 2 && s->publish[0].host_port == 80 && s->publish[1].udp);
	CHECK(!strcmp(s->publish[0].host, "127.0.0.1") && s->publish[1].guest_port == 6);
	record_done(&back);
}

static bool refused(const char *text)
{
	struct record r;
	struct err e = {0};
	return record_parse(&r, text, strlen(text), &e) == -EINVAL && e.msg[0] && !r.arena;
}
#define HEAD "{\"version\":1,\"id\":\"0123456789ab\",\"spec\":"

TEST(record_refuses_what_is_none)
{
	struct record r;
	CHECK(refused("") && refused("[]") && refused("{}") && refused("{\"version\":2}"));
	CHECK(refused("{\"version\":1,\"id\":\"0123456789AB\"}"));
	CHECK(refused("{\"version\":1,\"id\":\"0123456789ab0\"}"));
	CHECK(refused(HEAD "[]}") && refused(HEAD "{}}") && refused(HEAD "{\"arch\":\"vax\"}}"));
	CHECK(refused(HEAD "{\"arch\":\"amd64\",\"cpus\":-1}}"));
	CHECK(refused(HEAD "{\"arch\":\"amd64\",\"memory\":\"1\"}}"));
	CHECK(refused(HEAD "{\"arch\":\"amd64\",\"kernel\":\"a\\u0000b\"}}"));
	CHECK(refused(HEAD "{\"arch\":\"amd64\",\"profile\":1}}"));
	CHECK(refused(HEAD "{\"arch\":\"amd64\",\"nets\":[1]}}"));
	CHECK(refused(HEAD "{\"arch\":\"amd64\",\"nets\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}}"));
	CHECK(refused(HEAD "{\"arch\":\"amd64\",\"disks\":[{}]}}"));
	CHECK(refused(HEAD "{\"arch\":\"amd64\",\"ports\":[\"0:0\"]}}"));
	CHECK(refused(HEAD "{\"arch\":\"amd64\",\"ports\":{}}}"));
	CHECK(!record_parse(&r, HEAD "{\"arch\":\"amd64\",\"new\":[]}}",
			    strlen(HEAD "{\"arch\":\"amd64\",\"new\":[]}}"), NULL));
	CHECK(r.spec.cpus == 1 && !r.spec.image);
	record_done(&r);
}

static int folder(char path[32])
{
	strcpy(path, "/tmp/record_test.XXXXXX");
	CHECK(mkdtemp(path));
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

TEST(state_is_kept_and_damage_is_told)
{
	char path[32];
	auto_fd int fd = folder(path);
	struct guest_state s, t = {.life = LIFE_BROKEN, .pid = 7, .started = 5, .why = "\x1b[2J"};
	state_read(&s, fd);
	CHECK(s.life == LIFE_CREATED && !s.pid);
	CHECK(!state_write(&t, fd, NULL));
	state_read(&s, fd);
	CHECK(s.life == LIFE_BROKEN && s.pid == 7 && s.started == 5 && !strcmp(s.why, t.why));
	t = (struct guest_state){.life = LIFE_EXITED, .code = 255, .finished = 9};
	CHECK(!state_write(&t, fd, NULL));
	state_read(&s, fd);
	CHECK(s.life == LIFE_EXITED && s.code == 255 && s.finished == 9 && !*s.why);
	state_parse(&s, "{\"state\":", 9);
	CHECK(s.life == LIFE_BROKEN && strstr(s.why, "damaged"));
	state_parse(&s, "{\"state\":\"happy\",\"why\":[1]}", 27);
	CHECK(s.life == LIFE_BROKEN);
	CHECK(!dir_remove(path, NULL));
}

/* Killed at any point of writing, a state is the old one or the new one; the rest is swept up. */
TEST(state_survives_its_writer)
{
	char path[32], at[8];
	auto_fd int fd = folder(path);
	struct guest_state s, t = {.life = LIFE_RUNNING, .pid = 1};
	int killed = 0;
	CHECK(!state_write(&t, fd, NULL));
	for (int n = 1; n < 9; n++) {
		pid_t child = fork();
		int st;
		if (child == 0) {
			(void)snprintf(at, sizeof(at), "%d", n);
			(void)setenv("LODGE_KILL_AT", at, 1);
			t.pid = 2;
			_exit(state_write(&t, fd, NULL) != 0);
		}
		CHECK(waitpid(child, &st, 0) == child);
		killed += WIFSIGNALED(st);
		state_read(&s, fd);
		CHECK(s.life == LIFE_RUNNING && (s.pid == 1 || s.pid == 2));
	}
	CHECK(killed >= 3 && s.pid == 2);
	record_sweep(fd);
	CHECK(!unlinkat(fd, "state.json", 0) && !rmdir(path));
}
