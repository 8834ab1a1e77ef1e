#ifndef STORE_JOURNAL_UPGRADE_H
#define STORE_JOURNAL_UPGRADE_H
/*
 * From the schema of an earlier version to this one's; schema.h has the recipe.
 */
#include <sqlite3.h>

/* Every step from `version` on, in one transaction. An SQLite result. */
int journal_upgrade(sqlite3 *db, int version);

#endif
