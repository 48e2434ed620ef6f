/* One table of words; those that begin with r are the same for a whole tree of mounts. */
#include "zone/options.h"
#include <errno.h>
#include <string.h>

#define ATIME MOUNT_ATTR__ATIME
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif
static const struct attr_word {
	const char *name;
	uint64_t set, clear;
} attr_words[] = {
	{"ro", MOUNT_ATTR_RDONLY, 0},
	{"rw", 0, MOUNT_ATTR_RDONLY},
	{"nosuid", MOUNT_ATTR_NOSUID, 0},
	{"suid", 0, MOUNT_ATTR_NOSUID},
	{"nodev", MOUNT_ATTR_NODEV, 0},
	{"dev", 0, MOUNT_ATTR_NODEV},
	{"noexec", MOUNT_ATTR_NOEXEC, 0},
	{"exec", 0, MOUNT_ATTR_NOEXEC},
	{"noatime", MOUNT_ATTR_NOATIME, ATIME},
	{"atime", 0, ATIME},
	{"relatime", MOUNT_ATTR_RELATIME, ATIME},
	{"norelatime", 0, ATIME},
	{"strictatime", MOUNT_ATTR_STRICTATIME, ATIME},
	{"nostrictatime", 0, ATIME},
	{"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
	{"diratime", 0, MOUNT_ATTR_NODIRATIME},
	{"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
	{"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
};
static const struct {
	const char *name;
	uint64_t flag;
} propagations[] = {{"shared", MS_SHARED},
		    {"slave", MS_SLAVE},
		    {"private", MS_PRIVATE},
		    {"unbindable", MS_UNBINDABLE}};
static const char *const ignored[] = {"defaults", "async",	"nouser",    "user",
				      "auto",	  "noauto",	"norelabel", "loud",
				      "nomand",	  "noiversion", "copy",	     "nocopy"};

uint64_t options_propagation(const char *word, bool *deep)
{
	*deep = *word == 'r';
	for (unsigned i = 0; i < sizeof(propagations) / sizeof(propagations[0]); i++)
		if (!strcmp(propagations[i].name, word + *deep)) return propagations[i].flag;
	return 0;
}

static void attr_add(struct mount_attr *m, const struct attr_word *w)
{
	m->attr_set &= ~w->clear;
	m->attr_set |= w->set;
	m->attr_clr &= ~w->set;
	m->attr_clr |= w->clear;
}

static bool attr_take(struct options *o, const char *word)
{
	for (unsigned i = 0; i < sizeof(attr_words) / sizeof(attr_words[0]); i++) {
		const struct attr_word *w = &attr_words[i];
		if (!strcmp(w->name, word)) return attr_add(&o->attr, w), true;
		if (*word == 'r' && !strcmp(w->name, word + 1))
			return attr_add(&o->recursive, w), true;
	}
	return false;
}

static bool word_take(struct options *o, const char *word)
{
	bool deep;
	uint64_t p;
	if (!strcmp(word, "bind") || !strcmp(word, "rbind")) {
		o->bind = true;
		o->deep = *word == 'r';
	} else if (!strcmp(word, "tmpcopyup")) {
		o->copy_up = true;
	} else if (!strcmp(word, "idmap") || !strcmp(word, "ridmap")) {
		*(*word == 'r' ? &o->ridmap : &o->idmap) = true;
	} else if ((p = options_propagation(word, &deep))) {
		o->propagation = p;
		o->propagation_deep = deep;
	} else {
		for (unsigned i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
			if (!strcmp(ignored[i], word)) return true;
		return attr_take(o, word);
	}
	return true;
}

int options_parse(struct options *o, const struct spec_mount *m, struct arena *a, struct err *e)
{
	*o = (struct options){.data.at = arena_make(a, const char *, m->options.n + 1)};
	for (unsigned i = 0; i < m->options.n; i++) {
		const char *w = m->options.at[i];
		if (!*w || strlen(w) > 4000)
			return fail(e, -EINVAL, "mounts: %s: an option is empty or too long",
				    m->destination);
		if (!word_take(o, w)) o->data.at[o->data.n++] = w;
	}
	if (m->type && !strcmp(m->type, "bind")) o->bind = true;
	return 0;
}

const char *const *options_names(unsigned *n)
{
	static const char *all[128];
	static const char *const others[] = {
		"bind",		  "rbind",	  "tmpcopyup",	"idmap",
		"ridmap",	  "shared",	  "rshared",	"slave",
		"rslave",	  "private",	  "rprivate",	"unbindable",
		"runbindable",	  "rro",	  "rrw",	"rnosuid",
		"rsuid",	  "rnodev",	  "rdev",	"rnoexec",
		"rexec",	  "rnodiratime",  "rdiratime",	"rrelatime",
		"rnorelatime",	  "rnoatime",	  "ratime",	"rstrictatime",
		"rnostrictatime", "rnosymfollow", "rsymfollow", "defaults"};
	*n = 0;
	for (unsigned i = 0; i < sizeof(attr_words) / sizeof(attr_words[0]); i++)
		all[(*n)++] = attr_words[i].name;
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) all[(*n)++] = others[i];
	return all;
}
