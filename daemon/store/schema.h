#pragma once

/*
 * The schema of state.db as a chain of steps: steps[n] leads from version n to n + 1, and step 0 from an empty file.
 * A released step never changes; a new version appends one.
 */
struct sqlite3;

#define SCHEMA_APPLICATION 0x73766d64 /* "svmd", in the header of the file */

extern const char *const schema_steps[];
extern const unsigned schema_version; /* what the last step leads to */

/* Runs the steps from `from` to `to` in one transaction: all of them or, on an SQLite error code, none. */
int schema_upgrade(struct sqlite3 *db, const char *const *steps, unsigned from, unsigned to);
