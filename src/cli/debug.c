/* lodge debug: a running guest's CPUs and memory in words. The words are the kind's; what comes is
 * text of the guest's making, shown as such. */
#include "base/types.h"
#include "cli/cli.h"
#include "cli/plain.h"
#include "guest/control.h"
#include "guest/look.h"
#include "store/store.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

static int words_join(const struct call *c, char *to, size_t room, struct err *e)
{
	size_t n = 0;
	for (unsigned i = 1; i < c->nargs; i++) {
		n += (size_t)snprintf(to + n, room - n, " %s", c->args[i]);
		if (n >= room) return fail(e, -E2BIG, "debug: too many words");
	}
	return strpbrk(to, "\n\r") ? fail(e, -EINVAL, "debug: words are of one line") : 0;
}

static int ask(const char *name, const char *request, struct err *e)
{
	struct json_object *answer = NULL, *text;
	int r = control_call(name, request, &answer, NULL, e);
	if (r) return r == -ENOENT ? fail(e, r, "%s: it does not run", name) : r;
	struct plain p = {0};
	if (json_object_object_get_ex(answer, "debug", &text) &&
	    json_object_is_type(text, json_type_string))
		plain_put(&p, json_object_get_string(text),
			  (size_t)json_object_get_string_len(text), stdout);
	plain_end(&p, stdout);
	(void)json_object_put(answer);
	return 0;
}

static int debug_run(const struct call *c, struct err *e)
{
	char name[64], words[200], request[sizeof(words) + 8];
	struct store *s = NULL;
	int r = words_join(c, words, sizeof(words), e);
	if (!r) r = store_open(&s, NULL, e);
	if (!r) r = look_find(s, c->args[0], name, e);
	if (!r) {
		(void)snprintf(request, sizeof(request), "debug%s", words);
		r = ask(name, request, e);
	}
	store_close(s);
	return r;
}

const struct verb verb_debug = {
	.name = "debug",
	.args = "GUEST [cpu N] WHAT...",
	.summary = "Look into a running guest: registers, memory, code, calls, page tables",
	.text = "regs [all]: the registers of a CPU, with all also those of vectors and floats.\n"
		"mem ADDR [LEN]: memory as the CPU sees it; phys ADDR [LEN]: physical memory.\n"
		"dis [ADDR [COUNT]]: code, from where the CPU is on if nothing else is said.\n"
		"backtrace: who called whom, by frame pointers; where there are none, what on the "
		"stack may be a return is shown with a question mark.\n"
		"pagetable [ADDR]: how an address is translated, or all that is mapped.\n"
		"The guest stands while it is looked at. Names are the kernel's own, or those of "
		"the file that run --symbols named. To stop it, see run --gdb.",
	.examples = "lodge debug web regs\nlodge debug web cpu 1 backtrace\n"
		    "lodge debug web mem 0xffffffff81000000 64",
	.min_args = 2,
	.max_args = 8,
	.completes = "guest",
	.run = debug_run,
};
