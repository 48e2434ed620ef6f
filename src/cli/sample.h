#ifndef CLI_SAMPLE_H
#define CLI_SAMPLE_H
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
/* What running guests use, asked of their monitors as often as somebody likes: figures that only
 * grow become so much a second between two answers. Nothing in an answer is taken to be what it
 * should be. One thread. */
struct call;
struct json_object;
enum flow { FLOW_CPU, FLOW_READ, FLOW_WRITTEN, FLOW_RECEIVED, FLOW_SENT, FLOWS };
struct sample {
	char name[64];
	struct json_object *now; /* the last answer; NULL: none yet */
	uint64_t at_ns;		 /* when */
	double rate[FLOWS];	 /* a second: ns, then bytes; 0 until there are two answers */
	struct err silent;	 /* code 0, or why it did not answer when it was asked last */
	uint64_t silent_ns;	 /* and when that was */
};
struct samples {
	struct sample *at;
	unsigned n;
};
int samples_find(struct samples *all, struct err *e); /* add all that run and are not there yet */
int samples_name(struct samples *all, const struct call *c, struct err *e); /* its arguments */
/* Ask all; those that do not run (any more) go: -ENOENT, with words for the last of them. Who was
 * silent less than patience_ns ago is not asked again. */
int samples_ask(struct samples *all, uint64_t patience_ns, struct err *e);
void samples_drop(struct samples *all, unsigned i);
void samples_rest(void); /* as long as it takes for a share of the CPU to mean something */
void samples_done(struct samples *all);
uint64_t sample_number(const struct sample *s, const char *key); /* 0: there is none */
double sample_cpu(const struct sample *s);			 /* percent of one CPU */
#endif
