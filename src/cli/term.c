/* Between a person and a guest's console. The one idea: nobody waits for anybody. Input is read
 * only when the guest has room; output goes into a bounded ring that a thread of its own empties,
 * because only a thread can write to any descriptor without making it non-blocking for everybody
 * who shares it. A child process holds the terminal's old settings, and puts them back when we
 * are gone without having done so. */
#include "cli/term.h"
#include "base/jail.h"
#include "base/loop.h"
#include "base/own.h"
#include "cli/watchdog.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>

/* syscalls loop: ioctl wait4 fcntl getppid */

enum { RING = 64 * 1024, KEYS = 4096, ESCAPES = TERM_KEYS };

struct term {
	struct loop *loop;
	struct chr *chr;
	void (*leave)(void *ctx, int code);
	void *ctx;

	struct watch *in, *errors;
	int in_fd;
	bool tty, in_ended;
	uint8_t keys[KEYS + ESCAPES]; /* read, not yet taken: [taken, have) */
	uint8_t escape[ESCAPES];      /* what leaves; as much of it as was typed is held back */
	size_t nescape, held;
	size_t have, taken;
	atomic_bool feed_posted, drain_posted;

	pthread_t writer;
	pthread_mutex_t mutex; /* of everything below */
	pthread_cond_t more;
	uint8_t ring[RING];
	uint64_t put, got;  /* bytes ever put in, ever written out */
	bool closing, lost; /* no more output comes; nobody reads it any more */
	bool starved;	    /* output() was refused: tell the device */
	int lost_why;

	struct watchdog dog;
	struct termios before, raw;
};

/* --- output: any thread puts, the writer takes ----------------------------------------------- */

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

static size_t term_output(void *host, const uint8_t *p, size_t n)
{
	struct term *t = host;
	(void)pthread_mutex_lock(&t->mutex);
	size_t room = RING - (size_t)(t->put - t->got), done = 0;
	if (t->lost) room = n; /* into the void */
	if (n > room) {
		t->starved = true;
		n = room;
	}
	while (!t->lost && done < n) {
		size_t at = (size_t)(t->put % RING), run = min_size(n - done, RING - at);
		memcpy(t->ring + at, p + done, run);
		done += run;
		t->put += run;
	}
	(void)pthread_cond_signal(&t->more);
	(void)pthread_mutex_unlock(&t->mutex);
	return n;
}

static void drained(struct term *t)
{
	if (t->chr->drained && t->chr->dev) t->chr->drained(t->chr->dev);
}

static void drain_posted(void *ctx)
{
	struct term *t = ctx;
	atomic_store(&t->drain_posted, false);
	drained(t);
}

static void post_drained(struct term *t)
{
	if (!atomic_exchange(&t->drain_posted, true)) loop_post(t->loop, drain_posted, t);
}

static void output_lost(void *ctx)
{
	struct term *t = ctx;
	if (t->lost_why != EPIPE)
		(void)fprintf(stderr, "lodge: standard output: %s\n", strerror(t->lost_why));
	t->leave(t->ctx, 125);
}

/* Some other user of the descriptor may have made it non-blocking. */
static ssize_t write_blocking(const uint8_t *p, size_t n)
{
	for (;;) {
		ssize_t r = write(STDOUT_FILENO, p, n);
		if (r >= 0) return r;
		if (errno == EAGAIN) {
			struct pollfd wait = {.fd = STDOUT_FILENO, .events = POLLOUT};
			(void)poll(&wait, 1, -1);
		} else if (errno != EINTR)
			return -errno;
	}
}

static void *write_out(void *ctx)
{
	struct term *t = ctx;
	jail_thread(JAIL_TERM);
	(void)pthread_mutex_lock(&t->mutex);
	while (!t->lost) {
		if (t->put == t->got && t->closing) break;
		if (t->put == t->got) {
			(void)pthread_cond_wait(&t->more, &t->mutex);
			continue;
		}
		size_t at = (size_t)(t->got % RING);
		size_t n = min_size((size_t)(t->put - t->got), RING - at);
		(void)pthread_mutex_unlock(&t->mutex);
		ssize_t r = write_blocking(t->ring + at, n);
		(void)pthread_mutex_lock(&t->mutex);
		if (r > 0)
			t->got += (uint64_t)r;
		else {
			t->lost = true;
			t->lost_why = (int)-r;
			if (!t->closing) loop_post(t->loop, output_lost, t);
		}
		if (t->starved && !t->closing) post_drained(t);
		t->starved = false;
	}
	(void)pthread_mutex_unlock(&t->mutex);
	return NULL;
}

/* What is not to be mixed with the rest. In parts that standard error takes without waiting, which
 * others share with us. */
static void errors_ready(void *ctx, uint32_t ready)
{
	struct term *t = ctx;
	(void)ready;
	watch_set(t->errors, 0);
	drained(t);
}

static size_t term_errors(void *host, const uint8_t *p, size_t n)
{
	struct term *t = host;
	struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
	if (poll(&room, 1, 0) > 0) {
		ssize_t r = write(STDERR_FILENO, p, min_size(n, PIPE_BUF));
		if (r >= 0) return (size_t)r;
		if (errno != EAGAIN && errno != EINTR) return n; /* nobody reads it */
	}
	if (!t->errors &&
	    loop_watch(t->loop, &t->errors, STDERR_FILENO, EPOLLOUT, errors_ready, t, NULL))
		return n;
	watch_set(t->errors, EPOLLOUT);
	return 0;
}

/* --- input: read only what the guest takes --------------------------------------------------- */

static void feed(struct term *t)
{
	struct chr *c = t->chr;
	while (t->taken < t->have && c->input && c->dev) {
		size_t n = c->input(c->dev, t->keys + t->taken, t->have - t->taken);
		if (n == 0) break;
		t->taken += n;
	}
	if (t->in) watch_set(t->in, t->taken == t->have && !t->in_ended ? EPOLLIN : 0);
}

static void feed_posted(void *ctx)
{
	struct term *t = ctx;
	atomic_store(&t->feed_posted, false);
	feed(t);
}

static void term_hungry(void *host)
{
	struct term *t = host;
	if (!atomic_exchange(&t->feed_posted, true)) loop_post(t->loop, feed_posted, t);
}

static void tell_end(void *ctx)
{
	struct term *t = ctx;
	if (t->chr->input_end && t->chr->dev) t->chr->input_end(t->chr->dev);
}

static void end_input(struct term *t)
{
	t->in_ended = true;
	watch_set(t->in, 0);
	if (t->tty)
		t->leave(t->ctx, 0);
	else
		tell_end(t);
}

static void key_add(struct term *t, uint8_t key)
{
	if (key != t->escape[t->held]) {
		memcpy(t->keys + t->have, t->escape, t->held);
		t->have += t->held;
		t->held = 0;
	}
	if (key == t->escape[t->held])
		t->held++;
	else
		t->keys[t->have++] = key;
}

/* True: in what was read there are the keys that leave; what follows them is dropped. */
static bool keys_take(struct term *t, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		key_add(t, p[i]);
		if (t->held == t->nescape) return true;
	}
	return false;
}

static void readable(void *ctx, uint32_t ready)
{
	struct term *t = ctx;
	uint8_t some[KEYS];
	(void)ready;
	ssize_t n = read(t->in_fd, some, sizeof(some));
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
	if (n <= 0) {
		end_input(t);
		return;
	}
	t->taken = 0;
	t->have = 0;
	bool keyed = t->tty && t->nescape, leaves = keyed && keys_take(t, some, (size_t)n);
	if (!keyed) memcpy(t->keys, some, t->have = (size_t)n);
	feed(t);
	if (leaves) t->leave(t->ctx, 0);
}

/* --- the terminal ---------------------------------------------------------------------------- */

/* Also after the process was stopped and continued, when a shell has set it as it likes. */
static void go_raw(void *ctx, int sig)
{
	struct term *t = ctx;
	(void)sig;
	(void)tcsetattr(STDIN_FILENO, TCSANOW, &t->raw);
}

static void resized(void *ctx, int sig)
{
	const struct term *t = ctx;
	struct winsize w;
	(void)sig;
	if (t->chr->resize && t->chr->dev && !ioctl(STDIN_FILENO, TIOCGWINSZ, &w))
		t->chr->resize(t->chr->dev, w.ws_row, w.ws_col);
}

/* Once the loop runs: until then words of failure want an ordinary terminal. */
static void attach(void *ctx)
{
	const struct term *t = ctx;
	if (t->nescape) (void)fputs("Press ", stderr);
	for (size_t i = 0; i < t->nescape; i++)
		(void)fprintf(stderr, t->escape[i] < ' ' ? "%sCtrl-%c" : "%s%c", i ? " " : "",
			      t->escape[i] < ' ' ? t->escape[i] + 0x40 : t->escape[i]);
	if (t->nescape) (void)fputs(" to leave the guest.\n", stderr);
	go_raw(ctx, 0);
	resized(ctx, 0);
}

static int tty_open(struct term *t, struct err *e)
{
	if (tcgetattr(STDIN_FILENO, &t->before))
		return fail(e, -errno, "terminal: %s", strerror(errno));
	t->raw = t->before;
	cfmakeraw(&t->raw);
	int r = watchdog_start(&t->dog, STDIN_FILENO, &t->before, &t->raw, "", e);
	if (!r) r = loop_signal(t->loop, SIGCONT, go_raw, t, e);
	if (!r) r = loop_signal(t->loop, SIGWINCH, resized, t, e);
	if (!r) loop_post(t->loop, attach, t);
	return r;
}

/* Through an open file of our own, reading need not block whoever shares the old one. */
static int input_open(struct term *t, struct err *e)
{
	t->in_fd =
		t->tty ? open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
	if (t->in_fd < 0) t->in_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	if (t->in_fd < 0) { /* closed: a guest without a person */
		t->in_ended = true;
		loop_post(t->loop, tell_end, t);
		return 0;
	}
	return loop_watch(t->loop, &t->in, t->in_fd, EPOLLIN, readable, t, e);
}

/* No signal is for the writer: they are to reach the loop. */
static void writer_start(struct term *t)
{
	sigset_t all, before;
	(void)sigfillset(&all);
	must(!pthread_sigmask(SIG_SETMASK, &all, &before));
	must(!pthread_create(&t->writer, NULL, write_out, t));
	must(!pthread_sigmask(SIG_SETMASK, &before, NULL));
}

static int ctrl_key(const char *word, size_t n)
{
	static const char prefix[] = "ctrl-";
	if (n == 1 && *word > ' ' && *word < 127) return *word;
	if (n != sizeof(prefix) || strncmp(word, prefix, sizeof(prefix) - 1) != 0) return -1;
	char c = word[n - 1];
	if (c >= 'a' && c <= 'z') c = (char)(c - 'a' + 'A');
	return c >= '@' && c <= '_' ? c - '@' : -1;
}

int term_keys(const char *text, uint8_t *keys, size_t room, size_t *n, struct err *e)
{
	const char *p = text;
	for (*n = 0; *n < room; p++) {
		size_t len = strcspn(p, ",");
		int key = ctrl_key(p, len);
		if (key < 0) break;
		keys[(*n)++] = (uint8_t)key;
		p += len;
		if (!*p) return 0;
	}
	return fail(e, -EINVAL, "'%s' are no keys, such as ctrl-p,ctrl-q; at most %zu", text, room);
}

void term_leaves_by(struct term *t, const uint8_t *keys, size_t n)
{
	must(n <= ESCAPES);
	memcpy(t->escape, keys, n);
	t->nescape = n;
}

int term_open(struct term **out, struct loop *l, struct chr *c, bool raw,
	      void (*leave)(void *ctx, int code), void *ctx, struct err *e)
{
	struct term *t = calloc(1, sizeof(*t));
	must(t);
	t->loop = l;
	t->chr = c;
	t->leave = leave;
	t->ctx = ctx;
	t->in_fd = -1;
	term_leaves_by(t, (const uint8_t *)"\x1d", 1); /* Ctrl-] */
	t->dog = (struct watchdog){.fd = -1};
	t->tty = raw && isatty(STDIN_FILENO);
	must(!pthread_mutex_init(&t->mutex, NULL) && !pthread_cond_init(&t->more, NULL));
	c->host = t;
	c->output = term_output;
	if (!t->tty) c->errors = term_errors;
	c->hungry = term_hungry;
	(void)signal(SIGPIPE, SIG_IGN);
	int r = t->tty ? tty_open(t, e) : 0;
	if (!r) r = input_open(t, e);
	writer_start(t);
	if (r)
		term_close(t);
	else
		*out = t;
	return r;
}

static void signals_open(void)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void term_close(struct term *t)
{
	if (!t) return;
	watch_free(t->in);
	watch_free(t->errors);
	drop_fd(&t->in_fd);
	(void)pthread_mutex_lock(&t->mutex);
	t->closing = true;
	(void)pthread_cond_signal(&t->more);
	(void)pthread_mutex_unlock(&t->mutex);
	signals_open();
	(void)pthread_join(t->writer, NULL);
	if (t->tty && t->dog.fd >= 0) (void)tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
	if (t->tty && t->put && t->ring[(t->put - 1) % RING] != '\n') (void)fputc('\n', stderr);
	watchdog_stop(&t->dog);
	t->chr->host = NULL;
	t->chr->output = NULL;
	t->chr->errors = NULL;
	t->chr->hungry = NULL;
	(void)pthread_mutex_destroy(&t->mutex);
	(void)pthread_cond_destroy(&t->more);
	free(t);
}
