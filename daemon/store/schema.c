#include "store/schema.h"

#include <stdio.h>

#include <sqlite3.h>

/* 64-bit unsigned numbers (addresses, sizes, limits) are stored in the same 64 bits, signed. */
const char *const schema_steps[] = {
        "CREATE TABLE partition ("
        "  name TEXT PRIMARY KEY NOT NULL,"
        "  domain TEXT NOT NULL,"
        "  window INTEGER NOT NULL,"
        "  base INTEGER NOT NULL,"
        "  size INTEGER NOT NULL,"
        "  uid INTEGER NOT NULL,"
        "  gid INTEGER NOT NULL,"
        "  mode INTEGER NOT NULL"
        ") STRICT, WITHOUT ROWID;"
        "CREATE TABLE partition_limit ("
        "  partition TEXT NOT NULL REFERENCES partition (name) ON DELETE CASCADE,"
        "  node TEXT NOT NULL,"
        "  max INTEGER NOT NULL,"
        "  PRIMARY KEY (partition, node)"
        ") STRICT, WITHOUT ROWID;",
        "ALTER TABLE partition ADD COLUMN kept_max INTEGER NOT NULL DEFAULT 0;",
        "ALTER TABLE partition_limit ADD COLUMN min INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE partition_limit ADD COLUMN low INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE partition_limit ADD COLUMN high INTEGER NOT NULL DEFAULT -1;"
        "CREATE TABLE cgroup_limit ("
        "  path TEXT NOT NULL,"
        "  node TEXT NOT NULL,"
        "  min INTEGER NOT NULL,"
        "  low INTEGER NOT NULL,"
        "  high INTEGER NOT NULL,"
        "  max INTEGER NOT NULL,"
        "  PRIMARY KEY (path, node)"
        ") STRICT, WITHOUT ROWID;",
        "ALTER TABLE partition ADD COLUMN holder TEXT NOT NULL DEFAULT '';",
};
const unsigned schema_version = sizeof(schema_steps) / sizeof(schema_steps[0]);

static int run_steps(sqlite3 *db, const char *const *steps, unsigned from, unsigned to) {
        char set[96];
        int r = SQLITE_OK;

        for (unsigned n = from; n < to && r == SQLITE_OK; n++)
                r = sqlite3_exec(db, steps[n], NULL, NULL, NULL);
        if (r != SQLITE_OK)
                return r;
        snprintf(set, sizeof(set), "PRAGMA application_id = %d; PRAGMA user_version = %u", SCHEMA_APPLICATION, to);
        return sqlite3_exec(db, set, NULL, NULL, NULL);
}

int schema_upgrade(sqlite3 *db, const char *const *steps, unsigned from, unsigned to) {
        int r = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

        if (r != SQLITE_OK)
                return r;
        r = run_steps(db, steps, from, to);
        if (r == SQLITE_OK)
                r = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
        if (r != SQLITE_OK)
                sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        return r;
}
