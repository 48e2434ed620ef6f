#ifndef GUEST_EXEC_H
#define GUEST_EXEC_H
/* Running a program inside a guest: what goes over a connection to AGENT_EXEC_PORT (the request
 * "connect"), in the frames of stream.h. The agent (guests/agent/session.c) says EXEC_HELLO, gets
 * settings and EXEC_GO, and then both send what comes. The agent sends STREAM_END last, with the
 * exit code in four bytes (128 + signal for one that a signal ended), and waits for us to hang up;
 * if we do before that, the program gets SIGHUP. Input has a window: at most EXEC_WINDOW bytes are
 * under way that no EXEC_TAKEN has told of. */
enum { EXEC_WINDOW = 256 * 1024, EXEC_WORDS = 1024 };
enum {
	EXEC_HELLO = 'h', /* from it: its version, in digits */
	EXEC_SET = 'a',	  /* to it: a letter (below), and a value to the end */
	EXEC_GO = 'g',
	EXEC_INPUT_END = 'c', /* STREAM_INPUT comes no more */
	EXEC_SIGNAL = 's',    /* to it: a byte, Linux's number */
	EXEC_ERRORS = 'e',    /* from it, beside STREAM_OUTPUT */
	EXEC_TAKEN = 'k',     /* from it: so many bytes of input, in four */
};
enum {
	EXEC_SET_ARGUMENT = 'a', /* the program's name first; none: the user's login shell */
	EXEC_SET_VARIABLE = 'e', /* NAME=VALUE */
	EXEC_SET_FOLDER = 'd',
	EXEC_SET_USER = 'u', /* NAME or number, and perhaps :GROUP */
	EXEC_SET_TERMINAL = 't',
};
#endif
