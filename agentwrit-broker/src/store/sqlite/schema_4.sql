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

-- Verifiers that the operator enrolled, and their instances. A removed one is kept while instances of it may accept tokens.

CREATE TABLE verifiers (
    name               TEXT    NOT NULL PRIMARY KEY,
    public_key         BLOB    NOT NULL,
    max_bound          INTEGER, -- seconds
    added_at           INTEGER NOT NULL UNIQUE,
    removed_at         INTEGER,
    former_bound       INTEGER, -- largest that was permitted until former_ended_at
    former_ended_at    INTEGER,
    instances_since    INTEGER NOT NULL,
    may_have_unbounded INTEGER NOT NULL -- reports of instances without a bound may be lost
) STRICT, WITHOUT ROWID;

-- Instances without a bound on staleness. Of the others memory alone is kept: they stop accepting tokens without reports.
CREATE TABLE verifier_instances (
    verifier TEXT    NOT NULL,
    instance TEXT    NOT NULL,
    seq      INTEGER NOT NULL,
    epoch    TEXT    NOT NULL,
    cursor   INTEGER NOT NULL,
    bound    INTEGER, -- seconds
    kids     TEXT,
    drained  INTEGER,
    leaving  INTEGER NOT NULL,
    heard_at INTEGER NOT NULL,
    signed   TEXT    NOT NULL, -- the report; empty if it is long
    is_ahead INTEGER NOT NULL, -- follows another database
    public_key BLOB  NOT NULL, -- that verified the report
    PRIMARY KEY (verifier, instance)
) STRICT, WITHOUT ROWID;

-- What the latest confirmations were decided by, for auditors.
CREATE TABLE confirmation_evidence (
    epoch      TEXT    NOT NULL,
    cursor     INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,
    document   BLOB    NOT NULL, -- JSON
    PRIMARY KEY (epoch, cursor)
) STRICT;

-- Cursors whose confirmation is recorded in the trail.
CREATE TABLE confirmed_cursors (
    epoch        TEXT    NOT NULL,
    cursor       INTEGER NOT NULL,
    confirmed_at INTEGER NOT NULL,
    PRIMARY KEY (epoch, cursor)
) STRICT, WITHOUT ROWID;

-- Tokens of a task in the order of their expiry: those that are added together lie together.
DROP INDEX tokens_by_task;
CREATE INDEX tokens_by_task ON tokens (task, expires_at) WHERE task IS NOT NULL;

-- Tokens that are bound to the key of their subject, and the apps, launch tokens and agents whose tokens are.
ALTER TABLE apps ADD COLUMN sender_constrained INTEGER NOT NULL DEFAULT 0;
ALTER TABLE launch_tokens ADD COLUMN sender_constrained INTEGER NOT NULL DEFAULT 0;
ALTER TABLE agents ADD COLUMN sender_constrained INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN sender_constrained INTEGER NOT NULL DEFAULT 0;
