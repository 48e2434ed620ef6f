#ifndef CLI_MOVE_H
#define CLI_MOVE_H
/* What lodge receive --ask answers, a line. */
#define MOVE_HERE     "here"
#define MOVE_NOT_HERE "not here"
#endif
