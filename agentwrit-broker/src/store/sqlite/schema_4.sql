-- The broker's keys. Their secrets are in files: `sealed` is empty.
CREATE TABLE signing_keys (
    kid          TEXT    NOT NULL PRIMARY KEY,
    purpose      TEXT    NOT NULL,
    public       BLOB,
    sealed       BLOB    NOT NULL,
    state        TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    activates_at INTEGER,
    activated_at INTEGER,
    retire_at    INTEGER,
    changed_at   INTEGER NOT NULL,
    cursor       INTEGER NOT NULL
) STRICT;

-- Cursor of the latest change of the keys: it has no row in the log.
ALTER TABLE meta ADD COLUMN keys_cursor INTEGER NOT NULL DEFAULT 0;
