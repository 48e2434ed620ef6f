#ifndef BASE_LOG_H
#define BASE_LOG_H
/* Words for the operator, one line each on stderr, any thread. Control characters in the text
 * are escaped, since much of it is named by guests. Never used for errors that are returned. */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
void log_level_set(enum log_level l); /* default LOG_WARN */
void log_at(enum log_level l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line of head and text at any level; only text is escaped. */
void log_line(const char *head, const char *text);
/* A line at any level, without a word for the level: what a verb has to say of itself. */
void log_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#endif
