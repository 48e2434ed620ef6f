/* What the server of a shared folder knows, on its way out of that process and into another, a
 * chunk at a time. */
#include "base/log.h"
#include "base/loop.h"
#include "fs/share_impl.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- the process that serves ---- */
static uint32_t save(struct server *s)
{
	if (s->mem->first) {
		buf_done(&s->state);
		fuse_save(s->fuse, &s->state);
	}
	size_t left = s->state.len - s->state.pos, n = left < SHARE_CHUNK ? left : SHARE_CHUNK;
	(void)buf_take(&s->state, s->mem->chunk, n);
	if (n < SHARE_CHUNK) buf_done(&s->state);
	return (uint32_t)n;
}

static void words(char *to, size_t room, const struct fuse_lost *l)
{
	size_t n = 0;
	*to = 0;
	if (l->elsewhere)
		n = (size_t)snprintf(to, room,
				     "not the folder that it had: what it knows there is what has "
				     "the same name now%s",
				     l->files ? "; " : "");
	if (l->files && n < room)
		(void)snprintf(to + n, room - n,
			       "%u of the files that it has open are gone, or others by now (%s): "
			       "it gets errors for them",
			       l->files, *l->name ? l->name : "a nameless one");
}

static uint32_t load(struct server *s)
{
	struct fuse_lost lost = {0};
	uint32_t n = s->mem->len;
	if (s->mem->first) buf_done(&s->state);
	buf_add(&s->state, s->mem->chunk, n < SHARE_CHUNK ? n : SHARE_CHUNK);
	if (!s->mem->last) return 0;
	int r = fuse_load(s->fuse, &s->state, &lost);
	buf_done(&s->state);
	words(s->mem->what, sizeof(s->mem->what), &lost);
	return (uint32_t)-r;
}

void server_command(struct server *s, uint32_t n)
{
	uint32_t answer = 0;
	switch (n) {
	case SHARE_RESET: fuse_reset(s->fuse); break;
	case SHARE_PAUSE: fuse_pause(s->fuse); break;
	case SHARE_RESUME: fuse_resume(s->fuse); break;
	case SHARE_SAVE: answer = save(s); break;
	case SHARE_LOAD: answer = load(s); break;
	default: return;
	}
	share_note(s->notes, n, answer);
}

void server_lost(void *server, unsigned locks)
{
	share_note(((struct server *)server)->notes, SHARE_LOST, locks);
}

/* ---- the monitor ---- */
enum { WARNINGS = 10 }; /* a server that is not ours any more could fill the disk with them */

/* lock is held: a server that was silent hears what it is to be by now. */
static void catch_up(struct share *s)
{
	if (s->command || s->owed || s->resets || s->waiting || s->pause == s->told_pause) return;
	uint32_t n = s->pause ? SHARE_PAUSE : SHARE_RESUME;
	if (!share_put(s, n)) return;
	s->told_pause = s->pause;
	s->owed = n;
}

void share_noted(struct share *s, struct note note)
{
	if (note.n == SHARE_LOST && s->warned++ < WARNINGS)
		log_warn("shared folder %s: %u locks that the guest holds there are another's by "
			 "now",
			 s->path, note.written);
	(void)pthread_mutex_lock(&s->lock);
	if (note.n == SHARE_RESET && s->resets) s->resets--;
	if (note.n == s->command) {
		s->command = 0;
		s->answer = note.written;
	} else if (note.n == s->owed) {
		s->owed = 0;
	}
	catch_up(s);
	(void)pthread_cond_broadcast(&s->answered);
	(void)pthread_mutex_unlock(&s->lock);
}

/* After what was told before it to forget. One that is known to be silent is not waited for again.
 * lock is held. */
static int command_locked(struct share *s, uint32_t n)
{
	struct timespec until = time_after(s->patience_ms * 1000000ull);
	int late = s->owed ? ETIMEDOUT : 0;
	s->waiting++;
	while (s->resets && !s->dead && !late)
		late = pthread_cond_timedwait(&s->answered, &s->lock, &until);
	s->waiting--;
	if (s->dead) return -EPIPE;
	if (late) return -ETIMEDOUT;
	s->command = n;
	if (!share_put(s, n)) return -EPIPE;
	if (n == SHARE_PAUSE || n == SHARE_RESUME) s->told_pause = n == SHARE_PAUSE;
	while (s->command && !s->dead && !late)
		late = pthread_cond_timedwait(&s->answered, &s->lock, &until);
	if (s->command && !s->dead) s->owed = n;
	return !s->command ? 0 : s->dead ? -EPIPE : -ETIMEDOUT;
}

static int command(struct share *s, uint32_t n, uint32_t *answer, struct err *e)
{
	(void)pthread_mutex_lock(&s->lock);
	if (n == SHARE_PAUSE || n == SHARE_RESUME) s->pause = n == SHARE_PAUSE;
	int r = command_locked(s, n);
	s->command = 0;
	*answer = s->answer;
	(void)pthread_mutex_unlock(&s->lock);
	if (r == -EPIPE) return fail(e, r, "shared folder %s: its server has died", s->path);
	return r ? fail(e, r,
			"shared folder %s: its server does not answer: is what the folder is on "
			"still there?",
			s->path)
		 : 0;
}

int share_pause(struct share *s, struct err *e)
{
	uint32_t answer;
	return command(s, SHARE_PAUSE, &answer, e);
}

int share_resume(struct share *s, struct err *e)
{
	uint32_t answer;
	return command(s, SHARE_RESUME, &answer, e);
}

int share_save(struct share *s, struct buf *to, struct err *e)
{
	uint32_t n = SHARE_CHUNK;
	int r = 0;
	s->mem->first = true;
	for (size_t all = 0; r == 0 && n == SHARE_CHUNK; all += n) {
		r = command(s, SHARE_SAVE, &n, e);
		if (r == 0 && (n > SHARE_CHUNK || all + n > SHARE_STATE_MAX))
			r = fail(e, -E2BIG, "shared folder %s: too much is known of it", s->path);
		if (r == 0) buf_add(to, s->mem->chunk, n);
		s->mem->first = false;
	}
	return r;
}

static int loaded(const struct share *s, uint32_t answer, struct err *e)
{
	char words[sizeof(s->mem->what)];
	memcpy(words, s->mem->what, sizeof(words));
	words[sizeof(words) - 1] = 0;
	if (answer)
		return fail(e, -EBADMSG, "shared folder %s: what was saved of it makes no sense",
			    s->path);
	if (*words) log_warn("shared folder %s: %s", s->path, words);
	return 0;
}

int share_load(struct share *s, const struct buf *from, struct err *e)
{
	uint32_t answer = 0, n;
	int r = 0;
	size_t at = 0;
	s->mem->first = true;
	do {
		n = (uint32_t)(from->len - at < SHARE_CHUNK ? from->len - at : SHARE_CHUNK);
		if (n) memcpy(s->mem->chunk, from->at + at, n);
		at += n;
		s->mem->len = n;
		s->mem->last = at == from->len;
		r = command(s, SHARE_LOAD, &answer, e);
		s->mem->first = false;
	} while (r == 0 && !answer && at < from->len);
	return r ? r : loaded(s, answer, e);
}
