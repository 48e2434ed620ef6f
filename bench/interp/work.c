/* What small embedded benchmarks are made of, written anew: linked lists searched and sorted, small
 * matrices of integers, a state machine over text, checksums bit by bit. Runs on a bare hart;
 * `rounds` times, and returns a checksum of all results. */
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef short s16;
typedef int s32;

enum { ITEMS = 120, SIZE = 16, TEXT = 1024 };

static u32 seed;
static u32 rnd(void) { return (seed = seed * 1103515245 + 12345) >> 8; }

static u16 crc(u16 sum, u32 v, int bits)
{
	for (int i = 0; i < bits; i++) {
		u32 bit = (v ^ sum) & 1;
		v >>= 1;
		sum >>= 1;
		if (bit) sum ^= 0xa001;
	}
	return sum;
}

/* ---- lists ---- */
struct item {
	struct item *next;
	s16 *key;
};
static struct item items[ITEMS];
static s16 keys[ITEMS];

static struct item *list_make(void)
{
	for (int i = 0; i < ITEMS; i++) {
		keys[i] = (s16)(rnd() & 0x7fff);
		items[i] = (struct item){i + 1 < ITEMS ? &items[i + 1] : 0, &keys[i]};
	}
	return items;
}
static struct item *list_find(struct item *l, s16 low)
{
	while (l && (*l->key & 0xff) != low) l = l->next;
	return l;
}
static struct item *list_reverse(struct item *l)
{
	struct item *done = 0;
	while (l) {
		struct item *next = l->next;
		l->next = done;
		done = l;
		l = next;
	}
	return done;
}
static int by_key(const struct item *a, const struct item *b) { return *a->key - *b->key; }
static int by_low(const struct item *a, const struct item *b)
{
	return crc(0, (u32)*a->key, 8) - crc(0, (u32)*b->key, 8);
}
static struct item *list_merge(struct item *a, struct item *b,
			       int (*order)(const struct item *, const struct item *))
{
	struct item *head = 0, **tail = &head;
	while (a && b) {
		struct item **from = order(a, b) <= 0 ? &a : &b;
		*tail = *from;
		tail = &(*from)->next;
		*from = *tail;
	}
	*tail = a ? a : b;
	return head;
}
static struct item *list_sort(struct item *l,
			      int (*order)(const struct item *, const struct item *))
{
	struct item *slow = l, *fast = l ? l->next : 0, *rest;
	if (!fast) return l;
	while (fast && fast->next) {
		slow = slow->next;
		fast = fast->next->next;
	}
	rest = slow->next;
	slow->next = 0;
	return list_merge(list_sort(l, order), list_sort(rest, order), order);
}
static u16 lists(u16 sum)
{
	struct item *l = list_make();
	for (s16 i = 0; i < 60; i++) {
		struct item *f = list_find(l, i);
		sum = crc(sum, f ? (u32)*f->key : 0, 16);
		l = list_reverse(l);
	}
	l = list_sort(l, by_low);
	sum = crc(sum, (u32)*l->key, 16);
	l = list_sort(l, by_key);
	for (; l; l = l->next) sum = crc(sum, (u32)*l->key, 16);
	return sum;
}

/* ---- matrices ---- */
static s16 a[SIZE][SIZE], b[SIZE][SIZE];
static s32 c[SIZE][SIZE];
static u16 matrices(u16 sum)
{
	for (int i = 0; i < SIZE; i++)
		for (int j = 0; j < SIZE; j++) a[i][j] = (s16)rnd(), b[i][j] = (s16)(rnd() & 0xff);
	for (int turn = 0; turn < 3; turn++) {
		for (int i = 0; i < SIZE; i++)
			for (int j = 0; j < SIZE; j++) {
				s32 s = 0;
				for (int k = 0; k < SIZE; k++) {
					s32 p = (s32)a[i][k] * b[k][j];
					s += turn == 2 ? (p >> 2 & 15) * (p >> 5 & 127) : p;
				}
				c[i][j] = s;
			}
		for (int i = 0; i < SIZE; i++) {
			for (int j = 0; j < SIZE; j++) a[i][j] = (s16)(a[i][j] + c[j][i]);
			sum = crc(sum, (u32)c[i][i], 32);
		}
	}
	return sum;
}

/* ---- text: numbers told from other words ---- */
enum state { START, SIGN, INT, DOT, FRACTION, EXP, EXPSIGN, EXPONENT, WORD, STATES };
static char text[TEXT];
static enum state step(enum state s, char ch)
{
	int digit = ch >= '0' && ch <= '9';
	switch (s) {
	case START: return digit ? INT : ch == '+' || ch == '-' ? SIGN : ch == '.' ? DOT : WORD;
	case SIGN: return digit ? INT : ch == '.' ? DOT : WORD;
	case INT: return digit ? INT : ch == '.' ? FRACTION : ch == 'e' ? EXP : WORD;
	case DOT:
	case FRACTION: return digit ? FRACTION : ch == 'e' ? EXP : WORD;
	case EXP: return digit ? EXPONENT : ch == '+' || ch == '-' ? EXPSIGN : WORD;
	case EXPSIGN:
	case EXPONENT: return digit ? EXPONENT : WORD;
	default: return WORD;
	}
}
static u16 states(u16 sum)
{
	static const char *const words[] = {"5012",	"-874",	    "+122",	"35.54400",
					    ".1234500", "-110.70",  "+0.64400", "5.500e+3",
					    "-.123e-2", "T0.3e-1F", "1T3.4e4z"};
	u32 count[STATES] = {0};
	int n = 0;
	while (n < TEXT - 16) {
		for (const char *w = words[rnd() % 11]; *w; w++) text[n++] = *w;
		text[n++] = ',';
	}
	text[n] = 0;
	for (int turn = 0; turn < 4; turn++) {
		for (const char *p = text; *p; p++) {
			enum state s = START;
			for (; *p != ','; p++) s = step(s, *p);
			count[s]++;
		}
		for (int i = turn; i < n; i += 7)
			if (text[i] != ',') text[i] = (char)(text[i] ^ turn);
		text[n - 1] = ',';
	}
	for (int i = 0; i < STATES; i++) sum = crc(sum, count[i], 32);
	return sum;
}

u64 work(u64 rounds)
{
	u16 sum = 0;
	seed = 1;
	while (rounds--) sum = states(matrices(lists(sum)));
	return sum;
}
