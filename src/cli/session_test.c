#include "base/buf.h"
#include "base/own.h"
#include "base/test.h"
#include "base/types.h"
#include "cli/session.h"
#include "guest/exec.h"
#include "guest/stream.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

static char said[512];

/* What a program that an agent claims to run, and that says this, shows at our stderr. */
static int talk(bool plain, const char *words, size_t n)
{
	static const char *const argv[] = {"tar", NULL};
	auto_buf struct buf b = {0};
	int ends[2], err[2], saved = dup(STDERR_FILENO);
	frame_add(&b, EXEC_HELLO, "", 0);
	frame_add(&b, EXEC_ERRORS, words, n);
	frame_add(&b, STREAM_END, "\7\0\0\0", 4);
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) && !pipe2(err, O_CLOEXEC));
	must(send(ends[1], b.at, b.len, 0) == (ssize_t)b.len);
	must(dup2(err[1], STDERR_FILENO) == STDERR_FILENO);
	struct session s = {.guest = "g",
			    .argv = argv,
			    .in = -1,
			    .out = STDERR_FILENO,
			    .err = STDERR_FILENO,
			    .plain = plain};
	int code = session_talk(&s, ends[0], NULL);
	must(dup2(saved, STDERR_FILENO) == STDERR_FILENO && !close(saved) && !close(err[1]));
	ssize_t got = read(err[0], said, sizeof(said) - 1);
	said[got > 0 ? got : 0] = 0;
	(void)close(err[0]);
	(void)close(ends[1]);
	return code;
}
#define TALK(plain, words) talk(plain, words, sizeof(words) - 1)

TEST(attack_session_words_of_a_hostile_agent)
{
	void (*before)(int) = signal(SIGPIPE, SIG_IGN);
	CHECK(TALK(true, "tar: \033]52;c;eA==\a\302\233\n") == 7);
	CHECK(!strcmp(said, "tar: \\x1b]52;c;eA==\\x07\\xc2\\x9b\n"));
	CHECK(TALK(true, "\303") == 7 && !strcmp(said, "\\xc3"));
	CHECK(TALK(false, "\033[1mbold") == 7 && !strcmp(said, "\033[1mbold"));
	(void)signal(SIGPIPE, before);
}
