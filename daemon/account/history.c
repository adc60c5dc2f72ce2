/*
 * Before the file is written it is judged, as state.db is; but a damaged one is moved aside instead of being refused:
 * what comes is worth more than what was. The same befalls it when damage shows later.
 *
 * The wall clock may jump. A step is found by its time, so what is added after a jump backwards counts in steps that
 * are there already, and one that had come from a wrong future is dropped when its time is far ahead. Where wall clock
 * and boot clock disagree, nothing is dropped for its age until they have agreed for an hour.
 */
#include "account/history.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/alloc.h"
#include "base/complain.h"

#define APPLICATION 0x73766d75 /* "svmu", in the header of the file */
#define BUSY_MS     2000

enum { WIDTHS = 3, DAY = 86400, TRUST_MS = 3600000, JUMP_MS = 60000, TRIES = 4 };
static const int64_t widths[WIDTHS] = { 60, 3600, DAY };
static const int64_t ages[WIDTHS] = { DAY, 31 * DAY, 0 /* keep_days */ };

enum { PUT_UPDATE, PUT_INSERT, PUT_KNOWN, PUT_COUNT, PUT_WATCHED, NAME_FIND, NAME_ADD, STATEMENTS };

struct history {
        sqlite3 *db;
        sqlite3_stmt *statement[STATEMENTS];
        struct history_options options;
        char path[PATH_MAX];
        /* How many keys the step has that was last added to. */
        struct {
                int64_t start, keys;
        } steps[WIDTHS][HISTORY_BYS];
        int64_t last_now, last_trim;
        uint64_t last_boot, distrust; /* distrust: boot_ms until which nothing is too old */
};

struct reason {
        char *why;
        size_t size;
};

static const char *const schema[] = {
        "CREATE TABLE name (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;"
        "CREATE TABLE step ("
        "  width INTEGER NOT NULL,"
        "  start INTEGER NOT NULL,"
        "  way INTEGER NOT NULL,"
        "  key INTEGER NOT NULL,"
        "  node INTEGER NOT NULL,"
        "  page_ms INTEGER NOT NULL,"
        "  peak INTEGER NOT NULL,"
        "  PRIMARY KEY (width, start, way, key, node)"
        ") STRICT, WITHOUT ROWID;"
        "CREATE TABLE watched ("
        "  width INTEGER NOT NULL,"
        "  start INTEGER NOT NULL,"
        "  ms INTEGER NOT NULL,"
        "  PRIMARY KEY (width, start)"
        ") STRICT, WITHOUT ROWID;"
        /* What is older was dropped. */
        "CREATE TABLE dropped (width INTEGER PRIMARY KEY, before INTEGER NOT NULL) STRICT;",
};
enum { VERSION = sizeof(schema) / sizeof(schema[0]) };

static const char *const texts[STATEMENTS] = {
        [PUT_UPDATE] = "UPDATE step SET page_ms = min(page_ms + ?6, 4611686018427387904), peak = max(peak, ?7)"
                       " WHERE width = ?1 AND start = ?2 AND way = ?3 AND key = ?4 AND node = ?5",
        [PUT_INSERT] =
                "INSERT INTO step (width, start, way, key, node, page_ms, peak) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        [PUT_KNOWN] = "SELECT 1 FROM step WHERE width = ?1 AND start = ?2 AND way = ?3 AND key = ?4 LIMIT 1",
        [PUT_COUNT] = "SELECT count(DISTINCT key) FROM step WHERE width = ?1 AND start = ?2 AND way = ?3",
        [PUT_WATCHED] = "INSERT INTO watched (width, start, ms) VALUES (?1, ?2, ?3)"
                        " ON CONFLICT (width, start) DO UPDATE SET ms = ms + excluded.ms",
        [NAME_FIND] = "SELECT id FROM name WHERE text = ?1",
        [NAME_ADD] = "INSERT INTO name (text) VALUES (?1)",
};

/* ---- failures ---- */

static int error_of(const struct history *h, int r) {
        int system = sqlite3_system_errno(h->db);

        switch (r & 0xff) {
        case SQLITE_FULL: return -ENOSPC;
        case SQLITE_NOMEM: return -ENOMEM;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB: return -EUCLEAN;
        case SQLITE_BUSY:
        case SQLITE_LOCKED: return -EBUSY;
        case SQLITE_READONLY: return -EROFS;
        default: return system ? -system : -EIO;
        }
}

static int fail(const struct history *h, const struct reason *c, int r) {
        return complain(c->why, c->size, error_of(h, r), "%s: %s", h->path,
                        h->db ? sqlite3_errmsg(h->db) : sqlite3_errstr(r));
}

/* ---- open ---- */

static int query_number(const struct history *h, const char *sql, int64_t *ret) {
        sqlite3_stmt *q = NULL;
        int r = sqlite3_prepare_v2(h->db, sql, -1, &q, NULL);

        if (r == SQLITE_OK)
                r = sqlite3_step(q);
        if (r == SQLITE_ROW)
                *ret = sqlite3_column_int64(q, 0);
        sqlite3_finalize(q);
        return r == SQLITE_ROW ? SQLITE_OK : r == SQLITE_DONE ? SQLITE_ERROR : r;
}

static int check_whole(const struct history *h) {
        sqlite3_stmt *q = NULL;
        const char *text = NULL;
        int r = sqlite3_prepare_v2(h->db, "PRAGMA quick_check(1)", -1, &q, NULL);

        if (r == SQLITE_OK)
                r = sqlite3_step(q);
        if (r == SQLITE_ROW)
                text = (const char *)sqlite3_column_text(q, 0);
        r = r != SQLITE_ROW ? r : text && strcmp(text, "ok") == 0 ? SQLITE_OK : SQLITE_CORRUPT;
        sqlite3_finalize(q);
        return r;
}

static int upgrade(const struct history *h, int64_t from) {
        char set[96];
        int r = sqlite3_exec(h->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

        for (int64_t n = from; n < VERSION && r == SQLITE_OK; n++)
                r = sqlite3_exec(h->db, schema[n], NULL, NULL, NULL);
        snprintf(set, sizeof(set), "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", APPLICATION,
                 VERSION);
        return r == SQLITE_OK ? sqlite3_exec(h->db, set, NULL, NULL, NULL) : r;
}

/* What begins but is not whole is damaged; what is another's stays as it is. */
static int check_version(const struct history *h, const struct reason *c, int64_t *ret) {
        int64_t application = 0, version = 0, tables = 0;
        int r = query_number(h, "PRAGMA application_id", &application);

        if (r == SQLITE_OK)
                r = query_number(h, "PRAGMA user_version", &version);
        if (r == SQLITE_OK)
                r = query_number(h, "SELECT count(*) FROM sqlite_schema", &tables);
        if (r != SQLITE_OK)
                return fail(h, c, r);
        if (application != APPLICATION && (application || version || tables))
                return complain(c->why, c->size, -EPROTO, "%s is a database of another program: move it away", h->path);
        if (version < 0 || version > VERSION)
                return complain(c->why, c->size, -EPROTO,
                                "%s was written by a newer svmd (schema %" PRId64 ", this one knows %d): install that "
                                "version, or move the file away",
                                h->path, version, VERSION);
        *ret = version;
        return 0;
}

static int set_up(struct history *h) {
        char sql[192];
        int r;

        snprintf(sql, sizeof(sql),
                 "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 4194304;"
                 "PRAGMA cache_size = -%d; PRAGMA max_page_count = %" PRIu64,
                 HISTORY_CACHE_KIB, h->options.size / 4096);
        r = sqlite3_exec(h->db, sql, NULL, NULL, NULL);
        for (unsigned i = 0; i < STATEMENTS && r == SQLITE_OK; i++)
                r = sqlite3_prepare_v3(h->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &h->statement[i], NULL);
        return r;
}

static void shut(struct history *h) {
        for (unsigned i = 0; i < STATEMENTS; i++) {
                sqlite3_finalize(h->statement[i]);
                h->statement[i] = NULL;
        }
        sqlite3_close(h->db);
        h->db = NULL;
        memset(h->steps, 0, sizeof(h->steps));
}

static int open_database(struct history *h, const struct reason *c) {
        int64_t version = 0;
        int fd, r;

        /* SQLite gives its other files the mode of this one. */
        fd = open(h->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return complain(c->why, c->size, -errno, "%s: %s", h->path, strerror(errno));
        close(fd);
        r = sqlite3_open_v2(h->path, &h->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_busy_timeout(h->db, BUSY_MS);
        if (r == SQLITE_OK)
                r = check_whole(h);
        if (r == SQLITE_OK) {
                int k = check_version(h, c, &version);

                if (k < 0)
                        return k;
                r = version < VERSION ? upgrade(h, version) : SQLITE_OK;
        }
        if (r == SQLITE_OK)
                r = set_up(h);
        return r == SQLITE_OK ? 0 : fail(h, c, r);
}

/* With what SQLite has beside it: else that would be taken for the new one's. */
static int move_aside(struct history *h, const struct reason *c) {
        static const char *const tails[] = { "-wal", "-shm", "" };
        char from[PATH_MAX + 8], to[PATH_MAX + 32];

        shut(h);
        for (unsigned i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
                snprintf(from, sizeof(from), "%s%s", h->path, tails[i]);
                snprintf(to, sizeof(to), "%s.damaged%s", h->path, tails[i]);
                if (rename(from, to) < 0 && errno != ENOENT)
                        return complain(c->why, c->size, -errno, "%s is damaged and cannot be moved away: %s", h->path,
                                        strerror(errno));
        }
        return 0;
}

/* After a failure. 0: a new one is open. */
static int begin_anew(struct history *h, const struct reason *c) {
        char damage[128];
        int r;

        snprintf(damage, sizeof(damage), "%s", h->db ? sqlite3_errmsg(h->db) : "");
        r = move_aside(h, c);
        if (r == 0)
                r = open_database(h, c);
        return r < 0 ? r
                     : complain(c->why, c->size, HISTORY_E_MOVED,
                                "%s was damaged (%s) and is %s.damaged now; the history of use begins anew", h->path,
                                damage, h->path);
}

int history_open(struct history **ret, const char *state_dir, const struct history_options *o, char *why,
                 size_t why_size) {
        struct reason c = { why, why_size };
        struct history *h = alloc_zero(sizeof(*h));
        int r;

        if (!h)
                return complain(why, why_size, -ENOMEM, "no memory to open %s/usage.db", state_dir);
        h->options = *o;
        if (h->options.size < HISTORY_SIZE_LEAST)
                h->options.size = HISTORY_SIZE_LEAST;
        if (snprintf(h->path, sizeof(h->path), "%s/usage.db", state_dir) >= (int)sizeof(h->path) - 16)
                r = complain(why, why_size, -ENAMETOOLONG, "%s: %s", state_dir, strerror(ENAMETOOLONG));
        else
                r = open_database(h, &c);
        if (r == -EUCLEAN)
                r = begin_anew(h, &c);
        if (r < 0) {
                history_close(h);
                return r;
        }
        *ret = h;
        return r;
}

void history_close(struct history *h) {
        if (h)
                shut(h);
        alloc_free(h);
}

/* ---- dropping ---- */

/* What lies before that time, of steps of that width. */
static int drop_before(struct history *h, unsigned w, int64_t before) {
        char sql[512];

        snprintf(sql, sizeof(sql),
                 "DELETE FROM step WHERE width = %" PRId64 " AND start < %" PRId64 ";"
                 "DELETE FROM watched WHERE width = %" PRId64 " AND start < %" PRId64 ";"
                 "INSERT INTO dropped (width, before) VALUES (%" PRId64 ", %" PRId64 ")"
                 " ON CONFLICT (width) DO UPDATE SET before = max(before, excluded.before)",
                 widths[w], before, widths[w], before, widths[w], before);
        return sqlite3_exec(h->db, sql, NULL, NULL, NULL);
}

static int drop_names(struct history *h) {
        return sqlite3_exec(h->db,
                            "DELETE FROM name WHERE id NOT IN (SELECT key FROM step UNION SELECT node FROM step)", NULL,
                            NULL, NULL);
}

static int64_t age_of(const struct history *h, unsigned w) {
        int64_t keep = (int64_t)h->options.keep_days * DAY;

        return ages[w] && ages[w] < keep ? ages[w] : keep;
}

/* Once an hour what has become too old goes, and what is dated a day ahead: the clock was wrong then. */
static int drop_old(struct history *h, int64_t now) {
        char sql[192];
        int r = SQLITE_OK;

        for (unsigned w = 0; w < WIDTHS && r == SQLITE_OK; w++)
                r = drop_before(h, w, now - age_of(h, w));
        snprintf(sql, sizeof(sql),
                 "DELETE FROM step WHERE start > %" PRId64 "; DELETE FROM watched WHERE start > %" PRId64, now + DAY,
                 now + DAY);
        if (r == SQLITE_OK)
                r = sqlite3_exec(h->db, sql, NULL, NULL, NULL);
        return r == SQLITE_OK ? drop_names(h) : r;
}

/* The file is as large as it may be: the older half of the finest steps that there are more than one of. */
static int make_room(struct history *h) {
        int r = sqlite3_exec(h->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

        for (unsigned w = 0; w < WIDTHS && r == SQLITE_OK; w++) {
                int64_t least = 0, most = 0;
                char sql[96];

                snprintf(sql, sizeof(sql), "SELECT ifnull(min(start), 0) FROM step WHERE width = %" PRId64, widths[w]);
                r = query_number(h, sql, &least);
                snprintf(sql, sizeof(sql), "SELECT ifnull(max(start), 0) FROM step WHERE width = %" PRId64, widths[w]);
                if (r == SQLITE_OK)
                        r = query_number(h, sql, &most);
                if (r != SQLITE_OK || least == most)
                        continue;
                r = drop_before(h, w, least + (most - least + 1) / 2 + 1);
                if (r == SQLITE_OK)
                        r = drop_names(h);
                break;
        }
        if (r == SQLITE_OK)
                r = sqlite3_exec(h->db, "COMMIT", NULL, NULL, NULL);
        if (r != SQLITE_OK)
                sqlite3_exec(h->db, "ROLLBACK", NULL, NULL, NULL);
        return r;
}

/* ---- adding ---- */

static int done(sqlite3_stmt *q) {
        int r = sqlite3_step(q);

        sqlite3_reset(q);
        return r == SQLITE_DONE ? SQLITE_OK : r;
}

static int name_id(struct history *h, const char *text, int64_t *ret) {
        sqlite3_stmt *find = h->statement[NAME_FIND], *add = h->statement[NAME_ADD];
        int r = sqlite3_bind_text(find, 1, text, -1, SQLITE_STATIC);

        if (r == SQLITE_OK)
                r = sqlite3_step(find);
        if (r == SQLITE_ROW)
                *ret = sqlite3_column_int64(find, 0);
        sqlite3_reset(find);
        if (r != SQLITE_DONE)
                return r == SQLITE_ROW ? SQLITE_OK : r;
        r = sqlite3_bind_text(add, 1, text, -1, SQLITE_STATIC);
        if (r == SQLITE_OK)
                r = done(add);
        if (r == SQLITE_OK)
                *ret = sqlite3_last_insert_rowid(h->db);
        return r;
}

struct place {
        unsigned w;
        int64_t start, key, node;
};

static int bind_place(sqlite3_stmt *q, const struct place *p, enum history_by by, const struct history_record *r) {
        const int64_t numbers[] = {
                widths[p->w], p->start, by, p->key, p->node, r ? (int64_t)r->page_ms : 0, r ? (int64_t)r->peak : 0
        };
        int count = sqlite3_bind_parameter_count(q), k = SQLITE_OK;

        for (int i = 0; i < count && k == SQLITE_OK; i++)
                k = sqlite3_bind_int64(q, i + 1, numbers[i]);
        return k;
}

/* Whether the step has the key, on whichever node. */
static int is_known(struct history *h, const struct place *p, enum history_by by, bool *ret) {
        sqlite3_stmt *q = h->statement[PUT_KNOWN];
        int r = bind_place(q, p, by, NULL);

        if (r == SQLITE_OK)
                r = sqlite3_step(q);
        *ret = r == SQLITE_ROW;
        sqlite3_reset(q);
        return r == SQLITE_ROW || r == SQLITE_DONE ? SQLITE_OK : r;
}

static int count_keys(struct history *h, const struct place *p, enum history_by by) {
        sqlite3_stmt *q = h->statement[PUT_COUNT];
        int r = SQLITE_OK;

        if (h->steps[p->w][by].start == p->start)
                return r;
        r = bind_place(q, p, by, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_step(q);
        if (r == SQLITE_ROW) {
                h->steps[p->w][by].start = p->start;
                h->steps[p->w][by].keys = sqlite3_column_int64(q, 0);
                r = SQLITE_OK;
        }
        sqlite3_reset(q);
        return r;
}

/* Adds to the row, or makes it. */
static int put_row(struct history *h, const struct place *p, const struct history_record *r) {
        sqlite3_stmt *q = h->statement[PUT_UPDATE];
        int k = bind_place(q, p, r->by, r);

        if (k == SQLITE_OK)
                k = done(q);
        if (k != SQLITE_OK || sqlite3_changes(h->db) > 0)
                return k;
        q = h->statement[PUT_INSERT];
        k = bind_place(q, p, r->by, r);
        return k == SQLITE_OK ? done(q) : k;
}

/* Into the step of one width. Where it has no room for another key, "other" takes it. */
static int put_step(struct history *h, unsigned w, int64_t now, const struct history_record *r, int64_t key,
                    int64_t node, int64_t other) {
        struct place p = { w, now - now % widths[w], key, node };
        bool known = true;
        int k = count_keys(h, &p, r->by);

        if (k == SQLITE_OK)
                k = is_known(h, &p, r->by, &known);
        if (k == SQLITE_OK && !known && h->steps[w][r->by].keys >= h->options.keys) {
                p.key = other;
                known = true;
        }
        if (k == SQLITE_OK)
                k = put_row(h, &p, r);
        if (k == SQLITE_OK && !known)
                h->steps[w][r->by].keys++;
        return k;
}

static int put_all(struct history *h, int64_t now, uint64_t watched_ms, const struct history_record *r, size_t count) {
        int64_t other, key, node;
        int k = name_id(h, HISTORY_OTHER, &other);

        for (unsigned w = 0; w < WIDTHS && k == SQLITE_OK; w++) {
                sqlite3_stmt *q = h->statement[PUT_WATCHED];

                sqlite3_bind_int64(q, 1, widths[w]);
                sqlite3_bind_int64(q, 2, now - now % widths[w]);
                sqlite3_bind_int64(q, 3, (int64_t)watched_ms);
                k = done(q);
        }
        for (size_t i = 0; i < count && k == SQLITE_OK; i++) {
                k = name_id(h, r[i].key, &key);
                if (k == SQLITE_OK)
                        k = name_id(h, r[i].node, &node);
                for (unsigned w = 0; w < WIDTHS && k == SQLITE_OK; w++)
                        k = put_step(h, w, now, &r[i], key, node, other);
        }
        return k;
}

static int add_once(struct history *h, int64_t now, uint64_t watched_ms, const struct history_record *r, size_t count,
                    bool trim) {
        int k = sqlite3_exec(h->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

        if (k == SQLITE_OK && trim)
                k = drop_old(h, now);
        if (k == SQLITE_OK)
                k = put_all(h, now, watched_ms, r, count);
        if (k == SQLITE_OK)
                k = sqlite3_exec(h->db, "COMMIT", NULL, NULL, NULL);
        if (k != SQLITE_OK) {
                memset(h->steps, 0, sizeof(h->steps));
                sqlite3_exec(h->db, "ROLLBACK", NULL, NULL, NULL);
        }
        return k;
}

/* The clocks have gone on alike since the last addition. */
static void watch_clock(struct history *h, int64_t now, uint64_t boot_ms) {
        int64_t wall = (now - h->last_now) * 1000, boot = (int64_t)(boot_ms - h->last_boot);

        if (h->last_boot && (wall - boot > JUMP_MS || boot - wall > JUMP_MS))
                h->distrust = boot_ms + TRUST_MS;
        h->last_now = now;
        h->last_boot = boot_ms;
}

int history_add(struct history *h, int64_t now, uint64_t boot_ms, uint64_t watched_ms, const struct history_record *r,
                size_t count, char *why, size_t why_size) {
        struct reason c = { why, why_size };
        bool trim;
        int k;

        watch_clock(h, now, boot_ms);
        trim = now / 3600 != h->last_trim / 3600 && boot_ms >= h->distrust;
        k = add_once(h, now, watched_ms, r, count, trim);
        for (unsigned i = 0; i < TRIES && k == SQLITE_FULL && make_room(h) == SQLITE_OK; i++)
                k = add_once(h, now, watched_ms, r, count, trim);
        if (k == SQLITE_OK && trim)
                h->last_trim = now;
        if (k == SQLITE_OK)
                return 0;
        k = fail(h, &c, k);
        return k == -EUCLEAN ? begin_anew(h, &c) : k;
}

/* ---- asking ---- */

/* The finest steps of which nothing was dropped since then; else the coarsest. */
static int choose_width(struct history *h, int64_t since, unsigned *ret) {
        int r = SQLITE_OK;

        *ret = WIDTHS - 1;
        for (unsigned w = 0; w < WIDTHS && r == SQLITE_OK; w++) {
                int64_t before = 0;
                char sql[96];

                snprintf(sql, sizeof(sql), "SELECT ifnull(max(before), 0) FROM dropped WHERE width = %" PRId64,
                         widths[w]);
                r = query_number(h, sql, &before);
                if (r == SQLITE_OK && before <= since - since % widths[w]) {
                        *ret = w;
                        break;
                }
        }
        return r;
}

static int bind_span(sqlite3_stmt *q, const struct history_answer *a) {
        int r = sqlite3_bind_int64(q, 1, a->step);

        if (r == SQLITE_OK)
                r = sqlite3_bind_int64(q, 2, a->since);
        return r == SQLITE_OK ? sqlite3_bind_int64(q, 3, a->until) : r;
}

static int ask_watched(struct history *h, struct history_answer *a) {
        sqlite3_stmt *q = NULL;
        int r = sqlite3_prepare_v2(
                h->db, "SELECT ifnull(sum(ms), 0) FROM watched WHERE width = ?1 AND start >= ?2 AND start < ?3", -1, &q,
                NULL);

        if (r == SQLITE_OK)
                r = bind_span(q, a);
        if (r == SQLITE_OK)
                r = sqlite3_step(q);
        if (r == SQLITE_ROW)
                a->watched_ms = (uint64_t)sqlite3_column_int64(q, 0);
        sqlite3_finalize(q);
        return r == SQLITE_ROW ? SQLITE_OK : r;
}

static char *column_text(sqlite3_stmt *q, int i) {
        const char *text = (const char *)sqlite3_column_text(q, i);

        return alloc_string(text ? text : "?");
}

/* What passes 63 bits in sum is the greatest number; total() never fails. */
static uint64_t column_sum(sqlite3_stmt *q, int i) {
        double sum = sqlite3_column_double(q, i);

        return sum >= 9.2e18 ? INT64_MAX : sum > 0 ? (uint64_t)sum : 0;
}

static int ask_rows(struct history *h, const struct history_query *query, struct history_answer *a, bool *ret_memory) {
        sqlite3_stmt *q = NULL;
        int r = sqlite3_prepare_v2(h->db,
                                   "SELECT k.text, n.text, total(s.page_ms), max(s.peak)"
                                   " FROM step s JOIN name k ON k.id = s.key JOIN name n ON n.id = s.node"
                                   " WHERE s.width = ?1 AND s.start >= ?2 AND s.start < ?3 AND s.way = ?4"
                                   " AND (?5 IS NULL OR n.text = ?5)"
                                   " GROUP BY s.key, s.node ORDER BY 3 DESC, 4 DESC, 1, 2 LIMIT ?6 OFFSET ?7",
                                   -1, &q, NULL);

        if (r == SQLITE_OK)
                r = bind_span(q, a);
        if (r == SQLITE_OK) {
                sqlite3_bind_int64(q, 4, query->by);
                sqlite3_bind_text(q, 5, query->node, -1, SQLITE_STATIC);
                sqlite3_bind_int64(q, 6, (int64_t)query->count + 1);
                sqlite3_bind_int64(q, 7, query->from > INT64_MAX ? INT64_MAX : (int64_t)query->from);
        }
        while (r == SQLITE_OK && (r = sqlite3_step(q)) == SQLITE_ROW) {
                struct history_row *row = &a->rows[a->count];

                r = SQLITE_OK;
                a->more = a->count == query->count;
                if (a->more)
                        break;
                a->count++;
                row->key = column_text(q, 0);
                row->node = column_text(q, 1);
                row->page_ms = column_sum(q, 2);
                row->peak = (uint64_t)sqlite3_column_int64(q, 3);
                *ret_memory |= !row->key || !row->node;
        }
        sqlite3_finalize(q);
        return r == SQLITE_DONE ? SQLITE_OK : r;
}

int history_ask(struct history *h, const struct history_query *q, struct history_answer *ret, char *why,
                size_t why_size) {
        struct reason c = { why, why_size };
        struct history_answer a = { .count = 0 };
        bool memory = false;
        unsigned w = 0;
        int r;

        a.rows = alloc_array((size_t)q->count + 1, sizeof(*a.rows));
        if (!a.rows)
                return complain(why, why_size, -ENOMEM, "no memory to read %s", h->path);
        r = choose_width(h, q->since, &w);
        a.step = (uint32_t)widths[w];
        a.since = q->since - q->since % widths[w];
        a.until = q->until;
        if (r == SQLITE_OK)
                r = ask_watched(h, &a);
        if (r == SQLITE_OK)
                r = ask_rows(h, q, &a, &memory);
        if (r == SQLITE_OK && !memory) {
                *ret = a;
                return 0;
        }
        history_answer_free(&a);
        if (memory)
                return complain(why, why_size, -ENOMEM, "no memory to read %s", h->path);
        r = fail(h, &c, r);
        return r == -EUCLEAN ? begin_anew(h, &c) : r;
}

void history_answer_free(struct history_answer *a) {
        for (size_t i = 0; a->rows && i < a->count; i++) {
                alloc_free(a->rows[i].key);
                alloc_free(a->rows[i].node);
        }
        alloc_free(a->rows);
        *a = (struct history_answer){ .count = 0 };
}
