/* lodge top: what running guests use, again and again, like top(1). All there is here is the
 * screen: the figures are sample.c's. Monitors are asked on the loop's thread; one that is silent
 * holds a frame up once, and is left alone for a while. */
#include "base/buf.h"
#include "base/loop.h"
#include "base/types.h"
#include "cli/cli.h"
#include "cli/sample.h"
#include "cli/watchdog.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>

#define SECOND	 1000000000ull
#define PATIENCE (30 * SECOND)
/* Another screen, without a cursor; and back. */
#define SCREEN_ENTER "\033[?1049h\033[?25l"
#define SCREEN_LEAVE "\033[?25h\033[?1049l"

struct top_opts {
	bool once;
	unsigned interval;
	const char *sort;
};
#define AT(member) offsetof(struct top_opts, member)
static const struct opt top_table[] = {
	{"interval", 'd', OPT_NUMBER, AT(interval), "SECONDS", "Between two frames (2).", NULL},
	{"no-stream", 'b', OPT_FLAG, AT(once), NULL,
	 "One frame, as text; so it is where the output is no terminal.", NULL},
	{"sort", 's', OPT_TEXT, AT(sort), "BY",
	 "cpu (default), memory, disk, network or name; also the keys c, m, d, w and n.",
	 "cpu memory disk network name"},
	{0},
};
static const struct top_opts top_defaults = {.interval = 2, .sort = "cpu"};

static double by_cpu(const struct sample *s) { return sample_cpu(s); }
static double by_memory(const struct sample *s)
{
	return (double)sample_number(s, "memory_resident");
}
static double by_disk(const struct sample *s) { return s->rate[FLOW_READ] + s->rate[FLOW_WRITTEN]; }
static double by_network(const struct sample *s)
{
	return s->rate[FLOW_RECEIVED] + s->rate[FLOW_SENT];
}
static double by_name(const struct sample *s)
{
	(void)s;
	return 0;
}
static const struct order {
	char key;
	const char *name;
	double (*of)(const struct sample *s); /* the most comes first; equals by name */
} orders[] = {{'c', "cpu", by_cpu},
	      {'m', "memory", by_memory},
	      {'d', "disk", by_disk},
	      {'w', "network", by_network},
	      {'n', "name", by_name}};

struct top {
	const struct call *call;
	const struct top_opts *opts;
	const struct order *order;
	struct samples all;
	struct loop *loop;
	struct timer *timer;
	struct watch *keys;
	struct watchdog dog;
	struct termios before, raw;
	bool screen, silent;
	unsigned rows, columns; /* 0: no end of them */
	struct err why;		/* code 0, or what ended it */
};

/* ---- a frame ---- */

static int compare(const void *a, const void *b, void *order)
{
	const struct order *o = order;
	double x = o->of(a), y = o->of(b);
	if (x > y) return -1;
	if (x < y) return 1;
	return strcmp(((const struct sample *)a)->name, ((const struct sample *)b)->name);
}

static void line(const struct top *t, struct buf *to, const char *text)
{
	size_t n = strlen(text);
	if (t->columns && n > t->columns) n = t->columns;
	buf_add(to, text, n);
	buf_fmt(to, t->screen ? "\033[K\r\n" : "\n");
}

static void rate_text(char to[16], double rate)
{
	if (rate < 1)
		(void)snprintf(to, 16, "0");
	else
		human_size(to, 16, (uint64_t)rate);
}

static void row(const struct top *t, struct buf *to, int wide, const struct sample *s)
{
	char text[256], used[16] = "-", here[16], all[16], flow[FLOWS][16];
	if (s->silent.code || !s->now) {
		(void)snprintf(text, sizeof(text), "%-*s %s", wide, s->name,
			       "its monitor does not answer");
		line(t, to, text);
		return;
	}
	if (sample_number(s, "memory_used"))
		human_size(used, sizeof(used), sample_number(s, "memory_used"));
	human_size(here, sizeof(here), sample_number(s, "memory_resident"));
	human_size(all, sizeof(all), sample_number(s, "memory_limit"));
	for (unsigned i = FLOW_READ; i < FLOWS; i++) rate_text(flow[i], s->rate[i]);
	(void)snprintf(text, sizeof(text), "%-*s %6.1f %7s %8s %7s %7s %7s %7s %7s", wide, s->name,
		       sample_cpu(s), used, here, all, flow[FLOW_READ], flow[FLOW_WRITTEN],
		       flow[FLOW_RECEIVED], flow[FLOW_SENT]);
	line(t, to, text);
}

static void sum(const struct top *t, struct buf *to)
{
	char text[160], here[16], all[16];
	uint64_t resident = 0, limit = 0;
	double cpu = 0;
	for (unsigned i = 0; i < t->all.n; i++) {
		cpu += sample_cpu(&t->all.at[i]);
		resident += sample_number(&t->all.at[i], "memory_resident");
		limit += sample_number(&t->all.at[i], "memory_limit");
	}
	human_size(here, sizeof(here), resident);
	human_size(all, sizeof(all), limit);
	(void)snprintf(text, sizeof(text),
		       "%u guest%s, %.1f %% of %ld CPUs, %s of memory resident, %s configured",
		       t->all.n, t->all.n == 1 ? "" : "s", cpu, sysconf(_SC_NPROCESSORS_ONLN), here,
		       all);
	line(t, to, text);
}

static void keys_line(const struct top *t, struct buf *to)
{
	char text[128] = "q quits; sort by";
	for (unsigned i = 0; i < COUNT(orders); i++) {
		size_t n = strlen(text);
		(void)snprintf(text + n, sizeof(text) - n, "%s %c %s%s", i ? "," : "",
			       orders[i].key, orders[i].name, t->order == &orders[i] ? "*" : "");
	}
	line(t, to, text);
}

static int name_width(const struct samples *all)
{
	size_t most = 14;
	for (unsigned i = 0; i < all->n; i++)
		if (strlen(all->at[i].name) > most) most = strlen(all->at[i].name);
	return (int)most;
}

static void frame(struct top *t, struct buf *to)
{
	char head[256];
	int wide = name_width(&t->all);
	unsigned room = t->rows > 4 ? t->rows - 4 : 1;
	if (t->screen) buf_fmt(to, "\033[H");
	sum(t, to);
	if (t->screen) keys_line(t, to);
	if (t->screen) line(t, to, "");
	(void)snprintf(head, sizeof(head), "%-*s %6s %7s %8s %7s %7s %7s %7s %7s", wide, "NAME",
		       "CPU %", "USED", "RESIDENT", "MEMORY", "READ/s", "WRITE/s", "IN/s", "OUT/s");
	line(t, to, head);
	if (t->all.n) qsort_r(t->all.at, t->all.n, sizeof(*t->all.at), compare, (void *)t->order);
	for (unsigned i = 0; i < t->all.n && (!t->rows || i < room); i++)
		row(t, to, wide, &t->all.at[i]);
	if (!t->screen) return;
	to->len -= 2; /* the last line may be the screen's last */
	buf_fmt(to, "\033[J");
}

static int draw(struct top *t, struct err *e)
{
	auto_buf struct buf b = {0};
	frame(t, &b);
	(void)fwrite(b.at, 1, b.len, stdout);
	return fflush(stdout) ? fail(e, -errno, "standard output: %s", strerror(errno)) : 0;
}

/* ---- asking ---- */

static int look(struct top *t, struct err *e)
{
	bool named = t->call->nargs;
	if (!named) {
		int r = samples_find(&t->all, e);
		if (r) return r;
	}
	int gone = samples_ask(&t->all, PATIENCE, e);
	for (unsigned i = 0; i < t->all.n; i++) t->silent |= t->all.at[i].silent.code != 0;
	return named && !t->all.n ? gone : 0;
}

static int run_once(struct top *t, struct err *e)
{
	int r = t->call->nargs ? samples_name(&t->all, t->call, e) : 0;
	if (!r) r = look(t, e);
	if (r) return r;
	if (t->all.n) samples_rest();
	if (t->all.n) (void)samples_ask(&t->all, PATIENCE, e);
	r = draw(t, e);
	return r ? r : t->silent;
}

/* ---- the screen ---- */

static void end(struct top *t, int code) { loop_stop(t->loop, code); }

static void redraw(struct top *t)
{
	struct winsize w = {0};
	(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
	t->rows = w.ws_row;
	t->columns = w.ws_col;
	if (draw(t, &t->why)) end(t, EXIT_LODGE);
}

static void on_timer(void *ctx)
{
	struct top *t = ctx;
	if (look(t, &t->why)) {
		end(t, EXIT_LODGE);
		return;
	}
	t->why.code = 0;
	redraw(t);
	timer_arm(t->timer, now_ns() + t->opts->interval * SECOND);
}

static void on_key(struct top *t, char key)
{
	if (key == 'q' || key == 'Q' || key == 3) end(t, 0);
	for (unsigned i = 0; i < COUNT(orders); i++)
		if (key == orders[i].key) t->order = &orders[i];
}

static void on_keys(void *ctx, uint32_t ready)
{
	struct top *t = ctx;
	char some[64];
	(void)ready;
	ssize_t n = read(STDIN_FILENO, some, sizeof(some));
	if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
	if (n <= 0) end(t, 0);
	for (ssize_t i = 0; i < n; i++) on_key(t, some[i]);
	redraw(t);
}

static void on_signal(void *ctx, int sig) { end(ctx, 128 + sig); }

/* The terminal has another size, or was somebody else's meanwhile. */
static void on_change(void *ctx, int sig)
{
	struct top *t = ctx;
	if (sig == SIGCONT) {
		(void)fputs(SCREEN_ENTER, stdout);
		(void)tcsetattr(STDOUT_FILENO, TCSANOW, &t->raw);
	}
	redraw(t);
}

static int signals(struct top *t, struct err *e)
{
	static const int last[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	int r = loop_signal(t->loop, SIGWINCH, on_change, t, e);
	if (!r) r = loop_signal(t->loop, SIGCONT, on_change, t, e);
	for (unsigned i = 0; !r && i < COUNT(last); i++)
		r = loop_signal(t->loop, last[i], on_signal, t, e);
	return r;
}

static int screen_open(struct top *t, struct err *e)
{
	if (tcgetattr(STDOUT_FILENO, &t->before))
		return fail(e, -errno, "terminal: %s", strerror(errno));
	t->raw = t->before;
	bool keys = isatty(STDIN_FILENO);
	if (keys) cfmakeraw(&t->raw);
	int r = watchdog_start(&t->dog, STDOUT_FILENO, &t->before, &t->raw, SCREEN_LEAVE, e);
	if (!r) r = signals(t, e);
	if (!r && keys) r = loop_watch(t->loop, &t->keys, STDIN_FILENO, EPOLLIN, on_keys, t, e);
	if (!r) r = loop_timer(t->loop, &t->timer, on_timer, t, e);
	if (r) return r;
	(void)fputs(SCREEN_ENTER, stdout);
	(void)tcsetattr(STDOUT_FILENO, TCSANOW, &t->raw);
	t->screen = true;
	return 0;
}

static void screen_close(struct top *t)
{
	if (t->screen) {
		(void)fputs(SCREEN_LEAVE, stdout);
		(void)fflush(stdout);
		(void)tcsetattr(STDOUT_FILENO, TCSANOW, &t->before);
	}
	watchdog_stop(&t->dog);
	timer_free(t->timer);
	watch_free(t->keys);
	loop_free(t->loop);
}

static int run_screen(struct top *t, struct err *e)
{
	int code = 0;
	int r = t->call->nargs ? samples_name(&t->all, t->call, e) : 0;
	if (!r) r = look(t, e);
	if (!r) r = loop_new(&t->loop, e);
	if (r) return r;
	r = screen_open(t, e);
	if (!r) {
		samples_rest();
		on_timer(t);
		code = loop_run(t->loop);
	}
	screen_close(t);
	if (code == EXIT_LODGE) return fail(e, t->why.code, "%s", t->why.msg);
	return r ? r : code;
}

static const struct order *order_find(const char *name, struct err *e)
{
	for (unsigned i = 0; i < COUNT(orders); i++)
		if (!strcmp(name, orders[i].name)) return &orders[i];
	(void)fail(e, -EINVAL, "--sort: '%s': there are cpu, memory, disk, network and name", name);
	return NULL;
}

static int top_run(const struct call *c, struct err *e)
{
	struct top t = {.call = c, .opts = c->opts, .dog = {.fd = -1}};
	t.order = order_find(t.opts->sort, e);
	if (!t.order) return -EINVAL;
	int r = t.opts->once || !isatty(STDOUT_FILENO) ? run_once(&t, e) : run_screen(&t, e);
	samples_done(&t.all);
	return r;
}

const struct verb verb_top = {
	.name = "top",
	.args = "[GUEST...]",
	.summary = "Watch what running guests use",
	.text = "Without names all guests of this user that run, also those that start meanwhile.\n"
		"CPU % is the share of one CPU of this machine since the last frame. USED is the\n"
		"memory that the guest's system says that it uses, if it does, RESIDENT what this\n"
		"machine keeps of the guest's memory, MEMORY what the guest has. READ and WRITE "
		"are\n"
		"of its disks, IN and OUT of its network cards, bytes a second. 'lodge stats' has\n"
		"more of it, once.",
	.examples = "lodge top\n"
		    "lodge top -b --sort memory\n"
		    "lodge top -d 5 web db",
	.opts = top_table,
	.defaults = &top_defaults,
	.size = sizeof(top_defaults),
	.max_args = 64,
	.completes = "guest",
	.run = top_run,
};
