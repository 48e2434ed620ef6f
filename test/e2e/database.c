/* database DB TOLD: a client of SQLite that commits one transaction after the other, each with synchronous=FULL,
 * and only then tells, in another file, how many there are. database DB: whether the file is whole, and how
 * many of its transactions are there without a gap. */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sqlite3 *db;

static void must(int r, const char *what)
{
	if (r == SQLITE_OK) return;
	fprintf(stderr, "%s: %s\n", what, sqlite3_errmsg(db));
	exit(1);
}

static int remember(void *to, int n, char **v, char **names)
{
	(void)names;
	snprintf(to, 64, "%s", n && v[0] ? v[0] : "0");
	return 0;
}

static const char *ask(const char *sql)
{
	static char answer[64];
	must(sqlite3_exec(db, sql, remember, answer, NULL), sql);
	return answer;
}

static void tell(int fd, long n)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "%ld\n", n);
	if (pwrite(fd, line, (size_t)len, 0) != len) exit(1);
}

int main(int argc, char **argv)
{
	char sql[300];
	must(sqlite3_open(argv[1], &db), argv[1]);
	sqlite3_busy_timeout(db, 10000);
	if (argc < 3) {
		printf("integrity %s\n", ask("PRAGMA integrity_check"));
		printf("gaps %s\n", ask("SELECT max(n) - count(*) FROM t"));
		printf("sum %s\n", ask("SELECT sum(length(v) = 200 + n % 300) - count(*) FROM t"));
		printf("there %s\n", ask("SELECT max(n) FROM t"));
		return 0;
	}
	int fd = open(argv[2], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	ask("PRAGMA journal_mode=WAL");
	ask("PRAGMA synchronous=FULL");
	ask("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, v TEXT)");
	long n = atol(ask("SELECT max(n) FROM t"));
	for (;;) {
		n++;
		snprintf(sql, sizeof(sql), "INSERT INTO t VALUES (%ld, printf('%%.*c', 200 + %ld %% 300, 'x'))", n, n);
		ask(sql);
		if (n % 500 == 0) ask("PRAGMA wal_checkpoint(PASSIVE)");
		tell(fd, n);
	}
}
