#ifndef STORE_SCHEMA_H
#define STORE_SCHEMA_H
/*
 * The schema of the journal: tables, their version, and the view `jobs` for people.
 *
 * To change the format:
 *   1. change the tables in schema.c and raise SCHEMA_VERSION;
 *   2. add a step from the version before to upgrades[] in journal_upgrade.c: it changes the
 *      tables and the records in place, within the one transaction of the upgrade. For a new
 *      field of struct spec: append it before the variable part, raise SPEC_VERSION, and let the
 *      step lengthen every record, move the offsets and write the checksum anew;
 *   3. let tests/fixtures/make-journal write the fixture of the new version. Those of all earlier
 *      versions stay as they are, for good: tests/unit/test_journal_open.c reads each.
 * View and names of codes are no part of the version: they are written anew where they differ.
 *
 * Codes (phases, outcomes, reasons) are stored as numbers: the enums of wire/message.h that they
 * come from are only ever appended to. (journal_record.c asserts it.)
 */
#include <sqlite3.h>

#define SCHEMA_VERSION 1
#define SCHEMA_APPLICATION_ID 0x536c6f74 /* "Slot" */

/* Creates all of it in an empty database. An SQLite result, as below. */
int schema_create(sqlite3 *db);
/* Tables and indices only: for an upgrade. */
int schema_tables(sqlite3 *db);
/* The view, and the names of codes as this version knows them; writes only what differs. */
int schema_names(sqlite3 *db);
int schema_set_version(sqlite3 *db, int version);
/* The version, or -1 with *rc: an SQLite error, or SQLITE_NOTADB where it is not a journal. */
int schema_version(sqlite3 *db, int *rc);

/* The first column of the first row of a statement without parameters, `absent` without one. */
int schema_query_int(sqlite3 *db, const char *sql, sqlite3_int64 absent, sqlite3_int64 *value);

#endif
