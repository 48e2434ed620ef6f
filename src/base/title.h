#ifndef BASE_TITLE_H
#define BASE_TITLE_H
/* What ps and top call this process. The words of the command line give the room: they are gone
 * once the title is set, so nothing may point into them any more. */
void title_init(int argc, char **argv); /* main()'s, before anything else */
void title_set(const char *text);	/* cut to the room there is; its first 15 bytes for top */
/* The number of this process as /proc here has it: this host's, also in a namespace where it has
 * another. Remembered, for when there is no /proc any more. */
int title_pid(void);
#endif
