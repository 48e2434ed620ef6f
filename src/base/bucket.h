#ifndef BASE_BUCKET_H
#define BASE_BUCKET_H
#include <stdbool.h>
#include <stdint.h>
/* A token bucket: so much of something a second, and a little more at once after a rest. Whoever
 * has it locks it. */
struct bucket {
	uint64_t rate, burst; /* a second, 0: no limit; at most in it */
	int64_t level;	      /* private: what is in it, or owed, */
	uint64_t at_ns;	      /* as of then */
};
/* It begins full. */
void bucket_set(struct bucket *b, uint64_t rate, uint64_t burst, uint64_t now);
/* What is more than it ever holds goes when it is full, and the rest is owed. */
bool bucket_take(struct bucket *b, uint64_t n, uint64_t now);
void bucket_owe(struct bucket *b, uint64_t n);	/* it was used, whatever is in it */
void bucket_back(struct bucket *b, uint64_t n); /* it was not used */
uint64_t bucket_when(const struct bucket *b, uint64_t n, uint64_t now); /* when to try again */
#endif
