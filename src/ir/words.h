#ifndef IR_WORDS_H
#define IR_WORDS_H
/* What ops.def says of results and effects, as the names of ir.h. Private to this folder. */
#define PURE   IR_PURE
#define COMM   IR_COMM
#define READS  IR_READS
#define WRITES IR_WRITES
#define EXITS  IR_EXITS
#define ENDS   IR_ENDS
#define FLOAT  IR_FLOAT
#define CALLS  IR_CALLS
#define LANES  IR_LANES
#define SAME   IR_SAME
#define GIVEN  IR_GIVEN
#define FLAG   IR_FLAG
#define NONE   IR_NONE
#endif
