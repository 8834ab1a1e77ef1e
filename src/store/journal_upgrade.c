/* The steps of upgrades; see schema.h for how to add one. */
#include "store/journal_upgrade.h"

#include "store/schema.h"

#include <stddef.h>

/* What was written before the first release had no table of files to unlink, and no names. */
static int
upgrade_0(sqlite3 *db)
{
	return sqlite3_exec(db,
	    "CREATE TABLE IF NOT EXISTS trash (file TEXT PRIMARY KEY,"
	    "  sum INTEGER NOT NULL) WITHOUT ROWID;"
	    "CREATE TABLE IF NOT EXISTS code (kind TEXT, code INTEGER, name TEXT NOT NULL,"
	    "  PRIMARY KEY (kind, code)) WITHOUT ROWID", NULL, NULL, NULL);
}

static int (*const upgrades[SCHEMA_VERSION])(sqlite3 *db) = {
	upgrade_0, /* from 0 to 1 */
};

int
journal_upgrade(sqlite3 *db, int version)
{
	int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

	if (rc != SQLITE_OK)
		return rc;
	for (; rc == SQLITE_OK && version < SCHEMA_VERSION; version++)
		rc = upgrades[version](db);
	if (rc == SQLITE_OK)
		rc = schema_names(db);
	if (rc == SQLITE_OK)
		rc = schema_set_version(db, SCHEMA_VERSION);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}
