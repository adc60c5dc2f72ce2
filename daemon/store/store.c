/*
 * Before anything is written, the file is judged: is it whole, of this program, of a version that can be read? Until
 * then the connection is forbidden to do what SQLite does by itself at the end (moving the write-ahead log into the
 * file), so a file that is refused keeps every byte.
 *
 * A lock file keeps a second svmd out. The database itself is not locked beyond its transactions: a backup may be taken
 * while svmd runs.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/alloc.h"
#include "base/complain.h"
#include "store/schema.h"

#define BUSY_MS 5000

struct store {
        sqlite3 *db;
        int lock;
        char path[PATH_MAX];
};

struct reason {
        char *why;
        size_t size;
};

static int error_of(const struct store *s, int r) {
        int system = sqlite3_system_errno(s->db);

        if ((r & 0xff) == SQLITE_IOERR && (system == ENOSPC || system == EDQUOT))
                return -system;
        switch (r & 0xff) {
        case SQLITE_FULL: return -ENOSPC;
        case SQLITE_NOMEM: return -ENOMEM;
        case SQLITE_BUSY:
        case SQLITE_LOCKED: return -EBUSY;
        case SQLITE_READONLY: return -EROFS;
        case SQLITE_PERM: return -EACCES;
        case SQLITE_CANTOPEN: return system ? -system : -EACCES;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB: return -EUCLEAN;
        default: return -EIO;
        }
}

static int damaged(const struct store *s, const struct reason *c, const char *how) {
        return complain(c->why, c->size, -EUCLEAN,
                        "%s is damaged (%s): restore a copy of it, or start without its partitions after mkdir %s.d && "
                        "mv %s* %s.d",
                        s->path, how, s->path, s->path, s->path);
}

static const char *remedy(int error) {
        switch (error) {
        case -ENOSPC:
        case -EDQUOT: return "make room on its file system";
        case -EROFS:
        case -EACCES: return "let svmd write there, or name another --state-dir";
        case -EBUSY: return "end the program that holds it open for writing";
        default: return "look for errors of the disk in the kernel's log";
        }
}

/* For an SQLite result other than OK. */
static int fail(const struct store *s, const struct reason *c, int r) {
        int error = error_of(s, r);
        const char *how = s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(r);

        if (error == -EUCLEAN)
                return damaged(s, c, how);
        return complain(c->why, c->size, error, "%s: %s; %s", s->path, how, remedy(error));
}

static int run(struct store *s, const char *sql) {
        return sqlite3_exec(s->db, sql, NULL, NULL, NULL);
}

static int query_number(struct store *s, const char *sql, int64_t *ret) {
        sqlite3_stmt *q = NULL;
        int r = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);

        if (r == SQLITE_OK)
                r = sqlite3_step(q);
        if (r == SQLITE_ROW)
                *ret = sqlite3_column_int64(q, 0);
        sqlite3_finalize(q);
        return r == SQLITE_ROW ? SQLITE_OK : r == SQLITE_DONE ? SQLITE_ERROR : r;
}

static int check_whole(struct store *s, const struct reason *c) {
        sqlite3_stmt *q = NULL;
        const char *text;
        int r = sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &q, NULL);

        if (r == SQLITE_OK)
                r = sqlite3_step(q);
        if (r != SQLITE_ROW) {
                sqlite3_finalize(q);
                return fail(s, c, r == SQLITE_DONE ? SQLITE_ERROR : r);
        }
        text = (const char *)sqlite3_column_text(q, 0);
        r = text && !strcmp(text, "ok") ? 0 : damaged(s, c, text ? text : "it cannot be checked");
        sqlite3_finalize(q);
        return r;
}

static int check_version(struct store *s, const struct reason *c, unsigned *ret_version) {
        int64_t application = 0, version = 0, tables = 0;
        int r = query_number(s, "PRAGMA application_id", &application);

        if (r == SQLITE_OK)
                r = query_number(s, "PRAGMA user_version", &version);
        if (r == SQLITE_OK)
                r = query_number(s, "SELECT count(*) FROM sqlite_schema", &tables);
        if (r != SQLITE_OK)
                return fail(s, c, r);
        if (application != SCHEMA_APPLICATION && (application || version || tables))
                return complain(c->why, c->size, -EPROTO,
                                "%s is a database of another program: name another --state-dir, or move it away with "
                                "mv %s %s.other",
                                s->path, s->path, s->path);
        if (version < 0 || version > (int64_t)schema_version)
                return complain(c->why, c->size, -EPROTO,
                                "%s was written by a newer svmd (schema %lld, this one knows %u): install that "
                                "version, or start without its partitions after mkdir %s.d && mv %s* %s.d",
                                s->path, (long long)version, schema_version, s->path, s->path, s->path);
        *ret_version = (unsigned)version;
        return 0;
}

static int set_up(struct store *s, const struct reason *c, unsigned version) {
        int r = run(s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");

        if (r == SQLITE_OK && version < schema_version)
                r = schema_upgrade(s->db, schema_steps, version, schema_version);
        if (r == SQLITE_OK)
                r = sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
        return r == SQLITE_OK ? 0 : fail(s, c, r);
}

static int open_database(struct store *s, const struct reason *c) {
        unsigned version = 0;
        int fd, r;

        /* SQLite gives its other files the mode of this one. */
        fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return complain(c->why, c->size, -errno, "%s: %s; %s", s->path, strerror(errno), remedy(-errno));
        close(fd);
        r = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        if (r != SQLITE_OK)
                return fail(s, c, r);
        sqlite3_extended_result_codes(s->db, 1);
        sqlite3_busy_timeout(s->db, BUSY_MS);
        r = check_whole(s, c);
        if (r == 0)
                r = check_version(s, c, &version);
        return r == 0 ? set_up(s, c, version) : r;
}

static int lock_directory(struct store *s, const char *dir, const struct reason *c) {
        char path[PATH_MAX];

        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                return complain(c->why, c->size, -errno, "%s: %s; make the folder, or name another --state-dir", dir,
                                strerror(errno));
        if (snprintf(path, sizeof(path), "%s/state.lock", dir) >= (int)sizeof(path) ||
            snprintf(s->path, sizeof(s->path), "%s/state.db", dir) >= (int)sizeof(s->path))
                return complain(c->why, c->size, -ENAMETOOLONG, "%s: %s; name another --state-dir", dir,
                                strerror(ENAMETOOLONG));
        s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (s->lock < 0)
                return complain(c->why, c->size, -errno, "%s: %s; %s", path, strerror(errno), remedy(-errno));
        if (flock(s->lock, LOCK_EX | LOCK_NB) < 0)
                return complain(c->why, c->size, errno == EWOULDBLOCK ? -EBUSY : -errno,
                                "another svmd uses %s: stop it, or give this one a --state-dir of its own", dir);
        return 0;
}

int store_open(struct store **ret, const char *state_dir, char *why, size_t why_size) {
        struct reason c = { why, why_size };
        struct store *s = alloc_zero(sizeof(*s));
        int r;

        if (!s)
                return complain(c.why, c.size, -ENOMEM, "no memory to open %s/state.db", state_dir);
        s->lock = -1;
        r = lock_directory(s, state_dir, &c);
        if (r == 0)
                r = open_database(s, &c);
        if (r < 0) {
                store_close(s);
                return r;
        }
        *ret = s;
        return 0;
}

void store_close(struct store *s) {
        if (!s)
                return;
        sqlite3_close(s->db);
        if (s->lock >= 0)
                close(s->lock);
        alloc_free(s);
}

static int copy_text(sqlite3_stmt *q, int column, char *to, size_t size) {
        const unsigned char *text = sqlite3_column_text(q, column);
        size_t length = (size_t)sqlite3_column_bytes(q, column);

        if (!text || length >= size || memchr(text, 0, length))
                return -EUCLEAN;
        memcpy(to, text, length + 1);
        return 0;
}

/* Limits, with room for more. */
struct limits {
        struct store_limit *all;
        uint32_t count, room;
};

static int add_limit(struct limits *a, sqlite3_stmt *q) {
        struct store_limit *l;

        if (a->count == a->room) {
                uint32_t more = a->room ? 2 * a->room : 8;

                l = alloc_grow(a->all, a->room * sizeof(*l), more * sizeof(*l));
                if (!l)
                        return -ENOMEM;
                a->all = l;
                a->room = more;
        }
        l = &a->all[a->count];
        if (copy_text(q, 0, l->node, sizeof(l->node)) < 0)
                return -EUCLEAN;
        l->max = (uint64_t)sqlite3_column_int64(q, 1);
        l->min = (uint64_t)sqlite3_column_int64(q, 2);
        l->low = (uint64_t)sqlite3_column_int64(q, 3);
        l->high = (uint64_t)sqlite3_column_int64(q, 4);
        a->count++;
        return 0;
}

/* Those of whom the statement's parameter names. Returns an SQLite result, or a negative errno in `ret_error` beside
 * SQLITE_OK. */
static int read_limits(struct limits *a, sqlite3_stmt *q, const char *name, int *ret_error) {
        int r;

        a->count = 0;
        sqlite3_reset(q);
        r = sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
        while (r == SQLITE_OK && *ret_error == 0) {
                r = sqlite3_step(q);
                if (r == SQLITE_DONE)
                        return SQLITE_OK;
                if (r == SQLITE_ROW) {
                        *ret_error = add_limit(a, q);
                        r = SQLITE_OK;
                }
        }
        return r;
}

static int read_partition(struct store_partition *p, sqlite3_stmt *q) {
        if (copy_text(q, 0, p->name, sizeof(p->name)) < 0 || copy_text(q, 1, p->domain, sizeof(p->domain)) < 0 ||
            copy_text(q, 9, p->holder, sizeof(p->holder)) < 0)
                return -EUCLEAN;
        p->window = (uint32_t)sqlite3_column_int64(q, 2);
        p->base = (uint64_t)sqlite3_column_int64(q, 3);
        p->size = (uint64_t)sqlite3_column_int64(q, 4);
        p->uid = (uint32_t)sqlite3_column_int64(q, 5);
        p->gid = (uint32_t)sqlite3_column_int64(q, 6);
        p->mode = (uint32_t)sqlite3_column_int64(q, 7);
        p->kept_max = (uint64_t)sqlite3_column_int64(q, 8);
        return 0;
}

/* Walks the rows. `ret_stop` is what ended the walk: a negative errno of reading, or what `fn` returned. */
static int walk(sqlite3_stmt *partitions, sqlite3_stmt *limits, struct limits *a, store_fn fn, void *userdata,
                int *ret_error, int *ret_stop) {
        struct store_partition p = { 0 };
        int r;

        while ((r = sqlite3_step(partitions)) == SQLITE_ROW) {
                *ret_error = read_partition(&p, partitions);
                if (*ret_error)
                        return SQLITE_OK;
                r = read_limits(a, limits, p.name, ret_error);
                if (r != SQLITE_OK || *ret_error)
                        return r;
                p.limits = a->all;
                p.limits_count = a->count;
                *ret_stop = fn(userdata, &p);
                if (*ret_stop)
                        return SQLITE_OK;
        }
        return r == SQLITE_DONE ? SQLITE_OK : r;
}

static int say_read(struct store *s, const struct reason *c, int r, int error) {
        if (r != SQLITE_OK)
                return fail(s, c, r);
        if (error == -EUCLEAN)
                return damaged(s, c, "a name in it is longer than svmd writes them");
        return error ? complain(c->why, c->size, error, "%s: no memory to read it", s->path) : 0;
}

int store_each(struct store *s, store_fn fn, void *userdata, char *why, size_t why_size) {
        struct reason c = { why, why_size };
        struct limits a = { 0 };
        sqlite3_stmt *partitions = NULL, *limits = NULL;
        int r, error = 0, stop = 0;

        r = sqlite3_prepare_v2(
                s->db,
                "SELECT name, domain, window, base, size, uid, gid, mode, kept_max, holder FROM partition ORDER BY name",
                -1, &partitions, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_prepare_v2(
                        s->db,
                        "SELECT node, max, min, low, high FROM partition_limit WHERE partition = ? ORDER BY node", -1,
                        &limits, NULL);
        if (r == SQLITE_OK)
                r = walk(partitions, limits, &a, fn, userdata, &error, &stop);
        error = say_read(s, &c, r, error);
        sqlite3_finalize(partitions);
        sqlite3_finalize(limits);
        alloc_free(a.all);
        return error ? error : stop;
}

static int step_once(sqlite3_stmt *q) {
        int r = sqlite3_step(q);

        return r == SQLITE_DONE ? SQLITE_OK : r;
}

static int put_partition(struct store *s, const struct store_partition *p) {
        sqlite3_stmt *q = NULL;
        const int64_t numbers[] = { p->window, (int64_t)p->base, (int64_t)p->size,    p->uid,
                                    p->gid,    p->mode,          (int64_t)p->kept_max };
        int r = sqlite3_prepare_v2(
                s->db,
                "INSERT INTO partition (name, domain, window, base, size, uid, gid, mode, kept_max, holder)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET domain = excluded.domain, window = excluded.window,"
                " base = excluded.base, size = excluded.size, uid = excluded.uid, gid = excluded.gid,"
                " mode = excluded.mode, kept_max = excluded.kept_max, holder = excluded.holder",
                -1, &q, NULL);

        if (r == SQLITE_OK)
                r = sqlite3_bind_text(q, 1, p->name, -1, SQLITE_STATIC);
        if (r == SQLITE_OK)
                r = sqlite3_bind_text(q, 2, p->domain, -1, SQLITE_STATIC);
        for (int i = 0; i < 7 && r == SQLITE_OK; i++)
                r = sqlite3_bind_int64(q, 3 + i, numbers[i]);
        if (r == SQLITE_OK)
                r = sqlite3_bind_text(q, 10, p->holder, -1, SQLITE_STATIC);
        if (r == SQLITE_OK)
                r = step_once(q);
        sqlite3_finalize(q);
        return r;
}

/* A statement whose only parameter is the name of a partition. */
static int run_for(struct store *s, const char *sql, const char *name) {
        sqlite3_stmt *q = NULL;
        int r = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);

        if (r == SQLITE_OK)
                r = sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
        if (r == SQLITE_OK)
                r = step_once(q);
        sqlite3_finalize(q);
        return r;
}

static void bind_limit(sqlite3_stmt *q, int at, const struct store_limit *l) {
        sqlite3_bind_int64(q, at, (int64_t)l->max);
        sqlite3_bind_int64(q, at + 1, (int64_t)l->min);
        sqlite3_bind_int64(q, at + 2, (int64_t)l->low);
        sqlite3_bind_int64(q, at + 3, (int64_t)l->high);
}

/* In the place of those that there are; `drop` and `insert` begin with the name of whose they are. */
static int put_limits(struct store *s, const char *drop, const char *insert, const char *name,
                      const struct store_limit *limits, uint32_t count) {
        sqlite3_stmt *q = NULL;
        int r = run_for(s, drop, name);

        if (r == SQLITE_OK)
                r = sqlite3_prepare_v2(s->db, insert, -1, &q, NULL);
        for (uint32_t i = 0; i < count && r == SQLITE_OK; i++) {
                sqlite3_reset(q);
                sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
                sqlite3_bind_text(q, 2, limits[i].node, -1, SQLITE_STATIC);
                bind_limit(q, 3, &limits[i]);
                r = step_once(q);
        }
        sqlite3_finalize(q);
        return r;
}

/* Ends the transaction after `r`; the reason is taken before the rollback replaces it. */
static int finish(struct store *s, const struct reason *c, int r) {
        int error;

        if (r == SQLITE_OK)
                r = run(s, "COMMIT");
        if (r == SQLITE_OK)
                return 0;
        error = fail(s, c, r);
        if (!sqlite3_get_autocommit(s->db))
                run(s, "ROLLBACK");
        return error;
}

/* Of what comes next: whether the disk is waited for. */
static int choose_sync(struct store *s, bool held) {
        return run(s, held ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL");
}

static int is_held(struct store *s, const char *name, bool *ret) {
        sqlite3_stmt *q = NULL;
        int r = sqlite3_prepare_v2(s->db, "SELECT holder <> '' FROM partition WHERE name = ?", -1, &q, NULL);

        *ret = false;
        if (r == SQLITE_OK)
                r = sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
        if (r == SQLITE_OK && (r = sqlite3_step(q)) == SQLITE_ROW)
                *ret = sqlite3_column_int(q, 0) != 0;
        sqlite3_finalize(q);
        return r == SQLITE_ROW || r == SQLITE_DONE ? SQLITE_OK : r;
}

int store_put(struct store *s, const struct store_partition *p, char *why, size_t why_size) {
        struct reason c = { why, why_size };
        int r = choose_sync(s, p->holder[0]);

        if (r == SQLITE_OK)
                r = run(s, "BEGIN IMMEDIATE");
        if (r == SQLITE_OK)
                r = put_partition(s, p);
        if (r == SQLITE_OK)
                r = put_limits(
                        s, "DELETE FROM partition_limit WHERE partition = ?",
                        "INSERT INTO partition_limit (partition, node, max, min, low, high) VALUES (?, ?, ?, ?, ?, ?)",
                        p->name, p->limits, p->limits_count);
        return finish(s, &c, r);
}

int store_remove(struct store *s, const char *name, char *why, size_t why_size) {
        struct reason c = { why, why_size };
        bool held;
        int r = is_held(s, name, &held);

        if (r == SQLITE_OK)
                r = choose_sync(s, held);
        if (r == SQLITE_OK)
                r = run_for(s, "DELETE FROM partition WHERE name = ?", name);
        if (r != SQLITE_OK)
                return fail(s, &c, r);
        if (sqlite3_changes(s->db) == 0)
                return complain(c.why, c.size, -ENOENT, "%s has no partition %s", s->path, name);
        return 0;
}

/* ---- control groups ---- */

/* As walk(). A path is never moved by SQLite while its row is not left. */
static int walk_cgroups(sqlite3_stmt *paths, sqlite3_stmt *limits, struct limits *a, store_cgroup_fn fn, void *userdata,
                        int *ret_error, int *ret_stop) {
        int r;

        while ((r = sqlite3_step(paths)) == SQLITE_ROW) {
                struct store_cgroup g = { .path = (const char *)sqlite3_column_text(paths, 0) };

                if (!g.path || strlen(g.path) != (size_t)sqlite3_column_bytes(paths, 0)) {
                        *ret_error = -EUCLEAN;
                        return SQLITE_OK;
                }
                r = read_limits(a, limits, g.path, ret_error);
                if (r != SQLITE_OK || *ret_error)
                        return r;
                g.limits = a->all;
                g.limits_count = a->count;
                *ret_stop = fn(userdata, &g);
                if (*ret_stop)
                        return SQLITE_OK;
        }
        return r == SQLITE_DONE ? SQLITE_OK : r;
}

int store_each_cgroup(struct store *s, store_cgroup_fn fn, void *userdata, char *why, size_t why_size) {
        struct reason c = { why, why_size };
        struct limits a = { 0 };
        sqlite3_stmt *paths = NULL, *limits = NULL;
        int error = 0, stop = 0;
        int r = sqlite3_prepare_v2(s->db, "SELECT DISTINCT path FROM cgroup_limit ORDER BY path", -1, &paths, NULL);

        if (r == SQLITE_OK)
                r = sqlite3_prepare_v2(
                        s->db, "SELECT node, max, min, low, high FROM cgroup_limit WHERE path = ? ORDER BY node", -1,
                        &limits, NULL);
        if (r == SQLITE_OK)
                r = walk_cgroups(paths, limits, &a, fn, userdata, &error, &stop);
        error = say_read(s, &c, r, error);
        sqlite3_finalize(paths);
        sqlite3_finalize(limits);
        alloc_free(a.all);
        return error ? error : stop;
}

int store_put_cgroup(struct store *s, const struct store_cgroup *g, char *why, size_t why_size) {
        struct reason c = { why, why_size };
        int r = choose_sync(s, false);

        if (r == SQLITE_OK)
                r = run(s, "BEGIN IMMEDIATE");
        if (r == SQLITE_OK)
                r = put_limits(s, "DELETE FROM cgroup_limit WHERE path = ?",
                               "INSERT INTO cgroup_limit (path, node, max, min, low, high) VALUES (?, ?, ?, ?, ?, ?)",
                               g->path, g->limits, g->limits_count);
        return finish(s, &c, r);
}
