#include "daemon/database.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "common/base.h"
#include "common/proto.h"

#define APPLICATION_ID 0x75666664 /* "uffd" */
/* Only an operator's shell competes for the lock, and the event loop waits meanwhile. */
#define BUSY_MS 200
#define WAL_BYTES_KEPT "4194304"
/* A check reads everything: of a larger file, only the restores are checked at start. */
#define CHECK_ALL_BYTES_MAX ((int64_t)32 << 20)
/* Bound on one text; only another program could have written a larger one. */
#define TEXT_BYTES_MAX (128 << 20)

#define STR_(x) #x
#define STR(x) STR_(x)
#define OR_STATE(state, name, live) " OR state = '" name "'"
#define FLAG_COLUMN(name) name " INTEGER NOT NULL CHECK (" name " IN (0, 1)),"

/*
 * The index is the version that a migration starts from. Never change a released one: add another.
 * An index on a column holds the row's seq, too: (tenant) serves "tenant = ? and seq > ?".
 */
/* clang-format off */
static const char *const migrations[] = {
	"CREATE TABLE restores ("
	"id TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),"
	"tenant TEXT NOT NULL,"
	"state TEXT NOT NULL CHECK (0" RESTORE_STATES(OR_STATE) "),"
	"reason TEXT NOT NULL,"
	"revision INTEGER NOT NULL,"
	"boot_id TEXT NOT NULL,"
	"socket_path TEXT NOT NULL,"
	"caller_uid INTEGER NOT NULL,"
	"caller_gid INTEGER NOT NULL,"
	"caller_groups TEXT NOT NULL,"
	"vmm_pid INTEGER NOT NULL,"
	"vmm_uid INTEGER NOT NULL,"
	"vmm_start INTEGER NOT NULL,"
	"worker_pid INTEGER NOT NULL,"
	"worker_restarts INTEGER NOT NULL,"
	"worker_start INTEGER NOT NULL,"
	"size_bytes INTEGER NOT NULL,"
	"page_bytes INTEGER NOT NULL,"
	"memory_bytes INTEGER NOT NULL,"
	FLAG_COLUMN("complete")
	FLAG_COLUMN("paused")
	FLAG_COLUMN("released")
	"prefetch TEXT NOT NULL,"
	FLAG_COLUMN("prefetch_held")
	"rate_bytes_per_s INTEGER NOT NULL,"
	"wset_key TEXT NOT NULL,"
	FLAG_COLUMN("recording")
	"wset_pages INTEGER NOT NULL,"
	"stop_reason TEXT NOT NULL,"
	"stop_by_us INTEGER NOT NULL,"
	"created_ms INTEGER NOT NULL,"
	"connected_ms INTEGER NOT NULL,"
	"ended_ms INTEGER NOT NULL,"
	"spec TEXT NOT NULL"
	") STRICT;"
	"CREATE TABLE events ("
	"seq INTEGER PRIMARY KEY AUTOINCREMENT,"
	"time_ms INTEGER NOT NULL,"
	"type TEXT NOT NULL CHECK (type <> ''),"
	"tenant TEXT NOT NULL,"
	"restore TEXT NOT NULL,"
	"data TEXT NOT NULL"
	") STRICT;"
	"CREATE INDEX events_tenant ON events (tenant);"
	"CREATE INDEX events_restore ON events (restore);"
	"PRAGMA application_id = " STR(APPLICATION_ID),
	"ALTER TABLE restores ADD COLUMN max_resident_bytes INTEGER NOT NULL DEFAULT 0",
	"ALTER TABLE restores ADD COLUMN map_bytes INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE restores ADD COLUMN extents INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE restores ADD COLUMN files INTEGER NOT NULL DEFAULT 0;"
	"CREATE TABLE tenants ("
	"name TEXT NOT NULL PRIMARY KEY CHECK (name <> ''),"
	"definition TEXT NOT NULL"
	") STRICT;"
	/* The last event that was dropped, of each tenant; '*': of all. */
	"CREATE TABLE event_floors ("
	"tenant TEXT NOT NULL PRIMARY KEY,"
	"seq INTEGER NOT NULL"
	") STRICT;"
	"INSERT INTO event_floors SELECT '*', coalesce((SELECT min(seq) - 1 FROM events),"
	" (SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)",
	/* Restores of before are reached by their id as before. */
	"ALTER TABLE restores RENAME COLUMN id TO key;"
	"ALTER TABLE restores ADD COLUMN id TEXT NOT NULL DEFAULT '';"
	"UPDATE restores SET id = key;"
	"CREATE UNIQUE INDEX restores_id ON restores (id, tenant)",
};
/* clang-format on */
#define VERSION ((int)ARRAY_LEN(migrations))

int database_fail(const struct database *d, int rc, const char *what, struct err *err)
{
	int sys = (rc & 0xff) == SQLITE_IOERR ? sqlite3_system_errno(d->db) : 0;

	switch (rc & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return err_set(err, ERR_SYSTEM,
			       "database %s is damaged (cannot %s: %s): move it away, or put a "
			       "copy of it back",
			       d->path, what, sqlite3_errmsg(d->db));
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return err_set(err, ERR_SYSTEM,
			       "database %s is locked by another program (cannot %s): close it",
			       d->path, what);
	case SQLITE_CONSTRAINT:
	case SQLITE_TOOBIG:
	case SQLITE_MISMATCH:
	case SQLITE_RANGE:
		return err_set(err, ERR_INVALID, "database %s: cannot %s, now or later: %s",
			       d->path, what, sqlite3_errmsg(d->db));
	default:
		break;
	}
	if ((rc & 0xff) == SQLITE_FULL || sys == ENOSPC || sys == EDQUOT)
		return err_set(err, ERR_NOSPACE, "no space left for database %s (cannot %s)",
			       d->path, what);
	err_set(err, ERR_SYSTEM, "database %s: cannot %s: %s%s%s", d->path, what,
		sqlite3_errmsg(d->db), sys ? ": " : "", sys ? strerror(sys) : "");
	err->sys = sys;
	return -1;
}

static int exec(struct database *d, const char *text, const char *what, struct err *err)
{
	int rc = sqlite3_exec(d->db, text, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : database_fail(d, rc, what, err);
}

/* The first column of the first row, as text; "" without rows. */
static int ask(struct database *d, const char *question, char *ret, size_t size, struct err *err)
{
	sqlite3_stmt *st = NULL;
	const unsigned char *text;
	int r = 0;
	int rc = sqlite3_prepare_v2(d->db, question, -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		text = sqlite3_column_text(st, 0);
		snprintf(ret, size, "%s", text ? (const char *)text : "");
	} else if (rc == SQLITE_DONE) {
		ret[0] = '\0';
	} else {
		r = database_fail(d, rc, "read it", err);
	}
	sqlite3_finalize(st);
	return r;
}

static int ask_number(struct database *d, const char *question, int64_t *ret, struct err *err)
{
	char text[32];

	if (ask(d, question, text, sizeof(text), err) < 0)
		return -1;
	*ret = strtoll(text, NULL, 10);
	return 0;
}

/* Two daemons on one database would each take their memory for the whole state. */
static int take_lock(struct database *d, struct err *err)
{
	cleanup_free char *path = NULL;
	cleanup_fd int fd = -1;
	char text[24] = "";
	long pid;

	if (asprintf(&path, "%s.lock", d->path) < 0)
		abort();
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(err, "cannot open lock file %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return err_sys(err, "cannot lock %s", path);
		if (pread(fd, text, sizeof(text) - 1, 0) < 0)
			text[0] = '\0';
		pid = strtol(text, NULL, 10);
		if (pid <= 0)
			return err_set(err, ERR_SYSTEM,
				       "another uffdd uses this state directory (%s): stop it, or "
				       "choose another --state-dir",
				       path);
		return err_set(err, ERR_SYSTEM,
			       "another uffdd (pid %ld) uses this state directory (%s): stop it, "
			       "or choose another --state-dir",
			       pid, path);
	}
	/* The pid is only for the other daemon's error text: a full disk does not matter. */
	if (ftruncate(fd, 0) == 0)
		dprintf(fd, "%ld\n", (long)getpid());
	d->lock_fd = steal_fd(&fd);
	return 0;
}

static uint32_t be32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int check_identity(const struct database *d, int64_t app, int64_t version, struct err *err)
{
	if (app != APPLICATION_ID)
		return err_set(err, ERR_SYSTEM,
			       "database %s belongs to another program (application id 0x%" PRIx64
			       "): choose another --state-dir",
			       d->path, (uint64_t)app);
	if (version < 0 || version > VERSION)
		return err_set(err, ERR_SYSTEM,
			       "database %s has schema version %" PRId64
			       ", this uffdd knows up to %d: install a newer uffdd, or choose "
			       "another --state-dir",
			       d->path, version, VERSION);
	return 0;
}

/*
 * Refuses foreign files before SQLite opens them: merely opening and closing a database may write
 * to it. Creates the file, so that only we can read it.
 */
static int check_file(const struct database *d, struct err *err)
{
	static const char magic[16] = "SQLite format 3";
	cleanup_free char *journal = NULL;
	unsigned char head[100]; /* SQLite's header: user_version at 60, application_id at 68 */
	cleanup_fd int fd = -1;
	struct stat st;
	ssize_t n;

	if (lstat(d->path, &st) == 0 && !S_ISREG(st.st_mode))
		return err_set(err, ERR_PATH, "database %s is not a regular file: remove it",
			       d->path);
	fd = open(d->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd < 0)
		return err_sys(err, "cannot open database %s", d->path);
	n = pread(fd, head, sizeof(head), 0);
	if (n < 0)
		return err_sys(err, "cannot read database %s", d->path);
	if (asprintf(&journal, "%s-journal", d->path) < 0)
		abort();
	/* With a journal, the file's creation was interrupted; SQLite can deal with that. */
	if (n == 0 || access(journal, F_OK) == 0)
		return 0;
	if (n < (ssize_t)sizeof(head) || memcmp(head, magic, sizeof(magic)) != 0)
		return err_set(
			err, ERR_SYSTEM,
			"database %s is damaged, or not an SQLite file: move it away, or put "
			"a copy of it back",
			d->path);
	return check_identity(d, be32(head + 68), (int32_t)be32(head + 60), err);
}

static int connect_db(struct database *d, struct err *err)
{
	static const struct {
		int option, value;
	} config[] = {
		{SQLITE_DBCONFIG_DEFENSIVE, 1},
		{SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
		{SQLITE_DBCONFIG_DQS_DDL, 0},
		{SQLITE_DBCONFIG_DQS_DML, 0},
		/* Until the file is known to be ours and whole. */
		{SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1},
	};
	int rc = sqlite3_open_v2(d->path, &d->db,
				 SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
					 SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOFOLLOW,
				 NULL);

	for (size_t i = 0; rc == SQLITE_OK && i < ARRAY_LEN(config); i++)
		rc = sqlite3_db_config(d->db, config[i].option, config[i].value, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(d->db, BUSY_MS);
	if (rc != SQLITE_OK)
		return database_fail(d, rc, "open it", err);
	sqlite3_limit(d->db, SQLITE_LIMIT_LENGTH, TEXT_BYTES_MAX);
	return exec(d, "PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY", "configure it",
		    err);
}

static int check_whole(struct database *d, struct err *err)
{
	int64_t pages, page_bytes;
	char verdict[160];
	bool small;

	if (ask_number(d, "PRAGMA page_count", &pages, err) < 0 ||
	    ask_number(d, "PRAGMA page_size", &page_bytes, err) < 0)
		return -1;
	small = pages <= CHECK_ALL_BYTES_MAX / page_bytes;
	if (ask(d, small ? "PRAGMA quick_check(1)" : "PRAGMA quick_check('restores')", verdict,
		sizeof(verdict), err) < 0)
		return -1;
	if (strcmp(verdict, "ok") == 0)
		return 0;
	for (char *c = verdict; *c; c++)
		if ((unsigned char)*c < ' ')
			*c = ' ';
	return err_set(err, ERR_SYSTEM,
		       "database %s is damaged (%s): move it away, or put a copy of it back",
		       d->path, verdict);
}

static int migrate(struct database *d, int64_t version, struct err *err)
{
	char text[64];

	if (version == VERSION)
		return 0;
	if (exec(d, "BEGIN IMMEDIATE", "begin a migration", err) < 0)
		return -1;
	for (; version < VERSION; version++)
		if (exec(d, migrations[version], "migrate it", err) < 0)
			goto undo;
	snprintf(text, sizeof(text), "PRAGMA user_version = %d; COMMIT", VERSION);
	if (exec(d, text, "migrate it", err) == 0)
		return 0;
undo:
	if (!sqlite3_get_autocommit(d->db))
		sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
	return -1;
}

static int set_up(struct database *d, struct err *err)
{
	int64_t app, version, pages;
	char mode[16];

	if (take_lock(d, err) < 0 || check_file(d, err) < 0 || connect_db(d, err) < 0 ||
	    ask_number(d, "PRAGMA application_id", &app, err) < 0 ||
	    ask_number(d, "PRAGMA user_version", &version, err) < 0 ||
	    ask_number(d, "PRAGMA page_count", &pages, err) < 0)
		return -1;
	/* Checked again: the latest values may be in the write-ahead log. */
	if (pages > 0 && (check_identity(d, app, version, err) < 0 || check_whole(d, err) < 0))
		return -1;
	/* Before WAL, so that the file itself says whose it is from its first byte on. */
	if (migrate(d, version, err) < 0)
		return -1;
	if (ask(d, "PRAGMA journal_mode = WAL", mode, sizeof(mode), err) < 0)
		return -1;
	if (strcmp(mode, "wal") != 0)
		return err_set(err, ERR_SYSTEM,
			       "database %s: cannot use a write-ahead log here (%s): choose a "
			       "--state-dir on a local disk",
			       d->path, mode);
	if (exec(d,
		 "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = "
		 "OFF;"
		 "PRAGMA journal_size_limit = " WAL_BYTES_KEPT,
		 "configure it", err) < 0)
		return -1;
	sqlite3_db_config(d->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
	return 0;
}

/*
 * SQLite's NOFOLLOW refuses symbolic links anywhere in a path; we refuse only a last name that is
 * one. So the directory is resolved here.
 */
static char *real_path(const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *dir = NULL;
	cleanup_free char *real = NULL;
	char *whole;

	if (slash == path)
		dir = strdup("/");
	else
		dir = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
	if (!dir)
		abort();
	real = realpath(dir, NULL);
	if (!real) {
		err_sys(err, "cannot use directory %s: create it first", dir);
		return NULL;
	}
	if (asprintf(&whole, "%s/%s", strcmp(real, "/") == 0 ? "" : real,
		     slash ? slash + 1 : path) < 0)
		abort();
	return whole;
}

int database_open(const char *path, struct database *ret, struct err *err)
{
	struct database d = {.lock_fd = -1};

	d.path = real_path(path, err);
	if (!d.path || set_up(&d, err) < 0) {
		database_close(&d);
		return -1;
	}
	*ret = d;
	return 0;
}

void database_close(struct database *d)
{
	int rc = sqlite3_close(d->db);

	assert(rc == SQLITE_OK); /* otherwise a statement leaked */
	(void)rc;
	close_fd(&d->lock_fd);
	free(d->path);
	*d = (struct database){.lock_fd = -1};
}
